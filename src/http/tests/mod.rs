//! Exact bytes in, exact events out; each rule by name; any cut of the same bytes alike; work linear in the bytes.
//!
//! Here is the driver that the tests share: it answers each complete request, and each error, and notes what it saw.

mod bodies;
mod connections;
mod cost;
mod cuts;
mod edges;
mod heads;
mod limits;
mod responses;
mod smuggling;
mod streaming;

use super::*;

thread_local! {
    /// Bytes that this test's connections looked at or moved.
    pub(super) static LOOKED_AT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// An event, or an error, in a form that is the same however bodies are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Head(String),
    Body(Vec<u8>),
    End,
    Closed,
    Error(u16, String),
}

fn ok() -> Response {
    Response { status: 200, headers: vec![("x".into(), b"y"[..].into())], body: b"hi".to_vec(), close: false }
}

/// Feeds the pieces, answers each complete request with `ok`, and collects what was seen.
fn run_with(limits: Limits, pieces: &[&[u8]], eof: bool) -> (Vec<Seen>, Vec<u8>) {
    let mut connection = Connection::new(limits);
    let (mut seen, mut out) = (Vec::new(), Vec::new());
    let mut pieces = pieces.iter();
    let mut ended = false;
    loop {
        match connection.next_event() {
            Ok(Event::NeedData) => match pieces.next() {
                Some(piece) => connection.receive(piece),
                None if eof => {
                    assert!(!std::mem::replace(&mut ended, true), "data needed after the end");
                    connection.receive_eof();
                }
                None => break,
            },
            Ok(Event::Head(head)) => seen.push(Seen::Head(format!("{} {}", head.method(), head.target()))),
            Ok(Event::Body(bytes)) => match seen.last_mut() {
                Some(Seen::Body(body)) => body.extend(bytes),
                _ => seen.push(Seen::Body(bytes)),
            },
            Ok(Event::End) => {
                seen.push(Seen::End);
                connection.send(&ok(), DATE, &mut out).expect("a valid response");
            }
            Ok(Event::Paused) => unreachable!("every response was sent"),
            Ok(Event::Closed) => {
                seen.push(Seen::Closed);
                break;
            }
            Err(error) => {
                seen.push(Seen::Error(error.failure.status(), error.detail.into_owned()));
                let response = error.failure.response("x");
                let after = connection.send(&response, DATE, &mut out).expect("a valid response");
                assert_ne!(after, AfterResponse::KeepAlive, "a refusal ends the connection");
            }
        }
    }
    (seen, out)
}

/// Goes on to where the answer to the present request is due. Panics where the connection never comes to that.
fn read_to_its_end(connection: &mut Connection) {
    loop {
        match connection.next_event() {
            Ok(Event::Paused) => return,
            Ok(Event::Head(_) | Event::Body(_) | Event::End) => {}
            other => panic!("{other:?} instead of a whole request"),
        }
    }
}

fn run(bytes: &[u8]) -> Vec<Seen> {
    run_with(Limits::default(), &[bytes], false).0
}

fn head_of(bytes: &[u8]) -> Head {
    let mut connection = Connection::new(Limits::default());
    connection.receive(bytes);
    match connection.next_event() {
        Ok(Event::Head(head)) => head,
        other => panic!("{other:?} for {}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> (u16, String) {
    match run(bytes).iter().find(|seen| matches!(seen, Seen::Error(..))) {
        Some(Seen::Error(status, detail)) => (*status, detail.clone()),
        _ => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
    }
}
