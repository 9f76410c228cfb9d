//! The server that ships, one connection in memory, and a worker on the same thread that gives one answer to everything: the whole way
//! of a request, without sockets and without Python. For measuring what it costs.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite, future};
use polygil::config::Config;
use polygil::dispatch::{Placement, Pool, PoolOptions, Step, Worker};
use polygil::http::Response;
use polygil::io::executor::Executor;
use polygil::router::Router;
use polygil::server::env::{Listener, Peer, SystemClock};
use polygil::server::{App, ServerOptions, Signal, run};
use polygil::task::Task;

/// What the worker answers, made as workers make it: in the memory that the task brings.
fn answer(mut spare: Response) -> Response {
    spare.headers.push(("content-type".into(), (&b"application/json"[..]).into()));
    spare.body.extend_from_slice(br#"{"hello":"world"}"#);
    spare
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

    fn is_awaited(&self) -> bool {
        self.0.lock().expect("nobody panics with it").is_some()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// The server, its one connection and its one worker, all on this thread.
pub struct World {
    executor: Arc<Executor>,
    stream: Stream,
    worker: Worker<Task>,
    _signals: smol::channel::Sender<Signal>,
}

impl World {
    pub fn new(router: Router) -> World {
        let sizes = PoolOptions { workers: 1, lane_depth: 64, overflow_depth: 512, placement: Placement::IdleFirst };
        let pool = Pool::with_stale(sizes, |task: &Task| task.reply.is_caller_gone());
        let worker = pool.worker(0);
        let app = Arc::new(App::new(Arc::new(router), pool, ServerOptions::new(&Config::default(), "bench")));
        let executor = Arc::new(Executor::new());
        let (signals, stream_of_signals) = smol::channel::unbounded();
        let stream = Stream::default();
        let listener = One(Mutex::new(Some(stream.clone())));
        let spawn = executor.clone();
        let server = run(app, vec![listener], stream_of_signals, || 0, SystemClock::new(), spawn);
        executor.spawn_for(server).detach();
        World { executor, stream, worker, _signals: signals }
    }

    /// Sends the requests, and lets everybody do what there is to do. How many bytes came back.
    pub fn exchange(&mut self, requests: &str) -> usize {
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
                Step::Run(mut task) => {
                    assert!(task.reply.start());
                    let response = answer(std::mem::replace(&mut task.spare, Response::empty()));
                    assert!(task.finish(response).is_ok());
                }
                Step::Park | Step::Exit => return self.stream.wire().written,
            }
        }
    }

    pub fn answer_length(&mut self, request: &str) -> usize {
        let length = self.exchange(request);
        assert!(length > 100, "an answer to {request}");
        length
    }
}
