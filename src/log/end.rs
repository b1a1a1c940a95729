use std::sync::atomic::{AtomicU64, Ordering};

use logux_codecs::Added;
use tokio::sync::Notify;

/// The position of a log's last event, and a bell that rings when it moves. All that a session
/// needs to know of what is added: it reads the events when it can send them.
///
/// Rings in the order in which the waiting began, so that a simulation runs the same way twice.
#[derive(Debug)]
pub(crate) struct End {
    position: AtomicU64,
    moved: Notify,
}

impl End {
    pub(crate) fn new(position: Added) -> Self {
        Self { position: AtomicU64::new(position.value()), moved: Notify::new() }
    }

    pub(crate) fn get(&self) -> Added {
        Added::ZERO.plus(self.position.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, position: Added) {
        self.position.fetch_max(position.value(), Ordering::Release);
        self.moved.notify_waiters();
    }

    /// The end, once it is beyond `position`. Cancel-safe.
    pub(crate) async fn beyond(&self, position: Added) -> Added {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // From here on no move is missed.
            moved.as_mut().enable();
            let end = self.get();
            if end > position {
                return end;
            }
            moved.await;
        }
    }
}
