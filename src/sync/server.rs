use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use logux_codecs::choice::CodecVisitor;
use logux_codecs::{Codec, Codecs, Event, NodeId};
use logux_transports::rt::{self, AbortHandle, Id, JoinError, JoinHandle, JoinSet, timeout};
use logux_transports::strangers::Strangers;
use logux_transports::{Format, FrameReceiver, FrameSender, Link, Listener};
use tokio::sync::oneshot;

use super::admission::{Place, Places};
use super::base_sync::BaseSync;
use super::format::format;
use super::options::SyncOptions;
use super::rules::Role;
use super::session::{Commands, Owner, Reporter, SessionHandle};
use crate::log::Log;

/// Serves every connection that a listener accepts, all with one log, in one codec or in one of
/// several: see [`Server::new`].
///
/// Of two connections of one node with the same log the one that began later goes on, and the other ends with
/// [`Error::Superseded`](crate::Error::Superseded).
///
/// ```no_run
/// use logux_sync::{Json, Log, MemoryStore, Open, Server, SyncOptions, WebSocketListener};
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Todo;
/// # async fn token_of(user: &str) -> Option<String> { None }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// // `Open` passes on what clients of other versions send, as it came.
/// let log = Log::<Open<Todo>>::open("server".parse()?, MemoryStore::new()).await?;
/// let listener = WebSocketListener::bind("127.0.0.1:31337").await?;
/// let server = Server::new(&log, Json, listener)
///     .options(SyncOptions::new().auth(async |login| {
///         // The token of that user, not just any good one.
///         let Some(user) = login.user_id() else { return false };
///         token_of(user).await.is_some_and(|token| login.token_is(&token))
///     }))
///     .start();
/// tokio::signal::ctrl_c().await?;
/// server.shutdown(std::time::Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it is started"]
pub struct Server<E, C, L> {
    log: Log<E>,
    codecs: C,
    listener: L,
    options: Arc<SyncOptions<E>>,
    max_connections: usize,
    max_strangers: usize,
}

/// A running [`Server`]. Dropping it closes its connections in the background, within 10 seconds.
///
/// What can be seen of it and asked of it while it runs is on its [`ServerHandle`], which it stands for.
#[must_use = "a server ends when it is dropped"]
pub struct RunningServer {
    stop: Option<oneshot::Sender<Duration>>,
    handle: ServerHandle,
    /// Until its result was told.
    task: Option<JoinHandle<io::Result<Shutdown>>>,
}

/// Looks at a running server, and ends its sessions; it goes on and ends without this. After its end there are
/// no sessions.
#[derive(Clone)]
pub struct ServerHandle {
    connections: Connections,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Connections that were closed in order: all sent was flushed, all received was stored.
    pub closed: usize,
    /// Connections that took too long and were cut.
    pub cut: usize,
}

/// The open connections, by their tasks.
type Connections = Arc<Mutex<HashMap<Id, Served>>>;

struct Served {
    handle: SessionHandle,
    /// The connection ends in order when it is dropped.
    owner: Owner,
}

impl<E: Event, C: Codecs, L: Listener> Server<E, C, L> {
    /// Prepares to serve.
    ///
    /// Of several codecs, `(Json, MessagePack, Xml)`, each connection takes the one that its peer
    /// names when it connects (over WebSocket by a subprotocol: `logux.message-pack`). A peer that
    /// names none, as JavaScript nodes do, gets the one called `logux-binary`, or else `json`, or else the first.
    pub fn new(log: &Log<E>, codecs: C, listener: L) -> Self {
        Self {
            log: log.clone(),
            codecs,
            listener,
            options: Arc::default(),
            max_connections: 10_000,
            max_strangers: 1_000,
        }
    }

    /// Sets how each connection behaves. [`SyncOptions::synced`] and
    /// [`other_synced`](SyncOptions::other_synced) are about one peer, and ignored: each of a server's peers
    /// has cursors of its own.
    pub fn options(mut self, options: SyncOptions<E>) -> Self {
        self.options = Arc::new(options.for_many_peers());
        self
    }

