//! A peer that wants nothing of a log up to a position, and says so in its headers, frame by frame.

use std::time::Duration;

use logux_sync::{Json, Log, Memory, MemoryStore, Retention, ServerSync, Value};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{Peer, add, numbers};

/// What a node is sent that says this before `connect`: the position that it is told, and the numbers of events.
async fn sent_to(
    log: &Log<Value>,
    headers: &Value,
    protocol: u64,
    claimed: u64,
) -> (Value, Vec<u64>) {
    let (near, far) = Memory::pair();
    let server = ServerSync::new(log, Json, near).start();
    let mut peer = Peer::new(far);
    peer.send(&json!(["headers", headers]).to_string()).await;
    peer.send(&json!(["connect", protocol, "10:peer", claimed]).to_string()).await;
    let (mut told, mut sent) = (Value::Null, Vec::new());
    while let Ok(Some(frame)) = timeout(Duration::from_secs(1), peer.next_of_all()).await {
        let message: Value = serde_json::from_str(&frame).unwrap();
        match message[0].as_str().unwrap() {
            "headers" => told = message[1]["log-begin-after"].clone(),
            "sync" => {
                sent.extend(numbers(&message));
                peer.send(&json!(["synced", message[1]]).to_string()).await;
            }
            _ => {}
        }
    }
    peer.hang_up().await;
    let _ = server.ended().await;
    (told, sent)
}

async fn log_of_ten() -> Log<Value> {
    let log = Log::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap();
    add(&log, 1..11).await;
    log
}

#[tokio::test(start_paused = true)]
async fn it_is_told_where_the_log_begins_for_it_and_sent_what_comes_after() {
    for protocol in [5, 7] {
        for epoch in [None, Some("00000000000000aa")] {
            for (begin, told, sent) in [
                (json!(0), json!(0), 1..11),
                (json!(7), json!(7), 8..11),
                (json!(10), json!(10), 11..11),
                (json!(9_007_199_254_740_991_u64), json!(10), 11..11),
                // What is no position is not heard.
                (json!("7"), Value::Null, 1..11),
                (json!(-1), Value::Null, 1..11),
                (json!(9_007_199_254_740_992_u64), Value::Null, 1..11),
                (json!([7]), Value::Null, 1..11),
            ] {
                let log = log_of_ten().await;
                let mut headers = json!({ "log-begin-after": begin });
                if let Some(epoch) = epoch {
                    headers["log-epoch"] = epoch.into();
                }
                let case = format!("protocol {protocol}, epoch {epoch:?}, {begin}");
                let seen = sent_to(&log, &headers, protocol, 0).await;
                let confirmed = sent.end - 1;
                assert_eq!(seen, (told, sent.collect::<Vec<_>>()), "{case}");
                let cursors = log.cursors(&"10:peer".parse().unwrap()).await.unwrap();
                assert_eq!(cursors.sent.value(), confirmed, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_known_of_the_peer_it_is_sent_what_comes_after() {
    const EPOCH: &str = "00000000000000aa";

    for (epoch, claimed, expected) in [
        // The same log as before, and less than it has confirmed.
        (EPOCH, 0, vec![9, 10, 11]),
        // More than where it wants to begin.
        (EPOCH, 10, vec![11]),
        // Another log of the peer's, which has nothing yet.
        ("00000000000000bb", 0, vec![9, 10, 11]),
        // A claim that is not of this log.
        ("00000000000000cc", 5_000, vec![9, 10, 11]),
    ] {
        let log = log_of_ten().await;
        let (_, sent) = sent_to(&log, &json!({ "log-epoch": EPOCH }), 7, 0).await;
        assert_eq!(sent.len(), 10);
        add(&log, 11..12).await;
        let headers = json!({ "log-epoch": epoch, "log-begin-after": 8 });
        let (_, sent) = sent_to(&log, &headers, 7, claimed).await;
        assert_eq!(sent, expected, "epoch {epoch}, claims {claimed}");
        // The next time it has what it was sent, and what it has left out.
        add(&log, 12..13).await;
        let (_, sent) = sent_to(&log, &json!({ "log-epoch": epoch }), 7, 11).await;
        assert_eq!(sent, [12], "epoch {epoch}, claims {claimed}");
    }
}

/// A client that only sends does not have a server keep its log for ever.
#[tokio::test(start_paused = true)]
async fn what_a_peer_leaves_out_is_not_kept_for_it() {
    for (begin, left) in [(json!(10), 0), (json!(7), 3), (Value::Null, 10)] {
        let log = log_of_ten().await;
        let (near, far) = Memory::pair();
        let server = ServerSync::new(&log, Json, near).start();
        let mut peer = Peer::new(far);
        peer.send(&json!(["headers", { "log-begin-after": begin }]).to_string()).await;
        peer.send(r#"["connect",7,"10:peer",0]"#).await;
        // It confirms nothing.
        while timeout(Duration::from_secs(1), peer.next()).await.is_ok() {}
        peer.hang_up().await;
        let _ = server.ended().await;
        log.prune(&Retention::new().max_events(0)).await.unwrap();
        assert_eq!(log.count().await.unwrap(), left, "{begin}");
    }
}
