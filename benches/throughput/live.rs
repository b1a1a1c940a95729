//! Ours: events are added to one log until they are in the other one and confirmed.

use std::time::{Duration, Instant};

use logux_benches::Counter;
use logux_sync::{
    Added, ClientSync, Codec, Json, Listener, Log, Memory, MemoryStore, Server, State, SyncOptions,
    Transport, WebSocket, WebSocketListener,
};

/// How the program adds.
#[derive(Clone, Copy)]
pub(crate) enum Adding {
    /// 100 events in a call.
    Batches,
    /// An event in a call, as most programs do.
    OneByOne,
}

async fn log(node: &str) -> Log<Counter> {
    Log::open(node.parse().expect("a node id"), MemoryStore::new()).await.expect("a log")
}

/// The one function for all codecs and transports: copy it for your own.
pub(crate) async fn live<C: Codec, T: Transport, L: Listener>(
    codec: C,
    transport: T,
    listener: L,
    options: SyncOptions<Counter>,
    events: u64,
    adding: Adding,
) -> Duration {
    let (near, far) = (log("client").await, log("server").await);
    let server = Server::new(&far, codec.clone(), listener).options(options.clone()).start();
    let client = ClientSync::new(&near, codec, transport).options(options).start();
    client.wait_for(State::Synchronized).await.unwrap();
    let start = Instant::now();
    let add = async {
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
    };
    add.await;
    client.wait_for(State::Synchronized).await.unwrap();
    let took = start.elapsed();
    delivered(&far, events).await;
    client.close().await.expect("closed");
    server.shutdown(Duration::from_secs(5)).await;
    took
}

/// Every event, once, in order.
async fn delivered(log: &Log<Counter>, events: u64) {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.expect("read");
    assert_eq!(entries.len() as u64, events, "events are missing");
    for (entry, value) in entries.iter().zip(0..) {
        assert_eq!(entry.event, Counter::Inc { value }, "events are out of order");
    }
}

pub(crate) async fn memory(events: u64, adding: Adding) -> Duration {
    let (transport, listener) = Memory::listen();
    live(Json, transport, listener, SyncOptions::new(), events, adding).await
}

pub(crate) async fn websocket(events: u64, adding: Adding) -> Duration {
    over_websocket(SyncOptions::new(), events, adding).await
}

/// With one event in a message, as JavaScript nodes do.
pub(crate) async fn unbatched(events: u64) -> Duration {
    let options = SyncOptions::new().batch(1);
    over_websocket(options, events, Adding::Batches).await
}

async fn over_websocket(options: SyncOptions<Counter>, events: u64, adding: Adding) -> Duration {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let transport = WebSocket::new(&url).expect("a URL");
    live(Json, transport, listener, options, events, adding).await
}

/// What an event costs on the wire, in batches of so many.
pub(crate) fn bytes_per_event(batch: u32) -> f64 {
    use logux_sync::codecs::Message;
    use logux_sync::codecs::{Sync, WireId, WireMeta};
    use logux_sync::{Extra, Timestamp};

    let time = |offset: u32| Timestamp::new(1_790_000_000_000 + u64::from(offset));
    let entry = |n: u32| {
        let id = WireId::Absolute { time: time(n).expect("a time"), author: None };
        let meta = WireMeta { id, time: i64::from(n), subprotocol: None, extra: Extra::new() };
        (Counter::Inc { value: 1 }, meta)
    };
    let entries = (0..batch).map(entry).collect();
    let mut frame = Vec::new();
    let added = Added::new(u64::from(batch)).expect("a position");
    Json.encode(&Message::Sync(Sync { added, entries }), &mut frame).expect("encoded");
    f64::from(u32::try_from(frame.len()).expect("a small frame")) / f64::from(batch)
}
