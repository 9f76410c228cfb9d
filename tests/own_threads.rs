//! A panic of any of polygil's own threads: health says so at once, requests are answered or their connections closed, and the process
//! ends non-zero by itself. In a build that can be told to panic: `scripts/build-planted`.

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, apps, connect, request, root};

struct Server {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
    admin: u16,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let planted = root().join("target/planted/polygil");
        assert!(planted.exists(), "{} is not there: run scripts/build-planted first", planted.display());
        let directory = tempfile::tempdir().expect("a directory");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let mut serve = Command::new(planted);
        serve.args(["serve", "crashes:app", "--port", "0", "--admin", "0", "--drain-timeout", "3s"]);
        if !options.contains(&"--workers") {
            serve.args(["--workers", "2"]);
        }
        serve.args(["--handler-timeout", "5s", "--port-file"]).arg(directory.path().join("port")).args(options);
        let places = directory.path().join("places");
        std::fs::create_dir(&places).expect("a directory");
        serve.env("PLANTED_PANICS", places).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(apps());
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let mut server = Self { child, directory, port: 0, admin: 0 };
        server.port = server.wait_for("the port", |server| {
            std::fs::read_to_string(server.directory.path().join("port")).ok()?.trim().parse().ok()
        });
        server.admin = common::admin_port(&server.log());
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }

    fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "{what} does not come:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn plant(&self, place: &str) -> PathBuf {
        let path = self.directory.path().join("places").join(place);
        std::fs::write(&path, "").expect("planted");
        path
    }

    /// The status and the text of a page of the admin address; None where it does not answer.
    fn ask(&self, path: &str) -> Option<(u16, String)> {
        let stream = std::net::TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        drop(stream);
        let mut client = connect(self.admin);
        client.send(&request("GET", path, &[("connection", "close")], b""));
        client.try_answer("GET").map(|answer| (answer.status, answer.text().to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where it panics, options that it takes, and what health says.
const PANICS: [(&str, &[&str], &str); 7] = [
    ("io", &[], "failed: the thread of the I/O panicked, which is a bug in polygil\n"),
    ("io", &["--io-threads", "2"], "failed: a thread of the I/O panicked, which is a bug in polygil\n"),
    ("supervisor", &[], "failed: the supervisor of the workers panicked, which is a bug in polygil\n"),
    ("drain", &[], "failed: the thread of the drain panicked, which is a bug in polygil\n"),
    ("log", &[], "failed: the thread of the log panicked, which is a bug in polygil\n"),
    ("admin", &[], "failed: the admin address panicked, which is a bug in polygil\n"),
    ("admin-io", &[], "failed: the I/O of the admin address panicked, which is a bug in polygil\n"),
];

#[test]
fn a_thread_that_panics_ends_the_server_and_no_request_is_left_without_its_end() {
    for (place, options, reason) in PANICS {
        let mut server = Server::start(options);
        let mut running = connect(server.port);
        running.send(&request("GET", "/sleep/1", &[], b""));
        assert_eq!(server.ask("/readyz"), Some((200, "ready\n".to_owned())), "{place}");
        let file = server.plant(place);
        // Whatever the thread does, it comes by.
        let mut health = None;
        server.wait_for("the panic", |server| {
            if place == "drain" {
                drop(Command::new("kill").args(["-s", "USR1", &server.child.id().to_string()]).status());
            }
            if server.child.try_wait().expect("ours").is_none() && file.exists() {
                if place.starts_with("admin") {
                    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.ask("/livez"))));
                } else if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", server.port)) {
                    drop(std::io::Write::write_all(&mut stream, b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\nGET /"));
                }
            }
            (!file.exists()).then_some(())
        });
        if !place.starts_with("admin") {
            // The panic is on its way from the place to who sees it.
            server.wait_for("health", |server| {
                (server.ask("/readyz") != Some((200, "ready\n".to_owned()))).then_some(())
            });
            health = server.ask("/readyz");
            assert_eq!(health, Some((503, reason.to_owned())), "{place}:\n{}", server.log());
        }
        let started = Instant::now();
        let answer = running.try_answer("GET").map(|answer| answer.status);
        assert!(matches!(answer, Some(200 | 500 | 503) | None), "{place}: {answer:?}");
        let status = server.wait_for("the end", |server| server.child.try_wait().expect("ours"));
        assert!(started.elapsed() < Duration::from_secs(20), "{place}: {:?}", started.elapsed());
        let log = server.log();
        assert_eq!(status.code(), Some(1), "{place}, {health:?}:\n{log}");
        assert!(log.contains(&format!("panicked: planted in {place}")), "{place}:\n{log}");
        assert!(
            log.contains(&format!("{}: the server stops", reason.trim_start_matches("failed: ").trim_end()))
                || place == "supervisor",
            "{place}:\n{log}"
        );
    }
}

#[test]
fn a_worker_that_panics_is_replaced_and_health_is_true_meanwhile() {
    let mut server = Server::start(&["--workers", "1"]);
    let file = server.plant("worker");
    let mut client = connect(server.port);
    client.send(&request("GET", "/ok", &[], b""));
    let answer = client.try_answer("GET").map(|answer| answer.status);
    assert_eq!(answer, Some(500));
    assert!(!file.exists());
    server.wait_for("the replacement", |server| (server.ask("/readyz")?.0 == 200).then_some(()));
    client.send(&request("GET", "/ok", &[], b""));
    assert_eq!(client.answer("GET").text(), "ok");
    let log = server.log();
    assert!(log.contains("panicked: planted in worker"), "{log}");
}

#[test]
fn an_io_that_does_not_turn_is_not_ready() {
    let mut server = Server::start(&[]);
    assert_eq!(server.ask("/readyz"), Some((200, "ready\n".to_owned())));
    let file = server.plant("stall-io");
    // The thread comes by when something wakes it.
    let client = connect(server.port);
    server.wait_for("the stall", |server| {
        let (status, text) = server.ask("/readyz")?;
        (status == 503 && text.starts_with("stalled: the I/O has not turned for ")).then_some(())
    });
    let (_, stats) = server.ask("/stats").expect("it answers");
    assert!(stats.starts_with("{\"health\":\"stalled\",\"health_reason\":\"the I/O has not turned for "), "{stats}");
    let (_, metrics) = server.ask("/metrics").expect("it answers");
    assert!(metrics.contains("\npolygil_ready 0\n"), "{metrics}");
    std::fs::remove_file(file).expect("no stall any more");
    server.wait_for("the end of the stall", |server| (server.ask("/readyz")?.0 == 200).then_some(()));
    drop(client);
}
