//! The access log, and what a request needs to be named in it.
//!
//! One event for each answer, under the target `polygil::access`, when the option is on: method, path, status, bytes of content,
//! duration from the complete head to the finished answer, request id, client. The query is left out: it is where people
//! put secrets. Of a long path only the beginning is logged. When the option is off, nothing is copied and nothing is formatted.

use std::time::Duration;

use super::App;
use super::env::Peer;
use crate::error::shortened;
use crate::http::Head;

/// The target of the access log's events.
pub const ACCESS_TARGET: &str = "polygil::access";

/// Bytes of a path that are logged.
const PATH_BYTES_MAX: usize = 2 * 1024;

fn logged_path(path: &str) -> String {
    shortened(path, PATH_BYTES_MAX).into_owned()
}

/// One request on its way to its answer.
pub(super) struct Exchange {
    /// Counts the server's requests.
    pub(super) id: u64,
    /// When its head was complete, or when the bytes were refused that should have been one.
    pub(super) begun: Duration,
    /// Method and path, kept only for the log. None in the log's stead of a head that never was.
    line: Option<(String, String)>,
}

impl Exchange {
    pub(super) fn begin(app: &App, head: Option<&Head>, begun: Duration) -> Exchange {
        let line =
            head.filter(|_| app.options.access_log).map(|head| (head.method().to_owned(), logged_path(head.path())));
        Exchange { id: app.next_request(), begun, line }
    }

    /// Logs the answer at the time `now`.
    pub(super) fn log(&self, app: &App, peer: Peer, status: u16, bytes: usize, now: Duration) {
        if !app.options.access_log {
            return;
        }
        let (method, path) = self.line.as_ref().map_or(("-", "-"), |(method, path)| (method, path));
        let duration_us = now.saturating_sub(self.begun).as_micros() as u64;
        let request_id = app.request_id(self.id);
        tracing::info!(
            target: ACCESS_TARGET, method, path, status, bytes, duration_us, request_id, client = %peer,
            "{method} {path} {status}"
        );
    }
}
