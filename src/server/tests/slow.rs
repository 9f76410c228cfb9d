//! Slow and broken clients over real sockets: each is cut by the timeout that is for it, and nobody else waits for them.
//!
//! The timeouts here are short, and are only ever held against from below: a connection that is cut was not cut too soon. How
//! long anything takes on a busy machine decides nothing; [`PATIENCE`] bounds every wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::sockets::{PATIENCE, Running, answer, local, start};
use crate::config::Config;
use crate::server::CROWDED_IDLE_MIN;

const SHORT: Duration = Duration::from_millis(300);
/// Between two bytes of a client that drips.
const DRIP: Duration = Duration::from_millis(20);

/// Another client is served meanwhile.
fn assert_serves(running: &Running) {
    let mut stream = running.connect();
    stream.write_all(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (head, content) = answer(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(content, "/other ");
}

/// What comes until the end; a reset is an end, too.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8(text).unwrap()
}

/// Waits until the counter of connections that closed for this reason has this value.
fn await_closed(running: &Running, reason: &str, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while running.app.stats().connections_closed_by_reason.get(reason) < count {
        assert!(Instant::now() < deadline, "{:?}", running.app.stats());
        std::thread::yield_now();
    }
}

#[test]
fn heads_that_drip_are_cut_at_the_head_timeout() {
    let running = start(&Config { head_timeout: SHORT, ..local() }, 1);
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..100).map(|_| Some(running.connect())).collect();
    for stream in slow.iter().flatten() {
        stream.set_nonblocking(true).unwrap();
    }
    let head = b"GET /slow HTTP/1.1\r\nHost: x\r\nX: ";
    let mut texts = vec![Vec::new(); slow.len()];
    let mut sent = 0;
    while slow.iter().any(Option::is_some) {
        assert!(begun.elapsed() < PATIENCE, "never cut");
        for (stream, text) in slow.iter_mut().zip(&mut texts) {
            let Some(open) = stream else { continue };
            // A byte for each, until the answer is there.
            let _ = open.write(&[*head.get(sent).unwrap_or(&b'x')]);
            let mut bytes = [0; 1024];
            match open.read(&mut bytes) {
                Ok(0) => *stream = None,
                Ok(count) => text.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            assert!(stream.is_some() || begun.elapsed() >= SHORT, "cut too soon");
        }
        if sent == 3 {
            assert_serves(&running);
        }
        sent += 1;
        std::thread::sleep(DRIP);
    }
    for text in texts {
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("connection: close\r\n"), "{text}");
    }
    let report = running.stop();
    assert_eq!(report.stats.connections_closed_by_reason.get("refused"), 100);
}

#[test]
fn a_body_that_drips_is_cut_at_the_request_timeout() {
    let running = start(&Config { request_timeout: SHORT, min_body_rate: 1, ..local() }, 1);
    let begun = Instant::now();
    let mut stream = running.connect();
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(DRIP)).unwrap();
    let mut text = Vec::new();
    loop {
        assert!(begun.elapsed() < PATIENCE, "never cut");
        let _ = stream.write(b"x");
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&bytes[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
    assert!(begun.elapsed() >= SHORT, "cut too soon");
    assert!(text.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&text));
    assert_serves(&running);
    running.stop();
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let running = start(&Config { idle_timeout: SHORT, ..local() }, 1);
    let begun = Instant::now();
    let mut idle: Vec<_> = (0..200).map(|_| running.connect()).collect();
    // Half of them ask for something first.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(answer(stream).1, "/a ");
    }
    for stream in &mut idle {
        assert_eq!(rest(stream), "");
        assert!(begun.elapsed() >= SHORT, "cut too soon");
    }
    assert_eq!(running.stop().stats.connections_closed_by_reason.get("idle"), 200);
}

#[test]
fn idle_connections_make_way_when_there_are_as_many_as_may_be() {
    let running = start(&Config { max_connections: 20, ..local() }, 1);
    let begun = Instant::now();
    let mut idle: Vec<_> = (0..20).map(|_| running.connect()).collect();
    // The other ten never ask for anything.
    for stream in idle.iter_mut().skip(10) {
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(answer(stream).1, "/a ");
    }
    assert_serves(&running);
    assert!(begun.elapsed() >= CROWDED_IDLE_MIN, "cut too soon");
    assert!(running.app.stats().connections_closed_by_reason.get("idle") >= 1);
    running.stop();
}

#[test]
fn who_reads_nothing_is_left_at_the_write_timeout() {
    let running = start(&Config { write_timeout: SHORT, max_body_bytes: 64 << 20, ..local() }, 1);
    let begun = Instant::now();
    // More than the kernel holds for both sides.
    let body = vec![b'x'; 32 << 20];
    let mut stream = running.connect();
    stream
        .write_all(format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())
        .unwrap();
    stream.write_all(&body).unwrap();
    assert_serves(&running);
    await_closed(&running, "write_timeout", 1);
    assert!(begun.elapsed() >= SHORT, "cut too soon");
    let got = rest(&mut stream).len();
    assert!(got < body.len(), "{got} bytes came");
    let report = running.stop();
    assert_eq!((report.stats.requests_answered, report.stats.requests_dropped), (1, 1));
}

#[test]
fn resets_at_any_moment_leave_nothing_behind() {
    let running = start(&local(), 1);
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    let moments = ["", "PO", head, &format!("{head}hel"), &format!("{head}hello"), &format!("{head}hello{head}")];
    for (index, bytes) in moments.iter().cycle().take(60).enumerate() {
        let mut stream = running.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        if index % 2 == 0 && bytes.ends_with("hello") {
            assert_eq!(answer(&mut stream).1, "/a hello");
        }
        // A close that resets.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert_serves(&running);
    let stats = running.stop().stats;
    assert_eq!((stats.connections_accepted, stats.connections_active), (stats.connections_closed, 0), "{stats:?}");
    assert_eq!(stats.requests_received, stats.requests_answered + stats.requests_dropped, "{stats:?}");
}

#[test]
fn a_half_close_inside_a_request_is_400_and_its_end() {
    let running = start(&local(), 1);
    for bytes in [
        "GET /a HT",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut stream = running.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let text = rest(&mut stream);
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connection: close\r\n"), "{bytes:?}: {text}");
    }
    running.stop();
}

#[test]
fn a_pipeline_that_comes_byte_by_byte_is_answered_in_order() {
    let running = start(&local(), 1);
    let mut stream = running.connect();
    for number in 0..5 {
        let request = format!(
            "POST /{number} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nT: u\r\n\r\n"
        );
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
        }
    }
    for number in 0..5 {
        assert_eq!(answer(&mut stream).1, format!("/{number} hi"));
    }
    running.stop();
}
