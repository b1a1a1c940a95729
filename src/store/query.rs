use std::sync::Arc;

use logux_codecs::Added;
use serde::{Deserialize, Serialize};

use crate::entry::{Created, Entry, Meta};

/// Which events to read from a store, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The order, and where the last page ended.
    pub order: Order,
    /// Only events that have this.
    pub label: Option<Label>,
    /// The last event comes first.
    pub newest_first: bool,
}

/// An order of events, and the place in it after which reading begins, in the direction of reading. `None`: with
/// the first event, or with the last one where that comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By position.
    Added(Option<Added>),
    /// By creation.
    Created(Option<Created>),
}

/// What events are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Label {
    /// One of the reasons to keep an event.
    Reason(String),
    /// One of the names to find it by.
    Index(String),
}

/// What a store knows of an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdState {
    /// It has never had an event of this id.
    New,
    /// The event is there.
    There,
    /// The event was there and was cleaned.
    Gone,
    /// It may be one of those that are [forgotten](crate::Forget).
    TooOld,
}

impl Query {
    /// Events above a position, in the order of their positions.
    pub const fn added(after: Added) -> Self {
        Self { order: Order::Added(Some(after)), label: None, newest_first: false }
    }

    /// Events that were created after this one (all, for `None`), oldest first.
    pub const fn created(after: Option<Created>) -> Self {
        Self { order: Order::Created(after), label: None, newest_first: false }
    }

    /// Only events that have this.
    #[must_use]
    pub fn with(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// The other way round: the events below a position or created before one, the last of them first.
    #[must_use]
    pub const fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }
}

impl Label {
    /// All that an event is found by.
    pub fn all_of(meta: &Meta) -> impl Iterator<Item = Self> + '_ {
        let reasons = meta.reasons.iter().cloned().map(Self::Reason);
        reasons.chain(meta.indexes.iter().cloned().map(Self::Index))
    }

    /// Whether an event has it.
    pub fn is_of(&self, meta: &Meta) -> bool {
        match self {
            Self::Reason(reason) => meta.reasons.contains(reason),
            Self::Index(index) => meta.indexes.contains(index),
        }
    }
}

/// No more than so many events are made room for before they are read.
const MAX_HINT: usize = 1024;

/// How much to read at once: reading stops where either limit is reached. The first event is read whatever its
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// At most this many events.
    pub events: usize,
    /// No further event once those that were read have this many bytes, as
    /// [`Entry::size`](crate::Entry::size) counts them.
    pub bytes: usize,
}

impl Page {
    /// At most this many events, and no more than 1 MiB and the last event.
    pub const fn new(events: usize) -> Self {
        Self { events, bytes: 1 << 20 }
    }

    /// Sets how many bytes are enough.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Whether reading stopped at one of its limits, as far as the events tell their sizes.
    pub(crate) fn is_filled_by<E>(self, entries: &[Arc<Entry<E>>]) -> bool {
        let bytes = entries.iter().map(|entry| entry.size()).fold(0, usize::saturating_add);
        entries.len() >= self.events || bytes >= self.bytes
    }

    /// Takes the first events that this page has room for.
    pub fn take<T>(
        self,
        events: impl IntoIterator<Item = T>,
        size: impl Fn(&T) -> usize,
    ) -> Vec<T> {
        let mut left = self.bytes;
        let mut is_full = false;
        let fits = |event: &T| {
            let fits = !is_full;
            left = left.saturating_sub(size(event));
            is_full = left == 0;
            fits
        };
        let events = events.into_iter().take(self.events);
        let most = events.size_hint().1.unwrap_or(self.events);
        let mut taken = Vec::with_capacity(most.min(MAX_HINT));
        taken.extend(events.take_while(fits));
        taken
    }
}

/// A number of events, whatever their size.
impl From<usize> for Page {
    fn from(events: usize) -> Self {
        Self { events, bytes: usize::MAX }
    }
}
