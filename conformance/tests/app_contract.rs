//! The contract of the app: one place, its table, its data, and a server that serves it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use polygil_conformance::app_contract::AppContract;
use polygil_conformance::server::{Launcher, Source};
use polygil_conformance::suite::Suite;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_table_and_the_data_are_those_of_the_one_place() {
    let contract = AppContract::load(root()).expect("a contract");
    assert!(contract.routes.len() >= 30, "{}", contract.routes.len());
    let page = std::fs::read_to_string(root().join("INTERPRETING.md")).expect("a page");
    let table = page.split("<!-- contract -->\n").nth(1).and_then(|rest| rest.split("<!-- /contract -->").next());
    assert_eq!(table, Some(contract.markdown().as_str()), "write it anew: polygil-conformance contract");
    let data = std::fs::read_to_string(root().join("contract.json")).expect("data");
    assert_eq!(data, contract.json(), "write it anew: polygil-conformance contract --json > conformance/contract.json");
}

/// A Python that the `polygil` package runs on.
fn python() -> String {
    let found = Command::new(root().join("../scripts/find-python")).output().expect("the script runs");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).expect("UTF-8").trim().to_owned()
}

/// The command of the suite's app on the standard library's server.
fn plain(environment: &str) -> String {
    let (python, root) = (python(), root().display());
    format!("PYTHONPATH={root}/adapters:{root}/../python {environment} {python} {root}/adapters/plain.py <<port>>")
}

#[test]
fn the_suites_app_keeps_it() {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let launcher = Launcher { source: Source::Command(plain("")), root: suite.root.clone(), apps: None };
    let server = launcher.launch("default", &suite.setups["default"]).expect("a server");
    let lacks = AppContract::load(root()).expect("a contract").ask(server.address, Duration::from_secs(10));
    assert_eq!(lacks.rows, Vec::<String>::new());
}

#[test]
fn a_route_that_is_missing_is_told_first() {
    let place = tempfile::tempdir().expect("a directory");
    let app = std::fs::read_to_string(root().join("app/suite.py")).expect("the app");
    assert_eq!(app.matches("@app.put(\"/body/length\")").count(), 1);
    std::fs::write(place.path().join("suite.py"), app.replace("@app.put(\"/body/length\")", "")).expect("a file");
    std::fs::copy(root().join("app/values.py"), place.path().join("values.py")).expect("a copy");
    let output = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .arg("--suite-dir")
        .arg(root())
        .args(["run", "--id", "http/host", "--start", &plain(&format!("CONFORMANCE_APPS={}", place.path().display()))])
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("in 1 of") && told.contains("  PUT /body/length gets 404, not 200"), "{told}");
}

#[test]
fn a_new_suite_passes_with_its_example() {
    let place = tempfile::tempdir().expect("a directory");
    let own = place.path().join("own suite");
    let runner = || Command::new(env!("CARGO_BIN_EXE_polygil-conformance"));
    let made = runner().arg("new").arg(&own).output().expect("the program runs");
    assert!(made.status.success(), "{made:?}");
    let again = runner().arg("new").arg(&own).output().expect("the program runs");
    assert_eq!(again.status.code(), Some(2), "nothing is written over");
    let environment = format!("CONFORMANCE_APP=example:app CONFORMANCE_APPS='{}/app'", own.display());
    let run = runner().arg("--suite-dir").arg(&own).args(["run", "--start", &plain(&environment)]).output();
    let run = run.expect("the program runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("3 of 3 cases passed"), "{said}");
    // Its own command is for the server that it names.
    let start = std::fs::read_to_string(own.join("suite.toml")).expect("a file");
    assert!(start.contains("start = \"polygil serve --app-dir <<root>>/app --port <<port>> example:app\""), "{start}");
}
