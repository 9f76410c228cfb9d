//! The table, its reference page, and mistakes told together.

use std::ffi::OsString;
use std::path::Path;

use super::sources::Sources;
use super::*;

fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<_>>().into_iter()
}

fn flag(sources: &mut Sources, key: &str, text: &str) {
    let option = OPTIONS.iter().find(|option| option.key() == key).expect("an option");
    sources.flag(option, format!("--{key}"), text);
}

#[test]
fn docs_options_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPTIONS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference_markdown()).expect("docs can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == reference_markdown(),
        "docs/OPTIONS.md is not what the table says: run UPDATE_DOCS=1 cargo test docs_options"
    );
}

#[test]
fn a_flag_counts_before_a_variable_and_that_before_pyproject() {
    let pyproject = "[tool.polygil]\nport = 1\nqueue-depth = 2\nworkers = \"3\"\npin = true\n";
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), pyproject);
    sources.environment(environment(&[("POLYGIL_PORT", "4"), ("POLYGIL_WORKERS", "5"), ("OTHER", "x")]));
    flag(&mut sources, "port", "6");
    let config = sources.config().expect("valid");
    assert_eq!((config.port, config.queue_depth, config.workers, config.pin), (6, 2, 5, true));
    assert_eq!(config.handler_timeout, Duration::from_secs(30), "and the rest is the default");
}

#[test]
fn all_mistakes_come_together_each_with_its_source() {
    let pyproject = "[tool.polygil]\nqueue-dept = 1\nport = 70000\nidle-timeout = 5\nhost = [1]\n";
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), pyproject);
    sources.environment(environment(&[("POLYGIL_PLACEMENT", "random"), ("POLYGIL_DEBUG", "maybe")]));
    for (name, text) in [("workers", "none"), ("uds", "/tmp/x"), ("max-headers", "0")] {
        flag(&mut sources, name, text);
    }
    let text = sources.config().expect_err("mistakes").text;
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "pyproject.toml [tool.polygil] queue-dept (line 2): there is no such option; did you mean queue-depth?",
            "pyproject.toml [tool.polygil] port (line 3): \"70000\" must be a port from 0 to 65535",
            "pyproject.toml [tool.polygil] idle-timeout (line 4): \"5\" must be a time with its unit, such as 250ms, 1s or 2m",
            "pyproject.toml [tool.polygil] host (line 5): must be a string, a whole number or a boolean, not an array",
            "POLYGIL_DEBUG: \"maybe\" must be true or false",
            "POLYGIL_PLACEMENT: \"random\" must be round-robin, least-loaded or idle-first",
            "--workers: \"none\" must be auto, or a whole number from 1 to 1024",
            "--max-headers: \"0\" must be a whole number from 1 to 65535",
        ]
    );
}

#[test]
fn texts_are_read_as_they_are_written_elsewhere() {
    for (field, good, bad) in [
        (
            "max_body_bytes",
            &["0", "8192", "8KiB", "16 MiB", "1mb", "2G"][..],
            &["", "x", "-1", "1.5MiB", "99999999999GiB"][..],
        ),
        ("max_header_bytes", &["1"], &["0", "2GiB"]),
        ("head_timeout", &["1s", "250ms", "1m 30s", "365days"], &["0", "0s", "5", "soon", "", "366days"]),
        ("drain_timeout", &["0", "0s", "1s"], &["-1s", "5", "18446744073709551615s", "99999999999999999999s"]),
        ("queue_depth", &["1", "65536"], &["0", "65537", "18446744073709551615", "99999999999999999999"]),
        ("port", &["0", "65535"], &["65536", "-1", "http", ""]),
        ("workers", &["auto", "1", "1024"], &["0", "-1", "two", "", "1025"]),
        ("ready_fd", &["3", ""], &["-1", "x"]),
        ("pin", &["true", "off", "1"], &["", "2"]),
        ("log_level", &["off", "debug"], &["loud", "1"]),
        ("log_format", &["json"], &["xml"]),
        ("host", &["::1"], &[""]),
        ("uds", &["/tmp/x", ""], &[]),
    ] {
        for text in good {
            assert_eq!(Config::default().set(field, text), Ok(()), "{field} {text:?}");
        }
        for text in bad {
            assert!(Config::default().set(field, text).is_err(), "{field} {text:?}");
        }
    }
    let mut config = Config::default();
    config.set("max_body_bytes", "1mb").expect("valid");
    assert_eq!((config.max_body_bytes, config.max_target_bytes), (1_000_000, 8192));
    assert!(config.workers >= 1);
}

