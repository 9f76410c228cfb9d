//! The suite as data: what anybody may rely on who adds a case, or writes another runner.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use polygil_conformance::case::{Level, Statuses};
use polygil_conformance::cli::schema;
use polygil_conformance::data::CARRIED;
use polygil_conformance::suite::{Suite, toml_files};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_suite_loads_and_is_as_large_as_it_says() {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let suites: BTreeSet<&str> = suite.cases.iter().map(|case| case.suite.as_str()).collect();
    assert!(suites.is_subset(&["asgi", "conversion", "dispatch", "http", "lifecycle", "wsgi"].into()), "{suites:?}");
    let titles: BTreeSet<(&str, &str)> =
        suite.cases.iter().map(|case| (case.id.rsplit_once('/').expect("parts").0, case.case.title.as_str())).collect();
    assert_eq!(titles.len(), suite.cases.len(), "each case of a topic tests something that its title says");
    for level in [Level::Must, Level::Should] {
        assert!(suite.cases.iter().any(|case| case.level == level), "{level:?}");
    }
}

#[test]
fn the_schema_is_that_of_the_program() {
    let path = root().join("schema/case.schema.json");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written.trim_end() == schema(),
        "write it anew: polygil-conformance schema > conformance/schema/case.schema.json"
    );
}

#[test]
fn every_case_file_fits_the_schema_and_a_misspelt_one_does_not() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let files = toml_files(&root().join("cases"));
    for path in &files {
        let text = std::fs::read_to_string(path).expect("UTF-8");
        let value: serde_json::Value =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mistakes: Vec<_> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path)).collect();
        assert_eq!(mistakes, Vec::<String>::new(), "{}", path.display());
    }
    let text = std::fs::read_to_string(files.first().expect("a file")).expect("UTF-8");
    let mut value: serde_json::Value = toml::from_str(&text).expect("TOML");
    value["case"][0]["expects"] = value["case"][0]["expect"].clone();
    assert!(!validator.is_valid(&value), "a key that does not exist");
}

#[test]
fn statuses_are_sets() {
    let class = Statuses::Class("4xx".into());
    assert!(class.contains(400) && class.contains(499) && !class.contains(500));
    assert!(Statuses::Many(vec![200, 204]).contains(204) && !Statuses::One(200).contains(204));
}

/// What stands below `directory`, but for what Python and a build leave there.
fn on_disk(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.path().is_dir() && name != "__pycache__" && !name.starts_with('.') {
            on_disk(&entry.path(), found);
        } else if entry.path().is_file() && !name.ends_with(".so") {
            found.insert(entry.path());
        }
    }
}

#[test]
fn the_program_carries_what_stands_here_byte_for_byte() {
    let checkout = root().parent().expect("the checkout");
    let mut files = BTreeSet::new();
    for part in
        ["adapters", "app", "cases", "expectations", "ideal", "mirror", "schema", "targets", "../python/polygil"]
    {
        on_disk(&checkout.join("conformance").join(part), &mut files);
    }
    files.extend(["INTERPRETING.md", "MIRROR.md", "contract.toml", "setups.toml"].map(|name| root().join(name)));
    let carried: BTreeSet<PathBuf> = CARRIED
        .iter()
        .map(|(name, bytes)| {
            let path = checkout.join(name);
            assert!(
                std::fs::read(&path).is_ok_and(|read| read == *bytes),
                "{name} is another: touch conformance/build.rs"
            );
            path.canonicalize().expect("a path")
        })
        .collect();
    let files: BTreeSet<PathBuf> = files.into_iter().map(|path| path.canonicalize().expect("a path")).collect();
    assert_eq!(carried, files, "where one is new: touch conformance/build.rs");
}

#[test]
fn the_program_runs_where_there_is_nothing() {
    let empty = tempfile::tempdir().expect("a directory");
    let temporary = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str], here: &Path| {
        let program = env!("CARGO_BIN_EXE_polygil-conformance");
        let output = Command::new(program).args(arguments).current_dir(here).env("TMPDIR", temporary.path()).output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let listed = run(&["list"], empty.path());
    let cases = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}")).cases;
    assert_eq!(listed.lines().count(), cases.len());
    let left = std::fs::read_dir(temporary.path()).expect("a directory").count();
    assert_eq!(left, 0, "what was unpacked is gone");

    // A suite in the working directory is preferred, and needs no build.
    let place = empty.path().join("exported");
    run(&["export", "exported"], empty.path());
    for path in toml_files(&place.join("conformance/cases")).iter().filter(|path| !path.ends_with("host.toml")) {
        std::fs::remove_file(path).expect("a case file");
    }
    for here in [&place, &place.join("conformance")] {
        let listed = run(&["list"], here);
        assert!(!listed.is_empty() && listed.lines().all(|line| line.starts_with("http/host/")), "{listed}");
    }
}
