//! `pipeline`: requests good and bad behind each other, in any order and any cut; the first that is bad ends it.
//!
//! The bytes pick fragments from a table, whose answers are known, so the whole of what comes out is known too.

use polygil::http::Limits;

use crate::drive::{cut, drive};
use crate::peer;

/// What becomes of a fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is answered, with this method and this many bytes of content.
    Answered(&'static str, usize),
    /// It is answered so, and the connection closes.
    AnsweredLast(&'static str, usize),
    /// It gets this error.
    Refused(u16),
}
use Fate::{Answered, AnsweredLast, Refused};

const FRAGMENTS: &[(&[u8], Fate)] = &[
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Answered("GET", 0)),
    (b"HEAD /x?y HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n", Answered("HEAD", 0)),
    (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Answered("GET", 0)),
    (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /poison HTTP/1", Answered("POST", 18)),
    (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Answered("POST", 0)),
    (
        b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"\\\"\"\r\nabc\r\n0A\r\n0\r\n\r\nGET /\r\n0\r\nT: v\r\n\r\n",
        Answered("PUT", 13),
    ),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n!", Answered("OPTIONS", 1)),
    (b"GET http://A:80/b HTTP/1.1\r\nHost: a:80\r\n\r\n", Answered("GET", 0)),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Answered("GET", 0)),
    (b"BREW / HTTP/1.1\r\nHost:\t[::1]:8000 \r\nX: \xff\r\n\r\n", Answered("BREW", 0)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", AnsweredLast("GET", 0)),
    (b"GET / HTTP/1.0\r\n\r\n", AnsweredLast("GET", 0)),
    (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", AnsweredLast("POST", 2)),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Refused(400)),
    (b"GET / HTTP/1.1\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", Refused(400)),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Refused(400)),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(501)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT : v\r\n\r\n", Refused(400)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", Refused(413)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 1\r\n\r\n!", Refused(417)),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused(505)),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(505)),
    (b"\x16\x03\x01\x02\x00\x01", Refused(400)),
];

/// As many fragments as a connection would get before anybody lost interest.
const FRAGMENTS_MAX: usize = 40;

/// Each request gets its own answer, in order, up to the first that is wrong; that one gets its error; nothing follows.
pub fn pipeline(data: &[u8]) {
    let picked: Vec<_> =
        data.iter().take(FRAGMENTS_MAX).map(|&byte| &FRAGMENTS[usize::from(byte) % FRAGMENTS.len()]).collect();
    let bytes: Vec<u8> = picked.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    let mut methods = Vec::new();
    let mut expected = Vec::new();
    for (_, fate) in &picked {
        match *fate {
            Answered(method, length) | AnsweredLast(method, length) => {
                methods.push(method);
                let content = format!("{}:{length}", expected.len());
                expected.push((200, if method == "HEAD" { String::new() } else { content }));
                if matches!(fate, AnsweredLast(..)) {
                    break;
                }
            }
            Refused(status) => {
                expected.push((status, String::new()));
                break;
            }
        }
    }
    methods.push("GET");
    let trace = drive(&Limits::default(), cut(&bytes), false);
    let answers = peer::responses(&methods, &trace.out)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&trace.out)));
    let text = |answer: &peer::Answer| match answer.status {
        200 => String::from_utf8_lossy(&answer.body).into_owned(),
        _ => String::new(),
    };
    let given: Vec<_> = answers.iter().map(|answer| (answer.status, text(answer))).collect();
    assert_eq!(given, expected, "{}", String::from_utf8_lossy(&bytes));
    let ends = picked.iter().any(|(_, fate)| !matches!(fate, Answered(..)));
    assert_eq!(answers.last().is_some_and(|answer| !answer.reusable), ends, "only the last says close");
    assert!(answers.iter().rev().skip(1).all(|answer| answer.reusable), "only the last says close");
}
