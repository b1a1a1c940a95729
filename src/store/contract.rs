//! What every store promises.

use std::sync::Arc;

use async_trait::async_trait;
use logux_codecs::{Added, EventId, NodeId, Timestamp};

use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Created, Entry};

/// Keeps the events of a log, and how far each peer has got.
///
/// Object safe: a log holds an `Arc<dyn Store<E>>`. The log calls `add` one at a time; everything
/// else may be called at any time from any task. Any future of a store may be dropped before it is ready,
/// by a session that ends, and the next call may come at once: what was begun is then done wholly or not at
/// all, and before what is called later.
///
/// A store that cannot do something now, and probably can soon, fails with [`StoreError::busy`]; all else
/// with [`StoreError::new`].
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
/// 10. `keeps_what_is_set_aside`: `events_set_aside` gives what was given to `set_aside` and not
///     removed, each id once, oldest first; no reader of the log sees it.
/// 11. `keeps_what_is_held_back`: `held_back` gives, per peer, what was given to `hold_back` and not
///     released, each id once and as it was given last, oldest first.
/// 12. `adds_all_or_none_where_ids_must_be_new`: with [`IfKnown::AddNone`], a call in which an id is known
///     or repeats adds nothing and changes nothing.
#[async_trait]
pub trait Store<E>: Send + Sync + 'static {
    /// Adds events in one transaction, together with how far their sender's log has been received.
    ///
    /// `meta.added` of what is given has no meaning. With no events, only sets the cursor.
    ///
    /// `if_known` says what becomes of the call if the store has the id of one of its events.
    async fn add(
        &self,
        entries: Vec<Entry<E>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<E>, StoreError>;

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

    /// Keeps events of peers that this program cannot read, apart from the log. An id that is set aside
    /// already stays as it is. The log bounds how much it sets aside. Kept as durably as the events.
    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError>;

    /// All events that are set aside, in the order in which they came.
    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError>;

    /// Removes events from those that are set aside: they were added, or nobody wants them.
    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError>;

    /// Notes events that a peer did not take. What is held back from it already keeps its place, and is
    /// noted anew. The log bounds how many there are. Kept as durably as the cursors.
    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError>;

    /// All events that are held back from a peer, in the order in which they were noted.
    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError>;

    /// Removes events from those that are held back from a peer: it took them, or nobody wants that.
    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError>;
}

/// What becomes of a call of [`Store::add`] in which an event has an id that the store has, or that came
/// earlier in the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfKnown {
    /// That event is left out, the others are added.
    LeaveOut,
    /// No event of the call is added, and the cursor stays.
    AddNone,
}

/// What became of the events that a store was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<E> {
    /// For each event, in order: the entry with its new position, or `None` where it was not added.
    pub entries: Vec<Option<Arc<Entry<E>>>>,
    /// The events that were not added, in order, as they were given.
    pub known: Vec<Entry<E>>,
}

/// A store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the store {}", if *.is_busy { "is busy" } else { "failed" })]
pub struct StoreError {
    is_busy: bool,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// Wraps the store's own error. A client ends with it: it is for what another attempt would not mend,
    /// such as a full disk.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { is_busy: false, source: error.into() }
    }

    /// The same, where the store can probably do it soon: another process holds a lock, or a database is
    /// away for a moment. The connection ends, nothing that was not kept is confirmed, and a client whose
    /// transport dials again connects later.
    pub fn busy(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { is_busy: true, source: error.into() }
    }

    /// Whether the store can probably do it soon: see [`busy`](Self::busy).
    pub const fn is_busy(&self) -> bool {
        self.is_busy
    }
}
