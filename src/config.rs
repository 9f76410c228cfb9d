//! Every option, limit and timeout, in one table: it makes the [`Config`], the command line's flags, the `POLYGIL_…` variables,
//! the keys of `[tool.polygil]` in pyproject.toml, the help, and docs/OPTIONS.md.
//!
//! A value is text until [`set`](Config) reads it, wherever it came from, so a mistake is told in the same words everywhere,
//! with its source. [`sources`] collects the values: a flag counts before a variable, that before pyproject.toml, that before
//! the default. Every number has bounds, so that no value of an option can ask for memory or a time that does not exist.
//!
//! This stands before the first request: nothing on a request's way reads text again.

pub(crate) mod kinds;
pub mod sources;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

pub use self::kinds::{LogFormat, LogLevel, Place};
use crate::dispatch::Placement;
use crate::http::Limits;

/// One row of the table.
#[derive(Debug)]
pub struct OptionSpec {
    /// The field's name, `queue_depth`; the flag is `--queue-depth`, the variable `POLYGIL_QUEUE_DEPTH`.
    pub field: &'static str,
    /// The default, as text; empty for none.
    pub default: &'static str,
    /// What stands for the value in the help; None for a switch, which has `--no-…` too.
    pub value: Option<&'static str>,
    /// Which part of the help it belongs to.
    pub group: &'static str,
    /// One sentence.
    pub help: &'static str,
}

impl OptionSpec {
    /// `queue-depth`: the flag without its dashes, and the key in pyproject.toml.
    pub fn key(&self) -> String {
        self.field.replace('_', "-")
    }

    /// `POLYGIL_QUEUE_DEPTH`.
    pub fn variable(&self) -> String {
        format!("POLYGIL_{}", self.field.to_uppercase())
    }

    /// `queue_depth`: the keyword of `polygil.serve`.
    pub fn keyword(&self) -> String {
        self.field.to_owned()
    }

    /// Whether the value is a path: in pyproject.toml it is seen from the directory of that file.
    fn is_path(&self) -> bool {
        matches!(self.value, Some("PATH" | "DIR"))
    }

    /// Whether the value is a time: as a keyword it may be a number of seconds, as everywhere in Python.
    fn is_time(&self) -> bool {
        self.value == Some("TIME")
    }
}