    /// How many peers that were let in are served at once: 10,000. Connections whose peer was not let in yet
    /// have [places of their own](Self::max_strangers), and up to 1,000 that gave up their places may still be
    /// saying goodbye.
    ///
    /// Where all places are taken, a newcomer gets the one of an older connection of the same node; or the oldest
    /// one of the user that holds most at one network, or of the network that holds most. No place changes hands
    /// where that user or network holds less than two more than the newcomer's; then the newcomer is refused. Both
    /// are told so by the error `too-many-connections`, and may come back later. A relay, and a node without a
    /// user, is counted by itself, and without [`auth`](SyncOptions::auth) only networks are.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count.max(1);
        self
    }

    /// How many more connections may have a peer that was not let in yet: 1,000. Where there are so many, a
    /// new one takes the place of one of the network that holds most of these places, which is cut. A peer that `auth` is being asked about keeps its place, unless
    /// its network holds more of them than that of the new one, which is cut then.
    pub fn max_strangers(mut self, count: usize) -> Self {
        self.max_strangers = count.max(1);
        self
    }

    /// Starts, in a task of its own and one for each connection. Must be called within a tokio
    /// runtime.
    pub fn start(self) -> RunningServer {
        let (stop, stopped) = oneshot::channel();
        let connections = Connections::default();
        let task = rt::spawn(self.run(stopped, Arc::clone(&connections)));
        RunningServer { stop: Some(stop), handle: ServerHandle { connections }, task: Some(task) }
    }

    async fn run(
        mut self,
        mut stopped: oneshot::Receiver<Duration>,
        connections: Connections,
    ) -> io::Result<Shutdown> {
        let mut tasks = JoinSet::new();
        let (places, strangers) = (Places::new(self.max_connections), Strangers::default());
        let mut formats = Formats { formats: Vec::new(), expansion: 0 };
        self.codecs.find(&mut formats);
        let Formats { formats, expansion } = formats;
        let max_frame = self.options.limits_of(self.log.event_limits(), expansion).frame;
        let ended = loop {
            let link = tokio::select! {
                biased;
                // The handle was dropped: nobody waits, so there is time.
                grace = &mut stopped => break Ok(grace.unwrap_or(Duration::from_secs(10))),
                Some(done) = tasks.join_next_with_id() => {
                    lock(&connections).remove(&report(&done));
                    continue;
                }
                link = self.listener.accept(&formats, max_frame) => match link {
                    Ok(link) => link,
                    Err(error) => break Err(error),
                },
            };
            let entered = strangers.enter(link.info.network(), self.max_strangers);
            let Some((stranger, eviction)) = entered else {
                tracing::debug!(
                    "a connection was cut: peers that `auth` is asked about have all places"
                );
                continue;
            };
            let (handle, owner, commands, reporter) =
                SessionHandle::new(Arc::new(self.log.clone()));
            let format = link.info.format;
            let format = format.or(Format::unnamed(&formats).map(|format| format.name));
            let mut serve = Serve {
                log: &self.log,
                options: &self.options,
                format,
                parts: Some((link, commands, reporter, places.of(stranger))),
                tasks: &mut tasks,
            };
            let Some(task) = self.codecs.find(&mut serve) else {
                tracing::error!(
                    ?format,
                    "the listener opened a link in a format that there is not"
                );
                continue;
            };
            lock(&connections).insert(task.id(), Served { handle, owner });
            eviction.aborts(task);
        };
        // No new connections while the present ones end.
        drop(self.listener);
        let grace = *ended.as_ref().unwrap_or(&Duration::ZERO);
        for connection in lock(&connections).values() {
            // This task cuts what is not done in time, and counts that.
            connection.owner.close_within(Duration::MAX);
        }
        let mut shutdown = Shutdown::default();
        let all = async {
            while let Some(done) = tasks.join_next_with_id().await {
                lock(&connections).remove(&report(&done));
                shutdown.closed += 1;
            }
        };
        let _ = timeout(grace, all).await;
        shutdown.cut = tasks.len();
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        lock(&connections).clear();
        ended.map(|_| shutdown)
    }
}

/// Lists what the codecs write, and the largest of their expansions.
struct Formats {
    formats: Vec<Format>,
    expansion: usize,
}

impl CodecVisitor for Formats {
    type Output = ();

    fn visit<C: Codec>(&mut self, _: &C) -> Option<()> {
        self.formats.push(format::<C>());
        self.expansion = self.expansion.max(C::EXPANSION);
        None
    }
}

