//! Tests with one thread, where each step is known, and with many, where the counts must come out even. That there is no
//! schedule which breaks it is for `tests/loom_dispatch.rs` to say.

mod baton;
mod pool;
mod reply;
mod sleep;
mod tail;
mod threads;
