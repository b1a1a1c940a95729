//! What goes into the rules, and what comes out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use logux_codecs::{
    Added, Headers, Message, NodeId, Protocol, ProtocolError, Subprotocol, Timestamp, Value,
};

use crate::log::Received;
use crate::store::{Cursors, Epoch};
use crate::sync::error::Error;
use crate::sync::relative::FarFuture;
use crate::sync::session::Notice;

/// Which side of a connection a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection, and introduces itself with `connect`.
    Opener,
    /// It was connected to, and answers with `connected`.
    Acceptor,
}

/// What a connection is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) local: NodeId,
    /// Which log this node has.
    pub(crate) epoch: Epoch,
    pub(crate) credentials: Option<Value>,
    pub(crate) subprotocol: Option<Subprotocol>,
    pub(crate) headers: Headers,
    /// How long the handshake, or the answer to a ping, may take.
    pub(crate) timeout: Duration,
    /// How long to hear nothing before asking; `None` never asks.
    pub(crate) ping: Option<Duration>,
    /// How many bytes are taken from a peer before it is let in.
    pub(crate) max_early_bytes: usize,
    /// How many `sync` may wait for their `synced`.
    pub(crate) window: usize,
    pub(crate) far_future: FarFuture,
    /// Whether an opener corrects times by the difference of the clocks,
    pub(crate) fix_time: bool,
    /// and what it last was, in milliseconds, with which node.
    pub(crate) time_fix: Option<(NodeId, i64)>,
    /// Whether some events may be held back from the peer, and let through later.
    pub(crate) filtered: bool,
    /// What the user says that the peer has.
    pub(crate) synced_override: Option<Added>,
    /// An opener's guess of how far it has received the log of the node that will answer.
    pub(crate) synced: Added,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) clock: Timestamp,
}

/// What can happen to a connection.
#[derive(Debug)]
pub(crate) enum Input<E> {
    /// The link is open.
    Opened,
    /// A message came; `frame` is what it was, to count and to complain about.
    Received { message: Message<E>, frame: Bytes },
    /// What came is no message.
    Malformed { error: Error, shown: String },
    /// The answer to [`Output::Check`]: these cursors, or the error to tell the peer.
    Checked(Result<Cursors, ProtocolError>),
    /// The oldest so many [`Output::Store`] are stored.
    Stored(usize),
    /// The answer to [`Output::Read`]: all up to here was sent but for what was withheld, or
    /// (`sent` is false) nothing up to here is for the peer.
    Read { up_to: Added, sent: bool, withheld: Vec<Added> },
    /// Events may be for the peer now that were not before.
    Reevaluate,
    /// The answer to [`Output::Review`]: after which position such events are, if there are any.
    Review(Option<Added>),
    /// The log reaches up to here.
    Grown(Added),
    /// The user has new headers.
    Headers(Headers),
    /// The user has a text for the peer's developer.
    Debug(String),
    /// The deadline may have passed.
    Tick,
    /// The user wants to end.
    Close,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Output<E> {
    /// Send a message, never a `sync`.
    Send(Message<E>),
    /// Ask the user about the peer, and the store for its cursors.
    Check(Claim),
    /// Store these events and how far the peer's log is received.
    Store(Received<E>),
    /// Send the next events, all that fit into one `sync`.
    Read(Wanted),
    /// Note that the peer has all up to here.
    Advance(Added),
    /// Note that the peer's log is another one than before, and lacks what came from it up to here.
    Reset(Cursors),
    /// Note that the peer has what was sent to it between these positions.
    Delivered(Batch),
    /// Find out from where on events are to be looked at again.
    Review,
    /// Note that all has been sent that was to be looked at again.
    Reviewed,
    /// Tell the user.
    Tell(Notice),
    /// End the connection, once all before is sent.
    HangUp(Option<Error>),
}

/// What a peer says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) protocol: Protocol,
    pub(crate) node_id: NodeId,
    pub(crate) credentials: Option<Value>,
    pub(crate) subprotocol: Option<Subprotocol>,
    /// An acceptor learns how far the peer has received its log.
    pub(super) synced: Added,
    /// When `connect` came.
    pub(super) start: Timestamp,
    /// An opener learns the base time.
    pub(super) base_time: Timestamp,
    /// How many milliseconds the own clock is ahead of the peer's.
    pub(super) time_fix: i64,
}

/// What one `sync` covers.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) after: Added,
    pub(crate) up_to: Added,
    /// The events between that the filter held back.
    pub(crate) withheld: Vec<Added>,
}

/// Which events to send next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Those above this position,
    pub(crate) after: Added,
    /// and up to this one.
    pub(crate) up_to: Added,
    /// Events that came from the peer are not sent back to it, but for those up to here.
    pub(crate) return_up_to: Added,
    /// Up to here only what was withheld before is looked at.
    pub(crate) review_up_to: Added,
}