macro_rules! options {
    ($($group:literal { $($field:ident: $type:ty = $default:literal, $parse:path, $value:expr, $help:literal;)* })*) => {
        /// The options of a server. Durations and sizes are positive unless their help says what zero means.
        #[derive(Debug, Clone)]
        pub struct Config {
            $($(#[doc = $help] pub $field: $type,)*)*
            /// What the sources say that is no mistake and no option either, one line each, to be logged.
            pub warnings: Vec<String>,
        }

        /// The table.
        pub static OPTIONS: &[OptionSpec] = &[$($(OptionSpec {
            field: stringify!($field), default: $default, value: $value, group: $group, help: $help,
        },)*)*];

        impl Default for Config {
            fn default() -> Self {
                Self { $($($field: $parse($default).expect("a default is valid"),)*)* warnings: Vec::new() }
            }
        }

        impl Config {
            /// Sets one option from text. The error says what the value should be; nothing has changed then.
            fn set(&mut self, field: &str, text: &str) -> Result<(), String> {
                match field {
                    $($(stringify!($field) => self.$field = $parse(text)?,)*)*
                    _ => return Err("is no option".into()),
                }
                Ok(())
            }
        }
    };
}

options! {
    "Where it listens" {
        host: String = "127.0.0.1", kinds::text, Some("HOST"), "Address or name to listen on; 0.0.0.0 is every IPv4 address, :: every address of both families.";
        ipv6_only: bool = "false", kinds::switch, None, "With --host ::, take no IPv4.";
        port: u16 = "8000", kinds::port, Some("PORT"), "TCP port; 0 picks a free one, which the ready line names.";
        uds: Option<PathBuf> = "", kinds::path, Some("PATH"), "Listen on this Unix socket instead of host and port; it is removed at the stop.";
        uds_mode: Option<u32> = "", kinds::mode, Some("MODE"), "Permissions of the Unix socket, octal, such as 660; without it the umask decides.";
        reuse_port: bool = "false", kinds::switch, None, "Share the port with other servers that say so too (SO_REUSEPORT): a successor takes over without a refused connection.";
        ready_fd: Option<i32> = "", kinds::descriptor, Some("FD"), "Write the port and a newline to this open descriptor when ready, then close it; a standard stream (0 to 2) is /dev/null for everybody else then, for the log as well.";
        port_file: Option<PathBuf> = "", kinds::path, Some("PATH"), "Write the port to this file when ready; it appears whole or not at all, and is removed at the stop.";
        admin: Option<Place> = "", kinds::place, Some("[HOST:]PORT"), "Answer /readyz, /livez, /metrics (Prometheus) and /stats at an address of their own; without a host, on 127.0.0.1.";
        backlog: u32 = "1024", kinds::up_to::<65_535, _>, Some("N"), "Connections that the kernel holds until they are accepted.";
        max_connections: usize = "10000", kinds::up_to::<1_000_000, _>, Some("N"), "Open connections; further ones wait in the backlog, and whoever is idle longest makes way for them.";
    }
    "What it runs" {
        app_dir: PathBuf = ".", kinds::directory, Some("DIR"), "Directory to import the app from; it comes first on sys.path.";
        workers: usize = "auto", kinds::workers, Some("N"), "Workers, each a thread with an interpreter and a GIL of its own; auto is the cores that this process may use (affinity and cgroup quota); twice as many keep short handlers quick beside long ones.";
        pin: bool = "false", kinds::switch, None, "Pin each worker to one core; it gained nothing measurable, and threads and child processes that a handler starts stay on its core.";
        io_threads: usize = "1", kinds::up_to::<256, _>, Some("N"), "Threads for sockets and HTTP.";
        lazy: bool = "false", kinds::switch, None, "Look handlers up at their first request, and serve missing ones with their 5xx, instead of failing the start.";
        debug: bool = "false", kinds::switch, None, "Put message and traceback into 5xx answers.";
    }
    "Queues and budgets" {
        queue_depth: usize = "64", kinds::up_to::<65_536, _>, Some("N"), "Requests that may wait for one worker.";
        overflow_depth: usize = "512", kinds::up_to::<1_000_000, _>, Some("N"), "Requests that may wait for whichever worker is free first; beyond it a request is refused with 503.";
        placement: Placement = "idle-first", kinds::placement, Some("POLICY"), "Which worker gets a request: round-robin, least-loaded or idle-first.";
        handler_timeout: Duration = "30s", kinds::duration, Some("TIME"), "How long a handler may run until its answer, or the next piece of its content, is there, unless its route says otherwise; then it is interrupted and the client gets 504.";
        interrupt_grace: Duration = "500ms", kinds::duration_or_zero, Some("TIME"), "How long an interrupted handler may take to end before its worker is replaced.";
        max_replacements: usize = "32", kinds::count, Some("N"), "Lost workers that are replaced within the time of --replacement-window; at the next one it stops and exits non-zero.";
        replacement_window: Duration = "10m", kinds::duration, Some("TIME"), "The time within which --max-replacements counts.";
        queue_timeout: Duration = "30s", kinds::duration, Some("TIME"), "How long a request may wait for a worker, unless its route says otherwise; then it is refused with 503.";
        drain_timeout: Duration = "30s", kinds::duration_or_zero, Some("TIME"), "After SIGTERM or SIGINT, how long requests in flight, and then hooks, threads and exit functions, may take.";
    }
    "Limits of a connection" {
        head_timeout: Duration = "10s", kinds::duration, Some("TIME"), "From the first byte of a request's head to its last: 408 after it.";
        body_timeout: Duration = "30s", kinds::duration, Some("TIME"), "Pause between two pieces of content: 408 after it.";
        min_body_rate: u64 = "240", kinds::size, Some("BYTES"), "Bytes per second that content keeps up on average beyond the timeout; 0 is no minimum.";
        request_timeout: Duration = "10m", kinds::duration, Some("TIME"), "From the end of a request's head to the end of its content, however steadily it comes: 408 after it.";
        idle_timeout: Duration = "75s", kinds::duration, Some("TIME"), "Pause between two requests before the connection is closed.";
        write_timeout: Duration = "30s", kinds::duration, Some("TIME"), "How long a client may take nothing of its answer before the connection is closed.";
        response_timeout: Duration = "10m", kinds::duration, Some("TIME"), "How long an answer may wait for its client, all in all and however steadily it is taken, before the connection is closed.";
        max_target_bytes: usize = "8KiB", kinds::positive_size, Some("BYTES"), "Request target: 414 beyond it.";
        max_header_bytes: usize = "32KiB", kinds::positive_size, Some("BYTES"), "Header section: 431 beyond it.";
        max_headers: usize = "100", kinds::up_to::<65_535, _>, Some("N"), "Header fields, and as many trailers: 431 beyond it.";
        max_body_bytes: u64 = "16MiB", kinds::size, Some("BYTES"), "Content: 413 beyond it.";
        max_buffered_bytes: u64 = "1GiB", kinds::size, Some("BYTES"), "Content in memory, of all requests and of all answers that wait to be sent: 503 for what would exceed it, and for every request while it is full.";
        max_linger_bytes: u64 = "1GiB", kinds::size, Some("BYTES"), "Content that is read and thrown away so that its client can read an early answer, of all connections together; beyond it they are closed.";
        max_chunk_extension_bytes: usize = "4KiB", kinds::small_size, Some("BYTES"), "All chunk extensions of a request: 400 beyond it.";
        max_trailer_bytes: usize = "8KiB", kinds::small_size, Some("BYTES"), "Trailer section: 431 beyond it.";
        max_requests_per_connection: u64 = "0", kinds::number, Some("N"), "Requests after which a connection is closed; 0 is no limit.";
        strict_targets: bool = "false", kinds::switch, None, "Refuse with 400 what RFC 3986 does not allow in a request target, also what browsers send as it is.";
    }
    "What it says" {
        access_log: bool = "false", kinds::switch, None, "Log each answer.";
        log_format: LogFormat = "text", kinds::log_format, Some("FORMAT"), "text or json, one event a line, on standard error.";
        log_level: LogLevel = "info", kinds::log_level, Some("LEVEL"), "off, error, warn, info, debug or trace.";
        server_header: bool = "false", kinds::switch, None, "Send a Server field.";
    }
}

impl Config {
    /// The limits of the protocol.
    pub fn limits(&self) -> Limits {
        Limits {
            target_bytes_max: self.max_target_bytes,
            headers_bytes_max: self.max_header_bytes,
            headers_count_max: self.max_headers,
            body_bytes_max: self.max_body_bytes,
            chunk_extensions_bytes_max: self.max_chunk_extension_bytes,
            trailers_bytes_max: self.max_trailer_bytes,
            trailers_count_max: self.max_headers,
            requests_per_connection_max: self.max_requests_per_connection,
            strict_targets: self.strict_targets,
        }
    }
}

/// docs/OPTIONS.md.
pub fn reference_markdown() -> String {
    let mut text = String::from(
        "# Options\n\nEach is a flag of `polygil serve`, a variable, a key of `[tool.polygil]` in pyproject.toml, and a keyword of\n\
         `polygil.serve` and `polygil.Server` (with underscores). A flag or a keyword counts before a variable, that before\n\
         pyproject.toml: the one in the app's directory, or else the nearest at or above the working directory. Paths in it are\n\
         seen from where it stands.\n\n\
         Times are written `250ms`, `1s`, `2m`, as a keyword also as a number of seconds; sizes `8192`, `8KiB`, `16MiB`. Every\n\
         mistake is reported at once, and nothing starts. A `POLYGIL_…` variable that names no option is somebody else's, those of a\n\
         Kubernetes Service called polygil included (`POLYGIL_PORT=tcp://10.0.0.1:80`). Sockets that systemd hands over (`LISTEN_FDS`, `LISTEN_PID`) are\n\
         listened on instead of host and port, or a Unix socket. Made from the table in `src/config.rs`.\n",
    );
    let mut group = "";
    for option in OPTIONS {
        if option.group != group {
            group = option.group;
            write!(text, "\n## {group}\n\n| flag | variable | default | |\n|---|---|---|---|\n")
                .expect("a String takes it");
        }
        let (key, variable, help) = (option.key(), option.variable(), option.help);
        let flag = option.value.map_or(format!("`--{key}`, `--no-{key}`"), |value| format!("`--{key} {value}`"));
        let default = if option.default.is_empty() { String::new() } else { format!("`{}`", option.default) };
        writeln!(text, "| {flag} | `{variable}` | {default} | {help} |").expect("a String takes it");
    }
    text
}

#[cfg(test)]
mod tests;
