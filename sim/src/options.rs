//! Swarm options: which faults, limits and sizes are in play, all drawn from the seed, so that rare combinations meet.
//!
//! A run is a function of its [`Options`] alone; the seed is one of them and feeds the other random streams. So a run can be
//! repeated from the options that were printed, and shrunk by making them smaller. Rates are in permille, times in the unit
//! that ends their name. Most runs have most faults off: a run in which everything fails all the time reaches little.

use std::time::Duration;

use polygil::dispatch::{Placement, PoolOptions};
use polygil::http::Limits;
use polygil::server::ServerOptions;
use serde::{Deserialize, Serialize};

use crate::random::Random;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// See the module's text.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Options {
            /// Feeds every random stream of the run.
            pub seed: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Options {
            /// Name and value of each option but the seed, in order.
            pub fn fields(&mut self) -> Vec<(&'static str, &mut u64)> {
                vec![$((stringify!($name), &mut self.$name),)*]
            }
        }
    };
}

options! {
    /// Workers, each with a lane.
    workers,
    /// Tasks that may wait in a lane.
    lane_depth,
    /// Tasks that may wait in the overflow queue.
    overflow_depth,
    /// 0 round robin, 1 least loaded, 2 idle first.
    placement,
    /// Open connections.
    max_connections,
    /// Connections that wait to be accepted.
    backlog,
    /// The server's, see `ServerOptions`.
    queue_timeout_ms,
    /// The server's.
    head_timeout_ms,
    /// The server's.
    body_timeout_ms,
    /// The server's, in bytes a second; 0 is off.
    min_body_rate,
    /// The server's.
    idle_timeout_ms,
    /// The server's.
    write_timeout_ms,
    /// The server's.
    drain_timeout_ms,
    /// The largest content of a request.
    body_bytes_max,
    /// The longest target.
    target_bytes_max,
    /// The largest header section.
    headers_bytes_max,
    /// Requests on a connection; 0 is no limit.
    requests_per_connection_max,
    /// Time budget of a handler.
    handler_timeout_ms,
    /// From the interrupt to the replacement.
    interrupt_grace_ms,
    /// Workers that may be replaced.
    max_replacements,
    /// Mean time that a handler takes.
    service_us,
    /// 0 constant, 1 exponential, 2 one in a hundred takes two hundred times as long.
    service_shape,
    /// The largest response content.
    response_bytes_max,
    /// Requests in the whole run, about.
    requests,
    /// Clients that ask, wait for the answer, think, ask again.
    closed_clients,
    /// Mean time between an answer and the next request.
    think_us,
    /// Clients that arrive at random and leave after a few requests, per second.
    open_per_second,
    /// Requests that a client sends before it has read their answers.
    pipeline_max,
    /// Requests that a client sends on one connection.
    per_connection_max,
    /// The largest request content that is sent on purpose.
    request_bytes_max,
    /// Requests with content.
    post,
    /// Of those, the ones in chunks.
    chunked,
    /// Of those with content, the ones that expect 100.
    expect_continue,
    /// HEAD requests.
    head,
    /// HTTP/1.0, or `connection: close`.
    last,
    /// Requests without a handler.
    unrouted,
    /// Requests over a limit.
    over_limit,
    /// Bytes that are no request.
    malformed,
    /// Clients that stop in the middle of a request, or send it slowly.
    slow_send,
    /// Clients that take their answers slowly or not at all.
    slow_read,
    /// Clients that close their half behind the last request.
    half_close,
    /// Clients that reset the connection at some moment.
    reset,
    /// Clients that close the connection at some moment.
    leave,
    /// One way, in microseconds.
    latency_us,
    /// Added to it at random, at most.
    jitter_us,
    /// Reads that give fewer bytes than there are.
    short_read,
    /// Writes that take fewer bytes than they could.
    short_write,
    /// Reads and writes that find nothing though there is something, until a moment later.
    spurious,
    /// Sends that are cut into pieces that travel by themselves.
    segment,
    /// Pieces that get stuck for seconds.
    stall,
    /// Bytes that may be on the way to a client.
    window,
    /// Accepts that fail because the connection is gone.
    accept_abort,
    /// Times without descriptors, per minute.
    emfile_per_minute,
    /// Handlers that raise.
    raise,
    /// Handlers that return what cannot be sent.
    garbage,
    /// Handlers that run until they are interrupted, and stop then.
    hang,
    /// Handlers that do not stop when they are interrupted, and come back much later.
    stubborn,
    /// Handlers whose worker dies.
    die,
    /// What a step of a task takes, in nanoseconds, at most.
    step_ns,
    /// Steps that take a hundred times as long.
    slow_step,
    /// When the faults end.
    heal_ms,
    /// 0 the server drains when it is healed, 1 at a random moment before, 2 as 1 with a second signal, 3 it is told to quit.
    stop,
    /// When it is told to, if it is before.
    stop_ms,
    /// From the first signal to the second.
    second_signal_ms,
    /// The server's.
    request_timeout_ms,
    /// Idle workers that do the I/O, rather than sleep in their lane.
    in_place,
    /// 1 if the time that handlers take counts for whether they are run in place; else they all are.
    paced,
    /// Answers whose content is made while it is sent.
    stream,
    /// Of those, the ones that break off.
    stream_break,
    /// Between two pieces, at most.
    stream_gap_us,
    /// The server's: contents that are in memory at a time; 0 is no limit.
    buffered_bytes_max,
    /// The server's.
    response_timeout_ms,
    /// The server's: what connections that linger throw away together; 0 is no limit.
    linger_bytes_max,
}

