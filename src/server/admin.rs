//! The admin address: what machines ask about the server, away from where its clients are.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 as long as the process answers at all |
//! | `/readyz` | 200 when the server accepts and serves; 503 while it starts, drains, stalls, or has failed |
//! | `/metrics` | the counters and gauges, for Prometheus |
//! | `/stats` | the same as one JSON object, and what each worker runs |
//!
//! It is polygil serving itself: the same protocol, limits and timeouts, with routes of its own and one worker that is no
//! interpreter. It has two threads to itself, so that it answers when every I/O thread and every interpreter is busy, and it is
//! there from before the first worker starts until after the last has ended. There is no authentication: bind it where only
//! those who may know can reach it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, iter};

use smol::channel;
use tracing::Instrument;

use super::overview::Health;
use super::vital::TURN_MAX;
use super::{App, ServerOptions, Signal, SmolListener, env, metrics};
use crate::config::Config;
use crate::dispatch::{Placement, Pool, PoolOptions, Step};
use crate::http::Response;
use crate::io::executor::Executor;
use crate::planted::{panic_here, passing};
use crate::router::{RouteId, RouteSpec, Router};
use crate::task::Task;

type Page = fn(&App) -> Response;

/// Paths and what answers them, in the order of their routes.
const PAGES: [(&str, Page); 4] =
    [("/livez", livez), ("/readyz", readyz), ("/metrics", metrics_page), ("/stats", stats)];

/// Connections at a time: some probes and scrapers, and room for those that hang.
const CONNECTIONS_MAX: usize = 64;

/// How long a probe may take for its request, or for reading its answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running admin address. It ends when this is dropped.
pub struct Admin {
    signals: channel::Sender<Signal>,
    pool: Arc<Pool<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Admin {
    /// Answers on `listeners` for `app`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(app: Arc<App>, listeners: Vec<SmolListener>) -> io::Result<Admin> {
        let depth = CONNECTIONS_MAX;
        let options =
            PoolOptions { workers: 1, lane_depth: depth, overflow_depth: 0, placement: Placement::RoundRobin };
        let pool = Pool::new(options);
        let (signals, inbox) = channel::bounded(1);
        let own = Arc::new(App::new(Arc::new(router()), Arc::clone(&pool), own_options(&app.options)));
        let (worker_pool, served) = (Arc::clone(&pool), Arc::clone(&app));
        let mut admin = Admin { signals, pool, threads: Vec::new() };
        let worker = thread::Builder::new().name("polygil-admin".into());
        let answer = move || {
            served.guard("the admin address", || answer_all(&worker_pool, &served));
        };
        admin.threads.push(worker.spawn(answer)?);
        let io = thread::Builder::new().name("polygil-admin-io".into());
        let served = io.spawn(move || {
            let executor = Arc::new(Executor::new());
            let spawn = Arc::clone(&executor);
            let run = super::run(own, listeners, inbox, || 0, env::SystemClock::new(), spawn);
            let run = passing("admin-io", run.instrument(tracing::debug_span!("admin")));
            app.guard("the I/O of the admin address", || async_io::block_on(executor.run(run)));
        });
        admin.threads.push(served?);
        Ok(admin)
    }
}

/// Ends it at once: whoever asks now learns what a closed port says.
impl Drop for Admin {
    fn drop(&mut self) {
        // Full or closed: it has ended already.
        let _ = self.signals.try_send(Signal::QUIT);
        self.pool.close();
        for thread in self.threads.drain(..) {
            // A panic of either thread was told by the panic hook; the server's own end goes on.
            drop(thread.join());
        }
    }
}

fn own_options(of_server: &ServerOptions) -> ServerOptions {
    ServerOptions {
        max_connections: CONNECTIONS_MAX,
        queue_timeout: CLIENT_TIMEOUT,
        head_timeout: CLIENT_TIMEOUT,
        body_timeout: CLIENT_TIMEOUT,
        request_timeout: CLIENT_TIMEOUT,
        write_timeout: CLIENT_TIMEOUT,
        drain_timeout: Duration::ZERO,
        access_log: false,
        request_id_prefix: format!("{}-admin", of_server.request_id_prefix),
        ..ServerOptions::new(&Config::default(), "")
    }
}

fn router() -> Router {
    let specs = PAGES.iter().map(|(path, _)| RouteSpec {
        method: "GET".into(),
        pattern: (*path).into(),
        module: "polygil".into(),
        qualname: "admin".into(),
        origin: "polygil".into(),
        ..RouteSpec::default()
    });
    Router::build(specs.collect()).expect("the table above is a valid one")
}

/// The worker: one page after the other.
fn answer_all(pool: &Arc<Pool<Task>>, app: &App) {
    let mut worker = pool.worker(0);
    loop {
        match worker.step() {
            Step::Run(task) if task.reply.start() => {
                panic_here("admin");
                drop(task.reply.send(answer(app, task.route)));
            }
            Step::Run(_) => worker.expired(),
            Step::Park => worker.park(),
            Step::Exit => return,
        }
    }
}

fn answer(app: &App, route: RouteId) -> Response {
    let (_, page) = PAGES[route.0 as usize];
    let mut response = page(app);
    response.headers.extend(iter::once(("cache-control".into(), (&b"no-store"[..]).into())));
    response
}

fn livez(_: &App) -> Response {
    page(200, "text/plain; charset=utf-8", "alive\n".into())
}

fn readyz(app: &App) -> Response {
    let (health, reason) = app.health_within(TURN_MAX);
    let status = if health == Health::Ready { 200 } else { 503 };
    let text = match reason {
        Some(reason) => format!("{}: {reason}\n", health.name()),
        None => format!("{}\n", health.name()),
    };
    page(status, "text/plain; charset=utf-8", text)
}

fn metrics_page(app: &App) -> Response {
    page(200, metrics::CONTENT_TYPE, metrics::text(app.overview_with(app.health_within(TURN_MAX))))
}

fn stats(app: &App) -> Response {
    let text =
        serde_json::to_string(&app.overview_with(app.health_within(TURN_MAX))).expect("counters always serialize");
    page(200, "application/json", text)
}

fn page(status: u16, media_type: &'static str, text: String) -> Response {
    let headers = vec![("content-type".into(), media_type.as_bytes().into())];
    Response { status, headers, body: text.into_bytes(), close: false }
}
