//! Events relative to a connection: what travels is shorter than what a log holds.

use logux_codecs::{EventId, NodeId, Subprotocol, Timestamp, WireId, WireMeta};

use super::error::Misbehaviour;
use crate::log::{Entry, Meta};

/// What both sides of a connection agreed on. Source: Logux protocol 7, event meta.
#[derive(Clone, Debug)]
pub(crate) struct Relative {
    /// Times are written from here.
    pub(crate) base_time: Timestamp,
    pub(crate) local: NodeId,
    pub(crate) remote: NodeId,
    pub(crate) local_subprotocol: Option<Subprotocol>,
    pub(crate) remote_subprotocol: Option<Subprotocol>,
}

impl Relative {
    /// An event's meta as it is sent: the sender's own node id is left out, and so is the
    /// sender's own subprotocol.
    pub(crate) fn outgoing(&self, meta: &Meta) -> WireMeta {
        let node = meta.id.node();
        WireMeta {
            id: WireId { time: meta.id.time(), node: (*node != self.local).then(|| node.clone()) },
            time: meta.time.since(self.base_time),
            subprotocol: meta.subprotocol.filter(|own| Some(*own) != self.local_subprotocol),
            extra: meta.extra.clone(),
        }
    }

    /// The entry for an event that was received. What is local to the peer's log is not believed.
    pub(crate) fn incoming<E>(&self, event: E, wire: WireMeta) -> Result<Entry<E>, Misbehaviour> {
        let time = self.base_time.shifted(wire.time).ok_or(Misbehaviour::TimeOutOfRange)?;
        let node = wire.id.node.unwrap_or_else(|| self.remote.clone());
        let meta = Meta {
            time,
            source: Some(self.remote.clone()),
            subprotocol: wire.subprotocol.or(self.remote_subprotocol),
            extra: wire.extra,
            ..Meta::new(EventId::new(wire.id.time, node))
        };
        Ok(Entry::new(event, meta))
    }
}
