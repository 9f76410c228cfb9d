//! `probe` against servers that know nothing of the suite's app: the standard library's of Python, nginx, Node.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use polygil_conformance::any_server::cases;
use polygil_conformance::server::free_port;
use polygil_conformance::suite::Suite;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A server that ends with its test.
struct Running {
    child: Child,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(command: &mut Command, port: u16, files: tempfile::TempDir) -> Running {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{} does not listen", command.get_program().display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Running { child, address, _files: files }
}

fn files() -> tempfile::TempDir {
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("index.html"), "hello").expect("a file");
    files
}

fn python() -> Running {
    let (port, files) = (free_port(), files());
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(files.path()).arg(port.to_string());
    start(&mut command, port, files)
}

fn nginx() -> Running {
    let (port, files) = (free_port(), files());
    let place = files.path().display().to_string();
    let configuration = format!(
        "daemon off; master_process off; pid {place}/pid; error_log /dev/null; events {{}}\n\
         http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
         fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; root {place}; }} }}\n"
    );
    let path = files.path().join("nginx.conf");
    std::fs::write(&path, configuration).expect("a file");
    // A file that its worker may read, whoever runs this.
    let _ = Command::new("chmod").arg("755").arg(files.path()).status();
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    start(Command::new(program).arg("-e").arg("/dev/null").arg("-c").arg(&path), port, files)
}

fn node() -> Running {
    let (port, files) = (free_port(), files());
    let text = format!(
        "require('http').createServer((request, answer) => {{ request.resume(); request.on('end', () => answer.end('hello')) }})\
         .listen({port}, '127.0.0.1')"
    );
    start(Command::new("node").args(["-e", &text]), port, files)
}

/// What `probe` prints, its JSON, its exit code, and how long it took.
fn probe(server: &Running, more: &[&str]) -> (String, Value, Option<i32>, Duration) {
    let place = tempfile::tempdir().expect("a directory");
    let report = place.path().join("report.json");
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .arg("--suite-dir")
        .arg(root())
        .args(["probe", &format!("http://{}", server.address), "--json"])
        .arg(&report)
        .args(more)
        .output()
        .expect("the program runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json =
        std::fs::read_to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    (text, json, output.status.code(), started.elapsed())
}

fn verdict<'a>(report: &'a Value, id: &str) -> &'a str {
    report["cases"][id]["verdict"].as_str().unwrap_or_else(|| panic!("no verdict of {id}"))
}

fn assert_one_screen(text: &str) {
    assert!(text.lines().count() <= 40, "one screen:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
}

#[test]
fn hundreds_of_cases_can_be_told_without_an_app() {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let all = cases(&suite, "/somewhere", 204);
    assert!(all.len() >= 300, "{}", all.len());
    for topic in ["bounds", "chunked", "connection", "desync", "fields", "host", "request-line", "smuggling", "target"]
    {
        assert!(all.iter().any(|case| case.id.starts_with(&format!("http/{topic}/"))), "{topic}");
    }
    for case in &all {
        let text = format!("{:?}{:?}", case.case.send, case.case.request);
        assert!(!text.contains("/value") && !text.contains("/body") && !text.contains("/field"), "{}: {text}", case.id);
    }
}

#[test]
fn of_pythons_http_server_is_told_what_it_takes_for_good() {
    let (text, report, code, took) = probe(&python(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_one_screen(&text);
    assert!(text.contains("SimpleHTTP"), "{text}");
    // It takes an HTTP/1.1 request without Host, and ends the connection behind each answer, which it may.
    assert_eq!(verdict(&report, "http/host/missing"), "failed");
    assert_eq!(verdict(&report, "http/connection/persists"), "lenient");
    // Its 414 may be lost in the reset that follows.
    assert_ne!(verdict(&report, "http/bounds/target"), "failed");
    assert!(text.contains("a malformed request is taken for a good one"), "{text}");
    println!("{text}{took:?}");
}

#[test]
fn of_nginx_is_told_where_it_is_lenient() {
    let (text, report, code, took) = probe(&nginx(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_one_screen(&text);
    assert_eq!(verdict(&report, "http/host/missing"), "ok");
    assert_eq!(verdict(&report, "http/connection/persists"), "ok");
    assert_eq!(verdict(&report, "http/smuggling/cl-cl-differ"), "ok");
    assert!(report["passed"].as_u64() > Some(300), "{text}");
    println!("{text}{took:?}");
}

#[test]
fn of_node_is_told_where_it_is_lenient() {
    let (text, report, code, took) = probe(&node(), &[]);
    assert!(code == Some(1) || code == Some(0), "{text}");
    assert_one_screen(&text);
    assert_eq!(verdict(&report, "http/connection/persists"), "ok");
    assert_eq!(verdict(&report, "http/smuggling/cl-te"), "ok");
    assert!(report["passed"].as_u64() > Some(300), "{text}");
    println!("{text}{took:?}");
}

#[test]
fn a_path_that_is_not_served_and_a_server_that_is_not_there_are_2() {
    let server = python();
    let (text, _, code, _) = probe(&server, &["--path", "/nowhere"]);
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("GET /nowhere gets 404: name a path that the server serves"), "{text}");
    let address = server.address;
    drop(server);
    let gone =
        Command::new(env!("CARGO_BIN_EXE_polygil-conformance")).args(["probe", &format!("http://{address}")]).output();
    let gone = gone.expect("the program runs");
    assert_eq!(gone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("nobody listens"), "{gone:?}");
}
