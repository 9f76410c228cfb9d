//! The grammars of RFC 9110 and RFC 9112 in the plainest form, for oracles: nothing of it is shared with what is tested.

/// RFC 9110, 5.6.2: `tchar`.
pub fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// RFC 9110, 5.6.2: `token`.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// RFC 9110, 5.5: `field-value`, with no white space around it.
pub fn is_field_value(text: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let is_text = |byte: &u8| is_space(byte) || matches!(byte, 0x21..=0x7e | 0x80..);
    text.iter().all(is_text) && !text.first().is_some_and(is_space) && !text.last().is_some_and(is_space)
}

/// Without the white space around it (RFC 9110, 5.6.3: `OWS`).
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
