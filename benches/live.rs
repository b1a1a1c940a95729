//! Ours: events are added to one log until they are in the other one and confirmed.

use std::time::{Duration, Instant};

use logux_benches::Counter;
use logux_sync::{
    Added, ClientSync, Codec, Listener, Log, MemoryStore, Server, State, SyncOptions, Transport,
    WebSocket, WebSocketListener,
};

/// How the program adds.
#[derive(Clone, Copy)]
pub(crate) enum Adding {
    /// 100 events in a call.
    Batches,
    /// An event in a call, as most programs do.
    OneByOne,
}

pub(crate) async fn log(node: &str) -> Log<Counter> {
    Log::open(node.parse().expect("a node id"), MemoryStore::new()).await.expect("a log")
}

/// The one function for all codecs and transports: copy it for your own.
pub(crate) async fn live<C: Codec, T: Transport, L: Listener>(
    codec: C,
    (transport, listener): (T, L),
    options: SyncOptions<Counter>,
    events: u64,
    adding: Adding,
) -> Duration {
    let (near, far) = (log("client").await, log("server").await);
    let server = Server::new(&far, codec.clone(), listener).options(options.clone()).start();
    let client = ClientSync::new(&near, codec, transport).options(options).start();
    client.wait_for(State::Synchronized).await.unwrap();
    let start = Instant::now();
    match adding {
        Adding::Batches => {
            for first in (0..events).step_by(100) {
                let batch = first..events.min(first + 100);
                near.add_batch(batch.map(|value| Counter::Inc { value })).await.expect("added");
                tokio::task::yield_now().await;
            }
        }
        Adding::OneByOne => {
            for value in 0..events {
                near.add(Counter::Inc { value }).await.expect("added");
                tokio::task::consume_budget().await;
            }
        }
    }
    client.wait_for(State::Synchronized).await.unwrap();
    let took = start.elapsed();
    delivered(&far, events).await;
    client.close().await.expect("closed");
    server.shutdown(Duration::from_secs(5)).await;
    took
}

/// Every event, once, in order.
pub(crate) async fn delivered(log: &Log<Counter>, events: u64) {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.expect("read");
    assert_eq!(entries.len() as u64, events, "events are missing");
    for (entry, value) in entries.iter().zip(0..) {
        assert_eq!(entry.event, Counter::Inc { value }, "events are out of order");
    }
}

/// A way over loopback TCP.
pub(crate) async fn websocket() -> (WebSocket, WebSocketListener) {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    (WebSocket::new(&url).expect("a URL"), listener)
}
