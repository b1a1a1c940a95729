//! What goes into the rules, and what comes out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logux_codecs::{
    Added, EventId, Headers, Message, NodeId, ProtocolError, Subprotocol, Timestamp, Value,
};

use super::arrival::Arrival;
use super::relative::{FarFuture, Relative};
use super::whose::Authors;
use crate::apart::Refused;
use crate::cursors::{Cursors, Epoch};
use crate::entry::Incoming;
use crate::log::{Received, Trust};
use crate::sync::admission::Quota;
use crate::sync::error::Error;
use crate::sync::notice::Notice;

/// Which side of a connection a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection, and introduces itself with `connect`.
    Opener,
    /// It was connected to, and answers with `connected`.
    Acceptor,
}

/// What to do with an event of a peer that this program cannot read: one of a type that it does not know,
/// or of another shape than it expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// Sets it aside, to be read by a later version of the program: see
    /// [`Log::set_aside`](crate::Log::set_aside). Where there is no room for it, it is refused.
    #[default]
    Keep,
    /// Drops it. The peer takes it for added.
    Skip,
    /// Refuses it: it is confirmed, and the peer is told which event and why.
    Refuse,
}

/// What a connection is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) local: NodeId,
    /// The peer is this node for the log, whatever it calls itself.
    pub(crate) peer_name: Option<NodeId>,
    /// Which log this node has.
    pub(crate) epoch: Epoch,
    pub(crate) credentials: Option<Value>,
    pub(crate) subprotocol: Option<Subprotocol>,
    pub(crate) headers: Headers,
    /// How long the answer to a ping may take.
    pub(crate) timeout: Duration,
    /// How long it may take until the peer is let in.
    pub(crate) admission_timeout: Duration,
    /// How long to hear nothing before asking; `None` never asks.
    pub(crate) ping: Option<Duration>,
    /// How many bytes are taken from a peer before it is let in.
    pub(crate) max_early_bytes: usize,
    /// How many `sync` may wait for their `synced`.
    pub(crate) window: usize,
    pub(crate) far_future: FarFuture,
    /// What to do with events that cannot be read.
    pub(crate) unreadable: Unreadable,
    /// Whether an opener corrects times by the difference of the clocks.
    pub(crate) fix_time: bool,
    /// The last such difference, in milliseconds, and the node that it was measured with.
    pub(crate) time_fix: Option<(NodeId, i64)>,
    /// What the user says that the peer has.
    pub(crate) synced_override: Option<Added>,
    /// What an opener says that it has received.
    pub(crate) claim: Claim,
    /// An opener wants nothing of the peer's log up to here.
    pub(crate) begin_after: Option<Added>,
}

/// How far an opener has received the log of the node that will probably answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    pub(crate) synced: Added,
    /// The node that is expected.
    pub(crate) of: Option<NodeId>,
    /// The log that it is about, as far as that has said which it is.
    pub(crate) epoch: Option<Epoch>,
    /// The user said so: it counts for whichever node answers.
    pub(crate) is_told: bool,
    /// If it is too low, the session dials again and makes a better one.
    pub(crate) may_be_mended: bool,
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the connection was opened, by a clock that is never set: deadlines and round trips.
    pub(crate) elapsed: Duration,
    /// By the clock on the wall: times of events.
    pub(crate) clock: Timestamp,
}

/// The clock on the wall moved, and the one that timers go by did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    /// By how many milliseconds it was set; `None` where it may have been that, or the machine slept.
    pub(crate) set: Option<i64>,
    /// The machine slept, or may have.
    pub(crate) slept: bool,
}

