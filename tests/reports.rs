//! What Python runs for a request after its handler: the text of what it raised, the conversion of its value, the end of its objects.
//! All of it is within the budget, and what is said of it in the log is bounded.

mod common;

use common::{Server, request};
use serde_json::json;

/// Whatever runs for ever is interrupted, and costs no worker: 504 each, from one and the same interpreter.
#[test]
fn what_runs_after_the_handler_is_within_its_budget() {
    let server = Server::start("reports:app", &["--workers", "1", "--interrupt-grace", "10s"]);
    let thread = server.get("/count").json()["thread"].clone();
    let targets = [
        "/text",
        "/text/of-argument",
        "/text/swallows",
        "/text/of-cause",
        "/text/of-context",
        "/text/of-group",
        "/text/after-interrupt",
        "/notes",
        "/suggestions",
        "/source",
        "/http/detail",
        "/http/headers",
        "/end/of-locals",
        "/end/of-raised",
        "/end/of-value",
        "/value/enum",
        "/value/status",
        "/catches",
        "/catches/piece",
        "/generator",
        "/generator/close",
    ];
    for target in targets {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("handler_timeout")), "{target}");
    }
    assert_eq!(server.get("/count").json(), json!({ "thread": thread, "count": 2 }), "the same interpreter goes on");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(!log.contains("replaced"), "{log}");
    assert!(log.contains("closed the late one"), "the generator's finally has run:\n{log}");
    for target in targets {
        assert_eq!(log.matches(&format!("route=\"GET {target}\"")).count(), 1, "{target} is in the log once:\n{log}");
    }
}

/// Some of it is not asked at all: names are read past a class's class, a cause past a property, a pipe is no source.
#[test]
fn what_needs_not_be_asked_is_not_asked() {
    let server = Server::start("reports:app", &["--workers", "1", "--debug"]);
    for (target, message) in [
        ("/class-of-class", "Unnameable: the text"),
        ("/liar", "Liar: the text"),
        ("/properties", "SpinningCause: the text"),
        ("/bool", "SpinningBool: the text"),
        ("/source/pipe", "ValueError: piped"),
        ("/surrogate", "ValueError: a lone \\ud800 surrogate"),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()["message"].as_str()), (500, Some(message)), "{target}");
    }
    assert_eq!(server.get("/end/raises").text(), "Raises");
    let (status, log) = server.stop();
    assert!(status.success() && log.contains("RuntimeError: in the finalizer"), "{log}");
}

/// A text that cannot be interrupted costs the worker, as a handler does.
#[test]
fn a_report_that_does_not_come_back_costs_its_worker() {
    let app = tempfile::tempdir().expect("a directory");
    let source = "import time\nfrom polygil import App\napp = App(timeout=0.2)\n\
        class Slow(Exception):\n    def __str__(self): time.sleep(300)\n\
        class End:\n    def __del__(self): time.sleep(300)\n\
        @app.get('/text')\ndef text(): raise Slow\n\
        @app.get('/end')\ndef end(): ended = End(); return 'value'\n\
        @app.get('/ok')\ndef ok(): return 'ok'\n";
    std::fs::write(app.path().join("app.py"), source).expect("a file");
    let server = Server::start_in(app.path(), "app:app", &["--workers", "1", "--interrupt-grace", "2s"]);
    for target in ["/text", "/end"] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (504, Some("handler_timeout")), "{target}");
        assert_eq!(server.get("/ok").text(), "ok", "{target}: another worker has its place");
    }
    let (_, log) = server.stop();
    assert_eq!(log.matches("did not come back from its interrupt").count(), 2, "{log}");
    assert!(log.contains("in __str__") && log.contains("in __del__"), "the log says where it stood:\n{log}");
}

/// Finalizers run when the worker collects between two requests: nobody's budget, and still not for ever.
#[test]
fn finalizers_of_garbage_are_bounded_too() {
    let environment = [("REPORTS_FINALIZER", "1")];
    let options = ["--workers", "1", "--handler-timeout", "300ms", "--interrupt-grace", "10s"];
    let server = Server::start_with(&common::apps(), "reports:app", &options, &environment);
    assert_eq!(server.get("/garbage").text(), "left");
    // The worker looks for garbage every so many tasks.
    let mut client = server.connect();
    for _ in 0..300 {
        client.send(&request("GET", "/count", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
    }
    server.wait_for_log("finalizers of collected objects ran for longer than a handler may");
    let (_, log) = server.stop();
    assert!(!log.contains("replaced"), "{log}");
}

#[test]
fn a_traceback_is_bounded_in_frames_and_bytes() {
    let server = Server::start("reports:app", &["--workers", "1", "--debug"]);
    for (target, said) in
        [("/deep", "frames left out …"), ("/long", "characters left out …"), ("/chain", "exceptions left out …")]
    {
        let before = server.log().len();
        let answer = server.get(target);
        assert_eq!(answer.status, 500, "{target}");
        assert!(answer.text().len() < 140 * 1024, "{target}: {} bytes of answer", answer.text().len());
        let traceback = answer.json()["traceback"].as_str().expect("a traceback").to_owned();
        assert!(traceback.len() <= 64 * 1024, "{target}: {} bytes", traceback.len());
        assert!(traceback.contains(said), "{target}: {traceback}");
        server.wait_for_log(said);
        let logged = server.log().len() - before;
        assert!(logged < 80 * 1024, "{target}: {logged} bytes of log");
    }
    let deep = server.get("/deep").json()["traceback"].as_str().expect("a traceback").to_owned();
    assert!(deep.contains("in deep_recursion") && deep.contains("1 // 0"), "both ends are there:\n{deep}");
    let chain = server.get("/chain").json()["traceback"].as_str().expect("a traceback").to_owned();
    assert!(chain.contains("ValueError: number 0\n") && chain.ends_with("ValueError: number 1999\n"), "{chain}");
}
