//! Durable named consumers.

use std::sync::Arc;

use futures_util::FutureExt;
use logux_sync::{Added, Consumer, ConsumerError, Delivery, Log, MemoryStore, Store, Value};
use serde_json::json;

use crate::stores::{Stores, each};

/// What a consumer delivers without waiting.
async fn deliver(consumer: &mut Consumer<u64>) -> Vec<Delivery<u64>> {
    let mut deliveries = Vec::new();
    // A store that is on a disk takes its time.
    let limit = std::time::Duration::from_millis(300);
    while let Ok(next) = tokio::time::timeout(limit, consumer.next()).await {
        deliveries.push(next.unwrap());
    }
    deliveries
}

fn numbers(deliveries: &[Delivery<u64>]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.event).collect()
}

#[tokio::test]
async fn each_event_comes_until_it_is_acknowledged_also_after_a_restart() {
    let stores = Stores::new();
    for (name, store) in &stores.all {
        let open = async || {
            let store: Arc<dyn Store<u64>> = Arc::clone(store);
            let clock = logux_sync::Clock::system();
            Log::open_with("node".parse().unwrap(), store, clock).await.unwrap()
        };
        let log = open().await;
        log.add_batch(1..=5).await.unwrap();
        let mut consumer = log.consumer("mailer").await.unwrap();
        let mut deliveries = deliver(&mut consumer).await;
        assert_eq!(numbers(&deliveries), [1, 2, 3, 4, 5], "{name}");
        // In any order; what is kept is up to where there are all.
        for place in [4, 0, 0] {
            deliveries.remove(place).ack().await.unwrap();
        }
        assert_eq!(consumer.position().value(), 2, "{name}");
        // The process dies: nothing is returned.
        deliveries.into_iter().for_each(std::mem::forget);
        std::mem::forget(consumer);
        drop(log);

        let log = open().await;
        assert_eq!(log.consumers().await.unwrap(), [("mailer".to_owned(), Added::new(2).unwrap())]);
        let mut consumer = log.consumer("mailer").await.unwrap();
        let deliveries = deliver(&mut consumer).await;
        assert_eq!(numbers(&deliveries), [3, 4, 5], "{name}");
        for delivery in deliveries {
            delivery.ack().await.unwrap();
        }
        log.add(6).await.unwrap();
        let next = consumer.next().await.unwrap();
        assert_eq!(next.event, 6, "{name}");
        next.ack().await.unwrap();
        assert_eq!(consumer.position().value(), 6, "{name}");
    }
}

#[tokio::test]
async fn what_is_dropped_comes_again_and_what_is_open_is_bounded() {
    each(async |log: Log<u64>| {
        log.add_batch(1..=10).await.unwrap();
        let mut consumer = log.consumer("c").await.unwrap().max_waiting(3);
        let mut deliveries = deliver(&mut consumer).await;
        assert_eq!(numbers(&deliveries), [1, 2, 3]);
        drop(deliveries.remove(1));
        let again = consumer.next().await.unwrap();
        assert_eq!(again.event, 2);
        deliveries.remove(0).ack().await.unwrap();
        assert_eq!(consumer.next().await.unwrap().event, 4);
        // That one was dropped, too.
        assert_eq!(consumer.next().await.unwrap().event, 4);
        again.ack().await.unwrap();
        deliveries.remove(0).ack().await.unwrap();
        assert_eq!(consumer.position().value(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_goes_on_when_something_is_returned_acknowledged_or_added() {
    each(async |log: Log<u64>| {
        let mut consumer = log.consumer("c").await.unwrap().max_waiting(1);
        assert!(consumer.next().now_or_never().is_none());
        let adding = tokio::spawn({
            let log = log.clone();
            async move { log.add_batch([1, 2]).await }
        });
        let first = consumer.next().await.unwrap();
        adding.await.unwrap().unwrap();
        let (next, ()) = tokio::join!(consumer.next(), async {
            tokio::task::yield_now().await;
            first.ack().await.unwrap();
        });
        let second = next.unwrap();
        assert_eq!(second.event, 2);
        let (next, ()) = tokio::join!(consumer.next(), async {
            tokio::task::yield_now().await;
            drop(second);
        });
        assert_eq!(next.unwrap().event, 2);
    })
    .await;
}

#[tokio::test]
async fn there_is_one_of_each_name_and_a_name_is_a_name() {
    each(async |log: Log<u64>| {
        log.add(1).await.unwrap();
        let mut one = log.consumer("one").await.unwrap();
        assert!(matches!(log.consumer("one").await, Err(ConsumerError::InUse(_))));
        assert!(matches!(log.forget_consumer("one").await, Err(ConsumerError::InUse(_))));
        let delivery = one.next().await.unwrap();
        drop(one);
        assert!(matches!(log.consumer("one").await, Err(ConsumerError::InUse(_))));
        delivery.ack().await.unwrap();
        let mut one = log.consumer("one").await.unwrap();
        assert!(one.next().now_or_never().is_none());
        drop(one);
        log.forget_consumer("one").await.unwrap();
        assert_eq!(log.consumers().await.unwrap(), []);
        assert_eq!(log.consumer("one").await.unwrap().next().await.unwrap().event, 1);
        for name in ["", "a\nb", &"x".repeat(201)] {
            assert!(matches!(log.consumer(name).await, Err(ConsumerError::Name(_))), "{name:?}");
        }
        // One that begins with another's name, and one with spaces.
        for name in ["one two", "one", "on"] {
            let _ = log.consumer(name).await.unwrap();
        }
        let after = log.last_added();
        let mut late = log.consumer_after("late", after).await.unwrap();
        assert!(late.next().now_or_never().is_none());
        drop(late);
        // It is not new any more.
        assert_eq!(log.consumer("late").await.unwrap().position(), after);
    })
    .await;
}

#[tokio::test]
async fn events_of_other_types_count_as_acknowledged() {
    let store: Arc<dyn Store<Value>> = Arc::new(MemoryStore::new());
    let open = async || {
        let clock = logux_sync::Clock::system();
        Log::open_with("node".parse().unwrap(), Arc::clone(&store), clock).await.unwrap()
    };
    let log = open().await;
    log.add_batch((0..500).map(|n| json!({ "type": "b", "n": n }))).await.unwrap();
    log.add(json!({ "type": "a" })).await.unwrap();
    let mut consumer = log.consumer("a").await.unwrap().of_type("a");
    let delivery = consumer.next().await.unwrap();
    assert_eq!(delivery.meta.added.value(), 501);
    assert_eq!(consumer.position().value(), 500);
    delivery.ack().await.unwrap();
    log.add(json!({ "type": "b" })).await.unwrap();
    assert!(consumer.next().now_or_never().is_none());
    std::mem::forget(consumer);
    assert_eq!(open().await.consumers().await.unwrap()[0].1.value(), 502);
}

#[tokio::test]
async fn events_that_are_gone_are_not_delivered_and_do_not_stop_it() {
    each(async |log: Log<u64>| {
        log.add_batch(1..=10).await.unwrap();
        log.clean(logux_sync::Criteria::all().added(..Added::new(9).unwrap())).await.unwrap();
        let mut consumer = log.consumer("c").await.unwrap();
        let deliveries = deliver(&mut consumer).await;
        assert_eq!(numbers(&deliveries), [9, 10]);
        log.clean(logux_sync::Criteria::all()).await.unwrap();
        for delivery in deliveries {
            delivery.ack().await.unwrap();
        }
        assert_eq!(consumer.position().value(), 10);
    })
    .await;
}
