//! The clock on the wall beside the one that timers go by: whether the former was set, or the machine slept.

use std::time::Duration;

use logux_transports::rt::Instant;

use crate::log::Clock;
use crate::sync::rules::{Jump, Now};

/// By how many milliseconds the two clocks may differ from what they were without one of them having
/// jumped. Where they drift apart slowly, that is a small step from time to time.
const SMALL_MS: i64 = 1_000;

/// Both clocks of one connection.
pub(crate) struct Clocks {
    clock: Clock,
    start: Instant,
    /// By how many milliseconds the clock on the wall is ahead of the time since the start, as far as that
    /// was told.
    ahead: i64,
    slept: Option<Duration>,
}

impl Clocks {
    pub(crate) fn new(clock: Clock) -> Self {
        let (start, slept) = (Instant::now(), clock.time_asleep());
        let mut clocks = Self { clock, start, ahead: 0, slept };
        clocks.ahead = ahead(clocks.now());
        clocks
    }

    /// Goes by another clock on the wall from now on.
    pub(crate) fn go_by(&mut self, clock: Clock) {
        self.slept = clock.time_asleep();
        self.clock = clock;
        self.ahead = ahead(self.now());
    }

    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn now(&self) -> Now {
        Now { elapsed: self.start.elapsed(), clock: self.clock.now() }
    }

    /// Whether the clock on the wall has jumped. Each jump is told once.
    pub(crate) fn jump(&mut self, now: Now) -> Option<Jump> {
        let moved = ahead(now).saturating_sub(self.ahead);
        if moved.abs() <= SMALL_MS {
            return None;
        }
        let before = std::mem::replace(&mut self.slept, self.clock.time_asleep());
        let slept = before.zip(self.slept);
        let slept = slept.map(|(before, after)| milliseconds(after.saturating_sub(before)));
        let jump = match slept {
            Some(slept) => {
                let set = moved.saturating_sub(slept);
                // What is left over may be the error of the measurement; if it grows, it was none.
                let set = if slept > 0 && set.abs() <= SMALL_MS { 0 } else { set };
                Jump { set: Some(set), slept: slept > SMALL_MS }
            }
            // No sleep sets a clock back.
            None if moved < 0 => Jump { set: Some(moved), slept: false },
            None => Jump { set: None, slept: true },
        };
        self.ahead += match (jump.set, slept) {
            (Some(set), Some(slept)) => set.saturating_add(slept),
            _ => moved,
        };
        Some(jump)
    }
}

fn ahead(now: Now) -> i64 {
    let wall = i64::try_from(now.clock.value()).unwrap_or(i64::MAX);
    wall.saturating_sub(milliseconds(now.elapsed))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
