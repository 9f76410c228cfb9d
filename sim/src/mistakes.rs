//! The mistakes that the sources can be told to make, and what the simulator finds each by.
//!
//! A build with the feature `mistakes` can make any of them; it is never part of what ships (`src/mistakes.rs` of polygil). The
//! names are those that stand in the sources.

/// One mistake.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// Its name in the sources.
    pub name: &'static str,
    /// What kind of bug it is.
    pub kind: &'static str,
    /// What it amounts to.
    pub what: &'static str,
}

/// All that the simulator is to find.
pub const ALL: &[Mistake] = &[
    Mistake { name: "no_recheck", kind: "lost wakeup", what: "a worker lies down without looking around once more" },
    Mistake { name: "own_sleeper_only", kind: "lost wakeup", what: "a push wakes the lane's own worker or nobody" },
    Mistake {
        name: "others_not_called",
        kind: "lost wakeup",
        what: "a worker that does the I/O starts something long and tells nobody of the tasks in its lane",
    },
    Mistake {
        name: "word_not_compared",
        kind: "ownership",
        what: "a worker from which the I/O was taken goes on as if it had it",
    },
    Mistake { name: "never_taken_back", kind: "ownership", what: "a worker whose handler takes long keeps the I/O" },
    Mistake {
        name: "close_without_wake",
        kind: "lost wakeup",
        what: "sleeping workers do not hear that the pool is closed",
    },
    Mistake {
        name: "send_without_wake",
        kind: "lost wakeup",
        what: "a reply does not wake the connection that waits for it",
    },
    Mistake {
        name: "answers_reversed",
        kind: "answer reordered under pipelining",
        what: "an answer is put before those that wait to be written",
    },
    Mistake {
        name: "expire_ignores_start",
        kind: "timeout race",
        what: "a request whose handler runs is told that it waited too long",
    },
    Mistake { name: "expired_starts", kind: "timeout race", what: "a request that was given up is run all the same" },
    Mistake {
        name: "permit_leaked",
        kind: "leaked permit",
        what: "a connection that was reset keeps its place among the open ones",
    },
    Mistake {
        name: "drain_misses_one",
        kind: "drain that misses one",
        what: "the oldest connection is not told that the server drains",
    },
    Mistake {
        name: "backlog_forgotten",
        kind: "drain that misses one",
        what: "the backlog is closed without being served",
    },
    Mistake {
        name: "limit_off_by_one",
        kind: "limit off by one",
        what: "content of one byte more than the limit is read",
    },
    Mistake {
        name: "one_connection_more",
        kind: "limit off by one",
        what: "one connection more than the limit is accepted",
    },
    Mistake {
        name: "read_ahead_unbounded",
        kind: "limit not kept",
        what: "what a client pipelines is read without bound",
    },
    Mistake {
        name: "content_left_unread",
        kind: "body bytes read into the next request",
        what: "content that nobody read is taken for the next request",
    },
    Mistake {
        name: "unsent_not_counted",
        kind: "limit not kept",
        what: "answers that wait for their clients are on no account",
    },
    Mistake {
        name: "begun_without_room",
        kind: "limit not kept",
        what: "a call is begun while contents take as much memory as they may",
    },
    Mistake {
        name: "readers_without_end",
        kind: "timeout missing",
        what: "a client may take its answer for as long as it likes, if it takes something at times",
    },
    Mistake {
        name: "lingering_without_end",
        kind: "limit not kept",
        what: "connections that linger throw away whatever comes",
    },
    Mistake { name: "short_write_lost", kind: "bytes lost", what: "a short write is taken for a whole one" },
    Mistake {
        name: "continue_twice",
        kind: "100-continue twice",
        what: "100 (Continue) is sent again for each part of the content",
    },
    Mistake {
        name: "own_lane_first",
        kind: "starvation",
        what: "workers never look elsewhere while their own lane has tasks",
    },
    Mistake {
        name: "timer_not_moved",
        kind: "timeout late",
        what: "a timer that is armed is not moved up for an earlier deadline",
    },
    Mistake {
        name: "half_close_is_leaving",
        kind: "answer lost",
        what: "a client that ends its half behind its request gets no answer",
    },
    Mistake { name: "head_with_content", kind: "framing", what: "a response to HEAD has content" },
    Mistake { name: "accepting_ends", kind: "liveness", what: "the accept loop ends when there are no descriptors" },
    Mistake {
        name: "memory_not_emptied",
        kind: "memory reused with what was in it",
        what: "the buffers of a request and its answer keep their bytes for the next one",
    },
    Mistake { name: "answered_twice", kind: "double completion", what: "an answer is written twice" },
    Mistake {
        name: "closed_not_counted",
        kind: "counter drift",
        what: "connections that ended as they should are not counted",
    },
    Mistake {
        name: "slot_reused_early",
        kind: "slot reused early",
        what: "a connection's place among the open ones is given away while it is in use",
    },
];

/// The mistake of that name.
pub fn find(name: &str) -> Result<&'static Mistake, String> {
    if !cfg!(feature = "mistakes") {
        return Err("this build makes no mistakes: build it with --features mistakes".to_owned());
    }
    ALL.iter().find(|mistake| mistake.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|mistake| mistake.name).collect();
        format!("there is no mistake {name:?}; there are {}", names.join(", "))
    })
}
