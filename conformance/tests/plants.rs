//! Ten changes of one line, each planted in a copy of a server or its app, and each found by `compare` against the original, running
//! beside it, in under a minute, with a minimal example.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A change: the file below `conformance/`, the text that goes, the text that comes, the kind of difference that it is, and something
/// that its example contains.
const PLANTS: [(&str, &str, &str, &str, &str); 11] = [
    ("app/suite.py", ", headers={\"X-Pot\": \"tea\"}", "", "field lost: x-pot", "/raise/detail"),
    ("app/values.py", "(\"made\", 201)", "(\"made\", 200)", "status: 201 / 200", "/value/pair-str"),
    ("app/values.py", "\"float-whole\": 1.0", "\"float-whole\": 1", "JSON: form of numbers", "/value/float-whole"),
    (
        "app/values.py",
        "{\"z\": 1, \"a\": 2, \"m\": 3}",
        "{\"a\": 2, \"z\": 1, \"m\": 3}",
        "JSON: order of keys",
        "/value/dict-key-order",
    ),
    ("adapters/table.py", "text/plain; charset=utf-8", "text/plain", "field value: content-type", "GET /"),
    (
        "adapters/plain.py",
        "self.end_headers()",
        "self.end_headers(); self.close_connection = True",
        "connection: open / closed",
        "GET",
    ),
    ("adapters/table.py", "failure(405,", "failure(404,", "status: 405 / 404", " /"),
    (
        "adapters/table.py",
        "body = \"json\", dumps(content)",
        "body = \"json\", json.dumps(content, separators=(\",\", \":\")).encode()",
        "JSON: escapes",
        "GET /value/",
    ),
    ("adapters/table.py", "*([\"HEAD\"] if \"GET\" in by_method else [])", "", "field value: allow", " /"),
    ("adapters/plain.py", "if self.command != \"HEAD\":", "if True:", "connection: open / desynchronised", "HEAD "),
    (
        "adapters/plain.py",
        "self.end_headers()",
        "self.send_header(\"x-powered-by\", \"x\"); self.end_headers()",
        "field added: x-powered-by",
        "GET",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python that the `polygil` package runs on.
fn python() -> String {
    let found = Command::new(root().join("../scripts/find-python")).output().expect("the script runs");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).expect("UTF-8").trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// The command of a server whose files are below `place`.
fn side(place: &Path) -> String {
    let package = root().join("../python");
    let (adapters, apps) = (place.join("adapters"), place.join("app"));
    format!(
        "start:env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={}:{} CONFORMANCE_APPS={} {} {} <<port>>",
        adapters.display(),
        package.display(),
        apps.display(),
        python(),
        adapters.join("plain.py").display()
    )
}

/// Runs `compare` on the original and the copy; the groups, as JSON, and how long it took.
fn compare(candidate: &str, report: &PathBuf) -> (serde_json::Value, Option<i32>, Duration) {
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .args(["--suite-dir", &root().display().to_string(), "compare", &side(root()), candidate])
        .args([
            "--id",
            "conversion,http/methods,dispatch/failures,dispatch/routes",
            "--json",
            &report.display().to_string(),
        ])
        .output()
        .expect("the program runs");
    let took = started.elapsed();
    let text =
        std::fs::read_to_string(report).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (serde_json::from_str(&text).expect("JSON"), output.status.code(), took)
}

fn planted(number: usize) -> (&'static str, serde_json::Value, Option<i32>, Duration) {
    let (file, from, to, kind, _) = PLANTS[number];
    let place = tempfile::tempdir().expect("a directory");
    for part in ["app", "adapters"] {
        copy(&root().join(part), &place.path().join(part));
    }
    let path = place.path().join(file);
    let text = std::fs::read_to_string(&path).expect("UTF-8");
    assert_eq!(text.matches(from).count(), 1, "{from:?} is one place in {file}");
    std::fs::write(&path, text.replace(from, to)).expect("a file");
    let (groups, code, took) = compare(&side(place.path()), &place.path().join("report.json"));
    (kind, groups, code, took)
}

fn assert_found(number: usize) {
    let (kind, report, code, took) = planted(number);
    let groups = report["groups"].as_array().expect("groups");
    let found =
        groups.iter().find(|group| group["kind"] == kind).unwrap_or_else(|| panic!("{kind} is not in {report:#}"));
    let example = found["example"].as_str().expect("an example");
    assert!(example.contains(PLANTS[number].4), "{kind}: {example:?}");
    // Little more than a request line: what does not matter is gone.
    assert!(example.len() <= 60, "{kind}: {example:?}");
    assert_eq!(code, Some(1));
    println!("{kind}: {example:?} after {took:?}");
}

#[test]
fn a_server_does_not_differ_from_itself() {
    let report = tempfile::tempdir().expect("a directory");
    let (groups, code, _) = compare(&side(root()), &report.path().join("report.json"));
    assert_eq!((groups, code), (serde_json::json!({ "groups": [] }), Some(0)));
}

macro_rules! plants {
    ($($name:ident = $number:literal,)*) => {
        $(#[test] fn $name() { assert_found($number); })*

        #[test]
        fn every_plant_has_its_test() {
            assert_eq!([$($number),*], std::array::from_fn::<usize, { PLANTS.len() }, _>(|number| number));
        }
    };
}

plants! {
    finds_a_field_lost = 0,
    finds_a_status_changed = 1,
    finds_another_form_of_numbers = 2,
    finds_another_order_of_keys = 3,
    finds_another_charset = 4,
    finds_keep_alive_dropped = 5,
    finds_a_404_for_a_405 = 6,
    finds_other_escapes = 7,
    finds_a_method_missing_in_allow = 8,
    finds_content_behind_head = 9,
    finds_a_field_added = 10,
}
