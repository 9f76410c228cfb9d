//! The suite as data: what anybody may rely on who adds a case, or writes another runner.

use std::collections::BTreeSet;
use std::path::Path;

use polygil_conformance::case::{Level, Statuses};
use polygil_conformance::cli::schema;
use polygil_conformance::suite::{Suite, toml_files};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_suite_loads_and_is_as_large_as_it_says() {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let suites: BTreeSet<&str> = suite.cases.iter().map(|case| case.suite.as_str()).collect();
    assert!(suites.is_subset(&["conversion", "dispatch", "http", "lifecycle"].into()), "{suites:?}");
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
