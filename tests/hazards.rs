//! The hazards of CPython's sub-interpreters, each with the handler that would trip over it.
//!
//! Each test says what happens without the guard. Where a guard is a setting of the interpreter or an order of events, the
//! comment says how it showed when it was taken out.

mod common;

use std::process::Command;

use common::{Server, apps, polygil};

/// `python -c CODE` in the environment that polygil is installed in.
fn python(code: &str) -> (Option<i32>, String) {
    let python = polygil().parent().expect("a bin directory").join("python");
    let mut command = Command::new(python);
    command.args(["-c", code]).current_dir(apps()).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", apps());
    let output = common::output_in_time(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("subinterpreter") && !stderr.contains("Traceback"), "{stderr}");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// gh-136421: without the import of datetime in main first, interpreters that import it first and end oldest-first corrupt the
/// heap on 3.13.0; the process dies of SIGABRT or SIGSEGV in most runs.
#[test]
fn fifty_servers_with_handlers_that_import_datetime_start_and_stop_in_one_process() {
    let code = r#"
import socket, sys, polygil
# Nothing here imports datetime itself, as urllib.request would: that is polygil's to do.
assert "datetime" not in sys.modules
for number in range(50):
    with polygil.Server("dates:app", port=0, workers=2) as server:
        port = int(server.url.rpartition(":")[2])
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /date HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(4096), b""))
                assert answer.endswith(b'{"date":"2020-02-29","server":true}'), (number, answer)
print("all fifty")
"#;
    let (code, output) = python(code);
    assert_eq!((code, output.trim()), (Some(0), "all fifty"));
}

