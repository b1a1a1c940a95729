//! A log in Rust and one in JavaScript, and the wire between them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::codecs::{Counter, Protocol};
use logux_sync::{
    Added, ClientSync, Draft, Entry, EventId, HttpListener, Json, ListenerOptions, Log,
    MemoryStore, NodeId, Reconnect, RunningServer, Server, Session, State, Subprotocol,
    SyncOptions, Value, WebSocket, WebSocketListener,
};
use serde_json::json;

use crate::peer::Peer;
use crate::proxy::{Cut, Proxy};
use crate::{event, past};

/// The largest frame that a transport of ours takes here. The session has a limit of its own.
pub(crate) const MAX_FRAME: usize = 8 << 20;

/// What the JavaScript node is.
#[derive(Clone, Copy)]
pub(crate) struct Theirs {
    pub(crate) protocol: Protocol,
    pub(crate) side: Side,
    /// A client dials so; a server takes WebSocket.
    pub(crate) way: Way,
}

#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    WebSocket,
    LongPoll,
}

impl Theirs {
    pub(crate) fn id(self) -> &'static str {
        match self.side {
            Side::Client => "10:js:tab",
            Side::Server => "server:js",
        }
    }

    /// The other node, ours.
    pub(crate) fn our_id(self) -> &'static str {
        match self.side {
            Side::Client => "server:rust",
            Side::Server => "10:rust:tab",
        }
    }

    /// A new one with an empty log.
    pub(crate) fn start(self) -> Peer {
        Peer::core(self.protocol, self.id())
    }
}

/// What runs on this side.
pub(crate) enum Ours {
    Server { _running: RunningServer },
    Client(Session),
}

/// A log on each side, and the wire between them.
pub(crate) struct Pair {
    pub(crate) theirs: Theirs,
    pub(crate) log: Log<Value>,
    pub(crate) js: Peer,
    pub(crate) proxy: Proxy,
    /// Whether connections will be cut.
    cuts: bool,
    /// Where the proxy leads.
    pub(crate) target: SocketAddr,
    pub(crate) ours: Option<Ours>,
}

impl Pair {
    /// Two empty logs, and a wire that will be cut as planned.
    pub(crate) async fn new(theirs: Theirs, plan: impl IntoIterator<Item = Cut>) -> Self {
        let plan: Vec<_> = plan.into_iter().collect();
        let cuts = !plan.is_empty();
        let proxy = Proxy::start(plan).await;
        Self {
            theirs,
            cuts,
            log: Log::open(theirs.our_id().parse().unwrap(), MemoryStore::new()).await.unwrap(),
            js: theirs.start(),
            target: proxy.address,
            proxy,
            ours: None,
        }
    }

    /// Connects both; `details` are options of the JavaScript node, the client or the server.
    pub(crate) async fn connect(&mut self, options: SyncOptions<Value>, details: Value) {
        match self.theirs.side {
            Side::Client => {
                self.serve(options).await;
                self.call(details).await;
            }
            Side::Server => {
                self.target = self.listen(details).await;
                self.reconnect();
                self.dial(options);
            }
        }
    }

    /// Starts our server.
    pub(crate) async fn serve(&mut self, options: SyncOptions<Value>) {
        let running = match self.theirs.way {
            Way::WebSocket => {
                let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
                self.target = listener.local_addr().unwrap();
                Server::new(&self.log, Json, listener).options(options).start()
            }
            Way::LongPoll => {
                // A wire that was cut is noticed when the session is silent for so long. A JavaScript
                // log that takes thousands of events is silent for seconds, too.
                let patience = Duration::from_secs(if self.cuts { 2 } else { 30 });
                let http = ListenerOptions::new().inactivity(patience);
                let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(http);
                self.target = listener.local_addr().unwrap();
                Server::new(&self.log, Json, listener).options(options).start()
            }
        };
        self.reconnect();
        self.ours = Some(Ours::Server { _running: running });
    }

    /// Starts our client.
    pub(crate) fn dial(&mut self, options: SyncOptions<Value>) {
        let transport = Reconnect::new(WebSocket::new(&self.url()).unwrap())
            .first_delay(Duration::from_millis(1))
            .min_delay(Duration::ZERO)
            .max_delay(Duration::from_millis(10));
        let client = ClientSync::new(&self.log, Json, transport).options(options);
        self.ours = Some(Ours::Client(client.start()));
    }

    /// Starts the JavaScript client.
    pub(crate) async fn call(&mut self, mut details: Value) {
        details["url"] = json!(self.url());
        details["longPoll"] = json!(self.theirs.way == Way::LongPoll);
        self.js.ask("client", details).await;
    }

