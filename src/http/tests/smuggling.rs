//! Families of request smuggling and header injection: what two servers could read differently is refused, and the connection
//! with it, by the rule that it breaks.

use super::*;

/// The request that the bytes want to hide. It must never be seen.
const HIDDEN: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The bytes are refused with this status, for this reason, as the only answer, and nothing behind them is a request.
#[track_caller]
fn assert_refused(name: &str, bytes: &[u8], status: u16, rule: &str) {
    let bytes = [bytes, HIDDEN].concat();
    let (seen, out) = run_with(Limits::default(), &[&bytes], false);
    let (last, before) = seen.split_last().expect("something happened");
    assert_eq!(last, &Seen::Closed, "{name}: {seen:?}");
    assert_eq!(before.last(), Some(&Seen::Error(status, rule.to_owned())), "{name}");
    assert!(!before.contains(&Seen::End), "{name}: {seen:?}");
    let out = String::from_utf8(out).expect("ASCII");
    assert_eq!(out.matches("HTTP/1.1 ").count(), 1, "{name}: {out}");
    assert_eq!(out.matches("\r\nconnection: close\r\n").count(), 1, "{name}: {out}");
}

const BESIDE: &str = "Content-Length beside Transfer-Encoding (RFC 9112, 6.1)";
const REPEATED: &str = "Content-Length is repeated (RFC 9112, 6.3; also where both say the same)";
const LIST: &str = "Content-Length is a list (RFC 9112, 6.3; also where all members are the same)";
const NUMBER: &str = "Content-Length is not one number in digits that fits (RFC 9110, 8.6)";
const UNKNOWN: &str = "a transfer coding other than chunked (RFC 9112, 6.1)";
const TWICE: &str = "Transfer-Encoding names `chunked` more than once (RFC 9112, 6.1)";
const BEHIND: &str = "Transfer-Encoding names a coding behind `chunked`, so the content has no end (RFC 9112, 6.3)";
const EXACTLY: &str = "Transfer-Encoding is not exactly `chunked`, once (RFC 9112, 6.1)";
const CONTROL: &str = "a field value has a control character (RFC 9110, 5.5)";
const COLON: &str = "white space between a field name and its colon (RFC 9112, 5.1)";
const NAME: &str = "a field name is not a token directly before its colon (RFC 9112, 5.1)";
const FOLD: &str = "a field line begins with white space: folded lines are refused (RFC 9112, 2.2 and 5.2)";
const BARE_CR: &str = "a field value has a CR that does not end its line (RFC 9112, 2.2)";
const BARE_LF: &str = "a line ends with LF alone, not CRLF (RFC 9112, 2.2)";

