use std::sync::Arc;

use logux_codecs::Headers;

use super::error::Error;

/// What happened in a session that a user may want to know, as a stream:
/// [`SessionHandle::notices`](crate::SessionHandle::notices).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A connection ended with an error. The session goes on if the transport dials again.
    Error(Arc<Error>),
    /// The peer's headers, all of them.
    Headers(Headers),
    /// A text for this node's developer.
    Debug(String),
    /// The peer had seen another log in this one's place, or has another log itself than before:
    /// all of this log is sent to it again.
    StartedOver,
}