    /// Starts the JavaScript server.
    pub(crate) async fn listen(&mut self, details: Value) -> SocketAddr {
        let port = self.js.ask("server", details).await.as_u64().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port.try_into().unwrap()))
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.proxy.address)
    }

    /// Cuts the wire, and waits until both sides know.
    pub(crate) async fn disconnect(&mut self) {
        self.proxy.lead_to(None);
        self.js.wait("disconnected").await;
        match self.ours.as_ref().unwrap() {
            Ours::Client(session) => session.wait_for(State::Disconnected).await.unwrap(),
            // A server has nothing to wait for: it takes the next connection beside the last.
            Ours::Server { .. } => {}
        }
    }

    /// Mends the wire.
    pub(crate) fn reconnect(&self) {
        self.proxy.lead_to(Some(self.target));
    }

    pub(crate) async fn add_ours(&self, numbers: Range<usize>) {
        self.log.add_batch(numbers.map(|n| event("rust", n))).await.unwrap();
    }

    pub(crate) async fn add_theirs(&mut self, numbers: Range<usize>) {
        self.js.add(numbers.map(|n| (event("js", n), json!({})))).await;
    }

    /// Adds events of the past that five nodes have made, many at the same time, and half of them
    /// with something in their meta. Each of the first two nodes, ours and theirs, has its own;
    /// those of the others came over either.
    pub(crate) async fn add_crafted(&mut self, nodes: [&str; 5], numbers: Range<usize>) {
        let (mut drafts, mut entries) = (Vec::new(), Vec::new());
        for n in numbers {
            let node: NodeId = nodes[n % 5].parse().unwrap();
            // Some as nodes of protocol 5 make them when they are busy.
            let counter = Counter::new([0, 0, 1, 12][n % 4]).unwrap();
            let id = EventId::with_counter(past(n), node, counter);
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
                let mut meta = json!({ "id": text(self.theirs.protocol, &id), "time": time });
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
    pub(crate) async fn meet(&mut self, count: usize) {
        hold(&self.log, count).await;
        self.js.ask("hold", json!({ "count": count })).await;
        self.js.wait("synchronized").await;
        if let Some(Ours::Client(session)) = &self.ours {
            session.wait_for(State::Synchronized).await.unwrap();
        }
    }

    /// Both logs hold the same, as the JavaScript log tells it, and each has the other's events in
    /// the order in which that got them.
    pub(crate) async fn compare(&mut self) {
        let log = self.compare_contents().await;
        let ours = self.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let order = |came: bool| -> Vec<_> {
            let those = ours.iter().filter(|entry| entry.meta.source.is_some() == came);
            those.map(|entry| text(self.theirs.protocol, &entry.meta.id)).collect()
        };
        for ours in [order(true), order(false)] {
            let those: HashSet<_> = ours.iter().map(String::as_str).collect();
            let theirs = log["added"].as_array().unwrap().iter().filter_map(Value::as_str);
            let theirs: Vec<_> = theirs.filter(|id| those.contains(id)).collect();
            assert!(ours == theirs, "the orders of adding differ");
        }
    }

    /// Both logs hold the same, in the same order of creation, and neither complained.
    pub(crate) async fn compare_contents(&mut self) -> Value {
        compare(&self.log, &mut self.js, self.theirs.protocol).await
    }
}

/// Waits until a log holds so many events.
pub(crate) async fn hold(log: &Log<Value>, count: usize) {
    let mut entries = log.follow(Added::ZERO);
    for _ in 0..count {
        entries.next().await.unwrap().unwrap();
    }
}

/// Both logs hold the same, in the same order of creation, and the JavaScript node did not
/// complain; what it tells of its log.
pub(crate) async fn compare(log: &Log<Value>, js: &mut Peer, protocol: Protocol) -> Value {
    let told = js.ask("log", json!({})).await;
    assert_eq!(told["errors"], json!([]));
    assert_eq!(told["twice"], json!([]), "added more than once");

    let ours = log.entries_created_after(None, usize::MAX).await.unwrap();
    let theirs = told["created"].as_array().unwrap();
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(as_javascript(ours, protocol), *theirs);
    }
    assert_eq!(ours.len(), theirs.len());
    told
}

/// An entry as `peer.mjs` tells one.
fn as_javascript(entry: &Entry<Value>, protocol: Protocol) -> Value {
    let mut rest = Value::Object(entry.meta.extra.clone().into_inner());
    if let Some(subprotocol) = entry.meta.subprotocol {
        rest["subprotocol"] = json!(subprotocol);
    }
    json!([text(protocol, &entry.meta.id), entry.meta.time, entry.event, rest])
}

/// An id as a JavaScript node of that protocol writes it.
pub(crate) fn text(protocol: Protocol, id: &EventId) -> String {
    match protocol {
        Protocol::V5 => id.to_protocol_5(),
        _ => id.to_string(),
    }
}
