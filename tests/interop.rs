//! This crate and the original, `@logux/core`, over WebSocket. Run by `tests/interop/run`.

#[path = "interop/peer.rs"]
mod peer;
#[path = "interop/proxy.rs"]
mod proxy;

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use logux_sync::{
    Added, ClientSync, Draft, Entry, Error, EventId, Format, Headers, Json, Listener, Log,
    MemoryStore, NodeId, Notice, ProtocolError, Reconnect, RunningServer, Server, ServerSync,
    Session, State, Subprotocol, SyncOptions, Timestamp, Value, WebSocket, WebSocketListener,
};
use peer::Peer;
use proxy::{Cut, Proxy};
use serde_json::json;
use tokio::time::timeout;

/// Each of these runs against a JavaScript client and against a JavaScript server.
macro_rules! against_both {
    ($($test:ident)*) => {
        mod their_client {
            $(
                #[tokio::test]
                #[ignore = "needs Node.js: tests/interop/run"]
                async fn $test() {
                    super::in_time(super::$test(super::Theirs::Client)).await;
                }
            )*
        }
        mod their_server {
            $(
                #[tokio::test]
                #[ignore = "needs Node.js: tests/interop/run"]
                async fn $test() {
                    super::in_time(super::$test(super::Theirs::Server)).await;
                }
            )*
        }
    };
}

against_both! {
    both_logs_hold_the_same_in_the_same_order
    each_side_catches_up_with_5000_events
    connections_cut_within_a_batch_lose_and_repeat_nothing
    a_wrong_token_is_refused_and_not_tried_again
    a_new_connection_carries_only_what_is_missing
    a_javascript_node_that_lost_its_log_gets_it_back
    ten_thousand_live_events_of_theirs_are_stored_and_confirmed
    ten_thousand_live_events_of_ours_are_stored_and_confirmed
    events_carry_a_subprotocol_other_than_the_connections
    headers_and_debug_texts_arrive
}

async fn both_logs_hold_the_same_in_the_same_order(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    let nodes = [theirs.our_id(), theirs.id(), "1:third", "1:Third", "ünï:third"];
    pair.add_crafted(nodes, 0..100).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(100).await;
    pair.compare().await;

    pair.add_crafted(nodes, 100..200).await;
    pair.meet(200).await;
    pair.compare().await;

    // What is local to a log stays there, or is not believed.
    pair.log.add(Draft::new(event("rust", 0)).reason("ours").index("ours")).await.unwrap();
    pair.js.add([(event("js", 0), json!({ "reasons": ["theirs"], "indexes": ["theirs"] }))]).await;
    pair.meet(202).await;
    pair.compare().await;
    for (event, meta) in pair.js.wire().await.events("rust") {
        for key in ["added", "reasons", "indexes", "keepLast"] {
            assert!(meta.get(key).is_none(), "{event} was sent with {meta}");
        }
    }
    for entry in pair.log.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
        let ours = entry.event == event("rust", 0);
        assert_eq!(
            (entry.meta.reasons.len(), entry.meta.indexes.len()),
            (ours.into(), ours.into())
        );
    }
}

async fn each_side_catches_up_with_5000_events(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..5_000).await;
    pair.add_theirs(0..5_000).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("rust").len(), 5_000);
}

async fn connections_cut_within_a_batch_lose_and_repeat_nothing(theirs: Theirs) {
    const CUTS: usize = 16;

    let mut random = Rng::with_seed(seed());
    let mut cut = |bytes| Cut { after: random.u64(bytes), reset: random.bool() };
    // The first ones, in the middle of the catch-up, which makes some 130,000 bytes.
    let mut plan = vec![cut(5_000..60_000), cut(5_000..60_000)];
    // The others anywhere, also before the WebSocket is open.
    plan.resize_with(CUTS, || cut(1..60_000));
    let mut pair = Pair::new(theirs, plan).await;
    pair.add_ours(0..1_000).await;
    pair.add_theirs(0..1_000).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    let mut count = 1_000;
    while pair.proxy.cuts() < CUTS {
        pair.add_ours(count..count + 3).await;
        pair.add_theirs(count..count + 3).await;
        count += 3;
    }
    pair.meet(2 * count).await;
    pair.compare().await;
}

