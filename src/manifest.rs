//! A TOML manifest of routes: an app without a line of Python about routing.
//!
//! ```toml
//! [[routes]]
//! method = "GET"                # or a list of them
//! path = "/users/{id:int}"
//! module = "users"
//! function = "Users.show"
//! timeout = "1s"                # optional: how long the handler may run
//! queue_timeout = "250ms"       # optional: how long a request may wait for a worker before that
//! ```
//!
//! Each route's origin is its file and line. All mistakes are reported together: those of the file's form, those of names that
//! could not be imported whatever else is installed, and those that the [`router`](crate::router) finds in the whole table. A name
//! that no other interpreter can reach is no mistake of the file; the route says so and `check` gives its verdict.
//! This stands before the first request, and imports nothing.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::kinds;
use crate::config::sources::line_of;
use crate::router::{RouteSpec, Router};

const KEYS: [&str; 6] = ["method", "path", "module", "function", "timeout", "queue_timeout"];

/// Everything that is wrong with a manifest, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ManifestError(pub String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ManifestError {}

/// Reads the manifest at `path`.
pub fn load(path: &Path) -> Result<Vec<RouteSpec>, ManifestError> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ManifestError(format!("{place}: {error}")))?;
    parse(&place, &text)
}

/// Reads a manifest's text; `place` is what errors and origins call it.
pub fn parse(place: &str, text: &str) -> Result<Vec<RouteSpec>, ManifestError> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        ManifestError(format!("{place}:{line}: {}", error.message()))
    })?;
    let mut reader = Reader { place, text, routes: Vec::new(), mistakes: Vec::new() };
    reader.document(document.get_ref());
    if let (false, Err(errors)) = (reader.mistakes.is_empty(), Router::build(reader.routes.clone())) {
        // Whoever is told of the form is told of the table, too; a file of good form is judged by whoever builds the router.
        reader.mistakes.extend(errors.iter().map(ToString::to_string));
    }
    if reader.mistakes.is_empty() { Ok(reader.routes) } else { Err(ManifestError(reader.mistakes.join("\n"))) }
}

struct Reader<'t> {
    place: &'t str,
    text: &'t str,
    routes: Vec<RouteSpec>,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.place, line_of(self.text, offset))
    }

    fn wrong(&mut self, offset: usize, what: &str) {
        self.mistakes.push(format!("{}: {what}", self.at(offset)));
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for key in sorted(document).into_iter().filter(|key| key.get_ref() != "routes") {
            self.wrong(key.span().start, &format!("{:?} is no part of a manifest; [[routes]] is", key.get_ref()));
        }
        match document.get("routes").map(Spanned::get_ref) {
            Some(DeValue::Array(routes)) => {
                for route in routes {
                    self.route(route);
                }
            }
            _ if self.mistakes.is_empty() => self.wrong(0, "there are no [[routes]]"),
            _ => {}
        }
    }

    fn route(&mut self, route: &Spanned<DeValue<'_>>) {
        let start = route.span().start;
        let Some(table) = route.get_ref().as_table() else {
            return self.wrong(start, "a route is a table: [[routes]]");
        };
        for key in sorted(table).into_iter().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let message = format!("{:?} is no key of a route; {} are", key.get_ref(), KEYS.join(", "));
            self.wrong(key.span().start, &message);
        }
        let methods = self.methods(table, start);
        let (pattern, module, qualname) =
            (self.string(table, "path", start), self.name(table, "module", start), self.name(table, "function", start));
        let (timeout_ms, queue_timeout_ms) = (self.millis(table, "timeout"), self.millis(table, "queue_timeout"));
        let (Some(pattern), Some(module), Some(qualname)) = (pattern, module, qualname) else { return };
        let unreachable = unreachable(&module, &qualname);
        for method in methods {
            self.routes.push(RouteSpec {
                method,
                pattern: pattern.clone(),
                module: module.clone(),
                qualname: qualname.clone(),
                origin: self.at(start),
                timeout_ms,
                queue_timeout_ms,
                unreachable: unreachable.clone(),
            });
        }
    }

    fn methods(&mut self, table: &DeTable<'_>, start: usize) -> Vec<String> {
        let Some(value) = table.get("method") else {
            self.wrong(start, "the route has no method");
            return Vec::new();
        };
        let one = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
        let methods: Option<Vec<String>> = match value.get_ref() {
            DeValue::Array(list) if !list.is_empty() => list.iter().map(|item| one(item.get_ref())).collect(),
            other => one(other).map(|method| vec![method]),
        };
        if methods.is_none() {
            self.wrong(value.span().start, "method is a string, or a list of strings");
        }
        methods.unwrap_or_default()
    }

    fn string(&mut self, table: &DeTable<'_>, key: &str, start: usize) -> Option<String> {
        let Some(value) = table.get(key) else {
            self.wrong(start, &format!("the route has no {key}"));
            return None;
        };
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                self.wrong(value.span().start, &format!("{key} is a string that is not empty"));
                None
            }
        }
    }

    /// A dotted name that Python could have; what a lambda is called passes, and is told as unreachable.
    fn name(&mut self, table: &DeTable<'_>, key: &str, start: usize) -> Option<String> {
        let name = self.string(table, key, start)?;
        if name.split('.').all(is_identifier) {
            return Some(name);
        }
        let example = if key == "module" { "users or shop.users" } else { "show or Users.show" };
        let at = table.get(key).map_or(start, |value| value.span().start);
        self.wrong(at, &format!("{key} is a dotted name such as {example}, not {name:?}"));
        None
    }

    fn millis(&mut self, table: &DeTable<'_>, key: &str) -> Option<u64> {
        let value = table.get(key)?;
        let duration = value.get_ref().as_str().and_then(|text| kinds::duration(text).ok());
        let millis =
            duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()).filter(|millis| *millis > 0);
        if millis.is_none() {
            let at = value.span().start;
            self.wrong(at, &format!("{key} is a time from 1ms to 365 days, such as \"250ms\" or \"1s\""));
        }
        millis
    }
}

