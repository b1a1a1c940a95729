//! An app of ours beside the same app on `@logux/server` 0.14: the same script of two clients gives the same events, but
//! for ids and times. And `SyncMap` of `@logux/client`.
//!
//! What is not the same, and so not in the script:
//! - An event reaches others after it was processed; there, before. So what fails in `process` is seen by nobody here,
//!   and there by all that are subscribed, who get an `undo` then.
//! - An event does not go back to the connection that it came from; there it does if its route names that client.
//! - `undo` for an event with a foreign id has no `action` here.
//! - A channel whose name is not a text is undone with `wrongChannel`; there, the connection breaks.
//! - What an event cannot be read as is undone with `wrongFormat`; there are no types there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use logux_sync::app::{
    App, Channel, Client, Context, Fields, Filter, Handler, MapState, Path, Route, RunningApp,
    State, Subscription, SyncMap, Undo,
};
use logux_sync::{
    Entry, HttpListener, Json, Log, MemoryStore, Subprotocol, SyncOptions, Timestamp, Value,
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::in_time;
use crate::peer::Peer;

type Task = HashMap<String, (Value, Timestamp)>;

/// The tasks, by their ids.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<HashMap<String, Task>>>);

impl Tasks {
    fn keep(&self, id: &str, fields: Fields, time: Timestamp) {
        let mut tasks = self.0.lock().unwrap();
        let task = tasks.entry(id.to_owned()).or_default();
        task.extend(fields.0.into_iter().map(|(name, value)| (name, (value, time))));
    }

    fn load(&self, id: &str) -> Result<MapState, Undo> {
        let tasks = self.0.lock().unwrap();
        let task = tasks.get(id).ok_or_else(Undo::not_found)?;
        let add = |state: MapState, (name, (value, time)): (&String, &(Value, Timestamp))| {
            state.changed_at(name, value.clone(), *time)
        };
        Ok(task.iter().fold(MapState::new(), add))
    }
}

/// The app of `posts-server.mjs`.
fn app() -> App<Tasks> {
    let all = || Handler::access(async || true);
    let text =
        |context: &Context, key: &str| context.event()[key].as_str().unwrap_or_default().to_owned();
    let names = |context: &Context, key: &str| -> Vec<String> {
        let names = context.event()[key].as_array().cloned().unwrap_or_default();
        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    App::with_state(Tasks::default(), async |login, _| login.token_is("right"))
        .options(SyncOptions::new().subprotocol(Subprotocol::new(2, 0)))
        .on(
            "posts/add",
            Handler::access(move |client: Client, context: Context| async move {
                client.is_of(text(&context, "by"))
            })
            .route(
                move |context: Context| async move { format!("posts/{}", text(&context, "room")) },
            )
            .process(move |context: Context| async move {
                if text(&context, "text") == "fail" {
                    Err(Undo::error("on purpose"))
                } else {
                    Ok(())
                }
            }),
        )
        .on(
            "posts/tell",
            all().route(move |context: Context| async move {
                let clients = names(&context, "clients").into_iter();
                let route = clients.fold(Route::nobody(), Route::client);
                names(&context, "users").into_iter().fold(route, Route::user)
            }),
        )
        .on(
            "posts/back",
            all().process(move |context: Context| async move {
                context.send_back(&json!({ "type": "posts/echo", "text": text(&context, "text") }))
            }),
        )
        .on("posts/server", Handler::access(async || false))
        .on("notes/*", all())
        .on("filtered/add", all().route(async || Route::from(["filtered/one", "filtered/two"])))
        .channel(
            "posts/:room",
            Channel::access(async |Path(room): Path<String>| room != "secret").load(
                async |Path(room): Path<String>| {
                    vec![
                        json!({ "type": "posts/loaded", "room": room }),
                        json!({ "type": "posts/second" }),
                    ]
                },
            ),
        )
        .channel(
            "filtered/:room",
            Channel::access(async || true).filter(async |wanted: Subscription| {
                let least = wanted.filter.and_then(|filter| filter["least"].as_u64());
                Filter::new(move |entry: &Entry<Value>| entry.event["n"].as_u64() >= least)
            }),
        )
        .channel(
            "gone",
            Channel::access(async || true)
                .load(async || -> Result<(), Undo> { Err(Undo::not_found()) }),
        )
        .channel(
            "broken",
            Channel::access(async || true)
                .load(async || -> Result<(), Undo> { Err(Undo::error("on purpose")) }),
        )
        .sync_map(
            "tasks",
            SyncMap::access(async |Path(id): Path<String>| id != "secret")
                .create(
                    async |State(tasks): State<Tasks>,
                           Path(id): Path<String>,
                           fields: Fields,
                           context: Context| {
                        tasks.keep(&id, fields, context.time());
                    },
                )
                .change(
                    async |State(tasks): State<Tasks>,
                           Path(id): Path<String>,
                           fields: Fields,
                           context: Context| {
                        tasks.keep(&id, fields, context.time());
                    },
                )
                .delete(async |State(tasks): State<Tasks>, Path(id): Path<String>| {
                    tasks.0.lock().unwrap().remove(&id);
                })
                .load(async |State(tasks): State<Tasks>, Path(id): Path<String>| tasks.load(&id)),
        )
}

async fn serve() -> (RunningApp, u16) {
    let log = Log::open_with(
        "server:rust".parse().unwrap(),
        Arc::new(MemoryStore::new()),
        App::<Tasks>::log_options(),
    );
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (app().serve(&log.await.unwrap(), Json, listener).unwrap(), port)
}

/// A client that a test plays frame by frame, in protocol 5.
struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    node: String,
    sent: u64,
}

impl Raw {
    async fn connect(port: u16, node: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://127.0.0.1:{port}")).await.unwrap();
        let mut raw = Self { socket, node: node.to_owned(), sent: 0 };
        let options = json!({ "token": "right", "subprotocol": 2 });
        raw.send(&json!(["connect", 5, node, 0, options])).await;
        raw
    }

    async fn send(&mut self, message: &Value) {
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.unwrap_or_else(|error| panic!("{message} to {}: {error}", self.node));
    }

    /// Sends an event with the next id and this meta beside it.
    async fn sync(&mut self, event: &Value, meta: &Value) {
        self.sent += 1;
        let mut whole = json!({ "id": self.sent, "time": self.sent });
        for (key, value) in meta.as_object().unwrap() {
            whole[key] = value.clone();
        }
        self.send(&json!(["sync", self.sent, event, whole])).await;
    }

    /// So much, whatever that takes, and then all that comes until nothing more does, confirmed: the events, each with the
    /// keys of its meta, and other messages without what is of one server.
    async fn heard(&mut self, at_least: usize) -> Vec<Value> {
        let mut heard: Vec<Value> = Vec::new();
        loop {
            let patience = if heard.len() < at_least { 20_000 } else { 250 };
            let next = timeout(Duration::from_millis(patience), self.socket.next());
            let Ok(frame) = next.await else { break };
            let Some(Ok(Message::Text(text))) = frame else { break };
            let message: Value = serde_json::from_str(&text).unwrap();
            match message[0].as_str().unwrap() {
                "sync" => {
                    self.send(&json!(["synced", message[1]])).await;
                    for pair in message.as_array().unwrap()[2..].chunks(2) {
                        let (mut event, meta) = (pair[0].clone(), &pair[1]);
                        if let Some(id) = event["id"].as_str().filter(|id| id.contains(' ')) {
                            // Which of its events it is.
                            let (_, rest) = id.split_once(' ').unwrap();
                            event["id"] = format!("one of {rest}").into();
                        }
                        let keys = meta.as_object().unwrap().keys();
                        // It is left out here where it is the connection's.
                        let keys: Vec<&String> = keys.filter(|key| *key != "subprotocol").collect();
                        heard.push(json!([event, keys]));
                    }
                }
                "connected" => heard.push(json!(["connected", message[1]])),
                "ping" => self.send(&json!(["pong", 0])).await,
                "synced" | "headers" => {}
                _ => heard.push(message),
            }
        }
        heard
    }
}

/// What each of two clients hears after each step of the script.
async fn play(port: u16) -> Vec<(String, Vec<Value>, Vec<Value>)> {
    let mut ann = Raw::connect(port, "10:ann:a").await;
    let mut ben = Raw::connect(port, "20:ben:b").await;
    let mut heard = Vec::new();
    heard.push(("connect".to_owned(), ann.heard(1).await, ben.heard(1).await));
    let subscribe = |channel: &str| json!({ "type": "logux/subscribe", "channel": channel });
    let add = |text: &str| json!({ "type": "posts/add", "by": "10", "room": "a", "text": text });
    let none = json!({});
    let script: Vec<(bool, Value, Value)> = vec![
        (true, add("nobody is subscribed"), none.clone()),
        (false, subscribe("posts/a"), none.clone()),
        (true, add("hello"), none.clone()),
        (true, json!({ "type": "posts/add", "by": "20", "room": "a" }), none.clone()),
        (true, json!({ "type": "posts/server" }), none.clone()),
        (true, json!({ "type": "posts/unknown" }), none.clone()),
        (true, json!({ "type": "notes/anything" }), none.clone()),
        (true, json!({ "type": "posts/back", "text": "echo" }), none.clone()),
        (true, json!({ "type": "posts/tell", "users": ["20"] }), none.clone()),
        (true, json!({ "type": "posts/tell", "clients": ["20:ben", "30:eve"] }), none.clone()),
        (
            true,
            json!({ "type": "posts/tell", "clients": ["20:ben"], "users": ["20", "10"] }),
            none.clone(),
        ),
        (false, subscribe("posts/secret"), none.clone()),
        (false, subscribe("posts/a/b"), none.clone()),
        (false, subscribe("nothing"), none.clone()),
        (false, json!({ "type": "logux/subscribe" }), none.clone()),
        (false, subscribe("gone"), none.clone()),
        (false, subscribe("broken"), none.clone()),
        (false, subscribe("posts/a"), none.clone()),
        (true, add("once"), none.clone()),
        (false, json!({ "type": "logux/unsubscribe", "channel": "posts/a" }), none.clone()),
        (true, add("not heard"), none.clone()),
        (false, json!({ "type": "logux/unsubscribe", "channel": "posts/never" }), none.clone()),
        (
            false,
            json!({ "type": "logux/subscribe", "channel": "filtered/one", "filter": { "least": 5 } }),
            none.clone(),
        ),
        (
            false,
            json!({ "type": "logux/subscribe", "channel": "filtered/two", "filter": { "least": 2 } }),
            none.clone(),
        ),
        (true, json!({ "type": "filtered/add", "n": 1 }), none.clone()),
        (true, json!({ "type": "filtered/add", "n": 3 }), none.clone()),
        (true, json!({ "type": "filtered/add", "n": 7 }), none.clone()),
        (true, add("forged meta"), json!({ "channels": ["filtered/one"] })),
        (true, add("forged status"), json!({ "status": "processed" })),
        (false, subscribe("tasks/1"), none.clone()),
        (
            true,
            json!({ "type": "tasks/create", "id": "1", "fields": { "text": "one" } }),
            none.clone(),
        ),
        (false, subscribe("tasks/1"), none.clone()),
        (
            true,
            json!({ "type": "tasks/change", "id": "1", "fields": { "text": "two" } }),
            none.clone(),
        ),
        (true, json!({ "type": "tasks/create", "id": "secret", "fields": {} }), none.clone()),
        (true, json!({ "type": "tasks/changed", "id": "1", "fields": {} }), none.clone()),
        (true, json!({ "type": "tasks/delete", "id": "1" }), none.clone()),
        (
            false,
            json!({ "type": "logux/subscribe", "channel": "tasks/1", "creating": true }),
            none.clone(),
        ),
    ];
    for (is_anns, event, meta) in script {
        let author = if is_anns { &mut ann } else { &mut ben };
        author.sync(&event, &meta).await;
        // Its author is told of each.
        let (of_ann, of_ben) = (usize::from(is_anns), usize::from(!is_anns));
        heard.push((format!("{event} {meta}"), ann.heard(of_ann).await, ben.heard(of_ben).await));
    }
    // All that waits behind an event that is undone.
    for event in [add("one"), json!({ "type": "posts/unknown" }), add("two")] {
        ann.sync(&event, &none).await;
    }
    heard.push(("a row".to_owned(), ann.heard(3).await, ben.heard(0).await));
    // A second connection of the same client ends the first.
    let mut again = Raw::connect(port, "10:ann:c").await;
    let let_in = again.heard(1).await;
    let ended = timeout(Duration::from_secs(5), ann.socket.next()).await;
    let is_over = matches!(ended, Ok(None | Some(Err(_) | Ok(Message::Close(_)))));
    heard.push((format!("again: {is_over}"), let_in, ben.heard(0).await));
    heard
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn the_same_script_gives_the_same_events_on_both_servers() {
    in_time(Box::pin(async {
        let mut theirs = Peer::start(["posts-server.mjs"]);
        let port = theirs.ask("port", json!({})).await.as_u64().unwrap();
        let theirs = play(u16::try_from(port).unwrap());
        let (running, port) = serve().await;
        let (theirs, ours) = tokio::join!(theirs, play(port));
        let differing = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
        let differing: Vec<String> =
            differing.map(|(theirs, ours)| format!("theirs {theirs:#?}\nours {ours:#?}")).collect();
        assert!(differing.is_empty(), "{}", differing.join("\n"));
        assert_eq!(theirs.len(), ours.len());
        drop(running);
    }))
    .await;
}
