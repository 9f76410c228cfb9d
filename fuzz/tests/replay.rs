//! Every target over its corpus and over every input that it once failed on, on stable.

use std::path::{Path, PathBuf};

use polygil_fuzz::{TARGETS, run};

fn directory(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

/// In the order of their names; none where there is no such directory.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Runs each input; tells all that fail.
fn replay(kind: &str) -> usize {
    let mut failed = Vec::new();
    let mut count = 0;
    for (target, _) in TARGETS {
        for path in inputs(&directory(kind, target)) {
            let data = std::fs::read(&path).expect("a readable file");
            count += 1;
            if std::panic::catch_unwind(|| run(target, &data)).is_err() {
                failed.push(path);
            }
        }
    }
    assert_eq!(failed, Vec::<PathBuf>::new());
    count
}

#[test]
fn the_corpora_hold() {
    assert!(replay("corpus") > 0);
}

#[test]
fn what_once_failed_stays_found() {
    replay("regressions");
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut binaries: Vec<_> =
        inputs(&root.join("fuzz_targets")).iter().map(|path| path.file_stem().map(ToOwned::to_owned)).collect();
    binaries.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| Some((*name).into())).collect();
    names.sort();
    assert_eq!(binaries, names);
    for (target, _) in TARGETS {
        assert!(!inputs(&directory("corpus", target)).is_empty(), "{target} has no corpus");
    }
}

#[test]
fn the_corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(|(target, _)| inputs(&directory("corpus", target)));
    let bytes: u64 = sizes.map(|path| path.metadata().expect("a file").len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes: minimise them (fuzz/README.md)");
}
