use std::fmt;
use std::sync::Arc;

use logux_codecs::{Added, EventId, NodeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a record: a small text that a store keeps beside the events, such as a peer's cursor.
///
/// A store needs only its text. Records are ordered by the bytes of their keys, and all that belong together
/// have a common beginning, which is a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// The beginning of the keys of records that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Box<str>);

/// What a log keeps in a record, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The identity of the log: an [`Epoch`](crate::Epoch).
    Epoch,
    /// The name of the node that answered when this one dialled last.
    Dialled,
    /// A number of [`Cursors`](crate::Cursors) that a log has of this peer, or the epoch of the peer's log.
    Peer(NodeId, PeerRecord),
    /// An event that this program cannot read: a [`SetAside`](crate::SetAside) as JSON.
    SetAside(EventId),
    /// An event that this peer did not take: a [`Refused`](crate::Refused) as JSON.
    HeldBack(NodeId, EventId),
    /// Up to which position the [consumer](crate::Log::consumer) of this name has acknowledged all events.
    Consumer(String),
    /// The largest time in the ids that this node gave to events which wait in the inbox: the milliseconds of a
    /// [`Timestamp`](crate::Timestamp).
    HandedIn,
    /// An `App` was served on the log: its events are for those to whom they were sent.
    OfApp,
    /// An event that waits in this queue of the [inbox](crate::Log::inbox), with its meta, as JSON.
    Inbox(String, EventId),
}

/// What is known of a peer, each in a record of its own. See [`Cursors`](crate::Cursors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerRecord {
    /// The peer has confirmed all events up to this position.
    Sent,
    /// All of the peer's events up to this position are in the log.
    Received,
    /// Events up to this position are sent back to the peer that they came from.
    ReturnUpTo,
    /// The identity of the peer's log.
    Epoch,
    /// When the peer was here last: the milliseconds of a [`Timestamp`](crate::Timestamp).
    Seen,
    /// When a node that is known to this one by another name was here last: milliseconds, as [`Seen`](Self::Seen).
    SeenByName,
    /// Up to which position a client of an app has what went to it directly, whichever of its nodes got
    /// it. The name is the client's.
    Direct,
    /// Which events it was not sent, and whether they are to be looked at again, as JSON.
    Withheld,
}

/// A change to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordChange {
    /// The record has this text from now on, whether it was there or not.
    Put(Key, String),
    /// The record has this text from now on if it was not there; else it stays.
    PutNew(Key, String),
    /// The record is a number from now on, in decimal digits: the larger one of this and of what it is. One
    /// that is not there is zero.
    Raise(Key, u64),
    /// The record is gone from now on, if it was there.
    Remove(Key),
}

impl Key {
    /// A key that a store has kept as text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the record is about; `None` for a key of a later version of this library.
    pub fn record(&self) -> Option<Record> {
        let (kind, rest) = self.0.split_once(' ').unwrap_or((&self.0, ""));
        match (kind, rest) {
            ("epoch", "") => Some(Record::Epoch),
            ("dialled", "") => Some(Record::Dialled),
            ("of-app", "") => Some(Record::OfApp),
            ("handed-in", "") => Some(Record::HandedIn),
            ("aside", id) => Some(Record::SetAside(id.parse().ok()?)),
            ("held", rest) => {
                let (peer, id) = rest.split_once(' ')?;
                Some(Record::HeldBack(peer.parse().ok()?, id.parse().ok()?))
            }
            ("consumer", name) if !name.is_empty() => Some(Record::Consumer(name.to_owned())),
            ("inbox", rest) => {
                let (queue, id) = rest.split_once(' ')?;
                Some(Record::Inbox(queue.to_owned(), id.parse().ok()?))
            }
            ("peer", rest) => {
                let (peer, name) = rest.split_once(' ')?;
                let field = PeerRecord::ALL.into_iter().find(|field| field.name() == name)?;
                Some(Record::Peer(peer.parse().ok()?, field))
            }
            _ => None,
        }
    }

    pub(crate) fn epoch() -> Self {
        Self("epoch".into())
    }

    pub(crate) fn dialled() -> Self {
        Self("dialled".into())
    }

    pub(crate) fn handed_in() -> Self {
        Self("handed-in".into())
    }

    pub(crate) fn of_app() -> Self {
        Self("of-app".into())
    }

    pub(crate) fn peer(peer: &NodeId, field: PeerRecord) -> Self {
        Self(format!("peer {peer} {}", field.name()).into())
    }

