//! The command line as people and pipelines use it: routes, check, serve's options, and serving from Python.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, apps, command, output_in_time, polygil, root, run};
use serde_json::{Value, json};

/// Exit code, standard output and standard error.
fn said(directory: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(directory, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    directory
}

const ROUTE: &str = "from polygil import App\napp = App()\n@app.get('/')\ndef index():\n    return 'x'\n";

#[test]
fn routes_prints_the_table() {
    let examples = root().join("examples");
    let (code, out, _) = said(&examples, &["routes", "users:app"]);
    let expected = "GET   /                 users:index  (users.py:40)\n\
                    GET   /users            users:list_users  (users.py:45)\n\
                    GET   /users/{user_id}  users:show_user  (users.py:53)\n\
                    POST  /echo             users:echo  (users.py:63)\n";
    assert_eq!((code, out.as_str()), (Some(0), expected));
    let (_, out, _) = said(&apps(), &["routes", "missing.toml", "--json"]);
    let routes: Value = serde_json::from_str(&out).expect("JSON");
    let first = json!({"method": "GET", "path": "/good", "module": "missing_parts", "function": "good", "origin": "missing.toml:3"});
    assert_eq!((routes["routes"].as_array().map(Vec::len), &routes["routes"][0]), (Some(10), &first));
    assert_eq!(
        (&routes["target"], &routes["ok"], &routes["errors"]),
        (&json!("missing.toml"), &json!(true), &json!([]))
    );
}

#[test]
fn check_gives_a_verdict_per_route_and_an_exit_code() {
    let examples = root().join("examples");
    for target in ["hello:app", "users:app", "todo:app", "cpu:app"] {
        let (code, out, err) = said(&root(), &["check", target, "--app-dir", examples.to_str().expect("UTF-8")]);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.ends_with(" ok, 0 failing\n"), "{out}");
    }
    let (code, out, _) = said(&apps(), &["check", "missing.toml", "--json"]);
    let report: Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((code, &report["ok"]), (Some(1), &json!(false)));
    let verdict = |path: &str| {
        let routes = report["routes"].as_array().expect("a list");
        let route = routes.iter().find(|route| route["path"] == path).expect("the route");
        (route["verdict"].as_str().expect("a verdict").to_owned(), route["message"].as_str().unwrap_or("").to_owned())
    };
    for (path, expected, message) in [
        ("/good", "ok", ""),
        ("/module", "module_not_found", "there is no module 'no_such_module'"),
        ("/module-inside", "module_not_found", "'missing_parts' is not a package"),
        ("/import", "import_failed", "RuntimeError: not today"),
        ("/dependency", "import_failed", "No module named 'no_such_dependency'"),
        ("/function", "function_not_found", "module missing_parts has no attribute 'no_such_function'"),
        ("/middle", "function_not_found", "missing_parts.Users has no attribute 'Admins'"),
        ("/last", "function_not_found", "missing_parts.Users has no attribute 'hide'"),
        ("/value", "not_callable", "missing_parts:VALUE is an int, which cannot be called"),
        ("/class-attribute", "not_callable", "missing_parts:Users.count is an int, which cannot be called"),
    ] {
        let (found, words) = verdict(path);
        assert_eq!(found, expected, "{path}");
        assert!(words.contains(message), "{path}: {words}");
    }
}

