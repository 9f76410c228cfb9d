//! What a field of a text log may not do: begin a line.
//!
//! A client chooses paths, names and much of what exceptions say. Printed as it is, a line break in there begins a line that looks
//! like any other of the log, and a control character moves the cursor of whoever looks at it (CWE-117, CWE-150). So in the text
//! format every control character is written as its escape. The message alone may have several lines, for tracebacks: each
//! but the first is marked by [`CONTINUED`], which no line of the log begins with. JSON escapes them by itself.

use std::fmt::{self, Debug, Write};

use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// What each further line of a message begins with.
pub(super) const CONTINUED: &str = "  | ";

/// Writes one field: the message as it is, any other as `name=value`.
pub(super) fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() == "message" {
        return write!(Escaped { out: writer, continued: Some(CONTINUED) }, "{value:?}");
    }
    let name = field.name().trim_start_matches("r#");
    if writer.has_ansi_escapes() {
        write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
    } else {
        write!(writer, "{name}=")?;
    }
    write!(Escaped { out: writer, continued: None }, "{value:?}")
}

/// Passes text on, without what could forge or hide some.
struct Escaped<'w, W> {
    out: &'w mut W,
    /// What follows a line break, where one may be.
    continued: Option<&'static str>,
}

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(position) = rest.find(is_dangerous) {
            self.out.write_str(&rest[..position])?;
            let character = rest[position..].chars().next().expect("one was found");
            match (character, self.continued) {
                ('\n', Some(mark)) => {
                    self.out.write_char('\n')?;
                    self.out.write_str(mark)?;
                }
                ('\t', Some(_)) => self.out.write_char('\t')?,
                _ => write!(self.out, "{}", character.escape_default())?,
            }
            rest = &rest[position + character.len_utf8()..];
        }
        self.out.write_str(rest)
    }
}

/// Control characters, the line breaks of Unicode, and what turns the direction of a text around.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, continued: Option<&'static str>, expected: &str) {
        let mut out = String::new();
        write!(Escaped { out: &mut out, continued }, "{text}").unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_message_goes_on_in_marked_lines() {
        check("boo\nTraceback:\n\tin f\n", Some("  | "), "boo\n  | Traceback:\n  | \tin f\n  | ");
        check("boo\r\n2026-01-01 GET", Some("  | "), "boo\\r\n  | 2026-01-01 GET");
    }

    #[test]
    fn another_field_has_one_line() {
        check("a\nb\tc", None, "a\\nb\\tc");
        check("Grüße, 世界", None, "Grüße, 世界");
    }

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_text() {
        check("\x1b[2J\x07\0\x7f\u{85}", None, "\\u{1b}[2J\\u{7}\\u{0}\\u{7f}\\u{85}");
        check("\u{202e}a\u{2066}\u{2028}b", Some("  | "), "\\u{202e}a\\u{2066}\\u{2028}b");
        check("\x0b\x0c", Some("  | "), "\\u{b}\\u{c}");
    }
}
