use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use logux_codecs::{Added, Value};

use crate::log::Log;
use crate::sync::callbacks::CallbackError;
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
pub struct Access<E> {
    kind: Kind,
    lasts: Option<Duration>,
    log: Option<Log<E>>,
    /// Nothing up to here is for the peer.
    starts_after: Added,
}

#[derive(Clone, Debug)]
enum Kind {
    Nobody,
    /// What of the application's versions is supported.
    OtherSubprotocol(Value),
    Usual,
    Client,
    Relay,
    /// It could not be found out.
    Undecided(Undecided),
}

/// Why it could not be found out who a peer is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("it could not be found out who the peer is")]
pub(crate) struct Undecided(#[source] Arc<dyn Error + Send + Sync>);

impl<E> Access<E> {
    /// A client: it may add events of its own user and client, from any tab. This is what `true` means
    /// where the peer connected to this node.
    ///
    /// An event of another author is confirmed and not added, and the peer is told.
    pub const fn client() -> Self {
        Self::of(Kind::Client)
    }

    /// A relay, which passes on the events of others: a server, a node of a mesh or of a backbone. It may
    /// add events of any author, and bring back events of this node that this node has lost. This is what
    /// `true` means where this node connected to the peer.
    pub const fn relay() -> Self {
        Self::of(Kind::Relay)
    }

    /// Nobody: the peer is answered `wrong-credentials`. This is what `false` means.
    pub const fn nobody() -> Self {
        Self::of(Kind::Nobody)
    }

    /// Nobody: the version of the peer's application is not one that is supported. It is answered
    /// `wrong-subprotocol` with what is, and that is no failed attempt. Where the version alone decides,
    /// [`subprotocol_check`](crate::SyncOptions::subprotocol_check) does this before `auth` is asked.
    pub fn other_subprotocol(supported: impl Into<Value>) -> Self {
        Self::of(Kind::OtherSubprotocol(supported.into()))
    }

    /// The same for so long from now on, as a token holds for a while only; then the session ends.
    ///
    /// The peer is told `credentials-expired`, and may come back: a client that has
    /// [`credentials_with`](crate::SyncOptions::credentials_with) does so at once, with new ones. What is on
    /// its way then travels again. For JavaScript nodes it is an error like any other: they connect again.
    ///
    /// ```
    /// # use logux_sync::{Access, Login, SyncOptions, Value};
    /// # use std::time::Duration;
    /// # async fn valid_for(login: &Login) -> Option<Duration> { None }
    /// let options = SyncOptions::<Value>::new().auth(async |login| match valid_for(&login).await {
    ///     Some(rest) => Access::client().expires_in(rest),
    ///     None => Access::nobody(),
    /// });
    /// ```
    ///
    /// Counted by a clock that is never set. Between two calls the last one holds.
    pub fn expires_in(self, time: Duration) -> Self {
        Self { lasts: Some(time), ..self }
    }

    /// The same to this log, and not to the one that the [`Server`](crate::Server) was made with: rooms or
    /// tenants behind one port. Whatever the peer is sent and sends is of this log.
    ///
    /// ```
    /// # use logux_sync::{Access, Log, Login, MemoryStore, SyncOptions, Value};
    /// # use std::collections::HashMap;
    /// # async fn is_member(login: &Login, tenant: &str) -> bool { true }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut logs = HashMap::new();
    /// for tenant in ["oak", "elm"] {
    ///     let node = format!("server:{tenant}").parse()?;
    ///     logs.insert(tenant, Log::<Value>::open(node, MemoryStore::new()).await?);
    /// }
    /// let options = SyncOptions::<Value>::new().auth(move |login| {
    ///     let log = login.headers.get("tenant").and_then(Value::as_str).and_then(|name| logs.get_key_value(name));
    ///     let log = log.map(|(tenant, log)| (*tenant, log.clone()));
    ///     async move {
    ///         match log {
    ///             Some((tenant, log)) if is_member(&login, tenant).await => Access::client().log(log),
    ///             _ => Access::nobody(),
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Give each log a node id of its own: a peer keeps how far it is in step under that name. All logs of
    /// one server must have the same [`EventLimits`](crate::EventLimits); else, and at a node that connected
    /// to the peer itself, the connection ends with [`Error::Callback`](crate::Error::Callback).
    /// [`Peer::log`](crate::Peer::log) tells filters and maps which it is.
    pub fn log(self, log: Log<E>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// The same for a client of the usual log, whatever else it says.
    #[cfg(feature = "app")]
    pub(crate) fn only_client(self) -> Self {
        let kind = match self.kind {
            Kind::Usual | Kind::Client | Kind::Relay => Kind::Client,
            kind @ (Kind::Nobody | Kind::OtherSubprotocol(_) | Kind::Undecided(_)) => kind,
        };
        Self { kind, lasts: self.lasts, log: None, starts_after: Added::ZERO }
    }

    /// The same, where nothing up to a position is for the peer, whatever it says that it has.
    #[cfg(feature = "app")]
    pub(crate) fn starting_after(self, position: Added) -> Self {
        Self { starts_after: position, ..self }
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, lasts: None, log: None, starts_after: Added::ZERO }
    }

    /// The answer, where there is one.
    pub(crate) fn decided(self) -> Result<Self, CallbackError> {
        match self.kind {
            Kind::Undecided(undecided) => Err(Box::new(undecided)),
            _ => Ok(self),
        }
    }

    /// What is supported, where that is why nobody is let in.
    pub(crate) const fn supported(&self) -> Option<&Value> {
        match &self.kind {
            Kind::OtherSubprotocol(supported) => Some(supported),
            _ => None,
        }
    }

    /// How long it holds; `None` without limit.
    pub(crate) const fn lasts(&self) -> Option<Duration> {
        self.lasts
    }

    pub(crate) const fn starts_after(&self) -> Added {
        self.starts_after
    }

    /// The log that was chosen, if one was.
    pub(crate) fn into_log(self) -> Option<Log<E>> {
        self.log
    }

    /// A peer that is let in as is usual for the role of this node.
    pub(crate) const fn usual() -> Self {
        Self::of(Kind::Usual)
    }

    /// Whose events are taken from the peer; `None` for nobody.
    pub(crate) const fn authors(&self, role: Role) -> Option<Authors> {
        match (&self.kind, role) {
            (Kind::Nobody | Kind::OtherSubprotocol(_) | Kind::Undecided(_), _) => None,
            (Kind::Client, _) | (Kind::Usual, Role::Acceptor) => Some(Authors::OwnClient),
            (Kind::Relay, _) | (Kind::Usual, Role::Opener) => Some(Authors::Any),
        }
    }
}

impl<E> fmt::Debug for Access<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, lasts, log, .. } = self;
        f.debug_struct("Access")
            .field("kind", kind)
            .field("lasts", lasts)
            .field("log", log)
            .finish_non_exhaustive()
    }
}

impl<E> Clone for Access<E> {
    fn clone(&self) -> Self {
        Self { kind: self.kind.clone(), log: self.log.clone(), ..*self }
    }
}

impl<E> From<bool> for Access<E> {
    fn from(is_let_in: bool) -> Self {
        if is_let_in { Self::usual() } else { Self::nobody() }
    }
}

/// An error says that it could not be found out who the peer is: nobody is let in, and nobody is refused. The
/// connection ends with [`Error::Callback`](crate::Error::Callback), and the peer may come again.
impl<E, A: Into<Self>> From<Result<A, CallbackError>> for Access<E> {
    fn from(answer: Result<A, CallbackError>) -> Self {
        match answer {
            Ok(access) => access.into(),
            Err(error) => Self::of(Kind::Undecided(Undecided(error.into()))),
        }
    }
}
