//! Every row of the contract's three tables, over real sockets on real CPython: return values, failures, parameters.
//!
//! Exact bytes are in the snapshots (`cargo insta review` shows a change); what a row promises beyond bytes is asserted here.

mod common;

use common::{Server, apps, request};
use serde_json::json;

/// Snapshot of one answer, under a name of its own.
macro_rules! assert_answer {
    ($name:expr, $answer:expr) => {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, $answer.shown());
        })
    };
}

#[test]
fn return_values() {
    let server = Server::start("contract:app", &[]);
    let names = [
        "dict",
        "dict-empty",
        "dict-keys",
        "dict-ordered",
        "list",
        "list-nested-tuple",
        "int",
        "int-big",
        "int-enum",
        "float",
        "float-exponent",
        "float-negative-zero",
        "bool-true",
        "bool-false",
        "dataclass",
        "dataclass-nested",
        "dataclass-in-list",
        "str",
        "str-empty",
        "str-enum",
        "bytes",
        "bytearray",
        "memoryview",
        "memoryview-strided",
        "none",
        "pair",
        "triple",
        "triple-list",
        "triple-type",
        "pair-none",
        "response",
        "response-type",
        "response-bytes",
        "response-empty",
    ];
    for name in names {
        assert_answer!(format!("value-{name}"), server.get(&format!("/value/{name}")));
    }
}

#[test]
fn return_values_in_pieces_have_the_type_of_the_first() {
    let server = Server::start("contract:app", &[]);
    for (kind, media_type) in [("text", "text/plain; charset=utf-8"), ("bytes", "application/octet-stream")] {
        let answer = server.get(&format!("/pieces/{kind}"));
        assert_eq!(answer.header("content-type"), Some(media_type));
    }
}

#[test]
fn refused_values() {
    let server = Server::start("contract:app", &["--debug"]);
    let names = [
        "nan",
        "infinity",
        "cycle",
        "surrogate",
        "surrogate-json",
        "set",
        "object",
        "complex",
        "enum",
        "key-tuple",
        "set-inside",
        "namedtuple",
        "tuple-long",
        "status-str",
        "status-bool",
        "status-low",
        "status-index",
        "status-high",
        "content-on-204",
        "header-newline",
        "header-int",
        "header-name",
        "header-length",
        "header-broken",
        "class",
        "int-digits",
    ];
    for name in names {
        let answer = server.get(&format!("/value/{name}"));
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (500, Some("response_not_serializable")),
            "{name}"
        );
        // The address of an object is in its repr.
        if !matches!(name, "object" | "status-index") {
            assert_answer!(format!("refused-{name}"), answer);
        }
    }
    assert_answer!("refused-generator", server.get("/generator"));
}

#[test]
fn without_debug_a_5xx_says_nothing_about_the_inside_and_the_log_says_all() {
    let server = Server::start("contract:app", &[]);
    let answer = server.get("/raise");
    assert_answer!("raised", answer);
    let id = answer.header("x-request-id").expect("a 5xx names its request").to_owned();
    let (_, log) = server.stop();
    for part in [id.as_str(), "ValueError: out of cheese", "contract.py", "handler_raised"] {
        assert!(log.contains(part), "{part:?} is not in the log:\n{log}");
    }
}

/// Whatever is no `Exception` is the handler's, even where it is raised while its value is written: a value is not to blame.
#[test]
fn raising_handlers_that_raise_only_when_their_value_is_written() {
    let server = Server::start("contract:app", &["--debug"]);
    for name in ["leaving", "leaving-headers"] {
        let answer = server.get(&format!("/value/{name}"));
        assert_eq!((answer.status, answer.json()["error"].as_str()), (500, Some("handler_raised")), "{name}");
    }
}

