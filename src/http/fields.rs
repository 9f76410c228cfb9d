//! The grammar of field lines (RFC 9110, 5; RFC 9112, 5), and the name of the rule that a bad one breaks.
//!
//! Requests are parsed by `httparse`, which says *that* a line is bad; [`judge`] says *why*, and is the one judge of trailer
//! lines. The two must agree about every byte, which a test holds them to: a line that one takes and the other refuses would be
//! a hole in one place or a wrong refusal in the other. The same tables judge what handlers want to send.

/// RFC 9110, 5.6.2: `tchar`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// RFC 9110, 5.6.2: `1*tchar`.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// RFC 9110, 5.5: HTAB, SP, visible ASCII and obs-text. Everything else could end a line somewhere.
pub(super) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The members of a comma-separated list, without the white space around them; empty ones are passed over (RFC 9110, 5.6.1).
///
/// For lists of tokens: a comma inside a quoted string is taken for a separator, which makes members that match no token.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The rule that a field line breaks, if it breaks one. The line comes without its CRLF.
pub(super) fn judge(line: &[u8]) -> Result<(), &'static str> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err("a field line begins with white space: folded lines are refused (RFC 9112, 2.2 and 5.2)");
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err("a field line has no colon (RFC 9112, 5)");
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() {
        return Err("a field line has no name before its colon (RFC 9112, 5)");
    }
    if matches!(name.last(), Some(b' ' | b'\t')) && is_token(name.trim_ascii_end()) {
        return Err("white space between a field name and its colon (RFC 9112, 5.1)");
    }
    if !is_token(name) {
        return Err("a field name is not a token directly before its colon (RFC 9112, 5.1)");
    }
    if value.contains(&b'\r') {
        return Err("a field value has a CR that does not end its line (RFC 9112, 2.2)");
    }
    if !value.iter().copied().all(is_value_byte) {
        return Err("a field value has a control character (RFC 9110, 5.5)");
    }
    Ok(())
}

const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
};
