//! The function that is called is the one that was registered, in a context of its own; what handlers share, and what not.

mod common;

use std::path::Path;

use common::{Server, clean, output_in_time, python, run};
use serde_json::{Value, json};

/// A directory with an `app.py`.
fn app(source: &str) -> tempfile::TempDir {
    files(&[("app.py", source)])
}

fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    directory
}

/// What `check` says of each route: path, verdict and message; and its exit code.
fn check(directory: &Path) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = run(directory, &["check", "app:app", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let routes = report["routes"].as_array().expect("a list").iter();
    let verdicts = routes.map(|route| (text(&route["path"]), text(&route["verdict"]), text(&route["message"])));
    (output.status.code(), verdicts.collect())
}

/// Each route answers with its own path, in each of two workers; nothing is wrong with it for `check`.
fn assert_each_answers_its_path(source: &str, paths: &[&str]) {
    let directory = app(source);
    let (code, verdicts) = check(directory.path());
    assert_eq!(code, Some(0), "{verdicts:?}");
    let server = Server::start_in(directory.path(), "app:app", &["--placement", "round-robin"]);
    for path in paths.iter().cycle().take(paths.len() * 4) {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text()), (200, *path));
    }
}

/// The routes that `check` refuses, each with words of its message; nothing is served.
fn assert_refused(source: &str, refused: &[(&str, &str)]) {
    let directory = app(source);
    let (code, verdicts) = check(directory.path());
    assert_eq!(code, Some(1), "{verdicts:?}");
    let failing: Vec<_> = verdicts.iter().filter(|(_, verdict, _)| verdict != "ok").collect();
    let paths: Vec<_> = failing.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, refused.iter().map(|(path, _)| *path).collect::<Vec<_>>(), "{verdicts:?}");
    for ((path, _, message), (_, words)) in failing.iter().zip(refused) {
        assert!(message.contains(words), "{path}: {words:?} is not in {message:?}");
    }
    let output = run(directory.path(), &["serve", "app:app", "--port", "0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0), "{said}");
    assert!(refused.iter().any(|(_, words)| said.contains(words)), "{said}");
}

#[test]
fn a_method_is_found_on_the_class_that_it_was_taken_from() {
    let source = "
from polygil import App
app = App()

class Crud:
    model = '/none'
    @classmethod
    def list(cls) -> str: return cls.model
    @staticmethod
    def fixed() -> str: return '/fixed'

class Users(Crud):
    model = '/users'

class Outer:
    class Posts(Crud):
        model = '/posts'

class Meta(type):
    def meta(cls) -> str: return cls.path

class Made(metaclass=Meta):
    path = '/meta'

class Two(Crud):
    model = '/alias'
    other = Crud.__dict__['list']

Kept = type('View', (Crud,), {'model': '/kept'})

app.get('/users')(Users.list)
app.get('/posts')(Outer.Posts.list)
app.get('/fixed')(Users.fixed)
app.get('/meta')(Made.meta)
app.get('/alias')(Two.other)
app.get('/kept')(Kept.list)
";
    assert_each_answers_its_path(source, &["/users", "/posts", "/fixed", "/meta", "/alias", "/kept"]);
}

#[test]
fn a_function_under_another_name_is_found_there() {
    let source = "
import functools
from polygil import App
app = App()

def named(path):
    def decorate(function):
        @functools.wraps(function)
        def wrapper() -> str: return path
        return wrapper
    return decorate

def show() -> str: return '/show'

other = named('/other')(show)
app.get('/show')(show)
app.get('/other')(other)

@app.get('/renamed')
def renamed() -> str: return '/renamed'
renamed.__qualname__ = 'something.else'

@app.get('/top')
@named('/top')
def top() -> str: return '/wrong'
";
    assert_each_answers_its_path(source, &["/show", "/other", "/renamed", "/top"]);
}

#[test]
fn what_no_name_leads_to_is_refused_and_never_another_function() {
    let classes = "
from polygil import App
app = App()

class Crud:
    model = 'none'
    @classmethod
    def list(cls) -> str: return cls.model

for name in ('cats', 'dogs'):
    app.get('/' + name)(type('View' + name, (Crud,), {'model': name}).list)
for name in ('one', 'two'):
    class View(Crud):
        model = name
    app.get('/' + name)(View.list)
";
    let gone = "no longer there by that name";
    assert_refused(classes, &[("/cats", gone), ("/dogs", gone), ("/one", "now means another object")]);
    let names = "
import functools
from polygil import App, HTTPException
app = App()

def admin_only(function):
    @functools.wraps(function)
    def wrapper() -> str: raise HTTPException(403)
    return wrapper

@app.get('/public')
def show() -> str: return 'public'
show = admin_only(show)
app.get('/admin')(show)

@admin_only
@app.get('/below')
def below() -> str: return 'below'

@functools.cache
@app.get('/cached')
def cached() -> str: return 'cached'

class Users:
    @app.get('/patched')
    @staticmethod
    def patched() -> str: return 'first'
Users.patched = staticmethod(lambda: 'second')

@app.get('/deleted')
def deleted() -> str: return 'x'
del deleted
";
    let top = "let the route's decorator stand above all others";
    let refused = [("/public", top), ("/below", top), ("/cached", top), ("/patched", "rename one"), ("/deleted", gone)];
    assert_refused(names, &refused);
}

#[test]
fn an_interpreter_that_registers_another_function_is_found_out() {
    // Each import of the module binds the name to another function; main has one of them, the worker the other.
    let source = "
import os
from polygil import App
app = App()

def first() -> str: return 'first'
def second() -> str: return 'second'

count = int(os.environ.get('IMPORTS', '0'))
os.environ['IMPORTS'] = str(count + 1)
app.get('/')(first if count == 0 else second)
";
    let directory = app(source);
    let (code, verdicts) = check(directory.path());
    assert_eq!((code, verdicts[0].1.as_str()), (Some(1), "function_not_found"), "{verdicts:?}");
    assert!(verdicts[0].2.starts_with("app:first is not the function that GET / registers in this interpreter"));
    let output = run(directory.path(), &["serve", "app:app", "--port", "0", "--workers", "1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("app:first is not the function that GET / registers"), "{said}");
}

#[test]
fn workers_import_the_app_first_as_main_does() {
    // `views` may be imported only when `app` has prepared what it needs.
    let directory = files(&[
        (
            "app.py",
            "from polygil import App\nimport settings\nsettings.READY = True\nimport views\napp = App()\napp.include(views.router)\n",
        ),
        ("settings.py", "READY = False\n"),
        (
            "views.py",
            "import settings\nassert settings.READY\nfrom polygil import Router\nrouter = Router()\n@router.get('/')\ndef show() -> str: return '/'\n",
        ),
    ]);
    assert_eq!(check(directory.path()).0, Some(0));
    assert_eq!(Server::start_in(directory.path(), "app:app", &[]).get("/").text(), "/");
}

#[test]
fn an_app_without_routes_is_a_warning_and_a_failed_check() {
    let directory = app("from polygil import App\napp = App()\n");
    let output = run(directory.path(), &["check", "app:app"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "app:app has no routes: every request would be answered with 404; register one, @app.get(\"/\")\n";
    assert_eq!((output.status.code(), &*said), (Some(1), expected));
    let output = run(directory.path(), &["check", "app:app", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["ok"], &report["routes"]), (Some(1), &json!(false), &json!([])));
    let server = Server::start_in(directory.path(), "app:app", &[]);
    assert_eq!(server.get("/").status, 404);
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains(" WARN ") && log.contains("app:app has no routes"), "{log}");
}

#[test]
fn a_request_leaves_nothing_in_the_context_of_the_next() {
    let source = "
import contextvars, decimal
from polygil import App
app = App()
USER = contextvars.ContextVar('user', default='nobody')
BASE = contextvars.ContextVar('base')
BASE.set('imported')
decimal.getcontext().prec = 10
HALF = decimal.Decimal(1) / 2

@app.on_startup
def start(): USER.set('hook')

@app.get('/login/{name}')
def login(name: str) -> str:
    BASE.set(name)
    USER.set(name)
    return name

@app.get('/who')
def who() -> list: return [USER.get(), BASE.get()]

@app.get('/fails')
def fails() -> str:
    USER.set('failed')
    1 / 0

@app.get('/pieces/{name}')
def pieces(name: str):
    USER.set(name)
    decimal.getcontext().prec = 3
    for _ in range(3):
        yield USER.get() + ' ' + str(decimal.Decimal(1) / 7) + '\\n'

@app.get('/precise')
def precise() -> str:
    decimal.getcontext().prec = 4
    return str(decimal.Decimal(1) / 7)

@app.get('/divide')
def divide() -> list:
    flags = decimal.getcontext().flags[decimal.Inexact]
    return [str(decimal.Decimal(1) / 7), flags]
";
    let directory = app(source);
    let server = Server::start_in(directory.path(), "app:app", &["--workers", "1"]);
    let who = json!(["hook", "imported"]);
    let seventh = json!(["0.1428571429", false]);
    for _ in 0..3 {
        assert_eq!(server.get("/login/ada").text(), "ada");
        assert_eq!(server.get("/who").json(), who);
        assert_eq!(server.get("/fails").status, 500);
        assert_eq!(server.get("/who").json(), who);
        assert_eq!(server.get("/precise").text(), "0.1429");
        assert_eq!(server.get("/divide").json(), seventh);
        // On HTTP/1.0 the content ends with the connection.
        let mut client = server.connect();
        client.send(b"GET /pieces/bob HTTP/1.0\r\n\r\n");
        let all = String::from_utf8(client.rest()).expect("text");
        assert!(all.ends_with(&format!("\r\n\r\n{}", "bob 0.143\n".repeat(3))), "{all}");
        assert_eq!((server.get("/who").json(), server.get("/divide").json()), (who.clone(), seventh.clone()));
    }
}

#[test]
fn a_decimal_context_that_nothing_used_before_the_requests_is_new_for_each() {
    let source = "
import decimal
from polygil import App
app = App()
@app.get('/precise')
def precise() -> str:
    decimal.getcontext().prec = 4
    return str(decimal.Decimal(1) / 7)
@app.get('/divide')
def divide() -> str: return str(decimal.Decimal(1) / 7)
";
    let directory = app(source);
    let server = Server::start_in(directory.path(), "app:app", &["--workers", "1"]);
    for _ in 0..2 {
        assert_eq!(server.get("/precise").text(), "0.1429");
        assert_eq!(server.get("/divide").text(), "0.1428571428571428571428571429");
    }
}

#[test]
fn os_environ_is_each_interpreters_own_and_children_get_the_processes() {
    let source = "
import os, subprocess, time
from polygil import App
app = App()
@app.put('/set')
def put() -> str:
    os.environ['X_TEST'] = '1'
    return 'set'
@app.get('/get/{party}')
def get(party: str) -> list:
    # Each worker has one of the two at the same time.
    open(f'parties/{party}', 'w').close()
    while len(os.listdir('parties')) < 2:
        time.sleep(0.001)
    return [os.environ.get('X_TEST'), subprocess.check_output(['printenv', 'X_TEST'], text=True)]
";
    let directory = app(source);
    std::fs::create_dir(directory.path().join("parties")).expect("created");
    let server = Server::start_in(directory.path(), "app:app", &["--workers", "2"]);
    assert_eq!(server.request("PUT", "/set", &[], b"").text(), "set");
    let mut clients: Vec<_> = ["a", "b"]
        .iter()
        .map(|party| {
            let mut client = server.connect();
            client.send(&common::request("GET", &format!("/get/{party}"), &[], b""));
            client
        })
        .collect();
    let mut seen: Vec<_> = clients.iter_mut().map(|client| client.answer("GET").text().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, [r#"["1","1\n"]"#, r#"[null,"1\n"]"#]);
}

#[test]
fn children_of_handlers_have_all_cores_of_the_process() {
    let source = "
import os, subprocess, threading
from polygil import App
app = App()
@app.get('/child')
def child() -> int: return int(subprocess.check_output(['nproc']))
@app.get('/thread')
def thread() -> int:
    found = []
    one = threading.Thread(target=lambda: found.append(len(os.sched_getaffinity(0))))
    one.start()
    one.join()
    return found[0]
";
    let directory = app(source);
    let server = Server::start_in(directory.path(), "app:app", &[]);
    let cores = std::thread::available_parallelism().expect("known").get();
    for target in ["/child", "/thread"] {
        assert_eq!(server.get(target).json(), json!(cores), "{target}");
    }
}

#[test]
fn annotations_in_quotes_inside_types_mean_what_they_say() {
    let source = "
import enum
from typing import Annotated, Dict, List, Literal, Optional, Union
from polygil import App
app = App()

@app.get('/1')
def a1(c: Optional['Color'] = None) -> object: return [c and c.name]
@app.get('/2')
def a2(c: List['Color'] = []) -> object: return [x.name for x in c]
@app.get('/3')
def a3(c: list['Color'] = []) -> object: return [x.name for x in c]
@app.get('/4')
def a4(c: Annotated['Color', 'doc'] = None) -> object: return [c and c.name]
@app.post('/5')
def a5(body: Dict[str, 'int']) -> object: return body
@app.post('/6')
def a6(body: dict['str', int]) -> object: return body
@app.get('/7')
def a7(c: Union['Color', None] = None) -> object: return [c and c.name]
@app.get('/8')
def a8(c: 'list[\"Color\"] | None' = None) -> object: return [x.name for x in c]
@app.get('/9')
def a9(c: Optional[List[Annotated['Color', 'x']]] = None) -> object: return [x.name for x in c]

class Call:
    def __init__(self): self.__qualname__ = 'call'
    def __call__(self, c: Optional['Color'] = None) -> object: return [c and c.name]
call = Call()
app.get('/call')(call)

class Color(enum.Enum):
    RED = 'red'
";
    let directory = app(source);
    let (code, verdicts) = check(directory.path());
    assert_eq!(code, Some(0), "{verdicts:?}");
    let server = Server::start_in(directory.path(), "app:app", &[]);
    for path in ["/1", "/2", "/3", "/4", "/7", "/8", "/9", "/call"] {
        assert_eq!(server.get(&format!("{path}?c=red")).json(), json!(["RED"]), "{path}");
        assert_eq!(server.get(&format!("{path}?c=blue")).status, 422, "{path}");
    }
    for path in ["/5", "/6"] {
        let json = [("content-type", "application/json")];
        assert_eq!(server.request("POST", path, &json, b"{\"a\": 1}").json(), json!({"a": 1}), "{path}");
        assert_eq!(server.request("POST", path, &json, b"{\"a\": \"x\"}").status, 422, "{path}");
    }
}

#[test]
fn a_quoted_name_that_is_nowhere_is_named() {
    let directory =
        app("from polygil import App\napp = App()\n@app.get('/')\ndef show(c: list['Colour'] = []): return 1\n");
    let (code, verdicts) = check(directory.path());
    assert_eq!((code, verdicts[0].1.as_str()), (Some(1), "not_callable"));
    assert!(verdicts[0].2.contains("name 'Colour' is not defined"), "{verdicts:?}");
}

#[test]
fn a_module_that_is_missing_is_told_with_where_it_was_looked_for() {
    let directory = app("");
    for command in ["check", "serve", "routes"] {
        let output = run(directory.path(), &[command, "nowhere:app"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let here = directory.path().canonicalize().expect("there");
        assert!(said.contains("there is no module 'nowhere'; looked in: "), "{said}");
        assert!(said.contains(here.to_str().expect("UTF-8")), "{said}");
    }
}

#[test]
fn a_500_repeats_nothing_that_the_client_sent_unless_debug() {
    let source = "
from polygil import App
app = App()
@app.get('/name/{text}')
def name(text: str): return 'x', 200, {text: 'value'}
@app.get('/value/{text}')
def value(text: str): return 'x', 200, {'x-a': text}
@app.get('/type/{text}')
def kind(text: str): return {text: object()}
@app.get('/key/{text}')
def key(text: str): return {text: {(text,): 1}}
@app.get('/raise/{text}')
def fail(text: str): raise ValueError(text)
";
    let directory = app(source);
    let quiet = Server::start_in(directory.path(), "app:app", &[]);
    let loud = Server::start_in(directory.path(), "app:app", &["--debug"]);
    for target in ["/name/a%20secret", "/value/a%0Asecret", "/type/secret", "/key/secret", "/raise/secret"] {
        let answer = quiet.get(target);
        assert_eq!(answer.status, 500, "{target}");
        assert!(!answer.text().contains("secret"), "{target}: {}", answer.text());
        let answer = loud.get(target);
        assert_eq!(answer.status, 500, "{target}");
        assert!(answer.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{target}");
    }
}

/// A script that starts a server in the program, and how it ends.
fn script(source: &str) -> (Option<i32>, String, String) {
    let index = "from polygil import App\napp = App()\n@app.get('/')\ndef index() -> str: return 'hello'\n";
    let directory = files(&[("app.py", index), ("script.py", source)]);
    let output = output_in_time(&mut clean(&python(), directory.path(), &["script.py"]));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_program_that_fails_beside_its_server_ends() {
    let (code, out, err) = script(
        "
import atexit, polygil, urllib.request
atexit.register(print, 'exit function', flush=True)
server = polygil.Server('app:app', port=0, workers=1, log_level='warn').start()
print(urllib.request.urlopen(server.url).read().decode(), flush=True)
raise RuntimeError('the script fails before it stops the server')
",
    );
    assert_eq!((code, out.as_str()), (Some(1), "hello\nexit function\n"), "{err}");
    assert!(err.ends_with("RuntimeError: the script fails before it stops the server\n"), "{err}");
}

#[test]
fn a_program_that_ends_without_stopping_its_server_ends_well() {
    let (code, out, err) = script(
        "import polygil\npolygil.Server('app:app', port=0, workers=1, log_level='warn').start()\nprint('end')\n",
    );
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "end\n", ""));
}

/// What becomes of the child is CPython's affair: 3.13 aborts it, because it cannot fork beside other interpreters.
#[test]
fn a_fork_beside_a_server_does_not_stop_it() {
    let (code, out, err) = script(
        "
import os, polygil, sys, urllib.request
with polygil.Server('app:app', port=0, workers=1, log_level='warn') as server:
    child = os.fork()
    if child == 0:
        server.stop()
        sys.exit(0)
    os.waitpid(child, 0)
    print(urllib.request.urlopen(server.url).read().decode())
",
    );
    assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{err}");
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let (code, _, err) = script("import polygil\npolygil.Server('nowhere:app', port=0).start()\n");
    assert_eq!(code, Some(1), "{err}");
    let last = err.trim_end().lines().last().expect("a line");
    assert!(last.starts_with("RuntimeError: the server did not start: module_not_found: there is no module 'nowhere'"));
    let (_, _, err) = script("import polygil\npolygil.Server('app:app', workers=0).start()\n");
    let last = err.trim_end().lines().last().expect("a line").to_owned();
    let expected = "RuntimeError: the server did not start: serve(workers=…): \"0\" must be auto, or a whole number from 1 to 1024";
    assert_eq!(last, expected);
}
