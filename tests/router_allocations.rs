//! What finding a route costs in memory: nothing for one without parameters, and one text each, and their list, for the others.

#![cfg(not(loom))]

use allocation_counter::measure;
use polygil::router::{Found, RouteSpec, Router};

fn router(patterns: &[&str]) -> Router {
    let spec = |pattern: &&str| RouteSpec {
        method: "GET".into(),
        pattern: (*pattern).into(),
        module: "app".into(),
        qualname: "show".into(),
        origin: "app.py:1".into(),
        timeout_ms: None,
        queue_timeout_ms: None,
        unreachable: None,
    };
    Router::build(patterns.iter().map(spec).collect()).expect("a table")
}

fn allocations(router: &Router, method: &str, path: &str) -> u64 {
    measure(|| assert!(!matches!(router.find(method, path), Found::BadPath(_)), "{path} has a reading")).count_total
}

#[test]
fn a_route_without_parameters_and_a_refusal_allocate_nothing() {
    let router = router(&["/", "/users/me", "/a//b", "/users/{id:int}/posts"]);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/users/me"),
        ("HEAD", "/users/me"),
        ("OPTIONS", "/users/me"),
        ("DELETE", "/users/me"),
        ("GET", "/a//b"),
        ("GET", "/nope"),
        ("BREW", "/users/me"),
        ("OPTIONS", "*"),
    ] {
        assert_eq!(allocations(&router, method, path), 0, "{method} {path}");
    }
}

#[test]
fn parameters_cost_their_texts_and_two_lists() {
    let router = router(&["/{one}/{two}", "/{rest:path}"]);
    assert_eq!(allocations(&router, "GET", "/a/b"), 4, "two texts, what was taken, and the values");
    assert_eq!(allocations(&router, "GET", "/a/b/c/d/e"), 3);
    assert_eq!(allocations(&router, "GET", "/%61/b"), 5, "and the decoded path");
    let long = format!("/{}", "/".repeat(8000));
    assert_eq!(allocations(&router, "GET", &long), 3, "however many segments the path has");
}
