use std::time::{SystemTime, UNIX_EPOCH};

pub use tokio::spawn;
pub use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet, consume_budget, yield_now};
/// Follows a clock that a test has paused.
pub use tokio::time::Instant;
pub use tokio::time::error::Elapsed;
pub use tokio::time::{Sleep, sleep, sleep_until, timeout, timeout_at};

/// Whether there is a runtime that [`spawn`] could run a task on.
pub fn can_spawn() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

/// The system's clock: milliseconds since 1970. A time before 1970 counts as 1970.
pub fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
