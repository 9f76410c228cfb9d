//! What clients make the server hold: answers that repeat what they sent, answers that they do not take, content that nobody wants.
//! The real server, its memory as the kernel counts it, and clients that people use.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{PATIENCE, Server, request};
use serde_json::{Value, json};

/// Content of a request that is refused early: more than the kernel holds for both sides, several times.
const UPLOAD: usize = 40_000_000;

fn post(server: &Server, target: &str, content: &str) -> common::Answer {
    server.request("POST", target, &[("content-type", "application/json")], content.as_bytes())
}

/// Each error repeated a name that the client chose: 400 KB made 13 GB.
#[test]
fn what_does_not_convert_is_not_repeated_without_bound() {
    let lists = |name: usize, errors: usize| json!({ "k".repeat(name): vec![""; errors] }).to_string();
    let nulls = format!("[{}null]", "null,".repeat(2_000_000));
    let cases = [
        ("/lists", lists(2_000, 500), 500),
        ("/lists", lists(55_000, 13_750), 13_750),
        ("/lists", lists(100_000, 100_000), 100_000),
        ("/list", nulls, 2_000_001),
    ];
    let server = Server::start("limits:app", &["--workers", "1", "--handler-timeout", "60s"]);
    let parsing = Server::start("limits:app", &["--workers", "1", "--handler-timeout", "60s"]);
    for (target, content, errors) in cases {
        let answer = post(&server, target, &content);
        assert_eq!((answer.status, answer.body.len() <= 64 * 1024), (422, true), "{} bytes", answer.body.len());
        let json = answer.json();
        let detail = json["detail"].as_array().expect("a list");
        assert_eq!(detail.len(), 101);
        assert_eq!(detail[100]["type"], "too_many_errors");
        assert_eq!(detail[100]["ctx"], json!({ "missing": errors - 100 }));
        assert_eq!(post(&parsing, "/parsed", &content).status, 204);
    }
    let (peak, parsing) = (server.peak_resident_kib(), parsing.peak_resident_kib());
    // A megabyte for what is new, and one for where the allocator happened to be.
    assert!(peak <= parsing + 2048, "{peak} KiB with validation, {parsing} KiB with parsing alone");
}

fn memory(server: &Server) -> Value {
    let mut admin = common::connect(server.admin_port());
    admin.send(&request("GET", "/stats", &[], b""));
    admin.answer("GET").json()["memory"].clone()
}

/// Clients that ask for much and take little: what waits for them has a bound, and so has what is made meanwhile.
#[test]
fn answers_that_nobody_takes_are_held_within_the_limit() {
    let options = ["--workers", "2", "--admin", "0", "--max-buffered-bytes", "64MiB"];
    let server = Server::start("limits:app", &options);
    let before = server.resident_kib();
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&request("GET", "/big?n=20000000", &[], b""));
    }
    // Each is answered, the first of them not to its end: their heads say what with.
    let statuses: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            let mut head = [0; 12];
            client.stream.read_exact(&mut head).expect("an answer begins");
            String::from_utf8_lossy(&head).into_owned()
        })
        .collect();
    let with = |status: &str| statuses.iter().filter(|head| head.ends_with(status)).count();
    assert_eq!((with("200"), with("503")), (3, 57), "{statuses:?}");
    let held = memory(&server);
    assert_eq!((&held["refused"], &held["buffered_bytes_max"]), (&json!(57), &json!(64 << 20)), "{held}");
    let unsent = held["unsent_bytes"].as_u64().expect("bytes");
    assert!((60_000_000..=64 << 20).contains(&unsent), "{held}");
    // The limit, and for each worker an answer as Python's object and as bytes.
    let resident = server.resident_kib() - before;
    assert!(resident <= 64 * 1024 + 2 * 2 * 20_000 + 8 * 1024, "{resident} KiB more than before");
    drop(clients);
    let given_back = Instant::now();
    while memory(&server)["buffered_bytes"] != 0 {
        assert!(given_back.elapsed() < PATIENCE, "{}", memory(&server));
        std::thread::yield_now();
    }
    assert_eq!(server.get("/big?n=20000000").body.len(), 20_000_000);
}

