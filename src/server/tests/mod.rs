//! The server against exact bytes, in the world of [`testing`](super::testing).

mod accepting;
mod chaos;
mod counters;
mod draining;
mod exchanges;
mod lessons;
mod logging;
mod memory;
mod refusals;
mod slow;
mod sockets;
mod streams;
mod timeouts;

/// A 200 answer of [`testing`](super::testing)'s worker.
fn plain(body: &str) -> String {
    with_close(body, "")
}

/// The same, as the last of its connection.
fn plain_last(body: &str) -> String {
    with_close(body, "connection: close\r\n")
}

fn with_close(body: &str, close: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\n{close}\r\n{body}"
    )
}

/// The status of the one answer in `bytes`, whether it ends the connection, the fields that polygil added by choice, and
/// `error` and `detail` of its JSON.
#[track_caller]
fn failure(text: &str) -> (u16, bool, Vec<&str>, String, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields: Vec<&str> = lines.collect();
    assert!(fields.contains(&"content-type: application/json"), "{text:?}");
    assert!(fields.contains(&format!("content-length: {}", body.len()).as_str()), "{text:?}");
    assert!(fields.iter().any(|field| field.starts_with("date: ")), "{text:?}");
    let close = fields.contains(&"connection: close");
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    let text_of = |key: &str| json[key].as_str().unwrap().to_owned();
    let own = ["content-type", "content-length", "date", "connection"];
    let extra = fields.into_iter().filter(|field| !own.contains(&field.split(':').next().unwrap())).collect();
    (status, close, extra, text_of("error"), text_of("detail"))
}
