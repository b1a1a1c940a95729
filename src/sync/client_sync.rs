use std::sync::Arc;

use logux_codecs::{Added, Codec, Event};
use logux_transports::Transport;
use tokio::sync::mpsc;

use super::driver::{Driver, Ended};
use super::error::Error;
use super::format;
use super::options::SyncOptions;
use super::rules::Role;
use super::session::{Command, Reporter, Session};
use super::state::State;
use crate::log::Log;

/// Keeps a log in step with the node that a transport reaches: dials, introduces itself, and, if
/// the transport is a [`Reconnect`](crate::Reconnect), comes back after each loss.
///
/// The log may be written to at any time, connected or not.
///
/// ```no_run
/// use logux_sync::{ClientSync, Json, Log, MemoryStore, Reconnect, State, SyncOptions, WebSocket};
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Todo;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::<Todo>::open("10:uuid".parse()?, MemoryStore::new()).await?;
/// let transport = Reconnect::new(WebSocket::new("ws://127.0.0.1:31337")?);
/// let session = ClientSync::new(&log, Json, transport)
///     .options(SyncOptions::new().credentials("secret"))
///     .start();
/// session.wait_for(State::Synchronized).await;
/// session.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a synchronization does nothing until it is started"]
pub struct ClientSync<E, C, T> {
    log: Log<E>,
    codec: C,
    transport: T,
    options: SyncOptions,
}

impl<E: Event, C: Codec, T: Transport> ClientSync<E, C, T> {
    /// Prepares to synchronize a log.
    pub fn new(log: &Log<E>, codec: C, transport: T) -> Self {
        Self { log: log.clone(), codec, transport, options: SyncOptions::new() }
    }

    /// Sets how to behave.
    pub fn options(mut self, options: SyncOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts, in a task of its own. Must be called within a tokio runtime.
    pub fn start(self) -> Session {
        Session::spawn(Arc::clone(self.log.end()), |commands, reporter| {
            self.run(commands, reporter)
        })
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        reporter: Reporter,
    ) -> Result<(), Arc<Error>> {
        loop {
            reporter.update(Some(State::Connecting), None);
            let opened = tokio::select! {
                biased;
                () = closed(&mut commands, &mut self.options) => break,
                opened = self.transport.open(format::<C>()) => opened,
            };
            let ended = match opened {
                Ok(link) => {
                    let synced = match received(&self.log).await {
                        Ok(synced) => synced,
                        Err(error) => {
                            show_offline(&self.log, &reporter);
                            return Err(reporter.error(error));
                        }
                    };
                    let local = self.log.node_id().clone();
                    let config = self.options.config(Role::Opener, local, synced);
                    let Self { log, codec, options, .. } = &self;
                    Driver::new(log, codec, options, &reporter, &mut commands, config)
                        .run(link)
                        .await
                }
                Err(error) => Ended {
                    result: Err(Error::Link(error)),
                    closed_here: false,
                    synchronized: false,
                    headers: None,
                },
            };
            if let Some(headers) = ended.headers {
                self.options.headers = headers;
            }
            let lasts = ended.result.as_ref().is_err_and(|error| !error.is_transient());
            show_offline(&self.log, &reporter);
            let result = ended.result.map_err(|error| reporter.error(error));
            if ended.closed_here || lasts {
                return result;
            }
            let again = tokio::select! {
                biased;
                () = closed(&mut commands, &mut self.options) => break,
                again = self.transport.retry(ended.synchronized) => again,
                () = show_what_waits(&self.log, &reporter) => false,
            };
            if !again {
                return result;
            }
        }
        show_offline(&self.log, &reporter);
        Ok(())
    }
}

/// How far the log of the node that will probably answer, the last one that did, is received. A
/// wrong guess costs a connection: see [`Error::AnotherNode`].
async fn received<E: Event>(log: &Log<E>) -> Result<Added, Error> {
    match log.dialled().await? {
        Some(node) => Ok(log.cursors(&node).await?.received),
        None => Ok(Added::ZERO),
    }
}

fn show_offline<E: Event>(log: &Log<E>, reporter: &Reporter) {
    let waits = log.last_added() > reporter.confirmed();
    reporter.update(Some(if waits { State::Wait } else { State::Disconnected }), None);
}

/// Never ends: shows when there is something to send while there is no connection.
async fn show_what_waits<E: Event>(log: &Log<E>, reporter: &Reporter) {
    loop {
        let end = log.last_added();
        show_offline(log, reporter);
        log.end().beyond(end).await;
    }
}

/// Waits, without a connection, for the wish to end; keeps new headers for the next connection.
async fn closed(commands: &mut mpsc::Receiver<Command>, options: &mut SyncOptions) {
    loop {
        match commands.recv().await {
            Some(Command::Close) | None => return,
            Some(Command::Headers(headers)) => options.headers = headers,
            Some(Command::Debug(_)) => {}
        }
    }
}