#[test]
fn names_that_no_other_interpreter_finds_are_verdicts_of_check_and_mistakes_of_serve() {
    let app = "from polygil import App\napp = App()\n\ndef make():\n    def inner(): return 1\n    return inner\n\n\
               app.get('/lambda')(lambda: 1)\napp.get('/local')(make())\n\n@app.get('/fine')\ndef fine(): return 1\n";
    let manifest = "[[routes]]\nmethod = \"GET\"\npath = \"/main\"\nmodule = \"__main__\"\nfunction = \"show\"\n";
    let directory = directory(&[("names.py", app), ("main.toml", manifest)]);
    let (code, out, err) = said(directory.path(), &["check", "names:app", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(code, Some(1));
    let verdicts: Vec<_> =
        report["routes"].as_array().expect("a list").iter().map(|route| route["verdict"].clone()).collect();
    assert_eq!(verdicts, ["unreachable", "unreachable", "ok"]);
    let (code, out, _) = said(directory.path(), &["check", "main.toml"]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("unreachable  GET  /main  __main__:show  (main.toml:1)\n"), "{out}");

    let (code, _, err) = said(directory.path(), &["serve", "names:app", "--port", "0"]);
    assert_eq!(code, Some(2), "{err}");
    for words in ["names.py:8", "lambda"] {
        assert!(err.contains(words), "{words:?} is not in:\n{err}");
    }
}

#[test]
fn a_refused_extension_is_named_with_the_chain_to_the_users_line() {
    let directory = directory(&[
        ("shop/__init__.py", ""),
        ("shop/app.py", &format!("from shop import prices\n{ROUTE}")),
        ("shop/prices.py", "import decimal\nfrom shop.deep import trace\n"),
        ("shop/deep.py", "import faulthandler as trace\n"),
    ]);
    let (code, out, err) = said(directory.path(), &["check", "shop.app:app", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let route = &report["routes"][0];
    assert_eq!(
        (code, &route["verdict"], &route["details"]["library"]),
        (Some(1), &json!("import_failed"), &json!("faulthandler"))
    );
    let chain = route["details"]["import_chain"].as_array().expect("a list");
    let steps: Vec<_> = chain.iter().map(|step| step["code"].as_str().expect("code")).collect();
    assert_eq!(steps, ["from shop import prices", "from shop.deep import trace", "import faulthandler as trace"]);
    assert!(route["details"]["advice"].as_array().is_some_and(|ways| ways.len() >= 3), "{route}");
}

#[test]
fn what_could_not_run_exits_with_2_and_says_why() {
    let duplicate = format!("{ROUTE}@app.get('/')\ndef other():\n    return 'y'\n");
    let conflict =
        format!("{ROUTE}@app.get('/a/{{x}}')\ndef a(x): return x\n@app.get('/a/{{y}}')\ndef b(y): return y\n");
    let shadowed = format!("{ROUTE}@app.get('/again')\ndef index():\n    return 'y'\n");
    let directory = directory(&[
        ("duplicate.py", &duplicate),
        ("conflict.py", &conflict),
        ("shadowed.py", &shadowed),
        ("raises.py", "1/0\n"),
        ("other.py", "thing = 1\n"),
        ("broken.toml", "[[routes]\n"),
        ("app.py", ROUTE),
    ]);
    let cases: [(&[&str], &[&str]); 10] = [
        (&["serve", "nothing:app"], &["module_not_found", "'nothing'"]),
        (&["check", "nothing:app"], &["module_not_found"]),
        (&["serve", "raises:app"], &["import_failed", "ZeroDivisionError", "raises.py"]),
        (&["serve", "other:app"], &["function_not_found", "'app'"]),
        (&["serve", "other:thing"], &["not a polygil.App"]),
        (&["serve", "broken.toml"], &["broken.toml:1"]),
        (&["serve", "missing.toml"], &["missing.toml"]),
        (&["serve", "duplicate:app"], &["duplicate.py:6", "duplicate.py:3", "registered twice"]),
        (&["serve", "conflict:app"], &["conflict.py:8", "conflict.py:6", "/a/{x}", "/a/{y}"]),
        (&["serve", "shadowed:app"], &["shadowed", "shadowed.py:3", "shadowed.py:6"]),
    ];
    for (args, words) in cases {
        let (code, out, err) = said(directory.path(), args);
        assert_eq!(code, Some(2), "{args:?}: {out}{err}");
        for word in words {
            assert!(err.contains(word), "{args:?}: {word:?} is not in:\n{err}");
        }
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let (code, _, err) = said(directory.path(), &["serve", "app:app", "--port", &port]);
    assert_eq!(code, Some(2));
    assert!(err.contains(&port) && err.contains("another process listens there"), "{err}");
}

#[test]
fn options_come_from_flags_variables_and_pyproject_and_mistakes_come_together() {
    let directory =
        directory(&[("app.py", ROUTE), ("pyproject.toml", "[tool.polygil]\nworkers = 3\nport = 0\nqueue-dept = 1\n")]);
    let mut wrong = command(directory.path(), &["serve", "app:app", "--placement", "random"]);
    let output = output_in_time(wrong.env("POLYGIL_LOG_LEVEL", "loud"));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), err.lines().count()), (Some(2), 3), "{err}");
    for words in [
        "--placement: \"random\"",
        "POLYGIL_LOG_LEVEL: \"loud\"",
        "queue-dept (line 4): there is no such option; did you mean queue-depth?",
    ] {
        assert!(err.contains(words), "{words:?} is not in:\n{err}");
    }
    std::fs::write(directory.path().join("pyproject.toml"), "[tool.polygil]\nworkers = 3\nport = 0\n")
        .expect("written");
    let ready = |args: &[&str], variables: &[(&str, &str)]| {
        let mut serve = command(directory.path(), &[&["serve", "app:app"], args].concat());
        let mut child = serve.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let mut out = child.stdout.take().expect("piped");
        let mut byte = [0];
        while !line.ends_with('\n') && out.read(&mut byte).expect("readable") == 1 {
            line.push(byte[0].into());
        }
        child.kill().expect("the child is ours");
        child.wait().expect("it ends");
        line.rsplit_once(" with ").map(|(_, workers)| workers.trim().to_owned()).unwrap_or(line)
    };
    assert_eq!(ready(&[], &[]), "3 workers");
    assert_eq!(ready(&[], &[("POLYGIL_WORKERS", "2")]), "2 workers");
    assert_eq!(ready(&["--workers", "1"], &[("POLYGIL_WORKERS", "2")]), "1 worker");
}

#[test]
fn workers_are_as_many_as_the_cores_that_the_process_may_use() {
    let directory = directory(&[("app.py", ROUTE)]);
    let mut serve = Command::new("taskset");
    serve.args(["-c", "0"]).arg(polygil()).args(["serve", "app:app", "--port", "0"]).current_dir(directory.path());
    let mut child = serve.stdout(Stdio::piped()).spawn().expect("taskset is there");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    child.kill().expect("the child is ours");
    child.wait().expect("it ends");
    assert!(
        line.starts_with("polygil: serving app:app on http://127.0.0.1:") && line.ends_with(" with 1 worker\n"),
        "{line}"
    );
}

#[test]
fn scripts_learn_the_port_from_a_descriptor() {
    let directory = directory(&[("app.py", ROUTE)]);
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" serve app:app --port 0 --workers 1 --ready-fd 3 3>&1 >/dev/null"]).arg(polygil());
    let mut child = shell.current_dir(directory.path()).stdout(writer).spawn().expect("it starts");
    // The pipe's last writer is the server, which closes it when it has said the port.
    drop(shell);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("readable");
    let port: u16 = text.trim_end().parse().unwrap_or_else(|_| panic!("{text:?} is no port"));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    child.kill().expect("the child is ours");
    child.wait().expect("it ends");
}

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let directory = directory(&[("app.py", ROUTE)]);
    let path = directory.path().join("socket");
    let mut serve =
        command(directory.path(), &["serve", "app:app", "--workers", "1", "--uds", path.to_str().expect("UTF-8")]);
    let mut child = serve.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nx"), "{answer}");
    common::signal(&child, 15);
    assert!(child.wait().expect("it ends").success());
    assert!(!path.exists(), "the socket is gone with the server");
}

