//! Where a log keeps its events.

#[cfg(feature = "conformance")]
pub(crate) mod conformance;
mod memory;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use logux_codecs::{Added, EventId, NodeId, Timestamp};

use crate::log::{Created, Entry};

pub use memory::MemoryStore;

/// Keeps the events of a log, and how far each peer has got.
///
/// Object safe: a log holds an `Arc<dyn Store<E>>`. The log calls `add` one at a time; everything
/// else may be called at any time from any task.
///
/// # Contract
/// Each line is a check of [`conformance::store`](crate::conformance::store) (feature
/// `conformance`) under the name given.
///
/// 1. `positions_count_up`: each event that is added gets the position after the last one, the
///    first gets 1; no position is used twice.
/// 2. `an_id_is_added_once`: an event whose id the store has, or that came earlier in the same
///    call, is not added and changes nothing.
/// 3. `a_batch_is_one_transaction`: when `add` returns, all its events and its cursor are kept
///    (durably, if the store is durable); when it fails, none of them is.
/// 4. `reads_in_the_order_of_adding`: `entries_after` gives what `add` was given, in that order.
/// 5. `reads_in_the_order_of_creation`: `entries_created_after` gives the events by [`Created`].
/// 6. `cursors_are_kept_per_peer`: a peer's cursors are zero, or what they were last reset to, or
///    the largest that were given for that peer since. They never fall otherwise: what a connection
///    that ended has to say may come late.
/// 7. `remembers_who_was_dialled`: `dialled` is what was last given to `set_dialled`.
/// 8. `has_an_identity`: `epoch` is the same for as long as the store holds the same log, and another
///    one in another store.
/// 9. `knows_the_last_id_of_a_node`: `last_time` is the largest time in the ids of a node's events.
#[async_trait]
pub trait Store<E>: Send + Sync + 'static {
    /// Adds events in one transaction, together with how far their sender's log has been received.
    ///
    /// Answers for each event, in order: the entry with its new position, or `None` where the
    /// store had its id already. `meta.added` of what is given has no meaning. With no events,
    /// only sets the cursor.
    async fn add(
        &self,
        entries: Vec<Entry<E>>,
        received: Option<(&NodeId, Added)>,
    ) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError>;

    /// At most `limit` events whose position is above `added`, in the order of their positions.
    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError>;

    /// At most `limit` events that were created after `position` (all, for `None`), oldest first.
    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError>;

    /// The event of that id.
    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<E>>>, StoreError>;

    /// The largest position that was ever given; zero if none was.
    async fn last_added(&self) -> Result<Added, StoreError>;

    /// The largest time in the ids of a node's events, all that were ever added.
    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError>;

    /// How far a peer has got; zero for a peer that is not known.
    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError>;

    /// Moves on how far a peer has got with this log. Need not be durable at once: a cursor that
    /// is behind only makes events travel again.
    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError>;

    /// The node that was last dialled, by [`set_dialled`](Self::set_dialled).
    async fn dialled(&self) -> Result<Option<NodeId>, StoreError>;

    /// Notes which node answered when this one dialled. A client that starts again guesses from it
    /// who will answer, and has to tell that node how far its log is received. Kept as durably as
    /// the cursors.
    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError>;

    /// Puts these in the place of all that is known of a peer, because its log is another one than
    /// before.
    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError>;

    /// Notes the identity of a peer's log.
    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError>;

    /// The identity of the log that this store holds: drawn when the store was made, and kept as
    /// long as the log.
    async fn epoch(&self) -> Result<Epoch, StoreError>;
}

/// How far two logs are in step, as one of them knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// The peer has confirmed all events of this log up to here that it may have (the original's
    /// `lastSent`). Where the peer dialled, the last position that it confirmed itself.
    pub sent: Added,
    /// This log has all events of the peer's log up to here (the original's `lastReceived`).
    pub received: Added,
    /// Events do not go back to the peer that they came from, but for those up to here: the peer
    /// has lost them since.
    pub return_up_to: Added,
    /// Which log of the peer's these are about; `None` for a peer that does not tell, as JavaScript
    /// nodes do not.
    pub epoch: Option<Epoch>,
}

/// The identity of a log. Nodes tell each other theirs, in their headers; a node whose log was
/// replaced, by an empty one or by a copy of an older one, is known by it, and all is sent again.
///
/// Who restores a store from a copy gives it a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new one, unlike all others.
    pub fn random() -> Self {
        Self(logux_transports::rt::random_u64())
    }

    /// One that a store has kept as a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| valid).map(Self)
    }

    /// The plain number, for stores to keep.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the store failed")]
pub struct StoreError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps the store's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
