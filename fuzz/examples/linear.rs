//! Measures that work is linear in the bytes that arrive, for the worst input of each limit, and draws it.
//!
//! ```text
//! cargo run --release -p polygil-fuzz --example linear -- docs/generated/linear.svg
//! ```
//!
//! Inputs of 64 KiB to 1 MiB, each with the limit in question opened beyond that, in pieces of 16 KiB and byte by byte; and targets of as
//! many bytes through the router. What has a limit that nobody can open (the method, empty lines) is refused there, however much comes:
//! its line is flat. Each time is the smallest of some runs, in time of the processor, so that other work on the machine takes none of
//! it. Printed is the time for a byte at the largest size and its ratio to that at the smallest: 1 is linear, 16 would be quadratic. That
//! nothing is looked at twice is also counted, exactly, in `src/http/tests/cost.rs`; here is the time.

use std::fmt::Write;

use polygil::http::{Connection, Event, Limits};
use polygil::router::{RouteSpec, Router};
use polygil_fuzz::drive::{DATE, answer};
use rustix::time::{ClockId, clock_gettime};

const SIZES: [usize; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];
const RUNS: usize = 15;
/// Of the largest input.
const LARGEST: usize = SIZES[SIZES.len() - 1];

fn main() {
    let path = std::env::args().nth(1);
    let router = router();
    let panels = [
        measure("in pieces of 16 KiB", INPUTS, |input| drive(input.as_bytes(), 16 << 10)),
        measure("byte by byte", INPUTS, |input| drive(input.as_bytes(), 1)),
        measure("through the router", PATHS, |input| {
            std::hint::black_box(router.find("GET", input));
        }),
    ];
    if let Some(path) = path {
        std::fs::write(path, svg(&panels)).expect("the file can be written");
    }
}

/// A worst input of about so many bytes.
type Input = fn(usize) -> String;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

const INPUTS: &[(&str, Input)] = &[
    ("a long method", |size| "M".repeat(size)),
    ("a long target", |size| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size))),
    ("a long host", |size| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a.".repeat(size / 2))),
    ("a long name", |size| format!("{GET}{}: x\r\n\r\n", "x".repeat(size))),
    ("a long value", |size| format!("{GET}X: {}\r\n\r\n", "x".repeat(size))),
    ("a long list of options", |size| format!("{GET}Connection: {}\r\n\r\n", "a,".repeat(size / 2))),
    ("many fields", |size| format!("{GET}{}\r\n", "a:\r\n".repeat(size / 4))),
    ("many fields, the last one bad", |size| format!("{GET}{}b\r\n\r\n", "a:\r\n".repeat(size / 4))),
    ("content", |size| format!("{GET}Content-Length: {size}\r\n\r\n{}", "x".repeat(size))),
    ("chunks of one byte", |size| format!("{CHUNKED}{}0\r\n\r\n", "1\r\nx\r\n".repeat(size / 6))),
    ("a long chunk extension", |size| format!("{CHUNKED}1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(size))),
    ("many extensions of a chunk", |size| format!("{CHUNKED}1{}\r\nx\r\n0\r\n\r\n", ";a".repeat(size / 2))),
    ("an extension for each chunk", |size| format!("{CHUNKED}{}0\r\n\r\n", "1;a\r\nx\r\n".repeat(size / 8))),
    ("a quoted string of escapes", |size| format!("{CHUNKED}1;a=\"{}\"\r\nx\r\n0\r\n\r\n", "\\\"".repeat(size / 2))),
    ("a long trailer", |size| format!("{CHUNKED}0\r\nX: {}\r\n\r\n", "x".repeat(size))),
    ("many trailers", |size| format!("{CHUNKED}0\r\n{}\r\n", "a:\r\n".repeat(size / 4))),
    ("empty lines", |size| "\r\n".repeat(size / 2)),
    ("pipelined requests", |size| format!("{GET}\r\n").repeat(size / 27)),
];

/// Targets for the router.
const PATHS: &[(&str, Input)] = &[
    ("one long segment", |size| format!("/a/{}", "x".repeat(size))),
    ("many segments", |size| "/a".repeat(size / 2)),
    ("empty segments", |size| "/".repeat(size)),
    ("a segment of escapes", |size| format!("/a/{}", "%41".repeat(size / 3))),
    ("segments of escapes", |size| "/%41".repeat(size / 4)),
    ("a bad escape at the end", |size| format!("{}%4", "/a".repeat(size / 2))),
];

/// Patterns of which several hold for a while.
fn router() -> Router {
    let patterns =
        ["/{p:path}", "/a/{x}", "/a/{x}/a/{y}", "/{x}/a/{y}/a", "/a/{n:int}/{p:path}", "/{x}/{y}/{z}/{p:path}"];
    let specs = patterns.map(|pattern| RouteSpec {
        method: "GET".to_owned(),
        pattern: pattern.to_owned(),
        module: "m".to_owned(),
        qualname: "f".to_owned(),
        origin: String::new(),
        timeout_ms: None,
        queue_timeout_ms: None,
        unreachable: None,
    });
    Router::build(specs.into()).expect("good patterns")
}

fn limits() -> Limits {
    let bytes = 2 * LARGEST;
    Limits {
        target_bytes_max: bytes,
        headers_bytes_max: bytes,
        headers_count_max: bytes,
        chunk_extensions_bytes_max: bytes,
        trailers_bytes_max: bytes,
        trailers_count_max: bytes,
        ..Limits::default()
    }
}

/// Prints and gives the seconds for each size of each input. The runs of all sizes are interleaved, so that what else the machine
/// does meets them alike.
fn measure(title: &'static str, inputs: &[(&'static str, Input)], drive: impl Fn(&str)) -> Panel {
    println!("{title:32}{:>14}{:>14}{:>8}", "ns/byte 64 KiB", "ns/byte 1 MiB", "ratio");
    let mut lines = Vec::new();
    for (name, input) in inputs {
        let inputs = SIZES.map(input);
        let mut times = vec![f64::INFINITY; SIZES.len()];
        for _ in 0..RUNS {
            for (time, input) in times.iter_mut().zip(&inputs) {
                // As many bytes for each size: a short run is as likely to be disturbed as a long one.
                for _ in 0..(LARGEST / input.len()).max(1) {
                    let begun = cpu_seconds();
                    drive(input);
                    *time = time.min(cpu_seconds() - begun);
                }
            }
        }
        let small = times[0] / SIZES[0] as f64 * 1e9;
        let large = times[times.len() - 1] / LARGEST as f64 * 1e9;
        println!("{name:32}{small:>14.3}{large:>14.3}{:>8.2}", large / small);
        lines.push((*name, times));
    }
    println!();
    (title, lines)
}

