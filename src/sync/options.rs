use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use logux_codecs::{Added, Headers, NodeId, Subprotocol, Value};
use logux_transports::Peer;

use super::outgoing::Limits;
use super::relative::FarFuture;
use super::rules::{Config, Role};

/// How a session behaves. The names are the original's.
///
/// ```
/// # use logux_sync::SyncOptions;
/// # use std::time::Duration;
/// let options = SyncOptions::new()
///     .credentials("secret")
///     .timeout(Duration::from_secs(5))
///     .ping(Duration::from_secs(10));
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct SyncOptions {
    pub(crate) credentials: Option<Value>,
    pub(crate) auth: Option<Auth>,
    pub(crate) subprotocol: Option<Subprotocol>,
    pub(crate) headers: Headers,
    pub(crate) timeout: Option<Duration>,
    pub(crate) ping: Option<Ping>,
    pub(crate) max_frame: Option<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) window: Option<usize>,
    pub(crate) far_future: FarFuture,
}

#[derive(Clone, Copy)]
pub(crate) enum Ping {
    Every(Duration),
    Never,
}

/// The user's answer to who may connect.
#[derive(Clone)]
pub(crate) struct Auth(Arc<dyn Fn(Login) -> BoxFuture<'static, bool> + Send + Sync>);

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
    pub headers: Headers,
    /// What the transport knows: the address, and the HTTP headers and cookies of the upgrade.
    pub peer: Peer,
}

impl SyncOptions {
    /// No credentials, no check of the peer's, and times as the original has them.
    pub fn new() -> Self {
        Self::default()
    }

    /// What proves to the peer who this node is. Any value; JavaScript nodes take a text.
    pub fn credentials(mut self, credentials: impl Into<Value>) -> Self {
        self.credentials = Some(credentials.into());
        self
    }

    /// Checks the peer: `true` lets it in, `false` answers `wrong-credentials`. Without it,
    /// everybody is let in.
    ///
    /// Nothing that the peer sends is read while it runs, and it has to finish within the
    /// [`timeout`](Self::timeout); it is dropped then, as it is when the session ends.
    pub fn auth<F, A>(mut self, auth: F) -> Self
    where
        F: Fn(Login) -> A + Send + Sync + 'static,
        A: Future<Output = bool> + Send + 'static,
    {
        self.auth = Some(Auth(Arc::new(move |login| Box::pin(auth(login)))));
        self
    }

    /// The version of this node's application.
    pub fn subprotocol(mut self, subprotocol: Subprotocol) -> Self {
        self.subprotocol = Some(subprotocol);
        self
    }

    /// What this node tells the peer of its environment.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// How long the handshake, and the answer to a ping, may take: 70 seconds.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How long to hear nothing before asking whether the peer is there: 10 seconds where this
    /// node opened the connection, 20 where it accepted it.
    pub fn ping(mut self, interval: Duration) -> Self {
        self.ping = Some(Ping::Every(interval));
        self
    }

    /// Never asks. A connection that breaks without a word is then only noticed when something is
    /// sent.
    pub fn no_ping(mut self) -> Self {
        self.ping = Some(Ping::Never);
        self
    }

    /// What to do with events that say to be from the far future: see [`FarFuture`].
    pub fn far_future(mut self, policy: FarFuture) -> Self {
        self.far_future = policy;
        self
    }

    /// The longest frame that is taken and sent, in bytes: 1 MiB. Must not be above what the
    /// peer takes.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = Some(bytes);
        self
    }

    /// How many events travel in one message: at most 100. JavaScript nodes fail above some 1,000.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = Some(events.max(1));
        self
    }

    /// How many messages with events may wait for their confirmation: 8.
    pub fn window(mut self, batches: usize) -> Self {
        self.window = Some(batches.max(1));
        self
    }
}

impl SyncOptions {
    pub(crate) fn limits(&self) -> Limits {
        let batch = self.batch.unwrap_or(100);
        // The first frame is a guess; later ones know the size of an event.
        let fits = batch.min(100);
        Limits { batch, max_frame: self.max_frame.unwrap_or(1 << 20), fits }
    }

    /// What a connection is started with. `synced`: see [`Config`].
    pub(crate) fn config(&self, role: Role, local: NodeId, synced: Added) -> Config {
        let ping = self.ping.unwrap_or(Ping::Every(match role {
            Role::Opener => Duration::from_secs(10),
            Role::Acceptor => Duration::from_secs(20),
        }));
        Config {
            role,
            local,
            credentials: self.credentials.clone(),
            subprotocol: self.subprotocol,
            headers: self.headers.clone(),
            timeout: self.timeout.unwrap_or(Duration::from_secs(70)),
            ping: match ping {
                Ping::Every(interval) => Some(interval),
                Ping::Never => None,
            },
            window: self.window.unwrap_or(8),
            far_future: self.far_future,
            synced,
        }
    }
}

impl Auth {
    pub(crate) fn check(&self, login: Login) -> BoxFuture<'static, bool> {
        (self.0)(login)
    }
}

impl fmt::Debug for SyncOptions {
    /// Leaves out the credentials: they do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncOptions")
            .field("auth", &self.auth.is_some())
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}
