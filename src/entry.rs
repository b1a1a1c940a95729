//! An event and all that a log knows of it.

use std::cmp::Ordering;

use logux_codecs::{Added, Event, EventId, Extra, NodeId, Rare, Subprotocol, Timestamp};
use serde::{Deserialize, Serialize};

use crate::apart::{Refused, SetAside};

/// An event and its meta, as a log holds them. Immutable, and shared as `Arc<Entry<E>>`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry<E> {
    /// What happened.
    pub event: E,
    /// When, where, and in which place of the log.
    pub meta: Meta,
    size: u32,
}

/// What a log knows of an event.
///
/// By serde, as a store may keep it, it is an object whose keys are the fields' names; lists that are
/// empty and options that are `None` are left out, and may be missing when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Meta {
    /// The event's name: the same on all nodes, for ever.
    pub id: EventId,
    /// When the event was created, in the time of this log's node. Orders events; see
    /// [`Meta::created`].
    pub time: Timestamp,
    /// The event's place in this log. Local: never sent.
    pub added: Added,
    /// The peer that the event came from; `None` for an event that was added here. Local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<NodeId>,
    /// Why the event is kept. Local.
    #[serde(default, skip_serializing_if = "Rare::has_nothing")]
    pub reasons: Rare<Vec<String>>,
    /// Names to find events by. Local.
    #[serde(default, skip_serializing_if = "Rare::has_nothing")]
    pub indexes: Rare<Vec<String>>,
    /// The version of the application that made the event, where it is not the connection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<Subprotocol>,
    /// The application's own keys; they travel with the event.
    #[serde(default, skip_serializing_if = "Rare::has_nothing")]
    pub extra: Rare<Extra>,
}

impl<E> Entry<E> {
    /// Puts an entry together, as a store does when it reads one back.
    pub const fn new(event: E, meta: Meta) -> Self {
        Self { event, meta, size: 0 }
    }

    /// Notes how many bytes the event takes, as its JSON with its meta, or as a store keeps it.
    #[must_use]
    pub fn sized(mut self, bytes: usize) -> Self {
        self.set_size(bytes);
        self
    }

    pub(crate) fn set_size(&mut self, bytes: usize) {
        self.size = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// About how many bytes the event takes: as its JSON with its meta, or as a store keeps it; zero where
    /// nobody has measured it.
    pub const fn size(&self) -> usize {
        self.size as usize
    }
}

impl<E: Event> Entry<E> {
    /// The same event with another meta: written and read as it is for a peer or a disk, as events cannot be cloned.
    pub(crate) fn with_meta(&self, meta: Meta) -> serde_json::Result<Self> {
        let event = serde_json::from_str(&serde_json::to_string(&self.event)?)?;
        Ok(Self { event, meta, size: self.size })
    }
}

/// Entries are equal if they say the same.
impl<E: PartialEq> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.event == other.event && self.meta == other.meta
    }
}

impl Meta {
    /// The meta of an event of which nothing else is known; its time is that in the id.
    pub fn new(id: EventId) -> Self {
        Self {
            time: id.time(),
            id,
            added: Added::ZERO,
            source: None,
            reasons: Rare::default(),
            indexes: Rare::default(),
            subprotocol: None,
            extra: Rare::default(),
        }
    }

    /// Where the event stands in the order of creation.
    pub fn created(&self) -> Created {
        Created { time: self.time, id: self.id.clone() }
    }

    /// Compares two events by the order of creation, without making [`Created`]s.
    pub fn cmp_created(&self, other: &Self) -> Ordering {
        compare(self.time, &self.id, other.time, &other.id)
    }
}

/// A place in the order of creation, which is the same on all nodes that have the same times: by
/// time, then by node id, then by the counter and the time in the id (the original's
/// `isFirstOlder`).
///
/// By serde, as a store may keep it, it is an object whose keys are the fields' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The event's time.
    pub time: Timestamp,
    /// The event's id.
    pub id: EventId,
}

impl Ord for Created {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.time, &self.id, other.time, &other.id)
    }
}

