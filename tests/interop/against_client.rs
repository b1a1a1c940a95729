//! `@logux/client` 0.23.2, as an application's pages run it, with our server: over WebSocket, and over
//! the long-poll of `examples/web/long-poll-connection.js`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Added, Entry, EventId, Headers, HttpListener, Json, ListenerOptions, Log, MemoryStore, NodeId,
    RunningServer, Server, Subprotocol, SyncOptions, Value,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::in_time;
use crate::peer::Peer;
use crate::proxy::Proxy;

macro_rules! over_each {
    ($($test:ident)*) => {
        mod over_websocket { over! { "ws": $($test)* } }
        mod over_long_poll { over! { "http": $($test)* } }
    };
}

macro_rules! over {
    ($scheme:literal: $($test:ident)*) => {
        $(
            #[tokio::test]
            #[ignore = "needs Node.js: tests/interop/run"]
            async fn $test() {
                super::$test($scheme).await;
            }
        )*
    };
}

over_each! {
    a_client_subscribes_adds_and_hears_what_became_of_it
    an_idle_client_pings_and_is_answered
    a_client_that_was_away_subscribes_since_then_and_catches_up
}

async fn a_client_subscribes_adds_and_hears_what_became_of_it(scheme: &str) {
    in_time(async {
        let app = App::start().await;
        let mut client = app.client(scheme, "10").await;
        let subscription = json!({ "type": "logux/subscribe", "channel": "todos" });
        let id = sync(&mut client, &subscription).await;
        assert_eq!(outcome(&mut client, &id).await, Value::Null);
        let id = sync(&mut client, &json!({ "type": "todo/add", "n": 1 })).await;
        assert_eq!(outcome(&mut client, &id).await, Value::Null);
        assert_eq!(app.entry(&id).await.event, json!({ "type": "todo/add", "n": 1 }));
        let id = sync(&mut client, &json!({ "type": "todo/remove", "n": 1 })).await;
        assert_eq!(outcome(&mut client, &id).await, "denied");
        // What a client has heard of is off its mind.
        assert_eq!(client.ask("syncing", json!({})).await, json!([]));

        let made = app.log.add(json!({ "type": "todo/add", "n": 2 })).await.unwrap();
        client.ask("hold", json!({ "type": "todo/add", "count": 2 })).await;
        let added = client.ask("added", json!({})).await["added"].take();
        let last = added.as_array().unwrap().last().unwrap();
        assert_eq!(*last, json!([made.event, made.meta.id.to_protocol_5()]));
        app.compare(&mut client).await;
    })
    .await;
}

async fn an_idle_client_pings_and_is_answered(scheme: &str) {
    in_time(async {
        let app = App::start().await;
        let mut client = app.client(scheme, "10").await;
        client.ask("hear", json!({ "type": "pong" })).await;
        let wire = client.wire().await;
        assert_eq!(wire.messages("ping", "js")[0], &json!(["ping", 0]));
        assert_eq!(wire.messages("pong", "rust")[0], &json!(["pong", 0]));

        let id = sync(&mut client, &json!({ "type": "todo/add", "n": 1 })).await;
        assert_eq!(outcome(&mut client, &id).await, Value::Null);
        client.ask("hear", json!({ "type": "pong" })).await;
        assert_eq!(client.wire().await.messages("connect", "js").len(), 0, "it stays connected");
    })
    .await;
}

