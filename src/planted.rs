//! Panics and stalls that a test plants in a running server, to see what becomes of it.
//!
//! Only a build with the feature `planted-panics` has them; in what ships each of these functions is empty. The variable
//! `PLANTED_PANICS` names a directory. A thread that comes by a place panics once there is a file of that name in it, and the
//! file is gone then. A file `stall-NAME` holds the thread up for as long as it is there.

use std::future::{Future, poll_fn};
use std::pin::pin;

/// Panics here, if a test says so.
#[cfg(not(feature = "planted-panics"))]
pub(crate) const fn panic_here(_place: &str) {}

/// See above.
#[cfg(feature = "planted-panics")]
pub(crate) fn panic_here(place: &str) {
    static DIRECTORY: std::sync::OnceLock<Option<std::path::PathBuf>> = std::sync::OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| std::env::var_os("PLANTED_PANICS").map(Into::into));
    let Some(directory) = directory else { return };
    while directory.join(format!("stall-{place}")).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Who removes it is who panics: once for each file.
    if std::fs::remove_file(directory.join(place)).is_ok() {
        panic!("planted in {place}");
    }
}

/// Runs `future`, and comes by the place each time that it is woken.
pub(crate) async fn passing<T>(place: &'static str, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        panic_here(place);
        future.as_mut().poll(cx)
    })
    .await
}
