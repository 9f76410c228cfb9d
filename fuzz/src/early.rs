//! `early`: answers at any moment, before the content is read, in the middle of it, or before the head is whole; and `100 Continue`.
//!
//! The server answers early when it will not read a body, and when time is over. Whatever the moment, the connection must not take what
//! is left of the request for another one.

use polygil::http::{AfterResponse, Connection, Event, Head, Limits};

use crate::drive::{DATE, answer, cut, tight};
use crate::peer;

/// At most this much is read after an early answer.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// An early answer ends the connection, unless nothing of its request was left to read.
pub fn early(data: &[u8]) {
    for limits in [Limits::default(), tight()] {
        // The moment: that of the n-th time that something could be answered.
        let moments = 1 + data.iter().map(|&byte| usize::from(byte)).sum::<usize>() % (8 + data.len().min(200));
        run(limits, data, moments);
    }
}

fn run(limits: Limits, data: &[u8], moments: usize) {
    let mut connection = Connection::new(limits);
    let mut pieces = cut(data).into_iter();
    let mut out = Vec::new();
    // The methods of the requests that were answered, and the head of the one that was not.
    let mut methods: Vec<String> = Vec::new();
    let mut present: Option<Head> = None;
    let mut received = 0;
    let mut left = moments;
    loop {
        assert!(!connection.is_idle() || connection.buffered() == 0, "idle with bytes at hand");
        let event = connection.next_event();
        left -= 1;
        let is_last = left == 0;
        match event {
            Ok(Event::NeedData) => {
                if connection.wants_continue() {
                    check_continue(&mut connection, present.as_ref(), &mut out);
                }
                if is_last {
                    return finish(connection, methods, present.as_ref(), received, out);
                }
                match pieces.next() {
                    Some(piece) => connection.receive(piece),
                    None => return,
                }
            }
            Ok(Event::Head(head)) => {
                (present, received) = (Some(head), 0);
                if is_last {
                    return finish(connection, methods, present.as_ref(), received, out);
                }
            }
            Ok(Event::Body(bytes)) => {
                received += bytes.len() as u64;
                assert!(!connection.wants_continue(), "it did not wait");
                if is_last {
                    return finish(connection, methods, present.as_ref(), received, out);
                }
            }
            Ok(Event::End) => {
                let head = present.take().expect("a request that ends has begun");
                connection.send(&answer(methods.len(), b""), DATE, &mut out).expect("a valid response");
                methods.push(head.method().to_owned());
                if is_last {
                    return;
                }
            }
            Ok(Event::Paused) => panic!("every complete request was answered"),
            Ok(Event::Closed) | Err(_) => return,
        }
    }
}

/// `100 Continue` is sent once, to a request that asked for it and has content to come.
fn check_continue(connection: &mut Connection, present: Option<&Head>, out: &mut Vec<u8>) {
    let head = present.expect("only a request can want it");
    assert!(head.expects_continue() && head.has_body() && head.minor_version() == 1, "{head:?}");
    let before = out.len();
    connection.send_continue(out);
    assert_eq!(&out[before..], b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.send_continue(out);
    assert_eq!(out.len(), before + 25, "once");
    assert!(!connection.wants_continue());
}

/// Answers now, and sees what becomes of the connection.
fn finish(
    mut connection: Connection,
    mut methods: Vec<String>,
    present: Option<&Head>,
    received: u64,
    mut out: Vec<u8>,
) {
    // Its end was not asked for, but all of its content was there.
    let is_complete = present.is_some_and(|head| head.content_length() == Some(received));
    let after = connection.send(&answer(methods.len(), b""), DATE, &mut out).expect("a request may be answered early");
    match after {
        AfterResponse::KeepAlive => {
            assert!(is_complete, "nothing was left to read: {present:?}");
            assert!(matches!(connection.next_event(), Ok(Event::Head(_) | Event::NeedData) | Err(_)));
        }
        AfterResponse::DrainThenClose { max_bytes } => {
            assert!(max_bytes > 0 && max_bytes <= DRAIN_BYTES_MAX, "{max_bytes}");
            assert!(!is_complete, "{present:?}");
            let known = present.and_then(Head::content_length);
            assert!(known.is_none_or(|length| max_bytes <= length - received), "{max_bytes} of {known:?}");
            is_over(&mut connection);
        }
        AfterResponse::Close => is_over(&mut connection),
    }
    // The last may be to a head that was not whole: to HEAD, if it began like one.
    methods.push(present.map_or("GET", Head::method).to_owned());
    let names: Vec<&str> = methods.iter().map(String::as_str).collect();
    let answers = peer::responses(&names, &out).or_else(|error| match names.split_last() {
        Some((_, others)) if present.is_none() => peer::responses(&[others, &["HEAD"]].concat(), &out),
        _ => Err(error),
    });
    let answers = answers.unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()));
    assert_eq!(answers.len(), methods.len(), "{}", out.escape_ascii());
    let last = answers.last().expect("the last one was just sent");
    assert_eq!(last.reusable, after == AfterResponse::KeepAlive, "the answer says what becomes of the connection");
}

/// Nothing more is read as a request, and nothing more can be answered.
fn is_over(connection: &mut Connection) {
    connection.receive(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.next_event(), Ok(Event::Closed));
    assert!(!connection.wants_continue());
    let mut out = Vec::new();
    assert!(connection.send(&answer(0, b""), DATE, &mut out).is_err() && out.is_empty());
}
