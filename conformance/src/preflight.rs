//! Before anything is judged: is there a server at all, does it speak HTTP, does it serve the app?
//!
//! A dead address fails every case alike, and compares as equal with another dead address. So each command that needs a server asks it
//! once, and does not begin without an answer. Each mistake is one line that says what was asked, and what came.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::client::{Client, Ending, Missing};
use crate::response::{Response, lossy};

/// The request that shows that a connection, or a server, still works, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with `target`, `status` and `body`")]
pub struct Probe {
    /// What is asked for by GET.
    pub target: String,
    /// The status of the answer.
    #[serde(default = "ok")]
    pub status: u16,
    /// The content of the answer; without it, any.
    pub body: Option<String>,
}

fn ok() -> u16 {
    200
}

impl Default for Probe {
    fn default() -> Self {
        Self { target: "/probe".into(), status: 200, body: Some("polygil conformance probe".into()) }
    }
}

impl Probe {
    /// The bytes of the request.
    pub fn request(&self, host: &str) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.target).into_bytes()
    }

    /// Whether this is the right answer.
    pub fn fits(&self, response: &Response) -> bool {
        response.status == self.status && self.body.as_ref().is_none_or(|body| response.body == body.as_bytes())
    }
}

/// What a server answers to the probe on a new connection, or in one line why there is no answer.
pub fn reach(address: SocketAddr, probe: &Probe, patience: Duration) -> Result<Response, String> {
    let mut client =
        Client::connect(address).map_err(|error| format!("nobody listens at {address}: {}", of_io(&error)))?;
    client.send(&probe.request(&address.to_string()), false);
    let asked = format!("GET {}", probe.target);
    client.answer("GET", patience).map_err(|missing| match missing {
        Missing::Late if client.left_over().is_empty() => {
            format!("{address} takes connections, and answers nothing to {asked} within {} s", patience.as_secs_f32())
        }
        Missing::Late => {
            format!("{address} begins an answer to {asked}, and does not end it within {} s", patience.as_secs_f32())
        }
        Missing::Ended(Ending::Reset) => format!("{address} resets the connection instead of answering {asked}"),
        Missing::Ended(_) => format!("{address} closes the connection instead of answering {asked}"),
        Missing::Malformed(rule) => format!("what {address} answers to {asked} is not HTTP/1.1: {rule}"),
    })
}

/// Whether the server serves the app that the cases are about.
pub fn serves(address: SocketAddr, probe: &Probe, patience: Duration) -> Result<(), String> {
    let response = reach(address, probe, patience)?;
    if probe.fits(&response) {
        return Ok(());
    }
    let wanted = probe.body.as_ref().map(|body| format!(" {body:?}")).unwrap_or_default();
    let content: String = lossy(&response.body).chars().take(60).collect();
    Err(format!(
        "{address} does not serve the suite's app: GET {} gets {} {content:?}, not {}{wanted}",
        probe.target, response.status, probe.status
    ))
}

/// The probe with the answer that this server gives, for servers that need not serve the suite's app.
pub fn learn(address: SocketAddr, probe: &Probe, patience: Duration) -> Result<Probe, String> {
    let response = reach(address, probe, patience)?;
    if probe.fits(&response) {
        return Ok(probe.clone());
    }
    Ok(Probe { target: probe.target.clone(), status: response.status, body: None })
}

/// An error of the system without the number that Rust puts behind it.
pub fn of_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn answering(bytes: &'static [u8], keep: bool) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(bytes);
                if keep {
                    kept.push(stream);
                }
            }
        });
        address
    }

    #[test]
    fn what_is_no_server_is_told_in_one_line() {
        let patience = Duration::from_millis(200);
        let probe = Probe::default();
        let nobody = SocketAddr::from(([127, 0, 0, 1], crate::server::free_port()));
        for (address, expected) in [
            (nobody, "connection refused"),
            (answering(b"", true), "answers nothing to GET /probe within 0.2 s"),
            (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true), "does not end it"),
            (answering(b"", false), "closes the connection"),
            (answering(b"SSH-2.0-x\r\n", false), "is not HTTP/1.1"),
            (answering(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", false), "gets 404 \"no\", not 200"),
        ] {
            let told = serves(address, &probe, patience).expect_err(expected);
            assert!(told.contains(expected) && !told.contains('\n'), "{told}");
        }
        let served = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\npolygil conformance probe", false);
        assert_eq!(serves(served, &probe, patience), Ok(()));
        let other = answering(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", false);
        let learnt = learn(other, &probe, patience).expect("an answer");
        assert_eq!((learnt.status, learnt.body), (404, None));
    }
}
