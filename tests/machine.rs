//! A machine on which something is missing: the scripts name it at once, all of it, with what to install.
//!
//! Each test makes a directory with the programs that there are, and no others are on the PATH.
#![cfg(unix)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What a minimal Debian has in /usr/bin, as far as the scripts use it.
const ALWAYS: &[&str] = &["sh", "dirname", "mktemp", "rm", "cut", "cat", "head", "grep", "bash", "taskset", "env"];
/// A CPython that suits, one that lacks venv, and one that is too old, as far as scripts/find-python can see.
const SUITS: &str =
    "#!/bin/sh\ncase \"$*\" in *ensurepip*) echo /usr/bin/python3 ;; *%d*) echo 3.13 ;; *) echo 3.13.5 ;; esac\n";
const WITHOUT_VENV: &str =
    "#!/bin/sh\ncase \"$*\" in *ensurepip*) exit 3 ;; *%d*) echo 3.13 ;; *) echo 3.13.5 ;; esac\n";
const OLD: &str = "#!/bin/sh\ncase \"$*\" in *ensurepip*) exit 1 ;; *) echo 3.11.2 ;; esac\n";
const CC: &str = "#!/bin/sh\nexit 0\n";
const RUST: &str = "#!/bin/sh\necho rustc 1.88.0 '(6b00bc388 2025-06-23)'\n";

struct Machine(tempfile::TempDir);

impl Machine {
    fn with(programs: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ALWAYS {
            let found = ["/bin", "/usr/bin"].iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
            symlink(found.expect(name), directory.path().join(name)).expect("a link");
        }
        for (name, script) in programs {
            let file = directory.path().join(name);
            std::fs::write(&file, script).expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("executable");
        }
        Machine(directory)
    }

    /// Exit code, output and what was said, of a script with these variables.
    fn run(&self, script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = Command::new("/bin/sh");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script)).args(arguments);
        command.env_clear().env("PATH", self.0.path()).env("HOME", "/nowhere").env("PYENV_ROOT", "/nowhere");
        let output = command.envs(variables.iter().copied()).output().expect("sh runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

fn lines_that_name(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("  ")).map(|line| line.split("  ").nth(1).unwrap_or(line)).collect()
}

#[test]
fn where_everything_is_there_nothing_is_said() {
    let all = [("python3", SUITS), ("cc", CC), ("cargo", RUST), ("rustc", RUST), ("git", CC)];
    let machine = Machine::with(&all);
    assert_eq!(machine.run("preflight", &["build"], &[]), (Some(0), "/usr/bin/python3\n".to_owned(), String::new()));
    let (code, python, said) = machine.run("preflight", &["test"], &[]);
    assert_eq!((code, python.as_str()), (Some(0), "/usr/bin/python3\n"));
    let skipped = "Tests that need these are skipped, each with its reason; to run them, too: \
                   apt install curl nginx-light chromium chromium-driver\n";
    assert_eq!(said, skipped);
}

#[test]
fn what_is_missing_is_named_at_once() {
    let (code, python, said) = Machine::with(&[]).run("preflight", &["test"], &[]);
    assert_eq!((code, python.as_str()), (Some(1), ""));
    let named = lines_that_name(&said);
    assert_eq!(
        named[..3],
        ["CPython 3.13 or newer with venv", "a C compiler (cc)", "Rust 1.88 or newer (cargo)"],
        "{said}"
    );
    assert!(named.contains(&"git"), "{said}");
    for how in ["apt install gcc libc6-dev", "https://rustup.rs", "apt install git", "apt install python3 python3-venv"]
    {
        assert!(said.contains(how), "{how:?} is not in:\n{said}");
    }
}

#[test]
fn with_ci_nothing_is_skipped() {
    let all = [("python3", SUITS), ("cc", CC), ("cargo", RUST), ("rustc", RUST), ("git", CC), ("curl", CC)];
    let (code, _, said) = Machine::with(&all).run("preflight", &["test"], &[("CI", "true")]);
    assert_eq!((code, lines_that_name(&said)), (Some(1), vec!["nginx", "chromium", "chromedriver"]), "{said}");
    assert!(said.contains("apt install chromium-driver"), "{said}");
}

#[test]
fn an_old_compiler_and_one_without_a_library_are_told() {
    let old = RUST.replace("1.88.0", "1.85.1");
    let all = [("python3", SUITS), ("cc", "#!/bin/sh\nexit 1\n"), ("cargo", &old), ("rustc", &old)];
    let (code, _, said) = Machine::with(&all).run("preflight", &["build"], &[]);
    let named = ["the C library's headers (cc cannot link)", "Rust 1.88 or newer (here: 1.85.1)"];
    assert_eq!((code, lines_that_name(&said)), (Some(1), named.to_vec()), "{said}");
}

#[test]
fn a_python_without_venv_is_told_from_one_that_is_too_old() {
    let (code, found, said) = Machine::with(&[("python3", WITHOUT_VENV)]).run("find-python", &[], &[]);
    assert_eq!((code, found.as_str()), (Some(1), ""));
    let first = "python3 is 3.13.5, which suits polygil, but it has no venv module.";
    assert!(said.starts_with(first) && said.contains("apt install python3-venv"), "{said}");

    let (code, _, said) = Machine::with(&[("python3", OLD)]).run("find-python", &[], &[]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("polygil needs CPython 3.13 or newer with a GIL and found none: python3 is 3.11.2.\n"),
        "{said}"
    );

    let (_, _, said) = Machine::with(&[]).run("find-python", &[], &[]);
    assert!(
        said.starts_with("polygil needs CPython 3.13 or newer with a GIL and found none: python3 is not there.\n"),
        "{said}"
    );
}

#[test]
fn one_that_suits_is_found_behind_those_that_do_not() {
    let machine = Machine::with(&[("python3", OLD), ("python3.14", WITHOUT_VENV), ("python3.13", SUITS)]);
    assert_eq!(machine.run("find-python", &[], &[]), (Some(0), "/usr/bin/python3\n".to_owned(), String::new()));
}

#[test]
fn a_wish_is_not_second_guessed_and_the_message_says_what_to_install() {
    let machine = Machine::with(&[
        ("python3", SUITS),
        ("mine", "#!/bin/sh\nif [ \"$1\" = --version ]; then echo Python 2.7.18; else exit 1; fi\n"),
    ]);
    let (code, _, said) = machine.run("find-python", &[], &[("PYTHON", "mine")]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("polygil needs CPython 3.13 or newer with a GIL; PYTHON=mine is not one: mine is 2.7.18.\n"),
        "{said}"
    );
    for line in
        ["apt install python3", "dnf install python3", "brew install python@3.13", "make PYTHON=/path/to/python3"]
    {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
}

#[test]
fn pip_without_a_network_is_followed_by_what_to_do() {
    let machine = Machine::with(&[]);
    let venv = machine.0.path().join("venv");
    std::fs::create_dir_all(venv.join("bin")).expect("a directory");
    let pip = venv.join("bin/pip");
    std::fs::write(&pip, "#!/bin/sh\necho 'ERROR: No matching distribution found' >&2\nexit 1\n").expect("written");
    std::fs::set_permissions(&pip, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let (code, _, said) = machine.run("pip-install", &[venv.to_str().expect("UTF-8"), "maturin>=1.9,<2"], &[]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("ERROR: No matching distribution found\n"), "{said}");
    assert!(said.contains("pip could not install into") && said.contains("maturin>=1.9,<2"), "{said}");
    assert!(said.contains("PIP_INDEX_URL=") && said.contains("PIP_FIND_LINKS="), "{said}");
}
