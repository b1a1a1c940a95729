//! MessagePack, against `@logux/core` 0.12.1 over a connection that speaks it by npm's
//! `@msgpack/msgpack`.

use std::time::Duration;

use logux_sync::codecs::Protocol;
use logux_sync::{
    Access, ClientSync, Draft, EventId, Json, Log, MemoryStore, MessagePack, Reconnect, Server,
    State, SyncOptions, Value, WebSocket, WebSocketListener,
};
use serde_json::json;

use crate::pair::{compare, hold};
use crate::peer::Peer;
use crate::{in_time, past};

/// What is hard to write, or to tell apart.
fn hard_event(n: usize) -> Value {
    match n % 5 {
        0 => json!({ "type": "text", "é\u{1F600}": "\u{2028}é😀\0\"\\", "": [[], {}, null, true] }),
        1 => {
            json!({ "type": "number", "n": [9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64, -0.5, 1e300, 5e-324, n] })
        }
        2 => {
            json!({ "type": "integers", "n": [0, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_296_i64, -1, -32, -33, -128, -129, -32_769, -2_147_483_649_i64] })
        }
        3 => json!({ "type": "long", "text": "x".repeat(n % 300), "list": vec![n; n % 40] }),
        _ => json!({ "type": "nested", "in": { "a": { "b": [{ "c": {} }] } } }),
    }
}

async fn log(id: &str) -> Log<Value> {
    Log::open(id.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// Adds events of the own node and of others, with meta of the application's own.
async fn add(log: &Log<Value>, peers: &mut [Peer], from: usize) {
    let numbers = from..from + 100;
    let drafts = numbers.clone().map(|n| {
        let draft = Draft::new(hard_event(n));
        if n % 3 > 0 {
            return draft.extra("status", json!({ "n": [n, -1.5] }));
        }
        draft.id(EventId::new(past(n), "1:third".parse().unwrap())).time(past(n / 20 * 20))
    });
    log.add_batch(drafts).await.unwrap();
    for (at, peer) in peers.iter_mut().enumerate() {
        let entries = numbers.clone().map(|n| {
            if n % 3 > 0 {
                return (hard_event(n), json!({ "status": { "n": [n, -1.5] } }));
            }
            let id = EventId::new(past(n), format!("ünï:{at}").parse().unwrap());
            (hard_event(n), json!({ "id": id, "time": past(n / 20 * 20) }))
        });
        peer.add(entries).await;
    }
}

async fn meet(log: &Log<Value>, peers: &mut [Peer], of_each: usize) {
    let count = of_each * (1 + peers.len());
    hold(log, count).await;
    for peer in peers {
        peer.ask("hold", json!({ "count": count })).await;
        peer.wait("synchronized").await;
        compare(log, peer, Protocol::V7).await;
    }
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn clients_in_json_and_in_message_pack_of_one_server_hold_the_same() {
    in_time(async {
        let log = log("server:rust").await;
        let mut peers = ["10:packed:tab", "10:json:tab"].map(|id| Peer::core(Protocol::V7, id));
        add(&log, &mut peers, 0).await;
        let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        // The clients bring events of other authors, too.
        let options = SyncOptions::new().auth(async |_| Access::relay());
        let _server = Server::new(&log, (Json, MessagePack), listener).options(options).start();
        for (peer, packed) in peers.iter_mut().zip([true, false]) {
            peer.ask("client", json!({ "url": url, "messagePack": packed })).await;
        }
        meet(&log, &mut peers, 100).await;
        add(&log, &mut peers, 100).await;
        meet(&log, &mut peers, 200).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn our_client_and_their_server_hold_the_same() {
    in_time(async {
        let log = log("10:rust:tab").await;
        let mut peers = [Peer::core(Protocol::V7, "server:js")];
        add(&log, &mut peers, 0).await;
        let port = peers[0].ask("server", json!({ "messagePack": true })).await;
        let transport = WebSocket::new(&format!("ws://127.0.0.1:{port}")).unwrap();
        let transport = Reconnect::new(transport)
            .min_delay(Duration::ZERO)
            .max_delay(Duration::from_millis(10));
        let session = ClientSync::new(&log, MessagePack, transport).start();
        meet(&log, &mut peers, 100).await;
        add(&log, &mut peers, 100).await;
        meet(&log, &mut peers, 200).await;
        session.wait_for(State::Synchronized).await.unwrap();
    })
    .await;
}
