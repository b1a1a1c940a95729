//! Answers reach clients that were away, and clients of both protocols.

use std::sync::Arc;
use std::time::Duration;

use logux_sync::app::{App, Channel, Client, Handler, TestApp, Undo};
use logux_sync::transports::{FrameReceiver, FrameSender, Link};
use logux_sync::{Added, Json, Log, Memory, MemoryStore, Transport, Value, format};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::handlers::everybody;

/// A client that a test plays frame by frame.
struct Raw(Link<<Memory as Transport>::Sender, <Memory as Transport>::Receiver>, Vec<Value>);

impl Raw {
    async fn connect(memory: &Memory, protocol: u64, node: &str, synced: u64) -> Self {
        let link = memory.clone().open(format::<Json>(), 1 << 20).await.unwrap();
        let mut raw = Self(link, Vec::new());
        raw.send(json!(["connect", protocol, node, synced, { "subprotocol": 1 }])).await;
        raw.read().await;
        raw
    }

    async fn send(&mut self, message: Value) {
        self.0.sender.send(message.to_string().into()).await.unwrap();
    }

    /// What the times of this connection are relative to.
    fn base(&self) -> i64 {
        let connected = self.1.iter().find(|message| message[0] == "connected").unwrap();
        connected[3][1].as_i64().unwrap()
    }

    /// Reads and confirms all that comes in a second, and answers the events.
    async fn read(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Ok(frame) =
            timeout(Duration::from_secs(1), self.0.receiver.receive(1 << 20)).await
        {
            let Some(frame) = frame.unwrap() else { break };
            let message: Value = serde_json::from_slice(&frame).unwrap();
            if message[0] == "sync" {
                self.send(json!(["synced", message[1]])).await;
                events.extend(message.as_array().unwrap()[2..].iter().step_by(2).cloned());
            }
            self.1.push(message);
        }
        events
    }
}

fn app() -> App {
    everybody(())
        .on(
            "add",
            Handler::access(async |client: Client| !client.is_of("denied")).route(async || "all"),
        )
        .channel("all", Channel::access(async || true).from_log())
}

async fn serve() -> (Memory, logux_sync::app::RunningApp, Log<Value>) {
    let log = Log::open_with(
        "server:x".parse().unwrap(),
        Arc::new(MemoryStore::new()),
        App::<()>::log_options(),
    );
    let log = log.await.unwrap();
    let (memory, listener) = Memory::listen();
    let running = app().serve(&log, Json, listener).unwrap();
    (memory, running, log)
}

#[tokio::test(start_paused = true)]
async fn a_client_knows_its_events_by_the_ids_of_its_protocol() {
    for (protocol, shift) in [(5, json!([3, 1])), (7, json!("OzcVoWD"))] {
        let (memory, _running, log) = serve().await;
        let mut ann = Raw::connect(&memory, protocol, "ann:1:x", 0).await;
        let meta = json!({ "id": shift, "time": 3 });
        ann.send(json!(["sync", 1, { "type": "add" }, meta])).await;
        let answers = ann.read().await;
        let entries = log.entries_after(Added::ZERO, 10).await.unwrap();
        let id = &entries.iter().find(|entry| entry.event["type"] == "add").unwrap().meta.id;
        let text = if protocol == 5 { id.to_protocol_5() } else { id.to_string() };
        assert_eq!(answers, [json!({ "type": "logux/processed", "id": text })]);
        // The mark of its protocol was only for the time that it waited.
        assert_eq!(entries[0].meta.indexes, ["channel:all"]);
    }
}

