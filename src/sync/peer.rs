use std::net::SocketAddr;

use logux_codecs::{NodeId, Protocol, Subprotocol};

/// The node at the other end of a session, once it is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its name.
    pub node_id: NodeId,
    /// The version of its application.
    pub subprotocol: Option<Subprotocol>,
    /// The version of the protocol that is spoken with it.
    pub protocol: Protocol,
    /// The node id of this node's log that is kept in step with the peer: of several, see
    /// [`Access::log`](crate::Access::log), it tells which one.
    pub log: NodeId,
    /// The name of the codec of the connection: [`Codec::NAME`](crate::Codec::NAME).
    pub codec: &'static str,
    /// The name of its transport, where that says it.
    pub transport: Option<&'static str>,
    /// Where it comes from or goes to, where the transport knows.
    pub address: Option<SocketAddr>,
}
