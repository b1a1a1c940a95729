//! What every store promises.

use std::sync::Arc;

use async_trait::async_trait;
use logux_codecs::{EventId, NodeId, Timestamp, shown};

use super::append::{Answer, Append};
use super::end::End;
use super::query::{IdState, Page, Query};
use super::record::{Key, Prefix};
use crate::entry::Entry;

/// Keeps the events of a log, and beside them records: small texts, by their keys.
///
/// Object safe: a log holds an `Arc<dyn Store<E>>`. Everything may be called at any time from any task.
///
/// A store that cannot do something now, and probably can soon, fails with [`StoreError::busy`]; all else
/// with [`StoreError::new`].
///
/// # Contract
/// Each line is a check of [`conformance::store`](crate::conformance::store) (feature
/// `conformance`) under the name given; a durable store also passes
/// [`store_that_is_opened_again`](crate::conformance::store_that_is_opened_again).
///
/// 1. `positions_count_up`: each event that is added gets a position above that of the last one, the
///    first gets 1; no position is used twice.
/// 2. `an_id_is_added_once`: an event whose id the store has or had, or that came earlier in the same
///    append, is not added and changes nothing.
/// 3. `an_append_is_one_transaction`: when an append is answered, all of it is kept
///    (durably, if the store is durable); when it fails, none of them is.
/// 4. `reads_in_the_order_of_adding`: [`Query::added`] gives the events in the order in which they were
///    submitted.
/// 5. `reads_in_the_order_of_creation`: [`Query::created`] gives them by [`Created`](crate::Created).
/// 6. `reads_no_more_than_a_page`: reading stops at either limit of the [`Page`], but not before the first
///    event.
/// 7. `knows_the_last_id_of_a_node`: `last_time` is the largest time in the ids of a node's events.
/// 8. `adds_all_or_none_where_ids_must_be_new`: with [`IfKnown::AddNone`](crate::IfKnown::AddNone), an append
///    in which an id is known or repeats adds nothing and changes nothing.
/// 9. `keeps_records`: `records` gives what was put and not removed since, in the order of the keys; a number
///    never falls by [`Raise`](crate::RecordChange::Raise).
/// 10. `appends_are_made_in_the_order_of_submission`: also where nobody waits for the answers.
/// 11. `an_append_is_made_whether_or_not_its_answer_is_awaited`: and the end moves.
/// 12. `the_end_is_where_reading_ends`: all events up to [`end`](Self::end) can be read; it is at an event's
///     position before that event's append is answered.
/// 13. `reads_the_newest_first`: in both orders, from the end and from a place, as far as a page goes.
/// 14. `finds_events_by_their_labels`: those with a reason or an index, in both orders and both directions, as
///     their reasons are now.
/// 15. `changes_events_as_edits_say`: what [`Edit::apply`](crate::Edit::apply) makes of the meta; [`Stored`](crate::Stored) and
///     [`End`] tell of each event that was changed.
/// 16. `cleaned_events_are_gone`: they are neither read nor found, their positions are not used again, and the end
///     stays where it is; [`Stored::cleaned`](crate::Stored::cleaned) has them where that is asked for.
/// 17. `an_id_that_is_gone_is_not_added_again`: and it is told apart from one that is there.
/// 18. `keeps_the_last_with_a_reason`: [`Which::Before`](crate::Which::Before), in the append that adds the event; one that comes
///     again, also with another time, changes nothing.
/// 19. `forgets_old_ids`: as [`Forget`](crate::Forget) says; an id that may be a forgotten one is not added.
/// 20. `counts_its_events`: those that are there.
/// 21. `reads_records_in_pages`: after a key, and so many at most.
/// 22. `tells_what_is_known_of_ids`: what an append would do with events of these ids.
#[async_trait]
pub trait Store<E>: Send + Sync + 'static {
    /// Takes an append. Its place among all appends is fixed when this returns; what becomes of it, the answer
    /// tells. Does not block: the work happens in `submit` only where that takes no longer than memory does.
    ///
    /// Durable stores make all that was submitted during one commit in the next one.
    fn submit(&self, append: Append<E>) -> Answer<E>;

    /// Where the log ends. The store moves it, for every event that it adds, whoever waits.
    fn end(&self) -> Arc<End>;

    /// Reads a page of events.
    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<E>>>, StoreError>;

    /// The events of these ids: for each id its event, or `None`.
    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError>;

    /// What is known of these ids, in their order.
    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError>;

    /// Whether reading takes no longer than memory does. Of other stores a log keeps the last events itself, up to
    /// 8 MiB of those that somebody has read; tell it their [sizes](crate::Entry::sized), or it keeps few.
    fn reads_from_memory(&self) -> bool {
        false
    }

    /// Whether the entries that it has in memory after a commit are those that reading would answer, and are shown to
    /// the log. A store around another one changes what it likes, and says no.
    #[doc(hidden)]
    fn shows_what_it_keeps(&self) -> bool {
        false
    }

    /// The largest time in the ids of a node's events, all that were ever added.
    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError>;

    /// How many events there are.
    async fn count(&self) -> Result<u64, StoreError>;

    /// The first records whose keys begin so and come after this one, so many at most, in the order of the keys,
    /// as they are after all appends that were answered.
    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError>;
}

/// What an error of a store means for those that asked.
#[derive(Debug)]
enum Kind {
    Failed,
    Busy,
    Superseded,
}

/// A store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the store {}", if matches!(.kind, Kind::Busy) { "is busy" } else { "failed" })]
pub struct StoreError {
    kind: Kind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// Wraps the store's own error. A client ends with it: it is for what another attempt would not mend,
    /// such as a full disk.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Failed, source: error.into() }
    }

    /// The same, where the store can probably do it soon: another process holds a lock, or a database is
    /// away for a moment. The connection ends, nothing that was not kept is confirmed, and a client whose
    /// transport dials again connects later.
    pub fn busy(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Busy, source: error.into() }
    }

    /// A newer connection of the peer's speaks for it, so that nothing was kept.
    pub(crate) fn superseded() -> Self {
        Self { kind: Kind::Superseded, source: "a newer connection of the peer took over".into() }
    }

    /// A record that no log can have written.
    pub(crate) fn damaged(key: &Key, text: &str) -> Self {
        let text = shown(text);
        Self::new(format!(
            "the record {key} holds {text}, which no log writes; restore it from a copy"
        ))
    }

    /// Whether the store can probably do it soon: see [`busy`](Self::busy).
    pub const fn is_busy(&self) -> bool {
        matches!(self.kind, Kind::Busy)
    }

    pub(crate) const fn is_superseded(&self) -> bool {
        matches!(self.kind, Kind::Superseded)
    }
}
