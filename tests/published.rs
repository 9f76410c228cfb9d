//! What a public project has is there and true: generated files name their command, what is installed is told, files for a forge call
//! the commands of the house.

use std::collections::BTreeSet;
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn names(directory: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{directory}: {error}"));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// What a target of the Makefile does: its recipe, with the variables that have a default.
fn recipe(target: &str) -> String {
    let makefile = read("Makefile");
    let is_head = |line: &&str| line.starts_with(&format!("{target}:")) && !line.contains(" = ");
    let lines = makefile.lines().skip_while(|line| !is_head(line)).skip(1);
    let recipe = lines.take_while(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n");
    let defaults = makefile.lines().filter_map(|line| line.split_once(" ?= "));
    defaults.fold(recipe, |recipe, (name, value)| recipe.replace(&format!("$({name})"), value))
}

/// The cells of the rows of a table whose head begins with this cell.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// What stands between the first backticks.
fn quoted(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

#[test]
fn every_generated_file_is_made_by_a_command_that_writes_it() {
    let mut told = BTreeSet::from(["README.md".to_owned()]);
    for row in rows(&read("docs/generated/README.md"), "file") {
        let name = row[0].trim_start_matches('[').split(']').next().expect("a name").to_owned();
        let target = quoted(&row[1]).strip_prefix("make ").unwrap_or_else(|| panic!("{name}: {}", row[1]));
        let recipe = recipe(target);
        // The file itself, the name that its writer puts an ending to, or the directory for whoever names the files.
        let stem = format!("docs/generated/{}", name.split('.').next().expect("a stem"));
        let is_written = recipe.contains(&stem) || recipe.lines().any(|line| line.ends_with("--out docs/generated"));
        assert!(is_written, "make {target} does not write {name}:\n{recipe}");
        told.insert(name);
    }
    assert_eq!(names("docs/generated"), told);

    let others = names("docs").into_iter().filter(|name| !name.ends_with(".md") && name != "generated");
    assert_eq!(others.collect::<Vec<_>>(), Vec::<String>::new(), "only what people write stands beside");
}

#[test]
fn what_is_inside_the_runner_is_told() {
    let build = read("conformance/build.rs");
    let list = build.split("const CARRIED").nth(1).and_then(|rest| rest.split("];").next()).expect("the list");
    let carried: BTreeSet<&str> =
        list.split('"').skip(1).step_by(2).map(|name| name.strip_prefix("../").unwrap_or(name)).collect();
    let page = read("docs/INSTALLED.md");
    let rows = rows(&page, "part");
    let told: BTreeSet<&str> = rows.iter().map(|row| quoted(&row[0])).collect();
    assert_eq!(carried, told);
}

#[test]
fn each_release_that_gets_a_wheel_is_told_and_classified() {
    let scripts = [read("scripts/wheels"), read("scripts/try-wheels")];
    let (page, project) = (read("docs/INSTALLED.md"), read("pyproject.toml"));
    for release in ["3.13", "3.14", "3.15"] {
        assert!(scripts.iter().all(|text| text.contains(release)), "{release}");
        assert!(page.contains(&format!("cp{}", release.replace('.', ""))), "{release}");
        assert!(project.contains(&format!("\"Programming Language :: Python :: {release}\"")), "{release}");
    }
}

#[test]
fn workflows_call_what_the_house_calls() {
    for (file, command) in
        [("ci", ".ci/run"), ("nightly", "make nightly-${{ matrix.part }}"), ("release", "make wheels")]
    {
        let text = read(&format!(".github/workflows/{file}.yml"));
        assert!(text.contains(&format!("- run: {command}\n")), "{file}.yml: {command}");
        for target in text.lines().filter_map(|line| line.trim().strip_prefix("- run: make ")) {
            let target = target.replace("${{ matrix.part }}", "%");
            assert_ne!(recipe(&target), "", "make {target}");
        }
    }
}

#[test]
fn the_nightly_workflow_names_parts_that_there_are() {
    let (workflow, steps) = (read(".github/workflows/nightly.yml"), read("scripts/nightly"));
    let parts = workflow.split("part: [").nth(1).and_then(|rest| rest.split(']').next()).expect("the matrix");
    for part in parts.split(", ") {
        assert!(steps.contains(&format!("Step(\"{part}\", ")), "{part}");
    }
}

#[test]
fn licenses_are_those_that_the_manifests_name() {
    assert!(read("LICENSE-MIT").starts_with("MIT License\n"));
    assert!(read("LICENSE-APACHE").contains("Apache License\n                           Version 2.0, January 2004"));
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert_eq!(read(name), read(&format!("conformance/{name}")), "the runner's wheel has it, too");
    }
    assert!(read("Cargo.toml").contains("license = \"MIT OR Apache-2.0\""));
    for manifest in ["pyproject.toml", "conformance/pyproject.toml"] {
        assert!(read(manifest).contains("license = \"MIT OR Apache-2.0\""), "{manifest}");
    }
}

#[test]
fn no_address_leads_nowhere() {
    // Hosts that are there, and names that stand for none.
    let known = [
        "127.0.0.1",
        // What Kubernetes puts into the environment, as an example.
        "10.0.0.1",
        "HOST",
        "github.com",
        "mutants.rs",
        "peps.python.org",
        "rustup.rs",
        "semver.org",
        "www.apache.org",
        "<host>",
        "h",
        "u",
    ];
    let pages = names(".").into_iter().chain(names("docs").into_iter().map(|name| format!("docs/{name}")));
    let files =
        pages.filter(|name| name.ends_with(".md") || name.ends_with(".toml") && !name.contains("rust-toolchain"));
    for file in files.chain(["conformance/pyproject.toml".into(), "conformance/INTERPRETING.md".into()]) {
        let text = read(&file);
        for rest in text.split("://").skip(1) {
            let host =
                rest.split(|end: char| !(end.is_ascii_alphanumeric() || ".-".contains(end))).next().expect("a host");
            let host = host.trim_end_matches('.');
            assert!(host.is_empty() || known.contains(&host), "{file}: {host}");
        }
    }
}
