//! Peers that subscribe to indexes and are sent what the log has of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use logux_sync::{
    Added, Draft, Json, Log, Memory, MemoryStore, Replay, ServerSync, Session, SyncOptions, Value,
};
use serde_json::json;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use crate::world::{Peer, milliseconds, numbers, seconds};

const NONE: [u64; 0] = [];

/// A peer that confirms all, and what it got.
struct Subscriber {
    session: Session,
    got: Arc<Mutex<Vec<u64>>>,
    /// How long it takes for a message, in milliseconds.
    pace: Arc<AtomicU64>,
    peer: JoinHandle<()>,
}

impl Subscriber {
    /// One that gets nothing but what it subscribes to, and its log's end.
    async fn new(log: &Log<Value>, claimed: u64) -> Self {
        Self::with(log, claimed, SyncOptions::new().out_indexes(|_| vec!["direct".to_owned()]))
            .await
    }

    async fn with(log: &Log<Value>, claimed: u64, options: SyncOptions<Value>) -> Self {
        let (near, far) = Memory::pair();
        let session = ServerSync::new(log, Json, near).options(options).start();
        let got = Arc::new(Mutex::new(Vec::new()));
        let pace = Arc::<AtomicU64>::default();
        let (seen, its_pace) = (Arc::clone(&got), Arc::clone(&pace));
        let mut peer = Peer::new(far);
        peer.send(&json!(["connect", 7, "10:peer", claimed]).to_string()).await;
        let peer = tokio::spawn(async move {
            while let Some(frame) = peer.next().await {
                let message: Value = serde_json::from_str(&frame).unwrap();
                if message[0] == "sync" {
                    match its_pace.load(Ordering::Relaxed) {
                        0 => {}
                        pace => sleep(milliseconds(pace)).await,
                    }
                    seen.lock().unwrap().extend(numbers(&message));
                    peer.send(&json!(["synced", message[1]]).to_string()).await;
                }
            }
        });
        while session.peer().is_none() {
            yield_now().await;
        }
        Self { session, got, pace, peer }
    }

    /// What it got since this was asked last.
    async fn got(&self) -> Vec<u64> {
        sleep(milliseconds(50)).await;
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.peer.abort();
    }
}

async fn log() -> Log<Value> {
    Log::open("server".parse().unwrap(), MemoryStore::new()).await.unwrap()
}

async fn add(log: &Log<Value>, n: u64, indexes: &[&str]) -> Added {
    let draft =
        indexes.iter().fold(Draft::new(json!({ "n": n })), |draft, index| draft.index(*index));
    log.add(draft).await.unwrap().meta.added
}

/// Every fourth is of `a`.
async fn add_many(log: &Log<Value>, numbers: std::ops::Range<u64>) {
    let draft =
        |n: u64| Draft::new(json!({ "n": n })).index(if n.is_multiple_of(4) { "a" } else { "b" });
    log.add_batch(numbers.map(draft)).await.unwrap();
}

