//! Every answer that polygil writes when something fails: code → status, JSON, and the fields that go with it.
//!
//! One table, and one bound: what an answer says in words is cut to [`DETAIL_BYTES_MAX`], because some of it repeats what a client
//! sent. A client sees `{"detail": …, "error": "<code>"}`; with `--debug` a 5xx also has `message` and `traceback`. What the
//! answer says of the inside is decided by who builds it; this file only knows the form.

use std::borrow::Cow;

use serde::Serialize;

use crate::http::Response;

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $detail:literal $close:literal,)*) => {
        /// A way to fail, as the `error` of an answer names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failure {
            $($(#[$doc])* $name,)*
        }

        impl Failure {
            /// All of them, in the order of their status codes.
            pub const ALL: &[Failure] = &[$(Failure::$name,)*];

            /// The status code of the answer.
            pub fn status(self) -> u16 {
                match self { $(Failure::$name => $status,)* }
            }

            /// The value of the answer's `error`.
            pub fn code(self) -> &'static str {
                match self { $(Failure::$name => $code,)* }
            }

            /// The `detail` where nothing more precise may be said.
            pub fn default_detail(self) -> &'static str {
                match self { $(Failure::$name => $detail,)* }
            }

            /// Whether the connection ends with the answer: what follows on it cannot be trusted to be a request.
            pub fn closes(self) -> bool {
                match self { $(Failure::$name => $close,)* }
            }
        }
    };
}

failures! {
    /// Malformed HTTP.
    BadRequest = 400 "bad_request" "Bad Request" true,
    /// No pattern matches the path.
    NotFound = 404 "not_found" "Not Found" false,
    /// A pattern matches the path, the method does not.
    MethodNotAllowed = 405 "method_not_allowed" "Method Not Allowed" false,
    /// Head or content came too slowly.
    RequestTimeout = 408 "request_timeout" "Request Timeout" true,
    /// The content is over its limit.
    ContentTooLarge = 413 "content_too_large" "Content Too Large" true,
    /// The request target is over its limit.
    UriTooLong = 414 "uri_too_long" "URI Too Long" true,
    /// An expectation other than `100-continue` (RFC 9110, 10.1.1).
    ExpectationFailed = 417 "expectation_failed" "Expectation Failed" true,
    /// A parameter is missing or does not convert.
    ValidationError = 422 "validation_error" "Unprocessable Content" false,
    /// The header section is over a limit.
    HeadersTooLarge = 431 "headers_too_large" "Request Header Fields Too Large" true,
    /// The handler's own module does not exist.
    ModuleNotFound = 500 "module_not_found" "The handler's module does not exist" false,
    /// The module exists and raised while it was imported.
    ImportFailed = 500 "import_failed" "The handler's module could not be imported" false,
    /// The module has no such attribute, at some step of the name.
    FunctionNotFound = 500 "function_not_found" "The handler's module has no such function" false,
    /// The name is there and is not callable.
    NotCallable = 500 "not_callable" "The handler's name is not that of a function" false,
    /// The handler raised.
    HandlerRaised = 500 "handler_raised" "Internal Server Error" false,
    /// What the handler returned has no conversion.
    ResponseNotSerializable = 500 "response_not_serializable" "The handler's response cannot be written" false,
    /// The interpreter died or was abandoned under the request.
    WorkerLost = 500 "worker_lost" "The worker was lost" false,
    /// An unknown method or transfer coding.
    NotImplemented = 501 "not_implemented" "Not Implemented" true,
    /// Backpressure: every queue is full, or the request waited too long in one.
    QueueFull = 503 "queue_full" "The server is busy" false,
    /// The server drains.
    ShuttingDown = 503 "shutting_down" "The server is shutting down" true,
    /// The handler was over its time budget.
    HandlerTimeout = 504 "handler_timeout" "The handler took too long" false,
    /// An HTTP version that is not 1.0 or 1.1.
    VersionNotSupported = 505 "version_not_supported" "HTTP Version Not Supported" true,
}

/// Bytes of a `detail`, and of a `message`, that are written: the rest is cut off, and shown as `…`.
pub const DETAIL_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a `traceback`, of which the end says most.
pub const TRACEBACK_BYTES_MAX: usize = 64 * 1024;

/// The beginning of a text, with `…` in the place of what is over `bytes_max`.
pub fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// The end of a text, as [`shortened`] gives its beginning.
fn last_of(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let start = (text.len() - bytes_max..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    Cow::Owned(format!("…{}", &text[start..]))
}

/// Seconds after which a refused client may come back: the queues hold some seconds of work at most.
const RETRY_AFTER: &[u8] = b"1";

#[derive(Serialize)]
struct Body<'a, D> {
    detail: D,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<&'a str>,
}

impl Failure {
    /// The answer with this `detail`.
    pub fn response(self, detail: impl AsRef<str>) -> Response {
        let detail = shortened(detail.as_ref(), DETAIL_BYTES_MAX);
        self.json(&Body { detail, error: self.code(), message: None, traceback: None })
    }

    /// The answer whose `detail` is JSON already (a 422's list).
    pub fn response_raw_detail(self, detail: &[u8]) -> Response {
        let mut body = b"{\"detail\":".to_vec();
        body.extend_from_slice(detail);
        body.extend_from_slice(format!(",\"error\":\"{}\"}}", self.code()).as_bytes());
        self.with_body(body)
    }