#[test]
fn fields_that_frame_have_one_form() {
    let cases: &[(&str, u16, &str, &[u8])] = &[
        ("CL.TE", 400, BESIDE, b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.CL", 400, BESIDE, b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("CL.TE with a bad TE", 400, BESIDE, b"Content-Length: 4\r\nTransfer-Encoding: x\r\n"),
        ("CL.TE with an empty TE", 400, BESIDE, b"Content-Length: 4\r\nTransfer-Encoding:\r\n"),
        ("CL.CL different", 400, REPEATED, b"Content-Length: 4\r\nContent-Length: 5\r\n"),
        ("CL.CL same", 400, REPEATED, b"Content-Length: 4\r\ncontent-length: 4\r\n"),
        ("CL.CL, one of them bad", 400, REPEATED, b"Content-Length: 4\r\nContent-Length: x\r\n"),
        ("CL list", 400, LIST, b"Content-Length: 4, 4\r\n"),
        ("CL list with nothing", 400, LIST, b"Content-Length: 4,\r\n"),
        ("CL plus", 400, NUMBER, b"Content-Length: +4\r\n"),
        ("CL minus", 400, NUMBER, b"Content-Length: -4\r\n"),
        ("CL hex", 400, NUMBER, b"Content-Length: 0x4\r\n"),
        ("CL underscore", 400, NUMBER, b"Content-Length: 1_0\r\n"),
        ("CL fraction", 400, NUMBER, b"Content-Length: 4.0\r\n"),
        ("CL quoted", 400, NUMBER, b"Content-Length: \"4\"\r\n"),
        ("CL empty", 400, NUMBER, b"Content-Length:\r\n"),
        ("CL white", 400, NUMBER, b"Content-Length: \t \r\n"),
        ("CL inner space", 400, NUMBER, b"Content-Length: 4 4\r\n"),
        ("CL overflow", 400, NUMBER, b"Content-Length: 18446744073709551616\r\n"),
        ("CL overflow by far", 400, NUMBER, b"Content-Length: 99999999999999999999999999999999\r\n"),
        ("CL non-ASCII digit", 400, NUMBER, "Content-Length: ٤\r\n".as_bytes()),
        ("CL with a form feed", 400, CONTROL, b"Content-Length: 4\x0c\r\n"),
        ("TE gzip", 501, UNKNOWN, b"Transfer-Encoding: gzip\r\n"),
        ("TE gzip, chunked", 501, UNKNOWN, b"Transfer-Encoding: gzip, chunked\r\n"),
        ("TE gzip / chunked", 501, UNKNOWN, b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        ("TE identity", 501, UNKNOWN, b"Transfer-Encoding: identity\r\n"),
        ("TE xchunked", 501, UNKNOWN, b"Transfer-Encoding: xchunked\r\n"),
        ("TE parameter", 501, UNKNOWN, b"Transfer-Encoding: chunked;q=1\r\n"),
        ("TE quoted", 501, UNKNOWN, b"Transfer-Encoding: \"chunked\"\r\n"),
        ("TE not ASCII", 501, UNKNOWN, b"Transfer-Encoding: chunke\xe4\r\n"),
        ("TE no-break space", 501, UNKNOWN, b"Transfer-Encoding: \xa0chunked\r\n"),
        ("TE chunked, chunked", 400, TWICE, b"Transfer-Encoding: chunked, chunked\r\n"),
        ("TE chunked, x, chunked", 400, TWICE, b"Transfer-Encoding: chunked, x, chunked\r\n"),
        ("TE chunked / chunked", 400, TWICE, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("TE chunked, identity", 400, BEHIND, b"Transfer-Encoding: chunked, identity\r\n"),
        ("TE chunked / x", 400, BEHIND, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
        ("TE empty", 400, EXACTLY, b"Transfer-Encoding:\r\n"),
        ("TE commas", 400, EXACTLY, b"Transfer-Encoding: ,chunked,\r\n"),
        ("TE chunked / empty", 400, EXACTLY, b"Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
        ("TE empty / chunked", 400, EXACTLY, b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
        ("TE vertical tab", 400, CONTROL, b"Transfer-Encoding: \x0bchunked\r\n"),
        ("TE NUL", 400, CONTROL, b"Transfer-Encoding: chunked\0\r\n"),
    ];
    for (name, status, rule, lines) in cases {
        let bytes = [b"POST / HTTP/1.1\r\nHost: a\r\n", *lines, b"\r\n0\r\n\r\n"].concat();
        assert_refused(name, &bytes, *status, rule);
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_refused("TE on HTTP/1.0", old, 400, "Transfer-Encoding on HTTP/1.0 (RFC 9112, 6.1)");
}

#[test]
fn field_lines_have_one_form() {
    let cases: &[(&str, &str, &[u8])] = &[
        ("space before the colon", COLON, b"Transfer-Encoding : chunked\r\n"),
        ("tab before the colon", COLON, b"Content-Length\t: 4\r\n"),
        ("space before the first name", FOLD, b" Transfer-Encoding: chunked\r\n"),
        ("obs-fold", FOLD, b"X: a\r\n Transfer-Encoding: chunked\r\n"),
        ("obs-fold by tab", FOLD, b"X: a\r\n\tb\r\n"),
        ("obs-fold of nothing", FOLD, b"X: a\r\n \r\n"),
        ("TE folded", FOLD, b"Transfer-Encoding:\r\n chunked\r\n"),
        ("bare CR", BARE_CR, b"X: a\rTransfer-Encoding: chunked\r\n"),
        ("two CRs", BARE_CR, b"X: a\r\r\n"),
        ("CR in a name", NAME, b"X\rY: a\r\n"),
        ("bare LF", BARE_LF, b"X: a\nTransfer-Encoding: chunked\r\n"),
        ("LF CR", BARE_LF, b"X: a\n\rY: b\r\n"),
        ("bare LF behind the fields", BARE_LF, b"X: a\r\n\n"),
        ("empty name", "a field line has no name before its colon (RFC 9112, 5)", b": a\r\n"),
        ("no colon", "a field line has no colon (RFC 9112, 5)", b"Transfer-Encoding\r\n"),
        ("name not a token", NAME, b"X@Y: a\r\n"),
        ("space in a name", NAME, b"Transfer Encoding: chunked\r\n"),
        ("name not ASCII", NAME, b"\xc5\xbf: a\r\n"),
        ("NUL in a name", NAME, b"Content-Length\0: 5\r\n"),
        ("control in a value", CONTROL, b"X: a\x01b\r\n"),
        ("DEL in a value", CONTROL, b"X: a\x7fb\r\n"),
        ("NUL in a value", CONTROL, b"X: a\0b\r\n"),
    ];
    for (name, rule, lines) in cases {
        let bytes = [b"POST / HTTP/1.1\r\nHost: a\r\n", *lines, b"\r\n0\r\n\r\n"].concat();
        assert_refused(name, &bytes, 400, rule);
    }
}

#[test]
fn request_lines_hide_no_field() {
    let carriage_return = "the request line has a CR that does not end it (RFC 9112, 2.2)";
    let parts = "the request line is not `method SP target SP version` (RFC 9112, 3)";
    let byte = "the request target has a byte that no URI has there (RFC 9112, 3.2; RFC 3986, 3.3 and 3.4)";
    for (name, line, rule) in [
        ("field behind a bare CR", &b"GET / HTTP/1.1\rHost: a\r\n"[..], carriage_return),
        ("field behind a bare CR and any byte", b"GET / HTTP/1.0\rXContent-Length: 9\r\n", carriage_return),
        ("two CRs", b"GET / HTTP/1.1\r\r\n", carriage_return),
        ("CR in the target", b"GET /\rx HTTP/1.1\r\n", carriage_return),
        ("bare LF", b"GET / HTTP/1.1\nX: y\r\n", BARE_LF),
        ("second request behind the target", b"GET / HTTP/1.1 GET /admin HTTP/1.1\r\n", parts),
        ("two spaces", b"GET  / HTTP/1.1\r\n", parts),
        ("space behind", b"GET / HTTP/1.1 \r\n", parts),
        ("no version", b"GET /\r\n", parts),
        ("tab for space", b"GET\t/\tHTTP/1.1\r\n", "the method is not a token (RFC 9112, 3.1)"),
        ("CR in the method", b"GE\rT / HTTP/1.1\r\n", carriage_return),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\n", byte),
        ("tab in the target", b"GET /a\tb HTTP/1.1\r\n", byte),
    ] {
        assert_refused(name, &[line, b"Host: a\r\n\r\n"].concat(), 400, rule);
    }
}

/// RFC 9110, 4.2.3, and RFC 3986, 6.2.2 and 6.2.3: one authority, written in two ways.
#[test]
fn authorities_are_compared_by_what_they_mean() {
    for (target, host) in [
        ("http://a/", "a:80"),
        ("http://a:80/", "a"),
        ("http://a:/", "a"),
        ("http://a:/", "a:80"),
        ("http://a:0080/", "A:80"),
        ("HTTPS://a/", "a:443"),
        ("https://a:443", "a:"),
        ("http://%61.example/", "A.example"),
        ("http://[::1]/", "[0:0::1]:80"),
        ("http://[::FFFF]:80/", "[::ffff]"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(head_of(bytes.as_bytes()).host(), host, "{target}");
    }
}

/// RFC 9110, 8.3: one media type; whoever takes the first and whoever takes the last would read two contents.
#[test]
fn two_content_types_are_one() {
    let differ = "there are two Content-Type fields that differ (RFC 9110, 8.3)".to_owned();
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 0\r\n\r\n");
    for fields in [
        "Content-Type: text/plain\r\nContent-Type: application/json\r\n",
        "Content-Type: a/b\r\nX: y\r\ncontent-type: a/b\r\nCONTENT-TYPE: a/c\r\n",
        "Content-Type: a/b\r\nContent-Type:\r\n",
        "Content-Type:\r\nContent-Type: a/b\r\n",
        "Content-Type: a/b\r\nContent-Type: A/b\r\n",
    ] {
        assert_eq!(refused(post(fields).as_bytes()), (400, differ.clone()), "{fields}");
    }
    let same = post("Content-Type: a/b\r\nContent-Type:  a/b \r\nX-Content-T: x\r\n");
    assert_eq!(head_of(same.as_bytes()).header("content-type"), Some(&b"a/b"[..]));
}

#[test]
fn authorities_agree() {
    let twice = "there is more than one Host field (RFC 9112, 3.2)";
    let other = "the absolute target names another authority than Host (RFC 9112, 3.2.2)";
    let invalid = "the value of Host is not a host with an optional port (RFC 9110, 7.2)";
    for (target, hosts, rule) in [
        ("/", "Host: a\r\nHost: a\r\n", twice),
        ("/", "Host: a\r\nhost: b\r\n", twice),
        ("/", "Host: a\r\nHost:\r\n", twice),
        ("http://b/", "Host: a\r\n", other),
        ("http://a:81/", "Host: a\r\n", other),
        ("http://a/", "Host: a:81\r\n", other),
        ("http://a:80/", "Host: b\r\n", other),
        ("https://a/", "Host: a:80\r\n", other),
        ("http://a/", "Host: a:443\r\n", other),
        ("http://a:8080/", "Host: a:80\r\n", other),
        ("http://%61a/", "Host: a\r\n", other),
        ("http://a./", "Host: a\r\n", other),
        ("http://[::1]/", "Host: [::2]\r\n", other),
        ("http://127.0.0.1/", "Host: [::ffff:127.0.0.1]\r\n", other),
        ("/", "Host: a, b\r\n", invalid),
        ("/", "Host: a b\r\n", invalid),
        ("/", "Host: a/b\r\n", invalid),
        ("/", "Host: b@a\r\n", invalid),
        ("/", "Host: a#b\r\n", invalid),
        ("http://b@a/", "Host: a\r\n", "the authority of the absolute target is not a host (RFC 9110, 4.2)"),
        ("/", "", "HTTP/1.1 requires a Host field (RFC 9112, 3.2)"),
        ("http://a/", "", "HTTP/1.1 requires a Host field (RFC 9112, 3.2)"),
        ("/", "XHost: a\r\n", "HTTP/1.1 requires a Host field (RFC 9112, 3.2)"),
        ("/", "Host : a\r\n", COLON),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
        assert_refused(&bytes, bytes.as_bytes(), 400, rule);
    }
}

/// Content is consumed to its end and no further, whatever it looks like (CL.0, 0.CL), on methods that have none, too.
#[test]
fn what_looks_like_a_request_inside_content_is_content() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST"] {
        let length = HIDDEN.len();
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let chunked = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        let bytes = [head.as_bytes(), HIDDEN, chunked.as_bytes(), HIDDEN, b"\r\n0\r\n\r\n"].concat();
        let request = [Seen::Head(format!("{method} /")), Seen::Body(HIDDEN.to_vec()), Seen::End];
        assert_eq!(run(&bytes), [request.clone(), request].concat());
    }
    // A length of zero takes nothing away from the next request.
    let zero = [b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", HIDDEN].concat();
    let expected = [Seen::Head("POST /a".into()), Seen::End, Seen::Head("GET /smuggled".into()), Seen::End];
    assert_eq!(run(&zero), expected);
}

#[test]
fn a_bad_request_behind_good_ones_is_answered_behind_them_and_ends_the_connection() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (seen, out) = run_with(Limits::default(), &[bytes], false);
    let expected = [
        Seen::Head("GET /1".into()),
        Seen::End,
        Seen::Head("GET /2".into()),
        Seen::End,
        Seen::Error(400, "HTTP/1.1 requires a Host field (RFC 9112, 3.2)".into()),
        Seen::Closed,
    ];
    assert_eq!(seen, expected);
    let out = String::from_utf8(out).expect("ASCII");
    let statuses: Vec<_> = out.match_indices("HTTP/1.1 ").map(|(start, _)| &out[start + 9..start + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"]);
}
