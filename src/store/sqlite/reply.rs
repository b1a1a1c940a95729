//! What the thread that writes tells of an append.

use std::sync::Arc;

use logux_codecs::Event;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::apply::Made;
use super::row::Written;
use super::to_entry;
use crate::entry::Entry;
use crate::store::StoreError;
use crate::store::append::{Answer, OnKept, Stored};

/// Whoever waits for an append, as the thread that writes sees it.
pub(super) trait Reply: Send {
    /// It is committed. Nobody sees that yet: the end of the log has not moved.
    fn committed(&mut self, made: Made);

    /// All that was committed with it can be seen, or it failed.
    fn done(self: Box<Self>, result: Result<(), StoreError>);
}

/// The reply to an append.
pub(super) struct AppendReply<E> {
    /// The events that were to be added.
    entries: Vec<Entry<E>>,
    on_kept: Option<OnKept<E>>,
    outcome: Outcome<E>,
    answer: oneshot::Sender<Result<Outcome<E>, StoreError>>,
    /// Room in the log's queue, given back when this is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

/// What was kept, and the events that are gone by it, which are not read yet: the thread that writes has enough to
/// do.
type Outcome<E> = (Stored<E>, Vec<Written>);

impl<E: Event> AppendReply<E> {
    /// The reply, and what it answers.
    pub(super) fn new(
        entries: Vec<Entry<E>>,
        on_kept: Option<OnKept<E>>,
        room: Option<OwnedSemaphorePermit>,
    ) -> (Box<Self>, Answer<E>) {
        let (answer, answered) = oneshot::channel();
        let outcome = (Stored::default(), Vec::new());
        let reply = Box::new(Self { entries, on_kept, outcome, answer, _room: room });
        let answer = Answer::later(async move {
            let (mut stored, gone) = answered.await.map_err(StoreError::new)??;
            stored.cleaned = gone.into_iter().filter_map(readable).collect();
            Ok(stored)
        });
        (reply, answer)
    }
}

impl<E: Event> Reply for AppendReply<E> {
    fn committed(&mut self, made: Made) {
        let Made { positions, gone, too_old, changed, cleaned } = made;
        let mut known = Vec::new();
        let placed = self.entries.drain(..).zip(positions).map(|(mut entry, added)| {
            let Some(added) = added else {
                known.push(entry);
                return None;
            };
            entry.meta.added = added;
            Some(Arc::new(entry))
        });
        let entries: Vec<_> = placed.collect();
        if let Some(on_kept) = self.on_kept.take() {
            on_kept.call(&entries);
        }
        let stored = Stored { entries, known, gone, too_old, changed, cleaned: Vec::new() };
        self.outcome = (stored, cleaned);
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { outcome, answer, .. } = *self;
        // Nobody has to wait for it.
        let _ = answer.send(result.map(|()| outcome));
    }
}

/// An event that is gone, if this program can read it.
fn readable<E: Event>(written: Written) -> Option<Arc<Entry<E>>> {
    let id = written.meta.id.clone();
    let entry = to_entry(written);
    if entry.is_err() {
        tracing::debug!(%id, "an event that is gone could not be read as one of this program");
    }
    entry.ok()
}
