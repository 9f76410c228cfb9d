//! Server after server on one port, under load all the time: is any request lost, is any handled twice?

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::LocalExecutor;

use crate::common::{Server, apps};
use crate::load::{Connection, percentile};

const CLIENTS: usize = 16;

/// What the clients share.
#[derive(Default)]
struct Shared {
    stop: Cell<bool>,
    next: Cell<u64>,
    answered: Cell<u64>,
    /// Requests that were sent or tried and got no answer, and why.
    lost: RefCell<Vec<String>>,
    reconnects: Cell<u64>,
}

/// `rounds` takeovers: the successor is ready, then its predecessor gets SIGTERM.
pub fn run(rounds: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let handled = directory.path().join("handled");
    let path = handled.to_str().expect("UTF-8").to_owned();
    let begun = Instant::now();
    let shared = Rc::new(Shared::default());
    let mut drains = Vec::new();
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let mut current = start(0, path.clone()).await;
        let port = current.port;
        let clients = (0..CLIENTS).map(|_| executor.spawn(client(port, Rc::clone(&shared))));
        let clients: Vec<_> = clients.collect();
        for round in 0..rounds {
            let before = shared.answered.get();
            let successor = start(port, path.clone()).await;
            while shared.answered.get() < before + 100 {
                smol::future::yield_now().await;
            }
            let (status, log, took) = stop(std::mem::replace(&mut current, successor)).await;
            assert_eq!(status.code(), Some(0), "round {round}: {log}");
            drains.push(took);
        }
        shared.stop.set(true);
        for client in clients {
            client.await;
        }
        let (status, log, _) = stop(current).await;
        assert_eq!(status.code(), Some(0), "{log}");
    }));
    let mut times = BTreeMap::<u64, u64>::new();
    for line in std::fs::read_to_string(&handled).expect("handlers wrote it").lines() {
        *times.entry(line.parse().expect("a number")).or_insert(0) += 1;
    }
    let twice = times.values().filter(|count| **count > 1).count();
    let lost = shared.lost.borrow();
    let sent = shared.next.get();
    println!(
        "{rounds} takeovers in {:.0} s, {CLIENTS} clients that never pause: {sent} requests, {} answered, {} lost, \
         {} handled and not answered, {twice} handled twice, {} reconnects",
        begun.elapsed().as_secs_f64(),
        shared.answered.get(),
        lost.len(),
        times.len() as u64 - shared.answered.get(),
        shared.reconnects.get(),
    );
    println!(
        "a drain took {:?} (median), {:?} (longest), from SIGTERM to the end of the process",
        percentile(&mut drains, 0.5),
        percentile(&mut drains, 1.0)
    );
    assert!(lost.is_empty(), "lost: {:#?}", &lost[..lost.len().min(10)]);
    assert_eq!(twice, 0, "none is handled twice");
    assert_eq!(shared.answered.get(), sent, "each is answered");
    assert_eq!(times.len() as u64, sent, "each is handled");
}

/// One request after the other, each with a number that no other has, on a connection that is kept as long as the server does.
async fn client(port: u16, shared: Rc<Shared>) {
    let mut connection = None;
    while !shared.stop.get() {
        let number = shared.next.get();
        shared.next.set(number + 1);
        let answer = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => {
                    shared.reconnects.set(shared.reconnects.get() + 1);
                    Connection::open(port).await?
                }
            };
            let answer = open.get(&format!("/mark/{number}")).await?;
            if !answer.closes() {
                connection = Some(open);
            }
            std::io::Result::Ok(answer)
        };
        match answer.await {
            Ok(answer) if answer.status == 200 && answer.body == number.to_string().as_bytes() => {
                shared.answered.set(shared.answered.get() + 1);
            }
            Ok(answer) => shared.lost.borrow_mut().push(format!("{number}: {}", answer.head)),
            Err(error) => shared.lost.borrow_mut().push(format!("{number}: {error}")),
        }
    }
}

async fn start(port: u16, handled: String) -> Server {
    smol::unblock(move || {
        let port = port.to_string();
        let options = ["--reuse-port", "--port", &port, "--workers", "2"];
        Server::start_with(&apps(), "load:app", &options, &[("HANDLED", &handled)])
    })
    .await
}

async fn stop(server: Server) -> (std::process::ExitStatus, String, Duration) {
    smol::unblock(move || {
        let begun = Instant::now();
        let (status, log) = server.stop();
        (status, log, begun.elapsed())
    })
    .await
}