impl PartialOrd for Created {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare(a_time: Timestamp, a: &EventId, b_time: Timestamp, b: &EventId) -> Ordering {
    let rest = |id: &EventId| (id.counter(), id.time());
    a_time.cmp(&b_time).then_with(|| a.node().cmp(b.node())).then_with(|| rest(a).cmp(&rest(b)))
}

/// An event on its way into a log, with what its author wants to say about it.
///
/// ```
/// # use logux_sync::{Draft, Log, MemoryStore, Value};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<Value>::open("node".parse()?, MemoryStore::new()).await?;
/// let draft = Draft::new(serde_json::json!({ "type": "a" })).reason("tab1").index("users/1");
/// let entry = log.add(draft).await?;
/// assert_eq!(entry.meta.reasons, ["tab1"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Draft<E> {
    pub(crate) event: E,
    pub(crate) id: Option<EventId>,
    pub(crate) time: Option<Timestamp>,
    /// The peer that sent it, if it waited in an inbox.
    pub(crate) source: Option<NodeId>,
    pub(crate) reasons: Rare<Vec<String>>,
    /// Those of the reasons that earlier events lose.
    pub(crate) keep_last: Rare<Vec<String>>,
    pub(crate) indexes: Rare<Vec<String>>,
    pub(crate) subprotocol: Option<Subprotocol>,
    pub(crate) extra: Rare<Extra>,
}

impl<E> Draft<E> {
    /// An event with nothing said about it; the log gives it an id and a time.
    pub fn new(event: E) -> Self {
        Self {
            event,
            id: None,
            time: None,
            source: None,
            reasons: Rare::default(),
            keep_last: Rare::default(),
            indexes: Rare::default(),
            subprotocol: None,
            extra: Rare::default(),
        }
    }

    /// An event that has its meta, and no position yet.
    pub(crate) fn from_entry(entry: Entry<E>) -> Self {
        let Entry { event, meta, .. } = entry;
        Self {
            event,
            id: Some(meta.id),
            time: Some(meta.time),
            source: meta.source,
            reasons: meta.reasons,
            keep_last: Rare::default(),
            indexes: meta.indexes,
            subprotocol: meta.subprotocol,
            extra: meta.extra,
        }
    }

    /// What happened.
    pub const fn event(&self) -> &E {
        &self.event
    }

    /// Drops the id that the draft brought, so that the log gives the event a new one.
    pub fn new_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// Takes this id instead of a new one. If the log has an event of that id, the draft is
    /// dropped and the event stays as it is.
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Takes this time instead of that in the id.
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds a reason to keep the event.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(reason.into());
        self
    }

    /// Adds a reason to keep the event, which all events lose that were created before it, in the same transaction:
    /// of those with the reason, the last one is kept. An event that was kept for nothing else is cleaned. One that
    /// comes late, and was created before another that has the reason, has it, too, until the next one.
    pub fn keep_last(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        self.keep_last.push(reason.clone());
        self.reason(reason)
    }

    /// Adds a name to find the event by.
    pub fn index(mut self, index: impl Into<String>) -> Self {
        self.indexes.push(index.into());
        self
    }

    /// Marks the version of the application that made the event.
    pub fn subprotocol(mut self, subprotocol: Subprotocol) -> Self {
        self.subprotocol = Some(subprotocol);
        self
    }

    /// Sets a key of the application's own. Keys of the protocol (`id`, `time`, `added`,
    /// `reasons`, `indexes`, `keepLast`, `subprotocol`) stay here and are not sent.
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<logux_codecs::Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// Whether it gets its id from the log, and changes no other event.
    pub(crate) fn is_plain(&self) -> bool {
        self.id.is_none() && self.keep_last.has_nothing()
    }

    /// The entry; `time` stands where the draft has none.
    pub(crate) fn into_entry(self, id: EventId, time: Timestamp) -> Entry<E> {
        let meta = Meta {
            time: self.time.unwrap_or(time),
            source: self.source,
            reasons: self.reasons,
            indexes: self.indexes,
            subprotocol: self.subprotocol,
            extra: self.extra,
            ..Meta::new(id)
        };
        Entry::new(self.event, meta)
    }
}

impl<E> From<E> for Draft<E> {
    fn from(event: E) -> Self {
        Self::new(event)
    }
}

/// Events that a peer sent, ready to be added.
#[derive(Debug)]
pub(crate) struct Incoming<E> {
    pub(crate) peer: NodeId,
    pub(crate) entries: Vec<Entry<E>>,
    /// Those that cannot be read.
    pub(crate) set_aside: Vec<SetAside>,
    /// Those that are refused, as the peer was told.
    pub(crate) refused: Option<Box<[Refused]>>,
    /// How far the peer's log is received once the entries are stored.
    pub(crate) up_to: Added,
}

impl<E> Incoming<E> {
    pub(crate) fn nothing(peer: NodeId) -> Self {
        let (entries, set_aside) = (Vec::new(), Vec::new());
        Self { peer, entries, set_aside, refused: None, up_to: Added::ZERO }
    }
}