async fn a_wrong_token_is_refused_and_not_tried_again(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..1).await;
    pair.add_theirs(0..1).await;
    match theirs {
        Theirs::Client => {
            let checks =
                SyncOptions::new().auth(async |login| login.credentials == Some("right".into()));
            pair.connect(checks, json!({ "token": "wrong" })).await;
            assert_eq!(pair.js.next("error").await, json!({ "type": "wrong-credentials" }));
            pair.js.wait("disconnected").await;
            assert_eq!(pair.js.status().await["reconnecting"], false);
            assert_eq!(pair.js.status().await["connections"], 1);
            assert_eq!(pair.log.last_added().value(), 1);

            let url = pair.url();
            pair.js.ask("client", json!({ "url": url, "token": "right" })).await;
        }
        Theirs::Server => {
            pair.connect(SyncOptions::new().credentials("wrong"), json!({ "token": "right" }))
                .await;
            let Some(Ours::Client(session)) = pair.ours.take() else { panic!() };
            let error = session.ended().await.unwrap_err();
            let refused = matches!(*error, Error::Received(ProtocolError::WrongCredentials));
            assert!(refused, "{error}");
            assert_eq!(pair.js.next("error").await, json!({ "type": "wrong-credentials" }));
            assert_eq!(pair.js.status().await["connections"], 1);
            assert_eq!(pair.log.last_added().value(), 1);

            pair.dial(SyncOptions::new().credentials("right"));
        }
    }
    pair.meet(2).await;
    pair.compare().await;
}

async fn a_new_connection_carries_only_what_is_missing(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..200).await;
    pair.add_theirs(0..200).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(400).await;
    pair.disconnect().await;
    pair.js.wire().await;
    pair.add_ours(200..203).await;
    pair.add_theirs(200..203).await;
    pair.reconnect();
    pair.meet(406).await;
    pair.compare().await;

    let wire = pair.js.wire().await;
    let events =
        |from| -> Vec<_> { wire.events(from).iter().map(|(event, _)| (*event).clone()).collect() };
    let missing = |kind| -> Vec<_> { (200..203).map(|n| event(kind, n)).collect() };
    assert_eq!(events("rust"), missing("rust"));
    // The original sends back what it got over the connection before: it remembers only how far
    // its log was confirmed, not where an event came from.
    let (own, returned): (Vec<_>, Vec<_>) =
        events("js").into_iter().partition(|event| event["type"] == "js");
    assert_eq!(own, missing("js"));
    assert!(returned.iter().all(|event| event["n"].as_u64() < Some(200)), "{returned:?}");
}

async fn a_javascript_node_that_lost_its_log_gets_it_back(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..150).await;
    pair.add_theirs(0..150).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(300).await;
    pair.disconnect().await;

    pair.js = Peer::start(theirs.id());
    // A minute later: one that forgets everything and is back at once could give an id twice.
    let later = pair.log.now().shifted(60_000).unwrap();
    let id = EventId::new(later, theirs.id().parse().unwrap());
    pair.js.add([(event("js", 150), json!({ "id": id, "time": later }))]).await;
    pair.add_ours(150..151).await;
    match theirs {
        Theirs::Client => {
            let url = pair.url();
            pair.js.ask("client", json!({ "url": url })).await;
        }
        Theirs::Server => pair.target = pair.listen(json!({})).await,
    }
    pair.reconnect();
    pair.meet(302).await;
    // The two have them in other orders of adding now.
    pair.compare_contents().await;
}

async fn ten_thousand_live_events_of_theirs_are_stored_and_confirmed(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(0).await;
    pair.add_theirs(0..10_000).await;
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert_eq!(wire.messages("sync", "js").len(), 10_000);
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("rust"), [], "nothing goes back to where it came from");
}

