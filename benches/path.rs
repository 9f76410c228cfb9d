//! What each station of a request's way costs by itself, and all of them together without sockets and without Python.
//!
//!     cargo bench --bench path                # times, and how often memory was allocated
//!     cargo bench --bench path -- whole       # only what is named so
//!
//! `protocol` is bytes to request and response to bytes, `route` path to handler, `dispatch` a task into a lane and out of it, `reply`
//! a slot there and back. `whole` is the server that ships, from the bytes that a connection reads to the bytes that it writes, with a
//! worker on the same thread that gives one response to everything: a connection in memory, the executor, the machine's clock. What a
//! call into Python and the conversion of its value add is measured by benches/dispatch_cost.py, the queues between threads by
//! benches/dispatch.rs.
//! Of the allocations of `protocol` two for each request are the response's own, its fields and its content; in `whole` they are made in the
//! memory of the answer before.

#[path = "../tests/common/world.rs"]
mod world;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use futures_lite::future;
use polygil::dispatch::{Placement, Pool, PoolOptions, Step};
use polygil::http::{Connection, Event, Limits, Response};
use polygil::router::{Found, RouteSpec, Router};
use polygil::task::{Answer, answer_slot};

use self::world::World;

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
            connection.send(&response(), DATE, &mut out).expect("a valid response")
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
        matches!(future::block_on(receiver), Ok(Answer::Whole(..)))
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
    let mut world = World::new(router());
    let requests = SMALL.repeat(at_once);
    let expected = at_once * world.answer_length(SMALL);
    bencher.counter(ItemsCount::new(at_once)).bench_local(|| assert_eq!(world.exchange(&requests), expected));
}

/// The same for what a browser sends, to a route with a parameter.
#[divan::bench(sample_size = 100)]
fn whole_browser(bencher: Bencher<'_, '_>) {
    let mut world = World::new(router());
    let expected = world.answer_length(BROWSER);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| assert_eq!(world.exchange(BROWSER), expected));
}