/// The keys in the order of the file.
fn sorted<'d, 't>(table: &'d DeTable<'t>) -> Vec<&'d Spanned<Cow<'t, str>>> {
    let mut keys: Vec<_> = table.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    keys
}

/// Whether Python could take it for an identifier: exact for ASCII, and of other letters Python is the judge.
fn is_identifier(text: &str) -> bool {
    let other = |byte: u8| byte.is_ascii() && !byte.is_ascii_alphanumeric() && byte != b'_';
    matches!(text, "<lambda>" | "<locals>")
        || !(text.is_empty() || text.as_bytes()[0].is_ascii_digit() || text.bytes().any(other))
}

/// Why no other interpreter can find a handler of this name, if none can.
fn unreachable(module: &str, qualname: &str) -> Option<String> {
    let reason = if module == "__main__" {
        "__main__ is another module in every interpreter; put the handler into a module of its own"
    } else if qualname.contains("<lambda>") {
        "a lambda has no name to find it by; write a function"
    } else if qualname.contains("<locals>") {
        "a function inside a function cannot be found by name; move it to the top of its module"
    } else {
        return None;
    };
    Some(format!("{module}:{qualname}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_its_file_and_line() {
        let text = "# users\n[[routes]]\nmethod = [\"GET\", \"PUT\"]\npath = \"/u/{id}\"\nmodule = \"users\"\nfunction = \"Users.show\"\ntimeout = \"1s\"\nqueue_timeout = \"250ms\"\n";
        let routes = parse("r.toml", text).expect("valid");
        let expected = |method: &str| RouteSpec {
            method: method.into(),
            pattern: "/u/{id}".into(),
            module: "users".into(),
            qualname: "Users.show".into(),
            origin: "r.toml:2".into(),
            timeout_ms: Some(1000),
            queue_timeout_ms: Some(250),
            unreachable: None,
        };
        assert_eq!(routes, [expected("GET"), expected("PUT")]);
    }

    #[test]
    fn all_mistakes_come_together() {
        let text = "x = 1\n[[routes]]\nmethod = 1\npath = \"/\"\nmodul = \"a\"\nfunction = \"\"\ntimeout = \"soon\"\n";
        let error = parse("r.toml", text).expect_err("mistakes").0;
        let expected = [
            "r.toml:1: \"x\" is no part of a manifest; [[routes]] is",
            "r.toml:5: \"modul\" is no key of a route; method, path, module, function, timeout, queue_timeout are",
            "r.toml:3: method is a string, or a list of strings",
            "r.toml:2: the route has no module",
            "r.toml:6: function is a string that is not empty",
            "r.toml:7: timeout is a time from 1ms to 365 days, such as \"250ms\" or \"1s\"",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
        assert_eq!(parse("r.toml", "").expect_err("empty").0, "r.toml:1: there are no [[routes]]");
        assert!(parse("r.toml", "a = \n").expect_err("not TOML").0.starts_with("r.toml:1: "));
    }

    #[test]
    fn mistakes_of_form_and_of_the_table_come_together() {
        let route = |method: &str, path: &str, module: &str, function: &str| {
            format!(
                "[[routes]]\nmethod = {method}\npath = \"{path}\"\nmodule = \"{module}\"\nfunction = \"{function}\"\n"
            )
        };
        let text = [
            route("\"GET\"", "/a", "users", "show"),
            route("[\"PUT\", \"GET\"]", "/a", "users", "put"),
            route("\"get\"", "b", "users", "show"),
            route("[]", "/c", "users.py/x", "show"),
            route("[1]", "/d", "users", "Users..show"),
            route("\"GET\"", "/e", "2users", "show()"),
            "[[routes]]\nzeta = 1\nalpha = 2\ntimeout = \"366days\"\n".to_owned(),
        ]
        .concat();
        insta::assert_snapshot!(parse("r.toml", &text).expect_err("mistakes").0);
    }

    #[test]
    fn a_table_of_good_form_is_left_to_the_router() {
        let text = "[[routes]]\nmethod=\"GET\"\npath=\"b\"\nmodule=\"m\"\nfunction=\"f\"\n";
        let routes = parse("r.toml", text).expect("of good form");
        let errors = Router::build(routes).expect_err("no slash");
        let expected = r#"r.toml:1: the pattern "b" does not begin with a slash; write "/b""#;
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("no/such.toml")).expect_err("there is none").0;
        assert!(error.starts_with("no/such.toml: "), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_file_is_too_strange(text in ".{0,60}|(\\[\\[routes\\]\\]\n((method|path|module|function|timeout)=(\"[GET/{}a:.<>1s]{0,6}\"|\\[\"GET\"\\]|1)\n){0,5}){0,3}") {
            if let Err(ManifestError(mistakes)) = parse("r.toml", &text) {
                proptest::prop_assert!(mistakes.lines().count() > 0);
            }
        }
    }

    #[test]
    fn names_that_no_other_interpreter_finds_say_why() {
        for (module, function) in [("__main__", "f"), ("m", "<lambda>"), ("m", "f.<locals>.g")] {
            let text =
                format!("[[routes]]\nmethod=\"GET\"\npath=\"/\"\nmodule=\"{module}\"\nfunction=\"{function}\"\n");
            assert!(parse("r.toml", &text).expect("valid")[0].unreachable.is_some(), "{module}:{function}");
        }
    }
}
