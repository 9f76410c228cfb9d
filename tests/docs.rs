//! docs/HTTP.md says what shows each rule: every name in it is that of a test that exists, and no rule goes without one.

use std::path::Path;

/// The file that a name's first parts stand for, and how a test begins there.
fn place(name: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = name.split("::").collect();
    let rust = |file: String, test: &str| Some((file, format!("fn {test}(")));
    match parts[..] {
        ["http", file, test] => rust(format!("src/http/tests/{file}.rs"), test),
        ["server", file, test] => rust(format!("src/server/tests/{file}.rs"), test),
        ["router", test] => rust("src/router/tests.rs".to_owned(), test),
        ["contract", test] => rust("tests/contract.rs".to_owned(), test),
        ["python", file, test] => Some((format!("tests/python/{file}.py"), format!("def {test}("))),
        ["fuzz", target] => Some(("fuzz/src/lib.rs".to_owned(), format!("(\"{target}\", "))),
        _ => None,
    }
}

fn exists(name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    place(name)
        .is_some_and(|(file, text)| std::fs::read_to_string(root.join(file)).is_ok_and(|source| source.contains(&text)))
}

/// What stands between backticks and has the form of a test's name.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::") && !name.ends_with("::") && *name != "file::test")
}

#[test]
fn every_rule_of_http_is_shown_by_a_test_that_exists() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/HTTP.md");
    let text = std::fs::read_to_string(path).expect("docs/HTTP.md");
    let missing: Vec<&str> = names(&text).filter(|name| !exists(name)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "no such tests");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains("shown by |") && !is_measured(line));
    let rows: Vec<&str> = rows.collect();
    let empty = rows.iter().filter(|row| {
        let last = row.trim_end_matches('|').rsplit(" | ").next().unwrap_or_default();
        names(last).next().is_none() && !last.trim_start().starts_with("out of scope: ")
    });
    assert_eq!(empty.collect::<Vec<_>>(), Vec::<&&str>::new(), "rules without a test or a reason");
    assert!(rows.len() > 120, "{} rules", rows.len());
}

/// Rows of the one table that holds figures.
fn is_measured(row: &str) -> bool {
    row.ends_with("| cut |") || row.contains(" MiB")
}

#[test]
fn a_name_that_is_none_is_found_out() {
    assert!(exists("http::limits::each_limit_has_its_answer"));
    for wrong in ["http::limits::each", "http::nowhere::each_limit_has_its_answer", "limits::x", "fuzz::nothing"] {
        assert!(!exists(wrong), "{wrong}");
    }
}
