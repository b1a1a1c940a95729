use crate::id::InvalidNodeId;
use crate::json::JsonError;

/// Why bytes are not a message, or a message cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoguxBinaryError {
    /// The frame ends within the message.
    #[error("the frame ends within the message")]
    Cut,
    /// The frame goes on after the message.
    #[error("bytes follow the message")]
    Trailing,
    /// A number is larger than the protocol's, or does not end, or has more bytes than it needs.
    #[error("a number is too large or not written in the shortest way")]
    Number,
    /// A byte that says what follows has no meaning there.
    #[error("the byte {0:#04x} stands for no kind of message, event, id or meta")]
    Kind(u8),
    /// A `sync` without events.
    #[error("a sync message has at least one event")]
    NoEvents,
    /// More events, or ids that events name, than [`Limits::events`](crate::Limits::events).
    #[error("the message has more than {0} events or names more")]
    TooManyEvents(usize),
    /// An id is short for one of the sender, who has not said its name yet.
    #[error("an event names the sender before the sender has")]
    Unnamed,
    /// A debug message that is not an error.
    #[error("a debug message is of the type `error`")]
    Debug,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// A node id is none.
    #[error("the message names a node that cannot be")]
    Node(#[from] InvalidNodeId),
    /// A part of the message is not the JSON that it should be; or an event's own `Serialize` failed.
    #[error("a part of the message is not the JSON that belongs there")]
    Part(#[from] serde_json::Error),
    /// The frame is text and no message; or an event's own `Serialize` failed.
    #[error("the text is not a message in JSON")]
    Json(#[from] JsonError),
    /// The message can be said in JSON only: see [`LoguxBinary`](crate::LoguxBinary).
    #[error("the message has no binary form: {0}")]
    NoForm(&'static str),
}