/// A limit of which 0 is none.
pub fn or_none(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}

/// Off in most runs, otherwise in the range.
fn sometimes(random: &mut Random, permille: u64, low: u64, high: u64) -> u64 {
    if random.chance(permille) { random.spread(low, high) } else { 0 }
}

impl Options {
    /// The options of that seed.
    pub fn draw(seed: u64) -> Options {
        let r = &mut Random::new(seed, "options");
        // A third of the runs has no fault at all but load, one in ten has them all.
        let faults = [0, 0, 150, 150, 300, 300, 300, 500, 500, 1000][r.below(10) as usize];
        let heavy = r.chance(300);
        let mut options = Options {
            seed,
            workers: r.spread(1, 12),
            lane_depth: r.spread(1, 64),
            overflow_depth: if r.chance(250) { 0 } else { r.spread(1, 256) },
            placement: r.below(3),
            max_connections: if r.chance(500) { 1000 } else { r.spread(1, 64) },
            backlog: r.spread(1, 256),
            queue_timeout_ms: r.spread(20, 30_000),
            head_timeout_ms: r.spread(200, 10_000),
            body_timeout_ms: r.spread(200, 20_000),
            min_body_rate: sometimes(r, 300, 10, 10_000),
            idle_timeout_ms: r.spread(200, 75_000),
            write_timeout_ms: r.spread(200, 15_000),
            drain_timeout_ms: r.spread(500, 60_000),
            body_bytes_max: r.spread(100, 200_000),
            target_bytes_max: r.spread(64, 8192),
            headers_bytes_max: r.spread(512, 32_768),
            requests_per_connection_max: sometimes(r, 250, 1, 100),
            handler_timeout_ms: r.spread(200, 30_000),
            interrupt_grace_ms: r.spread(50, 2000),
            max_replacements: if r.chance(200) { r.below(3) } else { r.spread(4, 64) },
            service_us: r.spread(20, 2000),
            service_shape: r.below(3),
            response_bytes_max: if r.chance(100) { r.spread(1000, 200_000) } else { r.spread(1, 1000) },
            requests: if heavy { r.spread(2000, 8000) } else { r.spread(50, 2000) },
            closed_clients: r.spread(1, 64),
            think_us: if heavy { r.below(200) } else { r.spread(1, 200_000) },
            open_per_second: if heavy { r.spread(100, 4000) } else { r.spread(1, 100) },
            pipeline_max: if r.chance(500) { 1 } else { r.spread(1, 32) },
            per_connection_max: r.spread(1, 100),
            request_bytes_max: r.spread(1, 2000),
            post: r.below(700),
            chunked: r.below(600),
            expect_continue: sometimes(r, 500, 1, 500),
            head: sometimes(r, 500, 1, 300),
            last: sometimes(r, 500, 1, 200),
            unrouted: sometimes(r, 500, 1, 200),
            over_limit: sometimes(r, faults, 1, 100),
            malformed: sometimes(r, faults, 1, 100),
            slow_send: sometimes(r, faults, 1, 200),
            slow_read: sometimes(r, faults, 1, 300),
            half_close: sometimes(r, 500, 1, 300),
            reset: sometimes(r, faults, 1, 200),
            leave: sometimes(r, faults, 1, 200),
            latency_us: r.spread(1, 50_000),
            jitter_us: r.below(5000),
            short_read: sometimes(r, faults, 10, 1000),
            short_write: sometimes(r, faults, 10, 1000),
            spurious: sometimes(r, faults, 1, 300),
            segment: sometimes(r, faults, 1, 500),
            stall: sometimes(r, faults, 1, 20),
            window: if r.chance(faults / 2) { r.spread(32, 8192) } else { r.spread(16_384, 262_144) },
            accept_abort: sometimes(r, faults, 1, 100),
            emfile_per_minute: sometimes(r, faults, 1, 100),
            raise: sometimes(r, 500, 1, 200),
            garbage: sometimes(r, faults, 1, 100),
            hang: sometimes(r, faults, 1, 20),
            stubborn: sometimes(r, faults, 1, 5),
            die: sometimes(r, faults, 1, 10),
            step_ns: [0, 0, 100, 1000, 10_000][r.below(5) as usize],
            slow_step: sometimes(r, faults, 1, 10),
            heal_ms: r.spread(500, 60_000),
            stop: [0, 0, 0, 1, 1, 2, 3][r.below(7) as usize],
            stop_ms: 0,
            second_signal_ms: r.spread(1, 5000),
            request_timeout_ms: 0,
            in_place: 0,
            paced: 0,
            stream: 0,
            stream_break: 0,
            stream_gap_us: 0,
            buffered_bytes_max: 0,
            response_timeout_ms: 0,
            linger_bytes_max: 0,
        };
        // Options that came later are drawn last: so the others keep the values that they had.
        options.stop_ms = r.spread(1, options.heal_ms);
        options.request_timeout_ms = r.spread(500, 600_000);
        options.in_place = sometimes(r, 600, 50, 1000);
        options.paced = r.below(2);
        options.stream = sometimes(r, 500, 10, 500);
        options.stream_break = sometimes(r, faults, 10, 300);
        options.stream_gap_us = [0, 100, 10_000, 100_000][r.below(4) as usize];
        options.buffered_bytes_max = sometimes(r, 250, 500, 400_000);
        options.response_timeout_ms = if r.chance(500) { r.spread(500, 20_000) } else { 600_000 };
        options.linger_bytes_max = sometimes(r, 250, 1, 300_000);
        options
    }

