//! The `polygil.Request` that a handler asks for, made only for handlers that do.
//!
//! The object is plain Python (`polygil._request.Request`); this file hands it owned copies of the request's parts. Field
//! values are read as ISO-8859-1, so that every octet that RFC 9110, 5.5 allows survives; names are ASCII already.

use std::net::SocketAddr;

use super::ffi::{Gil, Object, PyResult};
use crate::task::Task;

/// Makes Request objects in one interpreter.
pub struct Factory<'i> {
    class: Object<'i>,
    id_prefix: String,
}

impl<'i> Factory<'i> {
    /// Looks the class up. `id_prefix` begins every request id.
    pub fn new(gil: Gil<'i>, id_prefix: &str) -> PyResult<'i, Self> {
        Ok(Self { class: gil.import(c"polygil._request")?.attr(c"Request")?, id_prefix: id_prefix.to_owned() })
    }

    /// The request of this task, whose path parameters have these names.
    pub fn make(&self, gil: Gil<'i>, task: &Task, names: &Object<'i>) -> PyResult<'i, Object<'i>> {
        let head = &task.request.head;
        let headers = head
            .headers()
            .map(|(name, value)| gil.tuple([gil.str(&name.to_ascii_lowercase())?, gil.latin1(value)?]))
            .collect::<PyResult<Vec<_>>>()?;
        let params = task.params.iter().map(|value| gil.str(value)).collect::<PyResult<Vec<_>>>()?;
        self.class.call(&[
            &gil.str(head.method())?,
            &gil.str(head.path())?,
            &gil.str(head.query().unwrap_or(""))?,
            &gil.tuple(headers)?,
            &gil.bytes(&task.request.body)?,
            &address(gil, task.client)?,
            &address(gil, task.server)?,
            &gil.str(&format!("{}-{}", self.id_prefix, task.id))?,
            &gil.tuple([names.clone(), gil.tuple(params)?])?,
        ])
    }
}

/// `(host, port)`, or None on a Unix socket.
fn address<'i>(gil: Gil<'i>, address: Option<SocketAddr>) -> PyResult<'i, Object<'i>> {
    match address {
        Some(address) => gil.tuple([gil.str(&address.ip().to_string())?, gil.int(address.port().into())?]),
        None => Ok(gil.none()),
    }
}
