//! Transcripts: what a server answers to bytes, without a judgement; as JSON lines, to be compared later.
//!
//! [`observe`] is the one way in which a request is tried, for recording, comparing, shrinking and fuzzing alike: a new connection, the
//! bytes, the answers, and then whether the connection still works. What differs from run to run by itself is taken out by
//! [`normalise`]: dates, ids, the server's own address and name.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::{Client, Ending, Missing};
use crate::preflight::Probe;
use crate::response::{Response, latin1};

/// One request, or several in one write, and what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The case, or a name of the caller's.
    pub id: String,
    /// The bytes sent, as ISO-8859-1, with `<<host>>` for the server's address.
    pub sent: String,
    /// The answers, normalised.
    pub answers: Vec<Answer>,
    /// Why no further answer came, where one was waited for.
    pub missing: Option<String>,
    /// What holds of the connection afterwards: `open`, `closed`, `reset`, `stuck` where it is open and does not answer any more, or
    /// `desynchronised` where what it answers is no answer to the next request.
    pub afterwards: String,
}

/// An answer in a transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The version.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Fields in lower case, sorted by name.
    pub headers: Vec<(String, String)>,
    /// The content as ISO-8859-1.
    pub body: String,
    /// How its end was told.
    pub framing: String,
    /// The interim answers before it.
    pub interim: Vec<u16>,
}

/// What is missing where there was nobody to send anything to.
pub const NO_CONNECTION: &str = "no connection";

/// Sends the bytes on a new connection and reads up to `count` answers, each for `patience` at most.
pub fn observe(
    address: SocketAddr,
    probe: &Probe,
    id: &str,
    bytes: &[u8],
    count: usize,
    patience: Duration,
) -> Exchange {
    let host = address.to_string();
    let sent = latin1(bytes).replace(&host, "<<host>>");
    let mut exchange = Exchange { id: id.into(), sent, answers: Vec::new(), missing: None, afterwards: String::new() };
    let Ok(mut client) = Client::connect(address) else {
        exchange.missing = Some(NO_CONNECTION.into());
        return exchange;
    };
    client.send(bytes, false);
    let mut method = latin1(bytes.split(|byte| *byte == b' ').next().unwrap_or(b"")).trim_start().to_owned();
    let mut last_closes = false;
    while exchange.answers.len() < count && exchange.missing.is_none() {
        match client.answer(&method, patience) {
            Ok(response) => {
                last_closes = response.closes();
                exchange.answers.push(normalise(&response, &host));
            }
            Err(Missing::Malformed(_)) => exchange.missing = Some("malformed".into()),
            Err(Missing::Late) => exchange.missing = Some("late".into()),
            Err(Missing::Ended(ending)) => exchange.missing = Some(ending.to_string()),
        }
        method = "GET".into();
    }
    exchange.afterwards = afterwards(&mut client, last_closes, probe, &host, patience).into();
    exchange
}

fn afterwards(client: &mut Client, says_close: bool, probe: &Probe, host: &str, patience: Duration) -> &'static str {
    if says_close {
        client.wait_for_end(patience);
    }
    match client.ending {
        Ending::Closed => return "closed",
        Ending::Reset => return "reset",
        Ending::Open if says_close => return "open, though it said close",
        Ending::Open => {}
    }
    client.send(&probe.request(host), false);
    match client.answer("GET", patience) {
        Ok(response) if probe.fits(&response) => "open",
        Ok(_) | Err(Missing::Malformed(_)) => "desynchronised",
        Err(Missing::Ended(_)) => "closed",
        Err(_) => "stuck",
    }
}

/// Fields that differ from run to run, or name the server: nothing that a client goes by.
const OWN_FIELDS: [&str; 4] = ["date", "server", "x-request-id", "via"];

/// Without what differs by itself.
pub fn normalise(response: &Response, host: &str) -> Answer {
    let mut headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.replace(host, "<<host>>")))
        .filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str()))
        .collect();
    headers.sort_by(|left, right| left.0.cmp(&right.0));
    Answer {
        version: response.version.clone(),
        status: response.status,
        headers,
        body: latin1(&response.body).replace(host, "<<host>>"),
        framing: response.framing.name().into(),
        interim: response.interim.clone(),
    }
}

/// The exchanges as JSON lines.
pub fn write(exchanges: &[Exchange]) -> String {
    exchanges.iter().map(|exchange| serde_json::to_string(exchange).expect("strings") + "\n").collect()
}

/// Reads JSON lines.
pub fn read(text: &str) -> Result<Vec<Exchange>, String> {
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))
    };
    text.lines().enumerate().map(line).collect()
}
