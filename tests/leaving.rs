//! The stop: daemon threads, threads that are none, exit functions and hooks. Bounded, by name, with the right exit code, and with
//! the last events of those who send them at the end.

mod common;

use std::time::{Duration, Instant};

use common::{Server, apps, request};

/// CPython 3.13.0 aborts when an interpreter with a daemon thread is ended, 3.14 crashes or hangs.
#[test]
fn daemon_threads_are_left_and_the_process_leaves_cleanly() {
    for kind in ["sleeps", "waits", "computes", "prints", "locks"] {
        for _ in 0..3 {
            let server = Server::start("leaving:app", &["--workers", "2"]);
            for _ in 0..4 {
                assert_eq!(server.get(&format!("/daemon/{kind}")).text(), kind);
            }
            assert_eq!(server.get("/atexit/quick").text(), "registered");
            let (status, log) = server.stop();
            assert_eq!(status.code(), Some(0), "{kind}: {status}\n{}", tail(&log));
            assert!(log.contains("exit function ran"), "{kind}:\n{}", tail(&log));
            assert!(!log.contains("Exception ignored") && !log.contains("Fatal"), "{kind}:\n{}", tail(&log));
        }
    }
}

fn tail(log: &str) -> &str {
    let lines = log.lines().rev().take(40).map(str::len).sum::<usize>() + 40;
    let from = log.len().saturating_sub(lines);
    (from..=log.len()).find_map(|from| log.get(from..)).unwrap_or(log)
}

/// A QueueListener under load, and a sender that batches: what was logged before the stop arrives.
#[test]
fn no_event_is_lost_at_the_stop() {
    for round in 0..3 {
        let server = Server::start("leaving:app", &["--workers", "2"]);
        let mut client = server.connect();
        for number in 0..100 {
            client.send(&request("GET", &format!("/listener/{number}"), &[], b""));
            assert_eq!(client.answer("GET").text(), "logged");
        }
        drop(client);
        assert_eq!(server.get("/batch").text(), "batching");
        let (status, log) = server.stop();
        assert_eq!(status.code(), Some(0), "round {round}: {status}\n{log}");
        for number in 0..100 {
            assert!(
                log.contains(&format!("event {number} from polygil-worker-")),
                "round {round}, event {number}:\n{log}"
            );
            assert!(log.contains(&format!("sent {}\n", number + 1)), "round {round}, sent {number}:\n{log}");
        }
        assert!(log.contains("flushed True"), "round {round}:\n{log}");
    }
}

#[test]
fn worker_threads_have_names_in_python_too() {
    let server = Server::start("leaving:app", &["--workers", "1"]);
    assert_eq!(server.get("/name").json(), serde_json::json!(["polygil-worker-0", "polygil-worker-0", false]));
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(!log.contains("_DeleteDummyThreadOnDel") && !log.contains("Exception ignored"), "{log}");
}

/// As in a script, whose main thread is over for the others before they are waited for.
#[test]
fn threads_that_wait_for_the_main_thread_end() {
    let server = Server::start("leaving:app", &["--workers", "1"]);
    assert_eq!(server.get("/until-main-is-over").text(), "started");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    for said in ["asked until main was over", "joined main"] {
        assert_eq!(log.matches(said).count(), 1, "{said}:\n{log}");
    }
}

/// What does not end is bounded by the drain timeout, and the log says what it is.
#[test]
fn what_does_not_end_is_named_and_left_at_the_deadline() {
    let hook = [("LEAVING_HOOK", "1")];
    let hook_of_c = [("LEAVING_HOOK_OF_C", "1")];
    type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r [&'r str]);
    let rows: [Row<'_>; 6] = [
        ("/thread", &[], &["thread 'the endless one'", "threads that are no daemons", "queue.py"]),
        ("/timer", &[], &["thread 'Thread-", "threads that are no daemons", "in wait"]),
        ("/atexit", &[], &["exit function time.sleep", "its exit functions"]),
        ("/atexit/python", &[], &["in never_ends", "its exit functions"]),
        ("/count", &hook, &["hook leaving:close", "its shutdown hooks", "in close"]),
        ("/count", &hook_of_c, &["its shutdown hooks", "in shutdown: hook "]),
    ];
    for (target, environment, said) in rows {
        let options = ["--workers", "1", "--drain-timeout", "700ms"];
        let server = Server::start_with(&apps(), "leaving:app", &options, environment);
        assert_eq!(server.get(target).status, 200, "{target}");
        let began = Instant::now();
        let (status, log) = server.stop();
        let took = began.elapsed();
        assert_eq!(status.code(), Some(1), "{target}:\n{log}");
        assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(8), "{target}: {took:?}\n{log}");
        for said in said {
            assert!(log.contains(said), "{target}: the log says {said:?}:\n{log}");
        }
    }
}

