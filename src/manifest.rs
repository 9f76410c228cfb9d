//! A TOML manifest of routes: an app without a line of Python about routing.
//!
//! ```toml
//! [[routes]]
//! method = "GET"                # or a list of them
//! path = "/users/{id:int}"
//! module = "users"
//! function = "Users.show"
//! timeout = "1s"                # optional: the handler's own time budget
//! ```
//!
//! Each route's origin is its file and line. All mistakes are reported together.

use std::fmt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::sources::line_of;
use crate::router::RouteSpec;

const KEYS: [&str; 5] = ["method", "path", "module", "function", "timeout"];

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
        for key in document.keys().filter(|key| key.get_ref() != "routes") {
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
        for key in table.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let message = format!("{:?} is no key of a route; {} are", key.get_ref(), KEYS.join(", "));
            self.wrong(key.span().start, &message);
        }
        let methods = self.methods(table, start);
        let (pattern, module, qualname) = (
            self.string(table, "path", start),
            self.string(table, "module", start),
            self.string(table, "function", start),
        );
        let timeout = self.timeout(table);
        let (Some(pattern), Some(module), Some(qualname)) = (pattern, module, qualname) else { return };
        let unreachable = unreachable(&module, &qualname);
        for method in methods {
            self.routes.push(RouteSpec {
                method,
                pattern: pattern.clone(),
                module: module.clone(),
                qualname: qualname.clone(),
                origin: self.at(start),
                timeout_ms: timeout,
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

    fn timeout(&mut self, table: &DeTable<'_>) -> Option<u64> {
        let value = table.get("timeout")?;
        let duration = value.get_ref().as_str().and_then(|text| humantime::parse_duration(text).ok());
        let millis =
            duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()).filter(|millis| *millis > 0);
        if millis.is_none() {
            self.wrong(value.span().start, "timeout is a time of at least 1ms, such as \"250ms\" or \"1s\"");
        }
        millis
    }
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
        let text = "# users\n[[routes]]\nmethod = [\"GET\", \"PUT\"]\npath = \"/u/{id}\"\nmodule = \"users\"\nfunction = \"Users.show\"\ntimeout = \"1s\"\n";
        let routes = parse("r.toml", text).expect("valid");
        let expected = |method: &str| RouteSpec {
            method: method.into(),
            pattern: "/u/{id}".into(),
            module: "users".into(),
            qualname: "Users.show".into(),
            origin: "r.toml:2".into(),
            timeout_ms: Some(1000),
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
            "r.toml:5: \"modul\" is no key of a route; method, path, module, function, timeout are",
            "r.toml:3: method is a string, or a list of strings",
            "r.toml:2: the route has no module",
            "r.toml:6: function is a string that is not empty",
            "r.toml:7: timeout is a time of at least 1ms, such as \"250ms\" or \"1s\"",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
        assert_eq!(parse("r.toml", "").expect_err("empty").0, "r.toml:1: there are no [[routes]]");
        assert!(parse("r.toml", "a = \n").expect_err("not TOML").0.starts_with("r.toml:1: "));
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
