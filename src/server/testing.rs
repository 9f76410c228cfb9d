//! A small world for tests: virtual time, sockets in memory, an executor that is driven by hand, and the real pool.
//!
//! Nothing in it waits: a test acts, lets everything settle, and looks. Time stands still until a test advances it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_lite::{AsyncRead, AsyncWrite, future};

use super::drain::{Admission, Server};
use super::drive::Driver;
use super::env::{Clock, Listener, Peer};
use super::{App, DrainReport, ServerOptions, Signal, run};
use crate::dispatch::{Placement, Pool, PoolOptions, Step, Worker};
use crate::error::Failure;
use crate::http::{Limits, Response};
use crate::io::executor::Executor;
use crate::router::{RouteSpec, Router};
use crate::task::Task;

/// Sun, 06 Nov 1994 08:49:37 GMT, the date of the RFCs.
const WALL_START: Duration = Duration::from_secs(784_111_777);

/// A clock that is moved by hand.
#[derive(Clone, Default)]
pub(super) struct FakeClock(Arc<Mutex<Time>>);

#[derive(Default)]
struct Time {
    now: Duration,
    timers: BTreeMap<(Duration, u64), Waker>,
    armed: u64,
}

impl FakeClock {
    pub(super) fn advance(&self, by: Duration) {
        let mut time = self.0.lock().unwrap();
        time.now += by;
        let not_due = (time.now + Duration::from_nanos(1), 0);
        let later = time.timers.split_off(&not_due);
        let due = std::mem::replace(&mut time.timers, later);
        drop(time);
        due.into_values().for_each(Waker::wake);
    }

    /// How many timers were ever made.
    pub(super) fn armed(&self) -> u64 {
        self.0.lock().unwrap().armed
    }
}

impl Clock for FakeClock {
    type Sleep = FakeSleep;

    fn now(&self) -> Duration {
        self.0.lock().unwrap().now
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + WALL_START + self.now()
    }

    fn sleep_until(&self, at: Duration) -> FakeSleep {
        let mut time = self.0.lock().unwrap();
        time.armed += 1;
        FakeSleep { clock: self.clone(), key: (at, time.armed) }
    }
}

pub(super) struct FakeSleep {
    clock: FakeClock,
    key: (Duration, u64),
}

impl Future for FakeSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.0.lock().unwrap();
        if time.now >= self.key.0 {
            return Poll::Ready(());
        }
        time.timers.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for FakeSleep {
    fn drop(&mut self) {
        self.clock.0.lock().unwrap().timers.remove(&self.key);
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    ended: bool,
    broken: bool,
    /// Writes so far, to see how answers were batched.
    writes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) -> Vec<Waker> {
        self.reader.take().into_iter().chain(self.writer.take()).collect()
    }
}

type Shared = Arc<Mutex<Pipe>>;

fn with<R>(pipe: &Shared, change: impl FnOnce(&mut Pipe) -> R) -> R {
    let (result, wakers) = {
        let mut pipe = pipe.lock().unwrap();
        let result = change(&mut pipe);
        (result, pipe.wake())
    };
    wakers.into_iter().for_each(Waker::wake);
    result
}

/// The server's end of a connection.
pub(super) struct ServerEnd {
    from_client: Shared,
    to_client: Shared,
    dropped: Arc<Mutex<bool>>,
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        *self.dropped.lock().unwrap() = true;
        with(&self.to_client, |pipe| pipe.ended = true);
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.from_client.lock().unwrap();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = buffer.len().min(pipe.bytes.len());
        for (place, byte) in buffer.iter_mut().zip(pipe.bytes.drain(..length)) {
            *place = byte;
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.to_client.lock().unwrap();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        assert!(!pipe.ended, "the server writes after it closed");
        let length = bytes.len().min(pipe.capacity - pipe.bytes.len());
        if length == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&bytes[..length]);
        pipe.writes += 1;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        with(&self.to_client, |pipe| pipe.ended = true);
        Poll::Ready(Ok(()))
    }
}

/// The client's end, for a test to hold.
pub(super) struct Client {
    to_server: Shared,
    from_server: Shared,
    dropped: Arc<Mutex<bool>>,
}

impl Client {
    pub(super) fn send(&self, bytes: impl AsRef<[u8]>) {
        with(&self.to_server, |pipe| pipe.bytes.extend(bytes.as_ref()));
    }

    /// No more requests.
    pub(super) fn close_write(&self) {
        with(&self.to_server, |pipe| pipe.ended = true);
    }

    /// RST: both directions are gone.
    pub(super) fn reset(&self) {
        with(&self.to_server, |pipe| pipe.broken = true);
        with(&self.from_server, |pipe| pipe.broken = true);
    }

