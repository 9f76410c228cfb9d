//! Request lines, targets, Host, and the grammar of field lines.

use proptest::prelude::*;

use super::super::fields;
use super::*;

#[test]
fn a_head_has_its_parts() {
    let head =
        head_of(b"PoST /a%20b?x=1?y HTTP/1.1\r\nHost: Example.com:80\r\nX-A:  v \t\r\nx-a: \xe9\r\nEmpty:\r\n\r\n");
    assert_eq!((head.method(), head.target()), ("PoST", "/a%20b?x=1?y"));
    assert_eq!((head.path(), head.query(), head.minor_version()), ("/a%20b", Some("x=1?y"), 1));
    assert_eq!(head.host(), "Example.com:80");
    let fields: Vec<_> = head.headers().collect();
    assert_eq!(fields, [("Host", &b"Example.com:80"[..]), ("X-A", b"v"), ("x-a", b"\xe9"), ("Empty", b"")]);
    assert_eq!(head.header("X-a"), Some(&b"v"[..]));
    assert_eq!(head.header("X-b"), None);
    assert!(!head.has_body() && !head.expects_continue());
    assert_eq!(head.content_length(), Some(0));
}

#[test]
fn heads_with_many_fields_are_no_different() {
    for count in [31, 32, 33, 99] {
        let lines: String = (1..count).map(|number| format!("x-{number}: {number}\r\n")).collect();
        let head = head_of(format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n").as_bytes());
        let fields: Vec<_> = head.headers().collect();
        assert_eq!(fields.len(), count);
        for (number, (name, value)) in fields.iter().enumerate().skip(1) {
            assert_eq!((*name, *value), (format!("x-{number}").as_str(), number.to_string().as_bytes()));
        }
    }
}

#[test]
fn targets_have_four_forms_and_three_are_served() {
    let path = |target: &str, host: &str, method: &str| {
        let head = head_of(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!((head.target(), head.host()), (target, host));
        (head.path().to_owned(), head.query().map(str::to_owned))
    };
    assert_eq!(path("/?", "a", "GET"), ("/".into(), Some("".into())));
    assert_eq!(path("http://a:8/x?y", "A:8", "GET"), ("/x".into(), Some("y".into())));
    assert_eq!(path("HTTPS://a", "a", "GET"), ("/".into(), None));
    assert_eq!(path("http://a?y", "a", "GET"), ("/".into(), Some("y".into())));
    assert_eq!(path("http://[::1]:8000/x:y@z", "[::1]:8000", "GET"), ("/x:y@z".into(), None));
    assert_eq!(path("http://[v1.x]/y", "[v1.x]", "GET"), ("/y".into(), None));
    assert_eq!(path("*", "a", "OPTIONS"), ("*".into(), None));
    // RFC 9110, 4.2.3: no path is the path `/`, but to OPTIONS, which asks about the server then (RFC 9112, 3.2.4).
    assert_eq!(path("http://a", "a", "OPTIONS"), ("*".into(), None));
    assert_eq!(path("http://a/", "a", "OPTIONS"), ("/".into(), None));
    assert_eq!(path("http://a?y", "a", "OPTIONS"), ("/".into(), Some("y".into())));
    assert_eq!(path("//x", "a", "GET"), ("//x".into(), None));
    assert_eq!(path("/http://b/", "a", "GET"), ("/http://b/".into(), None));
    assert_eq!(path("/[a]|?{b}|^`\\[c]%", "a", "GET"), ("/[a]|".into(), Some("{b}|^`\\[c]%".into())));
    for (target, method) in [
        ("*", "GET"),
        ("**", "OPTIONS"),
        ("*/", "OPTIONS"),
        ("a:80", "CONNECT"),
        ("a", "CONNECT"),
        ("/", "CONNECT"),
        ("/x", "CONNECT"),
        ("http://a/", "CONNECT"),
        ("*", "CONNECT"),
        ("http://b/", "GET"),
        ("http:///x", "GET"),
        ("http://", "GET"),
        ("http:/x", "GET"),
        ("http:a", "GET"),
        ("https:///x", "GET"),
        ("https://", "GET"),
        ("http://:80/", "GET"),
        ("http://u@a/", "GET"),
        ("https://u:p@a/", "GET"),
        ("http://a:b/", "GET"),
        ("x", "GET"),
        ("?x", "GET"),
        ("\\x", "GET"),
        ("%2f", "GET"),
        ("ftp://a/", "GET"),
        ("httpx://a/", "GET"),
    ] {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, 400, "{target}");
    }
}

/// RFC 3986, 3.3 and 3.4, and the URL standard's percent-encode sets of a path and of a query.
#[test]
fn every_byte_of_a_target_is_judged_by_where_it_stands() {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let in_uri = |byte: u8| unreserved(byte) || b"!$&'()*+,;=:@/?".contains(&byte);
    for byte in 0..=255u8 {
        let accepted = |before: &str, is_strict: bool| {
            let limits = Limits { strict_targets: is_strict, ..Limits::default() };
            let line = [before.as_bytes(), &[byte][..], b"zz HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let first = run_with(limits, &[&line], false).0.into_iter().next();
            matches!(first, Some(Seen::Head(_)))
        };
        for form in ["GET /a", "GET http://a/a"] {
            assert_eq!(accepted(form, false), in_uri(byte) || b"[]|".contains(&byte), "{form}: {byte:#x}");
            assert_eq!(accepted(form, true), in_uri(byte), "{form}, strictly: {byte:#x}");
            let query = format!("{form}?b");
            let is_raw = (0x21..0x7f).contains(&byte) && !b"\"#<>".contains(&byte);
            assert_eq!(accepted(&query, false), is_raw, "{query}: {byte:#x}");
            assert_eq!(accepted(&query, true), in_uri(byte), "{query}, strictly: {byte:#x}");
        }
    }
}

#[test]
fn escapes_are_whole_in_a_path_and_strictly_in_a_query() {
    let status = |target: &str, is_strict: bool| {
        let limits = Limits { strict_targets: is_strict, ..Limits::default() };
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut connection = Connection::new(limits);
        connection.receive(line.as_bytes());
        connection.next_event().err().map(|error| error.failure.status())
    };
    for target in ["/%", "/%2", "/%2/", "/%g0", "/a%2%41", "/%%41", "/%?x", "http://a/%"] {
        assert_eq!((status(target, false), status(target, true)), (Some(400), Some(400)), "{target}");
    }
    for target in ["/?%", "/?%2", "/?%2g", "/?a=100%&b", "/?%%41", "http://a?%"] {
        assert_eq!((status(target, false), status(target, true)), (None, Some(400)), "{target}");
    }
    for target in ["/%41%4a%4F?%20%ff", "/a?b", "/", "http://a", "http://a?%41", "//?a/b?c", "/a:b@c;d=e,f!$&'()*+~"] {
        assert_eq!((status(target, false), status(target, true)), (None, None), "{target}");
    }
}

#[test]
fn request_lines_have_one_form() {
    let line = |line: &str| refused(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
    for bad in [
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.x",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1,1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET / HTTX/1.1",
        "GET / HTTP/1.1\0",
    ] {
        assert_eq!(line(bad).0, 400, "{bad:?}");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/0.0", "HTTP/3.0", "HTTP/9.1"] {
        let expected = (505, "this server speaks HTTP/1.1 and HTTP/1.0 (RFC 9110, 15.6.6)".to_owned());
        assert_eq!(line(&format!("GET / {version}")), expected, "{version}");
    }
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0, 505);
}

/// RFC 9110, 6.2: a minor version that is higher than ours is ours.
#[test]
fn a_higher_minor_version_is_1_1() {
    for minor in 1..=9 {
        let bytes = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
        let (seen, out) = run_with(Limits::default(), &[bytes.as_bytes()], false);
        let expected = [Seen::Head("GET /".into()), Seen::End, Seen::Head("GET /b".into()), Seen::End];
        assert_eq!(seen, expected, "HTTP/1.{minor} persists");
        assert_eq!(out.windows(9).filter(|window| window == b"HTTP/1.1 ").count(), 2, "HTTP/1.{minor}");
        assert_eq!(head_of(bytes.as_bytes()).minor_version(), 1);
        let without_host = format!("GET / HTTP/1.{minor}\r\n\r\n");
        assert_eq!(refused(without_host.as_bytes()).0, 400);
        let chunked =
            format!("POST / HTTP/1.{minor}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
        assert_eq!(run(chunked.as_bytes())[1..], [Seen::Body(b"x".to_vec()), Seen::End]);
    }
}

#[test]
fn methods_are_any_token_that_somebody_could_mean() {
    let longest = "M".repeat(64);
    for method in ["GET", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ", &longest] {
        assert_eq!(head_of(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).method(), method);
    }
    let expected = (501, "no method has more than 64 bytes (RFC 9112, 3)".to_owned());
    assert_eq!(refused(format!("M{longest} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()), expected);
    assert_eq!(refused("M".repeat(100_000).as_bytes()), expected, "not read to its end");
    let no_token = (400, "the method is not a token (RFC 9112, 3.1)".to_owned());
    assert_eq!(refused(format!("M@{} / HTTP/1.1", "M".repeat(100_000)).as_bytes()), no_token);
}

/// Who speaks another protocol hears so after the first byte or line, and does not have to send a header section.
#[test]
fn what_is_no_request_is_refused_at_once() {
    let tls = (400, "a TLS handshake where HTTP is spoken in the clear (RFC 9112, 3)".to_owned());
    assert_eq!(refused(b"\x16"), tls);
    assert_eq!(refused(b"GE@"), (400, "the method is not a token (RFC 9112, 3.1)".to_owned()));
    for byte in [b"\0", b" ", b"\"", b"(", b"\x80", b"\xff", b"/"] {
        assert_eq!(refused(byte), (400, "the method is not a token (RFC 9112, 3.1)".to_owned()));
    }
    assert_eq!(refused(b"\n"), (400, "a line ends with LF alone, not CRLF (RFC 9112, 2.2)".to_owned()));
    assert_eq!(refused(b"SSH-2.0-OpenSSH_9.2p1\r\n").0, 400);
    assert_eq!(refused(b"GET /\r\n").0, 400);
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n").0, 505);
}

#[test]
fn two_empty_lines_before_a_request_are_passed_over() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for empty_lines in [&b""[..], b"\r\n", b"\r\n\r\n"] {
        let (seen, _) = run_with(Limits::default(), &[empty_lines, request, empty_lines, request], false);
        let one = [Seen::Head("GET /".into()), Seen::End];
        assert_eq!(seen, [one.clone(), one].concat(), "before each of them");
    }
    let expected = (400, "too many empty lines before the request line (RFC 9112, 2.2)".to_owned());
    assert_eq!(refused(b"\r\n\r\n\r\n"), expected);
    assert_eq!(refused(b"\r\r\n").0, 400);
}

#[test]
fn hosts_are_required_once_and_valid() {
    let host = |host: &str, version: &str| {
        let bytes = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
        let mut connection = Connection::new(Limits::default());
        connection.receive(bytes.as_bytes());
        match connection.next_event() {
            Ok(Event::Head(head)) => Ok(head.host().to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.failure.status()),
        }
    };
    let long = "a.".repeat(4000);
    for good in [
        "a",
        "a:",
        "a:80",
        "a:0",
        "a:000080",
        "[::1]",
        "[2001:db8::1]:8000",
        "[::ffff:1.2.3.4]",
        "[v1.a:b]",
        "[vF.~]:1",
        "a.b-c_d~e",
        "127.0.0.1:65535",
        "999.999.999.999",
        "%41",
        "a!$&'()*+,;=",
        "xn--bcher-kva.example",
        "a..b",
        &long,
    ] {
        for version in ["1.0", "1.1"] {
            assert_eq!(host(good, version), Ok(good.to_owned()), "{good}");
        }
    }
    for bad in [
        "",
        ":",
        ":80",
        "a b",
        "a/b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:99999999999999999999",
        "a:-1",
        "a:+1",
        "u@a",
        "[",
        "[]",
        "[::1",
        "::1",
        "[x]",
        "[::1]x",
        "[::1]]",
        "[::1%25eth0]",
        "[1.2.3.4]",
        "[v.a]",
        "[v1.]",
        "[v1a]",
        "[vg.a]",
        "[v1.a/b]",
        "a\u{7f}",
        "%4",
        "%",
        "%4g",
        "a%",
        "a#b",
        "a?b",
        "a,b c",
        "a\\b",
        "<a>",
        "\"a\"",
        "a\tb",
        "\u{e9}",
    ] {
        for version in ["1.0", "1.1"] {
            assert_eq!(host(bad, version), Err(400), "{bad:?}");
        }
    }
}

#[test]
fn http_1_0_has_at_most_one_host() {
    let host = |bytes: &[u8]| head_of(bytes).host().to_owned();
    assert_eq!(host(b"GET / HTTP/1.0\r\n\r\n"), "");
    assert_eq!(host(b"GET http://a:8/ HTTP/1.0\r\n\r\n"), "a:8");
    assert_eq!(host(b"GET http://a:8/ HTTP/1.0\r\nHost: A:8\r\n\r\n"), "A:8");
    assert_eq!(refused(b"GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n").0, 400);
    assert_eq!(refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").0, 400);
}

#[test]
fn the_one_expectation_is_100_continue() {
    let expects = |version: &str, lines: &str| {
        let bytes = format!("POST / HTTP/{version}\r\nHost: a\r\nContent-Length: 1\r\n{lines}\r\n");
        let mut connection = Connection::new(Limits::default());
        connection.receive(bytes.as_bytes());
        match connection.next_event() {
            Ok(Event::Head(head)) => Ok(head.expects_continue()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err((error.failure.status(), error.detail)),
        }
    };
    for (lines, expected) in [
        ("", false),
        ("Expect:\r\n", false),
        ("Expect: 100-continue\r\n", true),
        ("expect: 100-CONTINUE\r\n", true),
        ("Expect: 100-continue, 100-continue\r\n", true),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", true),
    ] {
        assert_eq!(expects("1.1", lines), Ok(expected), "{lines:?}");
        assert_eq!(expects("1.0", lines), Ok(false), "{lines:?}");
    }
    let rule = "the only expectation that this server meets is 100-continue (RFC 9110, 10.1.1)";
    for lines in [
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: 100-continue=yes\r\n",
        "Expect: x\r\nExpect: 100-continue\r\n",
        "Expect: 100 -continue\r\n",
    ] {
        assert_eq!(expects("1.1", lines), Err((417, rule.into())), "{lines:?}");
        assert_eq!(expects("1.0", lines), Ok(false), "{lines:?}");
    }
}

/// Whether a head with this field line behind Host is taken.
fn accepts(line: &[u8]) -> bool {
    let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat();
    matches!(run(&bytes).first(), Some(Seen::Head(_)))
}

/// httparse takes whole words at a time where it can: each byte, at every place of a word, is judged alike.
#[test]
fn every_byte_of_a_name_and_a_value_is_judged_by_the_grammar_at_every_offset() {
    for byte in 0..=255u8 {
        for offset in 0..40 {
            let around = vec![b'x'; offset];
            let name = [&around, &[byte][..], &around, b"x: v"].concat();
            let is_name = fields::is_token_byte(byte) || (byte == b':' && offset > 0);
            assert_eq!(accepts(&name), is_name, "{byte:#x} at {offset} of a name");
            let value = [b"x: ", &around[..], &[byte], &around, b"x"].concat();
            assert_eq!(accepts(&value), fields::is_value_byte(byte), "{byte:#x} at {offset} of a value");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Trailers are judged by our own grammar, heads by httparse: the two take the same lines.
    #[test]
    fn our_grammar_and_httparse_take_the_same_field_lines(
        line in proptest::collection::vec(
            prop_oneof![
                4 => Just(b':'), 4 => Just(b' '), 2 => Just(b'\t'), 1 => Just(b'\r'), 8 => b'x'..=b'z', 4 => any::<u8>(),
            ],
            1..24,
        ).prop_filter("one line", |line| !line.contains(&b'\n')),
    ) {
        prop_assert_eq!(accepts(&line), fields::judge(&line).is_ok());
    }
}
