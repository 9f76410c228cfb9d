//! Sockets that systemd opened before it started this process (sd_listen_fds(3)): descriptors from 3 on, as many as `LISTEN_FDS`
//! says, for the process that `LISTEN_PID` names.
//!
//! They are taken once: a second server in the process opens its own. The variables stay, because changing the environment
//! under threads is unsafe; a child has another process id, and the sockets close when it executes a program.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// More sockets than anybody names in a unit.
const SOCKETS_MAX: RawFd = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that are meant for this process; none if there are none, or were taken before. The error is for the user.
pub fn sockets() -> Result<Vec<OwnedFd>, String> {
    let variable = |name| std::env::var(name).ok();
    let Some(count) = handed_over(variable("LISTEN_PID"), variable("LISTEN_FDS"), std::process::id())? else {
        return Ok(Vec::new());
    };
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let numbers = FIRST..FIRST + count;
    for number in numbers.clone() {
        // SAFETY: borrowed for one call that only asks whether the number is open.
        if rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_err() {
            return Err(format!("LISTEN_FDS says {count}, and descriptor {number} is not open"));
        }
    }
    // SAFETY: the numbers are open, were given to this process to be used by it, and are taken once, above.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// How many, by the values of the variables; None where they are for another process.
fn handed_over(pid: Option<String>, count: Option<String>, own_pid: u32) -> Result<Option<RawFd>, String> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(None) };
    if pid.parse() != Ok(own_pid) {
        return Ok(None);
    }
    match count.parse() {
        Ok(0) => Ok(None),
        Ok(count) if (1..=SOCKETS_MAX).contains(&count) => Ok(Some(count)),
        _ => Err(format!("LISTEN_FDS: {count:?} must be the number of sockets that are handed over")),
    }
}

#[cfg(test)]
mod tests {
    use super::handed_over;

    #[test]
    fn they_are_for_the_process_that_is_named() {
        let given = |pid: &str, count: &str| handed_over(Some(pid.into()), Some(count.into()), 42);
        assert_eq!(given("42", "2"), Ok(Some(2)));
        assert_eq!(given("42", "0"), Ok(None));
        assert_eq!(given("41", "2"), Ok(None));
        assert_eq!(given("", "2"), Ok(None));
        for count in ["", "-1", "two", "5000", "99999999999"] {
            assert!(given("42", count).is_err(), "{count}");
        }
        assert_eq!(handed_over(None, Some("1".into()), 42), Ok(None));
        assert_eq!(handed_over(Some("42".into()), None, 42), Ok(None));
    }
}
