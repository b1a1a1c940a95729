use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use logux_codecs::{Added, Codec, Event, EventLimits, Headers, Limits, NodeId, Subprotocol, Value};

use super::admission::{Access, Login, Policy, Quota, RefusalLimit};
use super::callbacks::{CallbackError, Credentials, Inward, Outward};
use super::error::Error;
use super::peer::Peer;
use super::rules::{Claim, Config, FarFuture, Role, Unreadable};
use crate::entry::Entry;
use crate::log::Log;

/// How a session behaves. The names are the original's.
///
/// ```
/// # use logux_sync::{SyncOptions, Value};
/// # use std::time::Duration;
/// let options = SyncOptions::<Value>::new()
///     .credentials("secret")
///     .timeout(Duration::from_secs(5))
///     .ping(Duration::from_secs(10));
/// ```
///
/// # Callbacks
/// `auth`, filters and maps are `async` closures. A filter or a map answers a `Result`: an error
/// in it, or a panic in any callback, ends the connection with [`Error::Callback`](crate::Error), and
/// nothing that it was asked about is confirmed or passed over. So an error is for what may be otherwise
/// soon, such as a database that is away; what is to be refused is `Ok(false)`.
///
/// What a filter is asked about is asked again after a reconnect, as long as the peer has not
/// confirmed it. An answer has to come within the [`callback_timeout`](Self::callback_timeout).
/// A peer that sees an event fail again and again, and others pass, holds that event back:
/// see [`Log::held_back`](crate::Log::held_back). Events keep their order whatever a callback takes, and a slow one holds up only
/// events of its own direction. Up to 16 events are asked about at once.
#[must_use]
pub struct SyncOptions<E> {
    credentials: Option<Credentials>,
    pub(crate) admission: Policy<E>,
    pub(crate) inward: Inward<E>,
    pub(crate) outward: Outward<E>,
    /// `None`: as long frames as the longest event needs.
    limits: Option<Limits>,
    unreadable: Unreadable,
    pub(crate) max_frame_before_auth: usize,
    admission_timeout: Duration,
    subprotocol: Option<Subprotocol>,
    fix_time: bool,
    pub(crate) headers: Headers,
    timeout: Duration,
    pub(crate) farewell: Duration,
    /// Where this node opened the connection, and where it accepted it.
    pings: [Option<Duration>; 2],
    pub(crate) batch: Option<usize>,
    window: usize,
    far_future: FarFuture,
}

/// All defaults of a session, but for how often a peer may be refused, which [`RefusalLimit`] has.
impl<E> Default for SyncOptions<E> {
    fn default() -> Self {
        Self {
            credentials: None,
            admission: Policy::default(),
            inward: Inward::default(),
            outward: Outward::default(),
            limits: None,
            unreadable: Unreadable::default(),
            max_frame_before_auth: 16 << 10,
            admission_timeout: Duration::from_secs(10),
            subprotocol: None,
            fix_time: false,
            headers: Headers::new(),
            timeout: Duration::from_secs(70),
            farewell: Duration::from_secs(5),
            pings: [Some(Duration::from_secs(10)), Some(Duration::from_secs(20))],
            batch: None,
            window: 8,
            far_future: FarFuture::default(),
        }
    }
}

impl<E> SyncOptions<E> {
    /// No credentials, no check of the peer's, and times as the original has them.
    pub fn new() -> Self {
        Self::default()
    }

    /// What proves to the peer who this node is: any value, the same for each connection.
    /// JavaScript nodes take a text.
    pub fn credentials(mut self, credentials: impl Into<Value>) -> Self {
        self.credentials = Some(Credentials::Fixed(credentials.into()));
        self
    }

