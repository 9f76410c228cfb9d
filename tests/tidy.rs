//! The rules of the house that a machine can check.

use std::path::{Path, PathBuf};

/// Every file below `directory` with this ending.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("UTF-8")
}

/// `(file, line)` of each line of code (not a comment) for which `bad` holds.
fn offences(paths: &[PathBuf], bad: impl Fn(&str) -> bool) -> Vec<String> {
    let mut offences = Vec::new();
    for path in paths {
        for (number, line) in read(path).lines().enumerate() {
            if !line.trim_start().starts_with("//") && bad(line) {
                offences.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    offences
}

#[test]
fn what_is_pure_stays_pure() {
    let pure = [files("src/http", "rs"), files("src/dispatch", "rs"), vec![PathBuf::from("src/router.rs")]].concat();
    let above = ["crate::server", "crate::python", "crate::io", "crate::config", "crate::cli", "crate::logging"];
    let upwards = offences(&pure, |line| above.iter().any(|module| line.contains(module)));
    assert_eq!(upwards, Vec::<String>::new(), "http, router and dispatch know nothing of what stands on them");

    // Who does the I/O is asked by both sides, so it may know neither.
    let io = offences(&files("src/io", "rs"), |line| {
        line.contains("crate::python") || line.contains("crate::server") && !line.contains("crate::server::env::Spawn")
    });
    assert_eq!(io, Vec::<String>::new(), "io knows nothing of python, and of server how a task is started");

    let python: Vec<_> = files("src/python", "rs")
        .into_iter()
        .filter(|path| !["serve.rs", "leave.rs", "module.rs"].iter().any(|name| path.ends_with(name)))
        .collect();
    let sideways = offences(&python, |line| line.contains("crate::server"));
    assert_eq!(
        sideways,
        Vec::<String>::new(),
        "python starts the server in serve.rs, ends it in leave.rs, and knows it nowhere else"
    );
}

#[test]
fn http_reads_no_clock_and_does_no_io() {
    let bad = |line: &str| {
        ["std::net::Tcp", "std::net::Udp", "std::io", "Instant", "SystemTime", "smol"]
            .iter()
            .any(|word| line.contains(word))
    };
    assert_eq!(offences(&files("src/http", "rs"), bad), Vec::<String>::new());
}

#[test]
fn what_the_simulator_runs_reads_no_clock_and_starts_no_thread() {
    // The edges themselves, what stands around them, and tests.
    let outside = ["server/env.rs", "server/mod.rs", "server/admin.rs", "server/vital.rs", "server/testing.rs"];
    let inside: Vec<_> = files("src/server", "rs")
        .into_iter()
        .filter(|path| !outside.iter().any(|name| path.ends_with(name)) && !path.to_string_lossy().contains("/tests"))
        .collect();
    assert!(inside.len() >= 12, "{} files", inside.len());
    let bad = |line: &str| {
        [
            "Instant::now",
            "SystemTime::now",
            "thread::spawn",
            "thread::Builder",
            "thread::scope",
            "fastrand",
            "HashMap",
            "HashSet",
        ]
        .iter()
        .any(|word| line.contains(word))
    };
    assert_eq!(offences(&inside, bad), Vec::<String>::new());
}

#[test]
fn unsafe_stands_in_python_alone() {
    let outside: Vec<_> =
        files("src", "rs").into_iter().filter(|path| !path.to_string_lossy().contains("src/python/")).collect();
    let bad = |line: &str| line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
    assert_eq!(offences(&outside, bad), Vec::<String>::new());
}

#[test]
fn workers_never_meet_the_main_interpreter() {
    let worker_side: Vec<_> = files("src/python", "rs")
        .into_iter()
        .filter(|path| !["module.rs", "command.rs", "serve.rs", "leave.rs"].iter().any(|name| path.ends_with(name)))
        .collect();
    let bad = |line: &str| {
        ["PyGILState_", "Python::attach", "Python::with_gil", "PyOnceLock", "intern!", "pyo3::prelude"]
            .iter()
            .any(|word| line.contains(word))
    };
    assert_eq!(offences(&worker_side, bad), Vec::<String>::new());

    let native =
        |line: &str| line.starts_with("from polygil import _native") || line.starts_with("import polygil._native");
    assert_eq!(
        offences(&files("python", "py"), native),
        Vec::<String>::new(),
        "what workers import loads no native module"
    );
}

#[test]
fn every_file_opens_with_what_it_is_and_can_be_read_in_one_sitting() {
    for path in files("src", "rs") {
        let text = read(&path);
        assert!(text.starts_with("//!"), "{} opens without an essay", path.display());
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines: split it by idea", path.display());
    }
}

#[test]
fn nothing_is_left_undone() {
    let sources = [files("src", "rs"), files("python", "py"), files("examples", "py")].concat();
    let bad = |line: &str| ["todo!(", "unimplemented!(", "#[ignore", "FIXME"].iter().any(|word| line.contains(word));
    assert_eq!(offences(&sources, bad), Vec::<String>::new());
}