/// JSON can be larger than all that it is made of.
#[test]
fn an_answer_that_would_not_fit_is_given_up_while_it_is_made() {
    let server = Server::start("limits:app", &["--workers", "1", "--max-buffered-bytes", "64MiB"]);
    for target in ["/repeated?times=100000", "/text?n=100000000", "/big?n=100000000"] {
        let answer = server.get(target);
        assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("queue_full")), "{target}");
    }
    let peak = server.peak_resident_kib();
    assert!(peak < 400 * 1024, "{peak} KiB");
    assert_eq!(server.get("/repeated?times=1").body.len(), 1_000_004);
}

/// An early answer reaches whoever sends on, however much: `http.client` here, and node and nginx where they are installed.
#[test]
fn a_refusal_reaches_a_client_that_uploads_much() {
    let server = Server::start("limits:app", &["--workers", "1"]);
    let script = format!(
        "import http.client\nfor path in ('/nowhere', '/list'):\n    for _ in range(20):\n        \
         c = http.client.HTTPConnection('127.0.0.1', {}, timeout=60)\n        \
         c.request('POST', path, body=b'x' * {UPLOAD})\n        print(c.getresponse().status)\n",
        server.port
    );
    let python = common::polygil().parent().expect("a bin directory").join("python");
    let mut python = Command::new(python);
    let output = common::output_in_time(python.args(["-c", &script]).stdin(Stdio::null()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "404\n".repeat(20) + &"413\n".repeat(20), "{}", String::from_utf8_lossy(&output.stderr));
    // In chunks nobody knows how much it will be.
    for _ in 0..20 {
        let mut client = server.connect();
        client.send(b"POST /list HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"100000\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
        for _ in 0..40 {
            client.stream.write_all(&chunk).expect("the server reads on");
        }
        assert_eq!(client.answer("POST").status, 413);
    }
}

/// As above, through what people put in front: each says what it was answered, and is left out where it is not installed.
#[test]
fn a_refusal_reaches_node_and_nginx() {
    let server = Server::start("limits:app", &["--workers", "1"]);
    let script = format!(
        "const http = require('http'); let left = 20;\n\
         function ask() {{\n  const r = http.request({{ port: {}, path: '/nowhere', method: 'POST', agent: false, \
         headers: {{ 'content-length': {UPLOAD} }} }},\n    a => {{ a.resume(); a.on('end', () => {{ \
         console.log(a.statusCode); r.destroy(); if (--left) ask(); }}); }});\n  \
         r.on('error', e => {{ if (!r.destroyed) console.log(e.code); }});\n  r.end(Buffer.alloc({UPLOAD}));\n}}\nask();\n",
        server.port
    );
    if is_installed("node") {
        let output = common::output_in_time(Command::new("node").args(["-e", &script]).stdin(Stdio::null()));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "404\n".repeat(20));
    }
    if is_installed("nginx") {
        let nginx = Nginx::start(server.port);
        for path in ["/nowhere", "/list", "/streamed/nowhere", "/streamed/list"] {
            for _ in 0..20 {
                let mut client = nginx.connect();
                let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {UPLOAD}\r\n\r\n");
                client.send(head.as_bytes());
                // nginx answers before it has all of it, and may not want the rest.
                let _ = client.stream.write_all(&vec![b'x'; UPLOAD]);
                assert_eq!(client.answer("POST").status, if path.ends_with("list") { 413 } else { 404 }, "{path}");
            }
        }
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A proxy that takes content of any length, and passes it on whole or, below `/streamed`, as it comes.
struct Nginx {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Nginx {
    fn start(upstream: u16) -> Nginx {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().display();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind}; "))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/log; events {{}}\n\
             http {{ access_log off; client_max_body_size 0; {temporary}\n\
             server {{ listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass http://127.0.0.1:{upstream}; }}\n\
             location /streamed/ {{ proxy_request_buffering off; proxy_http_version 1.1; \
             proxy_pass http://127.0.0.1:{upstream}/; }} }} }}\n"
        );
        let file = directory.path().join("configuration");
        std::fs::write(&file, configuration).expect("written");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(directory.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it is installed");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "nginx does not listen");
            std::thread::yield_now();
        }
        Nginx { child, port, _directory: directory }
    }

    fn connect(&self) -> common::Client {
        common::connect(self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A failed test ends it, too.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
