use std::sync::Arc;
use std::time::Duration;

use logux_codecs::{Added, NodeId};

use crate::log::SessionLog;
use crate::sync::error::Error;
use crate::sync::peer::Peer;
use crate::sync::state::State;

/// How a session is doing: [`SessionHandle::diagnostics`](crate::SessionHandle::diagnostics).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnostics {
    /// Where it stands.
    pub state: State,
    /// The node at the other end of the present connection, or of the last one.
    pub peer: Option<Arc<Peer>>,
    /// How many connections there were, the present one included.
    pub connections: u64,
    /// How long the last question took to be answered: `connect`, or a ping.
    pub round_trip: Option<Duration>,
    /// How many milliseconds the own clock is ahead of the peer's, if times are fixed.
    pub time_fix: i64,
    /// All events of the own log up to here are confirmed by the peer, or not for it.
    pub synced: Added,
    /// All events of the peer's log up to here are in the own log.
    pub other_synced: Added,
    /// Events that were sent; those that were sent again are counted again.
    pub events_sent: u64,
    /// Events that arrived, those that were there already or refused included.
    pub events_received: u64,
    /// Bytes of the frames that were given to the link.
    pub bytes_sent: u64,
    /// Bytes of the frames that arrived.
    pub bytes_received: u64,
}

/// What can be seen of a session.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) diagnostics: Diagnostics,
    /// Until the session ends: a handle that is kept does not keep the store open.
    pub(super) log: Option<Arc<dyn SessionLog>>,
    /// The node that the peer says that it is, let in or not.
    pub(super) claimed: Option<NodeId>,
    /// Why the session ended, if it did by an error.
    pub(super) ended: Option<Arc<Error>>,
}
