//! The suites `wsgi` and `asgi` against servers of their own: an ideal one passes everything, and each rule that it breaks on purpose is
//! found by a case named for that rule.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use polygil_conformance::exec::Context;
use polygil_conformance::run::run;
use polygil_conformance::server::{Launcher, Source};
use polygil_conformance::suite::{Loaded, Suite};
use polygil_conformance::verdict::Verdict;

/// Which case of `wsgi` finds which violation.
const WSGI: &[(&str, &str)] = &[
    ("environ-subclass", "environ/is-a-dict"),
    ("script-name-slash", "environ/script-name-root"),
    ("script-name-left-in-path", "environ/script-name-mounted"),
    ("path-not-decoded", "environ/path-decoded"),
    ("path-plus", "environ/path-plus"),
    ("path-utf-8", "environ/path-utf-8-as-latin-1"),
    ("query-decoded", "environ/query"),
    ("content-type-as-http", "environ/content-type"),
    ("server-name-empty", "environ/server-name"),
    ("port-int", "environ/native-strings"),
    ("protocol-fixed", "environ/protocol-1-0"),
    ("first-header-only", "environ/http-variable-twice"),
    ("header-utf-8", "environ/http-variable-latin-1"),
    ("version-list", "environ/wsgi-version"),
    ("scheme-upper", "environ/url-scheme"),
    ("run-once-true", "environ/run-once"),
    ("multithread-false", "concurrency/multithread"),
    ("no-input-iteration", "environ/input-methods"),
    ("no-errors-flush", "environ/errors-methods"),
    ("errors-ascii", "input/errors-any-text"),
    ("read-needs-size", "input/read-all"),
    ("read-none-at-end", "input/read-at-end"),
    ("read-past-end", "input/read-past-end"),
    ("read-gives-bytearray", "input/read-type"),
    ("readline-ignores-size", "input/readline-size"),
    ("readline-strips", "input/readline"),
    ("readlines-one", "input/readlines"),
    ("chunks-raw", "input/chunked"),
    ("no-100-continue", "input/expect-continue"),
    ("start-response-returns-none", "start-response/returns-write"),
    ("start-response-twice", "start-response/twice"),
    ("exc-info-keeps-head", "start-response/exc-info-before-head"),
    ("exc-info-after-head", "start-response/exc-info-after-head"),
    ("exc-info-other-error", "start-response/exc-info-reraised"),
    ("head-at-once", "start-response/head-waits-for-content"),
    ("head-with-empty-block", "start-response/exc-info-during-iteration"),
    ("head-before-iteration", "start-response/during-first-iteration"),
    ("headers-reordered", "start-response/header-order"),
    ("header-joined", "start-response/header-order"),
    ("no-date", "start-response/date"),
    ("header-not-latin-1", "start-response/header-not-latin-1"),
    ("status-unchecked", "headers/status-not-str"),
    ("headers-tuple", "headers/list-not-tuple"),
    ("header-bytes", "headers/name-bytes"),
    ("header-name-unchecked", "headers/name-not-token"),
    ("header-control", "headers/value-control"),
    ("hop-by-hop", "headers/hop-by-hop-connection"),
    ("keyword-call", "iteration/positional"),
    ("list-only", "iteration/lazy"),
    ("blocks-joined", "iteration/lazy-with-length"),
    ("stops-at-empty", "iteration/empty-block"),
    ("newlines-altered", "iteration/line-ends-kept"),
    ("text-block", "iteration/text-block"),
    ("touches-attributes", "iteration/no-other-attributes"),
    ("no-close", "iteration/close"),
    ("closes-twice", "iteration/close"),
    ("no-close-for-generators", "iteration/close-of-generator"),
    ("no-close-after-error", "iteration/close-after-error"),
    ("no-close-when-gone", "iteration/close-when-gone"),
    ("error-ends-well", "iteration/raises-in-content"),
    ("error-says-200", "iteration/raises-in-call"),
    ("error-not-logged", "iteration/error-logged"),
    ("sends-past-length", "content/past-length"),
    ("iterates-past-length", "content/past-length-stops"),
    ("short-body-keeps", "content/short-of-length"),
    ("write-buffered", "content/write-at-once"),
    ("file-wrapper-no-close", "content/file-wrapper-close"),
    ("file-wrapper-reads-early", "content/file-wrapper-lazy"),
    ("file-wrapper-rewinds", "content/file-wrapper-position"),
];

