//! What becomes of a server whose log, standard output or descriptors are not as it would like: a full disk, a reader that has left or
//! does not read, a descriptor that is closed. Every request is answered, nothing panics, nothing goes to a client that is not theirs.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Answer, Client, PATIENCE, apps, command, connect, output_in_time, polygil, request};
use serde_json::Value;

/// A server with standard streams of the test's choice; its log is not looked at for its port.
struct Server {
    child: Child,
    port: u16,
    admin: u16,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(options: &[&str], streams: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (port_file, admin) = (directory.path().join("port"), free_port());
        let admin_option = admin.to_string();
        let mut args = vec!["serve", "descriptors:app", "--port", "0", "--workers", "1", "--admin", &admin_option];
        args.extend(["--port-file", port_file.to_str().expect("UTF-8")]);
        args.extend(options);
        let mut command = command(&apps(), &args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        streams(&mut command);
        let mut child = command.spawn().expect("the server starts");
        drop(command);
        let port = wait_for("the port file", || {
            assert_eq!(child.try_wait().expect("ours"), None, "the server ended before it was ready");
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Self { child, port, admin, _directory: directory }
    }

    fn get(&self, target: &str) -> Answer {
        get(self.port, target)
    }

    fn stats(&self) -> Value {
        get(self.admin, "/stats").json()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// SIGTERM, and the end.
    fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("the end", || self.child.try_wait().expect("ours"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn get(port: u16, target: &str) -> Answer {
    let mut client = connect(port);
    client.send(&request("GET", target, &[("connection", "close")], b""));
    client.answer("GET")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full")
}

/// The command with `descriptor` closed, as a shell does it for `2>&-`.
fn closed(descriptor: &str, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("exec \"$0\" \"$@\" {descriptor}>&-");
    shell.arg("-c").arg(script).arg(polygil()).args(args).current_dir(apps()).stdin(Stdio::null());
    shell
}

#[test]
fn a_log_that_cannot_be_written_costs_no_request() {
    let gone = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let logs: [(&str, Stdio); 2] = [("a full disk", full().into()), ("a reader that has left", gone().into())];
    for (what, log) in logs {
        let server = Server::start(&["--access-log"], |command| command.stderr(log));
        for _ in 0..10 {
            assert_eq!(server.get("/ok").text(), "ok", "{what}");
            assert_eq!(server.get("/raise").status, 500, "{what}");
        }
        assert_eq!(get(server.admin, "/readyz").status, 200, "{what}");
        wait_for("the count of lost lines", || {
            let log = &server.stats()["log"];
            (log["access_lines_lost"] == 20 && log["lines_lost"].as_u64() >= Some(10)).then_some(())
        });
        assert_eq!(server.stats()["log"]["lines_written"], 0, "{what}");
        let metrics = get(server.admin, "/metrics");
        assert!(metrics.text().contains("polygil_log_lines_lost_total{kind=\"access\"} 20\n"), "{}", metrics.text());
        assert_eq!(server.stop().code(), Some(0), "{what}");
    }
}

#[test]
fn a_log_that_nobody_reads_costs_no_request_and_is_told_of_once_it_is_read() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let server = Server::start(&["--access-log"], |command| command.stderr(writer));
    let mut client = connect(server.port);
    // The pipe takes 64 KiB, the log's memory 4 MiB of access lines.
    let target = format!("/ok?{}", "x".repeat(10));
    let long = format!("/{}", "a".repeat(4000));
    for _ in 0..4000 {
        client.send(&request("GET", &long, &[], b""));
        assert_eq!(client.answer("GET").status, 404);
    }
    assert_eq!(server.get(&target).text(), "ok");
    assert_eq!(server.get("/raise").status, 500);
    assert_eq!(get(server.admin, "/readyz").status, 200);
    let lost = server.stats()["log"]["access_lines_lost"].as_u64().expect("a number");
    assert!(lost > 1000, "{lost} lines are lost");
    assert_eq!(server.stats()["log"]["lines_lost"], 0, "errors find room");
    let mut text = Vec::new();
    let read = std::thread::spawn(move || reader.read_to_end(&mut text).map(|_| text));
    wait_for("the writer", || (server.stats()["log"]["lines_written"].as_u64()? > 500).then_some(()));
    assert_eq!(server.get("/ok").text(), "ok");
    assert_eq!(server.stop().code(), Some(0));
    let log = String::from_utf8(read.join().expect("no panic").expect("read")).expect("UTF-8");
    assert!(log.contains("a secret of the log"), "the error was not lost");
    let missing: Vec<&str> = log.lines().filter(|line| line.contains("lines of the log are missing here")).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].contains(&format!("access_lines_lost={lost} why=\"nobody read it\"")), "{missing:?}");
    assert!(log.lines().all(|line| line.starts_with("20") || line.starts_with("  | ")), "no line is torn");
}

#[test]
fn a_stop_does_not_wait_for_a_reader_of_the_log() {
    let (reader, writer) = full_pipe();
    let server = Server::start(&["--access-log"], |command| command.stderr(writer));
    for _ in 0..10 {
        assert_eq!(server.get("/ok").text(), "ok");
    }
    assert_eq!(server.stop().code(), Some(0));
    drop(reader);
}

/// A pipe that takes nothing until it is read.
fn full_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("blocking");
    (reader, writer)
}

#[test]
fn a_pipe_that_does_not_block_is_waited_for_and_stays_as_it_is() {
    let (mut reader, writer) = full_pipe();
    rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
    let same = writer.as_fd().try_clone_to_owned().expect("a copy");
    let server = Server::start(&["--access-log"], |command| command.stderr(writer));
    for _ in 0..5 {
        assert_eq!(server.get("/ok").text(), "ok");
    }
    let is_blocking =
        |fd: &dyn AsFd| !rustix::fs::fcntl_getfl(fd).expect("flags").contains(rustix::fs::OFlags::NONBLOCK);
    assert!(!is_blocking(&same), "whoever made it so wants it so");
    drop(same);
    let mut text = Vec::new();
    let read = std::thread::spawn(move || reader.read_to_end(&mut text).map(|_| text));
    wait_for("the lines", || (server.stats()["log"]["lines_written"].as_u64()? > 5).then_some(()));
    assert_eq!(server.stats()["log"]["access_lines_lost"], 0);
    assert_eq!(server.stop().code(), Some(0));
    let text = read.join().expect("no panic").expect("read");
    let log = String::from_utf8_lossy(&text);
    assert_eq!(log.matches("GET /ok 200").count(), 5, "{}", log.trim_start_matches('x'));
}

#[test]
fn a_disk_that_gets_room_again_gets_the_log_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let log = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
    let mut server = Server::start(&["--access-log"], |command| command.stderr(log));
    assert_eq!(server.get("/ok").text(), "ok");
    let read = || std::fs::read_to_string(&path).expect("the log");
    wait_for("the first line", || read().contains("GET /ok 200").then_some(()));
    let pid = rustix::process::Pid::from_child(&server.child);
    let limit = |current| {
        let limit = rustix::process::Rlimit { current, maximum: None };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("a limit")
    };
    // Room for half a line: it is torn.
    limit(Some(read().len() as u64 + 20));
    for _ in 0..3 {
        assert_eq!(server.get("/ok").text(), "ok");
    }
    wait_for("the loss", || (server.stats()["log"]["access_lines_lost"] == 3).then_some(()));
    limit(None);
    assert_eq!(server.get("/raise").status, 500);
    wait_for("the next line", || read().contains("a secret of the log").then_some(()));
    let log = read();
    let missing = log.lines().position(|line| line.contains("lines of the log are missing here")).expect("it is told");
    let line = log.lines().nth(missing).expect("it is there");
    assert!(line.contains("lines_lost=0 access_lines_lost=3 why=\"File too large (os error 27)\""), "{line}");
    assert!(log.lines().nth(missing + 1).expect("the next").contains("a secret of the log"), "{log}");
    assert!(server.child.try_wait().expect("ours").is_none());
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn what_is_printed_into_a_full_pipe_is_the_handlers_time() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let options = ["--handler-timeout", "300ms", "--interrupt-grace", "100ms"];
    let server = Server::start(&options, |command| command.stdout(writer));
    let answer = server.get("/print/much");
    assert_eq!((answer.status, &answer.json()["error"]), (504, &Value::from("handler_timeout")));
    assert_eq!(server.get("/ok").text(), "ok", "another worker has its place");
    assert_eq!(server.stop().code(), Some(1), "its thread still prints");
    drop(reader);
}

#[test]
fn a_standard_stream_that_is_closed_is_dev_null_and_never_a_socket() {
    for descriptor in ["0", "1", "2"] {
        let directory = tempfile::tempdir().expect("a directory");
        let port_file = directory.path().join("port");
        let port_text = port_file.to_str().expect("UTF-8");
        let args =
            ["serve", "descriptors:app", "--port", "0", "--workers", "1", "--access-log", "--port-file", port_text];
        let child = closed(descriptor, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let port = wait_for("the port", || std::fs::read_to_string(&port_file).ok()?.trim().parse().ok());
        let server = Server { child, port, admin: 0, _directory: directory };
        assert_eq!(server.get(&format!("/link/{descriptor}")).text(), "/dev/null");
        for target in ["/print", "/complain", "/ok"] {
            assert_eq!(server.get(target).status, 200, "{target} without {descriptor}");
        }
        assert_eq!(server.get("/raise").status, 500);
        assert_eq!(server.stop().code(), Some(0), "without {descriptor}");
    }
}

#[test]
fn a_stream_that_a_handler_closes_becomes_no_clients_connection() {
    for number in ["0", "1", "2"] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let server = Server::start(&["--access-log"], |command| command.stderr(writer));
        assert_eq!(server.get(&format!("/close/{number}")).text(), "closed");
        // Several connections at a time: one of them would have the number.
        let mut clients: Vec<Client> = (0..3).map(|_| connect(server.port)).collect();
        for client in &mut clients {
            for target in ["/ok", "/print", "/complain", "/raise", "/ok"] {
                client.send(&request("GET", target, &[], b""));
                let answer = client.answer("GET");
                assert!(answer.status == if target == "/raise" { 500 } else { 200 }, "{number}, {target}: {answer:?}");
            }
        }
        assert_eq!(server.get(&format!("/link/{number}")).text(), "/dev/null");
        assert_eq!(server.stop().code(), Some(0));
        for client in &mut clients {
            assert!(client.is_closed(), "nothing else was sent to it");
        }
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("the log");
        assert!(
            log.contains("a secret of the log") && log.contains("GET /raise 500"),
            "it has a descriptor of its own: {log}"
        );
    }
}

#[test]
fn a_ready_fd_that_is_a_standard_stream_becomes_no_clients_connection() {
    for number in ["1", "2"] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let server = Server::start(&["--ready-fd", number, "--access-log"], |command| {
            if number == "1" { command.stdout(writer) } else { command.stderr(writer) }
        });
        let mut client = connect(server.port);
        client.send(&request("GET", "/ok", &[], b""));
        assert_eq!(client.answer("GET").text(), "ok");
        assert_eq!(server.get("/print").text(), "printed");
        assert_eq!(server.get("/complain").text(), "complained");
        assert_eq!(server.get("/raise").status, 500);
        let port = server.port;
        assert_eq!(server.stop().code(), Some(0));
        assert!(client.is_closed(), "the first client receives nothing more");
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("the pipe");
        assert_eq!(said, format!("{port}\n"), "the port and nothing else through {number}");
    }
}

#[test]
fn a_ready_fd_that_is_not_open_is_an_error() {
    let output =
        output_in_time(&mut command(&apps(), &["serve", "descriptors:app", "--port", "0", "--ready-fd", "77"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(2), "--ready-fd 77: Bad file descriptor (os error 9)\n"));
}

/// The commands that write to standard output, each with what it needs.
const COMMANDS: [&[&str]; 7] = [
    &["--version"],
    &["--help"],
    &["serve", "--help"],
    &["routes", "descriptors:app"],
    &["routes", "descriptors:app", "--json"],
    &["check", "descriptors:app", "--json"],
    &["serve", "descriptors:app", "--port", "0", "--workers", "1"],
];

#[test]
fn who_waits_for_a_full_pipe_to_take_the_ready_line_still_hears_a_signal() {
    // The pipe of standard output, and one of a descriptor of its own.
    for options in [&[][..], &["--ready-fd", "1"]] {
        let (reader, writer) = full_pipe();
        let server = Server::start(options, |command| command.stdout(writer).stderr(Stdio::null()));
        assert_eq!(server.stop().code(), Some(0), "{options:?}");
        drop(reader);
    }
}

#[test]
fn a_standard_output_that_fails_is_one_line_and_exit_code_2() {
    for args in COMMANDS {
        let ends = |mut command: Command, why: &str| {
            let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
            let mut said = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
            let code = wait_for("the end", || child.try_wait().expect("ours")).code();
            let lines: Vec<&str> = said.lines().filter(|line| !line.contains(" INFO ")).collect();
            let expected = format!("polygil: standard output cannot be written: {why}");
            assert_eq!((code, lines), (Some(2), vec![expected.as_str()]), "{args:?}");
        };
        let mut on_full = command(&apps(), args);
        on_full.stdout(full());
        ends(on_full, "No space left on device (os error 28)");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut broken = command(&apps(), args);
        broken.stdout(writer);
        ends(broken, "Broken pipe (os error 32)");
        // A server runs without one: nobody needs its ready line.
        if args[0] != "serve" || args[1] == "--help" {
            ends(closed("1", args), "Bad file descriptor (os error 9)");
        }
    }
}

#[test]
fn what_the_app_prints_comes_before_what_the_command_does_and_fails_as_clearly() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "print('imported')\nfrom polygil import App\napp = App()\n@app.get('/')\ndef index(): return ''\n";
    std::fs::write(directory.path().join("loud.py"), text).expect("written");
    let output = output_in_time(&mut command(directory.path(), &["routes", "loud:app"]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("imported\nGET"), "{said}");
    for args in [&["routes", "loud:app"][..], &["routes", "loud:nothing"]] {
        let mut on_full = command(directory.path(), args);
        let output = on_full.stdout(full()).stderr(Stdio::piped()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("standard output cannot be written: No space left on device"), "{said}");
        assert!(!said.contains("Traceback") && !said.contains("Exception ignored"), "{said}");
    }
}

#[test]
fn a_log_line_cannot_be_forged() {
    let forged = "2026-01-01T00:00:00.000000Z  INFO polygil::access: GET /admin 200";
    let target = format!("/raise/x%0d%0a{}%1b%5b2J%e2%80%a8%e2%80%ae", forged.replace(' ', "%20"));
    for format in ["text", "json"] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let options = ["--access-log", "--log-format", format];
        let server = Server::start(&options, |command| command.stderr(writer));
        assert_eq!(server.get(&target).status, 500);
        assert_eq!(server.get(&format!("/{}", "a%0a%1bb")).status, 404);
        assert_eq!(server.stop().code(), Some(0));
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("the log");
        assert!(log.contains("/admin"), "{log}");
        for line in log.lines() {
            assert!(!line.starts_with("2026-01-01") && !line.starts_with(' ') || line.starts_with("  | "), "{line}");
            assert!(format == "text" || serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        assert!(!log.chars().any(|character| character.is_control() && character != '\n'), "{log:?}");
    }
}
