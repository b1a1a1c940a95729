//! What arrived and waits for the store.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, NodeId};

use crate::log::{Log, Received};
use crate::planted::planted;
use crate::store::{Cursors, StoreError};
use crate::sync::callbacks::Inward;
use crate::sync::error::Error;
use crate::sync::session::Peer;

/// While more bytes than this wait to be stored, nothing further is read.
const MAX_BYTES: usize = 1 << 20;

/// What one peer sent, in order. All that waits goes into the store in one transaction.
pub(crate) struct Intake<E> {
    /// What is to be asked about events before they are stored.
    inward: Inward<E>,
    /// Waits for that.
    unjudged: Vec<Received<E>>,
    /// Waits for the store.
    waiting: Vec<Received<E>>,
    /// Of all that arrived since the last time that all was taken.
    bytes: usize,
    /// Of what is being judged.
    judged_bytes: usize,
    cursor: Option<(NodeId, Move)>,
}

/// What to do with how far the peer has received this log.
#[derive(Clone, Copy)]
enum Move {
    Advance(Added),
    /// All that is known of it: its log is another one.
    Reset(Cursors),
}

impl<E: Event> Intake<E> {
    pub(crate) fn new(inward: Inward<E>) -> Self {
        let (unjudged, waiting) = (Vec::new(), Vec::new());
        Self { inward, unjudged, waiting, bytes: 0, judged_bytes: 0, cursor: None }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes + self.judged_bytes < MAX_BYTES
    }

    /// Counts a frame; frames that hold no events are counted with those that do.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn push(&mut self, received: Received<E>) {
        if self.inward.is_empty() {
            self.waiting.push(received);
        } else {
            self.unjudged.push(received);
        }
    }

    /// Asks the user's filter and map about all that arrived.
    pub(crate) fn next_judgement(
        &mut self,
        peer: &Arc<Peer>,
    ) -> Option<BoxFuture<'static, Result<Vec<Received<E>>, Error>>> {
        if self.unjudged.is_empty() {
            return None;
        }
        self.judged_bytes = std::mem::take(&mut self.bytes);
        let unjudged = std::mem::take(&mut self.unjudged);
        let (inward, peer) = (self.inward.clone(), Arc::clone(peer));
        let judgement = async move {
            let mut judged = Vec::with_capacity(unjudged.len());
            for received in unjudged {
                judged.push(inward.apply(received, &peer).await?);
            }
            Ok(judged)
        };
        Some(judgement.boxed())
    }

    /// Takes back what [`next_judgement`](Self::next_judgement) gave away.
    pub(crate) fn judged(&mut self, judged: Vec<Received<E>>) {
        self.judged_bytes = 0;
        self.waiting.extend(judged);
    }

    /// Notes how far the peer has received this log.
    pub(crate) fn advance_sent(&mut self, peer: NodeId, sent: Added) {
        // What was to be reset stays at zero for now, which only makes events travel again.
        if !matches!(self.cursor, Some((_, Move::Reset(_)))) {
            self.cursor = Some((peer, Move::Advance(sent)));
        }
    }

    /// Notes that the peer's log is another one than before.
    pub(crate) fn reset_cursors(&mut self, peer: NodeId, cursors: Cursors) {
        self.cursor = Some((peer, Move::Reset(cursors)));
    }

    /// Puts all that waits into the store, and answers how many messages that were.
    pub(crate) fn next_transaction(
        &mut self,
        log: &Log<E>,
    ) -> Option<BoxFuture<'static, Result<usize, StoreError>>> {
        let cursor = self.cursor.take();
        let waiting = std::mem::take(&mut self.waiting);
        if self.unjudged.is_empty() {
            self.bytes = 0;
        }
        let count = waiting.len();
        let all = waiting.into_iter().reduce(|mut all, next| {
            if planted!("messages are stored backwards") {
                let later = std::mem::replace(&mut all.entries, next.entries);
                all.entries.extend(later);
            } else {
                all.entries.extend(next.entries);
            }
            all.up_to = next.up_to;
            all
        });
        if cursor.is_none() && all.is_none() {
            return None;
        }
        let log = log.clone();
        let transaction = async move {
            if let Some(all) = all {
                log.receive(all).await?;
            }
            match cursor {
                Some((peer, Move::Advance(sent))) => log.advance_sent(&peer, sent).await?,
                Some((peer, Move::Reset(cursors))) => log.reset_cursors(&peer, cursors).await?,
                None => {}
            }
            Ok(count)
        };
        Some(transaction.boxed())
    }

    /// Stores what is under way and what still waits; not what the user was not asked about.
    pub(crate) async fn finish(
        &mut self,
        log: &Log<E>,
        under_way: Option<BoxFuture<'static, Result<usize, StoreError>>>,
    ) -> Result<(), StoreError> {
        if let Some(under_way) = under_way {
            under_way.await?;
        }
        if planted!("end of the connection confirms what was not judged") {
            for unjudged in std::mem::take(&mut self.unjudged) {
                self.waiting.push(Received { entries: Vec::new(), ..unjudged });
            }
        }
        if let Some(rest) = self.next_transaction(log) {
            rest.await?;
        }
        Ok(())
    }
}
