//! Apps in tests of one's own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use logux_codecs::{Added, Json};
use logux_transports::rt::timeout;
use logux_transports::{Memory, Reconnect};
use serde_json::json;

use super::{App, AppError, RunningApp};
use crate::{
    AddError, ClientSync, Entry, Log, MemoryStore, NodeId, Session, State, StoreError, SyncOptions,
    Value,
};

/// An app that runs in memory, for tests. It is a [`RunningApp`].
///
/// ```
/// use logux_sync::app::{App, Channel, Handler, TestApp};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = App::new(async |_| true)
///     .on("posts/add", Handler::access(async || true).route(async || "posts"))
///     .channel("posts", Channel::access(async || true).from_log());
/// let test = TestApp::start(app).await?;
/// let (ann, ben) = (test.client("ann:laptop").await?, test.client("ben:phone").await?);
/// ann.process(json!({ "type": "posts/add", "text": "hello" })).await?;
/// let posts = ben.subscribe("posts").await?;
/// assert_eq!(posts[0]["text"], "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestApp {
    running: RunningApp,
    memory: Memory,
    log: Log<Value>,
}

/// A client of a [`TestApp`].
#[derive(Debug)]
pub struct TestClient {
    log: Log<Value>,
    session: Session,
    /// Up to where [`received`](Self::received) has read.
    read: Mutex<Added>,
}

/// Why a test of an app goes no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The event was undone: the `logux/undo`, whole.
    #[error("the event was undone: {0}")]
    Undone(Value),
    /// The client was not let in.
    #[error("the client is not let in")]
    NotLetIn(#[source] Option<Arc<crate::Error>>),
    /// A client cannot have this name.
    #[error("{0:?} is not a name of a client: write user:client, or user:client:tab")]
    Name(String),
    /// Nothing came within ten seconds.
    #[error("the app did not answer within ten seconds")]
    NoAnswer,
    /// The event cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The app cannot be served.
    #[error(transparent)]
    App(#[from] AppError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const PATIENCE: Duration = Duration::from_secs(10);

impl TestApp {
    /// Serves an app in memory. Its node is `server:test`.
    pub async fn start<S: Clone + Send + Sync + 'static>(app: App<S>) -> Result<Self, TestError> {
        let log = Log::open_with(
            name("server:test")?,
            Arc::new(MemoryStore::new()),
            App::<S>::log_options(),
        );
        Self::start_with(app, log.await?)
    }

    /// The same on a log of the test's own.
    pub fn start_with<S: Clone + Send + Sync + 'static>(
        app: App<S>,
        log: Log<Value>,
    ) -> Result<Self, TestError> {
        let (memory, listener) = Memory::listen();
        let running = app.serve(&log, Json, listener)?;
        Ok(Self { running, memory, log })
    }

    /// The log of the app.
    pub const fn log(&self) -> &Log<Value> {
        &self.log
    }

    /// Connects a client: `user:client`, or `user:client:tab`.
    pub async fn client(&self, node: &str) -> Result<TestClient, TestError> {
        self.client_with(node, SyncOptions::new()).await
    }

    /// The same with options, as for a token.
    pub async fn client_with(
        &self,
        node: &str,
        options: SyncOptions<Value>,
    ) -> Result<TestClient, TestError> {
        let log = Log::open(name(node)?, MemoryStore::new()).await?;
        let transport = Reconnect::new(self.memory.clone()).seed(0);
        let session = ClientSync::new(&log, Json, transport).options(options).start();
        let let_in = timeout(PATIENCE, session.wait_for(State::Synchronized)).await;
        match let_in {
            Ok(Ok(())) => Ok(TestClient { log, session, read: Mutex::new(Added::ZERO) }),
            Ok(Err(ended)) => Err(TestError::NotLetIn(ended.reason().cloned())),
            Err(_) => Err(TestError::NotLetIn(None)),
        }
    }

    /// Ends the app, and answers its log.
    pub async fn shutdown(self) -> Log<Value> {
        self.running.shutdown(PATIENCE).await;
        self.log
    }
}

impl std::ops::Deref for TestApp {
    type Target = RunningApp;

    fn deref(&self) -> &RunningApp {
        &self.running
    }
}

impl TestClient {
    /// The client's own log.
    pub const fn log(&self) -> &Log<Value> {
        &self.log
    }

    /// The client's session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Adds an event and waits until the app is done with it. Fails with [`TestError::Undone`] if it is undone.
    pub async fn process(&self, event: Value) -> Result<(), TestError> {
        let added = self.log.add(event).await?;
        let id = added.meta.id.to_string();
        let mut entries = self.log.follow(added.meta.added);
        let answer = async {
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                let event = &entry.event;
                if event["id"] == id.as_str() {
                    match event["type"].as_str() {
                        Some("logux/processed") => return Ok(()),
                        Some("logux/undo") => return Err(TestError::Undone(event.clone())),
                        _ => {}
                    }
                }
            }
            Err(TestError::NoAnswer)
        };
        timeout(PATIENCE, answer).await.unwrap_or(Err(TestError::NoAnswer))
    }

    /// Subscribes to a channel, and answers the events that came with that.
    pub async fn subscribe(&self, channel: &str) -> Result<Vec<Value>, TestError> {
        self.subscribe_to(json!({ "channel": channel })).await
    }

    /// The same, with more to say: `filter`, `since`, `creating`.
    pub async fn subscribe_to(&self, mut wanted: Value) -> Result<Vec<Value>, TestError> {
        wanted["type"] = "logux/subscribe".into();
        let before = self.log.last_added();
        self.process(wanted).await?;
        self.events_after(before).await
    }

    /// Leaves a channel.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), TestError> {
        self.process(json!({ "type": "logux/unsubscribe", "channel": channel })).await
    }

    /// The events that came since this was asked last, without the answers of the app: `logux/processed` and
    /// `logux/undo`.
    pub async fn received(&self) -> Result<Vec<Value>, TestError> {
        let before = {
            // Nothing panics while the lock is held.
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *read, self.log.last_added())
        };
        self.events_after(before).await
    }

    async fn events_after(&self, position: Added) -> Result<Vec<Value>, TestError> {
        let entries = self.log.entries_after(position, usize::MAX).await?;
        let is_shown = |entry: &&Arc<Entry<Value>>| {
            let kind = entry.event["type"].as_str();
            let is_answer = matches!(kind, Some("logux/processed" | "logux/undo"));
            entry.meta.source.is_some() && !is_answer
        };
        Ok(entries.iter().filter(is_shown).map(|entry| entry.event.clone()).collect())
    }

    /// Ends the client's connection, and answers its log.
    pub async fn leave(self) -> Log<Value> {
        let _ = self.session.close().await;
        self.log
    }
}

fn name(text: &str) -> Result<NodeId, TestError> {
    text.parse().map_err(|_| TestError::Name(text.to_owned()))
}
