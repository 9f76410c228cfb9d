//! polygil: one process, many GILs. An HTTP/1.1 server on smol that runs Python handlers in a pool of CPython
//! sub-interpreters, one interpreter and one GIL per core (PEP 684), each handler found by module and qualified name.
//!
//! One request, one direction:
//!
//! ```text
//! socket bytes
//!   → http        Connection, sans-IO: bytes in, requests out; responses in, bytes out
//!   → router      method + path → route, path parameters
//!   → dispatch    bounded per-worker queues; overflow queue; full → 503
//!   → python      a worker thread with an interpreter for life: route → function, resolved once; call; convert
//!   → dispatch    one-shot reply: wakes the connection that waits, never blocks it
//!   → http        response bytes, in request order
//! socket bytes
//! ```
//!
//! No arrow points back. No Python object and no GIL is on the I/O path ([`http`], [`router`], [`dispatch`], [`server`]), which builds
//! without Python; no client's socket is in Python code (`python`, with the feature of that name). Threads are another matter: a worker
//! with nothing to run may run the connections ([`io`]). What crosses between them is owned data:
//! a [`task::Task`] one way, an [`http::Response`] the other, and behind it, where its content is not whole, that [`content`].
//!
//! To read the crate in the order of a request: [`server`] takes connections and drives them, [`http`] says where a request begins
//! and ends, [`router`] whose it is, [`dispatch`] who runs it, [`io`] on which thread all this happens; then `python::worker`, `python::handler` and `python::convert`.
//! [`error`] is every failure and its answer, [`config`] every option. The `//!` essay at the top of each file says what it
//! is, what it promises, and what it must never do.
// The crate is for readers: its docs are built with private items, and link to them.
#![allow(rustdoc::private_intra_doc_links)]
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod account;
#[cfg(not(loom))]
pub mod cli;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod content;
pub mod dispatch;
pub mod error;
pub mod http;
#[cfg(not(loom))]
pub mod io;
#[cfg(not(loom))]
pub mod logging;
#[cfg(not(loom))]
pub mod manifest;
pub mod mistakes;
#[cfg(not(loom))]
mod planted;
#[cfg(all(feature = "python", not(loom)))]
pub mod python;
#[cfg(not(loom))]
pub mod report;
pub mod router;
#[cfg(not(loom))]
pub mod server;
#[cfg(not(loom))]
pub mod streams;
#[cfg(not(loom))]
pub mod task;
