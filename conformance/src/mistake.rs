//! What a person got wrong in a file, in the words of the file: its name, the line, the key, and what is expected there.
//!
//! The reader of TOML and the types behind it tell a mistake in words of their own. This puts them into those of whoever wrote the file.

use std::path::Path;

/// One line for the mistake.
pub fn told(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let mut message = plain(error.message());
    let Some(span) = error.span() else { return format!("{}: {message}", path.display()) };
    let line = line_of(text, span.start);
    // A key that is unknown, or missing, is in the message already.
    if let Some(key) = key_at(text, span.start)
        && !message.contains("the key ")
    {
        message = format!("{key}: {message}");
    }
    format!("{}:{line}: {message}", path.display())
}

/// The number of the line with this byte, from 1 on.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// The line with the `id` of a case, from 1 on.
pub fn line_of_id(text: &str, id: &str) -> Option<usize> {
    let is_it = |line: &str| {
        line.trim()
            .strip_prefix("id")
            .map(str::trim_start)
            .and_then(|rest| rest.strip_prefix('='))
            .is_some_and(|value| value.trim().trim_matches(['"', '\'']) == id)
    };
    text.lines().position(is_it).map(|line| line + 1)
}

/// The key whose value holds this byte: the last one before it that `=` follows, outside of strings.
fn key_at(text: &str, at: usize) -> Option<String> {
    let before = &text[..at.min(text.len())];
    let (mut quote, mut word_start, mut escaped, mut comment) = (None, 0, false, false);
    // The key of each table or list that is open, and of the value behind it.
    let (mut open, mut key): (Vec<Option<String>>, _) = (Vec::new(), None);
    for (index, char) in before.char_indices() {
        match (char, quote) {
            ('\n', _) => {
                comment = false;
                word_start = index + 1;
                quote = None;
            }
            _ if comment => {}
            (_, Some('"')) if escaped => escaped = false,
            ('\\', Some('"')) => escaped = true,
            (char, Some(mark)) if char == mark => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(char),
            ('#', None) => comment = true,
            ('{' | '[', None) => {
                open.push(key.clone());
                word_start = index + 1;
            }
            ('}' | ']', None) => key = open.pop().flatten(),
            (',', None) => {
                key = open.last().cloned().flatten();
                word_start = index + 1;
            }
            ('=', None) => key = Some(before[word_start..index].trim().to_owned()),
            _ => {}
        }
    }
    key.filter(|key| !key.is_empty())
}

/// A message of the parser, without its own words for things.
fn plain(message: &str) -> String {
    let message = message.replace('\n', " ");
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (key, expected) = rest.split_once(", ").unwrap_or((rest, ""));
        let keys =
            expected.trim_start_matches("expected one of ").trim_start_matches("expected ").replace(" or ", ", ");
        return format!("the key {key} means nothing here; there are {keys}");
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("the key {key} is missing");
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (given, expected) = rest.split_once(", ").unwrap_or((rest, ""));
        return format!("{}, not {given}", named(expected));
    }
    for start in ["invalid type: ", "invalid value: "] {
        if let Some((given, expected)) = message.strip_prefix(start).and_then(|rest| rest.split_once(", expected ")) {
            return format!("expected {}, not {}", named(expected), named(given));
        }
    }
    message
}

/// The names of types, as somebody says them who writes a file.
fn named(what: &str) -> String {
    let plain = match what.trim() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a sequence" | "sequence" => "a list",
        "a map" | "map" => "a table",
        "a boolean" => "true or false",
        other => other,
    };
    plain.replace("integer `", "the number `").replace("boolean `", "`").replace("string \"", "the text \"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CaseFile;

    /// What is said of a file with this case in it.
    fn of(case: &str) -> String {
        let text =
            format!("suite = \"a\"\ntopic = \"b\"\nabout = \"c\"\n\n[[case]]\nid = \"x\"\ntitle = \"y\"\n{case}");
        match toml::from_str::<CaseFile>(&text) {
            Ok(_) => panic!("no mistake in {case}"),
            Err(error) => told(Path::new("b.toml"), &text, &error),
        }
    }

    #[test]
    fn a_mistake_names_its_line_its_key_and_what_is_expected() {
        for (case, expected) in [
            ("expects = {}", "b.toml:8: the key `expects` means nothing here; there are `id`, `title`, `level`, "),
            ("level = \"MAST\"", "b.toml:8: level: expected one of `MUST`, `SHOULD`, `MAY`, not `MAST`"),
            ("alone = 3", "b.toml:8: alone: expected true or false, not the number `3`"),
            ("within_ms = -1", "b.toml:8: within_ms: expected a whole number from 0 on, not the number `-1`"),
            ("headers = \"A: b\"", "b.toml:8: headers: expected a list, not the text \"A: b\""),
            (
                "expect = 3",
                "b.toml:8: expect: expected an expectation as a table, or a list of them, not the number `3`",
            ),
            (
                "expect = { status = true }",
                "b.toml:8: status: expected a code, a list of them or a class such as \"4xx\"",
            ),
            (
                "expect = { status = \"4x\" }",
                "b.toml:8: status: expected a code, a list of them or a class such as \"4xx\"",
            ),
            (
                "expect = { status = 99 }",
                "b.toml:8: status: expected a status code from 100 to 599, not the number `99`",
            ),
            ("expect = { stats = 200 }", "b.toml:8: the key `stats` means nothing here; there are `status`, "),
            (
                "expect = [{ status = 200 },\n { headers = { a = 3 } }]",
                "b.toml:9: a: expected true, false, a text or a table",
            ),
            ("expect = { headers = { a = { valu = [] } } }", "b.toml:8: the key `valu` means nothing here"),
            (
                "expect = { framing = \"x\" }",
                "b.toml:8: framing: expected one of `length`, `chunked`, `close`, `none`, not `x`",
            ),
            ("after = \"opened\"", "b.toml:8: after: expected one of `open`, `closed`, `any`, not `opened`"),
            ("steps = [{ send = \"x\" }, 3]", "b.toml:8: steps: expected a step as a table, not the number `3`"),
            ("or = [{ after = \"open\" }]", "b.toml:8: the key `expect` is missing"),
            (
                "steps = [{ load = { connections = 1, each = \"one\" } }]",
                "b.toml:8: each: expected a whole number from 0 on",
            ),
        ] {
            let told = of(case);
            assert!(told.starts_with(expected), "{case}\n  {told}\n  {expected}");
            assert!(!told.contains('\n'), "{told}");
            for type_name in ["struct", "enum", "variant", "u16", "u64", "usize", "Vec", "Option", "field"] {
                assert!(!told.replace("`field`", "").contains(type_name), "{told}");
            }
        }
    }

    #[test]
    fn a_line_that_is_no_toml_is_named() {
        let told = of("level = MUST");
        assert!(told.starts_with("b.toml:8: "), "{told}");
        assert_eq!(line_of_id("a\n id = 'x'\nid=\"y\"\n", "y"), Some(3));
    }
}
