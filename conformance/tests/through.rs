//! `fuzz --through`: a server that counts otherwise than the proxy in front of it is found, and one that does not is not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PROXIES: [&str; 2] = ["nginx", "haproxy"];

/// A suite with two requests to begin from.
fn suite() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(place.path().join("cases/http")).expect("directories");
    let put = |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    put("suite.toml", "[probe]\ntarget = \"/\"\nbody = \"hello\"\n");
    put("setups.toml", "");
    let case = r#"
suite = "http"
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
id = "chunked"
title = "chunked content is read"
level = "MUST"
source = "RFC 9112, 7.1"
send = "POST / HTTP/1.1\r\nHost: <<host>>\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"
expect = { status = 200, body = "hello" }
"#;
    put("cases/http/root.toml", case);
    place
}

/// How a planted server reads content.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// As RFC 9112 says.
    Right,
    /// Chunks are taken for the next request.
    NoChunks,
    /// A length is read as one more than it is.
    OneMore,
}

fn serve(reads: Reads) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answers(stream, reads));
        }
    });
    address
}

/// Answers `hello` to each request; None where the connection ends.
fn answers(mut stream: TcpStream, reads: Reads) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if text.contains("\r\ntransfer-encoding:") && reads != Reads::NoChunks {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let size = u64::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                // With the line end behind it; the last chunk is taken to have no trailer fields.
                std::io::copy(&mut (&mut reader).take(size + 2), &mut std::io::sink()).ok()?;
                if size == 0 {
                    break;
                }
            }
        }
        if let Some((_, rest)) = text.split_once("\r\ncontent-length:") {
            let length: u64 = rest.split("\r\n").next()?.trim().parse().ok()?;
            let more = u64::from(reads == Reads::OneMore && length > 0);
            std::io::copy(&mut (&mut reader).take(length + more), &mut std::io::sink()).ok()?;
        }
        let body = if text.starts_with("head ") { "" } else { "hello" };
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}").as_bytes()).ok()?;
    }
}

fn fuzz(suite: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"));
    command.arg("--suite-dir").arg(suite).arg("fuzz").args(arguments).stdin(Stdio::null());
    command
}

fn through(suite: &Path, server: &str, proxy: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = fuzz(suite, &[&[server, "--through", proxy, "--seed", "1"], more].concat()).output();
    let output = output.expect("the program runs");
    (output.status.code(), text_of(&output))
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_server_that_does_not_read_chunks_counts_more() {
    let suite = suite();
    let url = format!("http://{}", serve(Reads::NoChunks));
    for proxy in PROXIES {
        let json = suite.path().join(format!("{proxy}.json")).display().to_string();
        let (code, text) =
            through(suite.path(), &url, proxy, &["--requests", "120", "--seconds", "120", "--json", &json]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("the server counts more requests than {proxy} sent")), "{text}");
        let report = std::fs::read_to_string(&json).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let groups = report["groups"].as_array().expect("a list");
        let more = groups.iter().find(|group| group["kind"].as_str().is_some_and(|kind| kind.contains("more")));
        let example = more.expect("it is there")["example"].as_str().expect("text").to_ascii_lowercase();
        assert!(example.contains("transfer-encoding") && example.len() < 120, "{example:?}");
    }
}

#[test]
fn a_server_that_waits_for_more_content_counts_fewer() {
    let suite = suite();
    let url = format!("http://{}", serve(Reads::OneMore));
    for proxy in PROXIES {
        let (code, text) = through(suite.path(), &url, proxy, &["--requests", "60", "--seconds", "40"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("the server counts fewer requests than {proxy} sent")), "{text}");
        assert!(text.contains("the server answered 0 []"), "{text}");
    }
}

#[test]
fn a_server_that_counts_like_the_proxy_is_no_finding() {
    let suite = suite();
    let url = format!("http://{}", serve(Reads::Right));
    for proxy in PROXIES {
        let (code, text) = through(suite.path(), &url, proxy, &["--requests", "60", "--seconds", "120"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("\n60 requests\n0 kinds of difference"), "{text}");
    }
}

#[test]
fn a_proxy_that_is_not_there_is_2_in_one_line() {
    let suite = suite();
    let url = format!("http://{}", serve(Reads::Right));
    for proxy in PROXIES {
        let output = fuzz(suite.path(), &[&url, "--through", proxy]).env("PATH", suite.path()).output();
        let output = output.expect("the program runs");
        let expected = format!(
            "--through {proxy}: the program {proxy} is not there; install it (Debian, Ubuntu: apt install {proxy})\n"
        );
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).ends_with(&expected), "{}", text_of(&output));
        assert_eq!(text_of(&output).lines().count(), 1);
    }
    let (code, text) = through(suite.path(), &url, "nginx", &[&url]);
    assert!(code == Some(2) && text.contains("--through"), "{text}");
}

/// Kills what a failing test would leave behind.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn interrupted_it_ends_the_proxy_that_it_started() {
    let suite = suite();
    let url = format!("http://{}", serve(Reads::Right));
    for proxy in PROXIES {
        let place = tempfile::tempdir().expect("a directory");
        let mut command = fuzz(suite.path(), &[&url, "--through", proxy]);
        let command = command.env("TMPDIR", place.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut runner = Guard(command.spawn().expect("the program runs"));
        // The seed is said once the proxy has answered.
        let mut line = String::new();
        BufReader::new(runner.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("seed "), "{line}");
        let pid = runner.0.id();
        let children = std::fs::read_dir("/proc").expect("Linux").flatten().filter_map(|entry| {
            let child: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == pid && stat.contains(&format!("({proxy})"))).then_some(child)
        });
        let children: Vec<i32> = children.collect();
        assert_eq!(children.len(), 1, "{proxy} runs");
        kill_process(Pid::from_child(&runner.0), Signal::TERM).expect("it runs");
        assert_eq!(runner.0.wait().expect("it ends").code(), Some(143));
        let lives = || Pid::from_raw(children[0]).is_some_and(|pid| test_kill_process(pid).is_ok());
        let deadline = Instant::now() + Duration::from_secs(60);
        while lives() {
            assert!(Instant::now() < deadline, "{proxy} still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(std::fs::read_dir(place.path()).expect("a directory").count(), 0, "nothing is left of {proxy}");
    }
}
