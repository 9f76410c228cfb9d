//! What is planted to see a test fail is still where it was planted: the guards of CPython's hazards, and the mistakes that the model
//! checker and the simulator find. A list that looks for what is gone finds nothing, and says so years later.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::read;

#[derive(Deserialize)]
struct Guards {
    guard: Vec<Guard>,
}

/// As tests/guards.toml has them; `make guards` takes each out and sees its test fail.
#[derive(Deserialize)]
struct Guard {
    what: String,
    test: String,
    change: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    file: String,
    text: String,
    instead: String,
}

/// What keeps this guard from being taken out.
fn is_blunt(guard: &Guard) -> Vec<String> {
    let mut why = Vec::new();
    let tests = read("tests/hazards.rs").expect("the tests");
    if !tests.contains(&format!("#[test]\nfn {}()", guard.test)) {
        why.push(format!("{}: tests/hazards.rs has no test {}", guard.what, guard.test));
    }
    for Change { file, text, instead } in &guard.change {
        let times = read(file).unwrap_or_default().matches(text.as_str()).count();
        if times != 1 || text == instead {
            why.push(format!("{}: {file} has {times} times {text:?}", guard.what));
        }
    }
    why
}

#[test]
fn every_guard_stands_where_it_is_taken_out() {
    let guards: Guards = toml::from_str(&read("tests/guards.toml").expect("the list")).expect("guards");
    assert!(guards.guard.len() >= 10, "{} guards", guards.guard.len());
    assert_eq!(guards.guard.iter().flat_map(is_blunt).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_guard_that_is_gone_is_found_out() {
    let change = |text: &str| Change {
        file: "src/python/interpreter.rs".to_owned(),
        text: text.to_owned(),
        instead: String::new(),
    };
    let test = "interpreters_share_no_objects".to_owned();
    let guard = |text, test| Guard { what: "x".to_owned(), test, change: vec![change(text)] };
    assert_eq!(is_blunt(&guard("allow_fork: 0", test.clone())), Vec::<String>::new());
    assert_eq!(is_blunt(&guard("allow_forks: 0", test.clone())).len(), 1, "no such text");
    assert_eq!(is_blunt(&guard("allow_", test)).len(), 1, "more than one");
    assert_eq!(is_blunt(&guard("allow_fork: 0", "interpreters_share".to_owned())).len(), 1, "no such test");
}

/// Every name between `before` and the next quotation mark.
fn quoted<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// The sources that can be told to make a mistake.
fn sources() -> String {
    let mut text = String::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("src/mistakes.rs") {
            text.push_str(&std::fs::read_to_string(path).expect("UTF-8"));
        }
    }
    text
}

/// The model checker's list: name of the mistake, and the test that must catch it.
fn of_the_model_checker(list: &str) -> Vec<(&str, &str)> {
    let list = list.split("const MISTAKES").nth(1).and_then(|rest| rest.split("];").next()).expect("the list");
    let strings: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    strings.chunks(3).map(|three| (three[0], three[2])).collect()
}

#[test]
fn every_planted_mistake_is_in_the_sources_and_somebody_looks_for_it() {
    let sources = sources();
    let planted = quoted(&sources, "broken(\"");
    let list = read("tests/loom_dispatch/mistakes.rs").expect("the model checker's list");
    let models: BTreeSet<&str> = of_the_model_checker(&list).into_iter().map(|(name, _)| name).collect();
    let worlds = read("sim/src/mistakes.rs").expect("the simulator's list");
    let worlds = quoted(&worlds, "name: \"");
    let known: BTreeSet<&str> = models.union(&worlds).copied().collect();
    assert!(planted.len() > 50, "{} mistakes", planted.len());
    assert_eq!(known, planted, "left what the lists have, right what stands in the sources");
}

#[test]
fn every_mistake_of_the_model_checker_has_its_test() {
    let list = read("tests/loom_dispatch/mistakes.rs").expect("the list");
    for (mistake, test) in of_the_model_checker(&list) {
        let (module, name) = test.split_once("::").expect("module::test");
        let file = read(&format!("tests/loom_dispatch/{module}.rs")).unwrap_or_default();
        assert!(file.contains(&format!("fn {name}(")), "{mistake}: there is no {test}");
    }
}

#[test]
fn the_tables_of_the_documents_have_every_planted_mistake() {
    let list = read("sim/src/mistakes.rs").expect("the list");
    let worlds = quoted(&list, "name: \"");
    let document = read("docs/SIMULATOR.md").expect("the document");
    let table = document.split("## Mistakes that it finds").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.expect("the table").lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), worlds, "docs/SIMULATOR.md");

    let list = read("tests/loom_dispatch/mistakes.rs").expect("the list");
    let count = of_the_model_checker(&list).len();
    let document = read("docs/DISPATCH.md").expect("the document");
    assert!(
        document.contains(&format!("builds in {count} deliberate mistakes")),
        "docs/DISPATCH.md: there are {count}"
    );
}

/// How many models there are without a bound and with one, and the least and the largest bound, as docs/DISPATCH.md has them.
#[test]
fn the_bounds_of_the_models_are_those_that_the_document_has() {
    let mut without = 0;
    let mut bounds = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loom_dispatch")).expect("models") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("UTF-8");
        for call in text.split(" explore").skip(1) {
            let bound = call.split(", ").nth(1).unwrap_or_default();
            match bound.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')) {
                Some(bound) => bounds.push(bound.parse::<usize>().expect("a number")),
                None if bound == "None" => without += 1,
                None => {}
            }
        }
    }
    let (least, most) = (bounds.iter().min().expect("some"), bounds.iter().max().expect("some"));
    let document = read("docs/DISPATCH.md").expect("the document").replace('\n', " ");
    let told = format!("{without} models are explored without a bound");
    assert!(document.contains(&told), "docs/DISPATCH.md does not say that {told}");
    let told = format!("{} up to {least} to {most} preemptions", bounds.len());
    assert!(document.contains(&told), "docs/DISPATCH.md does not say {told}");
}
