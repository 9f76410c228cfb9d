//! The log: lines on standard error, as text or as JSON, one per event.
//!
//! The library only ever emits `tracing` events; this is where the command decides what becomes of them. Access lines have the
//! target `polygil::access` and come only with `--access-log`.
//!
//! A log may be a file on a full disk, a pipe that nobody reads, or gone. None of that is a server's business, so whoever logs
//! only puts a line into a queue with a bound ([`queue`]), and a thread of its own writes it ([`writer`]). `tracing-appender` has such a
//! writer; it bounds lines and not bytes, cannot let access lines give way, does not count what failed to be written, and prints when it
//! cannot end. What was lost is counted ([`overview`]), and told by a line of its own once the log can be written again.
//!
//! The log has a descriptor of its own, a duplicate of number 2: a handler that closes or replaces that number changes nothing here.
//! What a client sent cannot make a line of its own: see [`escape`].

mod escape;
mod queue;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

pub use self::queue::LogOverview;

use self::queue::{Kind, Queue};
use crate::config::{Config, LogFormat};
use crate::server::ACCESS_TARGET;
use crate::streams;

/// Bytes that may wait to be written, and as many that are being written. Access lines may take half of it.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// The log of this process, once it was started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Queue,
    descriptor: RawFd,
}

/// Sends the log to standard error. A process whose log was started already (a second server) keeps the first one's.
///
/// # Errors
/// Standard error cannot be duplicated, or there is no thread.
pub fn start(config: &Config) -> io::Result<()> {
    if LOG.get().is_none() {
        let stream = std::fs::File::from(streams::duplicate(rustix::stdio::stderr())?);
        let log = Log { queue: Queue::new(WAITING_BYTES_MAX), descriptor: stream.as_raw_fd() };
        log_panics();
        // An error means that another thread was faster.
        if LOG.set(log).is_ok() {
            writer::start(&LOG.get().expect("it was just set").queue, stream, config.log_format)?;
        }
    }
    let level: LevelFilter = config.log_level.into();
    // By itself the subscriber would print its own failures, which panics when that fails, too.
    let builder = tracing_subscriber::fmt().with_max_level(level).log_internal_errors(false).with_writer(Lines);
    // An error means that a subscriber is there: the program's own, or an earlier server's.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let fields = debug_fn(escape::write_field).delimited(" ");
            builder.with_ansi(io::stderr().is_terminal()).fmt_fields(fields).try_init()
        }
    };
    Ok(())
}

/// Has panics told by the log, and not printed to a standard error that may be a pipe which nobody reads.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let shown =
            if backtrace.status() == BacktraceStatus::Captured { format!("\n{backtrace}") } else { String::new() };
        tracing::error!(thread = thread.name().unwrap_or("?"), place, "panicked: {message}{shown}");
    }));
}

/// Has `told` be called should the thread that writes the log panic. It goes on, but the server must not.
pub fn on_loss(told: impl Fn() + Send + Sync + 'static) {
    writer::on_loss(Box::new(told));
}

/// What became of the lines so far. All zero where no log was started.
pub fn overview() -> LogOverview {
    LOG.get().map(|log| log.queue.overview()).unwrap_or_default()
}

/// The number of the log's own descriptor, for those who must write without a queue because the process is about to end.
pub fn descriptor() -> Option<RawFd> {
    LOG.get().map(|log| log.descriptor)
}

/// Whether every line that was put in has been written or lost. Takes no lock, so that a signal handler may ask.
pub fn is_empty() -> bool {
    LOG.get().is_none_or(|log| log.queue.is_empty())
}

/// Waits until every line is written, for `patience` at most: a reader that does not read must not keep the process.
pub fn flush(patience: Duration) {
    if let Some(log) = LOG.get() {
        log.queue.wait_until_empty(patience);
    }
}

/// Makes each event a line of the queue.
struct Lines;

struct Line(Kind);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Kind::Other)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(if meta.target() == ACCESS_TARGET { Kind::Access } else { Kind::Other })
    }
}

impl io::Write for Line {
    /// Takes a whole event, which is how the subscriber writes it. Never fails: what finds no room is counted.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.queue.push(event, self.0);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
