use std::sync::atomic::{AtomicU64, Ordering};

use logux_codecs::Added;
use tokio::sync::Notify;

/// A position that moves, and a bell that rings then. Of the end of a log it is all that a session needs to
/// know: it reads the events when it can send them.
///
/// Rings in the order in which the waiting began, so that a simulation runs the same way twice.
#[derive(Debug, Default)]
pub(crate) struct Position {
    position: AtomicU64,
    moved: Notify,
}

impl Position {
    pub(crate) fn new(position: Added) -> Self {
        Self { position: AtomicU64::new(position.value()), moved: Notify::new() }
    }

    pub(crate) fn get(&self) -> Added {
        Added::ZERO.plus(self.position.load(Ordering::Acquire))
    }

    /// Moves it on.
    pub(crate) fn advance(&self, position: Added) {
        self.position.fetch_max(position.value(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Moves it, also back.
    pub(crate) fn set(&self, position: Added) {
        self.position.store(position.value(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Where it is, once that is beyond `position`. Cancel-safe.
    pub(crate) async fn beyond(&self, position: Added) -> Added {
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
