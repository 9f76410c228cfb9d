//! A server written in an afternoon, with three mistakes (`afternoon.py`): the first screen leads to all three.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_first_screen_leads_to_all_three_mistakes() {
    let found = Command::new(root().join("../scripts/find-python")).output().expect("the script runs");
    let python = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let place = root().display();
    let start = format!("PYTHONPATH={place}/adapters:{place}/../python {python} {place}/tests/afternoon.py <<port>>");
    let output = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .arg("--suite-dir")
        .arg(root())
        .args(["run", "--suite", "http", "--level", "must", "--patience", "1", "--jobs", "24", "--start", &start])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let screen: Vec<&str> = text.lines().take(40).collect();
    let (topics, causes): (Vec<&str>, Vec<&str>) = screen.into_iter().partition(|line| line.starts_with("  http/"));
    println!("{}\n{}", topics.join("\n"), causes.join("\n"));
    let screen = causes.join("\n");
    for (mistake, words) in [
        ("a missing Host", &["cases of http/host", "a malformed request is taken for a good one"][..]),
        ("content behind HEAD", &["requests by HEAD"]),
        ("chunks that are not read", &["transfer-encoding: chunked: the status is 422"]),
    ] {
        for word in words {
            assert!(screen.contains(word), "{mistake}: {word} is not on the first screen:\n{screen}");
        }
    }
}
