//! `<<…>>` in what a case sends and expects: the few things that bytes in TOML cannot say.
//!
//! `<<host>>` is the server's authority, `<<hex 00 ff>>` are bytes, `<<repeat 300 a>>` is a text many times, `<<n>>` the number
//! of a request of a load, `<<score>>` the field lines of a score, `<<frame 81 text>>` a WebSocket frame of a client. Anything else between the marks is an error, never text.

use crate::frames;

/// What the templates of one case stand for.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// `<<host>>`: host and port, as a Host field has them.
    pub host: String,
    /// `<<n>>`.
    pub number: Option<usize>,
    /// `<<score>>`: the field lines of a score.
    pub score: Vec<String>,
}

/// The bytes that `text` stands for, or what is wrong with it.
pub fn expand(text: &str, values: &Values) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<<") {
        bytes.extend_from_slice(&rest.as_bytes()[..start]);
        let inside = &rest[start + 2..];
        let end = inside.find(">>").ok_or_else(|| format!("`<<` without `>>` in {text:?}"))?;
        one(&inside[..end], values, &mut bytes)?;
        rest = &inside[end + 2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

fn one(template: &str, values: &Values, bytes: &mut Vec<u8>) -> Result<(), String> {
    let wrong = || format!("<<{template}>> is no template; see INTERPRETING.md");
    match template.split_once(' ').unwrap_or((template, "")) {
        ("host", "") => bytes.extend_from_slice(values.host.as_bytes()),
        ("n", "") => bytes.extend_from_slice(values.number.ok_or_else(wrong)?.to_string().as_bytes()),
        ("score", "") => bytes.extend_from_slice(values.score.join("\r\n").as_bytes()),
        ("frame", what) => {
            let (first, payload) = what.split_once(' ').unwrap_or((what, ""));
            let first = u8::from_str_radix(first, 16).map_err(|_| wrong())?;
            bytes.extend_from_slice(&frames::of_client(first, payload.as_bytes()));
        }
        ("hex", digits) => {
            for pair in digits.split(' ') {
                let byte = (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
                bytes.push(byte.ok_or_else(wrong)?);
            }
        }
        ("repeat", what) => {
            let (count, text) = what.split_once(' ').ok_or_else(wrong)?;
            let count: usize = count.parse().map_err(|_| wrong())?;
            // A case of more than 64 MiB is a mistake.
            if count.saturating_mul(text.len()) > 64 << 20 {
                return Err(wrong());
            }
            bytes.extend_from_slice(text.repeat(count).as_bytes());
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

/// The bytes of a `request`: request line, Host, the field lines, and the content with its length.
pub fn request(line: &str, headers: &[String], body: Option<&str>, values: &Values) -> Result<Vec<u8>, String> {
    let mut bytes = expand(line, values)?;
    bytes.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    bytes.extend_from_slice(values.host.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for header in headers.iter().chain(&values.score) {
        bytes.extend_from_slice(&expand(header, values)?);
        bytes.extend_from_slice(b"\r\n");
    }
    let content = body.map(|body| expand(body, values)).transpose()?;
    if let Some(content) = &content {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", content.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&content.unwrap_or_default());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values { host: "a:1".into(), number: Some(7), score: Vec::new() }
    }

    #[test]
    fn each_template_has_its_bytes() {
        let expanded = expand("x<<host>>y<<hex 00 fF>><<repeat 3 ab>><<n>>z", &values());
        assert_eq!(expanded, Ok(b"xa:1y\x00\xffababab7z".to_vec()));
        assert_eq!(expand("<< no", &values()), Err("`<<` without `>>` in \"<< no\"".into()));
        for bad in ["<<hosts>>", "<<hex 0>>", "<<hex>>", "<<repeat a 3>>", "<<>>", "<<repeat 99999999 ab>>"] {
            assert!(expand(bad, &values()).is_err(), "{bad}");
        }
        assert!(expand("<<n>>", &Values::default()).is_err(), "outside of a load");
    }

    #[test]
    fn a_request_has_host_fields_and_the_length_of_its_content() {
        let bytes = request("POST /x", &["X: <<hex e9>>".into()], Some("<<repeat 2 ü>>"), &values());
        let expected = b"POST /x HTTP/1.1\r\nHost: a:1\r\nX: \xe9\r\nContent-Length: 4\r\n\r\n\xc3\xbc\xc3\xbc";
        assert_eq!(bytes, Ok(expected.to_vec()));
        assert_eq!(request("GET /", &[], None, &values()), Ok(b"GET / HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec()));
    }
}
