//! Method and path → route. Pure: a table built once, then only read; a route without parameters is found without allocating.
//!
//! **Patterns.** `/users/{name}` takes one segment, `{name:int}` one of digits with an optional minus, `{name:path}` the rest of
//! the path, at least one byte, and stands last. At each segment the literal is tried before `int`, `int` before a plain parameter,
//! that before `path`, and what leads nowhere is taken back, so the order of registration never matters. Two routes of one shape
//! and method are an error that names both.
//!
//! **Paths** are matched as sent, split at `/`, each segment percent-decoded on its own (RFC 3986, 2.4): `%2F` is a byte of a
//! segment and never splits one, and a pattern's `café` is met by `caf%C3%A9`. Dot segments are not resolved, since no file
//! system is behind this, and whoever checked the path in front of us saw the same one; a client that wants them resolved does
//! so itself. `//` is an empty segment, which only the same literal meets, or a `path` parameter with more around it; a trailing
//! slash counts. A bad escape, NUL, or what is not UTF-8 after decoding is a 400: there is no one reading of it.
//!
//! **Methods.** The path alone decides on the pattern, then the method on the route, so that `Allow` is the same for every method:
//! a `{rest:path}` does not catch the methods that a more specific pattern lacks. GET answers HEAD too, unless HEAD has a route
//! of its own, and OPTIONS is answered with `Allow`, unless it has. `Allow` is alphabetical. A method of RFC 9110 or RFC 5789 that
//! a path lacks is a 405; one that neither they nor any route know is a 501, and so are CONNECT and TRACE.
//!
//! **Cost.** The table is a tree by segments, and a request visits each of its places at most once, whatever is taken back on the
//! way: linear in the table for a path made to annoy, in the path's length for all others.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

/// Methods that every server is expected to recognize (RFC 9110, 9.1; RFC 5789), less those that make it a proxy.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Segments of a pattern: its tree is walked and dropped by recursion.
const SEGMENTS_MAX: usize = 128;

/// One route as it was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
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
    /// How long the handler may run, in milliseconds, where it has a budget of its own.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// How long a request may wait for a worker, in milliseconds, where it has a budget of its own.
    #[serde(default)]
    pub queue_timeout_ms: Option<u64>,
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
    /// Methods of some route that are not among [`METHODS`].
    extensions: BTreeSet<String>,
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
            if let Err(mistakes) = router.add(&spec) {
                let error = |message| RouteError { origin: spec.origin.clone(), message };
                errors.extend(mistakes.into_iter().map(error));
                continue;
            }
            if !METHODS.contains(&spec.method.as_str()) {
                router.extensions.insert(spec.method.clone());
            }
            router.routes.push(spec);
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

    /// Where a request goes. `raw_path` is as sent, without the query: it begins with a slash, or is the `*` of `OPTIONS *`.
    pub fn find(&self, method: &str, raw_path: &str) -> Found<'_> {
        if !METHODS.contains(&method) && !self.extensions.contains(method) {
            return Found::MethodNotImplemented;
        }
        if raw_path == "*" && method == "OPTIONS" {
            return Found::Options { allow: &self.all };
        }
        let path = match decode(raw_path) {
            Ok(path) => path,
            Err(message) => return Found::BadPath(message),
        };
        let Some(segments) = path.strip_prefix('/') else {
            return Found::BadPath("the path does not begin with a slash (RFC 9112, 3.2.1)".into());
        };
        let mut taken = Vec::new();
        let Some(methods) = self.root.find(Some(segments), &mut taken) else { return Found::NotFound };
        let exact = methods.by_name.get(method);
        let head = if method == "HEAD" { methods.by_name.get("GET") } else { None };
        match exact.or(head) {
            Some(&id) => Found::Route { id, params: taken.into_iter().map(param).collect() },
            None if method == "OPTIONS" => Found::Options { allow: &methods.allow },
            None => Found::MethodNotAllowed { allow: &methods.allow },
        }
    }

    /// Puts a route into the tree, under the id that it gets next, or tells all that is wrong with it.
    fn add(&mut self, spec: &RouteSpec) -> Result<(), Vec<String>> {
        let segments = match (parse(&spec.pattern), check_method(&spec.method)) {
            (Ok(segments), Ok(())) => segments,
            (pattern, method) => return Err([pattern.err(), method.err()].into_iter().flatten().collect()),
        };
        let mut node = &mut self.root;
        let mut rest = None;
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
                    rest = Some(&mut **node.rest.get_or_insert_default());
                    break;
                }
            }
        }
        let methods = match rest {
            Some(methods) => methods,
            None => &mut node.methods,
        };
        let id = RouteId(self.routes.len() as u32);
        if let Some(&other) = methods.by_name.get(&spec.method) {
            let other = &self.routes[other.0 as usize];
            return Err(vec![format!(
                "{} {} is registered twice: it matches the same paths as {} at {}; remove one or change its path",
                spec.method, spec.pattern, other.pattern, other.origin
            )]);
        }
        methods.by_name.insert(spec.method.clone(), id);
        self.names.push(names);
        Ok(())
    }
}

