use logux_codecs::EventLimits;

use super::Clock;

/// How a log behaves: [`Log::open_with`](crate::Log::open_with).
///
/// ```
/// use logux_sync::{EventLimits, LogOptions};
///
/// // Events go to JavaScript nodes, too.
/// let options = LogOptions::new().event_limits(EventLimits::for_javascript());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LogOptions {
    pub(super) clock: Clock,
    pub(super) event_limits: EventLimits,
}

impl LogOptions {
    /// The system's clock, and events of at most 256 KiB that every peer can be sent.
    pub fn new() -> Self {
        Self { clock: Clock::system(), event_limits: EventLimits::default() }
    }

    /// Where the log takes the time of day from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What an event must keep to, to be added here or to be taken from a peer. The frames of sessions
    /// are as long as the longest such event needs.
    pub fn event_limits(mut self, limits: EventLimits) -> Self {
        self.event_limits = limits;
        self
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Clock> for LogOptions {
    fn from(clock: Clock) -> Self {
        Self::new().clock(clock)
    }
}
