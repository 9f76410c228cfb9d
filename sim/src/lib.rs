//! polygil-sim: the shipping server in a world where a seed decides everything.
//!
//! What runs is what ships: `polygil::server::run` with its accept loop, connection driver and drain, `polygil::http`,
//! `polygil::router`, and the pool and workers' side of `polygil::dispatch`. What is simulated is behind the traits of
//! `polygil::server::env` and around the workers' `step`: time, the order of tasks, the network, handlers, clients, operators.
//!
//! It promises: the same options give the same run, byte for byte, in any process on any machine; [`trace`] has the hash that
//! shows it. It must never read a clock of the machine inside a run, iterate a randomly seeded map, or let an address decide
//! anything. In reading order:
//!
//! - [`options`] what a seed decides · [`world`] one run · [`exec`], [`core`] order and time
//! - [`net`] the network · [`client`], [`workload`] clients and what they send · [`crew`] workers and their supervisor
//! - [`check`], [`watch`] the oracles · [`answer`] the independent reader of answers · [`trace`] what happened
// The crate is for readers: its docs are built with private items, and link to them.
#![allow(rustdoc::private_intra_doc_links)]
#![deny(unsafe_code)]

pub mod answer;
pub mod capacity;
pub mod check;
pub mod client;
pub mod core;
pub mod crew;
pub mod exec;
pub mod explore;
pub mod measure;
pub mod mistakes;
pub mod net;
pub mod options;
pub mod out;
pub mod picture;
pub mod plot;
pub mod random;
pub mod report;
pub mod shrink;
pub mod trace;
pub mod watch;
pub mod workload;
pub mod world;
