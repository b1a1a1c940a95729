//! What two nodes say to each other, as types. `wire` lays it out.

use std::fmt;

use serde_json::Value;

use crate::error::ProtocolError;
use crate::id::NodeId;
use crate::number::{Added, Counter, Timestamp};
use crate::rare::Rare;

/// One message of Logux protocol 7. `E` is the type of the events in `sync`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message<E> {
    /// The node that opened the connection introduces itself.
    Connect(Connect),
    /// The other node's answer: authentication succeeded.
    Connected(Connected),
    /// Events of the sender's log.
    Sync(Sync<E>),
    /// All events up to this position of the receiver's log are in the sender's log.
    Synced(Added),
    /// All that the sender's log held at the start has been sent, up to this position.
    Ready(Added),
    /// Asks for a [`Message::Pong`], to see whether the connection still works.
    Ping(Added),
    /// The answer to a [`Message::Ping`].
    Pong(Added),
    /// What the sender wants the other to know of its environment; replaces all earlier headers.
    Headers(Headers),
    /// What the other node did wrong.
    Error(ProtocolError),
    /// A text for the other node's developer.
    Debug(String),
    /// A message of a type that this version of the protocol does not have. Never sent.
    Unknown(String),
}

/// What the `headers` message carries, and what `meta` carries beyond the protocol's own keys.
pub type Headers = serde_json::Map<String, Value>;

/// The application's own keys of an event's meta.
pub type Extra = serde_json::Map<String, Value>;

/// `connect`: the first message of the node that opened the connection, after its headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// The protocol version that the sender speaks.
    pub protocol: u32,
    /// The sender.
    pub node_id: NodeId,
    /// The largest position of the other node's log that the sender has received.
    pub synced: Added,
    /// The sender's credentials.
    pub credentials: Option<Value>,
    /// The version of the sender's application.
    pub subprotocol: Option<Subprotocol>,
}

/// `connected`: the answer to `connect`.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// The protocol version that the sender speaks.
    pub protocol: u32,
    /// The sender.
    pub node_id: NodeId,
    /// When the sender received `connect`, by its own clock.
    pub start: Timestamp,
    /// When it sent `connected`: the base time of the connection, on both sides.
    pub end: Timestamp,
    /// The sender's credentials.
    pub credentials: Option<Value>,
    /// The version of the sender's application.
    pub subprotocol: Option<Subprotocol>,
}

/// `sync`: events, oldest first, and the position of the sender's log that they reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync<E> {
    /// All that the other node should have up to this position has been sent, these events included.
    pub added: Added,
    /// The events, in the order in which the sender's log got them.
    pub entries: Vec<WireEntry<E>>,
}

/// An event and its meta as they travel.
pub type WireEntry<E> = (E, WireMeta);

/// An event's meta as it travels: relative to the connection.
#[derive(Clone, Debug, PartialEq)]
pub struct WireMeta {
    /// The event's id.
    pub id: WireId,
    /// Milliseconds from the base time of the connection to the time of the event; may be negative.
    pub time: i64,
    /// The version of the application that made the event, where it is not the connection's.
    pub subprotocol: Option<Subprotocol>,
    /// The application's own keys.
    pub extra: Rare<Extra>,
}

/// An event's id as it travels, in the form of the connection's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireId {
    /// Protocol 7, `"<t> <node>"`, or `"<t>"` where the sender of the message created the event.
    Absolute {
        /// The time of the id.
        time: Timestamp,
        /// The node that created the event, and the counter; `None` where that is the sender, with
        /// the counter 0.
        author: Option<(NodeId, Counter)>,
    },
    /// Protocol 5, `[shift, node, counter]`, or `[shift, counter]` where the sender of the message
    /// created the event, or `shift` where the counter is 0, too.
    Shifted {
        /// Milliseconds from the base time of the connection to the time of the id.
        shift: i64,
        /// The node that created the event; `None` where that is the sender.
        node: Option<NodeId>,
        /// The counter.
        counter: Counter,
    },
}

/// The version of the application, `[major, minor]`: which events there are, and what they mean.
///
/// Written as the plain major number where the minor is 0, which is all that JavaScript nodes know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subprotocol {
    /// Changes that older nodes do not understand.
    pub major: u32,
    /// Additions.
    pub minor: u32,
}

impl Subprotocol {
    /// Version `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<E> Message<E> {
    /// The same message with other events in it.
    pub fn map_events<F>(self, change: impl FnMut(E) -> F) -> Message<F> {
        match self {
            Self::Connect(connect) => Message::Connect(connect),
            Self::Connected(connected) => Message::Connected(connected),
            Self::Sync(Sync { added, entries }) => {
                let mut change = change;
                let entries = entries.into_iter().map(|(event, meta)| (change(event), meta));
                Message::Sync(Sync { added, entries: entries.collect() })
            }
            Self::Synced(added) => Message::Synced(added),
            Self::Ready(added) => Message::Ready(added),
            Self::Ping(added) => Message::Ping(added),
            Self::Pong(added) => Message::Pong(added),
            Self::Headers(headers) => Message::Headers(headers),
            Self::Error(error) => Message::Error(error),
            Self::Debug(text) => Message::Debug(text),
            Self::Unknown(kind) => Message::Unknown(kind),
        }
    }

    /// The name of the message's type on the wire.
    pub fn kind(&self) -> &str {
        match self {
            Self::Connect(_) => "connect",
            Self::Connected(_) => "connected",
            Self::Sync(_) => "sync",
            Self::Synced(_) => "synced",
            Self::Ready(_) => "ready",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Headers(_) => "headers",
            Self::Error(_) => "error",
            Self::Debug(_) => "debug",
            Self::Unknown(kind) => kind,
        }
    }
}
