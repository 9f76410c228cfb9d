//! The examples do what their first lines say, and a newcomer without a suitable Python is told what to install.

mod common;

use common::{Server, root};
use serde_json::json;

fn example(target: &str) -> Server {
    Server::start_in(&root().join("examples"), target, &[])
}

#[test]
fn users_answers_as_the_readme_says() {
    let server = example("users:app");
    assert_eq!(server.get("/").json(), json!({"try": ["/users", "/users/7?verbose=true", "/users/abc", "/echo"]}));
    let answer = server.get("/users/7?verbose=true");
    assert_eq!((answer.status, answer.text()), (200, r#"{"id":7,"name":"Grace","tags":["compilers"]}"#));
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    for target in ["/users/7?verbose=true", "/users/abc", "/nope"] {
        let answer = server.get(target);
        let shown = format!("$ curl http://127.0.0.1:8000{target}\n    {}\n", answer.text());
        assert!(readme.contains(&shown), "the README does not show\n{shown}");
    }
    assert_eq!(server.get("/users/abc").status, 422);
    assert_eq!(server.get("/nope").status, 404);
    let answer = server.request("DELETE", "/users/7", &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(server.get("/users/999").json(), json!({"detail": "no user 999"}));
    let names = |target: &str| -> Vec<String> {
        let users = server.get(target).json();
        users.as_array().expect("a list").iter().map(|user| user["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("/users?order=name"), ["Ada", "Barbara", "Grace"]);
    assert_eq!(names("/users?tag=engines&tag=compilers&limit=1"), ["Ada"]);
    assert_eq!(server.get("/users?order=age").status, 422);
    let json = [("content-type", "application/json")];
    let answer = server.request("POST", "/echo", &json, br#"{"a":1}"#);
    assert_eq!((answer.status, answer.text()), (201, r#"{"you_sent":{"a":1},"as":"application/json"}"#));
}

#[test]
fn hello_and_cpu_answer() {
    assert_eq!(example("hello:app").get("/").text(), r#"{"hello":"world"}"#);
    let answer = example("cpu:app").get("/primes?below=100").json();
    assert_eq!((&answer["below"], &answer["primes"]), (&json!(100), &json!(25)));
}

#[test]
fn todo_keeps_its_items_for_all_workers() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("todo.sqlite3");
    let environment = [("TODO_DATABASE", database.to_str().expect("UTF-8"))];
    let server = Server::start_with(&root().join("examples"), "todo:app", &[], &environment);
    let json = [("content-type", "application/json")];
    for number in 1..=10 {
        let answer = server.request("POST", "/todos", &json, format!(r#"{{"title":"thing {number}"}}"#).as_bytes());
        assert_eq!((answer.status, answer.json()["id"].as_u64()), (201, Some(number)));
    }
    for _ in 0..10 {
        assert_eq!(server.get("/todos").json().as_array().expect("a list").len(), 10, "whichever worker answers");
    }
    assert_eq!(server.request("DELETE", "/todos/3", &[], b"").status, 204);
    assert_eq!(server.request("DELETE", "/todos/3", &[], b"").status, 404);
    assert_eq!(server.request("POST", "/todos", &json, br#"{"title":" "}"#).status, 422);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.request("POST", "/add", &form, b"title=%3Cb%3E+%26+more");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let page = server.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("&lt;b&gt; &amp; more"), "{}", page.text());
}
