//! Method and path → route. Pure: a table built once, then only read.
//!
//! **Patterns.** `/users/{name}` takes one segment, `{name:int}` one of digits with an optional minus, `{name:path}` the rest of
//! the path, at least one byte, and stands last. At each segment the literal is tried before `int`, `int` before a plain parameter,
//! that before `path`, and what leads nowhere is taken back, so the order of registration never matters. Two routes of one shape
//! and method are an error that names both.
//!
//! **Paths** are matched as sent, split at `/`, each segment percent-decoded on its own (RFC 3986, 2.4): `%2F` is a byte of a
//! segment and never splits one, and a pattern's `café` is met by `caf%C3%A9`. Dot segments are not resolved, since no file
//! system is behind this, and whoever checked the path in front of us saw the same one. `//` is an empty segment, which only
//! the same literal meets; a trailing slash counts. A bad escape, NUL, or what is not UTF-8 after decoding is a 400: there
//! is no one reading of it.
//!
//! **Methods.** GET answers HEAD too, unless HEAD has a route of its own, and OPTIONS is answered with `Allow`, unless it has. A
//! method of RFC 9110 or RFC 5789 that a path lacks is a 405; one that neither they nor any route know is a 501, and so
//! are CONNECT and TRACE.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// Methods that every server is expected to recognize (RFC 9110, 9.1; RFC 5789), less those that make it a proxy.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One route as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RouteSpec {
    /// An HTTP method, upper-case by convention; compared as it is (RFC 9110, 9.1).
    pub method: String,
    /// The path pattern.
    pub pattern: String,
    /// The module of the handler.
    pub module: String,
    /// Its qualified name in there.
    pub qualname: String,
    /// Where it was registered, for people: `app.py:12`, `routes.toml:7`.
    pub origin: String,
    /// The handler's time budget in milliseconds, where it has one of its own.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Why no other interpreter can find the handler by its name, if none can.
    #[serde(default)]
    pub unreachable: Option<String>,
}

/// A route's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// A route that cannot be in the table, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteError {
    /// Where it was registered.
    pub origin: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for RouteError {}

/// What a request's method and path lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// A handler.
    Route {
        /// Which.
        id: RouteId,
        /// The values of the pattern's parameters, percent-decoded, in its order.
        params: Vec<String>,
    },
    /// OPTIONS, without a route for it: 204 and `Allow`.
    Options {
        /// The path's methods.
        allow: &'r str,
    },
    /// No pattern matches.
    NotFound,
    /// A pattern matches, not the method.
    MethodNotAllowed {
        /// The path's methods.
        allow: &'r str,
    },
    /// Nobody here knows the method.
    MethodNotImplemented,
    /// The path has no one reading; says why.
    BadPath(String),
}

/// The table of routes.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<RouteSpec>,
    names: Vec<Vec<String>>,
    root: Node,
    /// What `OPTIONS *` answers: every method that some route has.
    all: String,
}

#[derive(Debug, Default)]
struct Node {
    literals: BTreeMap<String, Node>,
    int: Option<Box<Node>>,
    text: Option<Box<Node>>,
    /// A `path` parameter ends here.
    rest: Option<Box<Methods>>,
    methods: Methods,
}

#[derive(Debug, Default)]
struct Methods {
    by_name: BTreeMap<String, RouteId>,
    /// Comma-separated, in alphabetical order; empty without routes.
    allow: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Int(String),
    Text(String),
    Rest(String),
}

