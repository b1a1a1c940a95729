//! One of our servers serves a client of protocol 5 and a client of protocol 7 at the same time.

use std::ops::Range;

use fastrand::Rng;
use logux_sync::codecs::Protocol;
use logux_sync::{
    Added, Json, Log, MemoryStore, RunningServer, Server, SyncOptions, Value, WebSocketListener,
};
use serde_json::json;

use crate::pair::{compare, hold};
use crate::peer::Peer;
use crate::proxy::{Cut, Proxy};
use crate::{event, in_time, seed};

const PROTOCOLS: [Protocol; 2] = [Protocol::V5, Protocol::V7];

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn all_three_logs_hold_the_same_events_under_the_same_ids() {
    in_time(async {
        let mut world = World::start([]).await;
        // What was there before, and more than one protocol 5 node makes in a millisecond.
        world.add(0..500).await;
        world.connect().await;
        world.meet(3 * 500).await;
        // And what comes while all are connected.
        for n in (500..1_000).step_by(20) {
            world.add(n..n + 20).await;
        }
        world.meet(3 * 1_000).await;

        let entries = world.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
        let counted = entries.iter().filter(|entry| entry.meta.id.counter().value() > 0).count();
        assert!(counted > 0, "the events of protocol 5 have counters");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn cuts_on_either_wire_lose_and_repeat_nothing() {
    const CUTS: usize = 16;

    in_time(async {
        let mut random = Rng::with_seed(seed());
        let plan: Vec<_> =
            (0..CUTS).map(|_| Cut { after: random.u64(1..60_000), reset: random.bool() }).collect();
        let mut world = World::start(plan).await;
        world.add(0..500).await;
        world.connect().await;
        let mut count = 500;
        while world.proxy.cuts() < CUTS {
            world.add(count..count + 3).await;
            count += 3;
        }
        world.meet(3 * count).await;
    })
    .await;
}

struct World {
    log: Log<Value>,
    proxy: Proxy,
    clients: [Peer; 2],
    _running: RunningServer,
}

impl World {
    /// Three empty logs, and a wire to each client; these will be cut as planned.
    async fn start(plan: impl IntoIterator<Item = Cut>) -> Self {
        let log = Log::open("server:rust".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(plan).await;
        proxy.lead_to(Some(listener.local_addr().unwrap()));
        let running = Server::new(&log, Json, listener).options(SyncOptions::new()).start();
        let clients = PROTOCOLS
            .map(|protocol| Peer::core(protocol, &format!("{}:js:tab", protocol.number())));
        Self { log, proxy, clients, _running: running }
    }

    async fn connect(&mut self) {
        let url = format!("ws://{}", self.proxy.address);
        for client in &mut self.clients {
            client.ask("client", json!({ "url": url })).await;
        }
    }

    /// Adds events to each of the three logs.
    async fn add(&mut self, numbers: Range<usize>) {
        self.log.add_batch(numbers.clone().map(|n| event("rust", n))).await.unwrap();
        for client in &mut self.clients {
            client.add(numbers.clone().map(|n| (event("js", n), json!({})))).await;
        }
    }

    /// Waits until all logs hold so many events; then they are the same.
    async fn meet(&mut self, count: usize) {
        hold(&self.log, count).await;
        for (client, protocol) in self.clients.iter_mut().zip(PROTOCOLS) {
            client.ask("hold", json!({ "count": count })).await;
            client.wait("synchronized").await;
            compare(&self.log, client, protocol).await;
        }
    }
}