#[test]
fn logs_are_lines_of_json_and_answers_are_logged_when_asked_for() {
    let server = Server::start("contract:app", &["--log-format", "json", "--access-log", "--workers", "1"]);
    let id = server.get("/raise").header("x-request-id").expect("an id").to_owned();
    assert_eq!(server.get("/value/int").status, 200);
    let (_, log) = server.stop();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let raised = events.iter().find(|event| event["error"] == "handler_raised").expect("the error");
    assert_eq!(
        (raised["request_id"].as_str(), &raised["route"], &raised["handler"]),
        (Some(id.as_str()), &json!("GET /raise"), &json!("contract:raises"))
    );
    assert!(raised["message"].as_str().is_some_and(|text| text.contains("ValueError: out of cheese\n")), "{raised}");
    let access: Vec<_> = events.iter().filter(|event| event["target"] == "polygil::access").collect();
    assert_eq!(access.len(), 2, "{log}");
    assert_eq!(
        (&access[1]["method"], &access[1]["path"], &access[1]["status"]),
        (&json!("GET"), &json!("/value/int"), &json!(200))
    );
}

/// `python -c CODE` where polygil is installed, in this directory.
fn python(directory: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let python = polygil().parent().expect("a bin directory").join("python");
    let output =
        output_in_time(Command::new(python).args(args).current_dir(directory).env("PYTHONDONTWRITEBYTECODE", "1"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn python_serves_apps_too_and_counts() {
    let directory =
        directory(&[("app.py", ROUTE), ("script.py", &format!("{ROUTE}import polygil\npolygil.serve(app, port=0)\n"))]);
    let (code, out, _) = python(directory.path(), &["-m", "polygil", "routes", "app:app"]);
    assert_eq!((code, out.as_str()), (Some(0), "GET  /  app:index  (app.py:3)\n"));
    let code = r#"
import app, json, polygil, urllib.request
with polygil.Server(app.app, port=0, workers=2) as server:
    for number in range(10):
        assert urllib.request.urlopen(server.url + "/").read() == b"x"
    (stats,) = polygil.stats()
print(json.dumps(stats))
try:
    polygil.serve("app:app", prot=1)
except ValueError as error:
    print(error)
"#;
    let (code, out, err) = python(directory.path(), &["-c", code]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (stats, mistake) = out.split_once('\n').expect("two lines");
    let stats: Value = serde_json::from_str(stats).expect("JSON");
    assert_eq!((&stats["requests_received"], &stats["pool"]["submitted"]), (&json!(10), &json!(10)), "{stats}");
    let pool = |name: &str| stats["pool"][name].as_u64().expect("a count");
    let ended =
        pool("completed") + pool("refused") + pool("expired") + pool("abandoned") + pool("waiting") + pool("running");
    assert_eq!(ended, 10, "{stats}");
    assert_eq!(mistake.trim_end(), "serve(prot=…): there is no such option; did you mean port?");
    let (code, _, err) = python(directory.path(), &["script.py"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("RegistrationError") && err.contains("script.py:3") && err.contains("polygil serve script:app"),
        "{err}"
    );
}