async fn a_client_that_was_away_subscribes_since_then_and_catches_up(scheme: &str) {
    in_time(async {
        let app = App::start().await;
        let mut client = app.client(scheme, "10").await;
        let subscription = json!({ "type": "logux/subscribe", "channel": "todos" });
        let subscribed = sync(&mut client, &subscription).await;
        assert_eq!(outcome(&mut client, &subscribed).await, Value::Null);
        let first = sync(&mut client, &json!({ "type": "todo/add", "n": 1 })).await;
        assert_eq!(outcome(&mut client, &first).await, Value::Null);

        app.proxy.lead_to(None);
        client.ask("wait", json!({ "state": "disconnected" })).await;
        client.wire().await;
        let away = sync(&mut client, &json!({ "type": "todo/add", "n": 2 })).await;
        app.log.add(json!({ "type": "todo/add", "n": 3 })).await.unwrap();
        app.mend();
        assert_eq!(outcome(&mut client, &away).await, Value::Null);
        client.ask("hold", json!({ "type": "todo/add", "count": 3 })).await;
        // One for each action so far, and one for the subscription that it repeats by itself.
        client.ask("hold", json!({ "type": "logux/processed", "count": 4 })).await;

        let wire = client.wire().await;
        assert_eq!(wire.messages("connect", "js").len(), 1);
        let sent: Vec<_> = wire.events("js").into_iter().map(|(event, _)| event.clone()).collect();
        let [todo, resubscription] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*todo, json!({ "type": "todo/add", "n": 2 }));
        assert_eq!(resubscription["type"], "logux/subscribe");
        // It names the last that it heard of the channel.
        let since = app.entry(resubscription["since"]["id"].as_str().unwrap()).await;
        assert_eq!(since.event, json!({ "type": "logux/processed", "id": subscribed }));
        app.compare(&mut client).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn clients_see_each_others_events_and_only_their_own_answers() {
    in_time(async {
        let app = App::start().await;
        let mut clients = [app.client("ws", "10").await, app.client("http", "11").await];
        for n in 0..20 {
            let id = sync(&mut clients[n % 2], &json!({ "type": "todo/add", "n": n })).await;
            assert_eq!(outcome(&mut clients[n % 2], &id).await, Value::Null);
        }
        for client in &mut clients {
            client.ask("hold", json!({ "type": "todo/add", "count": 20 })).await;
            app.compare(client).await;
        }
    })
    .await;
}

/// An application's server: a log, and the thin layer on top of it that answers a client's actions.
struct App {
    log: Log<Value>,
    proxy: Proxy,
    address: SocketAddr,
    answers: JoinHandle<()>,
    _running: RunningServer,
}

impl App {
    async fn start() -> Self {
        let log = Log::open("server:rust".parse().unwrap(), MemoryStore::new()).await.unwrap();
        // A wire that was cut is noticed over long-poll when the session is silent for so long.
        let http = ListenerOptions::new().inactivity(Duration::from_secs(2));
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(http);
        let address = listener.local_addr().unwrap();
        // Without it a client that is not told `allowDangerousProtocol` gives up where there is no
        // TLS.
        let headers: Headers = [("env".to_owned(), json!("development"))].into_iter().collect();
        let options = SyncOptions::new()
            .subprotocol(Subprotocol::new(2, 0))
            .headers(headers)
            .out_filter(async |entry, peer| Ok(is_for(&entry, &peer.node_id)))
            .auth(async |login| login.credentials == Some("right".into()));
        let running = Server::new(&log, Json, listener).options(options).start();
        let proxy = Proxy::start([]).await;
        proxy.lead_to(Some(address));
        let answers = tokio::spawn(answer(log.clone()));
        Self { log, proxy, address, answers, _running: running }
    }

    /// A client over WebSocket, or over long-poll if the scheme is `http`.
    async fn client(&self, scheme: &str, user: &str) -> Peer {
        let url = format!("{scheme}://{}", self.proxy.address);
        let mut client = Peer::start(["app-client.mjs", &url, user]);
        client.wait("synchronized").await;
        client
    }

    fn mend(&self) {
        self.proxy.lead_to(Some(self.address));
    }

    /// The entry of an id as a client writes it.
    async fn entry(&self, id: &str) -> Arc<Entry<Value>> {
        self.log.by_id(&EventId::from_protocol_5(id).unwrap()).await.unwrap().unwrap()
    }

    /// A client has seen all that it made or that is for it, each once, under the same ids.
    async fn compare(&self, client: &mut Peer) {
        let node: NodeId = serde_json::from_value(client.ask("nodeId", json!({})).await).unwrap();
        let entries = self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let ours =
            entries.iter().filter(|entry| *entry.meta.id.node() == node || is_for(entry, &node));
        let ours: Vec<_> =
            ours.map(|entry| json!([entry.event, entry.meta.id.to_protocol_5()])).collect();

        let theirs = client.ask("added", json!({})).await;
        assert_eq!(theirs["errors"], json!([]));
        let theirs = theirs["added"].as_array().unwrap();
        for one in &ours {
            assert_eq!(theirs.iter().filter(|other| *other == one).count(), 1, "{one}");
        }
        assert_eq!(theirs.len(), ours.len());
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// An answer is for the node whose action it answers; todos are for all.
fn is_for(entry: &Entry<Value>, node: &NodeId) -> bool {
    match entry.event["type"].as_str() {
        Some("logux/processed" | "logux/undo") => {
            let id = entry.event["id"].as_str().unwrap();
            EventId::from_protocol_5(id).unwrap().node() == node
        }
        Some("todo/add") => true,
        _ => false,
    }
}

/// Answers the actions of clients, as the server of `@logux/client` has to: each with
/// `logux/processed` or `logux/undo`, in which ids are texts of protocol 5.
async fn answer(log: Log<Value>) {
    let mut entries = log.follow(Added::ZERO);
    while let Some(entry) = entries.next().await {
        let entry = entry.unwrap();
        if entry.meta.source.is_none() {
            continue;
        }
        let id = entry.meta.id.to_protocol_5();
        let answer = match entry.event["type"].as_str().unwrap() {
            "todo/remove" => {
                json!({ "type": "logux/undo", "id": id, "action": entry.event, "reason": "denied" })
            }
            _ => json!({ "type": "logux/processed", "id": id }),
        };
        log.add(answer).await.unwrap();
    }
}

/// Has a client send an action, and answers its id.
async fn sync(client: &mut Peer, action: &Value) -> String {
    let id = client.ask("sync", json!({ "action": action })).await;
    id.as_str().unwrap().to_owned()
}

/// Waits until a client knows what became of its action: null, or why it was undone.
async fn outcome(client: &mut Peer, id: &str) -> Value {
    client.ask("outcome", json!({ "id": id })).await
}