#[test]
fn what_isolation_forbids_is_an_exception_in_the_handler_and_no_more() {
    let server = Server::start("hazards:app", &["--workers", "1", "--debug"]);
    for (target, error) in [
        ("/fork", "RuntimeError: fork not supported for isolated subinterpreters"),
        ("/exec", "RuntimeError: exec not supported for isolated subinterpreters"),
        ("/signal", "ValueError: signal only works in main thread of the main interpreter"),
        // It hands out exceptions of all interpreters.
        (
            "/exceptions",
            "RuntimeError: sys._current_exceptions() reaches into other interpreters and is refused in a sub-interpreter",
        ),
    ] {
        let answer = server.get(target);
        assert_eq!((answer.status, answer.json()["message"].as_str()), (500, Some(error)), "{target}");
    }
    assert_eq!(server.get("/subprocess").text(), "from a child");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

/// CPython's own makes frame objects for the threads of all interpreters: main aborts when it frees its own ("munmap_chunk()").
#[test]
fn the_current_frames_are_those_of_the_threads_of_the_interpreter_that_asks() {
    let server = Server::start("hazards:app", &["--workers", "2", "--debug"]);
    let expected = serde_json::json!({
        "own": ["frames", "look"],
        "waiting": ["_bootstrap", "_bootstrap_inner", "run", "waits", "wait", "wait"],
        "sleeping": ["_bootstrap", "_bootstrap_inner", "run", "sleeps"],
        "below": ["sleeps"],
    });
    // Both workers, each twice or more: threads of the other, and those of the requests before, are not told of as these.
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for target in ["/frames", "/frames/churn", "/frames"] {
        for client in &mut clients {
            client.send(&common::request("GET", target, &[], b""));
        }
        for client in &mut clients {
            let answer = client.answer("GET");
            if target == "/frames" {
                assert_eq!(answer.json(), expected);
            } else {
                assert_eq!(answer.text(), "seen");
            }
        }
    }
    drop(clients);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// With the GIL held while the worker waits for its next task, the thread would stand still: this would never answer.
#[test]
fn threads_that_handlers_started_run_while_the_worker_waits() {
    let server = Server::start("hazards:app", &["--workers", "1"]);
    assert_eq!(server.get("/thread/start").text(), "started");
    server.wait_for_log("the thread ran on its own");
    assert_eq!(server.get("/thread/result").text(), "done");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

/// Py_EndInterpreter aborts the process ("not the last thread") while another thread has a state in the interpreter.
#[test]
fn a_thread_below_threading_that_never_ends_does_not_abort_the_process() {
    let server = Server::start("hazards:app", &["--workers", "2", "--drain-timeout", "2s"]);
    assert_eq!(server.get("/thread/raw").text(), "started");
    let (status, log) = server.stop();
    assert!(log.contains("keep the worker's interpreter alive"), "{log}");
    assert_eq!(status.code(), Some(0), "left alive, as a script's end would leave it, and nothing is lost:\n{log}");
}

/// CPython's own recursion limit must come before the end of the stack: with Rust's default of 2 MiB it does not.
#[test]
fn deep_recursion_is_an_exception_and_not_the_end_of_the_process() {
    let server = Server::start("hazards:app", &["--workers", "1", "--debug"]);
    for target in ["/recursion/python", "/recursion/c", "/recursion/mixed"] {
        let answer = server.get(target).json();
        assert!(answer["message"].as_str().unwrap_or("").starts_with("RecursionError"), "{target}: {answer}");
    }
    let answer = server.get("/recursion/json").json();
    assert_eq!(answer["error"], "response_not_serializable", "{answer}");
    assert_eq!(server.get("/alive").text(), "yes");
}

/// An asynchronous exception that is not taken back when its task ends hits whatever Python code runs next.
#[test]
fn an_interrupt_never_hits_the_next_request() {
    let server = Server::start("hazards:app", &["--workers", "1"]);
    // Handlers that end within microseconds of their budget, over and over: some are interrupted, some are not.
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..150 {
        *outcomes.entry(server.get("/close-call").status).or_insert(0) += 1;
        assert_eq!(server.get("/alive").text(), "yes");
    }
    assert!(outcomes.keys().all(|status| [200, 504].contains(status)), "{outcomes:?}");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

/// Objects of one interpreter used in another crash it. Nothing is shared, so the same names are other objects.
#[test]
fn interpreters_share_no_objects() {
    let server = Server::start("hazards:app", &["--workers", "2"]);
    let mut places = std::collections::BTreeSet::new();
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&common::request("GET", "/identity", &[], b""));
    }
    for client in &mut clients {
        places.insert(client.answer("GET").text().to_owned());
    }
    assert_eq!(places.len(), 2, "each worker has its own: {places:?}");
}

/// Loaded all the same, such a library would share its C state between interpreters. (faulthandler is one that every Python has.)
#[test]
fn a_library_that_refuses_sub_interpreters_is_named_with_the_line_that_imports_it() {
    let output = common::run(&apps(), &["check", "refuses:app"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("import_failed"), "{text}");
    assert!(text.contains("library: faulthandler") && text.contains("refuses.py:"), "{text}");
    assert!(text.contains("ways out:"), "{text}");
}

/// PEP 810: what says `lazy import` is imported at its first use, so that a refusal would show in a request. A check imports it at once.
#[test]
fn a_lazy_import_that_refuses_is_found_by_check_and_harms_no_other_request() {
    if python("import sys; print(sys.version_info >= (3, 15))").1.trim() != "True" {
        println!("skipped: lazy imports are new in CPython 3.15");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let app = r#"
lazy import faulthandler
lazy from colorsys import rgb_to_yiq

import sys
from polygil import App

app = App()

@app.get("/loaded")
def loaded() -> bool:
    return "colorsys" in sys.modules

@app.get("/load")
def load() -> list[float]:
    return list(rgb_to_yiq(0, 0, 0))

@app.get("/refused")
def refused() -> bool:
    return faulthandler.is_enabled()
"#;
    std::fs::write(directory.path().join("lazy_app.py"), app).expect("written");

    let output = common::run(directory.path(), &["check", "lazy_app:app"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("library: faulthandler") && text.contains("lazy_app.py:2"), "{text}");

    let server = Server::start_in(directory.path(), "lazy_app:app", &["--workers", "1", "--debug"]);
    assert_eq!(server.get("/loaded").text(), "false");
    assert_eq!(server.get("/load").text(), "[0.0,0.0,0.0]");
    assert_eq!(server.get("/loaded").text(), "true");
    let answer = server.get("/refused");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (500, Some("handler_raised")));
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("ImportError") && message.contains("faulthandler"), "{message}");
    assert_eq!(server.get("/load").text(), "[0.0,0.0,0.0]");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

/// The process that ends while sub-interpreters are left warns and hangs in finalization (3.14).
#[test]
fn python_goes_on_and_ends_well_after_a_server() {
    let code = r#"
import polygil, urllib.request
with polygil.Server("dates:app", port=0, workers=2) as server:
    urllib.request.urlopen(server.url + "/date").read()
print("python goes on")
"#;
    let (code, output) = python(code);
    assert_eq!((code, output.trim()), (Some(0), "python goes on"));
}
