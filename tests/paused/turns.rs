//! Whatever a session is busy with, everything else gets its turn.

use logux_sync::{Added, Json, Log, Memory, MemoryStore, Server, Value};
use serde_json::json;

use crate::world::{Peer, options, seconds};

const EVENTS: u64 = 200_000;

/// A server with a long log, nothing of which is for its clients: a session looks through it without a pause.
#[tokio::test(start_paused = true)]
async fn a_peer_is_heard_while_a_long_log_is_looked_through() {
    let log = Log::<Value>::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
    log.add_batch((0..EVENTS).map(|n| json!({ "n": n }))).await.unwrap();
    let (memory, listener) = Memory::listen();
    let options = options().ping(None).out_filter(async |_, _| Ok(false));
    let server = Server::new(&log, Json, listener).options(options).start();
    let mut peer = Peer::dial(&memory).await;
    peer.send(r#"["connect",7,"10:a",0]"#).await;
    assert!(peer.next().await.unwrap().starts_with(r#"["connected","#));
    peer.send(r#"["ping",0]"#).await;
    while !peer.next().await.unwrap().starts_with(r#"["pong","#) {}
    let looked_at = server.sessions()[0].diagnostics().synced;
    assert!(looked_at < Added::new(EVENTS / 2).unwrap(), "it was heard after {looked_at:?}");
    // What it was busy with is done all the same.
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(server.sessions()[0].diagnostics().synced, log.last_added());
}
