//! Text → value, one function for each kind of option. An error says what the text should have been.

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use crate::dispatch::Placement;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: an object a line.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(LevelFilter);

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        level.0
    }
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// 0 picks a free one.
    pub port: u16,
}

/// `9090`, `0.0.0.0:9090` or `[::1]:9090`. Empty is none.
pub(super) fn place(text: &str) -> Result<Option<Place>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (bare, port.parse()) {
        (Some(host), Ok(port)) if !host.is_empty() => Ok(Some(Place { host: host.into(), port })),
        // Without brackets the colons of an IPv6 address and the one before the port are not to be told apart.
        (None, Ok(port)) if !host.is_empty() && !host.contains([':', '[', ']']) => {
            Ok(Some(Place { host: host.into(), port }))
        }
        _ => Err("must be a port, or a host and a port such as 127.0.0.1:9090 or [::1]:9090".into()),
    }
}

pub(super) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "must be a port from 0 to 65535".into())
}

/// Empty is none: how a variable takes back what pyproject.toml says.
pub(super) fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Permission bits, in octal digits.
pub(super) fn mode(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8);
    match mode {
        Ok(mode) if mode <= 0o777 && !text.starts_with('+') => Ok(Some(mode)),
        _ => Err("must be permissions in octal, such as 660, or 600 for this user alone".into()),
    }
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must be a directory".into()) } else { Ok(text.into()) }
}

pub(super) fn descriptor(text: &str) -> Result<Option<i32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(fd) if fd >= 0 => Ok(Some(fd)),
        _ => Err("must be the number of an open file descriptor".into()),
    }
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "must be a whole number, 0 or more".into())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be a whole number, 0 or more".into())
}

/// From 1 to `MAX`: what is set aside at the start, and what the kernel counts, must be affordable.
pub(super) fn up_to<const MAX: u64, N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let value = text.parse::<u64>().ok().filter(|value| (1..=MAX).contains(value));
    value.and_then(|value| N::try_from(value).ok()).ok_or_else(|| format!("must be a whole number from 1 to {MAX}"))
}

/// Each worker has a thread, an interpreter of some MiB and a queue.
const WORKERS_MAX: u64 = 1024;

pub(super) fn workers(text: &str) -> Result<usize, String> {
    match text {
        // The affinity mask and the cgroup's quota, not the machine's cores.
        "auto" => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        _ => up_to::<WORKERS_MAX, _>(text)
            .map_err(|_| format!("must be auto, or a whole number from 1 to {WORKERS_MAX}")),
    }
}

/// No wait is longer, so that sums of some of them and the present are still times.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text) {
        Ok(Duration::ZERO) => Err("must be a time above zero with its unit, such as 250ms, 1s or 2m".into()),
        other => other,
    }
}

pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err("must be a time of at most 365 days".into()),
        Err(_) => Err("must be a time with its unit, such as 250ms, 1s or 2m".into()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| "must be a size in bytes, such as 8192, 8KiB or 16MiB".into())
}

/// A size that memory is set aside for; the protocol counts with 32 bits inside a head.
pub(super) fn small_size(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 30).ok_or_else(|| "must be a size of at most 1GiB".into())
}

pub(super) fn positive_size(text: &str) -> Result<usize, String> {
    small_size(text).and_then(|bytes| if bytes == 0 { Err("must be a size above zero".into()) } else { Ok(bytes) })
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

pub(super) fn placement(text: &str) -> Result<Placement, String> {
    match text {
        "round-robin" => Ok(Placement::RoundRobin),
        "least-loaded" => Ok(Placement::LeastLoaded),
        "idle-first" => Ok(Placement::IdleFirst),
        _ => Err("must be round-robin, least-loaded or idle-first".into()),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".into()),
    }
}

pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    let known = ["off", "error", "warn", "info", "debug", "trace"].contains(&text);
    let level = known.then(|| text.parse().ok()).flatten();
    level.map(LogLevel).ok_or_else(|| "must be off, error, warn, info, debug or trace".into())
}
