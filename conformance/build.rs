//! Writes the list of what the runner carries inside itself: the suite's data, and the pure part of the `polygil` package, on which the
//! app and the adapters stand. `src/data.rs` includes the list; each file is there as its bytes.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is carried, seen from this directory; a directory with all that is in it.
const CARRIED: [&str; 13] = [
    "INTERPRETING.md",
    "MIRROR.md",
    "adapters",
    "app",
    "cases",
    "contract.toml",
    "expectations",
    "ideal",
    "mirror",
    "schema",
    "setups.toml",
    "targets",
    "../python/polygil",
];

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for part in CARRIED {
        let path = here.join(part);
        assert!(path.exists(), "{} is part of the suite, and is not there", path.display());
        collect(&path, part, &mut files);
    }
    files.sort();
    let mut list = String::from("&[\n");
    for (name, path) in &files {
        // Below the directory that holds `conformance` and `python`, side by side as they are here.
        let name = name.strip_prefix("../").map_or_else(|| format!("conformance/{name}"), str::to_owned);
        writeln!(list, "    ({name:?}, include_bytes!({path:?})),").expect("text");
    }
    list.push_str("]\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("carried.rs"), list).expect("a list is written");
    println!("cargo::rerun-if-changed=build.rs");
}

/// Every file at `path`, with its name.
fn collect(path: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) {
    if path.is_file() {
        println!("cargo::rerun-if-changed={}", path.display());
        files.push((name.to_owned(), path.to_owned()));
        return;
    }
    // A new file changes its directory. Where Python writes its caches that would be a build for every run.
    if !["app", "adapters", "ideal", "mirror", "../python/polygil"].contains(&name) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for entry in std::fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, file) = (entry.path(), entry.file_name().into_string().expect("a name in UTF-8"));
        // What Python and editors leave behind, and the native module, are no data.
        if file != "__pycache__" && !file.starts_with('.') && !file.ends_with(".so") {
            collect(&path, &format!("{name}/{file}"), files);
        }
    }
}
