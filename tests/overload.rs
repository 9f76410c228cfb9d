//! Too much at once, and one server after the other: what is refused is refused cleanly, and nothing is lost. The same code runs
//! longer and larger as `cargo bench --bench pool`.

mod common;
#[path = "../benches/pool/drains.rs"]
mod drains;
#[path = "../benches/pool/flood.rs"]
mod flood;
#[path = "common/load.rs"]
mod load;

#[test]
fn a_flood_is_refused_cleanly_and_leaves_nothing_behind() {
    flood::run(1000, 3, 64);
}

#[test]
fn takeovers_under_load_lose_nothing_and_repeat_nothing() {
    drains::run(10);
}
