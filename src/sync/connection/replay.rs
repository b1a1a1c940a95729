//! What a peer is sent of the past because it subscribed to an index.
//!
//! A page of it is looked for while nothing is under way to the peer and nothing new is read for it. So once a page
//! comes to the end of the log, all that follows is live, and nothing is missed, sent twice or sent before its turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use logux_codecs::Added;
use tokio::sync::oneshot;

use crate::sync::session::{Replay, Subscription};

/// The replays of a connection, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Replays(VecDeque<(Arc<Replaying>, oneshot::Sender<()>)>);

/// One of them, page by page.
#[derive(Debug)]
pub(crate) struct Replaying {
    pub(crate) index: String,
    /// Where it begins.
    pub(crate) after: Added,
    /// Up to here also what the peer was sent before, and its own events.
    pub(crate) all_up_to: Added,
    reached: AtomicU64,
    /// A page is prepared, and waits until the peer has it.
    is_prepared: AtomicBool,
    /// It is the last one.
    is_last: AtomicBool,
}

impl Replays {
    /// Adds what a subscription wants of a log that ends here.
    pub(crate) fn push(&mut self, subscription: Subscription, log_end: Added) {
        let Subscription { index, replay, done } = subscription;
        let (after, all_up_to) = match replay {
            Replay::Nothing => (log_end, Added::ZERO),
            Replay::After(position) => (position.min(log_end), Added::ZERO),
            Replay::All => (Added::ZERO, log_end),
        };
        let replaying = Replaying {
            index,
            after,
            all_up_to,
            reached: AtomicU64::new(after.value()),
            is_prepared: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
        };
        self.0.push_back((Arc::new(replaying), done));
    }

    /// Ends those of an index. Answers whether one of them was under way.
    pub(crate) fn end(&mut self, index: &str) -> bool {
        let is_under_way = self.first().is_some_and(|first| first.index == index);
        for (replaying, done) in std::mem::take(&mut self.0) {
            if replaying.index == index {
                // Fails only if nobody waits for it.
                let _ = done.send(());
            } else {
                self.0.push_back((replaying, done));
            }
        }
        is_under_way
    }

    /// The one whose turn it is.
    pub(crate) fn first(&self) -> Option<&Arc<Replaying>> {
        self.0.front().map(|(replaying, _)| replaying)
    }

    /// All that was prepared was sent and confirmed. Answers whether there is more to be prepared.
    pub(crate) fn page_is_done(&mut self) -> bool {
        let Some((first, _)) = self.0.front() else { return false };
        if first.is_prepared.swap(false, Ordering::Relaxed)
            && first.is_last.load(Ordering::Relaxed)
            && let Some((_, done)) = self.0.pop_front()
        {
            let _ = done.send(());
        }
        !self.0.is_empty()
    }
}

impl Replaying {
    /// Up to where its events are prepared.
    pub(crate) fn reached(&self) -> Added {
        Added::new(self.reached.load(Ordering::Relaxed)).unwrap_or(Added::ZERO)
    }

    /// A page is prepared.
    pub(crate) fn reach(&self, position: Added, is_last: bool) {
        self.reached.store(position.value(), Ordering::Relaxed);
        self.is_last.store(is_last, Ordering::Relaxed);
        self.is_prepared.store(true, Ordering::Relaxed);
    }

    /// Whether all of it is prepared: what follows is live.
    pub(crate) fn is_at_the_end(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }
}
