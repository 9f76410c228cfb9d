//! `polygil-conformance`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match polygil_conformance::cli::main() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            polygil_conformance::out::complain(&format!("polygil-conformance: {error}"));
            ExitCode::from(polygil_conformance::cli::COULD_NOT_RUN)
        }
    }
}
