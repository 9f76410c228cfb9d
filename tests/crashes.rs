//! A crash in C ends the process. Its log says whose it was: the route, the request, the handler's Python stack.

mod common;

use std::os::unix::process::ExitStatusExt;

use common::{Server, request};

/// The log after a request that ends the server, and the signal that ended it.
fn crash(target: &str, options: &[&str]) -> (Option<i32>, String) {
    let mut server = Server::start("crashes:app", options);
    let mut other = server.connect();
    other.send(&request("GET", "/sleep/60", &[], b""));
    let mut client = server.connect();
    assert_eq!(server.get("/ok").text(), "ok");
    client.send(&request("GET", target, &[], b""));
    assert!(client.is_closed(), "there is no answer");
    let status = server.wait();
    (status.signal(), server.log())
}

#[test]
fn a_segmentation_fault_leaves_the_route_the_request_and_the_stack_in_the_log() {
    for format in ["text", "json"] {
        let (signal, log) = crash("/segfault/now", &["--access-log", "--log-format", format]);
        assert_eq!(signal, Some(11), "{log}");
        let line = log.lines().find(|line| line.starts_with("polygil: crash in C, SIGSEGV, in worker ")).expect(&log);
        assert!(line.contains(", which ran GET /segfault/{how} (crashes:segfault) for the request "), "{line}");
        assert!(log.contains("polygil: beside it worker "), "{log}");
        assert!(log.contains("which ran GET /sleep/{seconds} (crashes:sleep)"), "{log}");
        assert!(log.contains("in read_nothing\n") && log.contains("in segfault\n"), "{log}");
        assert!(log.contains("/ok"), "what was logged before is there: {log}");
    }
}

#[test]
fn an_abort_does_too() {
    let (signal, log) = crash("/abort", &[]);
    assert_eq!(signal, Some(6), "{log}");
    assert!(log.contains("polygil: crash in C, SIGABRT, in worker "), "{log}");
    assert!(log.contains("which ran GET /abort (crashes:abort)") && log.contains("in abort\n"), "{log}");
}

#[test]
fn so_does_a_stack_that_is_full() {
    let (signal, log) = crash("/overflow", &[]);
    assert!(signal.is_some(), "{log}");
    assert!(log.contains("which ran GET /overflow (crashes:overflow)"), "{log}");
}

#[test]
fn a_handler_that_kills_the_process_is_named_where_it_can_be() {
    let (signal, log) = crash("/kill/8", &[]);
    assert_eq!(signal, Some(8), "{log}");
    assert!(log.contains("polygil: crash in C, SIGFPE, in "), "{log}");
    assert!(log.contains("GET /kill/{number} (crashes:kill)"), "{log}");
}
