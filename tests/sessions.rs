//! Two logs in step, from the public API, over memory and over WebSocket.

use logux_sync::{
    Added, ClientSync, Json, Log, Memory, MemoryStore, Reconnect, Server, State, SyncOptions, Value,
};
use serde_json::json;

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

async fn events(log: &Log<Value>) -> Vec<Value> {
    let entries = log.entries_created_after(None, usize::MAX).await.unwrap();
    entries.iter().map(|entry| json!([entry.meta.id.to_string(), entry.event])).collect()
}

#[tokio::test(start_paused = true)]
async fn events_of_either_side_are_on_both() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    for n in 0..1000 {
        client_log.add(json!({ "type": "client", "n": n })).await.unwrap();
        server_log.add(json!({ "type": "server", "n": n })).await.unwrap();
    }
    let (transport, listener) = Memory::listen();
    let server = Server::new(&server_log, Json, listener).start();
    let client = ClientSync::new(&client_log, Json, Reconnect::new(transport))
        .options(SyncOptions::new())
        .start();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&client_log).await, events(&server_log).await);
    client_log.add(json!({ "type": "late" })).await.unwrap();
    assert!(client.wait_for(State::Synchronized).await);
    assert_eq!(events(&client_log).await, events(&server_log).await);
    assert_eq!(server_log.last_added(), Added::new(2001).unwrap());
    client.close().await.unwrap();
    server.shutdown(std::time::Duration::from_secs(1)).await;
}
