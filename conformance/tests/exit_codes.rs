//! What each command ends with, whatever the server is: served, dead, hung, refusing, missing, in a case file that is wrong, and when it is
//! interrupted. docs/CONFORMANCE.md has the table.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A suite of two cases, and the probe that its server answers.
const CASES: &str = r#"
suite = "own"
topic = "root"
about = "What it answers"

[[case]]
id = "hello"
title = "the root says hello"
level = "MUST"
source = "contract"
request = "GET /"
expect = { status = 200, body = "hello" }

[[case]]
id = "other"
title = "the other path says hello"
level = "MUST"
source = "contract"
request = "GET /other"
expect = { status = 200, body = "hello" }
"#;

fn suite(cases: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(place.path().join("cases/own")).expect("directories");
    std::fs::create_dir_all(place.path().join("targets")).expect("directories");
    let put = |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    put("suite.toml", "start = \"exec false\"\n[probe]\ntarget = \"/\"\nbody = \"hello\"\n");
    put("cases/own/root.toml", cases);
    put("targets/absent.toml", "about = \"x\"\nprogram = { name = \"no-such-program\" }\narguments = []\n");
    place
}

/// A server in this process, by what it does with a connection.
fn serve(behaviour: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || behaviour(stream));
        }
    });
    address
}

/// Answers `hello` to the root, and what `other` says to anything else.
fn answers(stream: TcpStream, other: &str) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let body = if head.starts_with("GET / ") { "hello" } else { other };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn good(stream: TcpStream) {
    answers(stream, "hello");
}

fn wrong(stream: TcpStream) {
    answers(stream, "bye");
}