#[test]
fn raising_handlers() {
    let server = Server::start("contract:app", &[]);
    for name in ["http", "http-default", "exit", "interrupt", "recursion", "memory"] {
        assert_answer!(format!("raised-{name}"), server.get(&format!("/raise/{name}")));
    }
    // None of them cost a worker: both still answer, with the counts of the same interpreters.
    assert_eq!(server.get("/value/int").text(), "42");
    let debug = Server::start("contract:app", &["--debug"]);
    let answer = debug.get("/raise").json();
    assert_eq!(answer["message"], "ValueError: out of cheese");
    let traceback = answer["traceback"].as_str().expect("a traceback");
    assert!(traceback.starts_with("Traceback (most recent call last):\n"), "{traceback}");
    assert!(traceback.ends_with("ValueError: out of cheese\n"), "{traceback}");
}

#[test]
fn names_that_lead_nowhere() {
    let server = Server::start("missing.toml", &["--lazy"]);
    for name in
        ["module", "module-inside", "import", "dependency", "function", "middle", "last", "value", "class-attribute"]
    {
        assert_answer!(format!("missing-{name}"), server.get(&format!("/{name}")));
    }
    assert_eq!(server.get("/good").text(), "good");
    let debug = Server::start("missing.toml", &["--lazy", "--debug"]);
    for name in ["module", "dependency", "middle", "value"] {
        let answer = debug.get(&format!("/{name}"));
        insta::assert_snapshot!(format!("missing-debug-{name}"), answer.json()["message"].as_str().unwrap_or(""));
    }
}

#[test]
fn a_start_with_missing_handlers_fails_and_prints_the_report() {
    let outcome = Server::try_start(&apps(), "missing.toml", &[]);
    let Err((status, log)) = outcome else { panic!("the server started") };
    assert_eq!(status.code(), Some(1), "{log}");
    for verdict in ["module_not_found", "import_failed", "function_not_found", "not_callable"] {
        assert!(log.contains(verdict), "{verdict} is not in:\n{log}");
    }
}

#[test]
fn answers_of_the_router() {
    let server = Server::start("contract:app", &[]);
    assert_answer!("router-404", server.get("/nope"));
    assert_answer!("router-404-int", server.get("/path/int/abc"));
    assert_answer!("router-405", server.request("DELETE", "/path/1", &[], b""));
    assert_answer!("router-405-echo", server.request("OPTIONS", "/echo/x", &[], b""));
    assert_answer!("router-501", server.request("BREW", "/path/1", &[], b""));
    assert_answer!("router-400", server.get("/path/%zz"));
    assert_answer!("router-head", server.request("HEAD", "/value/dict", &[], b""));
}

