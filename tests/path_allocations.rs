//! What a request costs in memory on its whole way through the server: nothing, once its connection has answered one like it.

#![cfg(not(loom))]

#[path = "common/world.rs"]
mod world;

use std::time::Instant;

use allocation_counter::measure;
use polygil::router::{RouteSpec, Router};

use self::world::World;

const SMALL: &str = "GET /json HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
const FORM: &str = "POST /form HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 5\r\n\r\na=b&c";

fn world() -> World {
    let spec = |(method, pattern): (&str, &str)| RouteSpec {
        method: method.into(),
        pattern: pattern.into(),
        module: "app".into(),
        qualname: "show".into(),
        origin: "app.py:1".into(),
        ..RouteSpec::default()
    };
    World::new(Router::build([("GET", "/json"), ("POST", "/form")].map(spec).into()).expect("a table"))
}

/// Sends these at once, a thousand times, after others like them, and gives how often memory was allocated, but for the text of the Date
/// field, which is made once a second.
fn allocations(requests: &str) -> usize {
    let mut world = world();
    let expected = world.answer_length(requests);
    (0..100).for_each(|_| assert_eq!(world.exchange(requests), expected));
    let begun = Instant::now();
    let counted = measure(|| (0..1_000).for_each(|_| assert_eq!(world.exchange(requests), expected))).count_total;
    let dates = begun.elapsed().as_secs() as usize + 1;
    (counted as usize).saturating_sub(dates)
}

#[test]
fn a_small_request_allocates_nothing() {
    assert_eq!(allocations(SMALL), 0);
}

#[test]
fn nor_does_one_with_content() {
    assert_eq!(allocations(FORM), 0);
}

#[test]
fn nor_do_sixteen_at_once() {
    assert_eq!(allocations(&SMALL.repeat(16)), 0);
}
