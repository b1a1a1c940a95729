use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use logux_codecs::Timestamp;
use logux_transports::rt;

/// Where a log takes the time of day from.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    slept: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
}

impl Clock {
    /// The system's clock. A time before 1970 counts as 1970.
    pub fn system() -> Self {
        // The year 287396 is the first whose milliseconds do not fit.
        Self::new(|| Timestamp::new(rt::unix_milliseconds()).unwrap_or_default()).slept(rt::slept)
    }

    /// A clock of one's own, for tests and simulations. It may stand still or step back. Where it jumps, it
    /// counts as set: the machine does not sleep, unless [`slept`](Self::slept) says so.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), slept: Arc::new(|| Some(Duration::ZERO)) }
    }

    /// How long the machine has been suspended so far, counted from any moment: by so much the clock jumps
    /// ahead of the timers without being set. `None` where this cannot be known.
    pub fn slept(mut self, slept: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.slept = Arc::new(slept);
        self
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) fn time_asleep(&self) -> Option<Duration> {
        (self.slept)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
