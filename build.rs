//! Refuses a Python that cannot run polygil before a compiler or a linker gets to speak about it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "python")]
    require_python();
}

/// The native module needs per-interpreter GILs (PEP 684) that are complete only since CPython 3.13, in a build that has a GIL.
#[cfg(feature = "python")]
fn require_python() {
    use pyo3_build_config::{PythonImplementation, PythonVersion};

    let python = pyo3_build_config::get();
    let version = python.version();
    let free_threaded = python.target_abi().kind().is_free_threaded();
    if python.implementation() == PythonImplementation::CPython
        && version >= (PythonVersion { major: 3, minor: 13 })
        && !free_threaded
    {
        return;
    }
    let place = python.executable().map(|path| format!(" at {path}")).unwrap_or_default();
    let kind = if free_threaded { " (free-threaded)" } else { "" };
    println!(
        "cargo::error=polygil needs CPython 3.13 or newer with a GIL; found {:?} {version}{kind}{place}.",
        python.implementation(),
    );
    for line in include_str!("scripts/install-python.txt").lines() {
        println!("cargo::error={line}");
    }
}