/// Which case of `asgi` finds which violation.
const ASGI: &[(&str, &str)] = &[
    ("asgi-missing", "scope/asgi-version"),
    ("version-float", "scope/asgi-version"),
    ("headers-sorted", "scope/headers-order"),
    ("headers-joined", "scope/headers-order"),
    ("headers-text", "scope/headers-are-bytes"),
    ("http-version-long", "scope/http-version-1-1"),
    ("scheme-empty", "scope/scheme"),
    ("ws-scheme-http", "websocket/scope-scheme"),
    ("path-latin-1", "scope/path-utf-8"),
    ("path-plus", "scope/path-plus"),
    ("path-without-root", "scope/root-path-mounted"),
    ("raw-path-with-query", "scope/raw-path"),
    ("raw-path-decoded", "scope/raw-path"),
    ("query-decoded", "scope/query-string"),
    ("query-text", "scope/query-string"),
    ("client-port-text", "scope/client"),
    ("tls-without-tls", "scope/tls-absent"),
    ("extension-no-dict", "scope/extensions-are-dicts"),
    ("state-not-copied", "scope/state-copied"),
    ("state-empty", "scope/state"),
    ("state-missing", "scope/state-consistent"),
    ("method-lower", "scope/method"),
    ("subprotocols-missing", "websocket/scope-subprotocols"),
    ("scope-subclass", "scope/is-a-dict"),
    ("header-control", "errors/header-control"),
    ("headers-unchecked", "errors/header-text"),
    ("receive-repeats", "receive/after-response"),
    ("disconnect-misspelt", "receive/after-response"),
    ("no-100-continue", "receive/expect-continue"),
    ("short-body-is-whole", "receive/client-leaves-during-body"),
    ("body-text", "receive/body-type"),
    ("more-body-missing", "receive/body-streamed"),
    ("disconnect-at-once", "receive/after-body-waits"),
    ("disconnect-not-told", "receive/client-leaves"),
    ("no-disconnect-after-answer", "receive/after-response"),
    ("chunks-raw", "receive/chunked"),
    ("gone-silent", "errors/gone"),
    ("late-event-raises", "send/after-the-end-ignored"),
    ("any-order", "errors/start-twice"),
    ("status-unchecked", "errors/status-text"),
    ("start-ends-response", "send/whole"),
    ("transfer-encoding-sent", "send/transfer-encoding-ignored"),
    ("headers-out-reordered", "send/headers-order"),
    ("body-unchecked", "errors/body-text"),
    ("buffers", "send/pieces-at-once"),
    ("head-with-body", "send/head"),
    ("past-length", "send/past-length"),
    ("more-body-ignored", "send/without-length"),
    ("short-body-keeps", "send/short-of-length"),
    ("no-backpressure", "send/backpressure"),
    ("trailers-ignored", "extensions/trailers"),
    ("trailers-unasked", "extensions/trailers-unasked"),
    ("unknown-type-ignored", "errors/unknown-type"),
    ("missing-key-ignored", "errors/status-missing"),
    ("extra-keys-raise", "errors/extra-keys"),
    ("error-says-200", "errors/raises-at-once"),
    ("error-ends-well", "errors/raises-in-content"),
    ("error-not-logged", "errors/error-logged"),
    ("gone-logged", "errors/gone-quiet"),
    ("unfinished-hangs", "errors/returns-in-content"),
    ("ws-gone-silent", "websocket/send-after-disconnect"),
    ("ws-any-order", "websocket/accept-twice"),
    ("ws-denied-200", "websocket/denied"),
    ("ws-send-accepts", "websocket/send-before-accept"),
    ("ws-accept-key", "websocket/accept"),
    ("ws-subprotocol-dropped", "websocket/accept-subprotocol"),
    ("ws-subprotocol-first", "websocket/accept-no-subprotocol"),
    ("ws-headers-dropped", "websocket/accept-headers"),
    ("ws-denial-status", "extensions/denial"),
    ("ws-both", "websocket/send-both"),
    ("ws-text-as-bytes", "websocket/send-text"),
    ("ws-close-1000", "websocket/server-closes"),
    ("ws-reason-dropped", "websocket/server-closes"),
    ("ws-disconnect-not-told", "websocket/client-closes"),
    ("ws-unbounded", "websocket/too-long"),
    ("ws-no-pong", "websocket/ping"),
    ("ws-ping-told", "websocket/ping"),
    ("ws-fragments-told", "websocket/fragments"),
    ("ws-close-unanswered", "websocket/client-closes"),
    ("ws-code-missing", "websocket/client-leaves"),
    ("ws-bad-utf-8", "websocket/no-utf-8"),
    ("ws-text-told-as-bytes", "websocket/receive-text"),
    ("ws-both-told", "websocket/receive-text"),
    ("ws-no-code-1000", "websocket/client-closes-1005"),
    ("ws-code-not-told", "websocket/client-closes"),
    ("ws-reason-not-told", "websocket/client-closes-reason"),
    ("ws-app-end-leaves-open", "websocket/app-returns"),
    ("lifespan-late", "lifespan/startup-awaited"),
    ("lifespan-no-state", "scope/state-consistent"),
    ("lifespan-never", "lifespan/startup"),
    ("lifespan-required", "lifespan/raises"),
    ("failed-start-serves", "lifespan/failed"),
    ("failed-start-silent", "lifespan/failed-message"),
    ("no-shutdown", "lifespan/shutdown"),
    ("shutdown-not-awaited", "lifespan/shutdown-awaited"),
    ("shutdown-failure-silent", "lifespan/shutdown-failed-message"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that the project is built with.
fn python() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = Command::new(root().join("../scripts/find-python")).output().expect("the script runs");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        String::from_utf8(found.stdout).expect("UTF-8").trim().to_owned()
    })
}

