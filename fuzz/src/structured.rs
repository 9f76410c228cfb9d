//! `structured`: a request that somebody meant, printed in any spelling that the grammar allows, and read back.

use arbitrary::{Arbitrary, Result, Unstructured};
use polygil::http::Limits;

use crate::drive::{Seen, cut, drive};
use crate::grammar::is_token_byte;

/// What was printed is read back, request by request.
pub fn structured(data: &[u8]) {
    // Bytes that are too few for a request are no request.
    let _ = attempt(&mut Unstructured::new(data));
}

struct Printed {
    method: String,
    target: String,
    path: String,
    query: Option<String>,
    host: &'static str,
    /// None for chunks.
    length: Option<u64>,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

fn attempt(draw: &mut Unstructured<'_>) -> Result<()> {
    let mut bytes = Vec::new();
    let mut printed = Vec::new();
    for _ in 0..draw.int_in_range(1..=3)? {
        printed.push(print(draw, &mut bytes)?);
    }
    let trace = drive(&Limits::default(), cut(&bytes), false);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(trace.error(), None, "{text}");
    assert_eq!(trace.complete(), printed.len(), "{text}");
    let mut seen = trace.seen.iter();
    for request in &printed {
        let Some(Seen::Head(head)) = seen.next() else { panic!("no head in {text}") };
        assert_eq!(head.method(), request.method, "{text}");
        assert_eq!(head.target(), request.target, "{text}");
        assert_eq!((head.path(), head.query()), (&*request.path, request.query.as_deref()), "{text}");
        assert_eq!((head.host(), head.minor_version()), (request.host, 1), "{text}");
        assert_eq!(head.content_length(), request.length, "{text}");
        assert_eq!(head.has_body(), request.length != Some(0), "{text}");
        assert!(!head.expects_continue(), "{text}");
        let fields: Vec<_> = head.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        assert_eq!(fields, request.fields, "{text}");
        let mut next = seen.next();
        if !request.content.is_empty() {
            assert_eq!(next, Some(&Seen::Body(request.content.clone())), "{text}");
            next = seen.next();
        }
        assert_eq!(next, Some(&Seen::End), "{text}");
    }
    Ok(())
}

fn print(draw: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<Printed> {
    for _ in 0..draw.int_in_range(0..=2)? {
        out.extend_from_slice(b"\r\n");
    }
    let method = match &*text(draw, 1..=20, is_token_byte)? {
        // Takes no target of these.
        "CONNECT" => "OPTIONS".to_owned(),
        method => method.to_owned(),
    };
    let path = text(draw, 0..=40, |byte| byte.is_ascii_graphic() && byte != b'#')?;
    let host = *draw.choose(&["a", "a:80", "127.0.0.1:8000", "[::1]", "[v1.x]:1", "x%20y", "A.b-c_d~!$&'()*+,;="])?;
    let (before, path) = match draw.int_in_range(0..=4)? {
        0 => (format!("http://{host}"), as_browsers_send(&format!("/{path}"))),
        1 => (format!("HTTPS://{host}"), as_browsers_send(&format!("?{path}"))),
        2 => (format!("hTTp://{host}"), String::new()),
        _ => (String::new(), as_browsers_send(&format!("/{path}"))),
    };
    let target = format!("{before}{path}");
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (&*path, None),
    };
    let path = match path {
        "" if query.is_none() && method == "OPTIONS" => "*",
        "" => "/",
        path => path,
    };
    let path = path.to_owned();
    out.extend_from_slice(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
    let content = draw.arbitrary_iter::<u8>()?.take(200).collect::<Result<Vec<u8>>>()?;
    let chunked = bool::arbitrary(draw)?;
    let zeros = "0".repeat(draw.int_in_range(0..=4)?);
    let framing = match chunked {
        true => ("transfer-encoding", "chunked".to_owned()),
        false => ("content-length", format!("{zeros}{}", content.len())),
    };
    let mut fields =
        vec![("host".to_owned(), host.as_bytes().to_vec()), (framing.0.to_owned(), framing.1.into_bytes())];
    for _ in 0..draw.int_in_range(0..=8)? {
        let name = format!("x{}", text(draw, 0..=12, is_token_byte)?);
        let place = draw.int_in_range(0..=fields.len())?;
        fields.insert(place, (name, value(draw)?));
    }
    for (name, value) in &mut fields {
        *name = case(draw, name)?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            *value = case(draw, "chunked")?.into_bytes();
        }
        out.extend_from_slice(format!("{name}:{}", space(draw)?).as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(format!("{}\r\n", space(draw)?).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if chunked {
        chunks(draw, &content, out)?;
    } else {
        out.extend_from_slice(&content);
    }
    let length = (!chunked).then_some(content.len() as u64);
    Ok(Printed { method, target, path, query, host, length, fields, content })
}

/// A path and a query with what the URL standard has a browser escape there.
fn as_browsers_send(text: &str) -> String {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let escaped = |text: &str, set: &str| -> String {
        let one = |letter: char| match set.contains(letter) {
            true => format!("%{:02X}", u32::from(letter)),
            false => letter.to_string(),
        };
        text.chars().map(one).collect()
    };
    let path = escaped(path, "\"<>\\^`{}%");
    query.map_or(path.clone(), |query| format!("{path}?{}", escaped(query, "\"<>")))
}

fn chunks(draw: &mut Unstructured<'_>, content: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut rest = content;
    loop {
        let size = match rest.len() {
            0 => 0,
            left => draw.int_in_range(1..=left)?,
        };
        let zeros = "0".repeat(draw.int_in_range(0..=8)?);
        let digits = case(draw, &format!("{size:x}"))?;
        out.extend_from_slice(format!("{zeros}{digits}").as_bytes());
        for _ in 0..draw.int_in_range(0..=2)? {
            let name = text(draw, 1..=5, is_token_byte)?;
            out.extend_from_slice(format!("{};{}{name}", space(draw)?, space(draw)?).as_bytes());
            match draw.int_in_range(0..=2)? {
                0 => {}
                1 => {
                    let value = text(draw, 1..=5, is_token_byte)?;
                    out.extend_from_slice(format!("{}={}{value}", space(draw)?, space(draw)?).as_bytes());
                }
                _ => {
                    let inside = text(draw, 0..=5, |byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))?;
                    out.extend_from_slice(format!("{}={}\"{inside}\\\"\\\\\"", space(draw)?, space(draw)?).as_bytes());
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        let (chunk, after) = rest.split_at(size);
        if chunk.is_empty() {
            break;
        }
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    for _ in 0..draw.int_in_range(0..=2)? {
        let name = text(draw, 1..=12, is_token_byte)?;
        out.extend_from_slice(format!("{name}:{}", space(draw)?).as_bytes());
        out.extend_from_slice(&value(draw)?);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Of the bytes that `is_good` takes.
fn text(
    draw: &mut Unstructured<'_>,
    length: std::ops::RangeInclusive<usize>,
    is_good: fn(u8) -> bool,
) -> Result<String> {
    let good: Vec<u8> = (0..=255).filter(|&byte| is_good(byte)).collect();
    let length = draw.int_in_range(length)?;
    (0..length).map(|_| Ok(char::from(*draw.choose(&good)?))).collect()
}

/// A field value: any text with no white space around it.
fn value(draw: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = draw.int_in_range(0..=20)?;
    let byte = |draw: &mut Unstructured<'_>| {
        Ok(match u8::arbitrary(draw)? {
            byte @ (b'\t' | b' '..=0x7e | 0x80..) => byte,
            0x7f => b'?',
            control => control | 0x40,
        })
    };
    let value = (0..length).map(|_| byte(draw)).collect::<Result<Vec<u8>>>()?;
    Ok(crate::grammar::trim(&value).to_vec())
}

/// The same letters in any case.
fn case(draw: &mut Unstructured<'_>, text: &str) -> Result<String> {
    text.chars().map(|letter| Ok(if bool::arbitrary(draw)? { letter.to_ascii_uppercase() } else { letter })).collect()
}

/// White space that means nothing.
fn space(draw: &mut Unstructured<'_>) -> Result<&'static str> {
    draw.choose(&["", " ", "\t", " \t "]).copied()
}
