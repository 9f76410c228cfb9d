//! What leads where, exactly; and the tree against a matcher that tries every route, whatever the table and the path.

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
        queue_timeout_ms: None,
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
fn an_id_leads_back_to_the_route_as_it_was_registered() {
    let specs = [spec("GET", "/a/{x}/{y:int}"), spec("POST", "/b"), spec("GET", "/c/{rest:path}")];
    let router = Router::build(specs.to_vec()).expect("a table");
    assert_eq!(router.routes(), specs);
    for (id, spec) in (0..).map(RouteId).zip(&specs) {
        assert_eq!(router.route(id), spec);
    }
    assert_eq!(router.parameter_names(RouteId(0)), ["x", "y"]);
    assert_eq!(router.parameter_names(RouteId(1)), [""; 0]);
    assert_eq!(router.parameter_names(RouteId(2)), ["rest"]);
}

#[test]
fn a_parameters_name_is_of_letters_digits_and_underscores() {
    let names = |name: &str| {
        let router = Router::build(vec![spec("GET", &format!("/{{{name}}}"))]).map_err(|errors| errors.len())?;
        Ok::<_, usize>(router.parameter_names(RouteId(0)).to_vec())
    };
    for name in ["a", "_", "a_b", "_1", "número2"] {
        assert_eq!(names(name), Ok(vec![name.to_owned()]));
    }
    for name in ["", "1a", "a-b", "a b", "a.b"] {
        assert_eq!(names(name), Err(1), "{name:?}");
    }
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
}

#[test]
fn dots_and_empty_segments_are_segments_like_others() {
    let router = router(&[("GET", "/a/b"), ("GET", "/{one}/{two}/b"), ("GET", "/a/"), ("GET", "/..")]);
    assert_eq!(router.find("GET", "/a/./b"), route(1, &["a", "."]));
    assert_eq!(router.find("GET", "/a/../b"), route(1, &["a", ".."]));
    assert_eq!(router.find("GET", "/a/%2e%2E/b"), route(1, &["a", ".."]), "escaped or not");
    assert_eq!(router.find("GET", "/.."), route(3, &[]));
    assert_eq!(router.find("GET", "/x/../a/b"), Found::NotFound, "nothing is resolved");
    assert_eq!(router.find("GET", "/a//b"), Found::NotFound, "a plain parameter takes no empty segment");
    assert_eq!(router.find("GET", "//a/b"), Found::NotFound);
    assert_eq!(router.find("GET", "/a/"), route(2, &[]), "a slash at the end counts");
    assert_eq!(router.find("GET", "/a"), Found::NotFound);
}

#[test]
fn an_escaped_slash_is_a_byte_of_its_segment() {
    let router = router(&[("GET", "/a/b"), ("GET", "/{one}"), ("GET", "/{one}/{two}"), ("GET", "/x/{rest:path}")]);
    assert_eq!(router.find("GET", "/a%2Fb"), route(1, &["a/b"]), "and never meets the literal /a/b");
    assert_eq!(router.find("GET", "/a%2fb/c%2F"), route(2, &["a/b", "c/"]));
    assert_eq!(router.find("GET", "/x/a%2Fb/c"), route(3, &["a/b/c"]));
    assert_eq!(router.find("GET", "/%2F"), route(1, &["/"]));
    assert_eq!(router.find("GET", "/%61/%62"), route(0, &[]), "a literal meets its escaped form");
    assert_eq!(router.find("GET", "/a%252Fb"), route(1, &["a%2Fb"]), "decoded once");
}

#[test]
fn a_path_without_one_reading_is_refused_and_says_why() {
    let router = router(&[("GET", "/{rest:path}")]);
    let escape = "the path has a % that two hexadecimal digits do not follow (RFC 3986, 2.1)";
    let slash = "the path does not begin with a slash (RFC 9112, 3.2.1)";
    for (path, why) in [
        ("/caf%", escape),
        ("/caf%4", escape),
        ("/%zz/x", escape),
        ("/%+1", escape),
        ("/%2\u{e9}", escape),
        ("/a%00b", "the path has a NUL"),
        ("/a\0b", "the path has a NUL"),
        ("/%ff", "the path is not UTF-8 after percent-decoding"),
        ("/%c3/%a9", "the path is not UTF-8 after percent-decoding"),
        ("/%ed%a0%80", "the path is not UTF-8 after percent-decoding"),
        ("", slash),
        ("a", slash),
        ("%2Fa", slash),
        ("*", slash),
    ] {
        assert_eq!(router.find("GET", path), Found::BadPath(why.into()), "{path:?}");
    }
}

#[test]
fn the_path_decides_on_the_pattern_and_then_the_method_on_the_route() {
    let router = router(&[("GET", "/users/{name}"), ("POST", "/{rest:path}")]);
    assert_eq!(router.find("POST", "/users/ada"), Found::MethodNotAllowed { allow: "GET, HEAD, OPTIONS" });
    assert_eq!(router.find("POST", "/users"), route(1, &["users"]));
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
        spec("GET", "/{x:}"),
        spec("GET", "/a\tb"),
        spec("GET", &"/a".repeat(SEGMENTS_MAX + 1)),
        spec("GE T", "/ok"),
        spec("TRACE", "/ok"),
        spec("get", "not-ok"),
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
            r#"app.py:5: in "/{x:}" "" is not a converter; int, path and str are, or none"#,
            r#"app.py:4: the pattern "/a\tb" has '\t', a control character; remove it"#,
            "app.py:258: a pattern has at most 128 segments; take the rest by a path parameter",
            r#"app.py:3: "GE T" is not a method; GET, POST, PUT, PATCH, DELETE and HEAD are"#,
            "app.py:3: TRACE is not served: it makes a server a proxy, or an echo of secrets",
            r#"app.py:6: the pattern "not-ok" does not begin with a slash; write "/not-ok""#,
            r#"app.py:6: methods are told apart by case (RFC 9110, 9.1); write "GET" for "get""#,
        ]
    );
}

