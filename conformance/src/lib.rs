//! Holds any HTTP/1.1 server against cases written as data, over a socket.
//!
//! The way of a case: [`case`] is its format, [`data`] says where the files are, [`suite`] reads and completes them, [`server`] starts what it runs against,
//! [`exec`] sends and reads ([`client`], [`response`]) and compares ([`judge`]), [`run`] does that for many at once, [`expectations`]
//! says which deviations are known, [`report`] tells people and machines. A server for Python apps is judged from the app's side, too:
//! [`score`] says what a mirror app plays and holds what it tells against rules, [`frames`] reads WebSocket messages.
//!
//! Without a judgement, [`transcript`] records what a server answers, [`difference`] tells two servers apart and groups what it finds,
//! [`minimize`] shrinks a request to what matters, [`fuzz`] makes requests that nobody wrote, [`through`] sends them
//! through a [`proxy`] and counts with a [`tap`] behind it, and [`table`] sets servers side by side.
//!
//! It knows a server by its address, or by a command that starts it, and nothing else: it does not depend on the server that it comes
//! with, which is judged like any other. What a case means is in INTERPRETING.md, for whoever writes another runner.

#![deny(unsafe_code)]

pub mod any_server;
pub mod app_contract;
pub mod case;
mod case_read;
pub mod causes;
pub mod cli;
pub mod client;
pub mod compare;
pub mod data;
pub mod difference;
pub mod exec;
pub mod expectations;
pub mod frames;
pub mod fuzz;
pub mod interrupt;
pub mod judge;
pub mod minimize;
pub mod mistake;
pub mod new;
pub mod out;
pub mod preflight;
pub mod process;
pub mod proxy;
pub mod report;
pub mod response;
pub mod run;
pub mod sarif;
pub mod score;
pub mod server;
pub mod shell;
pub mod suite;
pub mod table;
pub mod tap;
pub mod template;
pub mod through;
pub mod transcript;
pub mod verdict;
