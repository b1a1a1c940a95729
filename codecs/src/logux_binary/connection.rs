use crate::id::NodeId;
use crate::message::{Message, Subprotocol};
use crate::number::Timestamp;

/// What was said on a connection, as far as the bytes of later messages depend on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    /// Whether the peer spoke JSON last.
    pub(super) text: bool,
    pub(super) base_time: Timestamp,
    pub(super) local_subprotocol: u32,
    pub(super) remote_subprotocol: u32,
    pub(super) remote_node: Option<NodeId>,
}

impl Connection {
    pub(super) fn sent<E>(&mut self, message: &Message<E>) {
        match message {
            Message::Connect(connect) => self.local_subprotocol = major(connect.subprotocol),
            Message::Connected(connected) => {
                self.local_subprotocol = major(connected.subprotocol);
                self.base_time = connected.end;
            }
            _ => {}
        }
    }

    pub(super) fn received<E>(&mut self, message: &Message<E>) {
        let (node, subprotocol) = match message {
            Message::Connect(connect) => (&connect.node_id, connect.subprotocol),
            Message::Connected(connected) => {
                self.base_time = connected.end;
                (&connected.node_id, connected.subprotocol)
            }
            _ => return,
        };
        self.remote_node = Some(node.clone());
        self.remote_subprotocol = major(subprotocol);
    }
}

/// A node that tells no subprotocol has 0, for JavaScript nodes.
pub(super) fn major(subprotocol: Option<Subprotocol>) -> u32 {
    subprotocol.map_or(0, |subprotocol| subprotocol.major)
}
