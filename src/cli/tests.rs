//! Words → commands.

use std::iter::empty;

use super::*;

fn read(args: &[&str]) -> Result<Command, ConfigError> {
    parse(&args.iter().map(OsString::from).collect::<Vec<_>>(), empty(), None)
}

#[test]
fn commands_have_their_targets_and_options() {
    let command = read(&["serve", "app:app", "--port", "0", "--pin", "--debug", "--handler-timeout", "1s"]);
    let Ok(Command::Serve { target, config }) = command else { panic!("{command:?}") };
    assert_eq!((target.as_str(), config.port, config.pin, config.debug), ("app:app", 0, true, true));
    assert_eq!(config.handler_timeout.as_secs(), 1);
    let command = read(&["check", "routes.toml", "--json", "--app-dir", "src"]);
    let Ok(Command::Check { target, json, contract: None, config }) = command else { panic!("{command:?}") };
    assert_eq!((target.as_str(), json, config.app_dir.to_str()), ("routes.toml", true, Some("src")));
    assert!(matches!(read(&["routes", "a:b"]), Ok(Command::Routes { json: false, .. })));
    assert!(matches!(read(&["--help"]), Ok(Command::Help(_))));
    assert!(matches!(read(&["--version"]), Ok(Command::Version(text)) if text == "polygil 0.1.0\n"));
}

#[test]
fn of_a_pair_the_later_one_counts() {
    for (words, pin) in [(["--pin", "--no-pin"], false), (["--no-pin", "--pin"], true)] {
        let command = read(&["serve", "app:app", words[0], words[1]]);
        let Ok(Command::Serve { config, .. }) = command else { panic!("{command:?}") };
        assert_eq!(config.pin, pin, "{words:?}");
    }
}

#[test]
fn all_mistakes_of_the_words_the_variables_and_the_file_come_together() {
    let args = [
        "serve",
        "--prot",
        "1",
        "app:app",
        "second",
        "--queue-depth=0",
        "--no-pinn",
        "--uds=/tmp/x",
        "--port",
        "x",
        "--backlog",
        "-1",
        "--workers",
        "1000000000",
    ];
    let environment = [("POLYGIL_LOG_FORMAT", "xml"), ("POLYGIL_PROT", "1"), ("POLYGIL_debug", "1"), ("PATH", "/bin")];
    let pyproject = "[tool.polygil]\nqueue_depth = 3\nhandler-timeout = 5\nhost = \"::1\"\n";
    let error = parse(
        &args.map(OsString::from),
        environment.iter().map(|(name, value)| (name.into(), value.into())),
        Some((Path::new("pyproject.toml"), pyproject)),
    );
    insta::assert_snapshot!(error.expect_err("mistakes").text);
}

#[test]
fn mistakes_name_the_word() {
    let text = |args: &[&str]| read(args).expect_err("a mistake").text;
    let missing = "TARGET: is missing; it is module:app, or the path of a TOML manifest of routes";
    assert_eq!(text(&["serve"]), missing);
    assert_eq!(text(&["check", "--json"]), missing);
    let expected = format!("--workers: \"x\" must be auto, or a whole number from 1 to 1024\n{missing}");
    assert_eq!(text(&["serve", "--workers", "x"]), expected);
    assert_eq!(text(&["serve", "a:b", "--prot=1"]), "--prot: there is no such option here; did you mean --port?");
    assert_eq!(text(&["routes", "a:b", "--xyz", "1"]), "--xyz: there is no such option here");
    assert_eq!(text(&["serve", "--xyz", "a:b"]), "--xyz: there is no such option here");
    assert_eq!(
        text(&["serve", "a:b", "c", "--xyz"]).lines().collect::<Vec<_>>(),
        ["--xyz: there is no such option here", "\"c\": is one word too many; there is one TARGET"]
    );
    assert_eq!(text(&["serve", "a:b", "c", "--host", "c"]), "\"c\": is one word too many; there is one TARGET");
    assert!(text(&["serve", "a:b", "--port"]).contains("'--port <PORT>'"));
    assert!(text(&["serve", "a:b", "--port", "--debug"]).contains("'--port <PORT>'"), "a flag is no value");
    assert!(text(&["serve", "a:b", "--port", "1", "--port", "2"]).contains("'--port <PORT>'"));
    assert!(text(&["sevre"]).contains("'serve'"));
    assert!(text(&[]).contains("Usage"));
    assert!(text(&["--jsn"]).ends_with("--jsn: there is no such option here"));
}

