use std::sync::Arc;

use logux_codecs::Headers;

use super::error::Error;
use crate::apart::Refused;

/// What happened in a session that a user may want to know, as a stream:
/// [`SessionHandle::notices`](crate::SessionHandle::notices).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A connection ended with an error. The session goes on if the transport dials again.
    Error(Arc<Error>),
    /// The peer's headers, all of them: once it is let in, and whenever it sends others.
    Headers(Arc<Headers>),
    /// A text for this node's developer.
    Debug(String),
    /// The peer had seen another log in this one's place, or has another log itself than before:
    /// all of this log is sent to it again.
    StartedOver,
    /// Events of the peer were not added, and the peer was told: they are of an author for whom the peer
    /// may not speak (see [`Access`](crate::Access)), or could not be sent to every peer (see
    /// [`EventLimits`](crate::EventLimits)), or cannot be read.
    Refused(Vec<Refused>),
    /// Events of the peer cannot be read by this program. They are set aside, or dropped, as
    /// [`Unreadable`](crate::Unreadable) says.
    SetAside(Vec<Refused>),
    /// The peer did not take events of this log, or they cannot be sent to it. They are held back from
    /// it, and all others go on: see [`Log::held_back`](crate::Log::held_back).
    HeldBack(Vec<Refused>),
    /// Two nodes seem to have one name, this node's or the peer's: their events may get lost. Give each
    /// node a name of its own. A node whose log was replaced while its old connection was still open
    /// looks the same.
    Twin,
}
