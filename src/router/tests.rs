//! What leads where, exactly; and the tree against a matcher that tries every route.

use proptest::prelude::*;

use super::*;

fn spec(method: &str, pattern: &str) -> RouteSpec {
    RouteSpec {
        method: method.into(),
        pattern: pattern.into(),
        module: "app".into(),
        qualname: "show".into(),
        origin: format!("app.py:{}", pattern.len()),
        timeout_ms: None,
        unreachable: None,
    }
}

fn router(routes: &[(&str, &str)]) -> Router {
    Router::build(routes.iter().map(|(method, pattern)| spec(method, pattern)).collect()).expect("a table")
}

fn route(id: u32, params: &[&str]) -> Found<'static> {
    Found::Route { id: RouteId(id), params: params.iter().map(|text| (*text).to_owned()).collect() }
}

#[test]
fn the_most_specific_pattern_wins_in_any_order_of_registration() {
    let table = [
        ("GET", "/{rest:path}"),
        ("GET", "/users/{name}"),
        ("GET", "/users/{number:int}"),
        ("GET", "/users/me"),
        ("GET", "/users/{number:int}/posts"),
        ("GET", "/"),
    ];
    let router = router(&table);
    assert_eq!(router.find("GET", "/"), route(5, &[]));
    assert_eq!(router.find("GET", "/users/me"), route(3, &[]));
    assert_eq!(router.find("GET", "/users/-7"), route(2, &["-7"]));
    assert_eq!(router.find("GET", "/users/7a"), route(1, &["7a"]));
    assert_eq!(router.find("GET", "/users/7/posts"), route(4, &["7"]));
    assert_eq!(router.find("GET", "/users/ada/posts"), route(0, &["users/ada/posts"]), "taken back to the rest");
    assert_eq!(router.find("GET", "/users/"), route(0, &["users/"]), "a parameter takes at least one byte");
    assert_eq!(router.parameter_names(RouteId(4)), ["number"]);
}

#[test]
fn segments_are_decoded_one_by_one() {
    let router = router(&[("GET", "/café/{name}"), ("GET", "/files/{rest:path}"), ("GET", "/a//b")]);
    assert_eq!(router.find("GET", "/caf%C3%A9/a%2Fb"), route(0, &["a/b"]));
    assert_eq!(router.find("GET", "/files/a%20b/../c"), route(1, &["a b/../c"]));
    assert_eq!(router.find("GET", "/files//x"), route(1, &["/x"]));
    assert_eq!(router.find("GET", "/files/"), Found::NotFound);
    assert_eq!(router.find("GET", "/a//b"), route(2, &[]));
    assert_eq!(router.find("GET", "/a/b"), Found::NotFound);
    for (path, why) in [("/caf%", "hexadecimal"), ("/%zz/x", "hexadecimal"), ("/a%00b", "NUL"), ("/%ff", "UTF-8")] {
        let Found::BadPath(message) = router.find("GET", path) else { panic!("{path} has a reading") };
        assert!(message.contains(why), "{path}: {message}");
    }
}

#[test]
fn methods_that_a_path_lacks_are_405_and_those_that_nobody_knows_501() {
    let router = router(&[("GET", "/x"), ("POST", "/x"), ("HEAD", "/y"), ("PURGE", "/cache")]);
    assert_eq!(router.find("HEAD", "/x"), route(0, &[]));
    assert_eq!(router.find("HEAD", "/y"), route(2, &[]));
    assert_eq!(router.find("GET", "/y"), Found::MethodNotAllowed { allow: "HEAD, OPTIONS" });
    assert_eq!(router.find("DELETE", "/x"), Found::MethodNotAllowed { allow: "GET, HEAD, OPTIONS, POST" });
    assert_eq!(router.find("OPTIONS", "/x"), Found::Options { allow: "GET, HEAD, OPTIONS, POST" });
    assert_eq!(router.find("OPTIONS", "*"), Found::Options { allow: "GET, HEAD, OPTIONS, POST, PURGE" });
    assert_eq!(router.find("OPTIONS", "/nope"), Found::NotFound);
    assert_eq!(router.find("PURGE", "/x"), Found::MethodNotAllowed { allow: "GET, HEAD, OPTIONS, POST" });
    for method in ["BREW", "get", "CONNECT", "TRACE"] {
        assert_eq!(router.find(method, "/x"), Found::MethodNotImplemented, "{method}");
    }
}

