//! The simulator finds bugs: each deliberate mistake in the shipping sources makes some seed fail, soon.
//!
//! Only in a build that can make mistakes: `cargo test -p polygil-sim --features mistakes --test mistakes`.
#![cfg(feature = "mistakes")]

use polygil_sim::explore::{Plan, explore};
use polygil_sim::mistakes::ALL;

/// One of each kind that is found within this many seeds, which a build without optimization runs in seconds.
const SEEDS_MAX: u64 = 40;
const FEW: [&str; 10] = [
    "no_recheck",
    "expire_ignores_start",
    "answers_reversed",
    "answered_twice",
    "permit_leaked",
    "one_connection_more",
    "content_left_unread",
    "backlog_forgotten",
    "unsent_not_counted",
    "lingering_without_end",
];

#[test]
fn a_mistake_of_each_kind_is_found() {
    for name in FEW {
        let plan = Plan { mistake: Some(name.to_owned()), stop_at_failure: true, ..Plan::new(0..SEEDS_MAX) };
        let summary = explore(&plan, |_, _| ()).unwrap();
        let [failed, ..] = &summary.failed[..] else { panic!("{name} was not found in {SEEDS_MAX} seeds") };
        let command = format!("polygil-sim run --seed {} --mistake {name}", failed.seed);
        assert_eq!(failed.command, command);
        println!("{name:24} is found by seed {}: {}", failed.seed, failed.failure.oracle);
    }
}

/// Those that few worlds come by: with the options that bring every world there, and what each is found by.
const FORCED: [(&str, &str, &[(&str, u64)]); 2] = [
    (
        "begun_without_room",
        "memory",
        &[("slow_read", 300), ("buffered_bytes_max", 2000), ("response_bytes_max", 20_000), ("window", 4096)],
    ),
    (
        "readers_without_end",
        "timeouts",
        &[
            ("slow_read", 300),
            ("response_timeout_ms", 500),
            ("write_timeout_ms", 15_000),
            ("response_bytes_max", 200_000),
            ("window", 16_384),
            ("heal_ms", 60_000),
        ],
    ),
];

#[test]
fn a_mistake_that_few_worlds_come_by_is_found_where_they_do() {
    for (name, oracle, options) in FORCED {
        let set: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let plan = Plan { set, stop_at_failure: true, ..Plan::new(0..10) };
        let summary = explore(&Plan { mistake: Some(name.to_owned()), ..plan.clone() }, |_, _| ()).unwrap();
        let [failed, ..] = &summary.failed[..] else { panic!("{name} was not found in 10 seeds") };
        let without = Plan { seeds: failed.seed..failed.seed + 1, ..plan };
        assert_eq!(explore(&without, |_, _| ()).unwrap().failed, [], "without a mistake");
        assert_eq!(failed.failure.oracle, oracle, "{failed:?}");
        println!("{name:24} is found by seed {}: {}", failed.seed, failed.failure.oracle);
    }
}

#[test]
fn without_a_mistake_the_same_seeds_hold() {
    let summary = explore(&Plan::new(0..10), |_, _| ()).unwrap();
    assert_eq!(summary.failed, []);
}

#[test]
fn names_are_those_of_the_sources() {
    let mut sources = String::new();
    let mut left = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../src"))];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    for mistake in ALL {
        assert!(sources.contains(&format!("broken(\"{}\")", mistake.name)), "{}", mistake.name);
    }
}
