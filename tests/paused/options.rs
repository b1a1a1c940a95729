//! What options of a session, and what its store says, change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use logux_sync::{
    Added, ClientSync, Error, Json, Log, Memory, MemoryStore, Reconnect, Server, State, StoreError,
    SyncOptions, Value,
};
use serde_json::json;
use tokio::time::sleep;

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

async fn events(log: &Log<Value>) -> Vec<Value> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event.clone()).collect()
}

/// Takes an edit of what exists only.
fn edits_what_exists(server: &Log<Value>) -> SyncOptions<Value> {
    let server = server.clone();
    SyncOptions::<Value>::new().in_filter(move |entry, _| {
        let server = server.clone();
        async move {
            let exists = events(&server).await.contains(&json!({ "create": entry.event["edit"] }));
            Ok(entry.event.get("create").is_some() || exists)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn in_order_a_filter_sees_all_that_came_before() {
    for in_order in [false, true] {
        let (client_log, server_log) = (log("10:client").await, log("server").await);
        let all: Vec<_> = (0..250)
            .flat_map(|n| [json!({ "create": n }), json!({ "edit": n }), json!({ "edit": 1_000 })])
            .collect();
        client_log.add_batch(all.clone()).await.unwrap();
        let (transport, listener) = Memory::listen();
        let options = edits_what_exists(&server_log).in_order(in_order);
        let _server = Server::new(&server_log, Json, listener).options(options).start();
        let client = ClientSync::new(&client_log, Json, Reconnect::new(transport)).start();
        client.wait_for(State::Synchronized).await.unwrap();
        let expected: Vec<_> =
            all.into_iter().filter(|event| event["edit"] != json!(1_000)).collect();
        assert_eq!(events(&server_log).await == expected, in_order);
    }
}

#[tokio::test(start_paused = true)]
async fn in_order_what_was_stored_before_a_failure_is_not_added_twice() {
    let (client_log, server_log) = (log("10:client").await, log("server").await);
    client_log.add_batch((0..10).map(|n| json!({ "n": n }))).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let options = SyncOptions::<Value>::new().in_order(true).in_filter(move |_, _| {
        let asked = count.fetch_add(1, Ordering::Relaxed);
        async move { if asked == 5 { Err("the database is away".into()) } else { Ok(true) } }
    });
    let (transport, listener) = Memory::listen();
    let _server = Server::new(&server_log, Json, listener).options(options).start();
    let client = ClientSync::new(&client_log, Json, Reconnect::new(transport).seed(1)).start();
    let received =
        async || server_log.cursors(&"10:client".parse().unwrap()).await.unwrap().received;
    while asked.load(Ordering::Relaxed) < 6 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server_log.last_added(), Added::new(5).unwrap());
    assert_eq!(received().await, Added::ZERO, "a part of a message moves no cursor");
    client.wait_for(State::Synchronized).await.unwrap();
    assert_eq!(events(&server_log).await, events(&client_log).await);
    assert_eq!(received().await, client_log.last_added());
}

#[tokio::test(start_paused = true)]
async fn a_server_ignores_cursors_that_are_about_one_peer() {
    let server_log = log("server").await;
    server_log.add_batch((0..10).map(|n| json!({ "n": n }))).await.unwrap();
    let (transport, listener) = Memory::listen();
    let synced = Added::new(7).unwrap();
    let options = SyncOptions::new().synced(synced).other_synced(synced);
    let _server = Server::new(&server_log, Json, listener).options(options).start();
    for name in ["10:a", "11:b"] {
        let client_log = log(name).await;
        client_log.add(json!({ "by": name })).await.unwrap();
        let client = ClientSync::new(&client_log, Json, transport.clone()).start();
        client.wait_for(State::Synchronized).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(events(&client_log).await.len(), events(&server_log).await.len());
    }
}

#[test]
fn a_busy_store_is_worth_another_attempt() {
    let busy = StoreError::busy("the database is locked");
    assert!(busy.is_busy() && busy.to_string() == "the store is busy");
    assert!(Error::from(busy).is_transient());
    let failed = StoreError::new("the disk is full");
    assert!(!failed.is_busy() && failed.to_string() == "the store failed");
    assert!(!Error::from(failed).is_transient());
}
