//! What a log knows of one peer for as long as the process runs, whatever becomes of its connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::Added;

use super::Withheld;
use crate::cursors::Epoch;

/// Shared by all connections with the peer.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Inner>);

#[derive(Default)]
struct Inner {
    withheld: Withheld,
    /// How many events are held back from the peer, at most; `None` before they are counted. Held while
    /// some are listed.
    listed: tokio::sync::Mutex<Option<usize>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The peer has refused frames with events up to here, and it is not known which event was wrong.
    suspected_up_to: Added,
    /// The connections that are let in.
    present: Vec<Present>,
    /// Since the last connection was let in, the peer has brought an event of a twin of this node's.
    saw_twin: bool,
    /// The number of the next connection.
    next: u64,
}

struct Present {
    number: u64,
    epoch: Option<Epoch>,
    alarm: Alarm,
    /// Whether it knows that it is not alone.
    is_told: bool,
}

/// Tells a connection that another log of its peer's name is there.
pub(crate) type Alarm = Box<dyn Fn() + Send + Sync>;

/// A connection that is let in, for as long as it lasts.
pub(crate) struct Presence {
    known: Known,
    number: u64,
    /// Whether a connection with another log of the peer's was there when this one came.
    pub(crate) has_twin: bool,
}

impl Known {
    pub(crate) fn withheld(&self) -> &Withheld {
        &self.0.withheld
    }

    pub(crate) fn listed(&self) -> &tokio::sync::Mutex<Option<usize>> {
        &self.0.listed
    }

    /// Events up to here are sent one at a time, to find out which of them the peer refuses.
    pub(crate) fn suspected_up_to(&self) -> Added {
        self.state().suspected_up_to
    }

    pub(crate) fn suspect(&self, up_to: Added) {
        let mut state = self.state();
        state.suspected_up_to = state.suspected_up_to.max(up_to);
    }

    /// A connection is let in, with this log of the peer's, as far as it has said. Two logs of one name
    /// at the same time are two nodes: `alarm` rings on the other connections, once on each.
    pub(crate) fn enter(&self, epoch: Option<Epoch>, alarm: Alarm) -> Presence {
        let mut state = self.state();
        let mut has_twin = false;
        for present in &mut state.present {
            if present.epoch.zip(epoch).is_some_and(|(one, other)| one != other) {
                has_twin = true;
                if !std::mem::replace(&mut present.is_told, true) {
                    (present.alarm)();
                }
            }
        }
        let number = state.next;
        state.next += 1;
        state.present.push(Present { number, epoch, alarm, is_told: has_twin });
        state.saw_twin = false;
        drop(state);
        Presence { known: self.clone(), number, has_twin }
    }

    /// The peer brings an event of another node of this one's name. `false` if that was told of since the
    /// last connection was let in.
    pub(crate) fn first_sees_twin(&self) -> bool {
        !std::mem::replace(&mut self.state().saw_twin, true)
    }

    /// Nothing panics while the lock is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.known.state().present.retain(|present| present.number != self.number);
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_connection_is_told_once_that_it_is_not_alone() {
        let (known, rings) = (Known::default(), Arc::new(AtomicUsize::new(0)));
        let mut told = 0;
        let present: Vec<_> = (0..100)
            .map(|epoch| {
                let rings = Arc::clone(&rings);
                let alarm = move || _ = rings.fetch_add(1, Ordering::Relaxed);
                let presence = known.enter(Some(Epoch::new(epoch)), Box::new(alarm));
                told += usize::from(presence.has_twin);
                presence
            })
            .collect();
        // The first by its alarm, the others as they came.
        assert_eq!((rings.load(Ordering::Relaxed), told), (1, 99));
        drop(present);
        assert!(!known.enter(Some(Epoch::new(7)), Box::new(|| ())).has_twin);
    }
}
