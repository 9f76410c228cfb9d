//! The table, its reference page, and mistakes told together.

use std::ffi::OsString;
use std::path::Path;

use super::sources::Sources;
use super::*;

fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<_>>().into_iter()
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
    let pyproject = "[tool.polygil]\nport = 1\nqueue-depth = 2\nworkers = \"3\"\npin = false\n";
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), pyproject);
    sources.environment(environment(&[("POLYGIL_PORT", "4"), ("POLYGIL_WORKERS", "5"), ("OTHER", "x")]));
    sources.flag("port", "6".into());
    let config = sources.config().expect("valid");
    assert_eq!((config.port, config.queue_depth, config.workers, config.pin), (6, 2, 5, false));
    assert_eq!(config.handler_timeout, Duration::from_secs(30), "and the rest is the default");
}

#[test]
fn all_mistakes_come_together_each_with_its_source() {
    let pyproject = "[tool.polygil]\nqueue-dept = 1\nport = 70000\nidle-timeout = 5\nhost = [1]\n";
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), pyproject);
    sources.environment(environment(&[
        ("POLYGIL_PLACEMENT", "random"),
        ("POLYGIL_MAX_BODY_BYTE", "1"),
        ("POLYGIL_DEBUG", "maybe"),
    ]));
    for (name, text) in [("workers", "none"), ("uds", "/tmp/x"), ("max-headers", "0")] {
        sources.flag(name, text.into());
    }
    let text = sources.config().expect_err("mistakes").text;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "--max-headers: \"0\" must be a whole number, 1 or more",
            "--workers: \"none\" must be auto, or a whole number, 1 or more",
            "POLYGIL_DEBUG: \"maybe\" must be true or false",
            "POLYGIL_MAX_BODY_BYTE: there is no such option; did you mean max_body_bytes?",
            "POLYGIL_PLACEMENT: \"random\" must be round-robin, least-loaded or idle-first",
            "pyproject.toml [tool.polygil] host (line 5): must be a string, a number or a boolean, not array",
            "pyproject.toml [tool.polygil] idle-timeout (line 4): \"5\" must be a time above zero with its unit, such as 250ms, 1s or 2m",
            "pyproject.toml [tool.polygil] port (line 3): \"70000\" must be a port from 0 to 65535",
            "pyproject.toml [tool.polygil] port (line 3): a Unix socket has none; --uds is given, too",
            "pyproject.toml [tool.polygil] queue-dept (line 2): there is no such option; did you mean queue-depth?",
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
        ("head_timeout", &["1s", "250ms", "1m 30s"], &["0", "0s", "5", "soon", ""]),
        ("drain_timeout", &["0", "0s", "1s"], &["-1s", "5"]),
        ("port", &["0", "65535"], &["65536", "-1", "http", ""]),
        ("workers", &["auto", "1", "64"], &["-1", "two", ""]),
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
    let mut sources = Sources::default();
    sources.pyproject(Path::new("pyproject.toml"), "[tool.polygil\n");
    assert!(sources.config().expect_err("broken").text.starts_with("pyproject.toml: "));
}
