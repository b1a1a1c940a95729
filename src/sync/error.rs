use std::io;
use std::time::Duration;

use logux_codecs::{Added, NodeId, ProtocolError, Value, shown};

use crate::store::StoreError;
use crate::sync::admission::{Quota, Undecided};

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
    /// The peer does not accept how this node introduces itself: it would answer the same each time.
    #[error(
        "the peer does not accept how this node introduces itself; both nodes must use the same codec, \
         and names of their own"
    )]
    NotAccepted(#[source] ProtocolError),
    /// The first thing that the peer said is not in the format of this node.
    #[error("the peer does not speak {format}; both nodes must use the same codec")]
    OtherFormat {
        /// The codec's name.
        format: &'static str,
        /// What the codec says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer did not answer in time.
    #[error("the peer was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// Another node answered than the one that the last connection led to. The next connection tells it what
    /// was received from it: a [`ClientSync`](crate::ClientSync) dials again at once, the first time in a row.
    /// See [`SyncOptions::peer_name`](crate::SyncOptions::peer_name) for nodes that are one peer.
    #[error(
        "the node {found} answered instead of the expected one; the next connection starts from what was \
         received from it"
    )]
    AnotherNode {
        /// The node that answered.
        found: NodeId,
    },
    /// This node's clock jumped ahead, and the system does not tell whether it was set or the machine slept.
    /// A new connection measures how far it is from the peer's; see
    /// [`fix_time`](crate::SyncOptions::fix_time).
    #[error("this node's clock jumped ahead, and the next connection measures it anew")]
    ClockJumped,
    /// The peer's log is another one than before: it is shorter than what was received from it.
    /// Both logs are compared from the start now, or the peer's alone under
    /// [`peer_name`](crate::SyncOptions::peer_name); nothing is lost.
    #[error("the peer's log was replaced")]
    LogReplaced,
    /// This node's own store failed, or is [busy](StoreError::busy). Nothing that it did not keep was
    /// confirmed.
    #[error("this node's log failed")]
    Store(#[source] StoreError),
    /// A message other than `sync` cannot be written in the format of the connection.
    #[error("a message cannot be written as {format}")]
    Message {
        /// The codec's name.
        format: &'static str,
        /// What the codec says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A callback of the user's failed, panicked, or did not answer in time: then its source is
    /// [`CallbackTimeout`]. What it was asked about is neither confirmed nor passed over.
    #[error("the callback `{name}` failed")]
    Callback {
        /// The option that it was given to.
        name: &'static str,
        /// What it says of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There are no credentials for a connection: the callback that makes them failed, or did not answer
    /// in time.
    #[error("the credentials could not be made")]
    Credentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the peer brought to prove who it is does not hold any more, as [`auth`](crate::SyncOptions::auth)
    /// had said when it let the peer in: see [`Access::expires_in`](crate::Access::expires_in). The peer was
    /// told, by the error `credentials-expired`.
    #[error("the peer's credentials have expired")]
    Expired,
    /// The peer has a newer connection, which took over from this one. What came on this one and was not stored by
    /// then is neither kept nor confirmed, and comes again. The peer was told, by the error `superseded`. Nearly
    /// always it had gone, and connected again before its old connection was noticed to be dead. Where both
    /// connections are alive, there are two sessions between the same logs, or two nodes of one name: they take over
    /// from each other again and again, as often as the delays of their transports allow.
    #[error("a newer connection of the peer took over")]
    Superseded,
    /// The peer was slowed down for all of the [`patience`](Quota::patience) of its [`Quota`] without a pause.
    /// The peer was told how much it may send, by the error `quota-exceeded`; when it comes back, it waits
    /// until what it has sent is within its quota. What was not confirmed travels again.
    #[error(
        "the peer sent more than {} events or {} bytes per second for {} ms without a pause",
        .0.events, .0.bytes, .0.patience.as_millis()
    )]
    QuotaExceeded(Quota),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if error.is_superseded() { Self::Superseded } else { Self::Store(error) }
    }
}

/// A callback did not answer within this time:
/// [`SyncOptions::callback_timeout`](crate::SyncOptions::callback_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not answer within {} ms", .0.as_millis())]
pub struct CallbackTimeout(pub Duration);

/// Why a peer ended a connection because of an event.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For a person to read.
    pub(crate) reason: String,
    /// The peer may take the same event at another time: a callback fails where its database is away.
    pub(crate) may_pass: bool,
}

