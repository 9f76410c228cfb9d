//! Words → commands.

use std::iter::empty;

use super::*;

fn read(args: &[&str]) -> Result<Command, ConfigError> {
    parse(&args.iter().map(OsString::from).collect::<Vec<_>>(), empty(), None)
}

#[test]
fn commands_have_their_targets_and_options() {
    let command = read(&["serve", "app:app", "--port", "0", "--no-pin", "--debug", "--handler-timeout", "1s"]);
    let Ok(Command::Serve { target, config }) = command else { panic!("{command:?}") };
    assert_eq!((target.as_str(), config.port, config.pin, config.debug), ("app:app", 0, false, true));
    assert_eq!(config.handler_timeout.as_secs(), 1);
    let command = read(&["check", "routes.toml", "--json", "--app-dir", "src"]);
    let Ok(Command::Check { target, json, config }) = command else { panic!("{command:?}") };
    assert_eq!((target.as_str(), json, config.app_dir.to_str()), ("routes.toml", true, Some("src")));
    assert!(matches!(read(&["routes", "a:b"]), Ok(Command::Routes { json: false, .. })));
    assert!(matches!(read(&["--help"]), Ok(Command::Help(_))));
    assert!(matches!(read(&["--version"]), Ok(Command::Version(text)) if text == "polygil 0.1.0\n"));
}

#[test]
fn mistakes_name_the_flag() {
    let text = |args: &[&str]| read(args).expect_err("a mistake").text;
    assert_eq!(text(&["serve", "a:b", "--port", "x", "--queue-depth", "0"]).lines().count(), 2);
    assert!(text(&["serve"]).contains("TARGET"));
    assert!(text(&["serve", "a:b", "--prot", "1"]).contains("--port"), "clap suggests");
    assert!(text(&["sevre"]).contains("serve"));
    assert!(text(&[]).contains("Usage"));
    let environment = [("POLYGIL_PORT".into(), "x".into())].into_iter();
    let error = parse(&["serve".into(), "a:b".into(), "--nope".into()], environment, None).expect_err("mistakes").text;
    assert!(error.contains("--nope") && error.contains("POLYGIL_PORT"), "{error}");
}

#[test]
fn the_help_is_worth_reading() {
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
}