    /// Makes the credentials anew for each connection: for tokens that expire.
    ///
    /// An error ends the attempt to connect with
    /// [`Error::Credentials`](crate::Error::Credentials); a transport that dials again does so then.
    ///
    /// A peer that refuses them (`wrong-credentials`) or says that they do not hold any more
    /// (`credentials-expired`) is answered at once by a [`ClientSync`](crate::ClientSync), whatever its
    /// transport: it dials again with new ones. A second refusal in a row is final. So is the first for
    /// credentials that are the same for each connection.
    ///
    /// ```
    /// # use logux_sync::{SyncOptions, Value};
    /// # async fn fetch_token() -> std::io::Result<String> { Ok("secret".into()) }
    /// let options = SyncOptions::<Value>::new()
    ///     .credentials_with(async || Ok(fetch_token().await?.into()));
    /// ```
    pub fn credentials_with<F, A>(mut self, make: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Value, CallbackError>> + Send + 'static,
    {
        self.credentials = Some(Credentials::Made(Arc::new(move || Box::pin(make()))));
        self
    }

    /// Checks the peer, and says who it is. Without it, everybody is let in but pages of other hosts whose
    /// origin is not listed: [`LinkInfo::is_foreign_page`](crate::transports::LinkInfo::is_foreign_page).
    ///
    /// **Bind the name to the credentials**: check that this token may use this node id, not only that
    /// the token is a good one. Whoever can take another client's name can add events as that client.
    ///
    /// `true` lets a peer in. Where it connected to this node it is then a client, whose events must be
    /// its own: of the same user and client, from any tab. A mesh or a backbone, whose nodes pass on the
    /// events of others, answers [`Access::relay`]. `false` answers `wrong-credentials`.
    ///
    /// ```
    /// # use logux_sync::{SyncOptions, Value};
    /// # async fn token_of(user: &str) -> Option<String> { Some("secret".to_owned()) }
    /// let options = SyncOptions::<Value>::new().auth(async |login| {
    ///     let Some(user) = login.user_id() else { return false };
    ///     let token = token_of(user).await;
    ///     token.is_some_and(|token| login.token_is(&token))
    /// });
    /// ```
    ///
    /// An answer may also be a `Result`: an error says that it could not be found out who the peer is, as where a
    /// database is away. The peer is not refused then, and may come again.
    ///
    /// Nothing that the peer sends is read while it runs, and it has to finish within the
    /// [`admission_timeout`](Self::admission_timeout), or where this node connected to the peer, the
    /// [`timeout`](Self::timeout); it is dropped then, as it is when the session ends.
    pub fn auth<F, A>(mut self, auth: F) -> Self
    where
        F: Fn(Login) -> A + Send + Sync + 'static,
        A: Future<Output: Into<Access<E>>> + Send + 'static,
        E: 'static,
    {
        self.admission.auth = Some(Arc::new(move |login| Box::pin(auth(login).map(Into::into))));
        self
    }

    /// How often a peer may be refused before it is refused without being asked for its credentials:
    /// 3 times in 3 seconds for a user (the part of the node id before the colon) at an address, and
    /// ten times that for all users at one address. Networks of IPv6 count as one address. The answer
    /// is `bruteforce`. `None` asks each peer, however often it was refused before.
    ///
    /// Counted for all connections that are made with these options or a clone of them.
    ///
    /// ```
    /// # use logux_sync::{RefusalLimit, SyncOptions, Value};
    /// # use std::time::Duration;
    /// let options = SyncOptions::<Value>::new()
    ///     .bruteforce(RefusalLimit::new(5, Duration::from_secs(60)));
    /// ```
    pub fn bruteforce(mut self, limit: impl Into<Option<RefusalLimit>>) -> Self {
        self.admission.limit_refusals(limit.into());
        self
    }

    /// How much a client may send once it is let in: by default 1,000 events and 1 MiB per second for a node,
    /// 10 seconds' worth of that at once, and 4 times that for all nodes of a user at one address. See
    /// [`Quota`]. `None` sets no limit.
    ///
    /// It holds for peers that [`auth`](Self::auth) lets in as clients ([`Access::client`], and `true`) where
    /// they connected to this node. It does not hold for a [relay](Access::relay), for a node that this one
    /// has dialled, nor without `auth`, where a peer may have any name.
    ///
    /// A client above its quota is not read until enough of it has come back. One that goes on for a minute
    /// without a pause is told `quota-exceeded`, with the numbers, and the session ends with a transient
    /// [`Error::QuotaExceeded`](crate::Error::QuotaExceeded). It may come back, and what it has spent is
    /// remembered. Nothing is lost: what was not confirmed travels again. So a client that has made more than
    /// some 70,000 events without a connection, or 70 MiB, is cut once a minute and goes on.
    ///
    /// A message counts as 64 bytes at least.
    ///
    /// A JavaScript node gives up when a message is not confirmed for 20 seconds, and connects again. So
    /// leave the burst large enough for what an honest client sends at once, and let the largest message
    /// ([`limits`](Self::limits)) not take longer than that to come back.
    ///
    /// Counted for all connections that are made with these options or a clone of them; apart for each of
    /// several logs ([`Access::log`]), which may have users of the same name.
    pub fn quota(mut self, quota: impl Into<Option<Quota>>) -> Self {
        self.admission.limit_clients(quota.into());
        self
    }

    /// The version of this node's application.
    pub fn subprotocol(mut self, subprotocol: Subprotocol) -> Self {
        self.subprotocol = Some(subprotocol);
        self
    }

    /// Checks the version of the peer's application, before its credentials. An error is what is
    /// supported, a requirement such as `>= 3.1`, and answers `wrong-subprotocol`, after which a
    /// client does not connect again.
    ///
    /// ```
    /// # use logux_sync::{Subprotocol, SyncOptions, Value};
    /// let options = SyncOptions::<Value>::new().subprotocol_check(|used| match used {
    ///     Some(used) if used.major == 4 => Ok(()),
    ///     _ => Err("4.x".into()),
    /// });
    /// ```
    pub fn subprotocol_check(
        mut self,
        check: impl Fn(Option<Subprotocol>) -> Result<(), Value> + Send + Sync + 'static,
    ) -> Self {
        self.admission.subprotocol_check = Some(Arc::new(check));
        self
    }

    /// Takes peers from this version of the application on: a
    /// [`subprotocol_check`](Self::subprotocol_check). A peer that tells no version has 0.0.
    pub fn min_subprotocol(self, min: Subprotocol) -> Self {
        self.subprotocol_check(move |used| {
            if used.unwrap_or_default() >= min { Ok(()) } else { Err(format!(">= {min}").into()) }
        })
    }

    /// Decides which of the peer's events to accept. Refused events are still confirmed, so the peer
    /// does not send them again.
    ///
    /// The closure must not hold on to the entry when it answers.
    ///
    /// Up to 16 events of a message are asked about at once, before any of them is stored: a filter that looks
    /// into the log may not see there what came just before. One whose answers depend on that, as where an
    /// edit is taken only of what exists, needs [`in_order`](Self::in_order), or refuses now and then what
    /// it would take if it came alone.
    ///
    /// ```
    /// # use logux_sync::SyncOptions;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Todo { list: String }
    /// # async fn may_write(user: &str, list: &str) -> std::io::Result<bool> { Ok(true) }
    /// let options = SyncOptions::<Todo>::new().in_filter(async |entry, peer| {
    ///     Ok(may_write(peer.node_id.as_str(), &entry.event.list).await?)
    /// });
    /// ```
    pub fn in_filter<F, A>(mut self, filter: F) -> Self
    where
        F: Fn(Arc<Entry<E>>, Arc<Peer>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<bool, CallbackError>> + Send + 'static,
    {
        self.inward.filter = Some(Arc::new(move |entry, peer| Box::pin(filter(entry, peer))));
        self
    }

    /// Whether [`in_filter`](Self::in_filter) and [`in_map`](Self::in_map) are asked about each of the peer's
    /// events once all those before it are in the log, whatever came in one message: `false`. Then each
    /// event is stored alone, which takes a store on a disk longer.
    ///
    /// A message is still confirmed as a whole. If a connection ends in the middle of it, the events that
    /// were stored stay, and are ignored when the message comes again.
    pub fn in_order(mut self, in_order: bool) -> Self {
        self.inward.in_order = in_order;
        self
    }

    /// Changes the peer's events before they are added, after [`in_filter`](Self::in_filter). The
    /// id stays what it is. An event that it makes unfit to be sent to every peer is refused: see
    /// [`EventLimits`](crate::EventLimits).
    pub fn in_map<F, A>(mut self, map: F) -> Self
    where
        F: Fn(Entry<E>, Arc<Peer>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Entry<E>, CallbackError>> + Send + 'static,
    {
        self.inward.map = Some(Arc::new(move |entry, peer| Box::pin(map(entry, peer))));
        self
    }

    /// Which events to send. When its answers change, tell the session:
    /// [`reevaluate`](crate::SessionHandle::reevaluate).
    pub fn out_filter<F, A>(mut self, filter: F) -> Self
    where
        F: Fn(Arc<Entry<E>>, Arc<Peer>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<bool, CallbackError>> + Send + 'static,
    {
        self.outward.filter = Some(Arc::new(move |entry, peer| Box::pin(filter(entry, peer))));
        self
    }

    /// Sends only events that have one of these indexes in this log. Asked when the peer is let in, when it is
    /// [subscribed](crate::SessionHandle::subscribe) to another index, and by
    /// [`reevaluate`](crate::SessionHandle::reevaluate): whoever may have more or fewer events from now on needs
    /// that, also to get older ones.
    ///
    /// A session is not woken by events without them: about once a second it notes those that it does not send, many
    /// at once. [`out_filter`](Self::out_filter) is only asked about the others.
    ///
    /// ```
    /// use logux_sync::{Draft, SyncOptions, Value};
    ///
    /// let options = SyncOptions::<Value>::new().out_indexes(|peer| {
    ///     let user = peer.node_id.user_id().unwrap_or_default();
    ///     vec!["all".to_owned(), format!("users/{user}")]
    /// });
    /// let draft = Draft::new(Value::Null).index("users/10");
    /// # drop((options, draft));
    /// ```
    pub fn out_indexes(
        mut self,
        indexes: impl Fn(&Peer) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.outward.indexes = Some(Arc::new(indexes));
        self
    }

    /// Changes events before they are sent, after [`out_filter`](Self::out_filter). The log keeps
    /// them as they are, and the id stays what it is.
    pub fn out_map<F, A>(mut self, map: F) -> Self
    where
        F: Fn(Arc<Entry<E>>, Arc<Peer>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Arc<Entry<E>>, CallbackError>> + Send + 'static,
    {
        self.outward.map = Some(Arc::new(move |entry, peer| Box::pin(map(entry, peer))));
        self
    }

    /// Corrects times by the difference between this node's clock and the peer's, where this node
    /// opened the connection: its log has its own clock's times, the peer's log the peer's. Ids
    /// stay what they are.
    ///
    /// A difference that is within the error of the measurement of the one before keeps that, so
    /// that times do not jump with each connection.
    ///
    /// Where this node's clock is set by more than a second while connected, the difference follows: what
    /// was made before keeps the difference of then, on that connection. A sleep of the machine is told
    /// apart by the system ([`Clock::slept`](crate::Clock::slept)); where the system does not tell, as in
    /// browsers and on macOS, a jump ahead ends the connection with
    /// [`Error::ClockJumped`](crate::Error::ClockJumped), and the next one measures anew. That the peer's
    /// clock was set shows with the next connection.
    pub fn fix_time(mut self, fix: bool) -> Self {
        self.fix_time = fix;
        self
    }

    /// All nodes that answer this one where it connects are one peer for it, known by this name, whatever each
    /// calls itself: what one of them has confirmed is not sent to another. A `@logux/server` takes a new
    /// random name at each start, with an empty log; without this option it is sent, and processes, everything
    /// again.
    ///
    /// Only a node that says by its [`Epoch`](crate::Epoch) that its log is another one, as nodes of this
    /// library do, is sent all. So nodes whose logs differ must not share a name. What these nodes send is
    /// received from each of them as far as it has it, and is added once.
    ///
    /// The name stands in [`Peer::node_id`](crate::Peer::node_id) and in the
    /// [`source`](crate::Meta::source) of what these nodes bring, and is what
    /// [`Log::receipt`](crate::Log::receipt) and [`Log::held_back`](crate::Log::held_back) ask for;
    /// [`auth`](Self::auth) sees what they call themselves. A [`BaseSync`](crate::BaseSync), which does not know
    /// who will answer, expects a node that calls itself so: where something was received from such a node and
    /// another one answers, the link ends with [`Error::AnotherNode`](crate::Error::AnotherNode).
    ///
    /// A client that used another name before sends everything once more. Ignored where this node accepts the
    /// connection.
    ///
    /// ```
    /// # use logux_sync::{SyncOptions, Value};
    /// # fn options() -> Result<SyncOptions<Value>, Box<dyn std::error::Error>> {
    /// let options = SyncOptions::new().peer_name("server".parse()?);
    /// # Ok(options)
    /// # }
    /// ```
    pub fn peer_name(mut self, name: NodeId) -> Self {
        self.admission.peer_name = Some(name);
        self
    }

    /// Starts to send after this position of the own log, whatever the store or the peer says the
    /// peer has. Holds for the first connection; later ones go on from there. A
    /// [`Server`](crate::Server), which has many peers, ignores it.
    pub fn synced(mut self, position: Added) -> Self {
        self.admission.synced = Some(position);
        self
    }

    /// Tells the peer that its log is received up to this position, whatever the store says. Holds
    /// for the first connection. A [`Server`](crate::Server), which has many peers, ignores it.
    pub fn other_synced(mut self, position: Added) -> Self {
        self.admission.other_synced = Some(position);
        self
    }

    /// Leaves out what the peer's log holds up to this position; a position after its end means the end, so that
    /// only what is new comes. For a node that opens connections, and the first one of a session; later ones go on
    /// from there. A JavaScript node does not know of this, and sends what it sends.
    ///
    /// ```
    /// # use logux_sync::{Added, ClientSync, Json, Log, MemoryStore, SyncOptions, Value, WebSocket};
    /// # async fn run(log: &Log<Value>) -> std::io::Result<()> {
    /// let options = SyncOptions::new().begin_after(Added::MAX);
    /// let session = ClientSync::new(log, Json, WebSocket::new("ws://127.0.0.1:31337")?).options(options).start();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is left out counts as received, for ever: another session of this log does not get it, either.
    /// A [`Server`](crate::Server) ignores this.
    pub fn begin_after(mut self, position: Added) -> Self {
        self.admission.begin_after = Some(position);
        self
    }

    /// What this node tells the peer of its environment.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// How long the answer to a ping may take, and, where this node opened the connection, the handshake: 70
    /// seconds. For the other side see [`admission_timeout`](Self::admission_timeout).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How long the end of a session or of one of its connections may take: 5 seconds. In this time what
    /// has arrived is stored, what is being sent goes out, and the peer closes in its turn. What is not done
    /// by then is cut: it was not confirmed, and travels again.
    ///
    /// So this is the bound of [`Session::close`](crate::Session::close), whatever the peer, the store and
    /// callbacks do, and of a session that was dropped. [`RunningServer::shutdown`](crate::RunningServer)
    /// gives another time instead.
    pub fn farewell(mut self, limit: Duration) -> Self {
        self.farewell = limit;
        self
    }

    /// How long a callback may take over one answer, for an event, a peer or credentials: 60 seconds.
    /// `None` sets no limit. Of `auth`, the [`admission_timeout`](Self::admission_timeout) is a limit, too, or
    /// where this node connected to the peer, the [`timeout`](Self::timeout).
    ///
    /// The connection of a callback that does not answer in time ends with a transient
    /// [`Error::Callback`](crate::Error), whose source is a [`CallbackTimeout`](crate::CallbackTimeout), or,
    /// for credentials, with [`Error::Credentials`](crate::Error). The callback's future is dropped. One
    /// that blocks its thread cannot be stopped.
    pub fn callback_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        let limit = limit.into();
        self.inward.limit = limit;
        self.outward.limit = limit;
        self.admission.limit = limit;
        self
    }

    /// How long to hear nothing before asking whether the peer is there: 10 seconds where this
    /// node opened the connection, 20 where it accepted it. `None` never asks: a connection that
    /// breaks without a word is then only noticed when something is sent.
    ///
    /// After a sleep of the machine, or where the program was stopped for a while, a node that opened the
    /// connection asks within 5 seconds, and its peer has 5 seconds to answer, or the
    /// [`timeout`](Self::timeout) if that is less.
    pub fn ping(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.pings = [interval.into(); 2];
        self
    }

    /// What to do with events that say to be from the far future: see [`FarFuture`].
    pub fn far_future(mut self, policy: FarFuture) -> Self {
        self.far_future = policy;
        self
    }

    /// How much one message may ask of this node: by default 64 levels, 10,000 events, 100,000 objects,
    /// and a frame of 1 MiB or of what the longest event needs in the codec, if that is more (XML: 2.3
    /// MiB). A message above a limit is refused, and ends the connection. Frames that are sent keep to
    /// [`Limits::frame`], too: it must not be above what the peer takes. An event that does not fit is held
    /// back from the peer. Nodes of this library send up to 1,000 events in a message: for fewer, set their
    /// [`batch`](Self::batch), too.
    ///
    /// A JavaScript node of protocol 5 sends everything that it did without a connection in one
    /// message, and again with each connection if that is refused: a server for such nodes raises
    /// `frame` and `events` to what they may hold.
    ///
    /// ```
    /// use logux_sync::{Limits, SyncOptions, Value};
    /// let options = SyncOptions::<Value>::new().limits(Limits::default().frame(4 << 20));
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits.events(limits.events.max(1)));
        self
    }

    /// What to do with the peer's events that this program cannot read: see [`Unreadable`].
    pub fn unreadable(mut self, policy: Unreadable) -> Self {
        self.unreadable = policy;
        self
    }

    /// How many bytes are taken from a peer that has not been let in, in one frame and in all: 16
    /// KiB. Its headers and credentials have to fit. A message of such a peer may have 500 objects.
    pub fn max_frame_before_auth(mut self, bytes: usize) -> Self {
        self.max_frame_before_auth = bytes;
        self
    }

    /// How long a peer that connected to this node may take until it is let in: 10 seconds, the time that
    /// [`auth`](Self::auth) takes included. It is never longer than the [`timeout`](Self::timeout).
    pub fn admission_timeout(mut self, limit: Duration) -> Self {
        self.admission_timeout = limit;
        self
    }

    /// How many events are sent in one message, at most. Unless it is set: 1,000 to a node of this library, which it
    /// tells by the identity of its log; 100 to others, for JavaScript nodes fail above some 1,000. A message
    /// with several events is not longer than 64 KiB in any case.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = Some(events.max(1));
        self
    }

    /// How many messages with events may wait for their confirmation: 8, and at most 100. Of each event
    /// of such a message its id is kept in memory.
    pub fn window(mut self, batches: usize) -> Self {
        self.window = batches.clamp(1, 100);
        self
    }
}

impl<E> SyncOptions<E> {
    /// Without what is about one peer.
    pub(crate) fn for_many_peers(mut self) -> Self {
        let Policy { synced, other_synced, begin_after, peer_name, .. } = &mut self.admission;
        let is_set = [synced, other_synced, begin_after].map(|it| it.take().is_some());
        if is_set.contains(&true) | peer_name.take().is_some() {
            tracing::warn!(
                "a server has many peers: it ignores `synced`, `other_synced`, `begin_after` and `peer_name`"
            );
        }
        self
    }