#[test]
fn a_target_is_a_name_or_a_manifest() {
    for good in ["app:app", "a.b_1:x.y", "app", "café:app", "r.toml", "./a b/r.toml", "/r.toml"] {
        let command = read(&["serve", good]);
        let Ok(Command::Serve { target, .. }) = command else { panic!("{command:?}") };
        assert_eq!(target, good);
    }
    for bad in ["", ":", "a:", ":b", "a:b:c", "a..b:c", "1a:b", "a b:c", "a/b", "a-b:c", "r.yaml/"] {
        let text = read(&["serve", bad]).expect_err("no target").text;
        let expected = "must be module:app, such as shop.main:app, or the path of a .toml manifest";
        assert_eq!(text, format!("TARGET: {bad:?} {expected}"));
    }
    let text = read(&["check", "./shop/main.py:app"]).expect_err("a file").text;
    assert!(text.ends_with("; did you mean shop.main:app?"), "{text}");
}

#[cfg(unix)]
#[test]
fn what_is_not_utf8_is_a_mistake_and_no_panic() {
    use std::os::unix::ffi::OsStringExt;

    let odd = || OsString::from_vec(vec![b'-', b'-', 0xff]);
    for args in [vec![odd()], vec!["serve".into(), odd()], vec!["serve".into(), "--host".into(), odd()]] {
        assert!(parse(&args, empty(), None).is_err(), "{args:?}");
    }
    let environment = [("POLYGIL_HOST".into(), odd()), (OsString::from_vec(b"POLYGIL_\xff".to_vec()), odd())];
    let text = parse(&["serve".into(), "a:b".into()], environment.into_iter(), None).expect_err("mistakes").text;
    assert_eq!(text, "POLYGIL_HOST: must be UTF-8");
}

#[test]
fn the_help_is_worth_reading() {
    for words in [
        &["polygil", "--help"][..],
        &["polygil", "serve", "--help"],
        &["polygil", "routes", "--help"],
        &["polygil", "check", "-h"],
        &["polygil", "contract", "-h"],
    ] {
        // The width is fixed: clap would look for that of a terminal.
        let help = command().term_width(100).try_get_matches_from(words).expect_err("help comes as an error");
        insta::assert_snapshot!(format!("help-{}", words[words.len() - 2]), help.to_string());
    }
    let Ok(Command::Help(text)) = read(&["serve", "--help"]) else { panic!("no help") };
    for option in OPTIONS {
        assert!(text.contains(&format!("-{}", option.key())), "{} is not in the help", option.key());
    }
}

#[test]
fn routes_are_listed_for_people_and_machines() {
    let routes: Vec<RouteSpec> = crate::manifest::parse(
        "r.toml",
        "[[routes]]\nmethod=\"GET\"\npath=\"/\"\nmodule=\"a\"\nfunction=\"index\"\n[[routes]]\nmethod=\"DELETE\"\npath=\"/x/{y}\"\nmodule=\"a\"\nfunction=\"B.c\"\ntimeout=\"1s\"\n",
    )
    .expect("valid");
    assert_eq!(routes_text(&routes), "GET     /       a:index  (r.toml:1)\nDELETE  /x/{y}  a:B.c  (r.toml:6)\n");
    assert_eq!(
        routes_json(&routes),
        r#"[{"method":"GET","path":"/","module":"a","function":"index","origin":"r.toml:1"},{"method":"DELETE","path":"/x/{y}","module":"a","function":"B.c","origin":"r.toml:6","timeout_ms":1000}]"#
    );
    let unreachable = RouteSpec { unreachable: Some("a lambda".into()), ..routes[0].clone() };
    assert_eq!(
        routes_text(std::slice::from_ref(&unreachable)),
        "GET  /  a:index  (r.toml:1)\n    unreachable: a lambda\n"
    );
    assert!(routes_json(&[unreachable]).ends_with(r#""unreachable":"a lambda"}]"#));
    assert_eq!((routes_text(&[]), routes_json(&[])), (String::new(), "[]".into()));
}