/// Serves a connection with the codec of its format.
struct Serve<'a, E, S, R> {
    log: &'a Log<E>,
    options: &'a Arc<SyncOptions<E>>,
    format: Option<&'static str>,
    /// Taken by the codec that fits.
    parts: Option<(Link<S, R>, Commands, Reporter, Place)>,
    tasks: &'a mut JoinSet<()>,
}

impl<E: Event, S: FrameSender, R: FrameReceiver> CodecVisitor for Serve<'_, E, S, R> {
    type Output = AbortHandle;

    fn visit<C: Codec>(&mut self, codec: &C) -> Option<AbortHandle> {
        if self.format != Some(C::NAME) {
            return None;
        }
        let (link, commands, reporter, place) = self.parts.take()?;
        let sync = BaseSync::new(self.log, codec.clone(), Role::Acceptor, link)
            .shared_options(Arc::clone(self.options))
            .place(place);
        // The error is in the program's log; the connection's end is all that the server has to know.
        Some(self.tasks.spawn(sync.run(commands, reporter).map(drop)))
    }
}

/// Nothing panics while the lock is held.
fn lock(connections: &Connections) -> MutexGuard<'_, HashMap<Id, Served>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which task has ended.
fn report(done: &Result<(Id, ()), JoinError>) -> Id {
    match done {
        Ok((id, ())) => *id,
        Err(error) => {
            if error.is_panic() {
                tracing::error!(%error, "a connection panicked; the others go on");
            }
            error.id()
        }
    }
}

impl ServerHandle {
    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        lock(&self.connections).len()
    }

    /// The sessions of the open connections, those that are still being let in among them.
    pub fn sessions(&self) -> Vec<SessionHandle> {
        lock(&self.connections).values().map(|connection| connection.handle.clone()).collect()
    }

    /// Ends the sessions with a node, those that are still being let in among them, and tells it why: see
    /// [`SessionHandle::close_with`]. They end in the background, within
    /// [`SyncOptions::farewell`](crate::SyncOptions::farewell). Answers how many they are.
    ///
    /// A node that is to stay away must be refused by [`auth`](crate::SyncOptions::auth) from before this
    /// call on.
    pub fn close_node(&self, node: &NodeId, reason: impl Into<String>) -> usize {
        self.close_all(|claimed| claimed == node, &reason.into())
    }

    /// The same for all nodes of a user: those with this text before the first colon of their name. Of
    /// [several logs](crate::Access::log), in all; to end those of one, look at
    /// [`Peer::log`](crate::Peer::log) of [`sessions`](Self::sessions).
    pub fn close_user(&self, user: &str, reason: impl Into<String>) -> usize {
        self.close_all(|claimed| claimed.user_id() == Some(user), &reason.into())
    }

    fn close_all(&self, is_meant: impl Fn(&NodeId) -> bool, reason: &str) -> usize {
        let sessions = self.sessions();
        let meant =
            sessions.iter().filter(|session| session.claimed().is_some_and(|node| is_meant(&node)));
        meant.map(|session| session.order_to_close(Some(reason.to_owned()))).count()
    }
}

impl RunningServer {
    /// A handle to give away.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Stops accepting, closes all connections in order and waits for that, at most for `grace`,
    /// whatever peers, the store and callbacks do; those that are not done by then are cut. Nothing is lost
    /// either way: what was not confirmed travels again.
    ///
    /// Dropping the future before it is ready leaves the rest to the background, with the same bound.
    pub async fn shutdown(mut self, grace: Duration) -> Shutdown {
        if let Some(stop) = self.stop.take() {
            // Fails only when the server has ended by itself.
            let _ = stop.send(grace);
        }
        let Some(task) = self.task.take() else { return Shutdown::default() };
        task.await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Waits until the listener fails, and answers why it did: the server has cut all connections then. Cancel-safe.
    pub async fn ended(&mut self) -> io::Error {
        let Some(task) = &mut self.task else { return io::Error::other("the server has ended") };
        let result = task.await;
        self.task = None;
        match result {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => io::Error::other("the server was shut down"),
            Err(error) => io::Error::other(error),
        }
    }
}

impl Deref for RunningServer {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer").field("connections", &self.connections()).finish()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("connections", &self.connections()).finish()
    }
}
