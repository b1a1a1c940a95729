//! Events that are kept apart from a log: those that this program cannot read, and those that a peer
//! did not take.

use logux_codecs::{EventId, Value};
use serde::{Deserialize, Serialize};

use crate::entry::Meta;

/// An event that one node did not take from the other, and why.
///
/// By serde, as a store may keep it, it is an object whose keys are the fields' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refused {
    /// The event.
    pub id: EventId,
    /// What was wrong with it, for a person to read.
    pub reason: String,
    /// The event may not be to blame: the peer ended connections when it was sent, but has not named it,
    /// and has taken nothing else since. Such an event is offered again by itself.
    #[serde(default)]
    pub is_doubtful: bool,
}

/// An event of a peer that this program cannot read: of a type that it does not know, or of another
/// shape than it expects.
///
/// It is not part of the log: it is neither sent to other peers nor shown to filters. The log tries to
/// read it again when it is opened; see [`Log::open`](crate::Log::open).
///
/// By serde, as a store may keep it, it is an object whose keys are the fields' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetAside {
    /// The event as it came.
    pub event: Value,
    /// Its meta; `added` is zero, as it has no position in the log.
    pub meta: Meta,
    /// Why it cannot be read, for a person to read.
    pub reason: String,
    /// Whether an `in_filter` or an `in_map` must be asked about it before it is added. It then waits
    /// for a session with the client that it came from: any of its tabs.
    #[serde(default)]
    pub unjudged: bool,
}

impl Refused {
    /// An event, and what was wrong with it.
    pub fn new(id: EventId, reason: impl Into<String>) -> Self {
        Self { id, reason: reason.into(), is_doubtful: false }
    }
}

impl SetAside {
    /// An event, its meta, and why it cannot be read. No filter has to be asked about it.
    pub fn new(event: Value, meta: Meta, reason: impl Into<String>) -> Self {
        Self { event, meta, reason: reason.into(), unjudged: false }
    }
}
