//! The line that begins a chunk: `chunk-size [ chunk-ext ] CRLF` (RFC 9112, 7.1).
//!
//! The size is one to sixteen hexadecimal digits, what 64 bits hold, with no sign, prefix or white space. Behind it come the
//! line's end or extensions in their full grammar: nobody uses them, so a wrong one is an attempt to have two servers disagree
//! about where the line ends. White space is taken where RFC 9112, 7.1.1 says that it must be (around `;` and `=`), and
//! nowhere else.

use super::fields::{is_token_byte, is_value_byte};

/// Hexadecimal digits of a chunk size: what 64 bits hold.
pub(super) const SIZE_DIGITS_MAX: usize = 16;

const BAD_SIZE: &str = "a chunk size is not a hexadecimal number that fits (RFC 9112, 7.1)";
const BAD_EXTENSION: &str = "a chunk size is followed by something else than an extension (RFC 9112, 7.1.1)";

/// The rule that the first bytes of a line break, whatever follows them.
pub(super) fn judge_start(bytes: &[u8]) -> Result<(), &'static str> {
    let digits = digits(bytes);
    match bytes.get(digits) {
        _ if digits > SIZE_DIGITS_MAX => Err(BAD_SIZE),
        None | Some(b';' | b' ' | b'\t' | b'\r' | b'\n') if digits > 0 => Ok(()),
        None => Ok(()),
        Some(_) if digits == 0 => Err(BAD_SIZE),
        Some(_) => Err(BAD_EXTENSION),
    }
}

/// The size, and the length of the extensions, of a line without its CRLF.
pub(super) fn parse(line: &[u8]) -> Result<(u64, usize), &'static str> {
    let (digits, extensions) = line.split_at(digits(line));
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX {
        return Err(BAD_SIZE);
    }
    if !are_extensions(extensions) {
        return Err(BAD_EXTENSION);
    }
    let value = |byte: u8| u64::from((byte as char).to_digit(16).unwrap_or_default());
    Ok((digits.iter().fold(0, |size, &byte| size << 4 | value(byte)), extensions.len()))
}

/// How many hexadecimal digits there are at the front; not more than one too many.
fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take(SIZE_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_hexdigit()).count()
}

/// RFC 9112, 7.1.1: `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn are_extensions(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(name) = white_space(rest).strip_prefix(b";") else { return false };
        let Some(after_name) = token(white_space(name)) else { return false };
        rest = after_name;
        if let Some(value) = white_space(rest).strip_prefix(b"=") {
            let value = white_space(value);
            let Some(after_value) = token(value).or_else(|| quoted_string(value)) else { return false };
            rest = after_value;
        }
    }
    true
}

/// What follows the white space at the front.
fn white_space(bytes: &[u8]) -> &[u8] {
    let length = bytes.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[length..]
}

/// What follows the token at the front, if there is one.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|&&byte| is_token_byte(byte)).count();
    (length > 0).then(|| &bytes[length..])
}

/// What follows the quoted string at the front, if there is one (RFC 9110, 5.6.4).
fn quoted_string(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', byte, after @ ..] => (byte, after),
            [byte, after @ ..] => (byte, after),
            [] => return None,
        };
        if !is_value_byte(*byte) {
            return None;
        }
        rest = after;
    }
}
