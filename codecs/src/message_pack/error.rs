use std::fmt;

use serde::ser;

/// Why bytes are not a message in MessagePack, or an event cannot be written in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessagePackError {
    /// The bytes are no MessagePack, or no message.
    #[error("the MessagePack is not a message")]
    Read(#[from] rmp_serde::decode::Error),
    /// More bytes follow the message.
    #[error("bytes follow the message")]
    Trailing,
    /// An event's own `Serialize` failed, with this text.
    #[error("the event cannot be written: {0}")]
    Event(String),
    /// An integer has more than 64 bits.
    #[error("an integer of the event has more than 64 bits: write it as a text")]
    Integer,
    /// A key of a map is nothing that has one text.
    #[error("a key of a map in the event is no text, number or boolean")]
    Key,
    /// A text, an array or a map is too long for MessagePack.
    #[error("a part of the message has more than 2^32 - 1 bytes or items")]
    Length,
}

/// Small, for each value that is written returns one.
#[derive(Debug)]
pub(super) struct Failure(Box<MessagePackError>);

impl From<MessagePackError> for Failure {
    #[cold]
    fn from(error: MessagePackError) -> Self {
        Self(Box::new(error))
    }
}

impl From<Failure> for MessagePackError {
    fn from(failure: Failure) -> Self {
        *failure.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl ser::Error for Failure {
    #[cold]
    fn custom<T: fmt::Display>(text: T) -> Self {
        MessagePackError::Event(text.to_string()).into()
    }
}