fn of_a(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|n| n.is_multiple_of(4)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_the_log_has_comes_in_its_order_and_then_what_is_added() {
    for begins_with in [0, 5_000] {
        let log = log().await;
        add_many(&log, 0..begins_with).await;
        let one = Subscriber::new(&log, 0).await;
        sleep(seconds(2)).await;
        add_many(&log, begins_with..6_000).await;
        one.session.subscribe("a", Replay::All).await.unwrap();
        assert_eq!(*one.got.lock().unwrap(), of_a(0..6_000), "it is ready before the peer has all");
        add_many(&log, 6_000..6_010).await;
        one.got.lock().unwrap().clear();
        assert_eq!(one.got().await, of_a(6_000..6_010));
        one.session.unsubscribe("a");
        add_many(&log, 6_010..6_020).await;
        assert_eq!(one.got().await, NONE);
        // With something else that it gets, it is told nothing of the past.
        one.session.subscribe("b", Replay::Nothing).await.unwrap();
        add_many(&log, 6_020..6_024).await;
        assert_eq!(one.got().await, [6_021, 6_022, 6_023]);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_position_it_gets_what_it_does_not_have_and_all_if_it_has_nothing() {
    let log = log().await;
    add(&log, 1, &["a"]).await;
    let two = add(&log, 2, &["a"]).await;
    add(&log, 3, &["a", "direct"]).await;
    let one = Subscriber::new(&log, 0).await;
    assert_eq!(one.got().await, [3]);
    add(&log, 4, &["a"]).await;
    one.session.subscribe("a", Replay::After(two)).await.unwrap();
    assert_eq!(one.got().await, [4], "it has 3, and 2 is not after itself");
    one.session.subscribe("a", Replay::After(Added::ZERO)).await.unwrap();
    assert_eq!(one.got().await, [1, 2]);
    one.session.subscribe("a", Replay::After(Added::ZERO)).await.unwrap();
    one.session.subscribe("a", Replay::After(Added::MAX)).await.unwrap();
    one.session.subscribe("nothing", Replay::All).await.unwrap();
    assert_eq!(one.got().await, NONE);
    one.session.subscribe("a", Replay::All).await.unwrap();
    assert_eq!(one.got().await, [1, 2, 3, 4]);
    add(&log, 5, &["a"]).await;
    assert_eq!(one.got().await, [5], "what is live comes once");
}

/// Also where no events are chosen by their indexes: then what is live comes anyway.
#[tokio::test(start_paused = true)]
async fn a_peer_that_has_everything_can_have_the_past_again() {
    let log = log().await;
    add_many(&log, 0..10).await;
    let one = Subscriber::with(&log, 0, SyncOptions::new()).await;
    assert_eq!(one.got().await, (0..10).collect::<Vec<_>>());
    one.session.subscribe("a", Replay::After(Added::ZERO)).await.unwrap();
    assert_eq!(one.got().await, NONE);
    one.session.subscribe("a", Replay::All).await.unwrap();
    assert_eq!(one.got().await, [0, 4, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_is_asked_about_what_is_replayed() {
    let log = log().await;
    add_many(&log, 0..2_000).await;
    let options = SyncOptions::<Value>::new()
        .out_indexes(|_| Vec::new())
        .out_filter(async |entry, _| Ok(entry.event["n"].as_u64() > Some(1_990)));
    let one = Subscriber::with(&log, 0, options).await;
    one.session.subscribe("a", Replay::All).await.unwrap();
    assert_eq!(one.got().await, [1_992, 1_996]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_connection() {
    let log = log().await;
    add_many(&log, 0..100).await;
    let one = Subscriber::new(&log, 0).await;
    // A peer that confirms nothing any more.
    one.peer.abort();
    let _ = one.session.subscribe("a", Replay::All).await.unwrap_err();
    let two = Subscriber::new(&log, 0).await;
    let handle = two.session.handle();
    two.session.subscribe("a", Replay::All).await.unwrap();
    assert_eq!(two.got().await, of_a(0..100));
    drop(two);
    sleep(seconds(10)).await;
    handle.subscribe("a", Replay::All).await.unwrap_err();
    // The next one of the same name has it no more.
    let three = Subscriber::new(&log, 100).await;
    add_many(&log, 100..110).await;
    assert_eq!(three.got().await, NONE);
}

/// Whatever is subscribed to and added in whichever order: each event comes once, in the order of the log but for what
/// is of the past, and only what is subscribed to.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_sent_twice_whatever_is_subscribed_to() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let log = log().await;
        let one = Subscriber::new(&log, 0).await;
        let (mut n, mut subscribed) = (0, [false; 4]);
        // The numbers of the events of each index.
        let mut of: [Vec<u64>; 4] = Default::default();
        let mut calls = Vec::new();
        for _ in 0..random.usize(1..60) {
            match random.u8(..10) {
                0 | 1 => {
                    let index = random.usize(..4);
                    subscribed[index] = true;
                    let session = one.session.handle();
                    let mut call = Box::pin(async move {
                        session.subscribe(format!("i{index}"), Replay::After(Added::ZERO)).await
                    });
                    // It is told in this order.
                    if call.as_mut().now_or_never().is_none() {
                        calls.push(call);
                    }
                }
                2 => sleep(milliseconds(random.u64(..20))).await,
                _ => {
                    for _ in 0..random.choice([1, 3, 400]).unwrap() {
                        let index = random.usize(..4);
                        let other = random.usize(..4);
                        add(&log, n, &[&format!("i{index}"), &format!("i{other}")]).await;
                        of[index].push(n);
                        of[other].push(n);
                        n += 1;
                    }
                }
            }
        }
        for call in calls {
            call.await.unwrap();
        }
        let mut got = one.got().await;
        got.sort_unstable();
        let mut expected: Vec<u64> =
            (0..4).filter(|index| subscribed[*index]).flat_map(|index| of[index].clone()).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(got, expected, "seed {seed}");
    }
}

/// However long the log is: it is read by the indexes.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_far_behind_costs_what_it_is_sent() {
    let (log, store) = crate::world::log("server").await;
    for n in 0..20 {
        add_many(&log, n * 1_000..(n + 1) * 1_000).await;
        add(&log, 100_000 + n, &["direct", "a"]).await;
    }
    let before = store.reads();
    let one = Subscriber::new(&log, 0).await;
    assert_eq!(one.got().await, (100_000..100_020).collect::<Vec<_>>());
    assert!(store.reads() < before + 10, "{} reads", store.reads() - before);
    // What it was not sent is known all the same.
    one.session.subscribe("a", Replay::After(Added::new(19_019).unwrap())).await.unwrap();
    assert_eq!(one.got().await, of_a(19_000..20_000));
    add(&log, 5, &["direct"]).await;
    assert_eq!(one.got().await, [5]);
}

/// Also where the session has not passed it yet: a session learns late of what is of no interest to it.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_past_is_sent_to_who_wants_none() {
    let log = log().await;
    let one = Subscriber::new(&log, 0).await;
    sleep(seconds(2)).await;
    add_many(&log, 0..10).await;
    let last = add(&log, 10, &["a", "direct"]).await;
    add(&log, 11, &["a"]).await;
    one.session.subscribe("a", Replay::Nothing).await.unwrap();
    assert_eq!(one.got().await, [10]);
    add(&log, 12, &["a"]).await;
    assert_eq!(one.got().await, [12]);
    one.session.unsubscribe("a");
    add_many(&log, 20..30).await;
    one.session.subscribe("a", Replay::After(last)).await.unwrap();
    assert_eq!(one.got().await, [11, 20, 24, 28]);
}

/// Nor by what was on its way to it.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_replay_is_not_sent_later() {
    let log = log().await;
    add_many(&log, 0..8_000).await;
    let one = Subscriber::new(&log, 0).await;
    sleep(seconds(2)).await;
    one.peer.abort();
    let _ = one.session.subscribe("a", Replay::All).await.unwrap_err();
    drop(one);
    sleep(seconds(10)).await;
    let two = Subscriber::new(&log, 0).await;
    assert_eq!(two.got().await, NONE);
    two.pace.store(1, Ordering::Relaxed);
    let (session, one) = (two.session.handle(), two.session.handle());
    let replayed = tokio::spawn(async move { session.subscribe("a", Replay::All).await });
    sleep(milliseconds(5)).await;
    one.unsubscribe("a");
    replayed.await.unwrap().unwrap();
    let some = two.got().await;
    assert!((1..2_000).contains(&some.len()), "{} were sent", some.len());
    add(&log, 5_000, &["direct"]).await;
    assert_eq!(two.got().await, [5_000]);
}
