use std::io;
use std::time::Duration;

use logux_codecs::{Added, EventId, NodeId, ProtocolError, shown};

use crate::store::StoreError;

/// Why a session ended, by who is at fault.
///
/// The text says what happened at this level only; the cause, if there is one, is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The link could not be opened, or was lost.
    #[error("the connection was lost or could not be opened")]
    Link(#[source] io::Error),
    /// The peer sent what the codec cannot read, or too much of it.
    #[error("the peer sent a frame that is not a valid {format} message")]
    Frame {
        /// The codec's name.
        format: &'static str,
        /// What the codec, or the transport, says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer broke the rules of the protocol.
    #[error("the peer broke the protocol")]
    Peer(#[source] Misbehaviour),
    /// This node refused the peer, and told it why.
    #[error("the peer was refused")]
    Refused(#[source] ProtocolError),
    /// The peer refused this node, or complained about it.
    #[error("the peer answered with an error")]
    Received(#[source] ProtocolError),
    /// The peer did not answer in time.
    #[error("the peer was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// Another node answered than the one that the last connection led to. The next attempt tells
    /// it what was received from it, not from that other one.
    #[error("the node {found} answered instead of the one before")]
    AnotherNode {
        /// The node that answered.
        found: NodeId,
    },
    /// The peer's log is another one than before: it is shorter than what was received from it.
    /// Both logs are compared from the start now; nothing is lost.
    #[error("the peer's log was replaced")]
    LogReplaced,
    /// This node's own store failed. Nothing that it did not keep was confirmed.
    #[error("this node's log failed")]
    Store(#[from] StoreError),
    /// An event cannot be written in the format of the connection.
    #[error("the event {id} cannot be written as {format}")]
    Encode {
        /// The event.
        id: EventId,
        /// The codec's name.
        format: &'static str,
        /// What the codec says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A message other than `sync` cannot be written in the format of the connection.
    #[error("a message cannot be written as {format}")]
    Message {
        /// The codec's name.
        format: &'static str,
        /// What the codec says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An event is longer than the longest frame that may be sent.
    #[error("the event {id} has {bytes} bytes, but a frame may have only {limit}")]
    EventTooLarge {
        /// The event.
        id: EventId,
        /// The bytes of the frame that would carry it.
        bytes: usize,
        /// [`Limits::frame`](crate::Limits::frame) of the session, in bytes.
        limit: usize,
    },
    /// A callback of the user's failed or panicked. What it was asked about is neither confirmed nor
    /// passed over.
    #[error("the callback `{name}` failed")]
    Callback {
        /// The option that it was given to.
        name: &'static str,
        /// What it says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There are no credentials for a connection: the callback that makes them failed.
    #[error("the credentials could not be made")]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a peer did that the protocol does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A message that needs authentication came before it.
    #[error("it sent `{0}` before it was authenticated")]
    MissedAuth(String),
    /// A second `connect` or `connected`, or one from the wrong side.
    #[error("it sent `{0}` where none may come")]
    OutOfPlace(&'static str),
    /// A message of a type that the protocol of the connection does not have.
    #[error("it sent a message of the unknown type {0:?}")]
    UnknownMessage(String),
    /// A confirmation of what was never sent, or is confirmed already.
    #[error("it confirmed {0}, which was not waiting for that")]
    Unsent(Added),
    /// It says that it is this node.
    #[error("it calls itself by this node's own name {0}")]
    SameNode(NodeId),
    /// An event's time lies before 1970 or beyond what a number can hold.
    #[error("it sent an event with a time out of range")]
    TimeOutOfRange,
    /// An event's id is not in the form of the connection's protocol.
    #[error("it sent an event with an id of another version of the protocol")]
    WrongId,
    /// More messages, or longer ones, than needed to introduce oneself.
    #[error("it sent too much before it was authenticated")]
    TooMuchTooEarly,
}

impl Error {
    /// Whether connecting again can help. A client whose transport dials again does so after these
    /// errors, and ends after the others.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(error) => error.kind() != io::ErrorKind::InvalidInput,
            Self::Frame { .. }
            | Self::Peer(_)
            | Self::Silent(_)
            | Self::AnotherNode { .. }
            | Self::Credentials(_)
            | Self::LogReplaced => true,
            Self::Refused(error) | Self::Received(error) => !error.is_fatal(),
            Self::Store(_)
            | Self::Encode { .. }
            | Self::Message { .. }
            | Self::EventTooLarge { .. }
            | Self::Callback { .. } => false,
        }
    }

    /// Whether the peer complained about this node, and not the other way round.
    pub fn received(&self) -> bool {
        matches!(self, Self::Received(_))
    }

    pub(crate) fn callback(name: &'static str, what: &'static str) -> Self {
        Self::Callback { name, source: what.into() }
    }
}

impl Misbehaviour {
    /// The error that the protocol has for it; `text` is the start of the message.
    pub(crate) fn to_protocol(&self, text: String) -> ProtocolError {
        match self {
            Self::MissedAuth(_) => ProtocolError::MissedAuth(text),
            Self::UnknownMessage(kind) => ProtocolError::UnknownMessage(shown(kind)),
            Self::OutOfPlace(_)
            | Self::Unsent(_)
            | Self::SameNode(_)
            | Self::TimeOutOfRange
            | Self::WrongId
            | Self::TooMuchTooEarly => ProtocolError::WrongFormat(text),
        }
    }
}

/// What to show of a frame, to the peer and in logs.
pub(crate) fn start_of(frame: &[u8]) -> String {
    shown(&String::from_utf8_lossy(&frame[..frame.len().min(512)]))
}

/// What a codec or a transport says of a frame. It may quote the frame, at any length.
pub(crate) fn bounded(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Box<dyn std::error::Error + Send + Sync> {
    let error = error.into();
    let whole = std::iter::successors(Some(&*error as &dyn std::error::Error), |e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    if whole.iter().all(|text| *text == shown(text)) {
        error
    } else {
        shown(&whole.join(": ")).into()
    }
}
