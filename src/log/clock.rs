use std::fmt;
use std::sync::Arc;

use logux_codecs::Timestamp;
use logux_transports::rt;

/// Where a log takes the time of day from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock. A time before 1970 counts as 1970.
    pub fn system() -> Self {
        Self::new(|| {
            // The year 287396 is the first whose milliseconds do not fit.
            Timestamp::new(rt::unix_milliseconds()).unwrap_or_default()
        })
    }

    /// A clock of one's own, for tests and simulations. It may stand still or step back.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
