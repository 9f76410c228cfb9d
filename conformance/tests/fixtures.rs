//! Two servers that know nothing, and no case that either of them passes: one answers 200 to everything, one closes every connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use polygil_conformance::exec::{Context, needs_server, run_case};
use polygil_conformance::server::{Launcher, Server, Source};
use polygil_conformance::suite::{Loaded, Suite};
use polygil_conformance::verdict::Verdict;

/// Answers 200 to every head, in order, and never closes; what looks like a head is one, content or not.
fn says_200(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..length]);
        // One answer for each piece that could end something: it never waits for more.
        seen.clear();
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").is_err() {
            return;
        }
    }
}

/// Closes at once, without a word.
fn closes(stream: TcpStream) {
    drop(stream);
}

fn serve(behaviour: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || behaviour(stream));
        }
    });
    address
}

/// The cases that this server passes, of all that run against a server at an address.
fn passed(address: SocketAddr, liveness: bool) -> BTreeMap<String, Verdict> {
    let suite = Suite::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let launcher = Launcher { source: Source::Address(address), root: suite.root.clone(), apps: None };
    let context = Context { suite: &suite, launcher: &launcher, liveness, patience: Duration::from_millis(300) };
    let cases: Vec<&Loaded> = suite.cases.iter().filter(|case| needs_server(case)).collect();
    assert!(cases.len() >= 400, "{}", cases.len());
    let pieces: Vec<_> = cases.chunks(cases.len().div_ceil(32)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = pieces
            .into_iter()
            .map(|cases| {
                scope.spawn(move || {
                    let results = cases
                        .iter()
                        .map(|case| run_case(context, case, &mut Server { address, process: None, folder: None }));
                    results.filter(|result| result.verdict.passes()).map(|result| (result.id, result.verdict)).collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                let some: Vec<_> = thread.join().expect("no panic");
                some
            })
            .collect()
    })
}

#[test]
fn no_case_passes_against_a_server_that_answers_200_to_everything() {
    // Without the new connection behind each case: what fails here fails by what the case itself expects.
    assert_eq!(passed(serve(says_200), false), BTreeMap::new());
}

#[test]
fn no_case_passes_against_a_server_that_closes_every_connection() {
    assert_eq!(passed(serve(closes), true), BTreeMap::new());
}

#[test]
fn no_case_passes_against_a_port_where_nobody_listens() {
    let address = SocketAddr::from(([127, 0, 0, 1], polygil_conformance::server::free_port()));
    assert_eq!(passed(address, false), BTreeMap::new());
}
