//! What the documents name is there: files, targets of make, scripts, tests, packages.
//!
//! Read is what stands in backticks, in code blocks and in links. A file may be named by the end of its path (`dispatch/lane.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::read;

/// Names in examples, which stand for the reader's own, and what is made only when one works here.
const OTHERS: &[&str] =
    &["app.py", "failure.json", "failing-seeds.tsv", "suite.toml", "NAME.toml", "TARGET.dict", "conformance/.venv"];

/// Every file and directory of the repository but what is built, by its path from the top.
fn tree() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ["target", ".venv", ".git", "__pycache__", "node_modules"].contains(&name.as_ref()) {
                continue;
            }
            found.insert(path.strip_prefix(top).expect("below the top").to_string_lossy().into_owned());
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

/// The documents: Markdown at the top, in docs/, and beside what it is about.
fn documents(tree: &BTreeSet<String>) -> Vec<&String> {
    tree.iter().filter(|path| path.ends_with(".md") && path.matches('/').count() <= 1).collect()
}

/// What a document has as code: lines of its blocks, and what stands between backticks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut prose = String::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block || line.starts_with("    ") {
            found.push(line.to_owned());
        } else {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// The words of a piece of code that could name something.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let ends = |letter: char| letter.is_whitespace() || "(),;\"'=|".contains(letter);
    let words = code.split(ends).map(|word| word.trim_end_matches(['.', ':', '/']));
    words.filter(|word| !word.is_empty() && !word.contains(['*', '<', '{', '$', '…', '[']) && !word.contains("://"))
}

fn is_path(word: &str) -> bool {
    let endings = [".rs", ".py", ".toml", ".md", ".sh", ".tsv", ".dict"];
    let tops = [
        "scripts/",
        "tests/",
        "src/",
        "docs/",
        "sim/",
        "fuzz/",
        "benches/",
        "examples/",
        "conformance/",
        "python/",
        ".ci/",
    ];
    let is_ours = endings.iter().any(|ending| word.ends_with(ending) && word != *ending)
        || tops.iter().any(|top| word.starts_with(top));
    is_ours && !word.starts_with(['/', '-']) && !word.starts_with("target/") && !word.contains("::")
}

/// Whether a path is named as it stands, from the document's own directory, or by its end.
fn is_there(tree: &BTreeSet<String>, document: &str, word: &str) -> bool {
    let beside = Path::new(document).parent().unwrap_or(Path::new("")).join(word);
    let end = format!("/{word}");
    tree.contains(word) || tree.contains(&*beside.to_string_lossy()) || tree.iter().any(|path| path.ends_with(&end))
}

/// Whether a target of the Makefile or a step of scripts/gate and scripts/nightly (`test-loom`) has this name.
fn is_target(word: &str) -> bool {
    let makefile = read("Makefile").expect("a Makefile");
    let has = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let is_step = |program: &str, script: &str| {
        let table = read(script).expect("a script");
        word.strip_prefix(program).is_some_and(|step| {
            step == "STEP"
                || table.contains(&format!("Step(\"{step}\""))
                || table.contains(&format!("    \"{step}\",\n"))
        })
    };
    has(word)
        || is_step("test-", "scripts/gate")
        || is_step("check-", "scripts/gate")
        || is_step("nightly-", "scripts/nightly")
}

/// The sources, in one: Rust, Python, scripts.
fn sources(tree: &BTreeSet<String>) -> String {
    let is_source = |path: &&String| {
        [".rs", ".py", ".toml"].iter().any(|ending| path.ends_with(ending)) || path.starts_with("scripts/")
    };
    let mut text = String::new();
    for path in tree.iter().filter(is_source) {
        text.push_str(&read(path).unwrap_or_default());
    }
    text
}

/// A word of four parts or more joined by `_` is the name of a test, or of something else that the sources have.
fn is_long_name(word: &str) -> bool {
    let last = word.rsplit("::").next().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == ':';
    word.chars().all(plain) && last.matches('_').count() >= 3
}

