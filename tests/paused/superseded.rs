//! Of two connections of one node the newer one speaks for it.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use logux_sync::{
    Added, ClientSync, Error, Json, Log, Memory, Reconnect, RunningServer, Server, SyncOptions,
    Value,
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::gate::Gate;
use crate::world::{Peer, add, held, log, options, quick, seconds};

const HOUR: u64 = 60 * 60;

async fn server(options: SyncOptions<Value>) -> (Log<Value>, Memory, RunningServer) {
    let (log, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let server = Server::new(&log, Json, listener).options(options.ping(None)).start();
    (log, memory, server)
}

/// A connection of one node, with this log of its own, as far as it says.
async fn connect(memory: &Memory, epoch: Option<&str>) -> Peer {
    let mut peer = Peer::dial(memory).await;
    if let Some(epoch) = epoch {
        peer.send(&format!(r#"["headers",{{"log-epoch":"{epoch}"}}]"#)).await;
    }
    peer.send(r#"["connect",7,"10:a",0]"#).await;
    let answer = peer.next().await.unwrap();
    assert!(answer.starts_with(r#"["connected","#), "{answer}");
    peer
}

fn sync(up_to: u64, numbers: std::ops::RangeInclusive<u64>) -> String {
    let event = |n: u64| format!(r#"{{"type":"t","n":{n}}},{{"id":"{n}","time":{n}}}"#);
    let events: Vec<_> = numbers.map(event).collect();
    format!(r#"["sync",{up_to},{}]"#, events.join(","))
}

/// Lets events from a thousand on wait until there are permits.
fn held_up() -> (SyncOptions<Value>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let options = options().in_filter(move |entry, _| {
        let (gate, late) = (Arc::clone(&waits), entry.event["n"].as_u64() >= Some(1_000));
        async move {
            if late {
                gate.acquire().await.unwrap().forget();
            }
            Ok(true)
        }
    });
    (options, gate)
}

#[tokio::test(start_paused = true)]
async fn the_newer_connection_takes_over() {
    for epochs in [[None, None], [Some("00000000000000aa"); 2]] {
        let (log, memory, server) = server(options()).await;
        let mut older = connect(&memory, epochs[0]).await;
        let session = server.sessions().remove(0);
        let mut errors = session.errors();
        let mut newer = connect(&memory, epochs[1]).await;
        let frames = older.rest().await;
        let told = |frame: &String| frame.starts_with(r#"["error","superseded","a newer"#);
        assert!(frames.iter().any(told), "{frames:?}");
        assert!(matches!(*errors.next().await.unwrap(), Error::Superseded));
        newer.send(&sync(3, 1..=3)).await;
        while newer.next().await.unwrap() != r#"["synced",3]"# {}
        assert_eq!((held(&log).await, server.sessions().len()), (vec![1, 2, 3], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_older_connection_has_brought_is_neither_kept_nor_confirmed() {
    for in_order in [false, true] {
        let (held_up, gate) = held_up();
        let (log, memory, _server) = server(held_up.in_order(in_order)).await;
        let mut older = connect(&memory, None).await;
        older.send(&sync(2, 1_001..=1_002)).await;
        sleep(seconds(1)).await;
        let mut newer = connect(&memory, None).await;
        gate.add_permits(100);
        let frames = older.rest().await;
        assert!(!frames.iter().any(|frame| frame.starts_with(r#"["synced""#)), "{frames:?}");
        sleep(seconds(1)).await;
        assert_eq!(held(&log).await, [] as [u64; 0]);
        newer.send(&sync(2, 1_001..=1_002)).await;
        while newer.next().await.unwrap() != r#"["synced",2]"# {}
        assert_eq!(held(&log).await, [1_001, 1_002]);
    }
}

/// Otherwise this node, where it dials that one, would ask only for what comes after.
#[tokio::test(start_paused = true)]
async fn a_cursor_of_a_lost_log_is_never_taken_for_one_of_the_new_log() {
    let (held_up, gate) = held_up();
    let (log, memory, _server) = server(held_up).await;
    let node = "10:a".parse().unwrap();
    let mut older = connect(&memory, Some("00000000000000aa")).await;
    older.send(&sync(100, 1_001..=1_100)).await;
    sleep(seconds(1)).await;
    let mut newer = connect(&memory, Some("00000000000000bb")).await;
    newer.send(&sync(10, 1..=10)).await;
    while newer.next().await.unwrap() != r#"["synced",10]"# {}
    gate.add_permits(1_000);
    older.rest().await;
    sleep(seconds(10)).await;
    assert_eq!(log.cursors(&node).await.unwrap().received, Added::new(10).unwrap());
}

/// The same where this node finds the new log as it dials. It hangs up, for it has asked for the wrong events.
#[tokio::test(start_paused = true)]
async fn a_dialled_node_with_a_new_log_takes_over_before_it_is_let_in() {
    let (held_up, gate) = held_up();
    let (log, memory, _server) = server(held_up).await;
    let node = "10:a".parse().unwrap();
    let mut older = connect(&memory, Some("00000000000000aa")).await;
    older.send(&sync(5, 1..=5)).await;
    while older.next().await.unwrap() != r#"["synced",5]"# {}
    let (dialled, mut listener) = Memory::listen();
    let client = ClientSync::new(&log, Json, quick(dialled)).start();
    let mut errors = client.errors();
    // Which log it is to claim a position of is known once it has dialled.
    for epoch in ["00000000000000aa", "00000000000000aa", "00000000000000bb"] {
        older.send(&sync(100, 1_001..=1_100)).await;
        let mut peer = Peer::accept(&mut listener).await;
        peer.send(&format!(r#"["headers",{{"log-epoch":"{epoch}"}}]"#)).await;
        peer.send(r#"["connected",7,"10:a",[1000,1000]]"#).await;
        sleep(seconds(1)).await;
        peer.hang_up().await;
    }
    gate.add_permits(1_000);
    sleep(seconds(60)).await;
    client.close().await.unwrap();
    let mut is_replaced = false;
    while let Some(error) = errors.next().await {
        is_replaced |= matches!(*error, Error::LogReplaced);
    }
    assert!(is_replaced);
    assert_eq!(log.cursors(&node).await.unwrap().received, Added::ZERO);
    assert_eq!(held(&log).await, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_dial_each_other_keep_both_connections() {
    let logs = [log("10:a").await.0, log("10:b").await.0];
    let mut running = Vec::new();
    for [here, there] in [[&logs[0], &logs[1]], [&logs[1], &logs[0]]] {
        let (memory, listener) = Memory::listen();
        let server = Server::new(there, Json, listener).start();
        running.push((server, ClientSync::new(here, Json, quick(memory)).start()));
    }
    for (log, first) in logs.iter().zip([0, 100]) {
        add(log, first..first + 100).await;
    }
    sleep(seconds(HOUR)).await;
    for (log, (server, client)) in logs.iter().zip(&running) {
        assert_eq!(held(log).await, (0..200).collect::<Vec<_>>());
        assert_eq!(client.diagnostics().connections, 1);
        assert!(client.errors().next().now_or_never().is_none());
        assert_eq!(server.sessions().len(), 1);
    }
}

/// A mistake of the program's: it is told, costs little, and loses nothing.
#[tokio::test(start_paused = true)]
async fn two_sessions_with_one_peer_take_over_from_each_other_and_lose_nothing() {
    let (here, there) = (log("10:a").await.0, log("server").await.0);
    let (memory, listener) = Memory::listen();
    let _server = Server::new(&there, Json, listener).start();
    let sessions = [1, 2].map(|seed| {
        ClientSync::new(&here, Json, Reconnect::new(memory.clone()).seed(seed)).start()
    });
    for n in 0..100 {
        add(&here, n..n + 1).await;
        sleep(seconds(HOUR / 100)).await;
    }
    sleep(seconds(60)).await;
    assert_eq!(held(&there).await, (0..100).collect::<Vec<_>>());
    for session in &sessions {
        let connections = session.diagnostics().connections;
        assert!((2..1_500).contains(&connections), "{connections}");
        assert!(matches!(*session.errors().next().await.unwrap(), Error::Superseded));
    }
}

/// Its peer closes while the store takes its time; the newer one comes meanwhile.
#[tokio::test(start_paused = true)]
async fn an_older_connection_that_is_at_its_end_stores_nothing_more() {
    for new_log in [false, true] {
        let (log, gate) = log("server").await;
        let (memory, listener) = Memory::listen();
        let server = Server::new(&log, Json, listener).options(options().ping(None)).start();
        let mut older = connect(&memory, Some("00000000000000aa")).await;
        let session = server.sessions().remove(0);
        gate.set(Gate::NotesNothing);
        // It names what it does not take: that the first is noted takes its time, and the rest waits for that.
        for n in 0..2 {
            let entry = log.add(json!({ "n": n })).await.unwrap();
            let (position, _) = older.next_sync().await;
            let text = format!("refused 1 events: {} because no", entry.meta.id);
            older.send(&format!(r#"["debug","error","{text}"]"#)).await;
            older.send(&format!(r#"["synced",{position}]"#)).await;
            sleep(seconds(1)).await;
        }
        older.send(&sync(100, 1_001..=1_100)).await;
        sleep(seconds(1)).await;
        older.hang_up().await;
        sleep(seconds(1)).await;
        let epoch = if new_log { "00000000000000bb" } else { "00000000000000aa" };
        let mut newer = connect(&memory, Some(epoch)).await;
        newer.send(&sync(10, 11..=20)).await;
        while newer.next().await.unwrap() != r#"["synced",10]"# {}
        gate.set(Gate::Open);
        sleep(seconds(60)).await;
        let node = "10:a".parse().unwrap();
        assert_eq!(log.cursors(&node).await.unwrap().received, Added::new(10).unwrap());
        assert!(held(&log).await.into_iter().eq([0, 1].into_iter().chain(11..=20)));
        // What the peer did not take is known by the older connection only; its new log is another matter.
        let held_back = log.held_back(&node).await.unwrap();
        assert_eq!(held_back.len(), if new_log { 1 } else { 2 }, "{held_back:?}");
        // No store has failed.
        let error = session.errors().next().now_or_never();
        assert!(error.is_none_or(|error| matches!(*error.unwrap(), Error::Superseded)));
    }
}
