//! How many events a log sets aside, so that no peer can fill it with events that nobody can read.

use std::collections::HashMap;

use logux_codecs::{EventId, NodeId};

use crate::apart::SetAside;

/// Events, and bytes of their JSON.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    events: usize,
    bytes: usize,
}

/// What one peer may have set aside.
const OF_A_PEER: Amount = Amount { events: 1_000, bytes: 4 << 20 };

/// What all peers may have set aside together.
const OF_ALL: Amount = Amount { events: 10_000, bytes: 32 << 20 };

/// What is set aside now.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// From whom each event came, and its bytes.
    kept: HashMap<EventId, (Option<NodeId>, usize)>,
    of_peers: HashMap<Option<NodeId>, Amount>,
    of_all: Amount,
}

impl Quota {
    /// Counts an event; `false` if there is no room for it. One that is counted already has its room.
    pub(super) fn take(&mut self, event: &SetAside) -> bool {
        let id = &event.meta.id;
        if self.kept.contains_key(id) {
            return true;
        }
        let json = |size: Result<Vec<u8>, _>| size.map_or(usize::MAX, |json| json.len());
        let bytes = json(serde_json::to_vec(&event.event))
            .saturating_add(json(serde_json::to_vec(&event.meta)));
        let source = event.meta.source.clone();
        let of_peer = self.of_peers.get(&source).copied().unwrap_or_default();
        let (Some(of_peer), Some(of_all)) =
            (of_peer.plus(bytes, OF_A_PEER), self.of_all.plus(bytes, OF_ALL))
        else {
            return false;
        };
        self.of_peers.insert(source.clone(), of_peer);
        self.of_all = of_all;
        self.kept.insert(id.clone(), (source, bytes));
        true
    }

    /// Events are not set aside any more.
    pub(super) fn give_back(&mut self, ids: &[EventId]) {
        for id in ids {
            let Some((source, bytes)) = self.kept.remove(id) else { continue };
            self.of_all = self.of_all.minus(bytes);
            if let Some(of_peer) = self.of_peers.get_mut(&source) {
                *of_peer = of_peer.minus(bytes);
                if of_peer.events == 0 {
                    self.of_peers.remove(&source);
                }
            }
        }
    }

    /// Whether something of a peer's is set aside.
    pub(super) fn holds_some_of(&self, peer: &NodeId) -> bool {
        self.of_peers.contains_key(&Some(peer.clone()))
    }
}

impl Amount {
    /// With one more event; `None` above a limit.
    fn plus(self, bytes: usize, limit: Self) -> Option<Self> {
        let sum = Self { events: self.events + 1, bytes: self.bytes.checked_add(bytes)? };
        (sum.events <= limit.events && sum.bytes <= limit.bytes).then_some(sum)
    }

    fn minus(self, bytes: usize) -> Self {
        Self { events: self.events.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes) }
    }
}