/// What this thread has had of a processor: other processes take none of it.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// As the server does it, without keeping anything.
fn drive(bytes: &[u8], piece: usize) {
    let mut connection = Connection::new(limits());
    let mut pieces = bytes.chunks(piece);
    let mut out = Vec::new();
    loop {
        match connection.next_event() {
            Ok(Event::NeedData) => match pieces.next() {
                Some(piece) => connection.receive(piece),
                None => return,
            },
            Ok(Event::End) => {
                out.clear();
                connection.send(&answer(0, b""), DATE, &mut out).expect("a valid response");
            }
            Ok(Event::Closed) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 330.0;

/// A title, and for each input its name and the seconds for each size.
type Panel = (&'static str, Vec<(&'static str, Vec<f64>)>);

/// Neighbours are far apart in hue, and every second one is dark.
fn colour(number: usize) -> String {
    format!("hsl({} 70% {}%)", number * 137 % 360, if number.is_multiple_of(2) { 35 } else { 55 })
}

fn svg(panels: &[Panel]) -> String {
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1280 670\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"1280\" height=\"670\" fill=\"white\"/>\n",
    );
    let mut put = |line: String| writeln!(text, "{line}").expect("a String takes it");
    for (number, (title, lines)) in panels.iter().enumerate() {
        let (left, bottom) = (60.0 + number as f64 * (WIDTH + 80.0), 380.0);
        let slowest = lines.iter().flat_map(|(_, times)| times).copied().fold(0.0, f64::max);
        let x = |size: usize| left + size as f64 / LARGEST as f64 * WIDTH;
        let y = |time: f64| bottom - time / slowest * HEIGHT;
        put(format!("<text x=\"{left}\" y=\"30\" font-size=\"14\">{title}: milliseconds by size of the input</text>"));
        put(format!(
            "<path d=\"M{left} {} V{bottom} H{}\" fill=\"none\" stroke=\"#888\"/>",
            bottom - HEIGHT,
            left + WIDTH
        ));
        for size in SIZES.into_iter().skip(1) {
            let label = if size == LARGEST { "1 MiB".to_owned() } else { format!("{}", size >> 10) };
            put(format!("<text x=\"{:.0}\" y=\"398\" text-anchor=\"middle\" fill=\"#555\">{label}</text>", x(size)));
        }
        for part in 0..=4 {
            let time = slowest * f64::from(part) / 4.0;
            let (from, height) = (left - 6.0, y(time) + 4.0);
            put(format!(
                "<text x=\"{from}\" y=\"{height:.0}\" text-anchor=\"end\" fill=\"#555\">{:.2}</text>",
                time * 1e3
            ));
        }
        for (number, (name, times)) in lines.iter().enumerate() {
            let points = SIZES.iter().zip(times).map(|(&size, &time)| format!("{:.1},{:.1}", x(size), y(time)));
            let (points, colour) = (points.collect::<Vec<_>>().join(" "), colour(number));
            put(format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"));
            // What each line is stands under its panel, nine in a column.
            let (column, row) = (number / 9, number % 9);
            let (across, height) = (left + column as f64 * 198.0, 440 + row * 24);
            put(format!("<rect x=\"{across}\" y=\"{}\" width=\"14\" height=\"3\" fill=\"{colour}\"/>", height - 5));
            put(format!("<text x=\"{}\" y=\"{height}\">{name}</text>", across + 20.0));
        }
    }
    text.push_str("</svg>\n");
    text
}