#[test]
fn a_broken_pyproject_is_named() {
    for (text, expected) in [
        ("\n[tool.polygil\n", "pyproject.toml (line 2): "),
        ("[tool]\npolygil = 1\n", "pyproject.toml (line 2): tool.polygil must be a table"),
    ] {
        let mut sources = Sources::default();
        sources.pyproject(Path::new("pyproject.toml"), text);
        let error = sources.config().expect_err("broken").text;
        assert!(error.starts_with(expected), "{error}");
    }
    for text in ["", "tool = 1\n", "[tool.other]\nport = 1\n"] {
        let mut sources = Sources::default();
        sources.pyproject(Path::new("pyproject.toml"), text);
        assert!(sources.config().is_ok(), "{text:?} says nothing of polygil");
    }
}

#[test]
fn paths_in_pyproject_are_seen_from_its_directory() {
    let text = "[tool.polygil]\napp-dir = \"src\"\nuds = \"/run/x\"\nport-file = \"\"\n";
    for (file, app_dir) in
        [("pyproject.toml", "src"), ("/shop/pyproject.toml", "/shop/src"), ("a/pyproject.toml", "a/src")]
    {
        let mut sources = Sources::default();
        sources.pyproject(Path::new(file), text);
        let config = sources.config().expect("valid");
        assert_eq!(config.app_dir, Path::new(app_dir), "{file}");
        assert_eq!((config.uds, config.port_file), (Some("/run/x".into()), None), "{file}");
    }
}

#[test]
fn an_overridden_mistake_is_still_one() {
    let mut sources = Sources::default();
    sources.environment(environment(&[("POLYGIL_PORT", "x")]));
    flag(&mut sources, "port", "1");
    assert_eq!(sources.config().expect_err("a mistake").text, "POLYGIL_PORT: \"x\" must be a port from 0 to 65535");
}

#[test]
fn a_unix_socket_has_no_host_and_port_but_takes_them_back_from_weaker_sources() {
    let weaker = "[tool.polygil]\nhost = \"::1\"\nport = 1\nreuse-port = true\n";
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), weaker);
    flag(&mut sources, "uds", "/tmp/x");
    assert_eq!(sources.config().expect("valid").uds, Some("/tmp/x".into()));

    let mut sources = Sources::default();
    sources.environment(environment(&[
        ("POLYGIL_UDS", "/tmp/x"),
        ("POLYGIL_HOST", "::1"),
        ("POLYGIL_REUSE_PORT", "0"),
    ]));
    flag(&mut sources, "port", "1");
    flag(&mut sources, "reuse-port", "true");
    assert_eq!(
        sources.config().expect_err("both").text.lines().collect::<Vec<_>>(),
        [
            "POLYGIL_HOST: a Unix socket has none, and POLYGIL_UDS is given; remove one",
            "--port: a Unix socket has none, and POLYGIL_UDS is given; remove one",
            "--reuse-port: a Unix socket has none, and POLYGIL_UDS is given; remove one",
        ]
    );

    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), "[tool.polygil]\nuds = \"x\"\n");
    sources.environment(environment(&[("POLYGIL_UDS", "")]));
    flag(&mut sources, "port", "1");
    let config = sources.config().expect("valid");
    assert_eq!((config.port, config.uds), (1, None), "an empty variable takes the socket back");
}

#[test]
fn what_a_caller_gives_empty_is_a_mistake() {
    let mut sources = Sources::default();
    for name in ["uds", "uds-mode", "port-file", "ready-fd", "admin"] {
        flag(&mut sources, name, "");
    }
    sources.keywords([("uds", "")].into_iter());
    let expected = ["--uds", "--uds-mode", "--port-file", "--ready-fd", "--admin", "serve(uds=…)"]
        .map(|source| format!("{source}: must not be empty; leave it out for none"));
    assert_eq!(sources.config().expect_err("mistakes").text, expected.join("\n"));
}

