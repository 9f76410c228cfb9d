//! What each signal means: from the first instant, while it serves, while it drains, while it ends.

mod common;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, command, polygil, request};

const APP: &str = "from polygil import App\napp = App()\n@app.get('/')\ndef index(): return 'ok'\n";

/// An app that says when its import has begun, and then does `what`.
fn app(what: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!("import sys, time, threading\nopen('begun', 'w').close()\n{what}\n{APP}");
    std::fs::write(directory.path().join("slow.py"), text).expect("written");
    directory
}

fn wait_for_file(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < PATIENCE, "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("ours") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().expect("ours");
            panic!("it did not end in time");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().expect("kill runs").success());
}

#[test]
fn a_signal_during_the_import_ends_the_process_at_once() {
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let directory = app("time.sleep(600)");
        let mut serve = command(directory.path(), &["serve", "slow:app", "--port", "0"]);
        let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        wait_for_file(&directory.path().join("begun"));
        send(name, &child.id().to_string());
        assert_eq!(end(&mut child).signal(), Some(number), "{name}");
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
        assert_eq!(said, format!("polygil: stopped by signal {number} while the app was imported\n"));
    }
}

/// As the first process of a container, which a signal without a handler does not end. Needs the right to make a namespace.
#[test]
fn so_it_does_as_pid_1() {
    let directory = app("time.sleep(600)");
    let probe =
        Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("not tried: this user may not make a namespace");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(polygil());
    unshare.args(["serve", "slow:app", "--port", "0"]).current_dir(directory.path());
    let mut child = unshare.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for_file(&directory.path().join("begun"));
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let first = std::fs::read_to_string(children).expect("its child");
    send("TERM", first.trim());
    let status = end(&mut child);
    // The kernel may let it end by the signal all the same, which `unshare` passes on.
    assert!(status.code() == Some(128 + 15) || status.signal() == Some(15), "{status}");
}

#[test]
fn each_signal_has_its_meaning() {
    let begin = |target: &str| {
        let server = Server::start("crashes:app", &["--workers", "2"]);
        let mut client = server.connect();
        client.send(&request("GET", target, &[], b""));
        while server.get("/ok").status != 200 {}
        (server, client)
    };
    // HUP drains, as TERM and INT do.
    let (mut server, mut client) = begin("/sleep/0.5");
    server.signal(1);
    assert_eq!(client.answer("GET").text(), "slept");
    assert_eq!(server.wait().code(), Some(0));
    // QUIT does not wait.
    let (mut server, mut client) = begin("/sleep/60");
    let started = Instant::now();
    server.signal(3);
    assert_eq!(client.answer("GET").status, 500);
    assert_eq!(server.wait().code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(30), "it did not wait for the handler");
    // USR1 has the log say what runs; USR2 does nothing.
    let (server, mut client) = begin("/sleep/2");
    server.signal(10);
    server.wait_for_log(" running worker=");
    let log = server.log();
    assert!(
        log.contains("state health=\"ready\" connections=") && log.contains("route=\"GET /sleep/{seconds}\""),
        "{log}"
    );
    server.signal(12);
    server.wait_for_log("SIGUSR2 is kept for");
    assert_eq!(client.answer("GET").text(), "slept");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn nohup_keeps_its_meaning() {
    let directory = app("");
    let mut shell = Command::new("sh");
    let script = "trap '' HUP; exec \"$0\" serve slow:app --port 0 --workers 1 --port-file port";
    shell.args(["-c", script]).arg(polygil()).current_dir(directory.path());
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    wait_for_file(&directory.path().join("port"));
    send("HUP", &child.id().to_string());
    send("USR1", &child.id().to_string());
    let port = std::fs::read_to_string(directory.path().join("port")).expect("a port");
    let mut client = common::connect(port.trim().parse().expect("a number"));
    client.send(&request("GET", "/", &[], b""));
    assert_eq!(client.answer("GET").header("connection"), None, "it does not drain");
    send("TERM", &child.id().to_string());
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn a_handler_that_the_app_installs_while_it_is_imported_does_not_keep_the_server_from_stopping() {
    let directory = app(
        "import signal\nif 'polygil._native' in sys.modules:\n    signal.signal(signal.SIGTERM, lambda *_: None)\n    signal.set_wakeup_fd(-1)",
    );
    let server = Server::start_in(directory.path(), "slow:app", &[]);
    assert_eq!(server.get("/").text(), "ok");
    let (status, log) = server.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn an_app_that_does_not_let_python_end_is_left_at_the_deadline_and_its_stack_is_shown() {
    let directory = app(
        "import atexit\ndef never_ends():\n    time.sleep(600)\natexit.register(never_ends) if 'polygil._native' in sys.modules else None",
    );
    let mut server = Server::start_in(directory.path(), "slow:app", &["--drain-timeout", "1s"]);
    assert_eq!(server.get("/").text(), "ok");
    server.signal(15);
    let status = server.wait();
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("though the main program does not end") && log.contains("in never_ends"), "{log}");
}

#[test]
fn a_second_signal_does_not_wait_for_python() {
    let directory = app(
        "import atexit\ndef never_ends():\n    open('ending', 'w').close()\n    time.sleep(600)\natexit.register(never_ends) if 'polygil._native' in sys.modules else None",
    );
    let mut server = Server::start_in(directory.path(), "slow:app", &["--drain-timeout", "10m"]);
    assert_eq!(server.get("/").text(), "ok");
    server.signal(15);
    wait_for_file(&directory.path().join("ending"));
    server.signal(15);
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log().contains("a further signal: the process ends at once"), "{}", server.log());
}
