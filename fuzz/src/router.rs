//! `router`: the tree against comparing the path with each pattern by itself.
//!
//! The bytes are lines of text: a first line `METHOD path`, then a line `METHOD pattern` for each route.

use percent_encoding::percent_decode_str;
use polygil::router::{Found, RouteSpec, Router};

/// As many routes as an app of some size has in one place.
const ROUTES_MAX: usize = 64;

/// What the tree finds is what the list finds.
pub fn router(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let mut specs: Vec<RouteSpec> = Vec::new();
    for (index, line) in lines.take(ROUTES_MAX).enumerate() {
        let Some((method, pattern)) = line.split_once(' ') else { continue };
        let spec = RouteSpec {
            method: method.to_owned(),
            pattern: pattern.to_owned(),
            module: "m".to_owned(),
            qualname: format!("f{index}"),
            origin: format!("line {index}"),
            timeout_ms: None,
            queue_timeout_ms: None,
            unreachable: None,
        };
        // What cannot be in a table by itself, or not beside what is there, is left out.
        let with = [&specs[..], &[spec]].concat();
        match Router::build(with.clone()) {
            Ok(_) => specs = with,
            Err(errors) => assert!(errors.iter().all(|error| !error.message.is_empty()), "{errors:?}"),
        }
    }
    let router = Router::build(specs.clone()).expect("each was taken");
    assert_eq!(router.routes(), specs);
    let found = router.find(method, path);
    assert_eq!(describe(&found), expected(&specs, method, path), "{method} {path} in {specs:?}");
    // The order of registration does not matter.
    let reversed: Vec<_> = specs.iter().rev().cloned().collect();
    let other = Router::build(reversed).expect("the same routes");
    match (found, other.find(method, path)) {
        (Found::Route { id: one, params }, Found::Route { id: two, params: others }) => {
            assert_eq!((router.route(one), params), (other.route(two), others));
        }
        (one, two) => assert_eq!(one, two),
    }
}

fn describe(found: &Found<'_>) -> String {
    match found {
        Found::Route { id, params } => format!("route {} {params:?}", id.0),
        Found::Options { allow } => format!("options {allow}"),
        Found::MethodNotAllowed { allow } => format!("405 {allow}"),
        Found::NotFound => "404".to_owned(),
        Found::MethodNotImplemented => "501".to_owned(),
        Found::BadPath(_) => "400".to_owned(),
    }
}

fn expected(specs: &[RouteSpec], method: &str, path: &str) -> String {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if !KNOWN.contains(&method) && specs.iter().all(|spec| spec.method != method) {
        return "501".to_owned();
    }
    if path == "*" && method == "OPTIONS" {
        return format!("options {}", allow(specs.iter()));
    }
    let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
    let Some(segments) = segments else { return "400".to_owned() };
    if !path.starts_with('/') {
        return "400".to_owned();
    }
    let segments = &segments[1..];
    let matches = specs.iter().enumerate().filter_map(|(index, spec)| {
        let (kinds, params) = matched(&spec.pattern, segments)?;
        Some((kinds, index, spec, params))
    });
    let matches: Vec<_> = matches.collect();
    let Some(best) = matches.iter().map(|(kinds, ..)| kinds).min() else { return "404".to_owned() };
    let same: Vec<_> = matches.iter().filter(|(kinds, ..)| kinds == best).collect();
    let of = |method: &str| same.iter().find(|(_, _, spec, _)| spec.method == method);
    let get = if method == "HEAD" { of("GET") } else { None };
    let allow = || allow(same.iter().map(|(_, _, spec, _)| *spec));
    match of(method).or(get) {
        Some((_, index, _, params)) => format!("route {index} {params:?}"),
        None if method == "OPTIONS" => format!("options {}", allow()),
        None => format!("405 {}", allow()),
    }
}

/// Which kind of segment took what, most specific first: literal, int, plain, rest. None where the pattern does not match.
fn matched(pattern: &str, segments: &[String]) -> Option<(Vec<u8>, Vec<String>)> {
    let pattern: Vec<&str> = pattern[1..].split('/').collect();
    let (mut kinds, mut params) = (Vec::new(), Vec::new());
    for (index, part) in pattern.iter().enumerate() {
        let rest = segments.get(index..).filter(|rest| !rest.is_empty())?;
        let first = &rest[0];
        if !part.starts_with('{') {
            if part != first {
                return None;
            }
            kinds.push(0);
        } else if part.ends_with(":int}") {
            let digits = first.strip_prefix('-').unwrap_or(first);
            if digits.is_empty() || !digits.chars().all(|letter| letter.is_ascii_digit()) {
                return None;
            }
            kinds.push(1);
            params.push(first.clone());
        } else if part.ends_with(":path}") {
            let joined = rest.join("/");
            if joined.is_empty() {
                return None;
            }
            kinds.push(3);
            params.push(joined);
            return Some((kinds, params));
        } else {
            if first.is_empty() {
                return None;
            }
            kinds.push(2);
            params.push(first.clone());
        }
    }
    (pattern.len() == segments.len()).then_some((kinds, params))
}

/// A segment; None for what has no one reading.
fn decode(segment: &str) -> Option<String> {
    let mut rest = segment;
    while let Some((_, after)) = rest.split_once('%') {
        let escape = after.get(..2)?;
        if !escape.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        rest = after;
    }
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

fn allow<'s>(specs: impl Iterator<Item = &'s RouteSpec>) -> String {
    let mut methods: Vec<&str> = specs.map(|spec| &spec.method[..]).chain(["OPTIONS"]).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}
