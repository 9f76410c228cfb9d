//! What each station of a request's way costs by itself, and all of them together without sockets and without Python.
//!
//!     cargo bench --bench path                # times, and how often memory was allocated
//!     cargo bench --bench path -- whole       # only what is named so
//!
//! `protocol` is bytes to request and response to bytes, `route` path to handler, `dispatch` a task into a lane and out of it, `reply`
//! a slot there and back. `whole` is the server that ships, from the bytes that a connection reads to the bytes that it writes, with a
//! worker on the same thread that gives one response to everything: a connection in memory, smol's executor, the machine's clock. What a
//! call into Python and the conversion of its value add is measured by benches/dispatch_cost.py, the queues between threads by
//! benches/dispatch.rs.
//! Of the allocations of `protocol` and `whole`, two for each request are the response's own: its fields and its content.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use futures_lite::{AsyncRead, AsyncWrite, future};
use polygil::config::Config;
use polygil::dispatch::{Placement, Pool, PoolOptions, Step, Worker};
use polygil::http::{Connection, Event, Limits, Response};
use polygil::router::{Found, RouteSpec, Router};
use polygil::server::env::{Listener, Peer, SmolSpawn, SystemClock};
use polygil::server::{App, ServerOptions, Signal, run};
use polygil::task::{Answer, Task, answer_slot};
use smol::Executor;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const SMALL: &str = "GET /json HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
/// What a browser sends.
const BROWSER: &str = "GET /users/42?verbose=true HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn main() {
    divan::main();
}

fn response() -> Response {
    let headers = vec![("content-type".into(), (&b"application/json"[..]).into())];
    Response { status: 200, headers, body: br#"{"hello":"world"}"#.to_vec(), close: false }
}

fn router() -> Router {
    let spec = |number: usize, pattern: String| RouteSpec {
        method: "GET".into(),
        pattern,
        module: "app".into(),
        qualname: format!("handler{number}"),
        origin: format!("app.py:{number}"),
        ..RouteSpec::default()
    };
    let fixed = ["/json", "/users/{id}", "/users/{id}/posts/{post}", "/files/{rest:path}"].map(String::from);
    let many = (0..96).map(|number| format!("/section{number}/page"));
    let specs = fixed.into_iter().chain(many).enumerate().map(|(number, pattern)| spec(number, pattern));
    Router::build(specs.collect()).unwrap_or_else(|errors| panic!("{} routes do not build", errors.len()))
}

/// Bytes in, a whole request out, its response back into bytes: one connection for all, as with keep-alive.
mod protocol {
    use super::*;

    fn bench(bencher: Bencher<'_, '_>, request: &str) {
        let mut connection = Connection::new(Limits::default());
        let mut out = Vec::new();
        bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
            connection.receive(request.as_bytes());
            loop {
                match connection.next_event() {
                    Ok(Event::End) => break,
                    Ok(Event::Head(head)) => drop(black_box(head)),
                    other => panic!("{other:?}"),
                }
            }
            out.clear();
            connection.send(response(), DATE, &mut out).expect("a valid response")
        });
    }

    #[divan::bench]
    fn small(bencher: Bencher<'_, '_>) {
        bench(bencher, SMALL);
    }

    #[divan::bench]
    fn browser(bencher: Bencher<'_, '_>) {
        bench(bencher, BROWSER);
    }
}

/// The path to the handler, among a hundred routes.
#[divan::bench(args = ["/json", "/users/42", "/users/42/posts/7", "/files/a/b/c", "/section95/page", "/nope"])]
fn route(bencher: Bencher<'_, '_>, path: &str) {
    let router = router();
    bencher.bench_local(|| !matches!(black_box(router.find("GET", black_box(path))), Found::BadPath(_)));
}