/// Kubernetes sets these for a Service called polygil, in every pod of its namespace.
#[test]
fn variables_that_name_no_option_are_somebody_elses() {
    let mut sources = Sources::default();
    sources.environment(environment(&[
        ("POLYGIL_BIN", "/usr/bin/polygil"),
        ("POLYGIL_HOST_IP", "10.0.0.1"),
        ("POLYGIL_MAX_BODY_BYTE", "1"),
        ("POLYGIL_PORT", "tcp://10.0.0.1:80"),
        ("POLYGIL_PORT_8000_TCP", "tcp://10.0.0.1:80"),
        ("POLYGIL_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("POLYGIL_PORT_53_UDP_PROTO", "udp"),
        ("POLYGIL_SERVICE_HOST", "10.0.0.1"),
        ("POLYGIL_SERVICE_PORT", "80"),
        ("POLYGIL_SERVICE_PORT_HTTP", "80"),
        ("POLYGIL_ADMIN_PORT", "tcp://10.0.0.2:80"),
        ("POLYGIL_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("POLYGIL_WORKERS", "3"),
    ]));
    let config = sources.config().expect("no mistake");
    assert_eq!((config.port, config.workers), (8000, 3));
    assert_eq!(
        config.warnings,
        [
            "POLYGIL_HOST_IP: there is no such option; did you mean POLYGIL_HOST?",
            "POLYGIL_MAX_BODY_BYTE: there is no such option; did you mean POLYGIL_MAX_BODY_BYTES?",
            "POLYGIL_PORT: \"tcp://10.0.0.1:80\" is what Kubernetes says of a Service with this name, and is ignored",
        ]
    );
}

#[test]
fn keywords_may_be_seconds() {
    let mut sources = Sources::default();
    sources.keywords(
        [("handler_timeout", "1.5"), ("drain_timeout", "0"), ("idle_timeout", "2m"), ("port", "0")].into_iter(),
    );
    let config = sources.config().expect("valid");
    assert_eq!(config.handler_timeout, Duration::from_millis(1500));
    assert_eq!((config.drain_timeout, config.idle_timeout), (Duration::ZERO, Duration::from_secs(120)));

    let mut sources = Sources::default();
    let wrong =
        [("head_timeout", "-1"), ("body_timeout", "nan"), ("queue_timeout", "0"), ("prot", "1"), ("queue-depth", "1")];
    sources.keywords(wrong.into_iter());
    assert_eq!(
        sources.config().expect_err("mistakes").text.lines().collect::<Vec<_>>(),
        [
            "serve(head_timeout=…): \"-1\" must be a time with its unit, such as 250ms, 1s or 2m",
            "serve(body_timeout=…): \"nan\" must be a time with its unit, such as 250ms, 1s or 2m",
            "serve(queue_timeout=…): \"0s\" must be a time above zero with its unit, such as 250ms, 1s or 2m",
            "serve(prot=…): there is no such option; did you mean port?",
            "serve(queue-depth=…): there is no such option; did you mean queue_depth?",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(field in 0..OPTIONS.len(), text in ".{0,12}|[0-9]{1,24}(s|ms|d|KiB|)", file in ".{0,80}") {
        let mut sources = Sources::default();
        sources.pyproject(Path::new("pyproject.toml"), &file);
        sources.pyproject(Path::new("pyproject.toml"), &format!("[tool.polygil]\n{} = {text}\n", OPTIONS[field].key()));
        sources.environment(environment(&[(&OPTIONS[field].variable(), &text)]));
        sources.keywords([(OPTIONS[field].field, text.as_str())].into_iter());
        drop(sources.config());
    }
}

#[test]
fn the_admin_address_is_a_port_or_a_host_and_a_port() {
    let place = |host: &str, port| Ok(Some(Place { host: host.into(), port }));
    assert_eq!(kinds::place(""), Ok(None));
    assert_eq!(kinds::place("9090"), place("127.0.0.1", 9090));
    assert_eq!(kinds::place("0.0.0.0:0"), place("0.0.0.0", 0));
    assert_eq!(kinds::place("admin.local:80"), place("admin.local", 80));
    assert_eq!(kinds::place("[::1]:9090"), place("::1", 9090));
    for wrong in ["x", ":9090", "[]:1", "::1:9090", "[::1]", "a:65536", "a:", "a:-1", "[a:1"] {
        let message = "must be a port, or a host and a port such as 127.0.0.1:9090 or [::1]:9090";
        assert_eq!(kinds::place(wrong), Err(message.into()), "{wrong}");
    }
}
