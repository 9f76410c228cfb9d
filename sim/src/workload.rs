//! Requests: what clients send, drawn from the seed, and what each is to lead to.
//!
//! Every request has a number that is part of its path, so that a worker that gets a request, and a client that gets an answer,
//! can tell whose it is. Limits are met exactly and exceeded by one, as often as by much.

use polygil::router::{RouteSpec, Router};

use crate::check::{Entry, Want};
use crate::core::Core;
use crate::options::Options;
use crate::random::{Random, hash};

/// A request that is drawn, and has not been sent.
pub struct Drawn {
    /// Its number.
    pub token: usize,
    /// Everything up to where the client waits, if it does.
    pub first: Vec<u8>,
    /// What it sends once it is told to go on.
    pub rest: Vec<u8>,
    /// Whether it has to wait for 100 before `rest`.
    pub waits: bool,
    /// No request follows on the connection.
    pub is_last: bool,
}

/// The routes of every simulated server.
pub fn router() -> Router {
    let spec = |method: &str, pattern: &str| RouteSpec {
        method: method.to_owned(),
        pattern: pattern.to_owned(),
        module: "app".to_owned(),
        qualname: "handler".to_owned(),
        origin: format!("app.py:{}", pattern.len()),
        timeout_ms: None,
        queue_timeout_ms: None,
        unreachable: None,
    };
    match Router::build(vec![spec("GET", "/e/{token}"), spec("POST", "/e/{token}")]) {
        Ok(router) => router,
        Err(errors) => panic!("the routes of the simulator do not build: {} errors", errors.len()),
    }
}

