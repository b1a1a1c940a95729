use crate::sync::rules::{Authors, Role};

/// Who a peer is: what [`auth`](crate::SyncOptions::auth) answers. `true` and `false` are answers, too.
///
/// ```
/// use logux_sync::{Access, SyncOptions, Value};
///
/// let options = SyncOptions::<Value>::new().auth(async |login| match login.node_id.as_str() {
///     "backbone:berlin" if login.token_is("the backbone's secret") => Access::relay(),
///     _ => Access::nobody(),
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nobody,
    Usual,
    Client,
    Relay,
}

impl Access {
    /// A client: it may add events of its own user and client, from any tab. This is what `true` means
    /// where the peer connected to this node.
    ///
    /// An event of another author is confirmed and not added, and the peer is told.
    pub const fn client() -> Self {
        Self(Kind::Client)
    }

    /// A relay, which passes on the events of others: a server, a node of a mesh or of a backbone. It may
    /// add events of any author, and bring back events of this node that this node has lost. This is what
    /// `true` means where this node connected to the peer.
    pub const fn relay() -> Self {
        Self(Kind::Relay)
    }

    /// Nobody: the peer is answered `wrong-credentials`. This is what `false` means.
    pub const fn nobody() -> Self {
        Self(Kind::Nobody)
    }

    /// A peer that is let in as is usual for the role of this node.
    pub(crate) const fn usual() -> Self {
        Self(Kind::Usual)
    }

    /// Whose events are taken from the peer; `None` for nobody.
    pub(crate) const fn authors(self, role: Role) -> Option<Authors> {
        match (self.0, role) {
            (Kind::Nobody, _) => None,
            (Kind::Client, _) | (Kind::Usual, Role::Acceptor) => Some(Authors::OwnClient),
            (Kind::Relay, _) | (Kind::Usual, Role::Opener) => Some(Authors::Any),
        }
    }
}

impl From<bool> for Access {
    fn from(is_let_in: bool) -> Self {
        if is_let_in { Self::usual() } else { Self::nobody() }
    }
}
