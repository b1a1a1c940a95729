use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_codecs::{Codec, Event};
use logux_transports::Listener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

use super::base_sync::BaseSync;
use super::format;
use super::options::SyncOptions;
use super::rules::Role;
use super::session::{Command, SessionHandle};
use crate::log::Log;

/// Serves every connection that a listener accepts, all with one log.
///
/// ```no_run
/// use logux_sync::{Json, Log, MemoryStore, Server, SyncOptions, WebSocketListener};
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Todo;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::<Todo>::open("server".parse()?, MemoryStore::new()).await?;
/// let listener = WebSocketListener::bind("127.0.0.1:31337").await?;
/// let server = Server::new(&log, Json, listener)
///     .options(SyncOptions::new().auth(async |login| login.token_is("secret")))
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
    codec: C,
    listener: L,
    options: SyncOptions<E>,
    max_connections: usize,
}

/// A running [`Server`]. Dropping it closes its connections in the background.
pub struct RunningServer {
    stop: Option<oneshot::Sender<Duration>>,
    connections: Connections,
    task: JoinHandle<io::Result<Shutdown>>,
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
type Connections = Arc<Mutex<HashMap<Id, Connection>>>;

struct Connection {
    handle: SessionHandle,
    /// The connection ends in order when it is dropped.
    stop: Option<mpsc::Sender<Command>>,
}

impl<E: Event, C: Codec, L: Listener> Server<E, C, L> {
    /// Prepares to serve.
    pub fn new(log: &Log<E>, codec: C, listener: L) -> Self {
        Self {
            log: log.clone(),
            codec,
            listener,
            options: SyncOptions::new(),
            max_connections: 10_000,
        }
    }

    /// Sets how each connection behaves.
    pub fn options(mut self, options: SyncOptions<E>) -> Self {
        self.options = options;
        self
    }

    /// How many connections are served at once: 10,000. Further ones wait to be accepted.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count.max(1);
        self
    }

    /// Starts, in a task of its own and one for each connection. Must be called within a tokio
    /// runtime.
    pub fn start(self) -> RunningServer {
        let (stop, stopped) = oneshot::channel();
        let connections = Connections::default();
        let task = tokio::spawn(self.run(stopped, Arc::clone(&connections)));
        RunningServer { stop: Some(stop), connections, task }
    }

    async fn run(
        mut self,
        mut stopped: oneshot::Receiver<Duration>,
        connections: Connections,
    ) -> io::Result<Shutdown> {
        let mut tasks = JoinSet::new();
        let ended = loop {
            tokio::select! {
                biased;
                // The handle was dropped: nobody waits, so there is time.
                grace = &mut stopped => break Ok(grace.unwrap_or(Duration::from_secs(10))),
                Some(done) = tasks.join_next_with_id() => {
                    lock(&connections).remove(&report(&done));
                }
                accepted = self.listener.accept(format::<C>()),
                    if tasks.len() < self.max_connections => match accepted {
                    Ok(link) => {
                        let (handle, stop, commands, reporter) =
                            SessionHandle::new(Arc::clone(self.log.end()));
                        let sync = BaseSync::new(&self.log, self.codec.clone(), Role::Acceptor, link)
                            .options(self.options.clone());
                        let task = tasks.spawn(async move {
                            // The error is in the program's log; the connection's end is all
                            // that the server has to know.
                            let _ = sync.run(commands, reporter).await;
                        });
                        let connection = Connection { handle, stop: Some(stop) };
                        lock(&connections).insert(task.id(), connection);
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        // No new connections while the present ones end.
        drop(self.listener);
        let grace = *ended.as_ref().unwrap_or(&Duration::ZERO);
        for connection in lock(&connections).values_mut() {
            connection.stop = None;
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
        tasks.shutdown().await;
        lock(&connections).clear();
        ended.map(|_| shutdown)
    }
}

/// Nothing panics while the lock is held.
fn lock(connections: &Connections) -> MutexGuard<'_, HashMap<Id, Connection>> {
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

impl RunningServer {
    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        lock(&self.connections).len()
    }

    /// The sessions of the open connections, those that are still being let in among them.
    pub fn sessions(&self) -> Vec<SessionHandle> {
        lock(&self.connections).values().map(|connection| connection.handle.clone()).collect()
    }

    /// Stops accepting, closes all connections in order and waits for that, at most for `grace`;
    /// those that are not done by then are cut. Nothing is lost either way: what was not confirmed
    /// travels again.
    pub async fn shutdown(mut self, grace: Duration) -> Shutdown {
        if let Some(stop) = self.stop.take() {
            // Fails only when the server has ended by itself.
            let _ = stop.send(grace);
        }
        self.ended().await.unwrap_or_default()
    }

    /// Waits until the listener fails.
    pub async fn ended(mut self) -> io::Result<Shutdown> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer").field("connections", &self.connections()).finish()
    }
}
