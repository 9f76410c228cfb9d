//! What the pool does under load, on the real server and real CPython: `cargo bench --bench pool -- WHAT [SECONDS or ROUNDS]`.
//!
//! - `tail`: 1 % of the requests compute for 50 ms, half of the capacity is used: the latency of the rest by placement, beside one
//!   central queue that is given the same requests.
//! - `flood`: 20 times more requests than the workers can answer, over 10,000 connections, for 60 seconds; with the overflow queue
//!   as deep as it is by default, and with a short one.
//! - `drains`: 100 servers, each stopped by SIGTERM under load when its successor on the same port is ready.
//! - `faults`: handlers that do their worst, and what the other workers' requests notice.
//!
//! Each prints a table. What is a rule (every refusal is a clean 503, nothing is lost, memory stays bounded) fails the run; what
//! is a speed is only told. `make build PROFILE=dist` first: what `make build` leaves otherwise is not what is installed.

#[path = "../../tests/common/mod.rs"]
mod common;
mod drains;
mod faults;
mod flood;
#[path = "../../tests/common/load.rs"]
mod load;
mod tail;

/// Whether `make build` has left what is installed, and not the quicker build for development: the newest of its stamps says so.
fn is_as_installed() -> bool {
    let built = |profile: &str| {
        let stamp = common::root().join(".venv").join(format!("built-{profile}"));
        std::fs::metadata(stamp).and_then(|metadata| metadata.modified()).ok()
    };
    std::env::var_os("POLYGIL_BIN").is_some() || built("dist") > built("develop")
}

fn main() {
    assert!(
        is_as_installed(),
        "the development build is no measure: make build PROFILE=dist, or POLYGIL_BIN=/path/to/polygil"
    );
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |default: u64| arguments.get(1).map_or(default, |text| text.parse().expect("a whole number"));
    match arguments.first().map(String::as_str) {
        Some("tail") => tail::run(number(20)),
        Some("flood") => {
            for overflow_depth in [512, 64] {
                flood::run(10_000, number(60), overflow_depth);
            }
        }
        Some("drains") => drains::run(number(100)),
        Some("faults") => faults::run(number(5)),
        _ => {
            eprintln!("cargo bench --bench pool -- tail|flood|drains|faults [SECONDS, or ROUNDS of drains]");
            std::process::exit(2);
        }
    }
}