async fn ten_thousand_live_events_of_ours_are_stored_and_confirmed(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(0).await;
    for n in 0..10_000 {
        pair.log.add(event("rust", n)).await.unwrap();
    }
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert_eq!(wire.events("rust").len(), 10_000);
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("js"), [], "nothing goes back to where it came from");
}

async fn events_carry_a_subprotocol_other_than_the_connections(theirs: Theirs) {
    let version = |major| Subprotocol::new(major, 0);
    let mut pair = Pair::new(theirs, []).await;
    for (n, major) in [(0, None), (2, Some(2)), (3, Some(3))] {
        let draft = Draft::new(event("rust", n));
        let draft = match major {
            Some(major) => draft.subprotocol(version(major)),
            None => draft,
        };
        pair.log.add(draft).await.unwrap();
    }
    pair.js.add([(event("js", 0), json!({})), (event("js", 2), json!({ "subprotocol": 2 }))]).await;
    pair.connect(SyncOptions::new().subprotocol(version(3)), json!({ "subprotocol": 4 })).await;
    pair.meet(5).await;

    // Rust leaves the connection's out, and fills it in.
    assert_eq!(pair.js.status().await["remoteSubprotocol"], 3);
    let wire = pair.js.wire().await;
    let sent: Vec<_> =
        wire.events("rust").iter().map(|(_, meta)| meta.get("subprotocol")).collect();
    assert_eq!(sent, [None, Some(&json!(2)), None]);
    let entries = pair.log.entries_after(Added::ZERO, 10).await.unwrap();
    let received = entries.iter().filter(|entry| entry.event["type"] == "js");
    let received: Vec<_> = received.map(|entry| entry.meta.subprotocol).collect();
    assert_eq!(received, [Some(version(4)), Some(version(2))]);
    if let Some(Ours::Client(session)) = &pair.ours {
        assert_eq!(session.remote().unwrap().subprotocol, Some(version(4)));
    }
}

async fn headers_and_debug_texts_arrive(theirs: Theirs) {
    let headers =
        |text: &str| -> Headers { [("env".to_owned(), json!(text))].into_iter().collect() };
    let mut pair = Pair::new(theirs, []).await;
    let options = SyncOptions::new().headers(headers("rust"));
    let details = json!({ "headers": headers("js") });
    let session = match theirs {
        Theirs::Client => {
            // A listener of one's own, for `Server` has no sessions to ask.
            let mut listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
            pair.proxy.lead_to(Some(listener.local_addr().unwrap()));
            pair.call(details).await;
            let format = Format { name: "json", media_type: "application/json", text: true };
            let link = listener.accept(format).await.unwrap();
            ServerSync::new(&pair.log, Json, link).options(options).start()
        }
        Theirs::Server => {
            pair.connect(options, details).await;
            let Some(Ours::Client(session)) = pair.ours.take() else { panic!() };
            session
        }
    };
    let mut notices = session.notices();
    let Some(Notice::Headers(got)) = notices.next().await else { panic!() };
    assert_eq!(got, headers("js"));
    assert_eq!(pair.js.next("headers").await, json!(headers("rust")));
    assert!(session.wait_for(State::Synchronized).await);

    pair.js.ask("headers", json!({ "headers": headers("new js") })).await;
    let Some(Notice::Headers(got)) = notices.next().await else { panic!() };
    assert_eq!(got, headers("new js"));
    session.set_headers(headers("new rust")).await;
    assert_eq!(pair.js.next("headers").await, json!(headers("new rust")));

    pair.js.ask("debug", json!({ "text": "from JavaScript" })).await;
    let Some(Notice::Debug(text)) = notices.next().await else { panic!() };
    assert_eq!(text, "from JavaScript");
    session.debug("from Rust").await;
    assert_eq!(pair.js.next("debug").await, "from Rust");
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_protocol_of_the_past_is_refused_and_told_which_one_is_spoken() {
    in_time(async {
        let mut pair = Pair::new(Theirs::Client, []).await;
        pair.serve(SyncOptions::new()).await;
        let message = json!(["connect", 5, "10:old", 0]);
        let answers = pair.js.ask("raw", json!({ "url": pair.url(), "message": message })).await;
        let refusal = json!(["error", "wrong-protocol", { "supported": 7, "used": 5 }]);
        assert_eq!(answers, json!([refusal]));
    })
    .await;
}

/// What the JavaScript node is.
#[derive(Clone, Copy)]
enum Theirs {
    Client,
    Server,
}

impl Theirs {
    fn id(self) -> &'static str {
        match self {
            Self::Client => "10:js:tab",
            Self::Server => "server:js",
        }
    }

    /// The other node, ours.
    fn our_id(self) -> &'static str {
        match self {
            Self::Client => "server:rust",
            Self::Server => "10:rust:tab",
        }
    }
}