/// Bytes that are no request, and the statuses that may refuse them. A full queue is told before chunks are looked at.
const MALFORMED: &[(&str, &[u16])] = &[
    ("\u{1}\r\n\r\n", &[400]),
    ("GET\r\n\r\n", &[400]),
    ("GET /e/T HTTP/1.1\r\n\r\n", &[400]),
    ("GET /e/T HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
    ("GET /e/T HTTP/2.0\r\nHost: sim\r\n\r\n", &[505]),
    ("GET /e/T HTTP/1.1\nHost: sim\n\n", &[400]),
    ("GET /e/T HTTP/1.1\r\nHost: sim\r\n a: folded\r\n\r\n", &[400]),
    ("GET /e/T HTTP/1.1\r\nHost : sim\r\n\r\n", &[400]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nContent-Length: 3, 3\r\n\r\nabc", &[400]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nContent-Length: -1\r\n\r\n", &[400]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[501]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", &[400, 503]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", &[400, 503]),
    ("POST /e/T HTTP/1.1\r\nHost: sim\r\nContent-Length: 1\r\nExpect: a pony\r\n\r\nx", &[417]),
    ("GET /e/T\" HTTP/1.1\r\nHost: sim\r\n\r\n", &[400]),
];

/// What is drawn before the bytes are put together.
struct Shape {
    method: &'static str,
    target: String,
    want: Want,
    body: Option<Vec<u8>>,
    chunked: bool,
    expects: bool,
    more_fields: usize,
}

/// Draws the next request of a connection and writes it into the ledger, as sent behind `sent` bytes.
pub fn draw(core: &mut Core, random: &mut Random, conn: usize, sent: u64) -> Drawn {
    let options = core.options.clone();
    let healed = core.is_healed();
    let token = core.ledger.len();
    let over = !healed && random.chance(options.over_limit);
    if !healed && !over && random.chance(options.malformed) {
        return malformed(core, random, conn, sent);
    }
    let shape = if over { over_limit(random, &options, token) } else { ordinary(random, &options, token, healed) };
    let last = !healed && random.chance(options.last);
    let one_zero = last && random.below(2) == 0;
    // HTTP/1.0 has neither chunks nor 100 (RFC 9110, 10.1.1).
    let chunked = shape.chunked && !one_zero;
    let expects = shape.expects && !one_zero;
    let version = if one_zero { "1.0" } else { "1.1" };
    let mut head = format!("{} {} HTTP/{version}\r\nHost: sim\r\n", shape.method, shape.target);
    if last && !one_zero {
        head.push_str("Connection: close\r\n");
    }
    if expects {
        head.push_str("Expect: 100-continue\r\n");
    }
    for number in 0..random.below(4) {
        head.push_str(&format!("X-Field-{number}: {}\r\n", random.bits()));
    }
    if shape.more_fields > 0 {
        head.push_str(&format!("X-Long: {}\r\n", "f".repeat(shape.more_fields)));
    }
    let mut framed = Vec::new();
    match &shape.body {
        Some(body) if chunked => {
            head.push_str("Transfer-Encoding: chunked\r\n");
            framed = in_chunks(random, body);
        }
        Some(body) => {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            framed = body.clone();
        }
        None => {}
    }
    head.push_str("\r\n");
    let body = shape.body.unwrap_or_default();
    let head_end = sent + head.len() as u64;
    let expects = expects && !framed.is_empty();
    core.ledger.push(Entry {
        conn,
        method: shape.method,
        want: shape.want,
        places: (sent, head_end, head_end + framed.len() as u64),
        content: (body.len() as u64, hash(0, &body)),
        expects,
        continued: false,
        last,
        sent_at: core.now(),
        read_at: (None, None, None),
        runs: (0, 0),
        outcome: None,
        answered_at: None,
        turn: 0,
    });
    let mut first = head.into_bytes();
    let mut rest = framed;
    if !expects {
        first.append(&mut rest);
    }
    Drawn { token, first, rest, waits: expects, is_last: last || matches!(shape.want, Want::Refusal(_)) }
}

fn ordinary(random: &mut Random, options: &Options, token: usize, healed: bool) -> Shape {
    let post = random.chance(options.post);
    let head = !post && random.chance(options.head);
    let method = if post {
        "POST"
    } else if head {
        "HEAD"
    } else {
        "GET"
    };
    let mut shape = Shape {
        method,
        target: format!("/e/{token}"),
        want: Want::Handler,
        body: None,
        chunked: false,
        expects: false,
        more_fields: 0,
    };
    if post {
        let exactly = random.below(20) == 0;
        let length = if exactly { options.body_bytes_max } else { random.below(options.request_bytes_max + 1) };
        let most = if healed { options.body_bytes_max.min(options.calm_bytes_max()) } else { options.body_bytes_max };
        shape.body = Some(content(random, length.min(most)));
        shape.chunked = random.chance(options.chunked);
        shape.expects = random.chance(options.expect_continue);
    }
    if !healed && random.chance(options.unrouted) {
        (shape.method, shape.target, shape.want) = match (random.below(4), post) {
            (0, _) => ("DELETE", shape.target, Want::Own(405)),
            (1, false) => ("OPTIONS", shape.target, Want::Own(204)),
            // Nobody knows the method, and everybody where the next request begins.
            (2, _) => ("BREW", shape.target, Want::Own(501)),
            _ => (method, format!("/nowhere/{token}"), Want::Own(404)),
        };
    } else if random.below(20) == 0 {
        let room = (options.target_bytes_max as usize).saturating_sub(shape.target.len() + 3);
        if room > 0 {
            let length = if random.below(4) == 0 { room } else { random.below(room as u64) as usize };
            shape.target = format!("{}?q={}", shape.target, "t".repeat(length));
        }
    }
    shape
}

/// A request that is over one limit, by one or by a little more.
fn over_limit(random: &mut Random, options: &Options, token: usize) -> Shape {
    let over = if random.below(2) == 0 { 1 } else { random.spread(1, 1000) };
    let target = format!("/e/{token}");
    let mut shape = Shape {
        method: "POST",
        want: Want::Refusal(&[413]),
        body: None,
        chunked: false,
        expects: false,
        more_fields: 0,
        target,
    };
    match random.below(3) {
        0 => {
            let length = (options.target_bytes_max + over) as usize - shape.target.len().min(60) - 3;
            shape.target = format!("{}?q={}", shape.target, "t".repeat(length));
            shape.want = Want::Refusal(&[414]);
        }
        1 => {
            shape.more_fields = (options.headers_bytes_max + over) as usize;
            shape.want = Want::Refusal(&[431]);
        }
        _ => {
            shape.body = Some(content(random, options.body_bytes_max + over));
            shape.chunked = random.below(2) == 0;
            shape.expects = random.below(4) == 0;
        }
    }
    shape
}

fn malformed(core: &mut Core, random: &mut Random, conn: usize, sent: u64) -> Drawn {
    let token = core.ledger.len();
    let (template, statuses) = *random.pick(MALFORMED);
    let first = template.replace("/e/T", &format!("/e/{token}")).into_bytes();
    let end = sent + first.len() as u64;
    let head_length = first.windows(4).position(|window| window == b"\r\n\r\n").map_or(first.len(), |place| place + 4);
    let head_end = sent + head_length as u64;
    core.ledger.push(Entry {
        conn,
        method: "",
        want: Want::Refusal(statuses),
        places: (sent, head_end, end),
        content: (0, 0),
        expects: false,
        continued: false,
        last: false,
        sent_at: core.now(),
        read_at: (None, None, None),
        runs: (0, 0),
        outcome: None,
        answered_at: None,
        turn: 0,
    });
    Drawn { token, first, rest: Vec::new(), waits: false, is_last: true }
}

/// Content that looks like requests, so that a byte that is read as one by mistake shows.
fn content(random: &mut Random, length: u64) -> Vec<u8> {
    const TRAP: &[u8] = b"GET /e/999999999 HTTP/1.1\r\nHost: trap\r\n\r\n";
    let from = random.below(TRAP.len() as u64) as usize;
    let mut content = TRAP[from..].to_vec();
    while content.len() < length as usize {
        content.extend_from_slice(TRAP);
    }
    content.truncate(length as usize);
    content
}

/// The content in chunks, with extensions and trailers at times.
fn in_chunks(random: &mut Random, body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    let mut rest = body;
    let largest = (body.len() as u64 / 4).max(16);
    while !rest.is_empty() {
        let length = random.spread(1, largest.min(rest.len() as u64)) as usize;
        let extension = if random.below(8) == 0 { ";a=b" } else { "" };
        framed.extend_from_slice(format!("{length:x}{extension}\r\n").as_bytes());
        framed.extend_from_slice(&rest[..length]);
        framed.extend_from_slice(b"\r\n");
        rest = &rest[length..];
    }
    framed.extend_from_slice(b"0\r\n");
    if random.below(4) == 0 {
        framed.extend_from_slice(b"X-Trailer: t\r\n");
    }
    framed.extend_from_slice(b"\r\n");
    framed
}
