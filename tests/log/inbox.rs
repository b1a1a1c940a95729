//! Events that wait for a handler.

use std::sync::Arc;

use futures_util::FutureExt;
use logux_sync::{
    Added, Arriving, Criteria, Draft, EventId, InboxError, Log, LogOptions, MemoryStore, Store,
    Value,
};

use crate::stores::{Stores, all, clock, each, each_with, synchronize};

#[tokio::test]
async fn events_wait_without_positions_and_are_settled_in_their_order() {
    each(async |log: Log<u64>| {
        let ids = log.hand_in("a", [1, 2, 3]).await.unwrap();
        assert!(ids.is_sorted() && ids.len() == 3);
        log.hand_in("b", [10]).await.unwrap();
        assert_eq!((log.last_added(), log.count().await.unwrap()), (Added::ZERO, 0));
        assert_eq!(log.inboxes().await.unwrap(), ["a", "b"]);
        let own = log.add(0).await.unwrap();
        assert!(own.meta.id > ids[2], "an id is given twice");
        let mut inbox = log.inbox("a").unwrap();
        let waiting = inbox.next().await.unwrap();
        assert_eq!((waiting.entry().event, &waiting.entry().meta.id), (1, &ids[0]));
        // It is not settled, and comes again.
        drop(waiting);
        let waiting = inbox.next().await.unwrap();
        let settle = |draft: Draft<u64>| vec![draft.index("x"), Draft::new(100)];
        let added = waiting.settle(settle).await.unwrap();
        assert_eq!((&added[0].meta.id, added[1].event), (&ids[0], 100));
        assert_eq!(added[0].meta.indexes, ["x"]);
        // One is left out, and nothing put in its place.
        let waiting = inbox.next().await.unwrap();
        assert_eq!(waiting.settle(|_| Vec::new()).await.unwrap(), []);
        inbox.next().await.unwrap().settle(|draft| vec![draft]).await.unwrap();
        assert!(inbox.next().now_or_never().is_none());
        assert_eq!(all(&log).await, [0, 1, 100, 3]);
        assert_eq!(log.inboxes().await.unwrap(), ["b"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_known_is_left_out_and_what_waits_is_woken() {
    each(async |log: Log<u64>| {
        let entry = log.add(1).await.unwrap();
        log.hand_in("a", [Draft::new(1).id(entry.meta.id.clone())]).await.unwrap();
        assert_eq!(log.inboxes().await.unwrap(), [""; 0]);
        let ids = log.hand_in("a", [2]).await.unwrap();
        log.hand_in("a", [Draft::new(3).id(ids[0].clone())]).await.unwrap();
        let mut inbox = log.inbox("a").unwrap();
        let waiting = inbox.next().await.unwrap();
        // Meanwhile the event comes another way.
        log.add(Draft::new(2).id(ids[0].clone())).await.unwrap();
        waiting.settle(|draft| vec![draft, Draft::new(4)]).await.unwrap();
        assert_eq!(all(&log).await, [1, 2, 4]);
        let (next, handed_in) = tokio::join!(inbox.next(), async {
            tokio::task::yield_now().await;
            log.hand_in("a", [5]).await
        });
        handed_in.unwrap();
        assert_eq!(next.unwrap().entry().event, 5);
    })
    .await;
}

#[tokio::test]
async fn there_is_one_handle_for_each_queue_a_name_is_a_name_and_queues_are_bounded() {
    each(async |log: Log<u64>| {
        let one = log.inbox("a").unwrap();
        assert!(matches!(log.inbox("a"), Err(InboxError::InUse(_))));
        drop(one);
        let _one = log.inbox("a").unwrap();
        for name in ["", "a b", "a\n", &"x".repeat(301)] {
            assert!(matches!(log.hand_in(name, [1]).await, Err(InboxError::Name(_))), "{name:?}");
            assert!(matches!(log.inbox(name), Err(InboxError::Name(_))), "{name:?}");
        }
        log.hand_in("full", 0..9_999).await.unwrap();
        assert!(matches!(log.hand_in("full", [1, 2]).await, Err(InboxError::Full(_))));
        log.hand_in("full", [1]).await.unwrap();
        let mut inbox = log.inbox("full").unwrap();
        for _ in 0..3 {
            inbox.next().await.unwrap().settle(|draft| vec![draft]).await.unwrap();
        }
        log.hand_in("full", [1, 2, 3]).await.unwrap();
        assert!(matches!(log.hand_in("full", [1]).await, Err(InboxError::Full(_))));
    })
    .await;
}

#[tokio::test]
async fn what_a_peer_sends_waits_durably_and_is_confirmed() {
    let stores = Stores::new();
    for (name, store) in &stores.all {
        let open = async || {
            let options = LogOptions::new().clock(clock().1);
            let options = options.inbox(|entry: &logux_sync::Entry<u64>| {
                let source = entry.meta.source.as_ref()?;
                entry.event.is_multiple_of(2).then(|| source.client_id().to_owned())
            });
            let store: Arc<dyn Store<u64>> = Arc::clone(store);
            Log::open_with("server".parse().unwrap(), store, options).await.unwrap()
        };
        let log = open().await;
        let client = Log::open("10:client".parse().unwrap(), MemoryStore::new()).await.unwrap();
        client.add_batch(1..=4).await.unwrap();
        synchronize(&log, &client).await;
        assert_eq!(all(&log).await, [1, 3], "{name}");
        drop(log);

        let log = open().await;
        assert_eq!(log.inboxes().await.unwrap(), ["10:client"], "{name}");
        // What is confirmed does not come again, and what waits is no gap.
        client.add(5).await.unwrap();
        synchronize(&log, &client).await;
        let mut inbox = log.inbox("10:client").unwrap();
        let waiting = inbox.next().await.unwrap();
        let entry = waiting.entry();
        assert_eq!(entry.meta.source.as_ref(), Some(client.node_id()), "{name}");
        let added = waiting.settle(|draft| vec![draft]).await.unwrap();
        assert_eq!(added[0].meta.source.as_ref(), Some(client.node_id()), "{name}");
        inbox.next().await.unwrap().settle(|draft| vec![draft]).await.unwrap();
        assert_eq!(all(&log).await, [1, 3, 5, 2, 4], "{name}");
    }
}

#[tokio::test]
async fn an_event_that_was_here_does_not_block_its_queue() {
    each(async |log: Log<u64>| {
        let ids = log.hand_in("a", [1, 2]).await.unwrap();
        let mut inbox = log.inbox("a").unwrap();
        let waiting = inbox.next().await.unwrap();
        // Meanwhile it comes another way, and is cleaned.
        log.add(Draft::new(1).id(ids[0].clone())).await.unwrap();
        log.clean(Criteria::all()).await.unwrap();
        let added = waiting.settle(|draft| vec![Draft::new(10), draft, Draft::new(11)]).await;
        assert_eq!(crate::stores::events(&added.unwrap()), [10, 11]);
        inbox.next().await.unwrap().settle(|draft| vec![draft]).await.unwrap();
        assert_eq!(all(&log).await, [10, 11, 2]);
        assert!(inbox.next().now_or_never().is_none());
    })
    .await;
}

#[tokio::test]
async fn ids_of_what_waits_are_not_given_again_by_a_later_process() {
    let stores = Stores::new();
    for (name, store) in &stores.all {
        let open = async || {
            let store: Arc<dyn Store<u64>> = Arc::clone(store);
            Log::open_with("node".parse().unwrap(), store, clock().1).await.unwrap()
        };
        let before = open().await.hand_in("a", 0..100).await.unwrap();
        let log = open().await;
        let after = log.hand_in("a", 100..200).await.unwrap();
        assert!(before.last() < after.first(), "{name}");
        let mut inbox = log.inbox("a").unwrap();
        for number in 0..200 {
            let waiting = inbox.next().await.unwrap();
            assert_eq!(waiting.entry().event, number, "{name}");
            waiting.settle(|draft| vec![draft]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_last_of_a_reason_is_kept_through_an_inbox_and_the_hook_sees_an_event_once() {
    let hook = |arriving: &mut Arriving<'_, u64>| {
        let times = arriving.extra().get("seen").and_then(Value::as_u64).unwrap_or_default();
        arriving.set_extra("seen", times + 1);
        Ok(())
    };
    let options = || LogOptions::new().before_add(hook);
    each_with(options, async |log: Log<u64>| {
        log.add(Draft::new(1).keep_last("state")).await.unwrap();
        log.hand_in("a", [Draft::new(2).keep_last("state")]).await.unwrap();
        assert_eq!(all(&log).await, [1]);
        let mut inbox = log.inbox("a").unwrap();
        let waiting = inbox.next().await.unwrap();
        let added = waiting.settle(|draft| vec![draft]).await.unwrap();
        assert_eq!(added[0].meta.extra["seen"], 1);
        assert_eq!(all(&log).await, [2]);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_wakes_the_handler_if_its_events_are_kept() {
    let stores = Stores::<u64>::new();
    for (name, store) in &stores.all {
        let store = Arc::clone(store);
        let log = Log::open_with("node".parse().unwrap(), store, clock().1).await.unwrap();
        let mut inbox = log.inbox("a").unwrap();
        let next = tokio::spawn(async move { inbox.next().await.map(|next| next.entry().event) });
        tokio::task::yield_now().await;
        let mut handing_in = Box::pin(log.hand_in("a", [7]));
        // Until it has given the event to the store.
        while log.inboxes().await.unwrap().is_empty() {
            let _ = (&mut handing_in).now_or_never();
        }
        drop(handing_in);
        assert_eq!(next.await.unwrap().unwrap(), 7, "{name}");
    }
}

#[tokio::test]
async fn a_peer_cannot_name_a_queue_that_cannot_be() {
    let options = || {
        LogOptions::new().inbox(|entry: &logux_sync::Entry<u64>| {
            (entry.event < 3).then(|| if entry.event == 1 { "a b" } else { "a" }.to_owned())
        })
    };
    each_with(options, async |log: Log<u64>| {
        let client = Log::open("10:client".parse().unwrap(), MemoryStore::new()).await.unwrap();
        client.add_batch(1..=3).await.unwrap();
        synchronize(&log, &client).await;
        assert_eq!(all(&log).await, [3]);
        assert_eq!(log.inboxes().await.unwrap(), ["a"]);
        let refused = client.held_back(&"node".parse().unwrap()).await.unwrap();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].reason.contains("a b"), "{refused:?}");
    })
    .await;
}

/// Also where it came again while it was settled, or was settled without being added.
#[tokio::test]
async fn an_event_that_was_settled_or_consumed_does_not_come_again() {
    each(async |log: Log<u64>| {
        let draft = |n: u64, id: &EventId| Draft::new(n).id(id.clone());
        let ids = log.hand_in("a", [1, 2, 3]).await.unwrap();
        let mut inbox = log.inbox("a").unwrap();
        let one = inbox.next().await.unwrap();
        one.settle(|draft| vec![draft, Draft::new(10)]).await.unwrap();
        let two = inbox.next().await.unwrap();
        let added = two.consume([Draft::new(20), Draft::new(21)]).await.unwrap();
        assert_eq!(added.iter().map(|entry| entry.event).collect::<Vec<_>>(), [20, 21]);
        assert_eq!(all(&log).await, [1, 10, 20, 21]);
        log.clean(Criteria::all().ids([ids[0].clone()])).await.unwrap();
        for (n, id) in (1..).zip(&ids) {
            log.hand_in("a", [draft(n, id)]).await.unwrap();
        }
        assert_eq!(inbox.next().await.unwrap().entry().event, 3);
        // It comes by another way before it is read again: then there is nothing to handle.
        log.add(draft(3, &ids[2])).await.unwrap();
        assert!(inbox.try_next().await.unwrap().is_none());
        assert_eq!(log.inboxes().await.unwrap(), [""; 0]);
        // One that comes while it is consumed.
        log.hand_in("a", [4]).await.unwrap();
        let four = inbox.next().await.unwrap();
        let id = four.entry().meta.id.clone();
        log.hand_in("a", [draft(4, &id)]).await.unwrap();
        assert_eq!(four.consume([]).await.unwrap(), []);
        log.hand_in("b", [draft(4, &id)]).await.unwrap();
        assert!(inbox.try_next().await.unwrap().is_none());
        assert!(log.inbox("b").unwrap().try_next().await.unwrap().is_none());
        assert_eq!(all(&log).await, [10, 20, 21, 3]);
    })
    .await;
}

#[tokio::test]
async fn queues_with_something_to_do_are_claimed_one_by_one() {
    each(async |log: Log<u64>| {
        assert!(log.next_inbox("").now_or_never().is_none());
        log.hand_in("x/2", [2]).await.unwrap();
        log.hand_in("x/1", [1, 10]).await.unwrap();
        log.hand_in("y", [3]).await.unwrap();
        let mut two = log.next_inbox("x/").await.unwrap();
        let mut one = log.next_inbox("x/").await.unwrap();
        assert_eq!((two.name(), one.name()), ("x/2", "x/1"));
        assert!(log.next_inbox("x/").now_or_never().is_none());
        // It has its handle, which is told.
        log.hand_in("x/2", [20]).await.unwrap();
        assert!(log.next_inbox("x/").now_or_never().is_none());
        for n in [2, 20] {
            let waiting = two.try_next().await.unwrap().unwrap();
            assert_eq!(waiting.entry().event, n);
            waiting.settle(|draft| vec![draft]).await.unwrap();
        }
        assert!(two.try_next().await.unwrap().is_none());
        drop(two);
        assert!(log.next_inbox("x/").now_or_never().is_none());
        // What a handle leaves behind, another one claims, from what was not settled on.
        drop(one.next().await.unwrap());
        drop(one);
        let mut one = log.next_inbox("x/").await.unwrap();
        for n in [1, 10] {
            let waiting = one.try_next().await.unwrap().unwrap();
            assert_eq!(waiting.entry().event, n);
            waiting.consume([]).await.unwrap();
        }
        drop(one);
        let (claimed, handed_in) = tokio::join!(log.next_inbox("x/"), async {
            tokio::task::yield_now().await;
            log.hand_in("x/2", [200]).await
        });
        handed_in.unwrap();
        assert_eq!(claimed.unwrap().name(), "x/2");
        // Opened by its name, it is not there to be claimed.
        let _open = log.inbox("y").unwrap();
        assert_eq!(log.next_inbox("").await.unwrap().name(), "x/2");
        assert!(log.next_inbox("y").now_or_never().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_later_process_claims_what_an_earlier_one_has_left() {
    let stores = Stores::new();
    for (name, store) in &stores.all {
        let open = async || {
            let store: Arc<dyn Store<u64>> = Arc::clone(store);
            Log::open_with("server".parse().unwrap(), store, LogOptions::new()).await.unwrap()
        };
        let log = open().await;
        log.hand_in("x/1", [1]).await.unwrap();
        log.hand_in("x/2", [2]).await.unwrap();
        let _one = log.next_inbox("x/").await.unwrap();
        let log = open().await;
        log.hand_in("x/3", [3]).await.unwrap();
        let mut claimed = Vec::new();
        for _ in 0..3 {
            let inbox = log.next_inbox("x/").await.unwrap();
            claimed.push(inbox.name().to_owned());
            std::mem::forget(inbox);
        }
        claimed.sort_unstable();
        assert_eq!(claimed, ["x/1", "x/2", "x/3"], "{name}");
        assert!(log.next_inbox("x/").now_or_never().is_none(), "{name}");
    }
}
