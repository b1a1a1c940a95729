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
    pub(super) is_restored: bool,
}

impl LogOptions {
    /// The system's clock, and events of at most 256 KiB that every peer can be sent.
    pub fn new() -> Self {
        let (clock, event_limits) = (Clock::system(), EventLimits::default());
        Self { clock, event_limits, is_restored: false }
    }

    /// Where the log takes the time of day from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The store holds an earlier state of the log: a copy that was put back after a loss. The log gets a new
    /// [`Epoch`](crate::Epoch) as it is opened: peers notice that it is another one, and send again what is
    /// missing here. A node that this one dials sends this node's own events, too; of those that connect, a server
    /// takes its own events and those of others only from a relay ([`Access::relay`](crate::Access::relay)). Set
    /// it once, not each time.
    ///
    /// Without it, peers take the log for the one that they know, and what both sides add from now on may be taken
    /// for what was there before.
    pub fn restored(mut self) -> Self {
        self.is_restored = true;
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
