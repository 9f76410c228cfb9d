//! What crosses from the I/O side to a worker: owned data, one way. The answer comes back through [`Task::reply`].

use std::net::SocketAddr;

use crate::dispatch::reply::ReplySender;
use crate::http::{Request, Response};
use crate::router::RouteId;

/// One accepted request on its way to a handler.
pub struct Task {
    /// Counts the server's requests; with the server's prefix it is the request id of logs and handlers.
    pub id: u64,
    /// Whose handler is to be called.
    pub route: RouteId,
    /// The path parameters' values, percent-decoded, in the pattern's order.
    pub params: Vec<String>,
    /// Head and whole body.
    pub request: Request,
    /// The peer's address; None on a Unix socket.
    pub client: Option<SocketAddr>,
    /// The address it connected to; None on a Unix socket.
    pub server: Option<SocketAddr>,
    /// Where the response goes, once.
    pub reply: ReplySender<Response>,
}
