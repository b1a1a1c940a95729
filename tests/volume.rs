//! Many events over a real WebSocket, and a peer that stops reading. One test, because it measures
//! the memory of the whole process.

use std::collections::HashMap;

use futures_util::{SinkExt, StreamExt};
use logux_sync::{
    Added, ClientSync, Json, Log, MemoryStore, NodeId, Server, State, SyncOptions, Timestamp,
    WebSocket, WebSocketListener,
};
use peak_alloc::PeakAlloc;
use tokio_tungstenite::tungstenite::Message;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const EVENTS: u64 = 100_000;

async fn log(node: &str) -> Log<u64> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_go_both_ways_and_a_slow_reader_costs_no_memory() {
    both_sides_add_at_once().await;
    let alone = memory_of_a_log(false).await;
    let watched = memory_of_a_log(true).await;
    println!("a log of {EVENTS} events: {alone} bytes alone, {watched} with a stalled reader");
    assert!(watched < alone + (1 << 20), "{watched} bytes instead of {alone}");
}

async fn both_sides_add_at_once() {
    let (client_log, server_log) = (log("client").await, log("server").await);
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = Server::new(&server_log, Json, listener).start();
    let client = ClientSync::new(&client_log, Json, WebSocket::new(&url).unwrap()).start();
    let add = |log: Log<u64>| async move {
        for event in 0..EVENTS {
            log.add(event).await.unwrap();
        }
    };
    let (first, second) =
        (tokio::spawn(add(client_log.clone())), tokio::spawn(add(server_log.clone())));
    first.await.unwrap();
    second.await.unwrap();
    // The client may be in step before the server has sent its last events.
    client.wait_for(State::Synchronized).await.unwrap();
    client_log.end_at(2 * EVENTS).await;
    client.wait_for(State::Synchronized).await.unwrap();

    let here = client_log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let there = server_log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    for entries in [&here, &there] {
        let mut last: HashMap<&NodeId, (Timestamp, u64)> = HashMap::new();
        for entry in entries {
            let id = &entry.meta.id;
            let before = last.insert(id.node(), (id.time(), entry.event));
            let next = before.map_or(0, |(_, event)| event + 1);
            assert!(before.is_none_or(|(time, _)| time < id.time()), "{id} comes too late");
            assert_eq!(entry.event, next, "an event of {} is missing or comes twice", id.node());
        }
    }
    let here = client_log.entries_created_after(None, usize::MAX).await.unwrap();
    let there = server_log.entries_created_after(None, usize::MAX).await.unwrap();
    assert_eq!(here.len() as u64, 2 * EVENTS);
    assert!(here.iter().zip(&there).all(|(a, b)| a.meta.id == b.meta.id && a.event == b.event));
    client.close().await.unwrap();
    server.shutdown(std::time::Duration::from_secs(10)).await;
}

trait EndAt {
    async fn end_at(&self, added: u64);
}

impl EndAt for Log<u64> {
    async fn end_at(&self, added: u64) {
        let mut entries = self.follow(Added::new(added - 1).unwrap());
        entries.next().await.unwrap().unwrap();
    }
}

/// How many bytes the process has more once a log is filled, with or without a peer that was let
/// in and then reads nothing.
async fn memory_of_a_log(with_a_stalled_reader: bool) -> usize {
    let log = log("server").await;
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server =
        Server::new(&log, Json, listener).options(SyncOptions::new().window(usize::MAX)).start();
    let before = MEMORY.current_usage();
    let reader = if with_a_stalled_reader {
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(r#"["connect",7,"client",0]"#)).await.unwrap();
        // Let in; from now on it reads nothing, and even with the widest window nothing piles up.
        socket.next().await.unwrap().unwrap();
        Some(socket)
    } else {
        None
    };
    for event in 0..EVENTS {
        log.add(event).await.unwrap();
    }
    // What can leave has left.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let bytes = MEMORY.current_usage() - before;
    drop(reader);
    server.shutdown(std::time::Duration::from_secs(10)).await;
    bytes
}
