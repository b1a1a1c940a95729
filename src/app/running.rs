use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use logux_codecs::Protocol;
use logux_transports::rt::{JoinHandle, timeout};
use tokio::sync::watch;

use super::route::Route;
use super::shared::{Outcomes, Shared};
use super::undo::Undo;
use crate::log::InboxError;
use crate::sync::Shutdown;
use crate::{AddError, Draft, EventId, Log, NodeId, RunningServer, ServerHandle, Value};

/// A running [`App`](super::App). Dropping it ends its connections in the background; events that wait, wait for the
/// next process.
///
/// What can be seen of its connections is on its [`ServerHandle`], which it stands for.
#[must_use = "an app ends when it is dropped"]
pub struct RunningApp {
    core: Arc<dyn Core>,
    /// Until it is shut down.
    server: Option<RunningServer>,
    handle: ServerHandle,
    stop: watch::Sender<bool>,
    /// Until it is waited for.
    worker: Option<JoinHandle<()>>,
    sweep: JoinHandle<()>,
}

/// Why an event of this server was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A handler says so.
    #[error("the event was undone with the reason {:?}{}", .0.reason(), because(.0))]
    Undone(Undo),
    /// It could not be put into its queue.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// The app has ended. The event waits for the next process.
    #[error(
        "the app has ended; the event waits in the log's inbox, and is handled by the next process"
    )]
    Ended,
}

fn because(undo: &Undo) -> String {
    undo.cause().map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// What a running app needs of its parts, whatever its state is.
pub(super) trait Core: Send + Sync {
    fn log(&self) -> &Log<Value>;
    fn outcomes(&self) -> &Outcomes;
    /// The queue in which an event of this author waits.
    fn queue(&self, event: &Value, author: &NodeId) -> String;
    /// The protocol that a client speaks which is connected.
    fn protocol_of(&self, client: &str) -> Option<Protocol>;
}

impl<S: Clone + Send + Sync + 'static> Core for Shared<S> {
    fn log(&self) -> &Log<Value> {
        &self.log
    }

    fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    fn queue(&self, event: &Value, author: &NodeId) -> String {
        self.queue(event, author)
    }

    fn protocol_of(&self, client: &str) -> Option<Protocol> {
        Some(self.clients.get(client)?.session.peer()?.protocol)
    }
}

impl RunningApp {
    pub(super) fn new(
        core: Arc<dyn Core>,
        server: RunningServer,
        stop: watch::Sender<bool>,
        worker: JoinHandle<()>,
        sweep: JoinHandle<()>,
    ) -> Self {
        let (handle, server, worker) = (server.handle(), Some(server), Some(worker));
        Self { core, server, handle, stop, worker, sweep }
    }

    /// Handles an event of this server as its handler says, but for `access`, and waits until it is done. Answers its
    /// id. An event without a handler goes into the log, to nobody.
    ///
    /// If the call is dropped, the event is handled all the same, also by a later process.
    pub async fn process(&self, event: impl Into<Draft<Value>>) -> Result<EventId, ProcessError> {
        let (draft, log) = (event.into(), self.core.log());
        let id = match draft.id.clone() {
            Some(id) => id,
            None => log.new_id().map_err(InboxError::Store)?,
        };
        let done = self.core.outcomes().wait(id.clone());
        let queue = self.core.queue(draft.event(), log.node_id());
        log.hand_in(&queue, [draft.id(id.clone())]).await?;
        match done.await {
            Ok(Ok(())) => Ok(id),
            Ok(Err(undo)) => Err(ProcessError::Undone(undo)),
            Err(_) => Err(ProcessError::Ended),
        }
    }

    /// Takes back an event that was done: all to whom it went get `logux/undo`, and its client, too. Answers whether the
    /// log has the event, which stays there. The `id` is written as the protocol of the event's client has it.
    pub async fn undo(&self, id: &EventId, undo: Undo) -> Result<bool, AddError> {
        let log = self.core.log();
        let Some(entry) = log.by_id(id).await? else { return Ok(false) };
        let author = id.node().client_id();
        let text = match self.core.protocol_of(author) {
            Some(Protocol::V7) => id.to_string(),
            _ => id.to_protocol_5(),
        };
        let event = undo.to_event(&text, Some(&entry.event));
        let mut route = Route::of_meta(&entry.meta);
        if id.node() != log.node_id() {
            route = route.also_to_author(author);
        }
        log.add(route.draft(event)).await?;
        Ok(true)
    }

    /// Waits until the listener fails, and answers why it did: all connections are cut then. Cancel-safe.
    pub async fn ended(&mut self) -> io::Error {
        match &mut self.server {
            Some(server) => server.ended().await,
            None => io::Error::other("the app was shut down"),
        }
    }

    /// Ends the app: events that are being handled are handled to their end, then all connections are closed in order.
    /// Takes at most `grace`; what is not done by then is cut. Nothing is lost either way: events that wait are
    /// handled by the next process.
    pub async fn shutdown(mut self, grace: Duration) -> Shutdown {
        self.stop.send_replace(true);
        let half = grace / 2;
        if let Some(mut worker) = self.worker.take()
            && timeout(half, &mut worker).await.is_err()
        {
            worker.abort();
        }
        match self.server.take() {
            Some(server) => server.shutdown(half).await,
            None => Shutdown::default(),
        }
    }
}

impl Drop for RunningApp {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.sweep.abort();
    }
}

impl Deref for RunningApp {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

impl fmt::Debug for RunningApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningApp").field("server", &self.handle).finish_non_exhaustive()
    }
}
