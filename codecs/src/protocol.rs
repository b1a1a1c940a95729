use crate::id::{EventId, NodeId};
use crate::message::WireId;
use crate::number::{Counter, Timestamp};

/// A version of the protocol, agreed on by the numbers in `connect` and `connected`; and all in
/// which the versions differ.
///
/// | | [`V5`](Self::V5) | [`V7`](Self::V7) |
/// |---|---|---|
/// | spoken by | `@logux/client` 0.23, `@logux/server` 0.14, `@logux/core` 0.10 | `@logux/core` 0.12, this crate |
/// | ids on the wire | relative, with a counter | absolute, in base 64 |
/// | `ready` | does not exist | follows what was there at the start |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Logux protocol 5.
    V5,
    /// Logux protocol 7.
    V7,
}

impl Protocol {
    /// The version that a node of this crate opens connections with.
    pub const LATEST: Self = Self::V7;

    /// The number in `connect` and `connected`.
    pub const fn number(self) -> u32 {
        match self {
            Self::V5 => 5,
            Self::V7 => 7,
        }
    }

    /// What to answer to a `connect` of that number: a newer node is answered by the latest
    /// version, and decides. The error is the version to tell as the supported one.
    pub const fn to_answer(number: u32) -> Result<Self, u32> {
        match number {
            ..5 => Err(5),
            5 => Ok(Self::V5),
            // 6 was never published.
            6 => Err(7),
            7.. => Ok(Self::V7),
        }
    }

    /// What is spoken after a `connected` of that number. The error is the version to tell as the
    /// supported one.
    pub const fn of_answer(number: u32) -> Result<Self, u32> {
        match number {
            ..5 => Err(5),
            5 => Ok(Self::V5),
            7 => Ok(Self::V7),
            6 | 8.. => Err(7),
        }
    }

    /// Whether a node says by `ready` that all that it had at the start is sent. Without it, a
    /// node that does not send is taken to have sent all.
    pub const fn has_ready(self) -> bool {
        matches!(self, Self::V7)
    }

    /// An event's id as `sender` writes it.
    pub fn wire_id(self, id: &EventId, sender: &NodeId, base_time: Timestamp) -> WireId {
        let own = id.node() == sender;
        match self {
            Self::V5 => WireId::Shifted {
                shift: id.time().since(base_time),
                node: (!own).then(|| id.node().clone()),
                counter: id.counter(),
            },
            Self::V7 => {
                let short = own && id.counter() == Counter::ZERO;
                let author = (!short).then(|| (id.node().clone(), id.counter()));
                WireId::Absolute { time: id.time(), author }
            }
        }
    }

    /// The id that `sender` wrote; `None` if it is in the form of another version, or before 1970.
    pub fn event_id(self, id: WireId, sender: &NodeId, base_time: Timestamp) -> Option<EventId> {
        match (self, id) {
            (Self::V5, WireId::Shifted { shift, node, counter }) => {
                let node = node.unwrap_or_else(|| sender.clone());
                Some(EventId::with_counter(base_time.shifted(shift)?, node, counter))
            }
            (Self::V7, WireId::Absolute { time, author }) => {
                let (node, counter) = author.unwrap_or_else(|| (sender.clone(), Counter::ZERO));
                Some(EventId::with_counter(time, node, counter))
            }
            (Self::V5, WireId::Absolute { .. }) | (Self::V7, WireId::Shifted { .. }) => None,
        }
    }
}
