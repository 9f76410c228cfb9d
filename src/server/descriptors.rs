//! How many connections the process's file descriptors are good for.
//!
//! A connection is a descriptor, and so is each file, database and socket that a handler opens. If connections may take them all,
//! handlers fail first. So some are kept back, and the soft limit of the process is raised towards its hard limit before
//! connections are limited to what is left.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for handlers and for the server itself, when the limit is large enough.
const RESERVED: u64 = 256;

/// Makes room for `connections_max` connections and returns how many there is room for: at most `connections_max`, at least one.
/// Raises the soft limit of the process if that is needed. Logs a warning when the room is less than was asked for.
pub fn descriptors_for(connections_max: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let plan = Plan::new(connections_max, limit.current, limit.maximum);
    let mut room = plan.connections;
    if let Some(soft) = plan.raise_to
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum })
    {
        tracing::warn!(%error, soft, "cannot raise the limit of open files");
        room = Plan::new(connections_max, limit.current, limit.current).connections;
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

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    connections: usize,
    raise_to: Option<u64>,
}

impl Plan {
    /// None as a limit is no limit.
    fn new(connections_max: usize, soft: Option<u64>, hard: Option<u64>) -> Plan {
        let wanted = (connections_max as u64).saturating_add(RESERVED);
        let Some(soft) = soft.filter(|&soft| soft < wanted) else {
            return Plan { connections: connections_max, raise_to: None };
        };
        let reached = hard.map_or(wanted, |hard| wanted.min(hard)).max(soft);
        let left = reached - RESERVED.min(reached / 4);
        let connections = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, connections_max.max(1));
        Plan { connections, raise_to: (reached > soft).then_some(reached) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connections_max: usize, soft: Option<u64>, hard: Option<u64>, connections: usize, raise_to: Option<u64>) {
        assert_eq!(Plan::new(connections_max, soft, hard), Plan { connections, raise_to });
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
        check(10_000, Some(1), Some(1), 1, None);
        check(10_000, Some(0), Some(0), 1, None);
    }

    #[test]
    fn asks_the_system() {
        assert!((1..=10).contains(&descriptors_for(10)));
    }
}
