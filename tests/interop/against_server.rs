//! `@logux/server` 0.14.0, as an application runs it, with our client: see `app-server.mjs`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::codecs::Protocol;
use logux_sync::{
    Added, ClientSync, Entry, Error, Json, Log, MemoryStore, ProtocolError, Reconnect, Session,
    State, Subprotocol, SyncOptions, Value, WebSocket,
};
use serde_json::json;

use crate::in_time;
use crate::peer::Peer;
use crate::proxy::Proxy;

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn our_client_subscribes_adds_and_hears_what_became_of_it() {
    in_time(async {
        let mut app = App::start().await;
        let session = app.dial("right", 1);
        session.wait_for(State::Synchronized).await.unwrap();
        let peer = session.peer().unwrap();
        assert_eq!(peer.protocol, Protocol::V5);
        assert_eq!(peer.subprotocol, Some(Subprotocol::new(2, 0)));

        app.subscribe().await;
        assert_eq!(app.received("todo/count").await.event["count"], 0);
        let added = app.add(json!({ "type": "todo/add", "n": 1 })).await;
        assert_eq!(app.answer(&added).await["type"], "logux/processed");
        assert_eq!(app.todos(1).await, json!([[added.event, added.meta.id.to_protocol_5()]]));
        let refused = app.add(json!({ "type": "todo/remove", "n": 1 })).await;
        let answer = app.answer(&refused).await;
        assert_eq!((&answer["type"], &answer["reason"]), (&json!("logux/undo"), &json!("denied")));

        let event = json!({ "type": "todo/add", "n": 2 });
        let id = app.js.ask("add", json!({ "action": event })).await;
        let made = app.received("todo/add").await;
        assert_eq!((&made.event, json!(made.meta.id.to_protocol_5())), (&event, id));
        assert_eq!(made.meta.source, Some(peer.node_id.clone()));
        app.is_content(1).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn what_was_added_while_our_client_was_away_is_processed_once() {
    in_time(async {
        let mut app = App::start().await;
        let session = app.dial("right", 1);
        let mut all = Vec::new();
        for n in 0..5 {
            all.push(app.add(json!({ "type": "todo/add", "n": n })).await);
        }
        for entry in &all {
            app.answer(entry).await;
        }
        app.is_content(1).await;
        app.proxy.lead_to(None);
        session.wait_for(State::Disconnected).await.unwrap();
        // Many at once: each gets an id of its own, and they keep their order.
        for n in 5..205 {
            all.push(app.add(json!({ "type": "todo/add", "n": n })).await);
        }
        app.mend().await;
        for entry in &all[5..] {
            assert_eq!(app.answer(entry).await["type"], "logux/processed");
        }
        let sent: Vec<_> =
            all.iter().map(|entry| json!([entry.event, entry.meta.id.to_protocol_5()])).collect();
        assert_eq!(app.todos(205).await, json!(sent));
        app.is_content(2).await;
    })
    .await;
}

/// It has another name then, and an empty log.
#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_server_that_starts_again_is_not_sent_what_it_processed() {
    in_time(async {
        let mut app = App::start().await;
        app.options = app.options.peer_name("app".parse().unwrap());
        let session = app.dial("right", 1);
        for n in 0..3 {
            let added = app.add(json!({ "type": "todo/add", "n": n })).await;
            assert_eq!(app.answer(&added).await["type"], "logux/processed");
        }
        session.wait_for(State::Synchronized).await.unwrap();
        let first = app.js.ask("name", json!({})).await;
        app.is_content(1).await;
        app.proxy.lead_to(None);
        app.js = Peer::start(["app-server.mjs"]);
        app.mend().await;
        for n in 3..5 {
            let added = app.add(json!({ "type": "todo/add", "n": n })).await;
            assert_eq!(app.answer(&added).await["type"], "logux/processed");
        }
        assert_ne!(app.js.ask("name", json!({})).await, first);
        session.wait_for(State::Synchronized).await.unwrap();
        let todos = app.todos(2).await;
        assert_eq!((&todos[0][0]["n"], &todos[1][0]["n"]), (&json!(3), &json!(4)));
        assert_eq!(todos.as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn wrong_credentials_are_refused_and_not_tried_again() {
    in_time(async {
        let mut app = App::start().await;
        app.add(json!({ "type": "todo/add", "n": 1 })).await;
        let error = app.dial("wrong", 1).ended().await.unwrap_err();
        let refused = matches!(*error, Error::Received(ProtocolError::WrongCredentials));
        assert!(refused, "{error}");
        app.is_content(1).await;

        let _session = app.dial("right", 1);
        assert_eq!(app.todos(1).await[0][0], json!({ "type": "todo/add", "n": 1 }));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_subprotocol_that_is_too_old_is_refused_and_not_tried_again() {
    in_time(async {
        let mut app = App::start().await;
        let error = app.dial("right", 0).ended().await.unwrap_err();
        let refused = matches!(*error, Error::Received(ProtocolError::WrongSubprotocol { .. }));
        assert!(refused, "{error}");
        let status = app.js.ask("status", json!({})).await;
        assert_eq!(status["connections"], 1);
    })
    .await;
}

/// The log of our client, and the server.
struct App {
    log: Log<Value>,
    js: Peer,
    proxy: Proxy,
    options: SyncOptions<Value>,
}

impl App {
    async fn start() -> Self {
        let mut app = Self {
            log: Log::open("10:client:tab".parse().unwrap(), MemoryStore::new()).await.unwrap(),
            js: Peer::start(["app-server.mjs"]),
            proxy: Proxy::start([]).await,
            options: SyncOptions::new(),
        };
        app.mend().await;
        app
    }

    async fn mend(&mut self) {
        let port = self.js.ask("port", json!({})).await.as_u64().unwrap();
        self.proxy.lead_to(Some(([127, 0, 0, 1], port.try_into().unwrap()).into()));
    }

    fn dial(&self, token: &str, subprotocol: u32) -> Session {
        let url = format!("ws://{}", self.proxy.address);
        let transport = Reconnect::new(WebSocket::new(&url).unwrap())
            .first_delay(Duration::from_millis(1))
            .min_delay(Duration::ZERO)
            .max_delay(Duration::from_millis(10));
        let options =
            self.options.clone().credentials(token).subprotocol(Subprotocol::new(subprotocol, 0));
        ClientSync::new(&self.log, Json, transport).options(options).start()
    }

    async fn add(&self, event: Value) -> Arc<Entry<Value>> {
        self.log.add(event).await.unwrap()
    }

    async fn subscribe(&self) {
        let entry = self.add(json!({ "type": "logux/subscribe", "channel": "todos" })).await;
        assert_eq!(self.answer(&entry).await["type"], "logux/processed");
    }

    /// The first event of a type that the server sent.
    async fn received(&self, kind: &str) -> Arc<Entry<Value>> {
        self.wait_for(|entry| entry.event["type"] == kind).await
    }

    /// What the server answered to an action: `logux/processed` or `logux/undo`.
    async fn answer(&self, to: &Entry<Value>) -> Value {
        let id = to.meta.id.to_protocol_5();
        self.wait_for(|entry| entry.event["id"] == *id).await.event.clone()
    }

    /// The first event of the server's that fits.
    async fn wait_for(&self, fits: impl Fn(&Entry<Value>) -> bool) -> Arc<Entry<Value>> {
        let mut entries = self.log.follow(Added::ZERO);
        loop {
            let entry = entries.next().await.unwrap().unwrap();
            if entry.meta.source.is_some() && fits(&entry) {
                return entry;
            }
        }
    }

    /// What the server processed, once it is so much.
    async fn todos(&mut self, count: usize) -> Value {
        self.js.ask("todos", json!({ "count": count })).await
    }

    /// The server found nothing wrong on so many connections, and both sides have confirmed all
    /// that the other sent since this was last asked.
    async fn is_content(&mut self, connections: usize) {
        let status = self.js.ask("status", json!({})).await;
        assert_eq!(status["reports"], json!([]));
        assert_eq!(status["connections"], connections);
        self.js.ask("confirmed", json!({})).await;
        assert!(self.js.wire().await.is_confirmed());
    }
}