    pub(crate) fn consumer(name: &str) -> Self {
        Self(format!("consumer {name}").into())
    }

    pub(crate) fn inbox(queue: &str, id: &EventId) -> Self {
        Self(format!("inbox {queue} {id}").into())
    }

    pub(crate) fn set_aside(id: &EventId) -> Self {
        Self(format!("aside {id}").into())
    }

    pub(crate) fn held_back(peer: &NodeId, id: &EventId) -> Self {
        Self(format!("held {peer} {id}").into())
    }
}

impl Prefix {
    /// A prefix of one's own, as a tool that lists all records needs it.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This one record, and those whose keys begin with its key.
    pub(crate) fn of(key: &Key) -> Self {
        Self(key.as_str().into())
    }

    pub(crate) fn peer(peer: &NodeId) -> Self {
        Self(format!("peer {peer} ").into())
    }

    pub(crate) fn all_held_back() -> Self {
        Self("held ".into())
    }

    pub(crate) fn peers() -> Self {
        Self("peer ".into())
    }

    pub(crate) fn consumers() -> Self {
        Self("consumer ".into())
    }

    pub(crate) fn inboxes() -> Self {
        Self("inbox ".into())
    }

    pub(crate) fn inbox(queue: &str) -> Self {
        Self(format!("inbox {queue} ").into())
    }

    pub(crate) fn set_aside() -> Self {
        Self("aside ".into())
    }

    pub(crate) fn held_back(peer: &NodeId) -> Self {
        Self(format!("held {peer} ").into())
    }
}

impl PeerRecord {
    const ALL: [Self; 8] = [
        Self::Sent,
        Self::Received,
        Self::ReturnUpTo,
        Self::Epoch,
        Self::Seen,
        Self::SeenByName,
        Self::Direct,
        Self::Withheld,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::ReturnUpTo => "return-up-to",
            Self::Epoch => "epoch",
            Self::Seen => "seen",
            Self::SeenByName => "seen-by-name",
            Self::Direct => "direct",
            Self::Withheld => "withheld",
        }
    }
}

impl RecordChange {
    /// The key of the record.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::PutNew(key, _) | Self::Raise(key, _) | Self::Remove(key) => {
                key
            }
        }
    }

    /// What becomes of a record with this text, or of one that is not there; `None` for one that is gone.
    ///
    /// For stores that have no words of their own for it.
    pub fn apply(self, before: Option<&str>) -> Option<String> {
        match self {
            Self::Put(_, text) => Some(text),
            Self::PutNew(_, text) => Some(before.map_or(text, str::to_owned)),
            Self::Raise(_, number) => {
                let before = before.and_then(|text| text.parse().ok()).unwrap_or_default();
                Some(number.max(before).to_string())
            }
            Self::Remove(_) => None,
        }
    }

    pub(crate) fn raise(key: Key, to: Added) -> Self {
        Self::Raise(key, to.value())
    }
}

impl From<&Record> for Key {
    fn from(record: &Record) -> Self {
        match record {
            Record::Epoch => Self::epoch(),
            Record::Dialled => Self::dialled(),
            Record::HandedIn => Self::handed_in(),
            Record::OfApp => Self::of_app(),
            Record::Peer(peer, field) => Self::peer(peer, *field),
            Record::SetAside(id) => Self::set_aside(id),
            Record::HeldBack(peer, id) => Self::held_back(peer, id),
            Record::Consumer(name) => Self::consumer(name),
            Record::Inbox(queue, id) => Self::inbox(queue, id),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_its_record_is_about() {
        let (peer, id): (NodeId, EventId) =
            ("10:a".parse().unwrap(), "OzcVoWD 10:a".parse().unwrap());
        let mut records = vec![
            Record::Epoch,
            Record::Dialled,
            Record::HandedIn,
            Record::SetAside(id.clone()),
            Record::HeldBack(peer.clone(), id.clone()),
            Record::Inbox("10:a/orders".to_owned(), id),
            Record::Consumer("mail to all".to_owned()),
        ];
        records.extend(PeerRecord::ALL.map(|field| Record::Peer(peer.clone(), field)));
        for record in records {
            assert_eq!(Key::new(Key::from(&record).as_str()).record(), Some(record));
        }
        for unknown in
            ["", "later", "peer", "peer 10:a", "peer 10:a later", "held 10:a x", "epoch x"]
        {
            assert_eq!(Key::new(unknown).record(), None, "{unknown}");
        }
    }
}
