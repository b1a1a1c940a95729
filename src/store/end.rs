use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use logux_codecs::Added;
use tokio::sync::Notify;

use super::change::Effect;

/// Where a log ends: the position of its last event that is kept and can be read. A [`Store`](super::Store)
/// moves it; sessions and followers wait for it.
///
/// Wakes in the order in which the waiting began, so that a simulation runs the same way twice.
#[derive(Default)]
pub struct End {
    position: AtomicU64,
    moved: Notify,
    /// How often events were changed.
    changes: AtomicU64,
    /// The last of those changes.
    recent: Mutex<VecDeque<(Added, Effect)>>,
}

/// So many changes are remembered, for those that keep events which were read before.
const MAX_RECENT: usize = 1_024;

impl End {
    /// The end of a log whose last event has this position.
    pub fn new(position: Added) -> Self {
        Self { position: AtomicU64::new(position.value()), ..Self::default() }
    }

    /// The position of the last event; zero if there is none.
    pub fn get(&self) -> Added {
        Added::ZERO.plus(self.position.load(Ordering::Acquire))
    }

    /// Moves the end on to a position, and wakes those that wait. A lower position changes nothing.
    pub fn advance(&self, position: Added) {
        self.position.fetch_max(position.value(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Tells that events were changed: before that is answered, and after whoever reads finds it so.
    pub fn changed(&self, events: &[(Added, Effect)]) {
        if events.is_empty() {
            return;
        }
        let mut recent = self.recent();
        recent.extend(&events[events.len().saturating_sub(MAX_RECENT)..]);
        let surplus = recent.len().saturating_sub(MAX_RECENT);
        recent.drain(..surplus);
        self.changes.fetch_add(events.len() as u64, Ordering::Release);
    }

    /// How often events were changed since this began.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What was changed since there were so many changes, and how many there are now; `None` if that is not
    /// remembered.
    pub(crate) fn changes_since(&self, before: u64) -> (Option<Vec<(Added, Effect)>>, u64) {
        let recent = self.recent();
        let now = self.changes();
        let new = usize::try_from(now.saturating_sub(before)).ok();
        let first = new.and_then(|new| recent.len().checked_sub(new));
        (first.map(|first| recent.range(first..).copied().collect()), now)
    }

    /// Nothing panics while the lock is held.
    fn recent(&self) -> MutexGuard<'_, VecDeque<(Added, Effect)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it, also back.
    pub(crate) fn set(&self, position: Added) {
        self.position.store(position.value(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Waits until the end is beyond `position`, and answers where it is. Cancel-safe.
    pub async fn beyond(&self, position: Added) -> Added {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // From here on no move is missed.
            moved.as_mut().enable();
            let now = self.get();
            if now > position {
                return now;
            }
            moved.await;
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("End").field(&self.get()).finish()
    }
}
