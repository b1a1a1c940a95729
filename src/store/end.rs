use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use logux_codecs::Added;
use tokio::sync::Notify;

/// Where a log ends: the position of its last event that is kept and can be read. A [`Store`](super::Store)
/// moves it; sessions and followers wait for it.
///
/// Wakes in the order in which the waiting began, so that a simulation runs the same way twice.
#[derive(Default)]
pub struct End {
    position: AtomicU64,
    moved: Notify,
}

impl End {
    /// The end of a log whose last event has this position.
    pub fn new(position: Added) -> Self {
        Self { position: AtomicU64::new(position.value()), moved: Notify::new() }
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