    /// Takes what arrived, at most `bytes_max` bytes.
    pub(super) fn take(&self, bytes_max: usize) -> Vec<u8> {
        with(&self.from_server, |pipe| {
            let length = pipe.bytes.len().min(bytes_max);
            pipe.bytes.drain(..length).collect()
        })
    }

    /// Takes all that arrived.
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.take(usize::MAX)).unwrap()
    }

    /// The server's write half is closed.
    pub(super) fn saw_end(&self) -> bool {
        self.from_server.lock().unwrap().ended
    }

    /// The server let go of the connection.
    pub(super) fn is_closed(&self) -> bool {
        *self.dropped.lock().unwrap()
    }

    /// Bytes that the server has not read.
    pub(super) fn unread(&self) -> usize {
        self.to_server.lock().unwrap().bytes.len()
    }

    /// Writes the server made.
    pub(super) fn writes(&self) -> usize {
        self.from_server.lock().unwrap().writes
    }

    /// How much the server may write before the client takes some.
    pub(super) fn set_capacity(&self, bytes: usize) {
        with(&self.from_server, |pipe| pipe.capacity = bytes);
    }
}

fn pair() -> (Client, ServerEnd) {
    let pipe = || Arc::new(Mutex::new(Pipe { capacity: usize::MAX / 2, ..Pipe::default() }));
    let (up, down, dropped) = (pipe(), pipe(), Arc::default());
    let client = Client { to_server: up.clone(), from_server: down.clone(), dropped: Arc::clone(&dropped) };
    (client, ServerEnd { from_client: up, to_client: down, dropped })
}

/// A listener whose backlog a test fills.
#[derive(Clone, Default)]
pub(super) struct FakeListener(Arc<Mutex<Backlog>>);

#[derive(Default)]
struct Backlog {
    waiting: VecDeque<io::Result<ServerEnd>>,
    waker: Option<Waker>,
    /// It can tell handshakes under way from new connections.
    has_handshakes: bool,
    accepts: usize,
    closed: bool,
}

impl FakeListener {
    fn push(&self, connection: io::Result<ServerEnd>) {
        let mut backlog = self.0.lock().unwrap();
        backlog.waiting.push_back(connection);
        let waker = backlog.waker.take();
        drop(backlog);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn connect(&self) -> Client {
        let (client, connection) = pair();
        self.push(Ok(connection));
        client
    }

    /// The next accept fails.
    pub(super) fn fail(&self, errno: i32) {
        self.push(Err(io::Error::from_raw_os_error(errno)));
    }

    /// From now on it can tell handshakes under way from new connections.
    pub(super) fn has_handshakes(&self) {
        self.0.lock().unwrap().has_handshakes = true;
    }

    /// Calls of accept that had an outcome.
    pub(super) fn accepts(&self) -> usize {
        self.0.lock().unwrap().accepts
    }

    /// The server gave the listener up.
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().unwrap().closed
    }
}

/// The server's hold on a [`FakeListener`].
struct Held(FakeListener);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().closed = true;
    }
}

impl Listener for Held {
    type Stream = ServerEnd;