#[test]
fn a_second_signal_means_now() {
    for (target, environment) in [
        ("/thread", None),
        ("/atexit", None),
        ("/count", Some(("LEAVING_HOOK", "1"))),
        ("/count", Some(("LEAVING_MODULE", "thread"))),
    ] {
        let options = ["--workers", "1", "--drain-timeout", "10m"];
        let mut server = Server::start_with(&apps(), "leaving:app", &options, environment.as_slice());
        assert_eq!(server.get(target).status, 200, "{target}");
        server.signal(15);
        server.wait_for_log("drained");
        server.signal(15);
        assert_eq!(server.wait().code(), Some(1), "{target}:\n{}", server.log());
        let log = server.log();
        assert!(log.contains("the worker does not end"), "{target}:\n{log}");
    }
}

/// Main imports the app as well, and with it what the module starts.
#[test]
fn what_the_module_starts_in_main_is_bounded_too() {
    let options = ["--workers", "1", "--drain-timeout", "700ms"];
    let server = Server::start_with(&apps(), "leaving:app", &options, &[("LEAVING_MODULE", "thread")]);
    assert_eq!(server.get("/count").status, 200);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("though the main program does not end") && log.contains("thread 'of the module'"), "{log}");

    let server = Server::start_with(&apps(), "leaving:app", &options, &[("LEAVING_MODULE", "daemon")]);
    assert_eq!(server.get("/count").status, 200);
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("exit function of the module").count(), 2, "in the worker and in main:\n{log}");
}

#[test]
fn the_commands_that_import_an_app_end_whatever_it_has_started() {
    for module in ["thread", "daemon"] {
        for arguments in [["check", "leaving:app"], ["routes", "leaving:app"]] {
            let mut command = common::command(&apps(), &arguments);
            let output = common::output_in_time(command.env("LEAVING_MODULE", module));
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{arguments:?} {module}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(stdout.contains("/atexit"), "{arguments:?} {module}: {stdout}");
        }
    }
}

#[test]
fn exit_functions_run_as_in_a_script() {
    let server = Server::start("leaving:app", &["--workers", "1"]);
    for target in ["/atexit/raises", "/atexit/starts", "/atexit/unregistered"] {
        assert_eq!(server.get(target).text(), "registered", "{target}");
    }
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("ValueError: at exit") && log.contains("the right one"), "{log}");
    assert!(log.contains("the late thread ended"), "{log}");
}

/// A program that has called the server goes on, and ends with the exit code that it would have had.
#[test]
fn a_program_whose_server_left_an_interpreter_keeps_its_exit_code() {
    for (end, code) in [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit('words')", 1),
        ("raise SystemExit(None)", 0),
        ("1 / 0", 1),
        ("def f():\n  sys.exit(7)\nf()", 7),
        ("try: sys.exit(5)\nexcept SystemExit: pass", 0),
    ] {
        let program = format!(
            "import atexit, sys, urllib.request, polygil\n\
             atexit.register(print, 'an exit function of the program')\n\
             with polygil.Server('leaving:app', port=0, workers=1) as server:\n  \
             assert urllib.request.urlopen(server.url + '/daemon/computes').read() == b'computes'\n\
             assert server.exit_code == 0, server.exit_code\nprint('goes on')\n{end}\n"
        );
        let python = common::polygil().parent().expect("a bin directory").join("python");
        let mut command = std::process::Command::new(python);
        command
            .args(["-c", &program])
            .current_dir(apps())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONPATH", apps());
        let output = common::output_in_time(&mut command);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{end}: {stdout}{stderr}");
        assert_eq!(stdout, "goes on\nan exit function of the program\n", "{end}: {stderr}");
    }
}

/// Ten stuck upstream calls are ten replacements, no more; a worker that comes back later gives its interpreter back.
#[test]
fn stuck_calls_are_counted_and_those_that_come_back_are_forgotten() {
    let options = ["--admin", "0", "--workers", "2", "--handler-timeout", "100ms", "--interrupt-grace", "50ms"];
    let server = Server::start("faults:app", &options);
    for _ in 0..12 {
        assert_eq!(server.get("/stuck?seconds=300").status, 504);
    }
    let mut admin = common::connect(server.admin_port());
    let mut workers = || {
        admin.send(&request("GET", "/stats", &[], b""));
        admin.answer("GET").json()["workers"].clone()
    };
    // The client has its answer before the books are written.
    let mut until = |replaced, replacements_left, interpreters_left| {
        let began = Instant::now();
        let expected = serde_json::json!([replaced, replacements_left, interpreters_left]);
        loop {
            let now = workers();
            let now = serde_json::json!([now["replaced"], now["replacements_left"], now["interpreters_left"]]);
            if now == expected {
                return;
            }
            assert!(began.elapsed() < common::PATIENCE, "{now}, not {expected}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(12, 20, 12);
    assert_eq!(server.get("/stuck?seconds=1").status, 504);
    until(13, 19, 13);
    until(13, 19, 12);
}
