use std::sync::Arc;

use logux_codecs::{Headers, NodeId, Subprotocol, Value};
use logux_transports::LinkInfo;
use subtle::{Choice, ConstantTimeEq};

use crate::sync::session::SessionHandle;

/// Who wants to connect, as `auth` is told. Nothing of it is proven but by the credentials.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Login {
    /// The name that the peer gives itself.
    pub node_id: NodeId,
    /// What it brought to prove it; the original's `token`.
    pub credentials: Option<Value>,
    /// The version of its application.
    pub subprotocol: Option<Subprotocol>,
    /// Its headers so far.
    pub headers: Arc<Headers>,
    /// What the transport knows: the address, and the HTTP headers and cookies of the upgrade.
    pub link: LinkInfo,
    /// The session that it wants to have with this node.
    pub session: SessionHandle,
}

impl Login {
    /// The user that the peer says it is of: [`NodeId::user_id`].
    pub fn user_id(&self) -> Option<&str> {
        self.node_id.user_id()
    }

    /// The client that the peer says it is, with its user: [`NodeId::client_id`].
    pub fn client_id(&self) -> &str {
        self.node_id.client_id()
    }

    /// The tab that the peer says it is: [`NodeId::tab_id`].
    pub fn tab_id(&self) -> Option<&str> {
        self.node_id.tab_id()
    }

    /// Whether the credentials are this text. That says nothing of the peer's name: take the secret of
    /// the user that the peer says it is of, as [`auth`](crate::SyncOptions::auth) shows. Takes the same time whatever they are, so that a
    /// secret cannot be guessed letter by letter; only its length shows.
    pub fn token_is(&self, secret: &str) -> bool {
        self.token_is_any_of([secret])
    }

    /// Whether the credentials are one of these texts. Takes the same time whichever it is.
    pub fn token_is_any_of<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> bool {
        let token = self.credentials.as_ref().and_then(Value::as_str);
        let given = token.unwrap_or_default().as_bytes();
        let same = secrets
            .into_iter()
            .fold(Choice::from(0), |same, secret| same | secret.as_bytes().ct_eq(given));
        token.is_some() & bool::from(same)
    }
}
