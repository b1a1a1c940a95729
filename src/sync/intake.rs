//! What arrived and waits for the store.

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, NodeId};

use crate::log::{Log, Received};
use crate::store::StoreError;

/// While more bytes than this wait to be stored, nothing further is read.
const MAX_BYTES: usize = 1 << 20;

/// What one peer sent, in order. All that waits goes into the store in one transaction.
pub(crate) struct Intake<E> {
    waiting: Vec<Received<E>>,
    bytes: usize,
    cursor: Option<(NodeId, Move)>,
}

/// What to do with how far the peer has received this log.
#[derive(Clone, Copy)]
enum Move {
    Advance(Added),
    /// Both cursors: its log is another one, which lacks what came from it up to here.
    Reset(Added),
}

impl<E> Default for Intake<E> {
    fn default() -> Self {
        Self { waiting: Vec::new(), bytes: 0, cursor: None }
    }
}

impl<E: Event> Intake<E> {
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES
    }

    /// Counts a frame; frames that hold no events are counted with those that do.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn push(&mut self, received: Received<E>) {
        self.waiting.push(received);
    }

    /// Notes how far the peer has received this log.
    pub(crate) fn advance_sent(&mut self, peer: NodeId, sent: Added) {
        // What was to be reset stays at zero for now, which only makes events travel again.
        if !matches!(self.cursor, Some((_, Move::Reset(_)))) {
            self.cursor = Some((peer, Move::Advance(sent)));
        }
    }

    /// Notes that the peer's log is another one than before.
    pub(crate) fn reset_cursors(&mut self, peer: NodeId, return_up_to: Added) {
        self.cursor = Some((peer, Move::Reset(return_up_to)));
    }

    /// Puts all that waits into the store, and answers how many messages that were.
    pub(crate) fn next_transaction(
        &mut self,
        log: &Log<E>,
    ) -> Option<BoxFuture<'static, Result<usize, StoreError>>> {
        let cursor = self.cursor.take();
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let count = waiting.len();
        let all = waiting.into_iter().reduce(|mut all, next| {
            all.entries.extend(next.entries);
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
                Some((peer, Move::Reset(return_up_to))) => {
                    log.reset_cursors(&peer, return_up_to).await?;
                }
                None => {}
            }
            Ok(count)
        };
        Some(transaction.boxed())
    }

    /// Stores what is under way and what still waits.
    pub(crate) async fn finish(
        &mut self,
        log: &Log<E>,
        under_way: Option<BoxFuture<'static, Result<usize, StoreError>>>,
    ) -> Result<(), StoreError> {
        if let Some(under_way) = under_way {
            under_way.await?;
        }
        if let Some(rest) = self.next_transaction(log) {
            rest.await?;
        }
        Ok(())
    }
}