/// What runs on this side.
enum Ours {
    Server { _running: RunningServer },
    Client(Session),
}

/// A log on each side, and the wire between them.
struct Pair {
    theirs: Theirs,
    log: Log<Value>,
    js: Peer,
    proxy: Proxy,
    /// Where the proxy leads.
    target: SocketAddr,
    ours: Option<Ours>,
}

impl Pair {
    /// Two empty logs, and a wire that will be cut as planned.
    async fn new(theirs: Theirs, plan: impl IntoIterator<Item = Cut>) -> Self {
        let proxy = Proxy::start(plan).await;
        Self {
            theirs,
            log: Log::open(theirs.our_id().parse().unwrap(), MemoryStore::new()).await.unwrap(),
            js: Peer::start(theirs.id()),
            target: proxy.address,
            proxy,
            ours: None,
        }
    }

    /// Connects both; `details` are options of the JavaScript node, the client or the server.
    async fn connect(&mut self, options: SyncOptions<Value>, details: Value) {
        match self.theirs {
            Theirs::Client => {
                self.serve(options).await;
                self.call(details).await;
            }
            Theirs::Server => {
                self.target = self.listen(details).await;
                self.reconnect();
                self.dial(options);
            }
        }
    }

    /// Starts our server.
    async fn serve(&mut self, options: SyncOptions<Value>) {
        let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        self.target = listener.local_addr().unwrap();
        self.reconnect();
        let server = Server::new(&self.log, Json, listener).options(options);
        self.ours = Some(Ours::Server { _running: server.start() });
    }

    /// Starts our client.
    fn dial(&mut self, options: SyncOptions<Value>) {
        let transport = Reconnect::new(WebSocket::new(&self.url()).unwrap())
            .min_delay(Duration::from_millis(1))
            .max_delay(Duration::from_millis(10));
        let client = ClientSync::new(&self.log, Json, transport).options(options);
        self.ours = Some(Ours::Client(client.start()));
    }

    /// Starts the JavaScript client.
    async fn call(&mut self, mut details: Value) {
        details["url"] = json!(self.url());
        self.js.ask("client", details).await;
    }