    /// Bytes of a content once the run is healed, so that nothing that is asked then lacks room: of what contents may take in
    /// memory, each worker's probe has a half of its part, for a request and its answer.
    pub fn calm_bytes_max(&self) -> u64 {
        (or_none(self.buffered_bytes_max) / (4 * self.workers.max(1))).max(1)
    }

    /// The shape of the pool.
    pub fn pool(&self) -> PoolOptions {
        PoolOptions {
            workers: self.workers as usize,
            lane_depth: self.lane_depth as usize,
            overflow_depth: self.overflow_depth as usize,
            placement: match self.placement {
                0 => Placement::RoundRobin,
                1 => Placement::LeastLoaded,
                _ => Placement::IdleFirst,
            },
        }
    }

    /// The options of the server.
    pub fn server(&self) -> ServerOptions {
        ServerOptions {
            buffered_bytes_max: or_none(self.buffered_bytes_max),
            linger_bytes_max: or_none(self.linger_bytes_max),
            limits: Limits {
                body_bytes_max: self.body_bytes_max,
                target_bytes_max: self.target_bytes_max as usize,
                headers_bytes_max: self.headers_bytes_max as usize,
                requests_per_connection_max: self.requests_per_connection_max,
                ..Limits::default()
            },
            max_connections: self.max_connections as usize,
            backlog: self.backlog as u32,
            queue_timeout: Duration::from_millis(self.queue_timeout_ms),
            head_timeout: Duration::from_millis(self.head_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            min_body_rate: self.min_body_rate,
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            response_timeout: Duration::from_millis(self.response_timeout_ms),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            access_log: false,
            server_header: false,
            debug: false,
            request_id_prefix: "sim".to_owned(),
        }
    }
}
