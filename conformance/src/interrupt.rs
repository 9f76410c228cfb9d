//! What the runner starts, it ends: at the end of each case and run, and when it is interrupted itself.
//!
//! Each process that is started leads a group of its own, so that its children end with it. INT, TERM and HUP (a terminal that closes)
//! end every such group, and what left its group, before the runner leaves with 128 + the signal's number, as a shell tells it. A second
//! signal does not wait any more. A process that was ended by KILL cannot do any of that.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long what was started may take to end once it is told to.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The groups that are running, by the process that leads them, and the directories that go with them.
static STARTED: Mutex<Started> =
    Mutex::new(Started { groups: BTreeSet::new(), directories: BTreeSet::new(), interrupted: false });

struct Started {
    groups: BTreeSet<i32>,
    directories: BTreeSet<PathBuf>,
    /// The runner is about to leave: nothing is started any more.
    interrupted: bool,
}

/// Ends what was started when the runner is told to end. Called once, before anything is started.
pub fn watch() -> std::io::Result<()> {
    // Children of children whose parents ended become ours, and can be found.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let wanted: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::spawn(move || {
        let mut arrived = signals.forever();
        let Some(signal) = arrived.next() else { return };
        let name = match signal {
            SIGINT => "INT",
            SIGTERM => "TERM",
            _ => "HUP",
        };
        let leave = move |grace| {
            eprintln!("polygil-conformance: interrupted by {name}");
            end_all(grace);
            std::process::exit(128 + signal);
        };
        std::thread::spawn(move || leave(STOP_TIMEOUT));
        // Whoever asks twice does not want to wait.
        if arrived.next().is_some() {
            end_all(Duration::ZERO);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Whether the one who started the runner had this signal ignored, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// Starts a process that leads a group of its own, unless the runner is about to leave.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mut started = STARTED.lock().expect("nobody panics with it");
    if started.interrupted {
        return Err(std::io::Error::other("interrupted"));
    }
    let child = command.process_group(0).spawn()?;
    started.groups.insert(Pid::from_child(&child).as_raw_nonzero().get());
    Ok(child)
}

/// Takes note of a directory that is to go with the runner.
pub fn remember(directory: &Path) {
    STARTED.lock().expect("nobody panics with it").directories.insert(directory.to_owned());
}

/// Ends a process, its group, and what its children started elsewhere: first asks, then, when the time is up, does not ask any more.
pub fn end(child: &mut Child, grace: Duration) {
    let pid = Pid::from_child(child);
    let family = family_of(pid);
    let _ = kill_process_group(pid, Signal::TERM);
    let deadline = Instant::now() + grace;
    // The child must be waited for, or its group stays.
    while (child.try_wait().is_ok_and(|status| status.is_none()) || test_kill_process_group(pid).is_ok())
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = child.wait();
    kill_those(&family);
    STARTED.lock().expect("nobody panics with it").groups.remove(&pid.as_raw_nonzero().get());
}

/// Ends everything that was started and still runs.
pub fn end_all(grace: Duration) {
    let (groups, directories) = {
        let mut started = STARTED.lock().expect("nobody panics with it");
        started.interrupted = true;
        let pids: Vec<Pid> = started.groups.iter().filter_map(|pid| Pid::from_raw(*pid)).collect();
        (pids, started.directories.clone())
    };
    let family = family_of(rustix::process::getpid());
    let deadline = Instant::now() + grace;
    let tell = |signal| groups.iter().for_each(|group| _ = kill_process_group(*group, signal));
    tell(Signal::TERM);
    // A leader that nobody waits for stays as a zombie, and with it its group; so ask for what lives.
    while family.iter().any(Known::lives) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    tell(Signal::KILL);
    kill_those(&family);
    kill_those(&family_of(rustix::process::getpid()));
    for directory in directories {
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// A process as the kernel knows it: its number may be another's later, its start is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    pid: i32,
    parent: i32,
    started: u64,
    zombie: bool,
}

impl Known {
    fn read(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses, and may have any character.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let zombie = matches!(*fields.first()?, "Z" | "X");
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, zombie })
    }

    fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started && !now.zombie)
    }
}

/// The children of a process, theirs, and so on. Where there is no /proc, none is known.
fn family_of(root: Pid) -> Vec<Known> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Known> = pids.filter_map(Known::read).collect();
    let mut family: Vec<Known> = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            family.push(*child);
        }
    }
    family
}

fn kill_those(family: &[Known]) {
    for process in family.iter().filter(|process| process.lives()) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // The kernel ends them at once, and yet not before this returns.
    let deadline = Instant::now() + Duration::from_secs(1);
    while family.iter().any(Known::lives) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    #[test]
    fn a_grandchild_in_a_session_of_its_own_ends_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sh -c 'echo $$; exec sleep 600' & wait"]).stdout(Stdio::piped());
        let mut child = spawn(&mut command).expect("sh");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let grandchild = Known::read(line.trim().parse().expect("a number")).expect("it runs");
        assert!(grandchild.lives());
        end(&mut child, Duration::from_secs(3));
        assert!(!grandchild.lives());
    }
}
