//! The one place where the library asks for tasks, timers, clocks and randomness.
//!
//! Natively this is tokio's own, so that a test may pause time. In a browser (the target
//! `wasm32-unknown-unknown`) it is the page's event loop, with the same names and meanings.
//!
//! Hidden from the documentation: it is shared by this library's crates and may change in any release.

use std::hash::{BuildHasher, RandomState};
use std::io;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
#[path = "browser.rs"]
mod here;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#[path = "native.rs"]
mod here;

pub use here::{
    AbortHandle, Elapsed, Id, Instant, JoinError, JoinHandle, JoinSet, Sleep, can_spawn,
    consume_budget, sleep, sleep_until, slept, spawn, timeout, timeout_at, unix_milliseconds,
    yield_now,
};

/// Fills a buffer with randomness of the operating system, or of the browser, that nobody can guess.
pub fn fill_random(buffer: &mut [u8]) -> io::Result<()> {
    getrandom::fill(buffer).map_err(io::Error::other)
}

/// A number drawn by the operating system, or by the browser: to seed what must differ between two
/// processes. For secrets, [`fill_random`] tells whether it could be drawn.
pub fn random_u64() -> u64 {
    // Where the system has none to give, the standard library's seeds are the next best.
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0))
}
