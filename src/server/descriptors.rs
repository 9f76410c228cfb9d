//! How many connections the process's file descriptors are good for.
//!
//! A connection is a descriptor, and so is each file, database and socket that a handler opens. If connections may take them all,
//! handlers fail first. So some are kept back, and the soft limit of the process is raised towards its hard limit before
//! connections are limited to what is left.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for handlers and for the server itself, when the limit is large enough.
const RESERVED: u64 = 256;

/// What is opened between this look and the first request: what polls, the admin address, the files that an import needs at once.
const STILL_TO_COME: u64 = 8;

/// Makes room for `connections_max` connections and returns how many there is room for: at most `connections_max`, at least one.
/// Raises the soft limit of the process if that is needed. Logs a warning when the room is less than was asked for.
pub fn descriptors_for(connections_max: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let open = open_descriptors();
    let plan = Plan::new(connections_max, open, limit.current, limit.maximum);
    let mut room = plan.connections;
    if let Some(soft) = plan.raise_to
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum })
    {
        tracing::warn!(%error, soft, "cannot raise the limit of open files");
        room = Plan::new(connections_max, open, limit.current, limit.current).connections;
    }
    if room < connections_max {
        tracing::warn!(
            connections_max,
            room,
            "the limit of open files allows fewer connections than configured; the others wait in the backlog (ulimit -n)"
        );
    }
    room
}

/// How many descriptors the process has open; 0 where the system does not say.
fn open_descriptors() -> u64 {
    let entries = std::fs::read_dir("/dev/fd");
    // One of them is the directory's own.
    entries.map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    connections: usize,
    raise_to: Option<u64>,
}

impl Plan {
    /// `open` are in use already. None as a limit is no limit.
    fn new(connections_max: usize, open: u64, soft: Option<u64>, hard: Option<u64>) -> Plan {
        let wanted = (connections_max as u64).saturating_add(RESERVED.max(open.saturating_add(STILL_TO_COME)));
        let Some(soft) = soft.filter(|&soft| soft < wanted) else {
            return Plan { connections: connections_max, raise_to: None };
        };
        let reached = hard.map_or(wanted, |hard| wanted.min(hard)).max(soft);
        let reserved = RESERVED.min(reached / 4).max(open.saturating_add(STILL_TO_COME));
        let left = reached.saturating_sub(reserved);
        let connections = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, connections_max.max(1));
        Plan { connections, raise_to: (reached > soft).then_some(reached) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connections_max: usize, soft: Option<u64>, hard: Option<u64>, connections: usize, raise_to: Option<u64>) {
        assert_eq!(Plan::new(connections_max, 4, soft, hard), Plan { connections, raise_to });
    }

    #[test]
    fn leaves_a_limit_alone_that_is_enough() {
        check(10_000, None, None, 10_000, None);
        check(10_000, Some(10_256), Some(10_256), 10_000, None);
    }

    #[test]
    fn raises_the_soft_limit_as_far_as_needed() {
        check(10_000, Some(1024), Some(1_000_000), 10_000, Some(10_256));
        check(10_000, Some(1024), None, 10_000, Some(10_256));
    }

    #[test]
    fn limits_connections_where_it_cannot() {
        check(10_000, Some(1024), Some(4096), 3840, Some(4096));
        check(10_000, Some(1024), Some(1024), 768, None);
        check(10_000, Some(64), Some(64), 48, None);
        check(10_000, Some(32), Some(32), 20, None);
        check(10_000, Some(1), Some(1), 1, None);
        check(10_000, Some(0), Some(0), 1, None);
    }

    #[test]
    fn what_is_open_already_is_not_left_for_connections() {
        let plan = |open| Plan::new(100, open, Some(64), Some(64)).connections;
        assert_eq!((plan(0), plan(8), plan(9), plan(40), plan(60), plan(1000)), (48, 48, 47, 16, 1, 1));
        assert_eq!(Plan::new(100, 500, Some(256), None), Plan { connections: 100, raise_to: Some(608) });
    }

    #[test]
    fn asks_the_system() {
        assert!((1..=10).contains(&descriptors_for(10)));
    }
}
