//! The grammar of an authority without userinfo: `uri-host [ ":" port ]` (RFC 9110, 4.2 and 7.2; RFC 3986, 3.2.2).
//!
//! What Host names decides, on many sites, whose data is shown; so it is checked even where nothing here looks at it.

use std::net::Ipv6Addr;

/// Whether `text` is a host that is not empty, with an optional port. Userinfo is none of it: an http URI with userinfo is to
/// be treated as an error (RFC 9110, 4.2.4).
pub(super) fn is_authority(text: &[u8]) -> bool {
    let (host_is_valid, port) = if text.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', text) else { return false };
        (is_ip_literal(&text[1..end]), &text[end + 1..])
    } else {
        let end = memchr::memchr(b':', text).unwrap_or(text.len());
        (is_reg_name(&text[..end]), &text[end..])
    };
    host_is_valid
        && match port {
            [] => true,
            [b':', digits @ ..] => is_port(digits),
            _ => false,
        }
}

/// RFC 3986, 3.2.3: `*DIGIT`, so possibly none, with zeros in front at will; beyond 65535 there is no such TCP port.
fn is_port(digits: &[u8]) -> bool {
    let port = digits.iter().try_fold(0u32, |port, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(port * 10 + digit).filter(|&port| port <= u32::from(u16::MAX))
    });
    port.is_some()
}

/// RFC 3986, 3.2.2: between the brackets, an IPv6 address without a zone, or an address of a version to come.
fn is_ip_literal(text: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = text {
        let Some(dot) = memchr::memchr(b'.', future) else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| is_name_byte(byte) || byte == b':');
    }
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// RFC 3986, 3.2.2: unreserved, sub-delims and percent-escapes. IPv4 addresses are among them. Not empty, unlike there, because
/// an http URI has a host (RFC 9110, 4.2.1).
fn is_reg_name(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return !text.is_empty(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_name_byte(*byte) => rest,
            _ => return false,
        }
    }
}

/// RFC 3986, 2.2 and 2.3: unreserved and sub-delims.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}
