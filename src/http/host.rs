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

/// Whether two authorities are one (RFC 9110, 4.2.3; RFC 3986, 6.2.2 and 6.2.3): hosts in any case and however escaped, and a port
/// that is the scheme's default is as good as none, or an empty one. Both have passed [`is_authority`].
pub(super) fn is_same_authority(one: &[u8], other: &[u8], default_port: u16) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    let ((one, one_port), (other, other_port)) = (split(one), split(other));
    let port = |digits: &[u8]| match digits {
        [] => u32::from(default_port),
        digits => digits.iter().fold(0, |port, &byte| port * 10 + u32::from(byte - b'0')),
    };
    port(one_port) == port(other_port) && is_same_host(one, other)
}

/// The host, and the digits of the port.
fn split(authority: &[u8]) -> (&[u8], &[u8]) {
    let host_end = if authority.first() == Some(&b'[') { memchr::memchr(b']', authority).unwrap_or(0) } else { 0 };
    match memchr::memchr(b':', &authority[host_end..]) {
        Some(colon) => (&authority[..host_end + colon], &authority[host_end + colon + 1..]),
        None => (authority, &[]),
    }
}

fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    let address = |host: &[u8]| {
        let text = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
        std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok()
    };
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => unescaped(one).eq(unescaped(other)),
    }
}

/// The bytes of a host in lower case, escapes decoded.
fn unescaped(host: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = host;
    std::iter::from_fn(move || {
        let digit = |byte: u8| (byte as char).to_digit(16);
        let (byte, length) = match rest {
            [] => return None,
            [b'%', high, low, ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (*byte, 1),
        };
        rest = &rest[length..];
        Some(byte.to_ascii_lowercase())
    })
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
