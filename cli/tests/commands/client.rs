//! A client of an app, which hears what becomes of its events.

use logux_sync::{
    Added, ClientSync, Json, Log, MemoryStore, Reconnect, Session, State, SyncOptions, Value,
    WebSocket,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::program::PATIENCE;

pub(crate) struct Client {
    pub(crate) log: Log<Value>,
    session: Session,
}

impl Client {
    pub(crate) async fn connect(url: &str, node: &str) -> Self {
        Self::connect_with(url, node, SyncOptions::new().credentials("right")).await
    }

    pub(crate) async fn connect_with(url: &str, node: &str, options: SyncOptions<Value>) -> Self {
        let node = node.parse().expect("a name");
        let log = Log::open(node, MemoryStore::new()).await.expect("a log");
        let transport = Reconnect::new(WebSocket::new(url).expect("an address"));
        let session = ClientSync::new(&log, Json, transport).options(options).start();
        Self { log, session }
    }

    pub(crate) async fn is_synchronized(&self) -> bool {
        let waiting = self.session.wait_for(State::Synchronized);
        timeout(PATIENCE, waiting).await.expect("it is let in, or not").is_ok()
    }

    /// Adds an event, and answers what became of it: `processed`, or the reason of its undo.
    pub(crate) async fn process(&self, event: Value) -> String {
        let answer = self.answer(event).await;
        match answer["type"].as_str() {
            Some("logux/processed") => "processed".to_owned(),
            _ => answer["reason"].as_str().expect("an undo").to_owned(),
        }
    }

    pub(crate) async fn answer(&self, event: Value) -> Value {
        let added = self.log.add(event.clone()).await.expect("it is added");
        self.answer_to(&added.meta.id.to_string(), &event).await
    }

    pub(crate) async fn answer_to(&self, id: &str, event: &Value) -> Value {
        let is_it = |event: &Value| {
            event["id"] == id
                && matches!(event["type"].as_str(), Some("logux/processed" | "logux/undo"))
        };
        let look = async {
            loop {
                if let Some(answer) = self.received().await.into_iter().find(is_it) {
                    return answer;
                }
                sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{event} is not answered"))
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> String {
        self.process(json!({ "type": "logux/subscribe", "channel": channel })).await
    }

    /// All that came from the server.
    async fn received(&self) -> Vec<Value> {
        let entries = self.log.entries_after(Added::ZERO, usize::MAX).await.expect("it is read");
        let came = entries.iter().filter(|entry| entry.meta.source.is_some());
        came.map(|entry| entry.event.clone()).collect()
    }

    /// What came of this type.
    pub(crate) async fn of_type(&self, kind: &str) -> Vec<Value> {
        let mut events = self.received().await;
        events.retain(|event| event["type"] == kind);
        events
    }

    /// Waits until so many came of this type.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        let look = async {
            loop {
                let events = self.of_type(kind).await;
                if events.len() >= count {
                    return events;
                }
                sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("no {count} of {kind} come"))
    }
}
