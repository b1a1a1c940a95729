//! `examples/web/long-poll-connection.js` under `@logux/core` 0.12.1: where requests get lost, where
//! either side leaves, and beside a WebSocket on the same port.

use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use logux_sync::codecs::Protocol;
use logux_sync::{
    HttpListener, Json, Log, MemoryStore, MessagePack, Notice, RunningServer, Server, Value,
};
use serde_json::json;

use crate::pair::{compare, hold};
use crate::peer::Peer;
use crate::proxy::Proxy;
use crate::{event, in_time, seed};

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn requests_that_are_lost_or_repeated_lose_and_repeat_nothing() {
    const EACH: usize = 900;

    in_time(async {
        let mut random = Rng::with_seed(seed());
        let world = World::start().await;
        let mut peers = ["10:js:tab", "11:js:tab"].map(|id| Peer::core(Protocol::V7, id));
        for n in (0..EACH).step_by(10) {
            if n == 300 {
                let faults = random.u32(1..);
                let details = json!({ "url": world.url(), "longPoll": true, "faults": faults });
                peers[0].ask("client", details).await;
                peers[1].ask("client", json!({ "url": world.url() })).await;
            }
            world.log.add_batch((n..n + 10).map(|n| event("rust", n))).await.unwrap();
            for peer in &mut peers {
                peer.add((n..n + 10).map(|n| (event("js", n), json!({})))).await;
            }
            // Some go together, others each in a request of its own.
            if n >= 300 && random.bool() {
                hold(&world.log, 3 * (n + 10)).await;
            }
        }
        hold(&world.log, 3 * EACH).await;
        for peer in &mut peers {
            peer.ask("hold", json!({ "count": 3 * EACH })).await;
            peer.wait("synchronized").await;
            compare(&world.log, peer, Protocol::V7).await;
        }
        let status = peers[0].status().await;
        assert!(status["faults"].as_u64() > Some(20), "{status}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_client_that_leaves_has_sent_all_before() {
    in_time(async {
        let world = World::start().await;
        let mut js = world.client().await;
        let session = world.running.sessions().pop().unwrap();
        let (mut notices, mut errors) = (session.notices(), session.errors());
        js.ask("leave", json!({ "text": "the last word" })).await;
        js.wait("disconnected").await;
        let Some(Notice::Debug(text)) = notices.next().await else { panic!() };
        assert_eq!(text, "the last word");
        assert!(errors.next().await.is_none(), "it ended in order");
        assert_eq!(js.status().await["losses"], json!([]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_server_that_leaves_has_sent_all_before() {
    in_time(async {
        let world = World::start().await;
        let mut js = world.client().await;
        let session = world.running.sessions().pop().unwrap();
        session.debug("the last word").await;
        let shutdown = world.running.shutdown(Duration::from_secs(20)).await;
        assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
        assert_eq!(js.next("debug").await, "the last word");
        js.wait("disconnected").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_client_whose_session_is_not_known_any_more_opens_another() {
    in_time(async {
        let mut world = World::start().await;
        let mut js = world.client().await;
        world.restart().await;
        js.add([(event("js", 0), json!({}))]).await;
        hold(&world.log, 1).await;
        js.wait("synchronized").await;
        compare(&world.log, &mut js, Protocol::V7).await;
        let status = js.status().await;
        assert_eq!((&status["connections"], &status["losses"]), (&json!(2), &json!([])));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_client_tells_why_it_is_refused() {
    in_time(async {
        let world = World::start().await;
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
        world.proxy.lead_to(Some(listener.local_addr().unwrap()));
        let _running = Server::new(&world.log, MessagePack, listener).start();
        let mut js = Peer::core(Protocol::V7, "10:js:tab");
        js.ask("client", json!({ "url": world.url(), "longPoll": true })).await;
        let loss = "The server answers 415: the formats here are message-pack";
        assert_eq!(js.next("loss").await, loss);
    })
    .await;
}

/// A server for both ways, and the wire to it.
struct World {
    log: Log<Value>,
    proxy: Proxy,
    running: RunningServer,
}

impl World {
    async fn start() -> Self {
        let log = Log::open("server:rust".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let proxy = Proxy::start([]).await;
        let running = serve(&log, &proxy).await;
        Self { log, proxy, running }
    }

    /// Puts a new server, which knows the log and no sessions, in the place of the old one, which is
    /// not asked any more.
    async fn restart(&mut self) {
        self.running = serve(&self.log, &self.proxy).await;
    }

    fn url(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// A client over long-poll that has what there is.
    async fn client(&self) -> Peer {
        let mut js = Peer::core(Protocol::V7, "10:js:tab");
        js.ask("client", json!({ "url": self.url(), "longPoll": true })).await;
        js.wait("synchronized").await;
        js
    }
}

async fn serve(log: &Log<Value>, proxy: &Proxy) -> RunningServer {
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(Some(listener.local_addr().unwrap()));
    Server::new(log, Json, listener).start()
}
