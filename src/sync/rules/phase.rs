//! How far a connection has come.

use std::sync::Arc;

use logux_codecs::{Added, Headers, NodeId, Protocol, Subprotocol, Timestamp};

use super::live::Live;

#[allow(clippy::large_enum_variant, reason = "a connection is live nearly all of the time")]
#[derive(Debug)]
pub(super) enum Phase {
    /// The peer has not introduced itself.
    Opening,
    /// It has, and is being checked; nothing is read meanwhile.
    Checking(Candidate),
    /// Both sides send and receive events.
    Live(Live),
    Over,
}

/// A peer that has introduced itself and is being checked, and what was agreed on with it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) protocol: Protocol,
    /// Which node it is for this one.
    pub(super) node_id: NodeId,
    /// What it calls itself.
    pub(super) name: NodeId,
    pub(super) subprotocol: Option<Subprotocol>,
    /// What it says of its environment.
    pub(super) headers: Arc<Headers>,
    /// How far the peer has received this log; an opener does not learn it.
    pub(super) synced: Added,
    /// When `connect` came.
    pub(super) start: Timestamp,
    /// When `connected` was sent; an acceptor has yet to send it.
    pub(super) base_time: Timestamp,
    /// How many milliseconds the own clock is ahead of the peer's.
    pub(super) time_fix: i64,
}