/// What can happen to a connection.
#[derive(Debug)]
pub(crate) enum Input<E> {
    /// The link is open.
    Opened,
    /// A message came; `frame` is what it was, to count and to complain about.
    Received { message: Message<Arrival<E>>, frame: Bytes },
    /// What came is not a message.
    Malformed { error: Error, shown: String },
    /// The peer is led to this log, before it comes in.
    LedTo(LogIdentity),
    /// Answers [`Output::Check`]: the peer comes in, or the error to tell it.
    Checked(Result<Box<Admitted>, ProtocolError>),
    /// The oldest so many [`Output::Store`] are stored.
    Stored { count: usize, received: Received },
    /// Answers [`Output::SendNext`].
    SentNext(SentNext),
    /// Another node has the peer's name, and another log.
    Twin,
    /// Events may be for the peer now that were withheld before.
    Reevaluate,
    /// Answers [`Output::FindWithheld`]: the position before the first event to look at again, if there is
    /// one, and up to where events are to be sent one at a time.
    FirstWithheld { after: Option<Added>, suspected_up_to: Added },
    /// What the user was asked about, and could not be answered for: it stays set aside.
    StillSetAside(Vec<Refused>),
    /// The log reaches up to here.
    Grown(Added),
    /// The user has new headers.
    Headers(Headers),
    /// The user has a text for the peer's developer.
    Debug(String),
    /// The clock on the wall has jumped: what follows has the time that it shows now.
    Jumped(Jump),
    /// The deadline has passed.
    Tick,
    /// The peer is read again, which it was not for a while.
    Listening,
    /// The user wants to know whether the peer is there.
    Ask,
    /// What the peer brought to prove who it is does not hold any more.
    Expired,
    /// The peer has sent more than its quota for so long that it is not waited for any more.
    OverQuota(Quota),
    /// A newer connection of the peer's took over.
    Superseded,
    /// The server needs the peer's place for another user.
    Displaced,
    /// The user wants to end, and may have a reason for the peer.
    Close(Option<String>),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Output<E> {
    /// Send a message, never a `sync`.
    Send(Message<E>),
    /// Ask the user about the peer, and the store for its cursors.
    Check(Introduction),
    /// Note who the peer is, and that events are sent to it from now on.
    LetIn(Box<LetIn>),
    /// Store these events and how far the peer's log is received.
    Store(Incoming<E>),
    /// Send the next events, all that fit into one `sync`.
    SendNext(Wanted),
    /// Send and tell the times of events by another difference of the clocks from now on.
    Fix(Relative),
    /// Note that the peer has all up to here.
    Advance(Added),
    /// Note that the peer's log is another one than before, and lacks what came from it up to here.
    Reset(Cursors),
    /// Note that the peer does not take these events, before it is noted that it has all up to them.
    HoldBack(Vec<Refused>),
    /// Note that the peer has what was sent to it of this part of the log.
    Confirmed(Covered),
    /// Find out where the first event is that is to be looked at again.
    FindWithheld,
    /// Note that all withheld events were looked at again.
    Reevaluated,
    /// Tell the user.
    Tell(Notice),
    /// End the connection, once all before is sent.
    HangUp(Option<Error>),
}

/// What a peer says of itself. Nothing of it is proven but by the credentials.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// The node that it is for this one: what is known of it is kept under this id.
    pub(crate) node_id: NodeId,
    /// The name that it gives itself: the same, but for [`Config::peer_name`].
    pub(crate) name: NodeId,
    pub(crate) credentials: Option<Value>,
    pub(crate) subprotocol: Option<Subprotocol>,
    /// Its headers so far.
    pub(crate) headers: Arc<Headers>,
    /// Which log it has, as far as it has said.
    pub(crate) epoch: Option<Epoch>,
    /// Of that log, what comes after this is sent, if this node wants only a part of it.
    pub(crate) begin: Option<Added>,
    /// How far it says that it has this node's log, and which log that is; an opener does not learn it.
    pub(crate) synced: Added,
    pub(crate) claim_of: ClaimOf,
}

/// What a peer's claim in `connect` is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClaimOf {
    /// It does not say: this log, as JavaScript nodes mean it.
    #[default]
    Unsaid,
    /// No log: it did not know who would answer.
    Nothing,
    Log(Epoch),
}

impl ClaimOf {
    /// Whether it is about this log.
    pub(crate) fn is_of(self, epoch: Epoch) -> bool {
        [Self::Unsaid, Self::Log(epoch)].contains(&self)
    }
}

/// Which log of this node's a peer was led to.
#[derive(Clone, Debug)]
pub(crate) struct LogIdentity {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: Epoch,
    /// Where it ends.
    pub(crate) end: Added,
}

/// A peer that may come in.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    /// How far both logs are in step.
    pub(crate) cursors: Cursors,
    pub(crate) trust: Trust,
    /// Whose events are taken from it.
    pub(crate) authors: Authors,
    /// How long from now on; `None` without limit.
    pub(crate) lasts: Option<Duration>,
    /// It has refused events up to here, and it is not known which of them was wrong.
    pub(crate) suspected_up_to: Added,
    /// The events that it did not take.
    pub(crate) held_back: HashSet<EventId>,
    /// Nothing up to here is for it. Unlike what it asks for itself, it is not told so.
    pub(crate) starts_after: Added,
}

/// A peer that is let in.
#[derive(Debug)]
pub(crate) struct LetIn {
    pub(crate) relative: Relative,
    /// Whose events are taken from it.
    pub(crate) authors: Authors,
    /// Events are sent to it above this position,
    pub(crate) start: Added,
    /// It has claimed this position of another log.
    pub(crate) unfounded: Option<Added>,
    /// but for these.
    pub(crate) held_back: HashSet<EventId>,
}

/// What was sent of the next part of the log.
#[derive(Clone, Debug)]
pub(crate) struct SentNext {
    /// All up to here was sent, or is not for the peer.
    pub(crate) up_to: Added,
    /// The events that were sent, in one `sync`; none where nothing up to there is for the peer.
    pub(crate) sent: Vec<(Added, EventId)>,
    /// The events that were withheld.
    pub(crate) withheld: Vec<Added>,
    /// The events that cannot be sent, which are withheld, too.
    pub(crate) unsendable: Vec<Refused>,
    /// Only what is offered again was looked at: of the rest nothing new is known.
    pub(crate) is_offer: bool,
}

/// The part of a log that one `sync` covers.
#[derive(Clone, Debug)]
pub(crate) struct Covered {
    pub(crate) after: Added,
    pub(crate) up_to: Added,
    /// The events between that were sent.
    pub(crate) sent: Vec<(Added, EventId)>,
    /// The events between that the peer does not have: the filter withheld them, or they are refused.
    pub(crate) withheld: Vec<Added>,
    /// The events between that the peer did not take, or that cannot be sent to it.
    pub(crate) refused: Vec<Refused>,
    /// See [`SentNext::is_offer`].
    pub(crate) is_offer: bool,
}

/// Which events to send next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Those above this position,
    pub(crate) after: Added,
    /// and up to this one.
    pub(crate) up_to: Added,
    /// Events are not echoed to the peer that they came from, except up to this position: that peer
    /// has lost its log.
    pub(crate) return_up_to: Added,
    /// Up to here only what was withheld before is looked at.
    pub(crate) reevaluate_up_to: Added,
    /// One event only: it may be one that the peer refuses.
    pub(crate) one_only: bool,
}
