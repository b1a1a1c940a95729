//! Whose events a peer may add.

use logux_codecs::NodeId;

/// Whose events are taken from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authors {
    /// Those of its own client: its tabs may differ. Never those of this node.
    OwnClient,
    /// Those of any node; also of this one, which may have lost its log.
    Any,
}

impl Authors {
    /// Whether a peer may add an event of `author` to the log of `local`; if not, why.
    ///
    /// Source: `@logux/server`, which denies a client the ids of another client.
    pub(super) fn check(
        self,
        local: &NodeId,
        peer: &NodeId,
        author: &NodeId,
    ) -> Result<(), &'static str> {
        match self {
            Self::Any => Ok(()),
            // Nearly all; and no peer has the name of this node.
            Self::OwnClient if author == peer => Ok(()),
            Self::OwnClient if author == local => Err(
                "its id is of the node that it was sent to; only a relay may bring such events back",
            ),
            Self::OwnClient if author.client_id() == peer.client_id() => Ok(()),
            Self::OwnClient => {
                Err("its id is of another client; only a relay may bring events of others")
            }
        }
    }
}