#[test]
fn an_own_options_route_is_served() {
    let router = router(&[("OPTIONS", "/x"), ("GET", "/x")]);
    assert_eq!(router.find("OPTIONS", "/x"), route(0, &[]));
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let routes = [
        spec("GET", "/a/{x}"),
        RouteSpec { origin: "other.py:9".into(), ..spec("GET", "/a/{y}") },
        spec("POST", "/a/{y}"),
        spec("GET", "b"),
        spec("GET", "/{x}/{x}"),
        spec("GET", "/{x:uuid}"),
        spec("GET", "/{x:path}/more"),
        spec("GET", "/a{x}"),
        spec("GET", "/{1x}"),
        spec("GE T", "/ok"),
        spec("TRACE", "/ok"),
    ];
    let errors = Router::build(routes.into()).expect_err("mistakes");
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "other.py:9: GET /a/{y} is registered twice: it matches the same paths as /a/{x} at app.py:6; remove one or \
             change its path",
            r#"app.py:1: the pattern "b" does not begin with a slash; write "/b""#,
            r#"app.py:8: "/{x}/{x}" has two parameters named "x"; name one of them differently"#,
            r#"app.py:9: in "/{x:uuid}" "uuid" is not a converter; int, path and str are, or none"#,
            r#"app.py:14: {x:path} takes the rest of the path in "/{x:path}/more", so nothing can follow it"#,
            r#"app.py:5: in "/a{x}" "a{x}" mixes a parameter with text; a parameter is a whole segment"#,
            r#"app.py:5: in "/{1x}" "1x" is not a parameter's name; use letters, digits and _"#,
            r#"app.py:3: "GE T" is not a method; GET, POST, PUT, PATCH, DELETE and HEAD are"#,
            "app.py:3: TRACE is not served: it makes a server a proxy, or an echo of secrets",
        ]
    );
}

/// Tries every route: of those that match, the one whose kinds of segment come first.
fn naive(patterns: &[Vec<Segment>], path: &[String]) -> Option<(usize, Vec<String>)> {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Int(_) => 1,
        Segment::Text(_) => 2,
        Segment::Rest(_) => 3,
    };
    let matches = patterns.iter().enumerate().filter_map(|(index, pattern)| {
        let mut params = Vec::new();
        for (place, segment) in pattern.iter().enumerate() {
            let text = path.get(place)?;
            match segment {
                Segment::Literal(literal) if literal == text => {}
                Segment::Int(_) if is_int(text) => params.push(text.clone()),
                Segment::Text(_) if !text.is_empty() => params.push(text.clone()),
                Segment::Rest(_) => {
                    let rest = path[place..].join("/");
                    return (!rest.is_empty()).then(|| {
                        params.push(rest);
                        (pattern.iter().map(rank).collect::<Vec<_>>(), index, params)
                    });
                }
                _ => return None,
            }
        }
        (pattern.len() == path.len()).then(|| (pattern.iter().map(rank).collect(), index, params))
    });
    matches.min().map(|(_, index, params)| (index, params))
}

proptest! {
    #[test]
    fn the_tree_agrees_with_trying_every_route(
        patterns in proptest::collection::btree_set("(/(a|b|1|\\{.:int\\}|\\{.\\}|)){1,3}(/\\{.:path\\})?", 1..12),
        paths in proptest::collection::vec("(/(a|b|1|-2|c|)){1,4}", 1..12),
    ) {
        // Names do not matter to what matches: give each parameter its own, and drop patterns of the same shape.
        let mut table: Vec<(String, Vec<Segment>)> = Vec::new();
        let mut shapes = std::collections::BTreeSet::new();
        for pattern in patterns {
            let mut number = 0;
            let mut named = String::new();
            for part in pattern.split_inclusive('{') {
                let skip = usize::from(number > 0);
                named.extend(part.chars().skip(skip));
                if part.ends_with('{') {
                    number += 1;
                    named.push_str(&format!("p{number}"));
                }
            }
            let shape: String = named.chars().filter(|letter| !letter.is_ascii_digit() || *letter == '1').collect();
            let shape = shape.replace("p1", "p");
            if shapes.insert(shape) && let Ok(segments) = parse(&named) {
                table.push((named, segments));
            }
        }
        let specs = table.iter().map(|(pattern, _)| spec("GET", pattern)).collect();
        let Ok(router) = Router::build(specs) else { return Ok(()) };
        let patterns: Vec<_> = table.into_iter().map(|(_, segments)| segments).collect();
        for path in paths {
            let segments: Vec<String> = path[1..].split('/').map(str::to_owned).collect();
            let expected = naive(&patterns, &segments);
            let found = match router.find("GET", &path) {
                Found::Route { id, params } => Some((id.0 as usize, params)),
                _ => None,
            };
            prop_assert_eq!(found, expected, "{}", path);
        }
    }
}