/// What a segment of a pattern takes, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Literal(String),
    Int,
    Text,
    Rest,
}

/// The kinds of a pattern's segments. Two patterns of the same kinds have one shape.
fn shape(pattern: &str) -> Vec<Kind> {
    let kind = |text: &str| match text {
        "{}" => Kind::Text,
        "{:int}" => Kind::Int,
        "{:path}" => Kind::Rest,
        literal => Kind::Literal(literal.to_owned()),
    };
    pattern[1..].split('/').map(kind).collect()
}

/// The pattern with a name in each pair of braces.
fn named(pattern: &str) -> String {
    let mut parts = pattern.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |named, (number, part)| format!("{named}{{p{number}{part}"))
}

/// What the parameters of a shape take of a path's decoded segments, if it matches.
fn takes(shape: &[Kind], path: &[String]) -> Option<Vec<String>> {
    let mut params = Vec::new();
    for (place, kind) in shape.iter().enumerate() {
        let text = path.get(place)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        match kind {
            Kind::Literal(literal) if literal == text => {}
            Kind::Int if !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit()) => {
                params.push(text.clone());
            }
            Kind::Text if !text.is_empty() => params.push(text.clone()),
            Kind::Rest => {
                let rest = path[place..].join("/");
                params.push(rest.clone());
                return (!rest.is_empty()).then_some(params);
            }
            _ => return None,
        }
    }
    (shape.len() == path.len()).then_some(params)
}

/// Tries every route: the first shape in order that matches, then the method among its routes.
fn naive(table: &[(String, String)], method: &str, raw_path: &str) -> Result<(u32, Vec<String>), String> {
    let decode = |raw: &str| percent_encoding::percent_decode_str(raw).decode_utf8().expect("UTF-8").into_owned();
    let path: Vec<String> = raw_path[1..].split('/').map(decode).collect();
    let matching = table.iter().filter_map(|(_, pattern)| Some((shape(pattern), takes(&shape(pattern), &path)?)));
    let Some((best, params)) = matching.min() else { return Err("404".into()) };
    let methods: Vec<_> = (0u32..)
        .zip(table)
        .filter(|(_, (_, pattern))| shape(pattern) == best)
        .map(|(id, (name, _))| (name, id))
        .collect();
    let with = |wanted: &str| methods.iter().find(|(name, _)| *name == wanted).map(|(_, id)| *id);
    if let Some(id) = with(method).or_else(|| with("GET").filter(|_| method == "HEAD")) {
        return Ok((id, params));
    }
    let mut allow: Vec<&str> = methods.iter().map(|(name, _)| name.as_str()).chain(["OPTIONS"]).collect();
    allow.extend(with("GET").map(|_| "HEAD"));
    allow.sort_unstable();
    allow.dedup();
    Err(format!("{} {}", if method == "OPTIONS" { 204 } else { 405 }, allow.join(", ")))
}

proptest! {
    #[test]
    fn the_tree_agrees_with_trying_every_route(
        table in proptest::collection::btree_set(
            ("GET|HEAD|POST|OPTIONS|PURGE", "(/(a|b|1|é|%2F|\\{:int\\}|\\{\\}|)){1,3}(/\\{:path\\})?"), 1..16
        ),
        requests in proptest::collection::vec(
            ("GET|HEAD|POST|OPTIONS|DELETE", "(/(a|b|1|-2|-|c|%61|%C3%A9|é|%2F|%252F|a%2Fb|)){1,4}"), 1..16
        ),
    ) {
        let table: Vec<(String, String)> = table.into_iter().collect();
        let specs = table.iter().map(|(method, pattern)| spec(method, &named(pattern))).collect();
        let router = Router::build(specs).expect("a set has no shape and method twice");
        for (method, path) in requests {
            let found = match router.find(&method, &path) {
                Found::Route { id, params } => Ok((id.0, params)),
                Found::Options { allow } => Err(format!("204 {allow}")),
                Found::MethodNotAllowed { allow } => Err(format!("405 {allow}")),
                Found::NotFound => Err("404".into()),
                other => Err(format!("{other:?}")),
            };
            prop_assert_eq!(found, naive(&table, &method, &path), "{} {}", method, path);
        }
    }

    #[test]
    fn no_pattern_and_no_path_is_too_strange(
        routes in proptest::collection::vec((".{0,8}|GET", ".{0,20}|(/[{}:a-z%/]{0,6}){0,4}"), 0..6),
        method in ".{0,8}|GET", path in ".{0,40}|(/[%2Ff0-9a]{0,6}){0,4}",
    ) {
        let routes: Vec<_> = routes.iter().map(|(method, pattern)| spec(method, pattern)).collect();
        match Router::build(routes.clone()) {
            Ok(router) => drop(router.find(&method, &path)),
            Err(errors) => prop_assert!(errors.iter().all(|error| !error.message.is_empty())),
        }
        for route in routes {
            if let Ok(router) = Router::build(vec![route]) {
                drop(router.find(&method, &path));
            }
        }
    }
}
