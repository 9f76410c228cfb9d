//! Memory stays flat: a million requests, and what an interpreter costs.

mod common;

use common::{Server, request, root};

/// Sends `count` requests over `connections` connections in pipelined batches and checks every status.
fn load(server: &Server, connections: usize, count: usize, kinds: &[(&str, u16)]) {
    const BATCH: usize = 20;
    std::thread::scope(|scope| {
        for connection in 0..connections {
            scope.spawn(move || {
                let mut client = server.connect();
                let mut left = count / connections;
                let mut next = connection;
                while left > 0 {
                    let batch: Vec<_> = (next..next + BATCH.min(left)).map(|n| kinds[n % kinds.len()]).collect();
                    let bytes: Vec<u8> =
                        batch.iter().flat_map(|(target, _)| request("GET", target, &[], b"")).collect();
                    client.send(&bytes);
                    for (target, status) in &batch {
                        assert_eq!(client.answer("GET").status, *status, "{target}");
                    }
                    next += batch.len();
                    left -= batch.len();
                }
            });
        }
    });
}

#[test]
fn a_million_requests_leave_resident_memory_where_it_was() {
    let server = Server::start("memory:app", &["--log-level", "off"]);
    let kinds = [("/", 200), ("/users/7?verbose=true", 200), ("/raise", 500), ("/users/abc", 422)];
    load(&server, 8, 100_000, &kinds);
    let before = server.resident_kib();
    load(&server, 8, 900_000, &kinds);
    let after = server.resident_kib();
    println!("resident after 100,000 requests: {before} KiB, after 1,000,000: {after} KiB");
    assert!(after < before + 1024, "resident memory grew from {before} to {after} KiB");
}

#[test]
fn twelve_workers_of_hello_fit_into_eighty_mebibytes_and_two_into_forty() {
    for (workers, mebibytes_max) in [("2", 40), ("12", 80)] {
        let server = Server::start_in(&root().join("examples"), "hello:app", &["--workers", workers]);
        load(&server, 8, 2_000, &[("/", 200)]);
        let resident = server.resident_kib();
        println!("resident with {workers} workers: {resident} KiB");
        assert!(resident <= mebibytes_max * 1024, "{workers} workers take {resident} KiB");
    }
}

#[test]
fn an_interpreter_of_hello_costs_at_most_five_mebibytes() {
    let resident = |workers: &str| {
        let server = Server::start_in(&root().join("examples"), "hello:app", &["--workers", workers]);
        load(&server, 8, 2_000, &[("/", 200)]);
        server.resident_kib()
    };
    let (one, nine) = (resident("1"), resident("9"));
    let each = nine.saturating_sub(one) / 8;
    println!("resident with 1 worker: {one} KiB, with 9: {nine} KiB, so {each} KiB for each");
    assert!(each <= 5 * 1024, "an interpreter costs {each} KiB");
}
