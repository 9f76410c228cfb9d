//! The gate of a team's own app, as docs/CONFORMANCE.md has it: a contract for its signatures, a suite for its behaviour, one job. Eight ways
//! to break the app: each makes the job red, and names the cause.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const APP: &str = r#"
from polygil import App, HTTPException

app = App()

@app.get("/health")
def health() -> str:
    return "fine"

@app.get("/users/{user_id}")
def show(user_id: int, verbose: bool = False) -> dict:
    if user_id != 7:
        raise HTTPException(404, f"no user {user_id}")
    return {"id": user_id, "name": "Grace"}
"#;

/// How it is broken: a name, the text that goes, the text that comes, and what the job says.
const WAYS: [(&str, &str, &str, &str); 8] = [
    (
        "rename",
        "/users/{user_id}",
        "/people/{user_id}",
        "GET /users/{user_id}: the route is gone; its handler app:show answers GET /people/{user_id} now",
    ),
    ("delete", "@app.get(\"/health\")\n", "", "GET /health: the route is gone"),
    ("import error", "app = App()", "import no_such_library\napp = App()", "No module named 'no_such_library'"),
    ("refusing library", "app = App()", "import readline\napp = App()", "library: readline"),
    ("response field", "\"name\": \"Grace\"", "\"label\": \"Grace\"", "app/example/user"),
    ("status", "404, f\"", "410, f\"", "the status is 410, not 404"),
    ("annotation", "user_id: int", "user_id: str", "the parameter user_id was annotated int and is str"),
    (
        "route conflict",
        "@app.get(\"/health\")",
        "@app.get(\"/users/{other}\")\ndef twin(other: int):\n    return 1\n\n@app.get(\"/health\")",
        "/users/{other}",
    ),
];

fn polygil() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/polygil");
    std::env::var_os("POLYGIL_BIN").map_or(built, PathBuf::from)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The job: what it prints, and whether it is green.
fn job(place: &Path) -> (String, bool) {
    let check = Command::new(polygil())
        .args(["check", "app:app", "--contract", "contract.json"])
        .current_dir(place)
        .output()
        .expect("polygil is built: make build");
    let suite = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .args(["run", "--suite-dir", "gate"])
        .current_dir(place)
        .output()
        .expect("the program runs");
    (text(&check) + &text(&suite), check.status.success() && suite.status.success())
}

#[test]
fn eight_ways_to_break_an_app_are_each_caught_and_named() {
    let place = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    put("app.py", APP);
    let made = Command::new(env!("CARGO_BIN_EXE_polygil-conformance"))
        .args(["new", "gate"])
        .current_dir(place.path())
        .output()
        .expect("the program runs");
    assert!(made.status.success(), "{}", text(&made));
    let start = format!("start = \"{} serve --port <<port>> app:app\"\n", polygil().display());
    put("gate/suite.toml", &format!("{start}[probe]\ntarget = \"/health\"\nbody = \"fine\"\n"));
    let contract = Command::new(polygil()).args(["contract", "app:app"]).current_dir(place.path()).output();
    let contract = contract.expect("polygil is built: make build");
    assert!(contract.status.success(), "{}", text(&contract));
    put("contract.json", &String::from_utf8_lossy(&contract.stdout));
    let (said, green) = job(place.path());
    assert!(green, "{said}");
    for (name, from, to, cause) in WAYS {
        assert_eq!(APP.matches(from).count(), 1, "{name}: {from}");
        put("app.py", &APP.replace(from, to));
        let (said, green) = job(place.path());
        assert!(!green && said.contains(cause), "{name}: {cause} is not in\n{said}");
    }
}

#[test]
fn json_is_one_object_whatever_went_wrong() {
    let place = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str| std::fs::write(place.path().join(name), text).expect("a file");
    put("app.py", &format!("print('noise')\n{APP}"));
    put("broken.py", "def f(:\n");
    put("refuses.py", &APP.replace("app = App()", "import readline\napp = App()"));
    put("twins.py", &APP.replace("/health", "/users/{other}"));
    for (words, code, ok) in [
        (&["app:app"][..], 0, true),
        (&["no_such_module:app"], 2, false),
        (&["broken:app"], 2, false),
        (&["twins:app"], 2, false),
        (&["app:nothing"], 2, false),
        (&["app:app", "--no-such-option"], 2, false),
        (&[], 2, false),
        (&["app.py"], 2, false),
    ] {
        for command in ["check", "routes"] {
            let output =
                Command::new(polygil()).arg(command).arg("--json").args(words).current_dir(place.path()).output();
            let output = output.expect("polygil is built: make build");
            let said = String::from_utf8_lossy(&output.stdout);
            let value: serde_json::Value =
                serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"));
            assert_eq!((output.status.code(), &value["ok"]), (Some(code), &ok.into()), "{command} {words:?}: {said}");
            assert_eq!(value["errors"].as_array().map(Vec::is_empty), Some(ok), "{said}");
            assert!(value["routes"].is_array(), "{said}");
        }
    }
    let refused = Command::new(polygil()).args(["check", "--json", "refuses:app"]).current_dir(place.path()).output();
    let refused = refused.expect("polygil is built: make build");
    let value: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("one object");
    assert_eq!((refused.status.code(), &value["ok"]), (Some(1), &false.into()));
    assert_eq!(value["routes"][0]["details"]["library"], "readline");
}
