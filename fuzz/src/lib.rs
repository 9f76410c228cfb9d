//! The fuzz targets: what must hold for any bytes, each as an ordinary function that panics where it does not.
//!
//! `cargo fuzz` wraps each of them in a binary (`fuzz_targets/`), and `tests/replay.rs` runs them over the corpora and the inputs
//! that once failed, on stable and without a sanitizer. So a target cannot rot unseen, and what was found once stays found.
//!
//! | target | what must hold |
//! |---|---|
//! | `request` | no panic, nothing beyond a limit, and what was accepted obeys the grammar and is read back from its own print |
//! | `split` | the same events and answers however the bytes are cut |
//! | `pipeline` | each request gets its own answer, in order, up to the first that is wrong; that one gets its error; nothing after |
//! | `early` | an answer before its request is read ends the connection, and what is left of it is no request |
//! | `structured` | a request printed in any legal spelling is read back as itself |
//! | `chunked` | the decoder agrees with a plain one written from the grammar, about the content and where it ends |
//! | `response` | what is written is exactly one response, read by somebody else's parser, and says what was given |
//! | `router` | the tree finds what comparing all patterns one by one finds |
//! | `differential` | an independent HTTP/1.1 server reads the same requests, but for the differences in `quirks.toml` |
//!
//! The bytes of a target that takes HTTP are that HTTP as it is, so that corpora are read by people and shared between targets;
//! what else a run needs, such as where to cut, is drawn from a hash of the bytes.

pub mod chunked;
pub mod differential;
pub mod drive;
pub mod early;
pub mod grammar;
pub mod peer;
pub mod pipeline;
pub mod request;
pub mod response;
pub mod router;
pub mod structured;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("request", request::request),
    ("split", request::split),
    ("pipeline", pipeline::pipeline),
    ("early", early::early),
    ("structured", structured::structured),
    ("chunked", chunked::chunked),
    ("response", response::response),
    ("router", router::router),
    ("differential", differential::differential),
];

/// Runs the target of this name.
///
/// # Panics
///
/// Where something does not hold, and for a name that is none.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(data);
}
