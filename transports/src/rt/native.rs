use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// How long the machine was suspended since this was first called, while [`Instant`] stood still; `None`
/// where the system does not tell. Linux does, to some 10 ms; on Windows `Instant` goes on meanwhile.
pub fn slept() -> Option<Duration> {
    if cfg!(windows) {
        return Some(Duration::ZERO);
    }
    asleep::slept()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod asleep {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    /// How far apart the two may be read, and how often that is tried.
    const CLOSE: Duration = Duration::from_millis(10);
    const MAX_ATTEMPTS: usize = 10;

    static FIRST: OnceLock<Option<(Duration, Instant)>> = OnceLock::new();

    pub(super) fn slept() -> Option<Duration> {
        let (first_uptime, first) = (*FIRST.get_or_init(read))?;
        let (uptime, now) = read()?;
        Some(uptime.saturating_sub(first_uptime).saturating_sub(now.duration_since(first)))
    }

    /// The time since the machine was started, which counts its sleep, and by the clock that does not.
    fn read() -> Option<(Duration, Instant)> {
        let mut attempts = 0;
        loop {
            let before = Instant::now();
            let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
            let now = Instant::now();
            attempts += 1;
            // A thread that has to wait between the two has read times that do not belong together.
            if now.duration_since(before) < CLOSE || attempts == MAX_ATTEMPTS {
                let seconds = uptime.split_whitespace().next()?.parse().ok()?;
                return Some((Duration::try_from_secs_f64(seconds).ok()?, now));
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod asleep {
    use std::time::Duration;

    pub(super) fn slept() -> Option<Duration> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_not_suspended_did_not_sleep() {
        for _ in 0..100 {
            assert!(slept().unwrap() < Duration::from_secs(1));
        }
    }
}
