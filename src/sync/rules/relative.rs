//! Events relative to a connection: what travels is shorter than what a log holds.

use std::time::Duration;

use logux_codecs::{Added, EventId, NodeId, Protocol, Subprotocol, Timestamp, WireMeta};

use super::clocks::TimeFix;
use crate::entry::Meta;
use crate::sync::error::Misbehaviour;

/// What both sides of a connection agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Relative {
    pub(crate) protocol: Protocol,
    /// Times are written from here.
    pub(crate) base_time: Timestamp,
    /// Only the opener fixes times.
    pub(crate) time_fix: TimeFix,
    pub(crate) local: NodeId,
    /// Which node the peer is for this one.
    pub(crate) peer: NodeId,
    /// What it calls itself: ids that travel without a node are of this one.
    pub(crate) peer_name: NodeId,
    pub(crate) local_subprotocol: Option<Subprotocol>,
    pub(crate) peer_subprotocol: Option<Subprotocol>,
}

/// What to do with an event that says to be from the far future. Its time would win against all
/// that is done until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FarFuture {
    /// Takes it for an event from so far in the future, and no farther: 24 hours, if nothing else
    /// is said. Its time is then another one on this node than on the node that made it.
    Clamp(Duration),
    /// Refuses it, and with it the connection, if it is from farther in the future than this.
    Refuse(Duration),
    /// Takes it as it is.
    Accept,
}

impl Default for FarFuture {
    fn default() -> Self {
        Self::Clamp(Duration::from_secs(24 * 60 * 60))
    }
}

impl FarFuture {
    fn apply(self, time: Timestamp, now: Timestamp) -> Result<Timestamp, Misbehaviour> {
        let latest = |ahead: Duration| {
            let ahead = i64::try_from(ahead.as_millis()).ok()?;
            now.shifted(ahead)
        };
        match self {
            Self::Clamp(ahead) => Ok(latest(ahead).map_or(time, |latest| time.min(latest))),
            Self::Refuse(ahead) if latest(ahead).is_some_and(|latest| time > latest) => {
                Err(Misbehaviour::TimeOutOfRange)
            }
            Self::Refuse(_) | Self::Accept => Ok(time),
        }
    }
}

impl Relative {
    /// The meta of the event at a position of the log as it is sent: the sender's own node id is left out,
    /// and so is the sender's own subprotocol.
    pub(crate) fn outgoing(&self, added: Added, id: &EventId, meta: &Meta) -> WireMeta {
        WireMeta {
            id: self.protocol.wire_id(id, &self.local, self.base_time),
            // Ids are not fixed: they are the same on all nodes.
            time: moved(meta.time, -self.time_fix.at(added)).since(self.base_time),
            subprotocol: meta.subprotocol.filter(|own| Some(*own) != self.local_subprotocol),
            extra: meta.extra.clone(),
        }
    }

    /// The meta of an event that was received. What is local to the peer's log is not believed.
    pub(crate) fn incoming(
        &self,
        wire: WireMeta,
        now: Timestamp,
        far_future: FarFuture,
    ) -> Result<Meta, Misbehaviour> {
        let WireMeta { id, time, subprotocol, extra } = wire;
        let time = self.base_time.shifted(time).ok_or(Misbehaviour::TimeOutOfRange)?;
        let time = far_future.apply(moved(time, self.time_fix.now()), now)?;
        let id = self.protocol.event_id(id, &self.peer_name, self.base_time);
        Ok(Meta {
            time,
            source: Some(self.peer.clone()),
            subprotocol: subprotocol.or(self.peer_subprotocol),
            extra,
            ..Meta::new(id.ok_or(Misbehaviour::WrongId { place: 0 })?)
        })
    }
}

/// A time by another clock. One that would be out of range, of a clock that stood at 1970, stays.
pub(super) fn moved(time: Timestamp, milliseconds: i64) -> Timestamp {
    time.shifted(milliseconds).unwrap_or(if milliseconds < 0 { Timestamp::ZERO } else { time })
}
