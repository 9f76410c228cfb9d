//! The built server as a child process, and a client that shows every byte.
//!
//! The server is the real one, `.venv/bin/polygil` (or `$POLYGIL_BIN`), on real CPython, on a port that the kernel picks. A
//! test waits for events (the port file, a response's last byte, the end of the process), never for a fixed time, and ends
//! its child by its own handle.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// No single wait of a test takes longer; a machine under load gets there, a server that hangs does not.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The command under test.
pub fn polygil() -> PathBuf {
    let path = std::env::var_os("POLYGIL_BIN").map_or_else(|| root().join(".venv/bin/polygil"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run `make build` first", path.display());
    path
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The apps that tests serve.
pub fn apps() -> PathBuf {
    root().join("tests/apps")
}

/// `polygil ARGS` in `directory`, with nothing of this environment that would change it.
pub fn command(directory: &Path, args: &[&str]) -> Command {
    clean(&polygil(), directory, args)
}

/// The Python that the command under test runs on.
pub fn python() -> PathBuf {
    polygil().with_file_name("python")
}

/// A program in `directory`, with nothing of this environment that would change it.
pub fn clean(program: &Path, directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("POLYGIL_") || text.starts_with("PYTHON") {
            command.env_remove(name);
        }
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A command run to its end, or killed when that takes longer than [`PATIENCE`]: then its status says so.
pub fn output_in_time(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().expect("the child is ours");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let join =
        |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| thread.join().expect("no panic").expect("readable");
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

/// `polygil ARGS`, run to its end.
pub fn run(directory: &Path, args: &[&str]) -> Output {
    output_in_time(&mut command(directory, args))
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// Serves `target` from tests/apps with two workers and waits until it is ready.
    pub fn start(target: &str, options: &[&str]) -> Self {
        Self::start_in(&apps(), target, options)
    }

    /// Serves `target` from `app_directory`.
    pub fn start_in(app_directory: &Path, target: &str, options: &[&str]) -> Self {
        Self::try_start(app_directory, target, options).unwrap_or_else(|(status, log)| {
            panic!("the server ended before it was ready, with {status}:\n{log}");
        })
    }

    /// As `start_in`, with variables in its environment.
    pub fn start_with(app_directory: &Path, target: &str, options: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::launch(app_directory, target, options, environment).unwrap_or_else(|(status, log)| {
            panic!("the server ended before it was ready, with {status}:\n{log}");
        })
    }

    /// As `start_in`; a server that ends instead of becoming ready gives its status and what it printed.
    pub fn try_start(app_directory: &Path, target: &str, options: &[&str]) -> Result<Self, (ExitStatus, String)> {
        Self::launch(app_directory, target, options, &[])
    }

    fn launch(
        app_directory: &Path,
        target: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, (ExitStatus, String)> {
        let mut program = command(app_directory, &[]);
        program.envs(environment.iter().copied());
        Self::launch_by(program, target, options)
    }

    /// As `start_in`, by a program that takes the arguments of polygil and becomes it.
    pub fn start_by(program: Command, target: &str, options: &[&str]) -> Self {
        Self::launch_by(program, target, options).unwrap_or_else(|(status, log)| {
            panic!("the server ended before it was ready, with {status}:\n{log}");
        })
    }

    fn launch_by(mut command: Command, target: &str, options: &[&str]) -> Result<Self, (ExitStatus, String)> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port_file = directory.path().join("port");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log file");
        let mut args = vec!["serve", target, "--port-file", port_file.to_str().expect("UTF-8")];
        if !options.contains(&"--port") && !options.contains(&"--uds") {
            args.extend(["--port", "0"]);
        }
        if !options.contains(&"--workers") {
            args.extend(["--workers", "2"]);
        }
        args.extend(options);
        command.args(&args);
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = command.spawn().expect("the server starts");
        let mut server = Self { child, port: 0, directory };
        let started = Instant::now();
        loop {
            // A Unix socket has no port: then the file is empty.
            if let Ok(text) = std::fs::read_to_string(&port_file) {
                server.port = text.trim().parse().unwrap_or(0);
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait().expect("the child is ours") {
                return Err((status, server.log()));
            }
            assert!(started.elapsed() < PATIENCE, "the server was not ready in time:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything it printed so far, both streams.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the log has `text`.
    pub fn wait_for_log(&self, text: &str) {
        let started = Instant::now();
        while !self.log().contains(text) {
            assert!(started.elapsed() < PATIENCE, "the log never said {text:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it wrote its port.
    pub fn port_file(&self) -> PathBuf {
        self.directory.path().join("port")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        connect(self.port)
    }

    /// The port of its admin address, which it was started with as `--admin 0`.
    pub fn admin_port(&self) -> u16 {
        self.wait_for_log("/readyz, /livez");
        admin_port(&self.log())
    }

    /// One request on a connection of its own.
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut client = self.connect();
        client.send(&request(method, target, headers, body));
        client.answer(method)
    }

    /// Sends a signal by number (15 is SIGTERM).
    pub fn signal(&self, number: i32) {
        signal(&self.child, number);
    }

    /// SIGTERM, then the exit status and the log.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(15);
        let status = self.wait();
        (status, self.log())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that was ever resident, in KiB.
    pub fn peak_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a child a signal by number (15 is SIGTERM, 2 SIGINT), without a program that a small machine may not have.
pub fn signal(child: &Child, number: i32) {
    let signal = rustix::process::Signal::from_named_raw(number).expect("a signal's number");
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("the child is ours");
}

/// A new connection to a port of this machine.
pub fn connect(port: u16) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    Client { stream, buffered: Vec::new() }
}

/// The port of the admin address, as the log names it.
pub fn admin_port(log: &str) -> u16 {
    let (_, rest) = log.split_once("admin on http://127.0.0.1:").expect("the log names the admin address");
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next().expect("there is a first");
    digits.parse().expect("a port")
}

/// The bytes of a request with a Host and, where there is content, its length.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    if !body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

/// A connection.
pub struct Client {
    /// The socket itself, for tests that want it.
    pub stream: TcpStream,
    buffered: Vec<u8>,
}

/// A response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and fields as they came, without the empty line.
    pub head: String,
    /// The content.
    pub body: Vec<u8>,
}

impl Client {
    /// Writes all of it.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// No more will be sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Reads one response to a request with this method.
    pub fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("a whole response")
    }

    /// As `answer`; None where the connection ends first.
    pub fn try_answer(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            if let Some(position) = self.buffered.windows(4).position(|window| window == b"\r\n\r\n") {
                break position;
            }
            self.fill()?;
        };
        let head = String::from_utf8(self.buffered[..end].to_vec()).expect("an ASCII head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let length = field(&head, "content-length").map_or(0, |value| value.parse().expect("a length"));
        let length = if method == "HEAD" { 0 } else { length };
        while self.buffered.len() < end + 4 + length {
            self.fill()?;
        }
        let body = self.buffered[end + 4..end + 4 + length].to_vec();
        self.buffered.drain(..end + 4 + length);
        Some(Answer { status, head, body })
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_some() {}
        std::mem::take(&mut self.buffered)
    }

    /// Whether the server closes without sending more.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                self.buffered.extend(&chunk[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("reading from the server: {error}"),
        }
    }
}

impl Answer {
    /// A field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8 content")
    }

    /// The content as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON content")
    }

    /// For snapshots: what changes from run to run (Date, request id) is masked, the rest is as it came.
    pub fn shown(&self) -> String {
        let head = self.head.lines().map(|line| match line.split_once(": ") {
            Some((name, _)) if name.eq_ignore_ascii_case("date") => "date: [date]".to_owned(),
            Some((name, _)) if name.eq_ignore_ascii_case("x-request-id") => "x-request-id: [id]".to_owned(),
            _ => line.to_owned(),
        });
        let mut text = head.collect::<Vec<_>>().join("\n");
        text.push_str("\n\n");
        match std::str::from_utf8(&self.body) {
            Ok(body) => text.push_str(body),
            Err(_) => text.push_str(&format!("{:?}", self.body)),
        }
        text
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (given, value) = line.split_once(':')?;
        given.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
