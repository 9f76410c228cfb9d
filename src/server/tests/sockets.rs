//! The same over real sockets: binding, `run_blocking` with several threads, a worker on a thread of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_lite::AsyncWriteExt;

use crate::config::Config;
use crate::dispatch::{Step, Worker};
use crate::server::env::Listener;
use crate::server::testing::{World, ok};
use crate::server::{App, DrainEnd, DrainReport, ServerOptions, bind, run_blocking, signals_from};
use crate::task::Task;

/// Bounds every wait of these tests.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a thread of its own, with a worker that echoes on another.
pub(super) struct Running {
    pub(super) app: Arc<App>,
    address: Option<SocketAddr>,
    signals: UnixStream,
    server: JoinHandle<DrainReport>,
    worker: JoinHandle<()>,
}

pub(super) fn start(config: &Config, io_threads: usize) -> Running {
    let World { app, worker, .. } = World::with(ServerOptions::new(config, "s"), 512);
    let listeners = bind(config).unwrap();
    let address = listeners[0].address();
    let (signals, pipe) = UnixStream::pair().unwrap();
    let stream = signals_from(OwnedFd::from(pipe)).unwrap();
    let server = thread::spawn({
        let app = app.clone();
        move || run_blocking(app, listeners, stream, io_threads, || 0)
    });
    Running { app, address, signals, server, worker: thread::spawn(move || echo(worker)) }
}

fn echo(mut worker: Worker<Task>) {
    loop {
        match worker.step() {
            Step::Run(task) if task.reply.start() => {
                let body = [task.request.head.path().as_bytes(), b" ", &task.request.body].concat();
                let _ = task.reply.send(ok(body));
            }
            Step::Run(_) => {}
            Step::Park => worker.park(),
            Step::Exit => return,
        }
    }
}

impl Running {
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(super) fn stop(mut self) -> DrainReport {
        self.signals.write_all(&[15]).unwrap();
        let report = self.server.join().unwrap();
        self.app.pool.close();
        self.worker.join().unwrap();
        report
    }
}

pub(super) fn local() -> Config {
    Config { port: 0, ..Config::default() }
}