impl Router {
    /// The table of these routes, or everything that is wrong with them.
    pub fn build(specs: Vec<RouteSpec>) -> Result<Router, Vec<RouteError>> {
        let mut router = Router::default();
        let mut errors = Vec::new();
        for spec in specs {
            let origin = spec.origin.clone();
            if let Err(message) = router.add(spec) {
                errors.push(RouteError { origin, message });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut methods: Vec<&str> = router.routes.iter().map(|route| route.method.as_str()).collect();
        methods.push("OPTIONS");
        router.all = allow(methods);
        router.root.finish();
        Ok(router)
    }

    /// A route as it was registered. The id is one of this table's.
    pub fn route(&self, id: RouteId) -> &RouteSpec {
        &self.routes[id.0 as usize]
    }

    /// All routes, in the order of registration; a [`RouteId`] is an index.
    pub fn routes(&self) -> &[RouteSpec] {
        &self.routes
    }

    /// The names of a route's path parameters, in the pattern's order.
    pub fn parameter_names(&self, id: RouteId) -> &[String] {
        &self.names[id.0 as usize]
    }

    /// Where a request goes. `path` is the raw path: it begins with a slash, or is the `*` of `OPTIONS *`.
    pub fn find(&self, method: &str, path: &str) -> Found<'_> {
        if !METHODS.contains(&method) && !self.routes.iter().any(|route| route.method == method) {
            return Found::MethodNotImplemented;
        }
        if path == "*" {
            return Found::Options { allow: &self.all };
        }
        let mut segments = Vec::with_capacity(8);
        for raw in path.strip_prefix('/').unwrap_or(path).split('/') {
            match decode(raw) {
                Ok(segment) => segments.push(segment),
                Err(message) => return Found::BadPath(message),
            }
        }
        let mut params = Vec::new();
        let Some(methods) = self.root.find(&segments, &mut params) else { return Found::NotFound };
        let exact = methods.by_name.get(method);
        let head = if method == "HEAD" { methods.by_name.get("GET") } else { None };
        match exact.or(head) {
            Some(&id) => Found::Route { id, params },
            None if method == "OPTIONS" => Found::Options { allow: &methods.allow },
            None => Found::MethodNotAllowed { allow: &methods.allow },
        }
    }

    fn add(&mut self, spec: RouteSpec) -> Result<(), String> {
        let segments = parse(&spec.pattern)?;
        if spec.method.is_empty() || !spec.method.bytes().all(is_token) {
            return Err(format!("{:?} is not a method; GET, POST, PUT, PATCH, DELETE and HEAD are", spec.method));
        }
        if matches!(spec.method.as_str(), "CONNECT" | "TRACE") {
            return Err(format!("{} is not served: it makes a server a proxy, or an echo of secrets", spec.method));
        }
        let mut node = &mut self.root;
        let mut methods = None;
        let mut names = Vec::new();
        for segment in segments {
            match segment {
                Segment::Literal(text) => node = node.literals.entry(text).or_default(),
                Segment::Int(name) => {
                    names.push(name);
                    node = node.int.get_or_insert_default();
                }
                Segment::Text(name) => {
                    names.push(name);
                    node = node.text.get_or_insert_default();
                }
                Segment::Rest(name) => {
                    names.push(name);
                    methods = Some(&mut **node.rest.get_or_insert_default());
                    break;
                }
            }
        }
        let methods = match methods {
            Some(methods) => methods,
            None => &mut node.methods,
        };
        let id = RouteId(self.routes.len() as u32);
        if let Some(&other) = methods.by_name.get(&spec.method) {
            let other = &self.routes[other.0 as usize];
            return Err(format!(
                "{} {} is registered twice: it matches the same paths as {} at {}; remove one or change its path",
                spec.method, spec.pattern, other.pattern, other.origin
            ));
        }
        methods.by_name.insert(spec.method.clone(), id);
        self.routes.push(spec);
        self.names.push(names);
        Ok(())
    }
}

impl Node {
    /// The methods where the segments lead, most specific first; `params` then holds what was taken on the way.
    fn find<'n>(&'n self, segments: &[String], params: &mut Vec<String>) -> Option<&'n Methods> {
        let Some((first, others)) = segments.split_first() else {
            return (!self.methods.by_name.is_empty()).then_some(&self.methods);
        };
        if let Some(methods) = self.literals.get(first).and_then(|node| node.find(others, params)) {
            return Some(methods);
        }
        if first.is_empty() {
            // Parameters take at least one byte; so does `path`, but it may begin with an empty segment.
            return self.rest(segments, params);
        }
        for (node, takes) in [(&self.int, is_int(first)), (&self.text, true)] {
            if let Some(node) = node.as_ref().filter(|_| takes) {
                params.push(first.clone());
                if let Some(methods) = node.find(others, params) {
                    return Some(methods);
                }
                params.pop();
            }
        }
        self.rest(segments, params)
    }

    fn rest<'n>(&'n self, segments: &[String], params: &mut Vec<String>) -> Option<&'n Methods> {
        let methods = self.rest.as_deref()?;
        let rest = segments.join("/");
        if rest.is_empty() {
            return None;
        }
        params.push(rest);
        Some(methods)
    }

    fn finish(&mut self) {
        self.methods.finish();
        if let Some(rest) = &mut self.rest {
            rest.finish();
        }
        let parameters = [&mut self.int, &mut self.text].into_iter().flatten().map(|node| &mut **node);
        for node in self.literals.values_mut().chain(parameters) {
            node.finish();
        }
    }
}

impl Methods {
    fn finish(&mut self) {
        let mut methods: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        methods.push("OPTIONS");
        self.allow = allow(methods);
    }
}

/// The value of `Allow`: alphabetical, each once, HEAD wherever GET is.
fn allow(mut methods: Vec<&str>) -> String {
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_int(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn decode(raw: &str) -> Result<String, String> {
    let bytes = raw.as_bytes();
    for (index, _) in raw.match_indices('%') {
        let escape = bytes.get(index + 1..index + 3);
        if !escape.is_some_and(|escape| escape.iter().all(u8::is_ascii_hexdigit)) {
            return Err("the path has a % that two hexadecimal digits do not follow (RFC 3986, 2.1)".into());
        }
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) if text.contains('\0') => Err("the path has a NUL".into()),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("the path is not UTF-8 after percent-decoding".into()),
    }
}

fn parse(pattern: &str) -> Result<Vec<Segment>, String> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err(format!("the pattern {pattern:?} does not begin with a slash; write {:?}", format!("/{pattern}")));
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for text in path.split('/') {
        if let Some(Segment::Rest(name)) = segments.last() {
            return Err(format!("{{{name}:path}} takes the rest of the path in {pattern:?}, so nothing can follow it"));
        }
        let Some(inside) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(format!(
                    "in {pattern:?} {text:?} mixes a parameter with text; a parameter is a whole segment"
                ));
            }
            segments.push(Segment::Literal(text.to_owned()));
            continue;
        };
        let (name, converter) = inside.split_once(':').unwrap_or((inside, ""));
        let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if !is_name {
            return Err(format!("in {pattern:?} {name:?} is not a parameter's name; use letters, digits and _"));
        }
        if names.contains(&name) {
            return Err(format!("{pattern:?} has two parameters named {name:?}; name one of them differently"));
        }
        names.push(name);
        let name = name.to_owned();
        segments.push(match converter {
            "" | "str" => Segment::Text(name),
            "int" => Segment::Int(name),
            "path" => Segment::Rest(name),
            _ => {
                return Err(format!("in {pattern:?} {converter:?} is not a converter; int, path and str are, or none"));
            }
        });
    }
    Ok(segments)
}

#[cfg(test)]
mod tests;
