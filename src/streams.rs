//! The standard streams: descriptors 0, 1 and 2, which are shared with whoever started this process.
//!
//! Three rules, each learnt from a server that broke one:
//!
//! - **Their numbers are taken.** A descriptor that is closed at the start is opened on /dev/null before anything else is
//!   opened ([`secure`]). Else the next socket takes its number, and what a handler prints goes to a client.
//! - **Nobody changes them.** They are shared, so none is set to O_NONBLOCK: the shell would find its terminal changed.
//! - **Writing may fail, and says so.** [`say`] gives the error; it never panics, as `println!` does.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use rustix::stdio::{stderr, stdin, stdout};

/// The first number that no standard stream has.
pub const FIRST_FREE: i32 = 3;

/// Standard output, while what is printed goes to standard error.
static ASIDE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Set when the process was started without a standard output.
static NO_STDOUT: AtomicBool = AtomicBool::new(false);

/// Opens those of the descriptors 0 to 2 that are closed on /dev/null. Call it before anything else is opened.
///
/// # Errors
/// One is closed, and /dev/null cannot be opened in its place.
pub fn secure() -> io::Result<()> {
    let closed = |fd: BorrowedFd<'_>| fcntl_getfd(fd) == Err(Errno::BADF);
    if closed(stdout()) {
        NO_STDOUT.store(true, Relaxed);
    }
    while [stdin(), stdout(), stderr()].into_iter().any(closed) {
        let null = null()?;
        if null.as_raw_fd() >= FIRST_FREE {
            // Somebody else was faster; what is closed is looked at again.
            continue;
        }
        // Children inherit it, as they would inherit the stream.
        fcntl_setfd(&null, FdFlags::empty())?;
        let _stays_open = null.into_raw_fd();
    }
    Ok(())
}

/// Lets everything that is printed from now on go to standard error, until [`say`] has something to say: of a report for a machine, what an
/// app prints while it is imported is no part.
///
/// # Errors
/// There is no further descriptor.
pub fn set_aside() -> io::Result<()> {
    let kept = fcntl_dupfd_cloexec(stdout(), FIRST_FREE)?;
    rustix::stdio::dup2_stdout(stderr())?;
    *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    Ok(())
}

/// Undoes [`set_aside`].
fn bring_back() -> io::Result<()> {
    let kept = ASIDE.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(kept.map_or(Ok(()), rustix::stdio::dup2_stdout)?)
}

/// Puts /dev/null in the place of a standard stream: what "closing" one means here. Other numbers are left alone.
///
/// # Errors
/// /dev/null cannot be opened.
pub fn give_away(number: i32) -> io::Result<()> {
    let replace = match number {
        0 => rustix::stdio::dup2_stdin,
        1 => rustix::stdio::dup2_stdout,
        2 => rustix::stdio::dup2_stderr,
        _ => return Ok(()),
    };
    Ok(replace(null()?)?)
}

fn null() -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/null");
    file.map(OwnedFd::from)
        .map_err(|error| io::Error::new(error.kind(), format!("/dev/null cannot be opened: {error}")))
}

/// A descriptor for the same thing, whose number is no standard stream's and which no child inherits.
///
/// # Errors
/// The descriptor is closed, or the process has no number left.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(fd, FIRST_FREE)?)
}

/// Whether the process was started with a standard output.
pub fn has_stdout() -> bool {
    !NO_STDOUT.load(Relaxed)
}

/// Writes to standard output, at once and whole.
///
/// # Errors
/// It is closed, its reader has gone, its disk is full. The message names the stream.
pub fn say(text: &str) -> io::Result<()> {
    bring_back()?;
    let written = if has_stdout() { write_whole(stdout(), text.as_bytes()) } else { Err(Errno::BADF.into()) };
    written.map_err(|error| io::Error::new(error.kind(), format!("standard output cannot be written: {error}")))
}

/// Writes to standard error what there is nobody else to tell. Should that fail, too, nobody is told.
pub fn complain(text: &str) {
    drop(write_whole(stderr(), format!("{}\n", text.trim_end()).as_bytes()));
}

/// Writes all of it. A descriptor that is O_NONBLOCK, by its owner's will, is waited for.
pub(crate) fn write_whole(fd: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    write_counted(fd.as_fd(), bytes).1
}

/// As [`write_whole`], and says how many bytes were written before the error.
pub(crate) fn write_counted(fd: BorrowedFd<'_>, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(fd, &bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return (written, Err(error.into())),
            },
            Err(error) => return (written, Err(error.into())),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_open_stays_as_it_is() {
        let before = std::fs::read_link("/proc/self/fd/2").unwrap();
        secure().unwrap();
        assert_eq!(std::fs::read_link("/proc/self/fd/2").unwrap(), before);
    }

    #[test]
    fn a_duplicate_has_a_number_above_the_standard_streams_and_stays_at_home() {
        let copy = duplicate(stderr()).unwrap();
        assert!(copy.as_raw_fd() >= FIRST_FREE);
        assert_eq!(fcntl_getfd(&copy), Ok(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_full_disk_and_a_reader_that_left_are_errors() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(write_whole(&full, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(write_whole(&writer, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_pipe_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let text = vec![b'x'; 1 << 20];
        let expected = text.len();
        let thread = std::thread::spawn(move || write_whole(&writer, &text));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), expected);
        thread.join().unwrap().unwrap();
    }
}
