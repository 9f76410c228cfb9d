//! polygil: one process, many GILs. An HTTP/1.1 server on smol that runs Python handlers in a pool of CPython
//! sub-interpreters, one interpreter and one GIL per core (PEP 684), each handler found by module and qualified name.
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod cli;
#[cfg(not(loom))]
pub mod config;
pub mod dispatch;
pub mod error;
pub mod http;
#[cfg(not(loom))]
pub mod logging;
#[cfg(not(loom))]
pub mod manifest;
#[cfg(all(feature = "python", not(loom)))]
pub mod python;
#[cfg(not(loom))]
pub mod report;
pub mod router;
#[cfg(not(loom))]
pub mod server;
pub mod task;
