//! How many events a log sets aside, so that no peer can fill it with events that nobody can read.

use std::collections::HashMap;
use std::sync::Arc;

use logux_codecs::{EventId, NodeId};

use crate::apart::SetAside;

/// Events, and bytes: of their JSON, and of the texts that say why they cannot be read.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    events: usize,
    bytes: usize,
}

/// What one user may have set aside, with all clients and tabs: a client names its tabs as it likes.
const OF_A_USER: Amount = Amount { events: 1_000, bytes: 4 << 20 };

/// What all users may have set aside together.
const OF_ALL: Amount = Amount { events: 10_000, bytes: 32 << 20 };

/// By [`user`]; `None` for this node's own.
type User = Option<Arc<str>>;

/// What is set aside now.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// From whom each event came, and its bytes.
    kept: HashMap<EventId, (User, usize)>,
    of_users: HashMap<User, Amount>,
    of_all: Amount,
}

impl Room {
    /// Counts an event; `false` if there is no room for it. One that is counted already has its room.
    pub(super) fn take(&mut self, event: &SetAside) -> bool {
        let id = &event.meta.id;
        if self.kept.contains_key(id) {
            return true;
        }
        let json = |size: Result<Vec<u8>, _>| size.map_or(usize::MAX, |json| json.len());
        let bytes = json(serde_json::to_vec(&event.event))
            .saturating_add(json(serde_json::to_vec(&event.meta)))
            .saturating_add(event.reason.len());
        let user: User = event.meta.source.as_ref().map(|source| user(source).into());
        let of_user = self.of_users.get(&user).copied().unwrap_or_default();
        let (Some(of_user), Some(of_all)) =
            (of_user.plus(bytes, OF_A_USER), self.of_all.plus(bytes, OF_ALL))
        else {
            return false;
        };
        self.of_users.insert(user.clone(), of_user);
        self.of_all = of_all;
        self.kept.insert(id.clone(), (user, bytes));
        true
    }

    /// Whether an event is counted.
    pub(super) fn holds(&self, id: &EventId) -> bool {
        self.kept.contains_key(id)
    }

    /// Events are not set aside any more.
    pub(super) fn give_back(&mut self, ids: &[EventId]) {
        for id in ids {
            let Some((user, bytes)) = self.kept.remove(id) else { continue };
            self.of_all = self.of_all.minus(bytes);
            if let Some(of_user) = self.of_users.get_mut(&user) {
                *of_user = of_user.minus(bytes);
                if of_user.events == 0 {
                    self.of_users.remove(&user);
                }
            }
        }
    }

    /// Whether something of a peer's user is set aside.
    pub(super) fn holds_some_of(&self, peer: &NodeId) -> bool {
        self.of_users.contains_key(&Some(user(peer).into()))
    }
}

/// The user of a node; of one without a user, the node.
pub(super) fn user(node: &NodeId) -> &str {
    node.user_id().unwrap_or(node.as_str())
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

#[cfg(test)]
mod tests {
    use logux_codecs::{Timestamp, Value};

    use super::*;
    use crate::entry::Meta;

    #[test]
    fn the_reasons_count() {
        let mut room = Room::default();
        let taken = (0..5).filter(|&n| {
            let id = EventId::new(Timestamp::new(n).unwrap(), "10:a".parse().unwrap());
            let meta = Meta { source: Some("10:a:tab".parse().unwrap()), ..Meta::new(id) };
            room.take(&SetAside::new(Value::Null, meta, "x".repeat(1_000_000)))
        });
        assert_eq!(taken.count(), 4, "of those that fit into 4 MiB");
    }
}