    /// The credentials for one connection, if there are to be any.
    pub(crate) async fn produce_credentials(&self) -> Result<Option<Value>, Error> {
        match &self.credentials {
            Some(credentials) => Ok(Some(credentials.produce(self.admission.limit).await?)),
            None => Ok(None),
        }
    }

    /// Whether each connection has credentials of its own.
    pub(crate) fn makes_credentials(&self) -> bool {
        matches!(self.credentials, Some(Credentials::Made(_)))
    }

    /// How much one message may ask, in this codec.
    pub(crate) fn limits_in<C: Codec>(&self, events: EventLimits) -> Limits {
        self.limits_of(events, C::EXPANSION)
    }

    /// How much one message may ask, in a codec of this expansion.
    pub(crate) fn limits_of(&self, events: EventLimits, expansion: usize) -> Limits {
        let limits = Limits::default();
        self.limits.unwrap_or(limits.frame(limits.frame.max(events.frame(expansion))))
    }

    /// What a connection is started with.
    pub(crate) fn config(
        &self,
        role: Role,
        log: &Log<E>,
        credentials: Option<Value>,
        claim: Claim,
    ) -> Config
    where
        E: Event,
    {
        let [opener, acceptor] = self.pings;
        Config {
            role,
            local: log.node_id().clone(),
            peer_name: match role {
                Role::Opener => self.admission.peer_name.clone(),
                Role::Acceptor => None,
            },
            epoch: log.epoch(),
            credentials,
            subprotocol: self.subprotocol,
            headers: self.headers.clone(),
            fix_time: self.fix_time,
            time_fix: None,
            synced_override: self.admission.synced,
            timeout: self.timeout,
            admission_timeout: match role {
                Role::Opener => self.timeout,
                Role::Acceptor => self.admission_timeout.min(self.timeout),
            },
            ping: match role {
                Role::Opener => opener,
                Role::Acceptor => acceptor,
            },
            max_early_bytes: self.max_frame_before_auth,
            window: self.window,
            far_future: self.far_future,
            unreadable: self.unreadable,
            claim,
            begin_after: self.admission.begin_after,
        }
    }
}

impl<E> Clone for SyncOptions<E> {
    fn clone(&self) -> Self {
        Self {
            credentials: self.credentials.clone(),
            admission: self.admission.clone(),
            inward: self.inward.clone(),
            outward: self.outward.clone(),
            headers: self.headers.clone(),
            ..*self
        }
    }
}

impl<E> fmt::Debug for SyncOptions<E> {
    /// Leaves out the credentials: they do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncOptions")
            .field("auth", &self.admission.auth.is_some())
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}
