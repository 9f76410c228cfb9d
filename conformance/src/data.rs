//! Where the suite's data comes from: a directory, or what this program carries inside itself.
//!
//! The program is one file. It carries the cases, setups, targets, expectations, the app with its adapters, and the pure Python of the
//! `polygil` package that those import. Servers are processes that read files, so what is carried is unpacked first: into a directory
//! of its own that goes when the run has ended. `export` unpacks it for good, for whoever writes glue for a server or adds a case.

use std::path::{Path, PathBuf};

/// What is carried: each file's name below a directory, and its bytes. `build.rs` says what that is.
pub const CARRIED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// A directory that holds the suite for as long as this value lives.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    /// The unpacked files; none where the suite is a directory that somebody keeps.
    _unpacked: Option<tempfile::TempDir>,
}

impl Place {
    /// `asked` for; else `./conformance` or `.` where a suite is there; else what the program carries.
    ///
    /// A suite in the working directory comes first so that a case can be written and tried without building anything.
    pub fn find(asked: Option<&Path>) -> Result<Self, String> {
        if let Some(root) = asked {
            return Ok(Self { root: root.to_owned(), _unpacked: None });
        }
        let here = ["conformance", "."].map(PathBuf::from);
        if let Some(root) = here.into_iter().find(|root| is_suite(root)) {
            return Ok(Self { root, _unpacked: None });
        }
        Self::carried()
    }

    /// What the program carries, unpacked below the directory for temporary files.
    pub fn carried() -> Result<Self, String> {
        let unpacked = tempfile::Builder::new().prefix("polygil-conformance-").tempdir();
        let unpacked = unpacked.map_err(|error| {
            format!("{}: the suite cannot be unpacked there ({error}): set TMPDIR", std::env::temp_dir().display())
        })?;
        crate::interrupt::remember(unpacked.path());
        unpack(unpacked.path())?;
        Ok(Self { root: unpacked.path().join("conformance"), _unpacked: Some(unpacked) })
    }

    /// The directory that holds `cases`, `setups.toml`, `targets`, `expectations` and `app`.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn is_suite(root: &Path) -> bool {
    let is_said = ["suite.toml", "setups.toml"].iter().any(|name| root.join(name).is_file());
    is_said && root.join("cases").is_dir()
}

/// Writes what the program carries below `directory`, which is made where it is not there.
pub fn unpack(directory: &Path) -> Result<(), String> {
    for (name, bytes) in CARRIED {
        let path = directory.join(name);
        let parent = path.parent().expect("a file is in a directory");
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// As [`unpack`], for good: into a directory that is empty or does not exist, so that nobody's changes are written over.
pub fn export(directory: &Path) -> Result<(), String> {
    let is_taken = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken || directory.is_file() {
        return Err(format!("{} is not empty: name a new directory", directory.display()));
    }
    unpack(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Suite;

    #[test]
    fn what_is_carried_is_a_whole_suite_and_goes_with_its_place() {
        let place = Place::carried().expect("unpacked");
        let suite = Suite::load(place.root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(suite.cases.len() >= 400, "{}", suite.cases.len());
        assert!(place.root().join("../python/polygil/py.typed").is_file());
        let root = place.root().to_owned();
        drop(place);
        assert!(!root.exists());
    }

    #[test]
    fn an_export_writes_over_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let new = directory.path().join("new");
        export(&new).expect("a new directory");
        let refused = export(&new).expect_err("it is full by now");
        assert_eq!(refused, format!("{} is not empty: name a new directory", new.display()));
    }
}