/// What follows an option of cargo's in a command, and where it must be.
fn is_known_to_cargo(tree: &BTreeSet<String>, option: &str, name: &str) -> bool {
    let manifests = ["Cargo.toml", "sim/Cargo.toml", "fuzz/Cargo.toml", "conformance/Cargo.toml"];
    let declared = |section: &str| {
        manifests.iter().any(|manifest| {
            let text = read(manifest).unwrap_or_default();
            text.split(section).skip(1).any(|part| part.trim_start().starts_with(&format!("name = \"{name}\"")))
        })
    };
    match option {
        "--test" => tree.iter().any(|path| path.ends_with(&format!("tests/{name}.rs"))),
        "--bench" => declared("[[bench]]"),
        "--example" => {
            declared("[[example]]") || tree.iter().any(|path| path.ends_with(&format!("examples/{name}.rs")))
        }
        _ => declared("[package]"),
    }
}

/// What this document names that is not there.
fn missing(tree: &BTreeSet<String>, sources: &str, document: &str, text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let target: PathBuf = path.parent().expect("a directory").join(link);
        if !link.is_empty() && !link.contains("://") && !target.exists() {
            missing.push(format!("{document}: link to {link}"));
        }
    }
    for code in code(text) {
        let words: Vec<&str> = words(&code).collect();
        for word in words.iter().filter(|word| !OTHERS.iter().any(|other| word.ends_with(other))) {
            if is_path(word) && !is_there(tree, document, word) {
                missing.push(format!("{document}: {word}"));
            }
            let last = word.rsplit("::").next().unwrap_or_default();
            if is_long_name(word) && !sources.contains(last) {
                missing.push(format!("{document}: nothing is called {word}"));
            }
        }
        // What a package manager is told to install is no target.
        for pair in words.windows(2).filter(|_| !code.contains("apt-get install")) {
            let cargo = ["--test", "--bench", "--example", "-p", "--package"];
            let is_name = pair[1].starts_with(|letter: char| letter.is_ascii_lowercase());
            if pair[0] == "make" && is_name && !is_target(pair[1]) {
                missing.push(format!("{document}: make {}", pair[1]));
            }
            if cargo.contains(&pair[0]) && is_name && !is_known_to_cargo(tree, pair[0], pair[1]) {
                missing.push(format!("{document}: {} {}", pair[0], pair[1]));
            }
        }
    }
    missing
}

#[test]
fn what_documents_name_is_there() {
    let tree = tree();
    let sources = sources(&tree);
    let documents = documents(&tree);
    assert!(documents.len() > 12, "{documents:?}");
    let found = documents.iter().flat_map(|document| {
        let text = read(document).expect("UTF-8");
        missing(&tree, &sources, document, &text)
    });
    assert_eq!(found.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_found_out() {
    let tree = tree();
    let sources = "fn a_push_wakes_the_sleeper() {}";
    let found = |text: &str| missing(&tree, sources, "docs/DISPATCH.md", text).len();
    let there = "[x](SAFETY.md), `dispatch/lane.rs`, `src/dispatch/`, `make test-loom`, `scripts/find-python`, \
        `park::a_push_wakes_the_sleeper`, `cargo test --test tidy -p polygil`, `cargo bench --bench pool -- tail`";
    assert_eq!(missing(&tree, sources, "docs/DISPATCH.md", there), Vec::<String>::new());
    for wrong in [
        "[x](SAFE.md)",
        "`dispatch/lanes.rs`",
        "`src/dispatching/`",
        "`make tests`",
        "`make test-looms`",
        "`scripts/find-pythons`",
        "`park::a_pull_wakes_the_sleeper`",
        "`cargo test --test tidier`",
        "`cargo test -p polygil-simulator`",
        "`cargo bench --bench pools`",
        "```sh\nmake tests\n```",
        "    make tests",
    ] {
        assert_eq!(found(wrong), 1, "{wrong}");
    }
}
