//! What became of one event for one peer.

use std::fmt;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, EventId, NodeId};

use super::Log;
use super::withheld::Fate;
use crate::apart::Refused;
use crate::store::End;
use crate::store::StoreError;

/// What became of an event for a peer: see [`Log::receipt`] and
/// [`SessionHandle::receipt`](crate::SessionHandle::receipt).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// The peer confirmed the event, or brought it. It may have dropped the event by a filter of its own.
    Confirmed,
    /// [`out_filter`](crate::SyncOptions::out_filter) withheld the event, as of now: a second look
    /// ([`reevaluate`](crate::SessionHandle::reevaluate)) that is under way may send it still. Where thousands of
    /// events with gaps between them are withheld from one peer, the oldest gaps count as withheld, too.
    Withheld,
    /// The event is [held back](Log::held_back): the peer did not take it, or it cannot be sent. The reason
    /// says why, and whether it is offered again by itself.
    HeldBack(Refused),
    /// This process did not look at the event for the peer. In an earlier process, or before what was known of
    /// a peer that was gone for long was forgotten, the peer confirmed the event or `out_filter` withheld it:
    /// which of them is not remembered.
    Passed,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The log does not hold the event.
    #[error("there is no event {0} in the log; ask for one that was added to it")]
    NotInLog(EventId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Event> Log<E> {
    /// Waits until a peer is done with an event of this log, over whichever session, and answers what became
    /// of the event. There may be no session with the peer at the time.
    ///
    /// Waits for ever for a peer that never comes: put a time limit around it. Cancel-safe.
    ///
    /// ```
    /// # use logux_sync::{Json, Log, Memory, MemoryStore, Receipt, ServerSync, ClientSync, BaseSync, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client_log = Log::<String>::open("10:client".parse()?, MemoryStore::new()).await?;
    /// # let log = Log::<String>::open("server".parse()?, MemoryStore::new()).await?;
    /// # let (near, far) = Memory::pair();
    /// # let _server = ServerSync::new(&log, Json, far).start();
    /// # let _client = BaseSync::new(&client_log, Json, Role::Opener, near).start();
    /// let entry = log.add("hello".to_owned()).await?;
    /// let receipt = log.receipt(&"10:client".parse()?, &entry.meta.id).await?;
    /// assert_eq!(receipt, Receipt::Confirmed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn receipt(&self, peer: &NodeId, id: &EventId) -> Result<Receipt, ReceiptError> {
        let entry = self.by_id(id).await?;
        let entry = entry.ok_or_else(|| ReceiptError::NotInLog(id.clone()))?;
        let added = entry.meta.added;
        let known = self.known(peer);
        // The peer may have been here in an earlier process only.
        if self.cursors(peer).await?.sent < added {
            let before = Added::ZERO.plus(added.value().saturating_sub(1));
            known.reached().beyond(before).await;
        }
        if let Some(refused) = self.held_back_one(peer, id).await? {
            return Ok(Receipt::HeldBack(refused));
        }
        if entry.meta.source.as_ref() == Some(peer) {
            return Ok(Receipt::Confirmed);
        }
        Ok(match known.withheld().fate(added) {
            Fate::Sent => Receipt::Confirmed,
            Fate::Withheld => Receipt::Withheld,
            Fate::Unknown => Receipt::Passed,
        })
    }
}

/// The log of a session, whatever its events are.
pub(crate) trait SessionLog: fmt::Debug + Send + Sync {
    /// Where it ends, now and later.
    fn end(&self) -> &End;

    /// See [`Log::receipt`].
    fn receipt<'a>(
        &'a self,
        peer: &'a NodeId,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<Receipt, ReceiptError>>;
}

impl<E: Event> SessionLog for Log<E> {
    fn end(&self) -> &End {
        Self::end(self)
    }

    fn receipt<'a>(
        &'a self,
        peer: &'a NodeId,
        id: &'a EventId,
    ) -> BoxFuture<'a, Result<Receipt, ReceiptError>> {
        Self::receipt(self, peer, id).boxed()
    }
}
