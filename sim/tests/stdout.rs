//! A standard output that cannot be written is one line and the exit code 2, never a panic.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

#[test]
fn a_standard_output_that_fails_is_said_in_one_line() {
    for args in [&["--version"][..], &["--help"], ARGS] {
        let (reader, broken) = std::io::pipe().expect("a pipe");
        drop(reader);
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let cases: [(Stdio, &str); 2] =
            [(full.into(), "No space left on device (os error 28)"), (broken.into(), "Broken pipe (os error 32)")];
        for (stdout, why) in cases {
            let command = env!("CARGO_BIN_EXE_polygil-sim");
            let output =
                Command::new(command).args(args).stdout(stdout).stderr(Stdio::piped()).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            let expected = format!("polygil-sim: standard output cannot be written: {why}\n");
            assert_eq!((output.status.code(), said.as_ref()), (Some(2), expected.as_str()), "{args:?}");
        }
    }
}

const ARGS: &[&str] = &["run", "--seed", "1"];