/// The names of the callbacks that are asked about a peer's events.
pub(crate) const IN_FILTER: &str = "in_filter";
pub(crate) const IN_MAP: &str = "in_map";

/// And of those that are asked about this node's.
pub(crate) const OUT_FILTER: &str = "out_filter";

/// The name of the callback that says which indexes a peer is sent events of.
pub(crate) const OUT_INDEXES: &str = "out_indexes";
pub(crate) const OUT_MAP: &str = "out_map";

/// The error of a node whose callback failed, with the name of the callback. The protocol has none for it.
const CALLBACK_FAILED: &str = "callback-failed";

/// The error of a node to a peer whose credentials do not hold any more. Not the protocol's
/// `wrong-credentials`, after which no node connects again: this one comes back with others.
const CREDENTIALS_EXPIRED: &str = "credentials-expired";

/// The error of a node that ends a session for a reason of its user's.
const CLOSED: &str = "closed";

/// The error of a node to a client that sent more than its quota for too long. It may come back.
const QUOTA_EXCEEDED: &str = "quota-exceeded";

/// The error of a node to a peer that has a newer connection. It may come back.
const SUPERSEDED: &str = "superseded";

/// The error of a server without a place for a connection. The client may come back.
const TOO_MANY_CONNECTIONS: &str = "too-many-connections";

pub(crate) fn credentials_expired() -> ProtocolError {
    ProtocolError::Other { kind: CREDENTIALS_EXPIRED.to_owned(), options: Value::Null }
}

pub(crate) fn superseded() -> ProtocolError {
    let text = "a newer connection of your node took over; dial with one session only, and give each node a name of its own";
    ProtocolError::Other { kind: SUPERSEDED.to_owned(), options: text.into() }
}

pub(crate) fn closed(reason: String) -> ProtocolError {
    ProtocolError::Other { kind: CLOSED.to_owned(), options: reason.into() }
}

/// To a peer that comes where all places are taken.
pub(crate) fn no_place() -> ProtocolError {
    too_many_connections(
        "all places are taken, and no user or network holds clearly more of them than yours; come back later",
    )
}

/// To a peer that gives up its place.
pub(crate) fn displaced() -> ProtocolError {
    too_many_connections(
        "all places are taken, and another peer gets this one: your node has a newer connection, or your user or \
         network holds the most places",
    )
}

fn too_many_connections(text: &str) -> ProtocolError {
    ProtocolError::Other { kind: TOO_MANY_CONNECTIONS.to_owned(), options: text.into() }
}

