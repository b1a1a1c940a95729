//! Futures of a log that are dropped before they are ready: what they were for is done wholly, or not at all.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use logux_sync::{Added, ClientSync, Draft, Entry, Json, Log, Memory, Server, State, Value};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::gate::Gate;
use crate::world::{held, log, quick, seconds};

/// Polls a future so many times, with time in between for everything else. Answers whether it was ready.
async fn poll(future: &mut Pin<Box<impl Future>>, times: usize) -> bool {
    for _ in 0..times {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        sleep(Duration::from_millis(3)).await;
    }
    false
}

async fn all(log: &Log<Value>) -> Vec<Arc<Entry<Value>>> {
    log.entries_after(Added::ZERO, usize::MAX).await.unwrap()
}

/// At each place where the call waits, before and after the store has the events.
#[tokio::test(start_paused = true)]
async fn an_add_that_is_dropped_adds_all_or_nothing_and_wakes_everybody() {
    let mut outcomes = [0, 0];
    for gate_is in [Gate::Open, Gate::Slow(1), Gate::Slow(10), Gate::Mute, Gate::Stuck] {
        for times in 0..12 {
            let ((here, gate), (there, _)) = (log("10:client").await, log("server").await);
            let (memory, listener) = Memory::listen();
            let _server = Server::new(&there, Json, listener).start();
            let client = ClientSync::new(&here, Json, quick(memory)).start();
            client.wait_for(State::Synchronized).await.unwrap();
            gate.set(gate_is);
            let mut add = Box::pin(here.add_batch([json!({ "n": 1 }), json!({ "n": 2 })]));
            let was_ready = poll(&mut add, times).await;
            drop(add);
            gate.set(Gate::Open);
            sleep(seconds(1)).await;
            let added = held(&here).await;
            assert!(added == [1, 2] || added.is_empty() && !was_ready, "{added:?}");
            assert_eq!(added.is_empty(), times == 0, "{gate_is:?}: it waited for itself");
            outcomes[usize::from(added.is_empty())] += 1;
            assert_eq!(here.last_added().value(), added.len() as u64, "the end is elsewhere");
            assert_eq!(held(&there).await, added, "a session sleeps on what is in the log");
            assert_eq!(client.diagnostics().state, State::Synchronized);
            // Ids and positions go on.
            here.add(json!({ "n": 3 })).await.unwrap();
            let ids: Vec<_> =
                all(&here).await.into_iter().map(|entry| entry.meta.id.clone()).collect();
            assert!(ids.is_sorted() && ids.len() == added.len() + 1);
        }
    }
    assert_eq!(outcomes, [55, 5]);
}

/// Adds that wait for a slow store do not wait for each other.
#[tokio::test(start_paused = true)]
async fn adds_that_run_at_once_share_the_time_of_the_store() {
    let (log, gate) = log("node").await;
    gate.set(Gate::Slow(100));
    let start = Instant::now();
    let adds = (0..256).map(|n| {
        let log = log.clone();
        tokio::spawn(async move { log.add(json!({ "n": n })).await.unwrap().meta.added })
    });
    let mut positions = Vec::new();
    for add in adds.collect::<Vec<_>>() {
        positions.push(add.await.unwrap().value());
    }
    assert_eq!(positions, (1..=256).collect::<Vec<_>>());
    assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
    gate.set(Gate::Open);
    assert!(all(&log).await.iter().map(|entry| &entry.meta.id).is_sorted());
}

/// What waits for a store that does not answer is bounded; the others wait until there is room.
#[tokio::test(start_paused = true)]
async fn no_more_waits_for_a_store_than_there_is_room_for() {
    let (log, gate) = log("node").await;
    gate.set(Gate::Stuck);
    let text = "x".repeat(200_000);
    let adds = (0..200).map(|n| {
        let (log, event) = (log.clone(), json!({ "n": n, "text": text }));
        tokio::spawn(async move { log.add(event).await.unwrap() })
    });
    let adds: Vec<_> = adds.collect();
    sleep(seconds(10)).await;
    let waiting = gate.waiting();
    assert!((80..=84).contains(&waiting), "{waiting} events of 200,000 bytes wait for 16 MiB");
    // One that is dropped while it waits for room is nowhere.
    adds[199].abort();
    gate.set(Gate::Open);
    sleep(seconds(10)).await;
    assert_eq!(held(&log).await.len(), 199);
    assert_eq!(gate.waiting(), 0);
}

/// A batch that is refused, because one of its ids is known, is given to the store again later.
#[tokio::test(start_paused = true)]
async fn ids_and_positions_have_one_order_also_where_a_batch_is_added_anew() {
    let (log, gate) = log("node").await;
    let known = log.add(json!({ "n": 0 })).await.unwrap();
    gate.set(Gate::Slow(10));
    let again = Draft::new(json!({ "n": 0 })).id(known.meta.id.clone());
    let batch = log.add_batch([again, Draft::new(json!({ "n": 1 }))]);
    let (batch, other) = tokio::join!(batch, log.add(json!({ "n": 2 })));
    let (batch, other) = (batch.unwrap(), other.unwrap());
    assert_eq!(batch[0], known);
    assert!(other.meta.added < batch[1].meta.added, "the batch was added before the other");
    gate.set(Gate::Open);
    assert!(all(&log).await.iter().map(|entry| &entry.meta.id).is_sorted());
}

/// Each of them finds that others add what it brings.
#[tokio::test(start_paused = true)]
async fn tasks_that_bring_the_same_ids_all_get_them() {
    let (log, gate) = log("node").await;
    gate.set(Gate::Slow(1));
    let draft = |n: usize| {
        let id = format!("{n:06} 10:import").parse().unwrap();
        Draft::new(json!({ "n": n })).id(id)
    };
    let at_once = log.add_batch((0..300).map(draft));
    let one_by_one = async {
        for n in 0..300 {
            log.add(draft(n)).await.unwrap();
        }
    };
    let (at_once, ()) = tokio::join!(at_once, one_by_one);
    let numbers: Vec<_> =
        at_once.unwrap().iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    gate.set(Gate::Open);
    assert_eq!(held(&log).await.len(), 300);
}
