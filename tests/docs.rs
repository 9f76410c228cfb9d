//! docs/HTTP.md says what shows each rule: every name in it is that of a test that exists, no rule goes without one, and no rule of
//! the two RFCs is left out. [`names`] holds all documents to what they name, [`planted`] the lists of planted mistakes to the sources.

#[path = "docs/names.rs"]
mod names;
#[path = "docs/planted.rs"]
mod planted;

use std::collections::BTreeMap;
use std::path::Path;

/// The file that a name's first parts stand for, and how a test begins there.
fn place(name: &str) -> Option<(String, String)> {
    if let Some((suite, topic, id)) = case(name) {
        return Some((format!("conformance/cases/{suite}/{topic}.toml"), format!("\nid = \"{id}\"\n")));
    }
    let parts: Vec<&str> = name.split("::").collect();
    let rust = |file: String, test: &str| Some((file, format!("fn {test}(")));
    match parts[..] {
        ["http", file, test] => rust(format!("src/http/tests/{file}.rs"), test),
        ["server", "date", test] => rust("src/server/date.rs".to_owned(), test),
        ["server", file, test] => rust(format!("src/server/tests/{file}.rs"), test),
        ["router", test] => rust("src/router/tests.rs".to_owned(), test),
        ["contract", test] => rust("tests/contract.rs".to_owned(), test),
        ["python", file, test] => Some((format!("tests/python/{file}.py"), format!("def {test}("))),
        ["fuzz", target] => Some(("fuzz/src/lib.rs".to_owned(), format!("(\"{target}\", "))),
        _ => None,
    }
}

/// The parts of the name of a conformance case.
fn case(name: &str) -> Option<(&str, &str, &str)> {
    let (suite, rest) = name.split_once('/')?;
    let (topic, id) = rest.split_once('/')?;
    let is_suite = ["http", "conversion", "dispatch", "lifecycle"].contains(&suite);
    (is_suite && !id.contains(['/', '.'])).then_some((suite, topic, id))
}

fn read(file: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
}

fn exists(name: &str) -> bool {
    place(name).is_some_and(|(file, text)| read(&file).is_ok_and(|source| source.contains(&text)))
}

/// What stands between backticks and has the form of a test's name.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_test = |name: &str| name.contains("::") && !name.ends_with("::") && name != "file::test";
    text.split('`').skip(1).step_by(2).filter(move |name| is_test(name) || case(name).is_some())
}

#[test]
fn every_rule_of_http_is_shown_by_a_test_that_exists() {
    let text = read("docs/HTTP.md").expect("docs/HTTP.md");
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
    assert!(exists("http/host/missing"));
    let cases = ["http/host/missin", "http/nowhere/missing", "nowhere/host/missing", "http/host"];
    let tests = ["http::limits::each", "http::nowhere::each_limit_has_its_answer", "limits::x", "fuzz::nothing"];
    for wrong in cases.into_iter().chain(tests) {
        assert!(!exists(wrong), "{wrong}");
    }
}

/// For each section that a row of the table of this RFC names: how many MUSTs and SHOULDs its rows tell of, and whether there is a
/// row that says why some are out of scope.
fn told<'a>(text: &'a str, rfc: &str) -> BTreeMap<&'a str, (usize, bool)> {
    let table = text.split(&format!("## RFC {rfc}: ")).nth(1).expect("its table");
    let table = table.split("\n## ").next().expect("its rows");
    let mut told = BTreeMap::new();
    for row in table.lines().filter(|row| row.starts_with("| ") && !row.contains("shown by |")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [sections, requirement, shown] = cells[..] else { panic!("not three cells: {row}") };
        let words = requirement.split(|letter: char| !letter.is_ascii_uppercase());
        let count = words.filter(|word| ["MUST", "SHOULD", "RECOMMENDED"].contains(word)).count();
        for section in sections.split(", ") {
            let (sum, left_out) = told.entry(section).or_insert((0, false));
            *sum += count;
            *left_out |= shown.starts_with("out of scope: ");
        }
    }
    told
}

/// A section is spoken for by its own rows, and by those of one that contains it.
fn is_left_out(told: &BTreeMap<&str, (usize, bool)>, section: &str) -> bool {
    let holds = |outer: &str| section == outer || section.starts_with(&format!("{outer}."));
    told.iter().any(|(outer, (_, left_out))| *left_out && holds(outer))
}

#[test]
fn every_must_and_should_of_the_rfcs_has_its_place() {
    let text = read("docs/HTTP.md").expect("docs/HTTP.md");
    let list = read("tests/rfc_requirements.tsv").expect("the list");
    let lines: Vec<Vec<&str>> = list.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let mut counts = BTreeMap::new();
    for rfc in ["9112", "9110"] {
        let told = told(&text, rfc);
        let mut due = BTreeMap::new();
        let mut left_out = Vec::new();
        for line in lines.iter().filter(|line| line[0] == rfc) {
            let [_, section, keyword, binds, words] = line[..] else { panic!("not five columns: {line:?}") };
            assert!(words.contains(keyword), "{line:?}");
            *counts.entry(binds).or_insert(0) += 1;
            match binds {
                "server" => *due.entry(section).or_insert(0usize) += 1,
                "handler" | "tls" => left_out.push(section),
                "client" | "intermediary" | "registry" => {}
                _ => panic!("{line:?}"),
            }
        }
        let missing = due.iter().filter(|(section, due)| told.get(*section).map_or(0, |told| told.0) < **due);
        assert_eq!(
            missing.collect::<Vec<_>>(),
            Vec::<(&&str, &usize)>::new(),
            "RFC {rfc}: sections that want more rows"
        );
        left_out.retain(|section| !is_left_out(&told, section));
        assert_eq!(left_out, Vec::<&str>::new(), "RFC {rfc}: left out without a reason");
    }
    let expected =
        [("client", 110), ("handler", 99), ("intermediary", 53), ("registry", 22), ("server", 151), ("tls", 8)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected, "as docs/HTTP.md has them");
}