/// Events of others, and meta that is not a client's to set, are denied.
#[tokio::test(start_paused = true)]
async fn forged_ids_and_meta_are_denied_and_nobody_sees_them() {
    let (memory, _running, log) = serve().await;
    let mut ben = Raw::connect(&memory, 5, "ben:1:x", 0).await;
    ben.send(
        json!(["sync", 1, { "type": "logux/subscribe", "channel": "all" }, { "id": 1, "time": 1 }]),
    )
    .await;
    ben.read().await;
    let mut ann = Raw::connect(&memory, 5, "ann:1:x", 0).await;
    let mut number = 0;
    for meta in [
        json!({ "id": [1, "ben:1:x", 0], "time": 1 }),
        json!({ "id": [1, "server:x", 0], "time": 1 }),
        json!({ "id": [1, "ann:2:x", 0], "time": 1 }),
        json!({ "id": 2, "time": 1, "channels": ["all"] }),
        json!({ "id": 3, "time": 1, "status": "processed" }),
        json!({ "id": 4, "time": 1, "clients": ["ben:1"] }),
    ] {
        number += 1;
        ann.send(json!(["sync", number, { "type": "add", "forged": true }, meta])).await;
        let answers = ann.read().await;
        assert_eq!(answers.len(), 1, "{meta}: {:?}", ann.1);
        assert_eq!(
            (&answers[0]["type"], &answers[0]["reason"]),
            (&json!("logux/undo"), &json!("denied")),
            "{meta}"
        );
    }
    assert_eq!(ben.read().await, [] as [Value; 0]);
    // What is local of a meta is not believed, and no reason to deny.
    ann.send(json!(["sync", 9, { "type": "add" }, { "id": 9, "time": 1, "added": 1, "reasons": ["x"], "indexes": ["client:ben:1"] }])).await;
    assert_eq!(ann.read().await[0]["type"], "logux/processed");
    let kept = log.entries_after(Added::ZERO, 100).await.unwrap();
    let kept: Vec<_> = kept.iter().filter(|entry| entry.event["type"] == "add").collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].meta.indexes, ["channel:all"]);
}

