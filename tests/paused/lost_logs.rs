//! A node that lost its log, or whose peer did: whatever the peer claims to have, each event arrives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::transports::MemoryListener;
use logux_sync::{
    Access, ClientSync, Clock, Error, Json, Log, Memory, MemoryStore, Server, ServerSync, State,
    SyncOptions, Value,
};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{Peer, add, numbers, quick, seconds};

const EVENTS: u64 = 150;
const EPOCH: &str = r#"["headers",{"log-epoch":"00000000000000aa"}]"#;

/// The next message but for headers; `None` where nothing more comes.
async fn next(peer: &mut Peer) -> Option<Value> {
    let frame = timeout(seconds(1), peer.next()).await.ok()??;
    Some(serde_json::from_str(&frame).unwrap())
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

/// A log that is opened an hour later than others: ids never repeat.
async fn later_log(node: &str) -> Log<Value> {
    let later = || Clock::system().now().shifted(60 * 60 * 1000).unwrap();
    let store = Arc::new(MemoryStore::new());
    Log::open_with(node.parse().unwrap(), store, Clock::new(later)).await.unwrap()
}

/// A node that had events of a log that is lost, and keeps the highest number that it has seen, as
/// JavaScript nodes do, meets the new log. It breaks off after so many messages, and comes back.
async fn meets_a_new_log(protocol: u64, tells_epoch: bool, claimed: u64, breaks: usize) {
    let case = format!("protocol {protocol}, epoch {tells_epoch}, claims {claimed}, {breaks}");
    let log = log("server").await;
    add(&log, 0..EVENTS).await;
    let (mut claims, mut seen) = (claimed, BTreeSet::new());
    for connection in 0.. {
        assert!(connection < 20, "{case}: {} events", seen.len());
        let (near, far) = Memory::pair();
        // Few in a message, so that it breaks in the middle.
        let options = SyncOptions::new().batch(20).window(1);
        let server = ServerSync::new(&log, Json, near).options(options).start();
        let mut peer = Peer::new(far);
        if tells_epoch {
            peer.send(EPOCH).await;
        }
        peer.send(&json!(["connect", protocol, "10:peer", claims]).to_string()).await;
        assert_eq!(next(&mut peer).await.unwrap()[0], "connected", "{case}");
        let (mut syncs, mut seen_here) = (0, BTreeSet::new());
        while let Some(message) = next(&mut peer).await {
            if message[0] != "sync" {
                continue;
            }
            syncs += 1;
            for number in numbers(&message) {
                assert!(seen_here.insert(number), "{case}: {number} comes twice on one connection");
                seen.insert(number);
            }
            let number = message[1].as_u64().unwrap();
            claims = claims.max(number);
            peer.send(&json!(["synced", number]).to_string()).await;
            if syncs == breaks && connection < 10 {
                break;
            }
        }
        let is_over = syncs == 0;
        peer.hang_up().await;
        let _ = server.ended().await;
        if is_over {
            break;
        }
    }
    assert_eq!(seen, (0..EVENTS).collect(), "{case}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_log_that_is_lost_skips_nothing() {
    for protocol in [5, 7] {
        for claimed in [0, 1, 20, 100, EVENTS - 1, EVENTS, EVENTS + 1, 10 * EVENTS] {
            for breaks in [1, 2, 3, usize::MAX] {
                meets_a_new_log(protocol, false, claimed, breaks).await;
            }
            // A node that tells its epoch notices by itself, once it has met a log; at first it is told all.
            meets_a_new_log(protocol, true, claimed, usize::MAX).await;
        }
    }
}

/// The log of the server is an older one, as after a backup, and grows past what the peer claims.
#[tokio::test(start_paused = true)]
async fn a_claim_beyond_the_log_is_not_believed_once_the_log_has_grown() {
    for protocol in [5, 7] {
        let log = log("server").await;
        add(&log, 0..20).await;
        let (mut seen, mut claims) = (BTreeSet::new(), 0);
        for connection in 0..4 {
            let (near, far) = Memory::pair();
            let server = ServerSync::new(&log, Json, near).start();
            let mut peer = Peer::new(far);
            peer.send(&json!(["connect", protocol, "10:peer", claims]).to_string()).await;
            while let Some(message) = next(&mut peer).await {
                if message[0] == "sync" {
                    seen.extend(numbers(&message));
                    claims = claims.max(message[1].as_u64().unwrap());
                    peer.send(&json!(["synced", message[1]]).to_string()).await;
                }
            }
            peer.hang_up().await;
            let _ = server.ended().await;
            match connection {
                // It has all of the log, and more of what the log was.
                0 => claims = 100,
                1 => add(&log, 20..130).await,
                _ => {}
            }
        }
        assert_eq!(seen, (0..130).collect(), "protocol {protocol}");
    }
}

/// Events that a JavaScript node does not keep would otherwise be handled twice.
#[tokio::test(start_paused = true)]
async fn what_a_peer_got_and_could_not_confirm_does_not_come_twice() {
    for protocol in [5, 7] {
        let log = log("server").await;
        add(&log, 0..1).await;
        let mut claims = 0;
        // The first connection is confirmed, the second is cut before that, the third gets the rest.
        for (confirms, expected) in [(true, vec![0]), (false, vec![1]), (false, vec![2])] {
            let (near, far) = Memory::pair();
            let server = ServerSync::new(&log, Json, near).start();
            let mut peer = Peer::new(far);
            peer.send(&json!(["connect", protocol, "10:peer", claims]).to_string()).await;
            let mut seen = Vec::new();
            while let Some(message) = next(&mut peer).await {
                if message[0] == "sync" {
                    seen.extend(numbers(&message));
                    claims = message[1].as_u64().unwrap();
                    if confirms {
                        peer.send(&json!(["synced", claims]).to_string()).await;
                    }
                }
            }
            assert_eq!(seen, expected, "protocol {protocol}");
            drop(peer);
            let _ = server.ended().await;
            add(&log, claims..claims + 1).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_confirmed_what_it_claims_gets_only_the_rest() {
    for (protocol, epoch) in [(5, None), (7, None), (5, Some(EPOCH)), (7, Some(EPOCH))] {
        let log = log("server").await;
        add(&log, 0..2).await;
        for (claims, expected, count) in [(0, vec![0, 1], 2), (2, vec![2], 3), (3, vec![3], 4)] {
            let (near, far) = Memory::pair();
            let server = ServerSync::new(&log, Json, near).start();
            let mut peer = Peer::new(far);
            if let Some(epoch) = epoch {
                peer.send(epoch).await;
            }
            peer.send(&json!(["connect", protocol, "10:peer", claims]).to_string()).await;
            assert_eq!(next(&mut peer).await.unwrap()[0], "connected");
            let sync = next(&mut peer).await.unwrap();
            assert_eq!(numbers(&sync), expected, "protocol {protocol}, {epoch:?}, {claims}");
            peer.send(&json!(["synced", sync[1]]).to_string()).await;
            while next(&mut peer).await.is_some() {}
            peer.hang_up().await;
            server.ended().await.unwrap();
            add(&log, count..count + 1).await;
        }
    }
}

/// A server without `ready` and without an epoch that lost its log shows it by the numbers of its events.
#[tokio::test(start_paused = true)]
async fn a_server_of_protocol_5_that_lost_its_log_gets_it_back() {
    let log = log("10:client").await;
    add(&log, 0..3).await;
    let (transport, mut listener) = Memory::listen();
    let transport = quick(transport);
    let client = ClientSync::new(&log, Json, transport).start();
    let mut errors = client.errors();
    let accept = async |listener: &mut MemoryListener, claims: u64| {
        let mut server = Peer::accept(listener).await;
        assert_eq!(next(&mut server).await.unwrap(), json!(["connect", 7, "10:client", claims]));
        server.send(r#"["connected",5,"server",[1000,1000]]"#).await;
        server
    };
    let mut server = accept(&mut listener, 0).await;
    let sync = next(&mut server).await.unwrap();
    assert_eq!(numbers(&sync), [0, 1, 2]);
    server.send(&json!(["synced", sync[1]]).to_string()).await;
    server.send(r#"["sync",5,{"n":10},{"id":[1,"server",0],"time":1}]"#).await;
    assert_eq!(next(&mut server).await.unwrap(), json!(["synced", 5]));
    server.hang_up().await;

    // The same log: numbers that repeat, or are of events that are not kept, are nothing new.
    let mut server = accept(&mut listener, 5).await;
    for number in [0, 5, 6] {
        let meta = json!({ "id": [number + 10, "server", 0], "time": 1 });
        server.send(&json!(["sync", number, { "n": 11 }, meta]).to_string()).await;
        assert_eq!(next(&mut server).await.unwrap(), json!(["synced", number]));
    }
    assert_eq!(next(&mut server).await, None);
    server.hang_up().await;

    let mut server = accept(&mut listener, 6).await;
    server.send(r#"["sync",2,{"n":20},{"id":[99,"server",0],"time":1}]"#).await;
    assert_eq!(next(&mut server).await.unwrap(), json!(["synced", 2]));
    let error = errors.next().await.unwrap();
    assert!(matches!(*error, Error::LogReplaced), "{error}");
    server.hang_up().await;
    // It is told all that it had, and asked for all.
    let mut server = accept(&mut listener, 0).await;
    let sync = next(&mut server).await.unwrap();
    assert_eq!(numbers(&sync), [0, 1, 2, 10, 11, 11, 11]);
}

/// Nodes of ours tell which log they have.
#[tokio::test(start_paused = true)]
async fn two_nodes_of_which_either_lost_its_log_have_all_in_the_end() {
    for (client_lost, server_lost) in [(true, false), (false, true), (true, true)] {
        let (mut client_log, mut server_log) = (log("10:client").await, log("server").await);
        add(&client_log, 0..20).await;
        add(&server_log, 20..40).await;
        for round in 0..2 {
            let (transport, listener) = Memory::listen();
            let options = SyncOptions::new().auth(async |_| Access::relay());
            let server = Server::new(&server_log, Json, listener).options(options).start();
            let transport = quick(transport);
            let client = ClientSync::new(&client_log, Json, transport).start();
            let settled = tokio::time::sleep(Duration::from_secs(10));
            settled.await;
            assert_eq!(client.state(), State::Synchronized);
            client.close().await.unwrap();
            server.shutdown(Duration::from_secs(10)).await;
            if round == 0 && client_lost {
                client_log = later_log("10:client").await;
                add(&client_log, 100..250).await;
            }
            if round == 0 && server_lost {
                server_log = later_log("server").await;
                add(&server_log, 300..450).await;
            }
        }
        let held = async |log: &Log<Value>| -> BTreeSet<u64> {
            let entries = log.entries_after(logux_sync::Added::ZERO, usize::MAX).await.unwrap();
            entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect()
        };
        let (client_held, server_held) = (held(&client_log).await, held(&server_log).await);
        assert_eq!(client_held, server_held, "{client_lost} {server_lost}");
        let new: BTreeSet<u64> = match (client_lost, server_lost) {
            (true, false) => (100..250).chain(0..40).collect(),
            (false, true) => (300..450).chain(0..40).collect(),
            _ => (100..250).chain(300..450).collect(),
        };
        assert!(new.is_subset(&client_held), "{client_lost} {server_lost}");
    }
}
