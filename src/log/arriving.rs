//! What a program says of events as they are added, whoever made them.

use logux_codecs::{EventId, Extra, NodeId, Value};

use super::options::{Behaviour, Unreasoned};
use crate::entry::{Draft, Entry};
use crate::store::{Change, Edit, Which};

/// An event that is about to be added: see [`LogOptions::before_add`](crate::LogOptions::before_add).
#[derive(Debug)]
pub struct Arriving<'a, E> {
    event: &'a E,
    id: Option<&'a EventId>,
    source: Option<&'a NodeId>,
    reasons: &'a mut Vec<String>,
    keep_last: &'a mut Vec<String>,
    indexes: &'a mut Vec<String>,
    extra: &'a mut Extra,
}

pub(super) type Hook<E> = dyn Fn(&mut Arriving<'_, E>) -> Result<(), NotAdded> + Send + Sync;

/// Why an event is not to be added, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAdded(String);

impl NotAdded {
    /// A reason. Of an event that a peer sent, the peer is told it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl<'a, E> Arriving<'a, E> {
    /// What happened.
    pub const fn event(&self) -> &'a E {
        self.event
    }

    /// The event's id; `None` for one that gets it from this log, in a moment.
    pub const fn id(&self) -> Option<&'a EventId> {
        self.id
    }

    /// The peer that sent it; `None` for an event that this program adds.
    pub const fn source(&self) -> Option<&'a NodeId> {
        self.source
    }

    /// Why the event is kept, so far.
    pub fn reasons(&self) -> &[String] {
        self.reasons
    }

    /// Names to find the event by, so far.
    pub fn indexes(&self) -> &[String] {
        self.indexes
    }

    /// The application's own keys, which travel with the event.
    pub const fn extra(&self) -> &Extra {
        self.extra
    }

    /// Adds a reason to keep the event.
    pub fn add_reason(&mut self, reason: impl Into<String>) {
        add(self.reasons, reason.into());
    }

    /// Adds a reason to keep the event, which earlier ones lose: see [`Draft::keep_last`].
    pub fn keep_last(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        add(self.reasons, reason.clone());
        add(self.keep_last, reason);
    }

    /// Adds a name to find the event by.
    pub fn add_index(&mut self, index: impl Into<String>) {
        add(self.indexes, index.into());
    }

    /// Sets a key of the application's own.
    pub fn set_extra(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.extra.insert(key.into(), value.into());
    }
}

/// Adds a text, unless it is there.
fn add(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

impl<E> Behaviour<E> {
    /// Whether it does more than to keep every event.
    pub(super) fn looks_at_events(&self) -> bool {
        self.before_add.is_some() || self.unreasoned != Unreasoned::Keep
    }

    /// Shows an event of this program to the hook.
    pub(super) fn look_at_draft(&self, draft: &mut Draft<E>) -> Result<(), NotAdded> {
        let Some(hook) = &self.before_add else { return Ok(()) };
        hook(&mut Arriving {
            event: &draft.event,
            id: draft.id.as_ref(),
            source: draft.source.as_ref(),
            reasons: &mut draft.reasons,
            keep_last: &mut draft.keep_last,
            indexes: &mut draft.indexes,
            extra: &mut draft.extra,
        })
    }

    /// Shows an event of a peer to the hook. Answers the changes to older events that go with adding it.
    pub(super) fn look_at_entry(&self, entry: &mut Entry<E>) -> Result<Vec<Change>, NotAdded> {
        let Some(hook) = &self.before_add else { return Ok(Vec::new()) };
        let meta = &mut entry.meta;
        let mut keep_last = Vec::new();
        hook(&mut Arriving {
            event: &entry.event,
            id: Some(&meta.id),
            source: meta.source.as_ref(),
            reasons: &mut meta.reasons,
            keep_last: &mut keep_last,
            indexes: &mut meta.indexes,
            extra: &mut meta.extra,
        })?;
        Ok(keep_last.into_iter().map(|reason| without_older(reason, entry)).collect())
    }

    /// Whether an event is shown, and not kept.
    pub(super) fn passes_by(&self, entry: &Entry<E>) -> bool {
        !self.keeps(&entry.meta.reasons)
    }

    /// Whether an event with these reasons is kept.
    pub(super) fn keeps(&self, reasons: &[String]) -> bool {
        self.unreasoned == Unreasoned::Keep || !reasons.is_empty()
    }
}

/// Takes a reason from the events that were created before this one.
pub(super) fn without_older<E>(reason: String, newest: &Entry<E>) -> Change {
    let edit = Edit::RemoveReasons(vec![reason.clone()]);
    Change { events: Which::Before { reason, newest: newest.meta.id.clone() }, edit }
}