pub(crate) fn quota_exceeded(quota: &Quota) -> ProtocolError {
    let Quota { events, bytes, user_factor, patience, .. } = quota;
    let text = format!(
        "send at most {events} events and {bytes} bytes per second, and {user_factor} times that with all \
         nodes of the user; more came for {} seconds",
        patience.as_secs_f64()
    );
    ProtocolError::Other { kind: QUOTA_EXCEEDED.to_owned(), options: text.into() }
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
    #[error("it calls itself by this node's own name {0}; give each node a name of its own")]
    SameNode(NodeId),
    /// A time in its introduction lies before 1970 or beyond what a number can hold, or its clock is a
    /// hundred years off.
    #[error("it sent a time out of range")]
    TimeOutOfRange,
    /// An event's time lies before 1970 or beyond what a number can hold.
    #[error("event {place} of its message has a time out of range")]
    EventTime {
        /// Which event of the message it is, counted from 1.
        place: usize,
    },
    /// An event's id is not in the form of the connection's protocol.
    #[error("event {place} of its message has an id of another version of the protocol")]
    WrongId {
        /// Which event of the message it is, counted from 1.
        place: usize,
    },
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
            Self::Peer(what) => !matches!(what, Misbehaviour::SameNode(_)),
            Self::Frame { .. }
            | Self::Silent(_)
            | Self::AnotherNode { .. }
            | Self::ClockJumped
            | Self::Credentials(_)
            | Self::Expired
            | Self::Superseded
            | Self::QuotaExceeded(_)
            | Self::LogReplaced => true,
            // A filter or a map may answer the next time, and so may what only took too long.
            Self::Callback { name, source } => {
                [IN_FILTER, IN_MAP, OUT_FILTER, OUT_MAP].contains(name)
                    || source.is::<CallbackTimeout>()
                    || source.is::<Undecided>()
            }
            Self::Refused(error) | Self::Received(error) => !error.is_fatal(),
            Self::Store(error) => error.is_busy(),
            Self::NotAccepted(_) | Self::OtherFormat { .. } | Self::Message { .. } => false,
        }
    }

    /// Its name for a program that counts.
    #[cfg(feature = "metrics")]
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Link(_) => "link",
            Self::Frame { .. } => "frame",
            Self::Peer(_) => "peer",
            Self::Refused(_) => "refused",
            Self::Received(_) => "received",
            Self::NotAccepted(_) => "not-accepted",
            Self::OtherFormat { .. } => "other-format",
            Self::Silent(_) => "silent",
            Self::AnotherNode { .. } => "another-node",
            Self::ClockJumped => "clock-jumped",
            Self::LogReplaced => "log-replaced",
            Self::Store(_) => "store",
            Self::Message { .. } => "message",
            Self::Callback { .. } => "callback",
            Self::Credentials(_) => "credentials",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::QuotaExceeded(_) => "quota-exceeded",
        }
    }

    /// Whether the link was lost, or nobody closed it: what is sent next may get through.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            Self::Link(error) => error.kind() != io::ErrorKind::FileTooLarge,
            Self::Silent(_) | Self::ClockJumped => true,
            // An operator's or a token's end is no fault of either side, and a quota comes back.
            Self::Received(ProtocolError::Other { kind, .. }) => {
                [CREDENTIALS_EXPIRED, CLOSED, QUOTA_EXCEEDED, TOO_MANY_CONNECTIONS]
                    .contains(&kind.as_str())
            }
            _ => false,
        }
    }

    /// Whether the peer has refused this node's credentials.
    pub(crate) fn is_refusal_of_credentials(&self) -> bool {
        matches!(self, Self::Received(ProtocolError::WrongCredentials))
    }

    /// Whether the peer says that this node's credentials do not hold any more.
    pub(crate) fn is_expiry(&self) -> bool {
        matches!(self, Self::Received(ProtocolError::Other { kind, .. }) if kind == CREDENTIALS_EXPIRED)
    }

    /// Whether the peer says that this node sent more than its quota.
    pub(crate) fn is_of_quota(&self) -> bool {
        matches!(self, Self::Received(ProtocolError::Other { kind, .. }) if kind == QUOTA_EXCEEDED)
    }

    /// Whether the peer ended the connection because of an event that was sent to it.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let (reason, may_pass) = match self {
            Self::Received(error @ ProtocolError::WrongFormat(_)) => (error.to_string(), false),
            Self::Received(ProtocolError::Other { kind, options }) if kind == CALLBACK_FAILED => {
                // The others are asked about events of the peer's own.
                let name = options.as_str().filter(|name| [IN_FILTER, IN_MAP].contains(name))?;
                (format!("the peer's callback `{name}` failed"), true)
            }
            Self::Link(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                (error.to_string(), false)
            }
            _ => return None,
        };
        Some(Refusal { reason, may_pass })
    }

    /// What to tell the peer of an error that is this node's own; `None` for all others.
    pub(crate) fn own_fault(&self) -> Option<ProtocolError> {
        let (kind, options) = match self {
            Self::Callback { name, .. } => (CALLBACK_FAILED, Value::from(*name)),
            Self::Store(_) => ("store-failed", Value::Null),
            Self::Message { .. } => ("internal-error", Value::Null),
            _ => return None,
        };
        Some(ProtocolError::Other { kind: kind.to_owned(), options })
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
    /// The same, of an event of a message.
    pub(crate) fn in_event(self, place: usize) -> Self {
        match self {
            Self::TimeOutOfRange => Self::EventTime { place },
            Self::WrongId { .. } => Self::WrongId { place },
            other => other,
        }
    }

    /// The error that the protocol has for it; `text` is the start of the message.
    pub(crate) fn to_protocol(&self, text: String) -> ProtocolError {
        match self {
            Self::MissedAuth(_) => ProtocolError::MissedAuth(text),
            Self::UnknownMessage(kind) => ProtocolError::UnknownMessage(shown(kind)),
            Self::OutOfPlace(_)
            | Self::Unsent(_)
            | Self::SameNode(_)
            | Self::TimeOutOfRange
            | Self::EventTime { .. }
            | Self::WrongId { .. }
            | Self::TooMuchTooEarly => ProtocolError::WrongFormat(format!("{self}: {text}")),
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
    if causes(&*error).all(|text| text == shown(&text)) {
        error
    } else {
        shown(&with_causes(&*error)).into()
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    causes(error).collect::<Vec<_>>().join(": ")
}

fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string)
}