/// What was confirmed is handled by the next process, and its answer reaches the client when it is back.
#[tokio::test(start_paused = true)]
async fn what_waited_is_handled_by_the_next_process_and_answered() {
    let slow = |is_slow: bool| {
        App::new(async |_| true).on(
            "add",
            Handler::access(move || async move {
                if is_slow {
                    std::future::pending::<()>().await;
                }
                true
            }),
        )
    };
    let store = Arc::new(MemoryStore::new());
    let open = async || {
        let node = "server:x".parse().unwrap();
        Log::open_with(node, Arc::clone(&store) as Arc<_>, App::<()>::log_options()).await.unwrap()
    };
    let log = open().await;
    let (memory, listener) = Memory::listen();
    let running = slow(true).serve(&log, Json, listener).unwrap();
    let mut ann = Raw::connect(&memory, 5, "ann:1:x", 0).await;
    ann.send(json!(["sync", 1, { "type": "add" }, { "id": 1, "time": 1 }, { "type": "logux/subscribe", "channel": "none" }, { "id": 2, "time": 1 }])).await;
    assert_eq!(ann.read().await, [] as [Value; 0]);
    assert_eq!(ann.1.last().unwrap(), &json!(["synced", 1]), "it is confirmed once it waits");
    let first_base = ann.base();
    running.shutdown(Duration::from_secs(2)).await;
    drop((ann, log));
    let log = open().await;
    let (memory, listener) = Memory::listen();
    let _running = slow(false).serve(&log, Json, listener).unwrap();
    sleep(Duration::from_secs(5)).await;
    let mut ann = Raw::connect(&memory, 5, "ann:1:x", 0).await;
    sleep(Duration::from_secs(1)).await;
    ann.read().await;
    let events: Vec<&Value> = ann
        .1
        .iter()
        .filter(|message| message[0] == "sync")
        .flat_map(|message| message.as_array().unwrap()[2..].iter().step_by(2))
        .collect();
    let kinds: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), &event["reason"])).collect();
    assert_eq!(kinds, [("logux/processed", &Value::Null), ("logux/undo", &json!("wrongChannel"))]);
    // Sent again, because its confirmation was lost: it is neither handled nor answered again.
    let shift = first_base + 1 - ann.base();
    ann.send(json!(["sync", 3, { "type": "add" }, { "id": shift, "time": shift }])).await;
    assert_eq!(ann.read().await, [] as [Value; 0]);
    assert_eq!(ann.1.last().unwrap(), &json!(["synced", 3]));
    let entries = log.entries_after(Added::ZERO, 100).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.event["type"] == "add").count(), 1);
    assert_eq!(log.inboxes().await.unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_what_was_done_reaches_all_that_have_it() {
    let test = TestApp::start(app()).await.unwrap();
    let (ann, ben) = (test.client("ann:1").await.unwrap(), test.client("ben:1").await.unwrap());
    ben.subscribe("all").await.unwrap();
    ann.process(json!({ "type": "add" })).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let entries = test.log().entries_after(Added::ZERO, 10).await.unwrap();
    let id = entries.iter().find(|entry| entry.event["type"] == "add").unwrap().meta.id.clone();
    assert!(test.undo(&id, Undo::new("changedMyMind")).await.unwrap());
    sleep(Duration::from_secs(1)).await;
    for client in [&ann, &ben] {
        let entries = client.log().entries_after(Added::ZERO, 10).await.unwrap();
        let undo = &entries.last().unwrap().event;
        assert_eq!(undo["reason"], "changedMyMind");
        assert_eq!(undo["action"], json!({ "type": "add" }));
    }
    assert!(!test.undo(&"1 nobody".parse().unwrap(), Undo::denied()).await.unwrap());
}

/// The client does not subscribe anew to what it does not know it is subscribed to.
#[tokio::test(start_paused = true)]
async fn who_did_not_read_that_it_is_subscribed_is_so_when_it_is_back() {
    let (memory, running, _log) = serve().await;
    let subscribe = json!({ "type": "logux/subscribe", "channel": "all" });
    let mut ben = Raw::connect(&memory, 5, "ben:1:x", 0).await;
    ben.send(json!(["sync", 1, subscribe, { "id": 1, "time": 1 }])).await;
    // It is answered, and the answer is not read.
    sleep(Duration::from_secs(1)).await;
    drop(ben);
    sleep(Duration::from_secs(10)).await;
    running.process(json!({ "type": "add", "n": 1 })).await.unwrap();
    let mut ben = Raw::connect(&memory, 5, "ben:1:x", 0).await;
    running.process(json!({ "type": "add", "n": 2 })).await.unwrap();
    ben.read().await;
    let syncs = ben.1.iter().filter(|message| message[0] == "sync");
    let events = syncs.flat_map(|sync| sync.as_array().unwrap()[2..].iter().step_by(2));
    let mut kinds: Vec<_> =
        events.map(|event| format!("{} {}", event["type"], event["n"])).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [r#""add" 1"#, r#""add" 2"#, r#""logux/processed" null"#]);
    // Another page of the client is not subscribed by that.
    drop(ben);
    let mut other = Raw::connect(&memory, 5, "ben:1:other", 0).await;
    running.process(json!({ "type": "add", "n": 3 })).await.unwrap();
    assert_eq!(other.read().await, [] as [Value; 0]);
}

/// It is asked about whether it may have the channel, and leaves it meanwhile.
#[tokio::test(start_paused = true)]
async fn who_leaves_while_it_is_subscribed_again_has_left() {
    let slow = Channel::access(async || {
        sleep(Duration::from_secs(5)).await;
        true
    });
    let app = everybody(())
        .on("add", Handler::access(async || true).route(async || "slow"))
        .channel("slow", slow);
    let node = "server:x".parse().unwrap();
    let log = Log::open_with(node, Arc::new(MemoryStore::new()), App::<()>::log_options());
    let log = log.await.unwrap();
    let (memory, listener) = Memory::listen();
    let running = app.serve(&log, Json, listener).unwrap();
    let of_channel = |kind: &str| json!({ "type": format!("logux/{kind}"), "channel": "slow" });
    for leaves in [false, true] {
        let name = if leaves { "ann:1:x" } else { "ben:1:x" };
        let mut client = Raw::connect(&memory, 5, name, 0).await;
        client.send(json!(["sync", 1, of_channel("subscribe"), { "id": 1, "time": 1 }])).await;
        sleep(Duration::from_secs(20)).await;
        drop(client);
        let mut client = Raw::connect(&memory, 5, name, 0).await;
        if leaves {
            client
                .send(json!(["sync", 2, of_channel("unsubscribe"), { "id": 2, "time": 2 }]))
                .await;
        }
        sleep(Duration::from_secs(20)).await;
        client.read().await;
        running.process(json!({ "type": "add" })).await.unwrap();
        assert_eq!(client.read().await.len(), usize::from(!leaves), "{leaves}");
    }
}