    async fn accept(&self) -> io::Result<(ServerEnd, Peer)> {
        future::poll_fn(|cx| {
            let mut backlog = self.0.0.lock().unwrap();
            match backlog.waiting.pop_front() {
                Some(connection) => {
                    backlog.accepts += 1;
                    Poll::Ready(connection.map(|connection| (connection, Peer::default())))
                }
                None => {
                    backlog.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn is_awaited(&self) -> bool {
        !self.0.0.lock().unwrap().waiting.is_empty()
    }

    fn begin_no_more(&self) -> bool {
        self.0.0.lock().unwrap().has_handshakes
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// Options for tests: round numbers that differ from each other.
pub(super) fn options() -> ServerOptions {
    ServerOptions {
        limits: Limits { body_bytes_max: 1000, ..Limits::default() },
        max_connections: 100,
        backlog: 16,
        buffered_bytes_max: 1 << 30,
        linger_bytes_max: 1 << 30,
        queue_timeout: Duration::from_secs(30),
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(20),
        min_body_rate: 0,
        request_timeout: Duration::from_secs(3600),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(15),
        response_timeout: Duration::from_secs(7200),
        drain_timeout: Duration::from_secs(60),
        access_log: false,
        server_header: false,
        debug: false,
        request_id_prefix: "t".to_owned(),
    }
}

/// A server on a fake listener, with one worker that the test steps.
pub(super) struct World {
    pub(super) app: Arc<App>,
    pub(super) clock: FakeClock,
    pub(super) listener: FakeListener,
    pub(super) worker: Worker<Task>,
    /// Tasks whose handlers run until the drain gives them up.
    pub(super) running: Arc<Mutex<Vec<Task>>>,
    executor: Arc<Executor>,
    signals: smol::channel::Sender<Signal>,
    report: smol::Task<DrainReport>,
}

impl World {
    pub(super) fn new() -> World {
        World::with(options(), 4)
    }

    /// A world whose one worker has room for `lane_depth` waiting tasks, and no overflow.
    pub(super) fn with(options: ServerOptions, lane_depth: usize) -> World {
        let sizes = PoolOptions { workers: 1, lane_depth, overflow_depth: 0, placement: Placement::RoundRobin };
        let pool = Pool::with_stale(sizes, |task: &Task| task.reply.is_caller_gone());
        let worker = pool.worker(0);
        let app = Arc::new(App::new(Arc::new(router()), pool, options));
        let (clock, listener) = (FakeClock::default(), FakeListener::default());
        let executor = Arc::new(Executor::new());
        let (signals, stream) = smol::channel::unbounded();
        let spawn = executor.clone();
        let running = Arc::<Mutex<Vec<Task>>>::default();
        let give_up = {
            let running = running.clone();
            move || {
                let lost = |task: &Task| task.reply.send(Failure::WorkerLost.response("stopped")).is_ok();
                running.lock().unwrap().drain(..).filter(lost).count()
            }
        };
        let server = run(app.clone(), vec![Held(listener.clone())], stream, give_up, clock.clone(), spawn);
        let report = executor.spawn_for(server);
        let world = World { app, clock, listener, worker, running, executor, signals, report };
        world.settle();
        world
    }

    /// Runs all tasks until none has anything to do.
    pub(super) fn settle(&self) {
        let mut steps = 0;
        while self.executor.try_tick() {
            steps += 1;
            assert!(steps < 100_000, "a task keeps waking itself");
        }
    }

    /// Runs one task once. False when none has anything to do.
    pub(super) fn tick(&self) -> bool {
        self.executor.try_tick()
    }

    pub(super) fn connect(&self) -> Client {
        let client = self.listener.connect();
        self.settle();
        client
    }

    /// A new connection that has sent `bytes`.
    pub(super) fn client(&self, bytes: impl AsRef<[u8]>) -> Client {
        let client = self.connect();
        self.send(&client, bytes);
        client
    }

    pub(super) fn send(&self, client: &Client, bytes: impl AsRef<[u8]>) {
        client.send(bytes);
        self.settle();
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.settle();
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.signals.try_send(signal).unwrap();
        self.settle();
    }

    /// The report, once the server has ended.
    pub(super) fn report(self) -> DrainReport {
        self.settle();
        assert!(self.report.is_finished(), "the server still runs: {:?}", self.app.stats());
        future::block_on(self.report)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.report.is_finished()
    }

    /// The next task that the worker would run; it is started, as a worker does.
    pub(super) fn task(&mut self) -> Option<Task> {
        loop {
            match self.worker.step() {
                Step::Run(task) if task.reply.start() => return Some(task),
                Step::Run(_) => {}
                Step::Park | Step::Exit => return None,
            }
        }
    }

    /// Answers the next task with its own path and body.
    pub(super) fn work(&mut self) {
        let task = self.task().expect("no task waits");
        let body = [task.request.head.path().as_bytes(), b" ", &task.request.body].concat();
        let _ = task.reply.send(ok(body));
        self.settle();
    }

    /// The equations of the counters.
    pub(super) fn check_balance(&self) {
        let stats = self.app.stats();
        assert_eq!(stats.connections_accepted, stats.connections_active + stats.connections_closed, "{stats:?}");
        let ends = stats.requests_in_flight + stats.requests_answered + stats.requests_dropped;
        assert_eq!(stats.requests_received, ends, "{stats:?}");
    }
}

pub(super) fn ok(body: impl Into<Vec<u8>>) -> Response {
    let headers = vec![("content-type".into(), (&b"text/plain"[..]).into())];
    Response { status: 200, headers, body: body.into(), close: false }
}

fn router() -> Router {
    let spec = |method: &str, pattern: &str| RouteSpec {
        method: method.to_owned(),
        pattern: pattern.to_owned(),
        module: "app".to_owned(),
        qualname: "handler".to_owned(),
        origin: format!("app.py:{}", pattern.len()),
        timeout_ms: None,
        queue_timeout_ms: pattern.starts_with("/hurried").then_some(500),
        unreachable: None,
    };
    let routes = [("GET", "/{name}"), ("POST", "/{name}"), ("GET", "/hurried/{name}")];
    match Router::build(routes.map(|(method, pattern)| spec(method, pattern)).into()) {
        Ok(router) => router,
        Err(errors) => panic!("the test routes do not build: {} errors", errors.len()),
    }
}

/// Bytes of the task of a connection, without its buffers.
pub(super) fn driver_size() -> usize {
    let world = World::new();
    let server = Arc::new(Server::new(world.app.clone(), world.clock.clone()));
    let (_client, connection) = pair();
    let driver = Driver::new(connection, Peer::default(), server.clone(), Admission::new(server));
    size_of_val(&driver.run())
}
