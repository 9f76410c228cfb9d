//! Deliberate mistakes: each one shows that a test can fail.
//!
//! The sources name a mistake where it could be made: `if !broken("send_without_wake") { wake() }`. In what ships [`broken`] is
//! a constant `false` and the branch is gone. Two builds can make them, one at a time: the model checker's (`--cfg loom`), which
//! takes the name from `POLYGIL_BROKEN`, and the simulator's with the feature `mistakes`, which chooses one for its thread.
//! That feature is never part of a default, and the native module refuses to be built with it.

#[cfg(all(feature = "mistakes", feature = "python"))]
compile_error!("the feature `mistakes` is for the simulator's tests: nothing that serves is built with it");

/// Whether this mistake is to be made. Never in what ships.
#[cfg(not(any(loom, feature = "mistakes")))]
pub(crate) const fn broken(_mistake: &str) -> bool {
    false
}

/// See above.
#[cfg(loom)]
pub(crate) fn broken(mistake: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("POLYGIL_BROKEN").ok()).as_deref() == Some(mistake)
}

#[cfg(all(feature = "mistakes", not(loom)))]
thread_local! {
    static CHOSEN: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// See above.
#[cfg(all(feature = "mistakes", not(loom)))]
pub(crate) fn broken(mistake: &str) -> bool {
    CHOSEN.get() == mistake
}

/// From now on, code on this thread makes that mistake; the empty name is none.
#[cfg(all(feature = "mistakes", not(loom)))]
pub fn choose(mistake: &'static str) {
    CHOSEN.set(mistake);
}