/// The slot of an answer, there and back.
#[divan::bench]
fn reply(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let (sender, mut receiver) = answer_slot();
        assert!(future::block_on(future::poll_once(&mut receiver)).is_none());
        assert!(sender.start());
        assert!(sender.send(response()).is_ok());
        matches!(future::block_on(receiver), Ok(Answer::Whole(_)))
    });
}

/// A task into a lane and out of it, on one thread.
#[divan::bench(args = [Placement::RoundRobin, Placement::LeastLoaded, Placement::IdleFirst])]
fn dispatch(bencher: Bencher<'_, '_>, placement: Placement) {
    let pool = Pool::new(PoolOptions { workers: 1, lane_depth: 64, overflow_depth: 512, placement });
    let mut worker = pool.worker(0);
    bencher.bench_local(|| {
        pool.submit(black_box(7_u64)).expect("room");
        matches!(black_box(worker.step()), Step::Run(7))
    });
}

/// The whole way, for as many requests at once on one connection as the argument says.
#[divan::bench(args = [1, 16], sample_size = 100)]
fn whole(bencher: Bencher<'_, '_>, at_once: usize) {
    let mut world = World::new();
    let requests = SMALL.repeat(at_once);
    let expected = at_once * world.answer_length(SMALL);
    bencher.counter(ItemsCount::new(at_once)).bench_local(|| assert_eq!(world.exchange(&requests), expected));
}

/// The same for what a browser sends, to a route with a parameter.
#[divan::bench(sample_size = 100)]
fn whole_browser(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    let expected = world.answer_length(BROWSER);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| assert_eq!(world.exchange(BROWSER), expected));
}

/// Both directions of the one connection.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    /// How much the server has written; what it wrote is nobody's business here.
    written: usize,
    reader: Option<Waker>,
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl Stream {
    fn wire(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        if wire.to_server.is_empty() {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut wire.to_server, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A listener to which one client has connected, and nobody else will.
struct One(Mutex<Option<Stream>>);

impl Listener for One {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        let waiting = self.0.lock().expect("nobody panics with it").take();
        match waiting {
            Some(stream) => Ok((stream, Peer::default())),
            None => future::pending().await,
        }
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// The server, its one connection and its one worker, all on this thread.
struct World {
    executor: Arc<Executor<'static>>,
    stream: Stream,
    worker: Worker<Task>,
    _signals: smol::channel::Sender<Signal>,
}

impl World {
    fn new() -> World {
        let sizes = PoolOptions { workers: 1, lane_depth: 64, overflow_depth: 512, placement: Placement::IdleFirst };
        let pool = Pool::with_stale(sizes, |task: &Task| task.reply.is_caller_gone());
        let worker = pool.worker(0);
        let app = Arc::new(App::new(Arc::new(router()), pool, ServerOptions::new(&Config::default(), "bench")));
        let executor = Arc::new(Executor::new());
        let (signals, stream_of_signals) = smol::channel::unbounded();
        let stream = Stream::default();
        let listener = One(Mutex::new(Some(stream.clone())));
        let spawn = SmolSpawn(executor.clone());
        let server = run(app, vec![listener], stream_of_signals, || 0, SystemClock::new(), spawn);
        executor.spawn(server).detach();
        World { executor, stream, worker, _signals: signals }
    }

    /// Sends the requests, and lets everybody do what there is to do. How many bytes came back.
    fn exchange(&mut self, requests: &str) -> usize {
        let reader = {
            let mut wire = self.stream.wire();
            wire.to_server.extend(requests.as_bytes());
            wire.written = 0;
            wire.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        loop {
            while self.executor.try_tick() {}
            match self.worker.step() {
                Step::Run(task) => {
                    assert!(task.reply.start());
                    assert!(task.reply.send(response()).is_ok());
                }
                Step::Park | Step::Exit => return self.stream.wire().written,
            }
        }
    }

    fn answer_length(&mut self, request: &str) -> usize {
        let length = self.exchange(request);
        assert!(length > 100, "an answer to {request}");
        length
    }
}