#[test]
fn malformed_and_oversized_requests() {
    let server = Server::start(
        "contract:app",
        &["--max-body-bytes", "100", "--max-target-bytes", "200", "--max-header-bytes", "1000"],
    );
    let long_target = format!("/{}", "a".repeat(300));
    let long_value = "v".repeat(2000);
    let cases: [(&str, Vec<u8>); 7] = [
        ("bad-request", b"GET / HTTP/1.1\r\nhost: a\r\nbad header: x\r\n\r\n".to_vec()),
        ("no-host", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("content-too-large", request("POST", "/body", &[("content-length", "101")], b"")),
        ("uri-too-long", request("GET", &long_target, &[], b"")),
        ("headers-too-large", request("GET", "/", &[("x-long", &long_value)], b"")),
        ("not-implemented", b"POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_vec()),
        ("version-not-supported", b"GET / HTTP/3.0\r\nhost: a\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        let mut client = server.connect();
        client.send(&bytes);
        assert_answer!(format!("protocol-{name}"), client.answer("GET"));
        assert!(client.is_closed(), "{name}: the connection is closed");
    }
}

#[test]
fn slow_requests_are_timed_out() {
    let server = Server::start("contract:app", &["--head-timeout", "200ms", "--body-timeout", "200ms"]);
    for (name, bytes) in [
        ("head", b"GET / HTTP/1.1\r\nho".as_slice()),
        ("body", b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12"),
    ] {
        let mut client = server.connect();
        client.send(bytes);
        assert_answer!(format!("timeout-{name}"), client.answer("GET"));
        assert!(client.is_closed(), "{name}: the connection is closed");
    }
}

#[test]
fn path_parameters() {
    let server = Server::start("contract:app", &[]);
    for (target, expected) in [
        ("/path/7", json!({"number": 7})),
        ("/path/-7", json!({"number": -7})),
        ("/path/%207%20", json!({"number": 7})),
        ("/path/1_000", json!({"number": 1000})),
        ("/path/7.0", json!({"number": 7})),
        ("/path/int/12", json!({"number": 12})),
        ("/path/rest/a/b%2Fc/d", json!({"rest": "a/b/c/d"})),
        ("/path/size/small", json!({"size": "S"})),
        ("/nested/5", json!({"admin": 5})),
        ("/v1/shop/items/a%20b", json!({"item": "a b"})),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()), (200, expected), "{target}");
    }
    let big = "9".repeat(40);
    assert_eq!(server.get(&format!("/path/{big}")).text(), format!("{{\"number\":{big}}}"));
    for (name, target) in [("int", "/path/abc"), ("enum", "/path/size/huge"), ("float", "/path/7.5")] {
        assert_answer!(format!("invalid-path-{name}"), server.get(target));
    }
}

#[test]
fn query_parameters() {
    let server = Server::start("contract:app", &[]);
    let defaults = json!({"text":"none","number":null,"ratio":0.5,"flag":false,"tag":null,"numbers":[],"size":"small"});
    for (query, changed) in [
        ("", json!({})),
        ("?text=a+b%20c&text=last", json!({"text": "last"})),
        ("?number=5", json!({"number": 5})),
        ("?ratio=1e3", json!({"ratio": 1000.0})),
        ("?ratio=2", json!({"ratio": 2.0})),
        ("?flag=yes", json!({"flag": true})),
        ("?flag=off", json!({"flag": false})),
        ("?flag=1", json!({"flag": true})),
        ("?tag=a&tag=b", json!({"tag": ["a", "b"]})),
        ("?numbers=1&numbers=22", json!({"numbers": [1, 22]})),
        ("?size=large", json!({"size": "large"})),
    ] {
        let mut expected = defaults.clone();
        for (name, value) in changed.as_object().expect("an object") {
            expected[name] = value.clone();
        }
        let answer = server.get(&format!("/query{query}"));
        assert_eq!((answer.status, answer.json()), (200, expected), "{query}");
    }
    assert_answer!("invalid-query", server.get("/query?number=x&ratio=y&flag=maybe&numbers=1&numbers=z&size=huge"));
    assert_answer!("invalid-query-missing", server.get("/query/required"));
    assert_answer!("invalid-query-one", server.get("/query/required?q=1&n=1.5"));
}

#[test]
fn bodies() {
    let server = Server::start("contract:app", &[]);
    let json = [("content-type", "application/json")];
    let answer = server.request("POST", "/body", &json, r#"{"a":[1,"ü"]}"#.as_bytes());
    assert_eq!((answer.status, answer.text()), (200, r#"{"body":{"a":[1,"ü"]}}"#));
    assert_answer!("invalid-body-json", server.request("POST", "/body", &json, b"{bad"));
    assert_answer!("invalid-body-missing", server.request("POST", "/body", &json, b""));
    assert_answer!("invalid-body-kind", server.request("POST", "/body/dict", &json, b"[1]"));
    let answer = server.request("POST", "/body/dict", &json, br#"{"k":1}"#);
    assert_eq!(answer.text(), r#"{"keys":["k"]}"#);
}

#[test]
fn the_request_object_has_what_was_sent() {
    let server = Server::start("contract:app", &[]);
    let headers = [("X-Twice", "one"), ("x-twice", "two"), ("X-Latin", "caf\u{e9}")];
    let answer = server.request("PUT", "/echo/a%20b/c?q=%C3%BC&empty=", &headers, b"\x00body");
    assert_answer!("request-object", answer);
}