fn hung(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn refusing(stream: TcpStream) {
    drop(stream);
}

fn command(suite: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"));
    command.arg("--suite-dir").arg(suite).stdin(Stdio::null());
    command
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs each command that asks two servers, or one; the commands' names, exit codes and outputs.
fn each(suite: &Path, reference: &str, candidate: &str) -> Vec<(&'static str, Option<i32>, Output)> {
    let request = suite.join("request.bin");
    std::fs::write(&request, "GET /other HTTP/1.1\r\nHost: <<host>>\r\n\r\n").expect("a file");
    let record = suite.join("record.jsonl").display().to_string();
    let request = request.display().to_string();
    let run: Vec<&str> = match candidate.split_once(':') {
        Some(("http", _)) => vec!["run", "--patience", "1", "--url", candidate],
        Some(("target", name)) => vec!["run", "--target", name],
        Some((_, line)) => vec!["run", "--start", line],
        None => unreachable!("a side has a kind"),
    };
    let commands = [
        ("run", run),
        ("record", vec!["record", candidate, "-o", &record]),
        ("compare", vec!["compare", reference, candidate]),
        ("minimize", vec!["minimize", reference, candidate, &request]),
        ("fuzz", vec!["fuzz", reference, candidate, "--seconds", "2", "--seed", "1"]),
    ];
    let ran = commands.into_iter().map(|(name, arguments)| {
        let output = command(suite).args(arguments).output().expect("the program runs");
        (name, output.status.code(), output)
    });
    ran.collect()
}

#[test]
fn servers_that_are_alike_are_0_and_those_that_differ_are_1() {
    let suite = suite(CASES);
    let (good, wrong) = (format!("http://{}", serve(good)), format!("http://{}", serve(wrong)));
    for (name, code, output) in each(suite.path(), &good, &good) {
        assert_eq!(code, Some(0), "{name}: {}", text_of(&output));
    }
    for (name, code, output) in each(suite.path(), &good, &wrong) {
        let expected = if name == "record" { 0 } else { 1 };
        assert_eq!(code, Some(expected), "{name}: {}", text_of(&output));
    }
}

#[test]
fn what_is_no_server_is_2_in_one_line_for_every_command() {
    let suite = suite(CASES);
    let dead = SocketAddr::from(([127, 0, 0, 1], polygil_conformance::server::free_port()));
    let good = format!("http://{}", serve(good));
    for (candidate, expected) in [
        (format!("http://{dead}"), "connection refused"),
        (format!("http://{}", serve(hung)), "answers nothing to GET /"),
        (format!("http://{}", serve(refusing)), "instead of answering GET /"),
        ("http://no-such-host.invalid".into(), "no-such-host.invalid"),
        ("target:absent".into(), "no-such-program"),
        ("start:/no/such/program <<port>>".into(), "/no/such/program"),
        ("start:sh -c 'exit 3'".into(), "ended with exit code 3"),
    ] {
        // Two dead addresses differ in nothing.
        let references = if expected == "connection refused" { vec![&good, &candidate] } else { vec![&good] };
        for reference in references {
            for (name, code, output) in each(suite.path(), reference, &candidate) {
                let text = text_of(&output);
                assert_eq!(code, Some(2), "{name} {candidate}: {text}");
                let lines: Vec<&str> = text.lines().collect();
                assert!(lines.len() == 1 && lines[0].contains(expected), "{name} {candidate}: {text}");
                assert!(!text.contains("os error") && !text.contains("Os {"), "{text}");
            }
        }
    }
    let table = command(suite.path()).args(["table", "absent"]).output().expect("the program runs");
    assert_eq!((table.status.code(), text_of(&table).lines().count()), (Some(2), 1), "{}", text_of(&table));
    assert!(!suite.path().join("record.jsonl").exists(), "nothing is recorded of nobody");
}

#[test]
fn a_server_that_serves_another_app_is_told_before_any_case_fails() {
    let suite = suite(&CASES.replace("GET /\"", "GET /x\""));
    std::fs::write(suite.path().join("suite.toml"), "[probe]\ntarget = \"/nowhere\"\nbody = \"here\"\n")
        .expect("a file");
    std::fs::write(suite.path().join("setups.toml"), "").expect("a file");
    let url = format!("http://{}", serve(good));
    let output = command(suite.path()).args(["run", "--url", &url]).output().expect("the program runs");
    let text = text_of(&output);
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("GET /nowhere gets 200 \"hello\", not 200 \"here\""), "{text}");
}

#[test]
fn a_selection_of_nothing_is_2() {
    let suite = suite(CASES);
    let good = format!("http://{}", serve(good));
    for selection in [["--suite", "onw"], ["--id", "own/nothing"], ["--level", "may"]] {
        for arguments in [vec!["run", "--url", &good], vec!["compare", &good, &good], vec!["list"]] {
            let output = command(suite.path()).args(&arguments).args(selection).output().expect("the program runs");
            let text = text_of(&output);
            assert_eq!(
                (output.status.code(), text.lines().count()),
                (Some(2), 1),
                "{arguments:?} {selection:?}: {text}"
            );
        }
    }
}

#[test]
fn a_case_file_that_is_wrong_is_2_with_its_line_for_every_command() {
    let suite = suite(&CASES.replace("status = 200, body = \"hello\" }\n\n", "stauts = 200 }\n\n"));
    let good = format!("http://{}", serve(good));
    for (name, code, output) in each(suite.path(), &good, &good) {
        let text = text_of(&output);
        assert_eq!(code, Some(2), "{name}: {text}");
        assert!(
            text.contains("root.toml:12: the key `stauts` means nothing here; there are `status`"),
            "{name}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    }
}

/// Kills what a failing test would leave behind.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok()) && !zombie
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn interrupted_it_ends_what_it_started_and_is_128_and_the_signal() {
    let suite = suite(CASES);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let pids: PathBuf = suite.path().join(format!("pids-{code}"));
        // The shell, a child, and a grandchild in a session of its own; none of them listens, none minds the signals.
        let line = format!(
            "trap '' TERM; sleep 600 & echo $$ $! >> {0}; setsid sh -c 'echo $$ >> {0}; exec sleep 600' & wait",
            pids.display()
        );
        let mut runner = Guard(
            command(suite.path())
                .args(["run", "--start", &line])
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs"),
        );
        let started = || -> Vec<i32> {
            let text = std::fs::read_to_string(&pids).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        until("all three are started", || started().len() == 3);
        kill_process(Pid::from_child(&runner.0), signal).expect("it runs");
        let status = runner.0.wait().expect("it ends");
        assert_eq!(status.code(), Some(code));
        let mut said = String::new();
        runner.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        assert_eq!(said.lines().count(), 1, "{said}");
        for pid in started() {
            until("what was started has ended", || !lives(pid));
        }
    }
}

#[test]
fn each_report_has_what_failed_with_its_place_and_its_bytes() {
    let suite = suite(CASES);
    let url = format!("http://{}", serve(wrong));
    let path = |name: &str| suite.path().join(name).display().to_string();
    let output = command(suite.path())
        .args(["run", "--url", &url, "--github", "--json", &path("r.json"), "--sarif", &path("r.sarif")])
        .output()
        .expect("the program runs");
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line =
        "::error file=cases/own/root.toml,line=15,title=own/root/other::the other path says hello: the content is";
    assert!(said.contains(line), "{said}");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(suite.path().join(name)).expect("a report")).expect("JSON")
    };
    let (json, sarif) = (read("r.json"), read("r.sarif"));
    let events = &json["cases"]["own/root/other"]["exchange"][0]["events"];
    assert!(events[0]["sent"].as_str().is_some_and(|sent| sent.starts_with("GET /other HTTP/1.1\r\n")), "{events}");
    assert_eq!(events[1]["received"], "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye");
    assert_eq!(events[1]["bytes"], 41);
    let found = &sarif["runs"][0]["results"][0];
    assert_eq!(
        (&sarif["version"], &found["ruleId"], &found["level"]),
        (&"2.1.0".into(), &"own/root/other".into(), &"error".into())
    );
    let place = &found["locations"][0]["physicalLocation"];
    assert_eq!(
        (&place["artifactLocation"]["uri"], &place["region"]["startLine"]),
        (&"cases/own/root.toml".into(), &15.into())
    );
}

#[test]
fn a_run_that_fails_fast_begins_no_further_case() {
    let suite = suite(&CASES.replace("GET /\"", "GET /first\""));
    let url = format!("http://{}", serve(wrong));
    let output = command(suite.path()).args(["run", "--url", &url, "--fail-fast", "--jobs", "1"]).output();
    let output = output.expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("0 of 1 cases passed"), "{}", text_of(&output));
}