/// A launcher for an ideal server.
fn launcher(name: &str, suite: &Suite) -> Launcher {
    let mut source = Launcher::target(name, &suite.root).unwrap_or_else(|error| panic!("{error}"));
    if let Source::Target(target) = &mut source {
        target.program.env = None;
        target.program.name = python().to_owned();
    }
    Launcher { source, root: suite.root.clone(), apps: None }
}

/// The ideal server passes all of its suite: its own, and in the time that the suite promises.
fn passes_everything(name: &str) {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let launcher = launcher(&format!("{name}-ideal"), &suite);
    let context = Context { suite: &suite, launcher: &launcher, liveness: true, patience: Duration::from_secs(10) };
    let cases: Vec<&Loaded> = suite.cases.iter().filter(|case| case.suite == name).collect();
    assert!(cases.len() >= 100, "{} cases of {name}", cases.len());
    let results = run(context, &cases, None, 8, &|_| polygil_conformance::run::Next::Go);
    let wrong: Vec<_> = results.iter().filter(|result| result.verdict != Verdict::Ok).collect();
    let told = wrong.iter().map(|result| format!("{} {}: {:?}", result.verdict.name(), result.id, result.reasons));
    assert!(wrong.is_empty(), "{}", told.collect::<Vec<_>>().join("\n"));
}

/// Each violation is found by its case.
fn each_violation_is_found(name: &str, violations: &[(&str, &str)]) {
    let left = Mutex::new(violations.iter());
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
                loop {
                    let Some((violation, case)) = left.lock().expect("no panic").next() else { break };
                    for setup in suite.setups.values_mut().filter(|setup| setup.app == format!("mirror_{name}:app")) {
                        setup.env.insert("IDEAL_VIOLATION".into(), (*violation).to_owned());
                    }
                    let launcher = launcher(&format!("{name}-ideal"), &suite);
                    // What must be told and is not is waited for. That time is not what a case fails by: the ideal server passes it.
                    let patience = Duration::from_millis(1000);
                    let context = Context { suite: &suite, launcher: &launcher, liveness: true, patience };
                    let id = format!("{name}/{case}");
                    let found = suite.cases.iter().find(|case| case.id == id);
                    let mut case =
                        found.unwrap_or_else(|| panic!("{violation} is for {id}, which does not exist")).clone();
                    // One server is enough.
                    case.case.alone = true;
                    let once = || run(context, &[&case], None, 1, &|_| polygil_conformance::run::Next::Go).remove(0);
                    let mut result = once();
                    if result.verdict != Verdict::Failed {
                        // Another server may have taken the port that was free a moment ago, and have been asked instead.
                        result = once();
                    }
                    if result.verdict != Verdict::Failed {
                        missed
                            .lock()
                            .expect("no panic")
                            .push(format!("{violation}: {id} is {}", result.verdict.name()));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no panic");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Every violation that a server knows, by the places where it asks for one.
fn known(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("ideal").join(file)).expect("the server");
    let code = text.split("def breaks").nth(1).expect("the function");
    let mut known = BTreeSet::new();
    for mark in ["breaks(\"", "VIOLATION == \""] {
        known.extend(code.split(mark).skip(1).map(|rest| rest.split('"').next().expect("a name").to_owned()));
    }
    for rest in code.split("VIOLATION").skip(1) {
        let list = rest.strip_prefix(" in (").or(rest.strip_prefix(" not in ("));
        let names = list.and_then(|list| list.split(')').next()).unwrap_or_default().split(", ");
        known.extend(names.filter(|name| !name.is_empty()).map(|name| name.trim_matches('"').to_owned()));
    }
    known
}

fn listed(violations: &[(&str, &str)]) -> BTreeSet<String> {
    violations.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn every_violation_of_the_wsgi_server_is_listed() {
    assert_eq!(known("ideal_wsgi.py"), listed(WSGI));
}

#[test]
fn the_ideal_wsgi_server_passes_everything() {
    passes_everything("wsgi");
}

#[test]
fn each_violation_of_wsgi_is_found() {
    each_violation_is_found("wsgi", WSGI);
}

#[test]
fn every_violation_of_the_asgi_server_is_listed() {
    assert_eq!(known("ideal_asgi.py"), listed(ASGI));
}

#[test]
fn the_ideal_asgi_server_passes_everything() {
    passes_everything("asgi");
}

#[test]
fn each_violation_of_asgi_is_found() {
    each_violation_is_found("asgi", ASGI);
}