/// Reads one answer with a Content-Length: its head and its content.
pub(super) fn answer(stream: &mut impl Read) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn many_connections_get_their_own_answers() {
    let running = start(&local(), 2);
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let mut stream = running.connect();
            thread::spawn(move || {
                for request in 0..200 {
                    let body = format!("{client}-{request}");
                    let length = body.len();
                    let head = format!("POST /c{client} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
                    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
                    let (head, content) = answer(&mut stream);
                    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                    assert_eq!(content, format!("/c{client} {body}"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let report = running.stop();
    assert_eq!((report.ended, report.unfinished.len()), (DrainEnd::Finished, 0));
    assert_eq!((report.stats.requests_answered, report.stats.requests_dropped), (1600, 0));
    assert_eq!((report.stats.connections_accepted, report.stats.connections_active), (8, 0));
}

#[test]
fn an_error_answer_survives_what_the_client_still_sends() {
    let running = start(&local(), 1);
    let mut stream = running.connect();
    stream.write_all(b"NONSENSE\r\n\r\n").unwrap();
    stream.write_all(&[b'x'; 100_000]).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    drop(stream);
    assert_eq!(running.stop().stats.connections_closed_by_reason.get("refused"), 1);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let running = start(&local(), 1);
    let mut stream = running.connect();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("/a "), "{text}");
    running.stop();
}

#[test]
fn no_accepted_request_is_lost_when_it_stops_under_load() {
    let running = start(&local(), 1);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = running.connect();
            thread::spawn(move || {
                let mut answered = 0u64;
                loop {
                    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                    let (head, _) = answer(&mut stream);
                    answered += 1;
                    if head.contains("connection: close") {
                        return answered;
                    }
                }
            })
        })
        .collect();
    let begun = Instant::now();
    while running.app.stats().requests_answered < 500 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", running.app.stats());
        thread::yield_now();
    }
    let report = running.stop();
    let answered: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(
        (report.ended, report.stats.requests_answered, report.stats.requests_dropped),
        (DrainEnd::Finished, answered, 0)
    );
}

#[test]
fn task_and_answer_know_the_addresses() {
    let config = local();
    let World { app, mut worker, .. } = World::with(ServerOptions::new(&config, "s"), 4);
    let listeners = bind(&config).unwrap();
    let address = listeners[0].address().unwrap();
    assert_eq!(listeners[0].url(), format!("http://{address}"));
    let (mut signals, pipe) = UnixStream::pair().unwrap();
    let stream = signals_from(OwnedFd::from(pipe)).unwrap();
    let server = thread::spawn(move || run_blocking(app, listeners, stream, 1, || 0));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let task = loop {
        match worker.step() {
            Step::Run(task) => break task,
            Step::Park => worker.park(),
            Step::Exit => panic!("the worker was told to exit"),
        }
    };
    assert_eq!((task.client, task.server), (Some(client.local_addr().unwrap()), Some(address)));
    signals.write_all(&[3]).unwrap();
    assert_eq!(server.join().unwrap().ended, DrainEnd::Signal);
}

#[test]
fn an_address_in_use_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = bind(&Config { port, ..Config::default() }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{text}");
    assert!(text.contains("--port"), "{text}");
}

#[test]
fn an_address_that_is_not_ours_says_so() {
    // TEST-NET-1, RFC 5737: no machine has it.
    let error = bind(&Config { host: "192.0.2.1".to_owned(), ..local() }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains("--host 0.0.0.0"), "{error}");
}

#[test]
fn a_port_is_shared_only_by_those_who_say_so() {
    let sharing = |port| Config { port, reuse_port: true, ..Config::default() };
    let first = bind(&sharing(0)).unwrap();
    let port = first[0].address().unwrap().port();
    assert_eq!(bind(&Config { port, ..Config::default() }).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(bind(&sharing(port)).unwrap()[0].address(), first[0].address());
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_that_begins_no_more_keeps_what_it_has() {
    let listeners = bind(&local()).unwrap();
    let address = listeners[0].address().unwrap();
    let mut before = TcpStream::connect(address).unwrap();
    assert!(listeners[0].begin_no_more());
    let refused = TcpStream::connect_timeout(&address, Duration::from_millis(50)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    let (mut accepted, _) = async_io::block_on(listeners[0].accept()).unwrap();
    async_io::block_on(accepted.write_all(b"hello")).unwrap();
    let mut bytes = [0; 5];
    before.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn a_successor_takes_over_without_a_lost_request() {
    let first = start(&Config { reuse_port: true, ..local() }, 1);
    let address = first.address.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let done = done.clone();
            thread::spawn(move || {
                let mut answers = 0u64;
                while !done.load(Ordering::Relaxed) {
                    // A connection for each request: every one of them has to be accepted by somebody.
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                    assert_eq!(answer(&mut stream).1, "/a ");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let wait_for = |running: &Running, answers| {
        let begun = Instant::now();
        while running.app.stats().requests_answered < answers {
            assert!(begun.elapsed() < PATIENCE, "{:?}", running.app.stats());
            thread::yield_now();
        }
    };
    wait_for(&first, 100);
    let second = start(&Config { reuse_port: true, port: address.port(), ..Config::default() }, 1);
    wait_for(&second, 20);
    let report = first.stop();
    wait_for(&second, 200);
    done.store(true, Ordering::Relaxed);
    let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let last = second.stop();
    assert_eq!((report.ended, last.ended), (DrainEnd::Finished, DrainEnd::Finished));
    assert_eq!(report.stats.requests_answered + last.stats.requests_answered, answers);
}

#[test]
fn ipv6_in_brackets_is_understood() {
    match bind(&Config { host: "[::1]".to_owned(), ..local() }) {
        Ok(listeners) => assert!(listeners[0].url().starts_with("http://[::1]:")),
        // A machine without IPv6 says that.
        Err(error) => assert!(error.to_string().contains("[::1]"), "{error}"),
    }
}

fn in_directory(directory: &tempfile::TempDir) -> Config {
    Config { uds: Some(directory.path().join("socket")), ..Config::default() }
}

#[test]
fn serves_on_a_unix_socket_and_removes_it() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&in_directory(&directory), 1);
    let mut stream = UnixStream::connect(directory.path().join("socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).1, "/a ");
    drop(stream);
    running.stop();
    assert!(!directory.path().join("socket").exists());
}

#[test]
fn an_idle_connection_makes_way_on_a_unix_socket_too() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(&Config { max_connections: 1, ..in_directory(&directory) }, 1);
    let connect = || UnixStream::connect(directory.path().join("socket")).unwrap();
    let _idle = connect();
    let mut stream = connect();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).1, "/a ");
    drop(stream);
    running.stop();
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listeners = bind(&in_directory(&directory)).unwrap();
    let error = bind(&in_directory(&directory)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another process listens there"), "{error}");
    // A successor that took the name over keeps it.
    std::fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    drop(listeners);
    assert!(path.exists());
    drop(successor);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("socket"), "precious").unwrap();
    let error = bind(&in_directory(&directory)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(directory.path().join("socket")).unwrap(), "precious");
    let error = bind(&Config { uds: Some(directory.path().join("no/socket")), ..Config::default() }).unwrap_err();
    assert!(error.to_string().contains("create it first"), "{error}");
}
