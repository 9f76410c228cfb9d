//! The thread that writes the log. It alone may wait for whoever reads it.
//!
//! It writes whole lines, to a pipe at most so many at a time as POSIX lets go in one piece, so that what handlers print does not
//! get into the middle of them. What cannot be written is lost and counted; the next line is tried anew, because a disk gets
//! room again. Before the first line that follows, one line says how many are missing.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::queue::{Batch, LogOverview, Queue};
use crate::config::LogFormat;
use crate::planted::panic_here;
use crate::streams::write_counted;

/// What a pipe takes in one piece (PIPE_BUF of Linux; POSIX has at least 512).
const PIPE_BYTES: usize = 4096;
/// What is written to anything else at a time.
const FILE_BYTES: usize = 64 << 10;

/// After a write, lines gather for so long: a thread is woken for some lines instead of for each.
const GATHERS: Duration = Duration::from_millis(1);

/// Lines that are lost are told of at most this often.
const TELLS_EVERY: Duration = Duration::from_secs(1);
/// Nobody logs, and lines were lost: whether the log can be written again is tried this often.
const TRIES_EVERY: Duration = Duration::from_secs(10);

/// Starts it. It ends with the process.
pub(super) fn start(queue: &'static Queue, stream: File, format: LogFormat) -> io::Result<()> {
    let is_pipe = stream.metadata().is_ok_and(|about| about.file_type().is_fifo());
    let piece_max = if is_pipe { PIPE_BYTES } else { FILE_BYTES };
    let mut writer = LogWriter { queue, stream, format, piece_max, torn: false, told: Told::default(), why: None };
    let body = move || {
        while catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
            let told = TOLD_OF_LOSS.lock().unwrap_or_else(PoisonError::into_inner);
            told.iter().for_each(|told| told());
        }
    };
    std::thread::Builder::new().name("polygil-log".into()).spawn(body)?;
    Ok(())
}

/// Who is told should the thread panic.
static TOLD_OF_LOSS: Mutex<Vec<Box<dyn Fn() + Send + Sync>>> = Mutex::new(Vec::new());

/// See [`logging::on_loss`](super::on_loss).
pub(super) fn on_loss(told: Box<dyn Fn() + Send + Sync>) {
    TOLD_OF_LOSS.lock().unwrap_or_else(PoisonError::into_inner).push(told);
}

struct LogWriter {
    queue: &'static Queue,
    stream: File,
    format: LogFormat,
    piece_max: usize,
    /// The last write ended in the middle of a line.
    torn: bool,
    told: Told,
    /// Why the last line that could not be written could not.
    why: Option<io::Error>,
}

/// What was said of lines that are missing.
#[derive(Default)]
struct Told {
    lines: u64,
    access_lines: u64,
    at: Option<Instant>,
}

impl LogWriter {
    fn run(&mut self) {
        let mut batch = Batch::default();
        loop {
            let patience = self.missing().map(|_| TRIES_EVERY);
            self.queue.take(&mut batch, patience);
            panic_here("log");
            self.tell_what_is_missing();
            self.write(&batch);
            std::thread::sleep(GATHERS);
        }
    }

    /// Writes as many lines at a time as go in one piece.
    fn write(&mut self, batch: &Batch) {
        let (mut begin, mut lines) = (0, &batch.ends[..]);
        while let Some(&(first, _)) = lines.first() {
            let fitting = lines.iter().take_while(|(end, _)| end - begin <= self.piece_max).count().max(1);
            let end = if fitting == 1 { first } else { lines[fitting - 1].0 };
            let written = begin + self.write_piece(&batch.bytes[begin..end]);
            for &(end, kind) in &lines[..fitting] {
                if end <= written { self.queue.wrote() } else { self.queue.lose(kind) }
            }
            (begin, lines) = (end, &lines[fitting..]);
        }
    }

    /// Writes some lines; says how many bytes that were.
    fn write_piece(&mut self, piece: &[u8]) -> usize {
        if self.torn && write_counted(self.stream.as_fd(), b"\n").1.is_ok() {
            self.torn = false;
        }
        let (written, outcome) = write_counted(self.stream.as_fd(), piece);
        if let Err(error) = outcome {
            self.why = Some(error);
            self.torn |= written > 0 && piece[written - 1] != b'\n';
        }
        written
    }

    /// Lines that were lost and not told of.
    fn missing(&self) -> Option<LogOverview> {
        let now = self.queue.overview();
        let lines_lost = now.lines_lost - self.told.lines;
        let access_lines_lost = now.access_lines_lost - self.told.access_lines;
        (lines_lost + access_lines_lost > 0).then_some(LogOverview { lines_lost, access_lines_lost, ..now })
    }

    fn tell_what_is_missing(&mut self) {
        let Some(missing) = self.missing() else { return };
        if self.told.at.is_some_and(|at| at.elapsed() < TELLS_EVERY) {
            return;
        }
        let why = self.why.as_ref().map_or_else(|| "nobody read it".to_owned(), ToString::to_string);
        let line = missing_line(self.format, &missing, &why);
        // In one piece or not at all: a part of it is no line.
        if self.write_piece(line.as_bytes()) < line.len() {
            return;
        }
        self.told.lines += missing.lines_lost;
        self.told.access_lines += missing.access_lines_lost;
        self.told.at = Some(Instant::now());
        self.why = None;
    }
}

/// The line that says so, as the subscriber would have made it.
fn missing_line(format: LogFormat, missing: &LogOverview, why: &str) -> String {
    let LogOverview { lines_lost, access_lines_lost, .. } = missing;
    let mut time = String::new();
    // A String takes it.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let (message, target) = ("lines of the log are missing here", module_path!());
    match format {
        LogFormat::Text => format!(
            "{time} ERROR {target}: {message} lines_lost={lines_lost} access_lines_lost={access_lines_lost} why={why:?}\n"
        ),
        LogFormat::Json => {
            let line = serde_json::json!({
                "timestamp": time, "level": "ERROR", "message": message, "lines_lost": lines_lost,
                "access_lines_lost": access_lines_lost, "why": why, "target": target,
            });
            format!("{line}\n")
        }
    }
}
