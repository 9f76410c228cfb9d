//! `new DIR`: a suite of one's own, with an example that passes, to be changed into the gate of one's own app.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{AS_EXPECTED, save};
use crate::preflight::of_io;
use crate::sayln;

/// Options of `new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The directory, which must be new or empty.
    directory: PathBuf,
}

/// What is written: each file's name and text.
pub const FILES: [(&str, &str); 4] = [
    ("suite.toml", include_str!("../template/suite.toml")),
    ("app/example.py", include_str!("../template/app/example.py")),
    ("cases/app/example.toml", include_str!("../template/cases/app/example.toml")),
    ("README.md", include_str!("../template/README.md")),
];

/// Writes the files.
pub fn write(directory: &Path) -> Result<(), String> {
    let is_taken = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken || directory.is_file() {
        return Err(format!("{} is not empty: name a new directory", directory.display()));
    }
    for (name, text) in FILES {
        let path = directory.join(name);
        let parent = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {}", parent.display(), of_io(&error)))?;
        save(&path, text)?;
    }
    Ok(())
}

/// Runs `new`.
pub fn new_command(arguments: &NewArgs) -> Result<u8, String> {
    write(&arguments.directory)?;
    let place = arguments.directory.display();
    sayln!("{place} is a suite; its example runs with");
    sayln!("    polygil-conformance run --suite-dir {place}");
    Ok(AS_EXPECTED)
}
