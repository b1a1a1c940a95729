//! Two logs over a network that is as bad as `Faulty` makes it: whatever is delayed, throttled and
//! cut, in the end both hold the same events, each once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::conformance::Faulty;
use logux_sync::{
    Added, ClientSync, Json, Log, Memory, MemoryStore, Reconnect, Server, State, Value,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

const SEEDS: u64 = 50;
/// How many each side adds.
const EVENTS: usize = 50;

/// Far above what any world takes, in paused time.
const LIMIT: Duration = Duration::from_secs(60 * 60);

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

async fn add_events(log: &Log<Value>, mut random: fastrand::Rng) {
    for number in 0..EVENTS {
        log.add(json!({ "type": "count", "number": number })).await.unwrap();
        sleep(milliseconds(random.u64(0..300))).await;
    }
}

/// Who made which event, in the order of creation, once all are there.
async fn events(log: &Log<Value>) -> Vec<(String, Value)> {
    let all = log.follow(Added::ZERO).take(2 * EVENTS).count();
    assert_eq!(timeout(LIMIT, all).await, Ok(2 * EVENTS));
    let entries = log.entries_created_after(None, usize::MAX).await.unwrap();
    entries.iter().map(|entry| (entry.meta.id.to_string(), entry.event.clone())).collect()
}

/// Lets two logs meet; how many connections that took.
async fn meet(seed: u64) -> u64 {
    println!("seed {seed}");
    let (here, there) = (log("client").await, log("server").await);
    let (memory, listener) = Memory::listen();
    let up_to = |most| Duration::ZERO..=milliseconds(most);
    let listener = Faulty::new(listener).seed(!seed).delay(up_to(100)).cut(0.05);
    let transport = Faulty::new(memory).seed(seed).delay(up_to(500)).cut(0.05).throttle(10_000);
    let server = Server::new(&there, Json, listener).start();
    let client = ClientSync::new(&here, Json, Reconnect::new(transport).seed(seed)).start();

    let mut random = fastrand::Rng::with_seed(seed);
    tokio::join!(add_events(&here, random.fork()), add_events(&there, random));
    let (ours, theirs) = (events(&here).await, events(&there).await);
    assert_eq!(ours, theirs, "seed {seed}");
    assert_eq!(ours.len(), 2 * EVENTS, "seed {seed}");
    assert_eq!(ours.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), 2 * EVENTS);
    let synchronized = timeout(LIMIT, client.wait_for(State::Synchronized)).await;
    assert!(matches!(synchronized, Ok(Ok(()))), "seed {seed}");

    let connections = client.diagnostics().connections;
    // The link may be cut while it closes, too.
    let _ = client.close().await;
    server.shutdown(LIMIT).await;
    connections
}

#[tokio::test(start_paused = true)]
async fn two_logs_become_equal_over_a_bad_network() {
    let mut connections = 0;
    for seed in 0..SEEDS {
        connections += meet(seed).await;
    }
    println!("{SEEDS} pairs of logs became equal over {connections} connections");
    // Or little would have been tried.
    assert!(connections > 3 * SEEDS, "{connections} connections");
}
