use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use logux_codecs::{Added, EventId};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::change::{Change, Effect, Forget};
use super::contract::StoreError;
use super::record::RecordChange;
use crate::entry::Entry;

/// All that a store keeps together, in one transaction: events, and records beside them.
///
/// Keep it until it is answered: how much may wait for a store is bounded, and that is counted by the
/// `Append`s that exist.
#[derive(Debug)]
#[non_exhaustive]
pub struct Append<E> {
    /// Events to add, in this order. Their `meta.added` has no meaning yet.
    pub entries: Vec<Entry<E>>,
    /// What happens if the store has the id of one of the events.
    pub if_known: IfKnown,
    /// Changes to events, to be made in this order once the events are added.
    pub changes: Vec<Change>,
    /// Changes to records, to be made in this order.
    pub records: Vec<RecordChange>,
    /// Ids of events that are gone, to be forgotten after all else.
    pub forget: Option<Forget>,
    /// [`Stored::cleaned`] is wanted. Otherwise it may stay empty.
    pub shows_cleaned: bool,
    /// The changes need not be durable at once: they may wait for the next append that has to be, and be lost
    /// if the process ends or the store fails before. Reading shows them at once. Has no meaning for an append
    /// with more than changes to records.
    pub may_wait: bool,
    room: Option<OwnedSemaphorePermit>,
    on_kept: Option<OnKept<E>>,
}

/// Is called with the entries of an append once they are kept, before the end of the log moves and anything is
/// answered: with what [`Stored::entries`] will be. A store need not call it.
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "no other store calls it yet"))]
pub(crate) struct OnKept<E>(Box<Call<E>>);

type Call<E> = dyn FnOnce(&Placed<E>) + Send;

/// What became of events that were to be added, in order.
type Placed<E> = [Option<Arc<Entry<E>>>];

impl<E> Append<E> {
    /// Events to add, each only if its id is new.
    pub const fn events(entries: Vec<Entry<E>>) -> Self {
        Self {
            entries,
            if_known: IfKnown::LeaveOut,
            changes: Vec::new(),
            records: Vec::new(),
            forget: None,
            shows_cleaned: false,
            may_wait: false,
            room: None,
            on_kept: None,
        }
    }

    /// Changes to records, without events.
    pub fn records(records: Vec<RecordChange>) -> Self {
        Self { records, ..Self::events(Vec::new()) }
    }

    /// Changes to events that are there.
    pub fn changes(changes: Vec<Change>) -> Self {
        Self { changes, ..Self::events(Vec::new()) }
    }

    /// Sets what happens if the store has the id of one of the events.
    #[must_use]
    pub const fn if_known(mut self, if_known: IfKnown) -> Self {
        self.if_known = if_known;
        self
    }

    /// Adds changes to records.
    #[must_use]
    pub fn and_records(mut self, records: impl IntoIterator<Item = RecordChange>) -> Self {
        self.records.extend(records);
        self
    }

    /// Adds changes to events.
    #[must_use]
    pub fn and_changes(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// Has [`Stored::cleaned`] hold the events that are gone by this append.
    #[must_use]
    pub const fn showing_cleaned(mut self, shows: bool) -> Self {
        self.shows_cleaned = shows;
        self
    }

    /// Has ids of events that are gone forgotten.
    #[must_use]
    pub const fn and_forget(mut self, forget: Option<Forget>) -> Self {
        self.forget = forget;
        self
    }

    /// Lets the changes wait for the next append that has to be durable.
    #[must_use]
    pub const fn may_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }

    /// What is not for other crates apart, for a store that takes the rest to pieces.
    #[cfg(feature = "sqlite")]
    pub(crate) fn into_parts(mut self) -> (Self, Option<OwnedSemaphorePermit>, Option<OnKept<E>>) {
        let (room, on_kept) = (self.room.take(), self.on_kept.take());
        (self, room, on_kept)
    }

    pub(crate) fn on_kept(mut self, on_kept: impl FnOnce(&Placed<E>) + Send + 'static) -> Self {
        self.on_kept = Some(OnKept(Box::new(on_kept)));
        self
    }

    /// Takes up this much room until it is dropped.
    pub(crate) fn with_room(mut self, room: Option<OwnedSemaphorePermit>) -> Self {
        self.room = room;
        self
    }
}

#[cfg(feature = "sqlite")]
impl<E> OnKept<E> {
    pub(crate) fn call(self, entries: &Placed<E>) {
        (self.0)(entries);
    }
}

impl<E> fmt::Debug for OnKept<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnKept").finish_non_exhaustive()
    }
}

/// What happens to an append in which an event has an id that the store has or had, or that came earlier in the
/// same append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfKnown {
    /// That event is left out; the others are added, and all else is changed.
    LeaveOut,
    /// No event of the append is added, and nothing else changes.
    AddNone,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stored<E> {
    /// For each event, in order: the entry with its new position, or `None` where it was not added.
    pub entries: Vec<Option<Arc<Entry<E>>>>,
    /// The events that were not added, in order, as they were given.
    pub known: Vec<Entry<E>>,
    /// The ids, among those that were not added, of events that the store had and that were cleaned.
    pub gone: Vec<EventId>,
    /// The ids, among those that were not added, that may be of cleaned events: they are not later than an id of
    /// their node that is [forgotten](crate::Forget).
    pub too_old: Vec<EventId>,
    /// The events that were changed: where they are, and what became of them.
    pub changed: Vec<(Added, Effect)>,
    /// The events that are gone by this append, if it [shows](Append::shows_cleaned) them. A store may leave out what it cannot read as an `E` any more.
    pub cleaned: Vec<Arc<Entry<E>>>,
}

/// Nothing was added or changed.
impl<E> Default for Stored<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            known: Vec::new(),
            gone: Vec::new(),
            too_old: Vec::new(),
            changed: Vec::new(),
            cleaned: Vec::new(),
        }
    }
}

/// A store's answer to an [`Append`]: ready once all of it is kept, or none of it. Dropping the answer
/// changes nothing about the append.
#[must_use = "whether an append was kept is only known by its answer"]
pub struct Answer<E>(Inner<E>);

enum Inner<E> {
    /// `None` once it was taken.
    Ready(Option<Result<Stored<E>, StoreError>>),
    Later(BoxFuture<'static, Result<Stored<E>, StoreError>>),
}

impl<E> Answer<E> {
    /// An answer that is there already.
    pub const fn ready(answer: Result<Stored<E>, StoreError>) -> Self {
        Self(Inner::Ready(Some(answer)))
    }

    /// An answer that comes later. The work must not depend on the future: it goes on where nobody polls it.
    pub fn later(
        answer: impl Future<Output = Result<Stored<E>, StoreError>> + Send + 'static,
    ) -> Self {
        Self(Inner::Later(Box::pin(answer)))
    }
}

/// Nothing in it is pinned.
impl<E> Unpin for Answer<E> {}

impl<E> Future for Answer<E> {
    type Output = Result<Stored<E>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ready(answer) => Poll::Ready(answer.take().unwrap_or_else(|| {
                Err(StoreError::new("the answer of the store was taken already"))
            })),
            Inner::Later(answer) => answer.as_mut().poll(context),
        }
    }
}

impl<E> fmt::Debug for Answer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&matches!(self.0, Inner::Ready(_))).finish()
    }
}
