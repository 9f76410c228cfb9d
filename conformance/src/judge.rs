//! Whether an answer is the one expected, and if not, why not: pure, one sentence for each rule broken.

use crate::case::{Expect, Field, FieldRule};
use crate::response::{Response, latin1, lossy};
use crate::template::{Values, expand};

/// What of `expect` the answer breaks, in the words of the report; empty where it is as expected.
pub fn broken(response: &Response, expect: &Expect, values: &Values) -> Vec<String> {
    let mut broken = Vec::new();
    if let Some(statuses) = &expect.status
        && !statuses.contains(response.status)
    {
        broken.push(format!("the status is {}, not {statuses}", response.status));
    }
    for (name, rule) in &expect.headers {
        broken.extend(field(response, name, rule));
    }
    let trailers = Response { headers: response.trailers.clone(), ..response.clone() };
    for (name, rule) in &expect.trailers {
        broken.extend(field(&trailers, name, rule).map(|why| format!("of the trailers {why}")));
    }
    if let Some(body) = &expect.body {
        match expand(body, values) {
            Ok(body) if body == response.body => {}
            Ok(body) => broken.push(format!("the content is {:?}, not {:?}", short(&response.body), short(&body))),
            Err(error) => broken.push(error),
        }
    }
    for piece in &expect.contains {
        match expand(piece, values) {
            Ok(piece) if find(&response.body, &piece) => {}
            Ok(piece) => broken.push(format!("{:?} is not in the content {:?}", short(&piece), short(&response.body))),
            Err(error) => broken.push(error),
        }
    }
    if let Some(json) = &expect.json {
        match (json_of(&response.body), expand(json, values).and_then(|text| json_of(&text))) {
            (Ok(given), Ok(wanted)) if given == wanted => {}
            (Ok(given), Ok(wanted)) => broken.push(format!("the JSON is {given}, not {wanted}")),
            (Err(error), _) => broken.push(format!("the content is not JSON: {error}: {:?}", short(&response.body))),
            (_, Err(error)) => broken.push(format!("the case's `json` is not JSON: {error}")),
        }
    }
    if let Some(code) = &expect.error {
        let given = json_of(&response.body).ok();
        let given = given.as_ref().and_then(|json| json.get("error")?.as_str());
        if given != Some(code) {
            broken.push(format!("the `error` of the content is {}, not {code:?}", shown(given)));
        }
    }
    if let Some(length) = expect.length
        && response.body.len() as u64 != length
    {
        broken.push(format!("the content has {} bytes, not {length}", response.body.len()));
    }
    if let Some(framing) = expect.framing
        && response.framing != framing
    {
        broken.push(format!(
            "the end of the content is told by {}, not by {}",
            response.framing.name(),
            framing.name()
        ));
    }
    if let Some(interim) = &expect.interim
        && response.interim != *interim
    {
        broken.push(format!("the interim answers are {:?}, not {interim:?}", response.interim));
    }
    broken
}

fn field(response: &Response, name: &str, rule: &Field) -> Option<String> {
    let values: Vec<&str> = response.values(name).collect();
    let not = |what: String| Some(format!("the field {name} is {values:?}, {what}"));
    match rule {
        Field::Present(true) if values.is_empty() => not("but must be there".into()),
        Field::Present(false) if !values.is_empty() => not("but must not be there".into()),
        Field::Present(_) => None,
        Field::Is(value) if values == [value] => None,
        Field::Is(value) => not(format!("not {value:?}")),
        Field::Rule(rule) => {
            let FieldRule { values: all, members, contains, one_of, date } = rule;
            let has_all = all.as_ref().is_none_or(|all| *all == values);
            let has_members = members.as_ref().is_none_or(|members| {
                let mut wanted: Vec<_> = members.iter().map(|member| member.to_ascii_lowercase()).collect();
                let mut given = response.members(name);
                wanted.sort();
                given.sort();
                wanted == given
            });
            let lower = values.join(", ").to_ascii_lowercase();
            let has_part = contains.as_ref().is_none_or(|part| lower.contains(&part.to_ascii_lowercase()));
            let is_one = one_of.as_ref().is_none_or(|list| list.iter().any(|one| one.to_ascii_lowercase() == lower));
            let is_date = !date || (values.len() == 1 && is_imf_fixdate(values[0]));
            if has_all && has_members && has_part && is_one && is_date {
                return None;
            }
            not(format!("not {}", rule.words()))
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7), by its form.
pub fn is_imf_fixdate(text: &str) -> bool {
    const FORM: &str = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).enumerate().all(|(at, (given, form))| match form {
            b'0' => given.is_ascii_digit(),
            b'A' => given.is_ascii_uppercase(),
            b'a' => given.is_ascii_lowercase(),
            _ => given == FORM.as_bytes()[at],
        })
}

fn json_of(bytes: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

fn shown(given: Option<&str>) -> String {
    given.map_or("missing".into(), |given| format!("{given:?}"))
}

/// The start of long content, for a sentence.
fn short(bytes: &[u8]) -> String {
    const SHOWN: usize = 300;
    if bytes.len() <= SHOWN {
        return lossy(bytes);
    }
    format!("{}… ({} bytes)", latin1(&bytes[..SHOWN]), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{Parsed, parse};

    fn judged(expect: &str) -> usize {
        let bytes = b"HTTP/1.1 200 OK\r\nA: x, Y\r\nA: z\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 20\r\n\r\n{\"error\":\"e\",\"a\": 1}";
        let Ok(Parsed::Whole(response, _)) = parse(bytes, "GET", false) else { panic!("an answer") };
        let expect: Expect = toml::from_str(expect).expect("an expectation");
        broken(&response, &expect, &Values::default()).len()
    }

    #[test]
    fn each_rule_holds_or_is_told() {
        for good in [
            "",
            "status = 200",
            "status = [404, 200]",
            "status = \"2xx\"",
            "headers = { a = true, b = false }",
            "headers = { a = { values = [\"x, Y\", \"z\"], members = [\"Z\", \"y\", \"x\"], contains = \"X, y\" } }",
            "headers = { content-length = \"20\", b = { one_of = [\"\", \"q\"] }, date = { date = true } }",
            "body = '{\"error\":\"e\",\"a\": 1}'",
            "contains = ['\"a\"']",
            "json = '{\"a\":1,\"error\":\"e\"}'",
            "error = \"e\"",
            "length = 20",
            "framing = \"length\"",
            "trailers = { a = false }",
            "interim = []",
        ] {
            assert_eq!(judged(good), 0, "{good}");
        }
        for bad in [
            "status = 201",
            "status = [404]",
            "status = \"4xx\"",
            "headers = { a = false }",
            "headers = { b = true }",
            "headers = { a = \"x, Y\" }",
            "headers = { a = { members = [\"x\"] } }",
            "headers = { a = { contains = \"q\" } }",
            "headers = { a = { date = true } }",
            "headers = { a = { one_of = [\"\", \"q\"] } }",
            "body = \"x\"",
            "contains = [\"nope\"]",
            "json = \"{}\"",
            "error = \"f\"",
            "length = 1",
            "framing = \"chunked\"",
            "trailers = { a = true }",
            "interim = [100]",
        ] {
            assert_eq!(judged(bad), 1, "{bad}");
        }
    }

    #[test]
    fn dates_have_one_form() {
        assert!(is_imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT"));
        for bad in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 UTC", ""] {
            assert!(!is_imf_fixdate(bad), "{bad}");
        }
    }
}