    /// Starts the JavaScript server.
    async fn listen(&mut self, details: Value) -> SocketAddr {
        let port = self.js.ask("server", details).await.as_u64().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port.try_into().unwrap()))
    }

    fn url(&self) -> String {
        format!("ws://{}", self.proxy.address)
    }

    /// Cuts the wire, and waits until both sides know.
    async fn disconnect(&mut self) {
        self.proxy.lead_to(None);
        self.js.wait("disconnected").await;
        match self.ours.as_ref().unwrap() {
            Ours::Client(session) => assert!(session.wait_for(State::Disconnected).await),
            // A server has nothing to wait for: it takes the next connection beside the last.
            Ours::Server { .. } => {}
        }
    }

    /// Mends the wire.
    fn reconnect(&self) {
        self.proxy.lead_to(Some(self.target));
    }

    async fn add_ours(&self, numbers: Range<usize>) {
        self.log.add_batch(numbers.map(|n| event("rust", n))).await.unwrap();
    }

    async fn add_theirs(&mut self, numbers: Range<usize>) {
        self.js.add(numbers.map(|n| (event("js", n), json!({})))).await;
    }

    /// Adds events of the past that five nodes have made, many at the same time, and half of them
    /// with something in their meta. Each of the first two nodes, ours and theirs, has its own;
    /// those of the others came over either.
    async fn add_crafted(&mut self, nodes: [&str; 5], numbers: Range<usize>) {
        let (mut drafts, mut entries) = (Vec::new(), Vec::new());
        for n in numbers {
            let node: NodeId = nodes[n % 5].parse().unwrap();
            let id = EventId::new(past(n), node);
            // Not in the order of their ids.
            let time = past(n / 20 * 20 + n % 3);
            let status = json!({ "n": [n, 0.5, -1, null, "\u{2028}é😀"] });
            if n % 5 == 0 || (n % 5 > 1 && n % 2 == 0) {
                let draft = Draft::new(event("crafted", n)).id(id).time(time);
                drafts.push(if n % 4 < 2 {
                    draft.extra("status", status).subprotocol(Subprotocol::new(2, 0))
                } else {
                    draft
                });
            } else {
                let mut meta = json!({ "id": id, "time": time });
                if n % 4 < 2 {
                    meta["status"] = status;
                    meta["subprotocol"] = json!(2);
                }
                entries.push((event("crafted", n), meta));
            }
        }
        self.log.add_batch(drafts).await.unwrap();
        self.js.add(entries).await;
    }

    /// Waits until both logs hold so many events and no side waits for the other.
    async fn meet(&mut self, count: usize) {
        let mut entries = self.log.follow(Added::ZERO);
        for _ in 0..count {
            entries.next().await.unwrap().unwrap();
        }
        self.js.ask("hold", json!({ "count": count })).await;
        self.js.wait("synchronized").await;
        if let Some(Ours::Client(session)) = &self.ours {
            assert!(session.wait_for(State::Synchronized).await);
        }
    }

    /// Both logs hold the same, as the JavaScript log tells it, and each has the other's events in
    /// the order in which that got them.
    async fn compare(&mut self) {
        let log = self.compare_contents().await;
        let ours = self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let order = |came: bool| -> Vec<_> {
            let those = ours.iter().filter(|entry| entry.meta.source.is_some() == came);
            those.map(|entry| entry.meta.id.to_string()).collect()
        };
        for ours in [order(true), order(false)] {
            let those: HashSet<_> = ours.iter().map(String::as_str).collect();
            let theirs = log["added"].as_array().unwrap().iter().filter_map(Value::as_str);
            let theirs: Vec<_> = theirs.filter(|id| those.contains(id)).collect();
            assert!(ours == theirs, "the orders of adding differ");
        }
    }

    /// Both logs hold the same, in the same order of creation, and neither complained.
    async fn compare_contents(&mut self) -> Value {
        let log = self.js.ask("log", json!({})).await;
        assert_eq!(log["errors"], json!([]));
        assert_eq!(log["twice"], json!([]), "added more than once");

        let ours = self.log.entries_created_after(None, usize::MAX).await.unwrap();
        let theirs = log["created"].as_array().unwrap();
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(as_javascript(ours), *theirs);
        }
        assert_eq!(ours.len(), theirs.len());
        log
    }
}

/// An entry as `peer.mjs` tells one.
fn as_javascript(entry: &Entry<Value>) -> Value {
    let mut rest = Value::Object(entry.meta.extra.clone());
    if let Some(subprotocol) = entry.meta.subprotocol {
        rest["subprotocol"] = json!(subprotocol);
    }
    json!([entry.meta.id, entry.meta.time, entry.event, rest])
}

fn event(kind: &str, n: usize) -> Value {
    json!({ "type": kind, "n": n })
}

/// A moment long ago: no event that is made now has its time.
fn past(milliseconds: usize) -> Timestamp {
    Timestamp::new(1_700_000_000_000 + milliseconds as u64).unwrap()
}

/// The seed of this run. Printed if the test fails; `INTEROP_SEED` runs one again.
fn seed() -> u64 {
    let given = std::env::var("INTEROP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("INTEROP_SEED={seed}");
    seed
}

async fn in_time(test: impl Future<Output = ()>) {
    timeout(Duration::from_mins(1), test).await.expect("the test ends within a minute");
}
