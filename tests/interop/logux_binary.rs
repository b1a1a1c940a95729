//! The binary encoding, against `@logux/core` 0.12.1, which speaks it to binary and JSON nodes alike.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use logux_sync::codecs::{Counter, Protocol};
use logux_sync::{
    Access, Added, ClientSync, Draft, EventId, Log, LoguxBinary, MemoryStore, Reconnect,
    RunningServer, Server, Session, State, Subprotocol, SyncOptions, Value, WebSocket,
    WebSocketListener,
};
use serde_json::json;

use crate::pair::{compare, hold};
use crate::peer::Peer;
use crate::proxy::{Cut, Proxy};
use crate::{event, in_time, past, seed};

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_binary_and_a_json_client_of_one_server_hold_the_same() {
    in_time(async {
        let mut world = World::of_clients([], json!({})).await;
        world.fill_and_meet().await;
        assert_eq!(world.speak_text().await, [false, true]);
        assert_eq!(world.took_bytes().await, [true, false]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn our_client_and_their_server_hold_the_same() {
    in_time(async {
        let mut world = World::of_their_server([], json!({})).await;
        world.fill_and_meet().await;
        assert_eq!(world.speak_text().await, [false]);
        assert_eq!(world.took_bytes().await, [true]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn cuts_lose_and_repeat_nothing_of_binary_and_json_clients() {
    in_time(async {
        let mut world = World::of_clients(plan(), json!({})).await;
        world.fill_until_cut().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn cuts_lose_and_repeat_nothing_of_their_server() {
    in_time(async {
        let mut world = World::of_their_server(plan(), json!({})).await;
        world.fill_until_cut().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn events_of_others_carry_the_subprotocol_of_the_sender_or_their_own() {
    in_time(async {
        let details = json!({ "subprotocol": 4 });
        // The original gives events of others the subprotocol of the server, whoever sends them.
        for (mut world, of_others) in [
            (World::of_clients([], details.clone()).await, 3),
            (World::of_their_server([], details).await, 4),
        ] {
            world.peers.truncate(1);
            for (n, own) in [(0, None), (1, Some(2)), (2, Some(3)), (3, Some(4))] {
                for (id, kind) in [(None, "own"), (Some(id(n, "1:ours", 0)), "other")] {
                    let mut draft = Draft::new(event(kind, n));
                    draft = if let Some(id) = id { draft.id(id) } else { draft };
                    let own = own.map(|major| Subprotocol::new(major, 0));
                    draft = if let Some(own) = own { draft.subprotocol(own) } else { draft };
                    world.log.add(draft).await.unwrap();
                }
            }
            let other = json!({ "id": id(0, "1:theirs", 0) });
            let other_2 = json!({ "id": id(1, "1:theirs", 0), "subprotocol": 2 });
            let own_2 = json!({ "subprotocol": 2 });
            let metas = [json!({}), own_2, other, other_2];
            world.peers[0].add(metas.into_iter().map(|meta| (event("js", 0), meta))).await;
            let options = SyncOptions::new().subprotocol(Subprotocol::new(3, 0));
            world.connect(options).await;
            hold(&world.log, 12).await;
            world.peers[0].ask("hold", json!({ "count": 12 })).await;

            let wire = world.peers[0].wire().await;
            let sent = |kind| -> Vec<_> {
                let those =
                    wire.events("rust").into_iter().filter(|(event, _)| event["type"] == kind);
                those.map(|(_, meta)| meta.get("subprotocol").and_then(Value::as_u64)).collect()
            };
            assert_eq!(sent("own"), [None, Some(2), None, Some(4)]);
            assert_eq!(sent("other"), [Some(3), Some(2), Some(3), Some(4)]);
            let entries = world.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
            let received = entries.iter().filter(|entry| entry.event["type"] == "js");
            let received: Vec<_> =
                received.map(|entry| entry.meta.subprotocol.unwrap().major).collect();
            assert_eq!(received, [4, 2, of_others, 2]);
        }
    })
    .await;
}

const CUTS: usize = 16;

fn plan() -> Vec<Cut> {
    let mut random = Rng::with_seed(seed());
    (0..CUTS).map(|_| Cut { after: random.u64(1..40_000), reset: random.bool() }).collect()
}

fn id(n: usize, node: &str, counter: u64) -> EventId {
    EventId::with_counter(past(n), node.parse().unwrap(), Counter::new(counter).unwrap())
}

/// Events of every form, and what is hard to write.
fn hard_event(n: usize, holds_bytes: bool) -> Value {
    let other = |m: usize| {
        let node = ["server:rust", "server:js", "10:binary:tab", "10:json:tab", "ünï:third"][m % 5];
        id(n + m, node, 0)
    };
    let byte = |m: usize| (n * 31 + m * 7) % 256;
    let bytes = |count: usize| (0..count).map(byte).collect::<Vec<_>>();
    match n % 7 {
        0 => json!({ "type": "text", "é\u{1F600}": "\u{2028}é😀\0\"\\", "": [[], {}, null, true] }),
        1 => {
            json!({ "type": "number", "n": [9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64, -0.5, 1e300, 5e-324, n] })
        }
        2 => json!({ "type": "logux/processed", "id": other(n) }),
        3 => json!({ "type": "0/clean", "id": other(n) }),
        4 => json!({ "type": "0/clean", "ids": (0..n % 5).map(other).collect::<Vec<_>>() }),
        5 if holds_bytes => {
            json!({ "type": "0", "d": bytes(n % 300), "iv": bytes(12), "compressed": n.is_multiple_of(2) })
        }
        _ => json!({ "type": "long", "text": "x".repeat(n % 300) }),
    }
}

enum Ours {
    Server { _running: RunningServer },
    Client(Session),
}

/// A log of ours, and its peers over wires that can be cut.
struct World {
    log: Log<Value>,
    proxy: Proxy,
    peers: Vec<Peer>,
    /// Options of the peers.
    details: Value,
    theirs_is_server: bool,
    ours: Option<Ours>,
}

impl World {
    /// Our server, a client that speaks binary and one that speaks JSON.
    async fn of_clients(plan: impl IntoIterator<Item = Cut>, details: Value) -> Self {
        let peers = ["10:binary:tab", "10:json:tab"].map(|id| Peer::core(Protocol::V7, id));
        Self::new("server:rust", peers.into(), details, false, plan).await
    }

    /// Our client, and their server.
    async fn of_their_server(plan: impl IntoIterator<Item = Cut>, details: Value) -> Self {
        let peers = vec![Peer::core(Protocol::V7, "server:js")];
        Self::new("10:rust:tab", peers, details, true, plan).await
    }

    async fn new(
        id: &str,
        peers: Vec<Peer>,
        details: Value,
        theirs_is_server: bool,
        plan: impl IntoIterator<Item = Cut>,
    ) -> Self {
        let log = Log::open(id.parse().unwrap(), MemoryStore::new()).await.unwrap();
        Self { log, proxy: Proxy::start(plan).await, peers, details, theirs_is_server, ours: None }
    }

    async fn connect(&mut self, options: SyncOptions<Value>) {
        let url = format!("ws://{}", self.proxy.address);
        if self.theirs_is_server {
            let port = self.peers[0].ask("server", self.details.clone()).await;
            let port = port.as_u64().unwrap().try_into().unwrap();
            self.proxy.lead_to(Some(([127, 0, 0, 1], port).into()));
            let transport = Reconnect::new(WebSocket::new(&url).unwrap())
                .first_delay(Duration::from_millis(1))
                .min_delay(Duration::ZERO)
                .max_delay(Duration::from_millis(10));
            let client = ClientSync::new(&self.log, LoguxBinary::new(), transport);
            self.ours = Some(Ours::Client(client.options(options).start()));
            return;
        }
        let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        self.proxy.lead_to(Some(listener.local_addr().unwrap()));
        // The clients bring events of other authors, too.
        let options = options.auth(async |_| Access::relay());
        let server = Server::new(&self.log, LoguxBinary::new(), listener).options(options);
        self.ours = Some(Ours::Server { _running: server.start() });
        for (peer, binary) in self.peers.iter_mut().zip([true, false]) {
            let mut details = self.details.clone();
            details["url"] = json!(url);
            details["binary"] = json!(binary);
            peer.ask("client", details).await;
        }
    }

    /// Adds events to each log: a third of them others have made.
    async fn add(&mut self, numbers: Range<usize>) {
        let own = |n: usize| !n.is_multiple_of(3);
        let counter = |n: usize| [0, 12][n % 2];
        let drafts = numbers.clone().map(|n| {
            let draft = Draft::new(hard_event(n, true));
            if own(n) {
                return draft;
            }
            let draft = draft.id(id(n, "1:third", counter(n))).time(past(n / 20 * 20));
            if n % 2 == 0 { draft } else { draft.subprotocol(Subprotocol::new(2, 0)) }
        });
        self.log.add_batch(drafts).await.unwrap();
        for (peer, at) in self.peers.iter_mut().zip(0..) {
            let entries = numbers.clone().map(|n| {
                // JSON between JavaScript nodes makes something else of bytes.
                let event = hard_event(n, at == 0);
                if own(n) {
                    return (event, json!({}));
                }
                let id = id(n, &format!("ünï:{at}"), counter(n));
                let mut meta = json!({ "id": id, "time": past(n / 20 * 20) });
                if n % 2 == 0 {
                    meta["subprotocol"] = json!(2);
                }
                (event, meta)
            });
            peer.add(entries).await;
        }
    }

    /// Waits until all logs hold so many events of each; then they are the same.
    async fn meet(&mut self, of_each: usize) {
        let count = of_each * (1 + self.peers.len());
        hold(&self.log, count).await;
        for peer in &mut self.peers {
            peer.ask("hold", json!({ "count": count })).await;
            peer.wait("synchronized").await;
            compare(&self.log, peer, Protocol::V7).await;
        }
        if let Some(Ours::Client(session)) = &self.ours {
            session.wait_for(State::Synchronized).await.unwrap();
        }
    }

    /// Events that were there before, and events that come while all are connected.
    async fn fill_and_meet(&mut self) {
        self.add(0..300).await;
        self.connect(SyncOptions::new()).await;
        self.meet(300).await;
        for n in (300..600).step_by(20) {
            self.add(n..n + 20).await;
        }
        self.meet(600).await;
    }

    async fn fill_until_cut(&mut self) {
        self.add(0..300).await;
        self.connect(SyncOptions::new()).await;
        let mut count = 300;
        while self.proxy.cuts() < CUTS {
            self.add(count..count + 6).await;
            count += 6;
        }
        self.meet(count).await;
    }

    /// Whether each peer was spoken to in JSON last.
    async fn speak_text(&mut self) -> Vec<Value> {
        let mut text = Vec::new();
        for peer in &mut self.peers {
            text.push(peer.status().await["text"].take());
        }
        text
    }

    /// Whether each peer took the bytes of encrypted events for bytes: those have numbers for keys.
    async fn took_bytes(&mut self) -> Vec<bool> {
        let mut took = Vec::new();
        for peer in &mut self.peers {
            let wire = peer.wire().await;
            assert!(wire.is_confirmed());
            let events = wire.events("rust").into_iter().map(|(event, _)| event);
            let mut of_bytes = events.filter(|event| event["type"] == "0").peekable();
            assert!(of_bytes.peek().is_some());
            let (bytes, lists): (Vec<_>, Vec<_>) =
                of_bytes.partition(|event| event["d"].is_object());
            assert!(bytes.is_empty() || lists.is_empty());
            took.push(!bytes.is_empty());
        }
        took
    }
}
