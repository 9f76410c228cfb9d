//! What OSS-Fuzz and ClusterFuzzLite are given: `build.sh`, with a `cargo` and a `zip` that only note what they are asked for, leaves
//! each target with what belongs to it.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use polygil_fuzz::TARGETS;

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the files in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII")).collect();
    names.sort();
    names
}

/// The dictionary that `scripts/fuzz` gives a target.
fn dictionary(target: &str) -> Option<String> {
    let script = text(&fuzz().join("../scripts/fuzz"));
    let line = script.lines().find(|line| line.starts_with("DICTIONARIES = {")).expect("the table of dictionaries");
    let (_, rest) = line.split_once(&format!("\"{target}\": \""))?;
    rest.split_once('"').map(|(name, _)| name.to_owned())
}

/// Puts a script with this name and body where `build.sh` finds it first.
fn stub(directory: &Path, name: &str, body: &str) {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/bash -eu\n{body}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Runs `build.sh` as the images do; gives what is in `$OUT` then, and where that is.
fn build(sanitizer: &str, cargo: &str) -> (PathBuf, Vec<String>) {
    let root =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clusterfuzzlite-{sanitizer}-{}", std::process::id()));
    let (bin, out, built) = (root.join("bin"), root.join("out"), root.join("target"));
    for directory in [&bin, &out] {
        std::fs::create_dir_all(directory).expect("a directory");
    }
    stub(&bin, "cargo", cargo);
    stub(&bin, "zip", "[ \"$1\" = -qjr ]; ls \"$3\" >\"$2\"");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let status = Command::new("bash")
        .arg("-eu")
        .arg(fuzz().join("clusterfuzzlite/build.sh"))
        .current_dir(fuzz().join(".."))
        .env("PATH", path)
        .env("OUT", &out)
        .env("SANITIZER", sanitizer)
        .env("CARGO_TARGET_DIR", &built)
        .status();
    assert!(status.expect("bash").success());
    let left = names(&out);
    (root, left)
}

#[test]
fn each_target_comes_with_its_seeds_its_dictionary_and_its_options() {
    let binaries: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    let make = |directory: &str| {
        format!(
            "mkdir -p \"$CARGO_TARGET_DIR/{directory}\"\nfor name in {}; do echo \"$name\" >\"$CARGO_TARGET_DIR/{directory}/$name\"; done",
            binaries.join(" ")
        )
    };
    let with_fuzz =
        format!("[ \"$*\" = 'fuzz build -O --features libfuzzer' ]\n{}", make("x86_64-unknown-linux-gnu/release"));
    let plain =
        format!("[ \"$*\" = 'build --manifest-path fuzz/Cargo.toml --bins --features libfuzzer' ]\n{}", make("debug"));
    for (sanitizer, cargo) in [("address", &with_fuzz), ("coverage", &plain)] {
        let (root, left) = build(sanitizer, cargo);
        let mut expected = Vec::new();
        for target in &binaries {
            let out = |kind: &str| root.join("out").join(format!("{target}{kind}"));
            assert_eq!(text(&out("")).trim(), *target);
            let seeds: Vec<_> = text(&out("_seed_corpus.zip")).lines().map(str::to_owned).collect();
            assert_eq!(seeds, names(&fuzz().join("corpus").join(target)));
            assert_eq!(text(&out(".options")), "[libfuzzer]\nmax_len = 4096\ntimeout = 10\n");
            expected.extend(["", ".options", "_seed_corpus.zip"].map(|kind| format!("{target}{kind}")));
            if let Some(name) = dictionary(target) {
                assert_eq!(text(&out(".dict")), text(&fuzz().join("dictionaries").join(name)));
                expected.push(format!("{target}.dict"));
            }
        }
        expected.sort();
        assert_eq!(left, expected, "{sanitizer}");
        std::fs::remove_dir_all(root).expect("it was ours");
    }
}

#[test]
fn the_limits_are_those_of_the_campaigns_here() {
    let script = text(&fuzz().join("../scripts/fuzz"));
    assert!(script.contains("\"-max_len=4096\"") && script.contains("\"-timeout=10\""), "build.sh has the same two");
}

#[test]
fn every_dictionary_is_used_and_names_a_target_that_exists() {
    let mut used: Vec<_> = TARGETS.iter().filter_map(|(target, _)| dictionary(target)).collect();
    used.sort();
    used.dedup();
    assert_eq!(used, names(&fuzz().join("dictionaries")));
    let script = text(&fuzz().join("../scripts/fuzz"));
    let line = script.lines().find(|line| line.starts_with("DICTIONARIES = {")).expect("the table of dictionaries");
    let entries = line.matches(".dict\"").count();
    assert_eq!(entries, TARGETS.iter().filter(|(target, _)| dictionary(target).is_some()).count());
}

/// A line of a dictionary as libFuzzer reads it: nothing, a comment, or one text in quotes, perhaps with a name.
fn is_entry(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return true;
    }
    let Some(start) = line.find('"') else { return false };
    let named = line[..start].is_empty() || line[..start].ends_with('=');
    let Some(inner) = line[start + 1..].strip_suffix('"') else { return false };
    let mut rest = inner;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\\' if rest.starts_with("\\\\") || rest.starts_with("\\\"") => 2,
            '\\' if rest.starts_with("\\x") && rest.len() >= 4 => {
                if !rest.as_bytes()[2..4].iter().all(u8::is_ascii_hexdigit) {
                    return false;
                }
                4
            }
            ' '..='~' if first != '\\' && first != '"' => 1,
            _ => return false,
        };
        rest = &rest[taken..];
    }
    named && !inner.is_empty()
}

#[test]
fn every_line_of_a_dictionary_is_one_that_libfuzzer_reads() {
    for name in names(&fuzz().join("dictionaries")) {
        let text = text(&fuzz().join("dictionaries").join(&name));
        let wrong: Vec<_> = text.lines().filter(|line| !is_entry(line)).collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{name}");
    }
    for wrong in ["GET", "\"a", "\"a\"b\"", "\"\\r\"", "\"\\x0\"", "\"\"", "\"\u{e9}\""] {
        assert!(!is_entry(wrong), "{wrong}");
    }
}
