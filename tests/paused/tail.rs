//! Many sessions of one log read each event, and the store is asked for it once.

use futures_util::StreamExt;
use futures_util::future::join_all;
use logux_sync::{Added, ClientSync, Json, Memory, Server, State};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::gate::Gate;
use crate::world::{add, held, log, milliseconds, quick, seconds};

const CLIENTS: u64 = 50;

#[tokio::test(start_paused = true)]
async fn live_sessions_ask_the_store_once_for_all() {
    for gate_is in [Gate::Open, Gate::Slow(10)] {
        let (there, gate) = log("server").await;
        let (memory, listener) = Memory::listen();
        let _server = Server::new(&there, Json, listener).start();
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            let (here, _) = log(&format!("{n}:client")).await;
            clients.push((ClientSync::new(&here, Json, quick(memory.clone())).start(), here));
        }
        for (session, _) in &clients {
            session.wait_for(State::Synchronized).await.unwrap();
        }
        let mut followers: Vec<_> = (0..10).map(|_| there.follow(Added::ZERO)).collect();
        gate.set(gate_is);
        let before = gate.reads();
        for n in 0..100 {
            add(&there, n..n + 1).await;
            sleep(milliseconds(100)).await;
        }
        let reads = gate.reads() - before;
        assert!(reads <= 250, "{reads} reads of 100 events for {CLIENTS} clients: {gate_is:?}");
        for (_, here) in &clients {
            assert_eq!(held(here).await, (0..100).collect::<Vec<_>>());
        }
        for follower in &mut followers {
            assert_eq!(follower.take(100).count().await, 100);
        }
        // One that comes later reads what is older.
        let (late, _) = log("late:client").await;
        let session = ClientSync::new(&late, Json, quick(memory.clone())).start();
        session.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(held(&late).await.len(), 100);
    }
}

/// What is in the log when a reading begins is read, also where another one is under way.
#[tokio::test(start_paused = true)]
async fn an_event_that_was_added_is_read_whoever_reads_before() {
    let (log, gate) = log("node").await;
    gate.set(Gate::Slow(10));
    let followers = (0..20_u64).map(|n| {
        let log = log.clone();
        async move {
            sleep(milliseconds(n)).await;
            log.add(json!({ "n": n })).await.unwrap();
            let all: Vec<_> = log.follow(Added::ZERO).take(20).collect().await;
            all.into_iter().map(|entry| entry.unwrap().meta.added.value()).collect::<Vec<_>>()
        }
    });
    let read = timeout(seconds(60), join_all(followers)).await.expect("all is read");
    assert!(read.iter().all(|read| *read == (1..=20).collect::<Vec<_>>()));
}

/// A session that ends while it reads for others holds up none of them.
#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_leaves_the_others_to_read() {
    let (log, gate) = log("node").await;
    add(&log, 0..3).await;
    gate.set(Gate::Stuck);
    let mut first = log.follow(Added::ZERO);
    let mut second = log.follow(Added::ZERO);
    assert!(timeout(milliseconds(10), first.next()).await.is_err());
    assert!(timeout(milliseconds(10), second.next()).await.is_err());
    drop(first);
    gate.set(Gate::Open);
    let entry = timeout(seconds(1), second.next()).await.expect("it reads by itself");
    assert_eq!(entry.unwrap().unwrap().meta.added.value(), 1);
}
