//! The log: lines on standard error, as text or as JSON, one per event.
//!
//! The library only ever emits `tracing` events; this is where the command decides what becomes of them. Access lines have the
//! target `polygil::access` and come only with `--access-log`.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

use crate::config::{Config, LogFormat};

/// Sends the log to standard error. A process whose log was started already (a second server) keeps the first one's.
pub fn start(config: &Config) {
    let level: LevelFilter = config.log_level.into();
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // An error means that a subscriber is there: the program's own, or an earlier server's.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
