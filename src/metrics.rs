//! What is counted for the operators of a program: the feature `metrics`. Without it all of this is nothing.

#[cfg(feature = "metrics")]
use std::fmt;
#[cfg(feature = "sqlite")]
use std::time::Duration;

use crate::sync::Error;

/// What the sessions of this program send and receive, as [`Diagnostics`](crate::Diagnostics) count it for each of
/// them.
#[derive(Clone)]
#[cfg_attr(not(feature = "metrics"), derive(Debug))]
pub(crate) struct Traffic {
    #[cfg(feature = "metrics")]
    events_sent: metrics::Counter,
    #[cfg(feature = "metrics")]
    events_received: metrics::Counter,
    #[cfg(feature = "metrics")]
    bytes_sent: metrics::Counter,
    #[cfg(feature = "metrics")]
    bytes_received: metrics::Counter,
}

#[cfg(feature = "metrics")]
impl Traffic {
    /// Looks the counters up, which takes longer than to count.
    pub(crate) fn new() -> Self {
        Self {
            events_sent: metrics::counter!("logux_sync_events_sent_total"),
            events_received: metrics::counter!("logux_sync_events_received_total"),
            bytes_sent: metrics::counter!("logux_sync_bytes_sent_total"),
            bytes_received: metrics::counter!("logux_sync_bytes_received_total"),
        }
    }

    pub(crate) fn sent_events(&self, count: u64) {
        self.events_sent.increment(count);
    }

    pub(crate) fn sent_bytes(&self, count: u64) {
        self.bytes_sent.increment(count);
    }

    pub(crate) fn received(&self, events: u64, bytes: u64) {
        self.events_received.increment(events);
        self.bytes_received.increment(bytes);
    }
}

#[cfg(feature = "metrics")]
impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").finish_non_exhaustive()
    }
}

/// A connection ended by an error.
#[cfg(feature = "metrics")]
pub(crate) fn connection_failed(error: &Error) {
    metrics::counter!("logux_sync_connection_errors_total", "kind" => error.kind()).increment(1);
}

/// A store made what had been submitted durable, in one transaction.
#[cfg(all(feature = "metrics", feature = "sqlite"))]
pub(crate) fn committed(took: Duration) {
    metrics::histogram!("logux_sync_commit_seconds").record(took);
}

#[cfg(not(feature = "metrics"))]
#[expect(clippy::unused_self, reason = "there is nothing to count with")]
impl Traffic {
    pub(crate) const fn new() -> Self {
        Self {}
    }

    pub(crate) const fn sent_events(&self, _: u64) {}

    pub(crate) const fn sent_bytes(&self, _: u64) {}

    pub(crate) const fn received(&self, _: u64, _: u64) {}
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn connection_failed(_: &Error) {}

#[cfg(all(not(feature = "metrics"), feature = "sqlite"))]
pub(crate) const fn committed(_: Duration) {}