impl Node {
    /// The methods where the segments lead, most specific first; `taken` then holds what parameters took on the way.
    /// `None` is the path's end; an empty text is not: it is one empty segment.
    fn find<'n, 'p>(&'n self, segments: Option<&'p str>, taken: &mut Vec<&'p str>) -> Option<&'n Methods> {
        let Some(segments) = segments else {
            return (!self.methods.by_name.is_empty()).then_some(&self.methods);
        };
        let (first, others) = match segments.split_once('/') {
            Some((first, others)) => (first, Some(others)),
            None => (segments, None),
        };
        if let Some(methods) = self.literals.get(first).and_then(|node| node.find(others, taken)) {
            return Some(methods);
        }
        for (node, takes) in [(&self.int, is_int(first)), (&self.text, !first.is_empty())] {
            if let Some(node) = node.as_ref().filter(|_| takes) {
                taken.push(first);
                if let Some(methods) = node.find(others, taken) {
                    return Some(methods);
                }
                taken.pop();
            }
        }
        let rest = self.rest.as_deref().filter(|_| !segments.is_empty())?;
        taken.push(segments);
        Some(rest)
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

/// Stands for a `/` that was escaped, until segments are parted: a decoded path has no NUL of its own.
const ESCAPED_SLASH: char = '\0';

/// A path percent-decoded, its escaped slashes still told from those that part segments. Borrowed where nothing was escaped.
fn decode(raw: &str) -> Result<Cow<'_, str>, String> {
    if raw.contains('\0') {
        return Err("the path has a NUL".into());
    }
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex)) else {
            return Err("the path has a % that two hexadecimal digits do not follow (RFC 3986, 2.1)".into());
        };
        match high << 4 | low {
            0 => return Err("the path has a NUL".into()),
            b'/' => decoded.push(ESCAPED_SLASH as u8),
            byte => decoded.push(byte),
        }
    }
    let text = String::from_utf8(decoded).map_err(|_| "the path is not UTF-8 after percent-decoding")?;
    Ok(Cow::Owned(text))
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// The value of a parameter from what it took of a decoded path.
fn param(taken: &str) -> String {
    if taken.contains(ESCAPED_SLASH) { taken.replace(ESCAPED_SLASH, "/") } else { taken.to_owned() }
}

fn check_method(method: &str) -> Result<(), String> {
    let upper = method.to_ascii_uppercase();
    if method.is_empty() || !method.bytes().all(is_token) {
        Err(format!("{method:?} is not a method; GET, POST, PUT, PATCH, DELETE and HEAD are"))
    } else if matches!(method, "CONNECT" | "TRACE") {
        Err(format!("{method} is not served: it makes a server a proxy, or an echo of secrets"))
    } else if method != upper && (METHODS.contains(&upper.as_str()) || matches!(upper.as_str(), "CONNECT" | "TRACE")) {
        Err(format!("methods are told apart by case (RFC 9110, 9.1); write {upper:?} for {method:?}"))
    } else {
        Ok(())
    }
}

fn parse(pattern: &str) -> Result<Vec<Segment>, String> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err(format!("the pattern {pattern:?} does not begin with a slash; write {:?}", format!("/{pattern}")));
    };
    if let Some(letter) = path.chars().find(|letter| letter.is_control()) {
        return Err(format!("the pattern {pattern:?} has {letter:?}, a control character; remove it"));
    }
    if path.split('/').nth(SEGMENTS_MAX).is_some() {
        return Err(format!("a pattern has at most {SEGMENTS_MAX} segments; take the rest by a path parameter"));
    }
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
        let (name, converter) = inside.split_once(':').unwrap_or((inside, "str"));
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
            "str" => Segment::Text(name),
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
