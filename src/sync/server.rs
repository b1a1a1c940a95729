use std::fmt;
use std::io;
use std::time::Duration;

use logux_codecs::{Codec, Event};
use logux_transports::Listener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::base_sync::BaseSync;
use super::format;
use super::options::SyncOptions;
use super::rules::Role;
use super::session::{Command, Reporter};
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
///     .options(SyncOptions::new().auth(async |login| login.credentials == Some("secret".into())))
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
    options: SyncOptions,
    max_connections: usize,
}

/// A running [`Server`]. Dropping it closes its connections in the background.
pub struct RunningServer {
    stop: Option<oneshot::Sender<Duration>>,
    connections: watch::Receiver<usize>,
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

/// A connection's side of the wish to end.
type Stop = mpsc::Sender<Command>;

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
    pub fn options(mut self, options: SyncOptions) -> Self {
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
        let (count, connections) = watch::channel(0);
        let task = tokio::spawn(self.run(stopped, count));
        RunningServer { stop: Some(stop), connections, task }
    }

    async fn run(
        mut self,
        mut stopped: oneshot::Receiver<Duration>,
        count: watch::Sender<usize>,
    ) -> io::Result<Shutdown> {
        let mut connections = JoinSet::new();
        let mut stops: Vec<Stop> = Vec::new();
        let ended = loop {
            count.send_replace(connections.len());
            tokio::select! {
                biased;
                // The handle was dropped: nobody waits, so there is time.
                grace = &mut stopped => break Ok(grace.unwrap_or(Duration::from_secs(10))),
                Some(done) = connections.join_next() => {
                    report(done);
                    // Each ended connection leaves a closed channel behind; swept when there
                    // are as many of them as of open ones.
                    if stops.len() > 2 * connections.len() {
                        stops.retain(|stop| !stop.is_closed());
                    }
                }
                accepted = self.listener.accept(format::<C>()),
                    if connections.len() < self.max_connections => match accepted {
                    Ok(link) => {
                        let (stop, commands) = mpsc::channel(1);
                        stops.push(stop);
                        let sync = BaseSync::new(&self.log, self.codec.clone(), Role::Acceptor, link)
                            .options(self.options.clone());
                        connections.spawn(async move {
                            // The error is in the program's log; the connection's end is all
                            // that the server has to know.
                            let _ = sync.run(commands, Reporter::new()).await;
                        });
                    }
                    Err(error) => break Err(error),
                },
            }
        };
        // No new connections while the present ones end.
        drop(self.listener);
        let grace = *ended.as_ref().unwrap_or(&Duration::ZERO);
        // A connection whose channel is dropped closes in order.
        drop(stops);
        let mut shutdown = Shutdown::default();
        let all = async {
            while let Some(done) = connections.join_next().await {
                report(done);
                shutdown.closed += 1;
                count.send_replace(connections.len());
            }
        };
        let _ = timeout(grace, all).await;
        shutdown.cut = connections.len();
        connections.shutdown().await;
        count.send_replace(0);
        ended.map(|_| shutdown)
    }
}

fn report(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked; the others go on");
    }
}

impl RunningServer {
    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
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
