//! The only part that knows Python, and the only unsafe code.
//!
//! Every `unsafe` block says which interpreter's GIL is held and who owns the reference. Worker threads use raw `pyo3::ffi`
//! through the wrappers of [`ffi`]; PyO3's safe layer appears in [`module`] alone, which runs in the main interpreter.
#![allow(unsafe_code)]

mod bench;
mod collector;
mod command;
mod convert;
mod crash;
mod ending;
mod ffi;
mod frames;
mod handler;
mod inherited;
mod interpreter;
mod json;
mod leave;
mod module;
mod replacements;
mod report;
mod request;
mod serve;
mod stream;
mod supervisor;
mod worker;
mod workers;