    /// The answer of `--debug`: what happened, and where.
    pub fn debug_response(self, message: &str, traceback: &str) -> Response {
        let (message, traceback) = (shortened(message, DETAIL_BYTES_MAX), last_of(traceback, TRACEBACK_BYTES_MAX));
        let (message, traceback) = (Some(&*message), Some(&*traceback));
        self.json(&Body { detail: self.default_detail(), error: self.code(), message, traceback })
    }

    /// A 405 and the methods that the path does have.
    pub fn method_not_allowed(allow: &str) -> Response {
        let mut response = Failure::MethodNotAllowed.response(Failure::MethodNotAllowed.default_detail());
        response.headers.push((Cow::Borrowed("allow"), Cow::Owned(allow.as_bytes().to_vec())));
        response
    }

    fn json<D: Serialize>(self, body: &Body<'_, D>) -> Response {
        self.with_body(serde_json::to_vec(body).expect("strings always serialize"))
    }

    fn with_body(self, body: Vec<u8>) -> Response {
        let mut headers = vec![(Cow::Borrowed("content-type"), Cow::Borrowed(&b"application/json"[..]))];
        if self.status() == 503 {
            headers.push((Cow::Borrowed("retry-after"), Cow::Borrowed(RETRY_AFTER)));
        }
        Response { status: self.status(), headers, body, close: self.closes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response) -> &str {
        std::str::from_utf8(&response.body).expect("JSON is UTF-8")
    }

    #[test]
    fn the_body_has_detail_and_error_in_this_order() {
        let response = Failure::NotFound.response("no \"such\" path");
        assert_eq!(body(&response), r#"{"detail":"no \"such\" path","error":"not_found"}"#);
        assert_eq!(response.status, 404);
        assert_eq!(response.headers, [("content-type".into(), b"application/json"[..].into())]);
        assert!(!response.close);
        let response = Failure::ValidationError.response_raw_detail(br#"[{"type":"missing"}]"#);
        assert_eq!(body(&response), r#"{"detail":[{"type":"missing"}],"error":"validation_error"}"#);
    }

    #[test]
    fn the_table_is_the_contract() {
        let rows = [
            (400, "bad_request"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (408, "request_timeout"),
            (413, "content_too_large"),
            (414, "uri_too_long"),
            (417, "expectation_failed"),
            (422, "validation_error"),
            (431, "headers_too_large"),
            (500, "module_not_found"),
            (500, "import_failed"),
            (500, "function_not_found"),
            (500, "not_callable"),
            (500, "handler_raised"),
            (500, "response_not_serializable"),
            (500, "worker_lost"),
            (501, "not_implemented"),
            (503, "queue_full"),
            (503, "shutting_down"),
            (504, "handler_timeout"),
            (505, "version_not_supported"),
        ];
        let table: Vec<_> = Failure::ALL.iter().map(|failure| (failure.status(), failure.code())).collect();
        assert_eq!(table, rows);
    }

    #[test]
    fn debug_adds_message_and_traceback_behind() {
        let response = Failure::HandlerRaised.debug_response("ValueError: x", "Traceback\n");
        let expected = r#"{"detail":"Internal Server Error","error":"handler_raised","message":"ValueError: x","traceback":"Traceback\n"}"#;
        assert_eq!(body(&response), expected);
    }

    #[test]
    fn what_is_repeated_is_cut_between_two_characters() {
        let long = "é".repeat(5_000);
        let expected = format!(r#"{{"detail":"{}…","error":"not_found"}}"#, "é".repeat(2_048));
        assert_eq!(body(&Failure::NotFound.response(&long)), expected);
        let odd = format!("x{long}");
        let expected = format!(r#"{{"detail":"x{}…","error":"not_found"}}"#, "é".repeat(2_047));
        assert_eq!(body(&Failure::NotFound.response(&odd)), expected);
        let response =
            Failure::HandlerRaised.debug_response(&long, &format!("first line\n{}last line", "x".repeat(70_000)));
        let debug: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(debug["message"], format!("{}…", "é".repeat(2_048)));
        assert_eq!(debug["traceback"], format!("…{}last line", "x".repeat(64 * 1024 - 9)));
    }

    #[test]
    fn what_makes_the_framing_doubtful_closes_and_what_is_busy_says_when_to_come_back() {
        for &failure in Failure::ALL {
            let response = failure.response("x");
            let retry = response.headers.iter().any(|(name, _)| name == "retry-after");
            assert_eq!(retry, failure.status() == 503, "{failure:?}");
            assert_eq!(response.close, failure.closes(), "{failure:?}");
            let protocol = matches!(failure.status(), 400 | 408 | 413 | 414 | 417 | 431 | 501 | 505);
            assert_eq!(failure.closes(), protocol || failure == Failure::ShuttingDown, "{failure:?}");
        }
    }

    #[test]
    fn a_405_lists_what_is_allowed() {
        let response = Failure::method_not_allowed("GET, HEAD");
        assert!(response.headers.contains(&("allow".into(), b"GET, HEAD"[..].into())));
    }
}
