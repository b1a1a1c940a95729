//! How long events are kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logux_sync::{
    Access, Added, BaseSync, Draft, Json, Log, LogOptions, Memory, MemoryStore, Retention, Role,
    State, Store, SyncOptions, Timestamp,
};

use crate::stores::{NOW, all, clock, each, each_with};

const DAY: u64 = 24 * 60 * 60 * 1000;

#[tokio::test]
async fn by_age_and_by_number_and_what_has_reasons_stays() {
    each(async |log: Log<u64>| {
        for number in 1..=1_000 {
            // Created in another order than added.
            let age = DAY * (number * 7 % 1_000);
            let draft = Draft::new(number).time(Timestamp::new(NOW - age).unwrap());
            let draft = if number.is_multiple_of(10) { draft.reason("a") } else { draft };
            log.add(draft).await.unwrap();
        }
        assert_eq!(log.prune(&Retention::new()).await.unwrap().cleaned, 0);
        let month = Retention::new().max_age(Duration::from_secs(600 * DAY / 1000));
        let is_old = |number: &u64| number * 7 % 1_000 > 600;
        let expected: Vec<u64> =
            (1..=1_000_u64).filter(|n| n.is_multiple_of(10) || !is_old(n)).collect();
        log.prune(&month).await.unwrap();
        assert_eq!(all(&log).await, expected);
        let few = Retention::new().max_events(300);
        log.prune(&few).await.unwrap();
        let left = all(&log).await;
        assert_eq!(left.len(), 300);
        assert!((1..=100).all(|n| left.contains(&(n * 10))));
        log.prune(&few.also_with_reasons().max_events(7)).await.unwrap();
        assert_eq!(all(&log).await, expected[expected.len() - 7..]);
    })
    .await;
}

#[tokio::test]
async fn what_a_consumer_has_not_acknowledged_stays() {
    each(async |log: Log<u64>| {
        log.add_batch(1..=10).await.unwrap();
        let mut consumer = log.consumer("c").await.unwrap();
        for _ in 0..4 {
            consumer.next().await.unwrap().ack().await.unwrap();
        }
        log.prune(&Retention::new().max_events(0).also_unconfirmed()).await.unwrap();
        assert_eq!(all(&log).await, [5, 6, 7, 8, 9, 10]);
    })
    .await;
}

/// Has a peer receive all that is there.
async fn synchronize(log: &Log<u64>, peer: &str) {
    let peer = Log::<u64>::open(peer.parse().unwrap(), MemoryStore::new()).await.unwrap();
    let (near, far) = Memory::pair();
    let options = SyncOptions::new().auth(async |_| Access::client());
    let here = BaseSync::new(log, Json, Role::Acceptor, near).options(options).start();
    let there = BaseSync::new(&peer, Json, Role::Opener, far).start();
    there.wait_for(State::Synchronized).await.unwrap();
    here.wait_for(State::Synchronized).await.unwrap();
    there.close().await.unwrap();
    let _ = here.close().await;
    assert_eq!(peer.last_added().value(), log.count().await.unwrap());
}

#[tokio::test]
async fn what_a_peer_has_not_confirmed_stays_until_the_peer_is_forgotten() {
    let (time, clock) = clock();
    let options = || LogOptions::new().clock(clock.clone());
    each_with(options, async |log: Log<u64>| {
        time.store(NOW, Ordering::Relaxed);
        log.add_batch(1..=5).await.unwrap();
        synchronize(&log, "10:client").await;
        log.add_batch(6..=8).await.unwrap();
        let retention = Retention::new().max_events(0);
        log.prune(&retention).await.unwrap();
        assert_eq!(all(&log).await, [6, 7, 8]);
        log.prune(&Retention::new().until_confirmed()).await.unwrap();
        assert_eq!(all(&log).await, [6, 7, 8]);
        // Another one has it all.
        synchronize(&log, "11:other").await;
        log.prune(&Retention::new().until_confirmed()).await.unwrap();
        assert_eq!(all(&log).await, [6, 7, 8]);
        time.store(NOW + 89 * DAY, Ordering::Relaxed);
        synchronize(&log, "11:other").await;
        time.store(NOW + 91 * DAY, Ordering::Relaxed);
        log.prune(&retention).await.unwrap();
        assert_eq!(all(&log).await, [0; 0]);
        let peer = "10:client".parse().unwrap();
        assert_eq!(log.cursors(&peer).await.unwrap().sent, Added::ZERO);
        let other = "11:other".parse().unwrap();
        assert_eq!(log.cursors(&other).await.unwrap().sent.value(), 8);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_was_connected_for_long_is_not_forgotten_as_it_leaves() {
    let (time, clock) = clock();
    let options = || LogOptions::new().clock(clock.clone());
    each_with(options, async |log: Log<u64>| {
        time.store(NOW, Ordering::Relaxed);
        log.add_batch(1..=5).await.unwrap();
        let peer = Log::<u64>::open("10:a".parse().unwrap(), MemoryStore::new()).await.unwrap();
        let (near, far) = Memory::pair();
        let options = SyncOptions::new().auth(async |_| Access::client());
        let here = BaseSync::new(&log, Json, Role::Acceptor, near).options(options).start();
        let there = BaseSync::new(&peer, Json, Role::Opener, far).start();
        here.wait_for(State::Synchronized).await.unwrap();
        there.wait_for(State::Synchronized).await.unwrap();
        time.store(NOW + 100 * DAY, Ordering::Relaxed);
        there.close().await.unwrap();
        let _ = here.close().await;
        log.add_batch(6..=8).await.unwrap();
        log.prune(&Retention::new().max_events(0)).await.unwrap();
        assert_eq!(all(&log).await, [6, 7, 8]);
    })
    .await;
}

#[tokio::test]
async fn of_the_tabs_of_a_client_the_last_one_counts() {
    let (time, clock) = clock();
    let options = || LogOptions::new().clock(clock.clone());
    each_with(options, async |log: Log<u64>| {
        time.store(NOW, Ordering::Relaxed);
        for (number, tab) in (1..).zip(["10:client:a", "10:client:c", "10:client:b"]) {
            log.add(number).await.unwrap();
            synchronize(&log, tab).await;
            time.fetch_add(DAY, Ordering::Relaxed);
        }
        log.add(4).await.unwrap();
        log.prune(&Retention::new().max_events(0)).await.unwrap();
        assert_eq!(all(&log).await, [4]);
    })
    .await;
}

#[tokio::test]
async fn of_two_tabs_that_are_connected_both_count() {
    each(async |log: Log<u64>| {
        log.add_batch(1..=5).await.unwrap();
        let mut sessions = Vec::new();
        for tab in ["10:client:a", "10:client:b", "10:client:c"] {
            let peer = Log::<u64>::open(tab.parse().unwrap(), MemoryStore::new()).await.unwrap();
            let (near, far) = Memory::pair();
            let options = SyncOptions::new().auth(async |_| Access::client());
            let here = BaseSync::new(&log, Json, Role::Acceptor, near).options(options).start();
            // One of them takes for ever, and confirms nothing.
            let is_slow = tab == "10:client:a";
            let asked = Arc::new(tokio::sync::Notify::new());
            let asks = Arc::clone(&asked);
            let options = SyncOptions::new().in_filter(move |_, _| {
                asks.notify_one();
                async move {
                    if is_slow {
                        std::future::pending::<()>().await;
                    }
                    Ok(true)
                }
            });
            let there = BaseSync::new(&peer, Json, Role::Opener, far).options(options).start();
            if is_slow {
                asked.notified().await;
            } else {
                here.wait_for(State::Synchronized).await.unwrap();
            }
            sessions.push((here, there));
        }
        log.prune(&Retention::new().max_events(0)).await.unwrap();
        assert_eq!(all(&log).await, [1, 2, 3, 4, 5]);
        drop(sessions);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_known_by_another_name_is_one_peer() {
    let (time, clock) = clock();
    let options = || LogOptions::new().clock(clock.clone());
    each_with(options, async |log: Log<u64>| {
        time.store(NOW, Ordering::Relaxed);
        for (round, server) in (0..3).zip(["server:a", "server:b", "server:c"]) {
            log.add_batch(1..=5).await.unwrap();
            let server = Log::<u64>::open(server.parse().unwrap(), MemoryStore::new());
            let server = server.await.unwrap();
            server.add(100).await.unwrap();
            let (near, far) = Memory::pair();
            let options = SyncOptions::new().peer_name("server".parse().unwrap());
            let here = BaseSync::new(&log, Json, Role::Opener, near).options(options).start();
            let there = BaseSync::new(&server, Json, Role::Acceptor, far).start();
            here.wait_for(State::Synchronized).await.unwrap();
            there.wait_for(State::Synchronized).await.unwrap();
            let pruned = log.prune(&Retention::new().until_confirmed()).await.unwrap();
            assert!(pruned.cleaned >= 5, "in round {round}");
            here.close().await.unwrap();
            let _ = there.close().await;
            time.fetch_add(30 * DAY, Ordering::Relaxed);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pruning_goes_on_for_as_long_as_it_is_held() {
    let store: Arc<dyn Store<u64>> = Arc::new(MemoryStore::new());
    let clock = clock().1;
    let log = Log::open_with("node".parse().unwrap(), store, clock).await.unwrap();
    log.add_batch(1..=10).await.unwrap();
    let hour = Duration::from_secs(60 * 60);
    let pruning = log.prune_every(hour, Retention::new().max_events(3));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(all(&log).await, [8, 9, 10]);
    log.add_batch(11..=20).await.unwrap();
    tokio::time::sleep(hour).await;
    assert_eq!(all(&log).await, [18, 19, 20]);
    drop(pruning);
    log.add_batch(21..=30).await.unwrap();
    tokio::time::sleep(2 * hour).await;
    assert_eq!(log.count().await.unwrap(), 13);
}
