//! Ids, positions, order and reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{FutureExt, StreamExt};
use logux_sync::{
    Access, Added, BaseSync, Clock, Cursors, Draft, Epoch, EventId, Json, Log, Memory, MemoryStore,
    Meta, Role, State, Store, Subprotocol, SyncOptions, Timestamp,
};

const NOW: u64 = 1_786_312_345_678;

/// A clock that a test sets.
fn clock() -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(NOW));
    let shown = Arc::clone(&time);
    (time, Clock::new(move || Timestamp::new(shown.load(Ordering::Relaxed)).unwrap()))
}

async fn open(store: &Arc<MemoryStore<u64>>, clock: &Clock) -> Log<u64> {
    let store: Arc<dyn Store<u64>> = Arc::clone(store) as _;
    Log::open_with("node".parse().unwrap(), store, clock.clone()).await.unwrap()
}

fn numbers(entries: &[Arc<logux_sync::Entry<u64>>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.event).collect()
}

#[tokio::test]
async fn ids_are_the_time_and_never_repeat() {
    let (time, clock) = clock();
    let store = Arc::new(MemoryStore::new());
    let log = open(&store, &clock).await;
    assert_eq!(log.add(1).await.unwrap().meta.id.to_string(), "OzcVoWD node");
    // Within one millisecond, and when the clock steps back, they count on.
    assert_eq!(log.add(2).await.unwrap().meta.id.time().value(), NOW + 1);
    time.store(NOW - 3_600_000, Ordering::Relaxed);
    assert_eq!(log.add(3).await.unwrap().meta.id.time().value(), NOW + 2);
    // So they do when the log is opened again, by a clock that is behind.
    drop(log);
    let log = open(&store, &clock).await;
    assert_eq!(log.add(4).await.unwrap().meta.id.time().value(), NOW + 3);
    time.store(NOW + 1000, Ordering::Relaxed);
    assert_eq!(log.add(5).await.unwrap().meta.id.time().value(), NOW + 1000);
}

#[tokio::test]
async fn many_tasks_add_at_once_and_ids_have_the_order_of_positions() {
    let (_, clock) = clock();
    let log = open(&Arc::new(MemoryStore::new()), &clock).await;
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    log.add(task * 50 + n).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    assert_eq!(entries.len(), 1000);
    assert!(entries.windows(2).all(|pair| pair[0].meta.id < pair[1].meta.id));
    assert!(entries.iter().zip(1..).all(|(entry, n)| entry.meta.added.value() == n));
}

/// What a peer sends in this node's own name. Answers whether this node took it.
async fn receive_own_event(log: &Log<u64>, time: u64, access: Access<u64>) -> bool {
    let id = EventId::new(Timestamp::new(time).unwrap(), "node".parse().unwrap());
    let peer_log = Log::<u64>::open("peer".parse().unwrap(), MemoryStore::new()).await.unwrap();
    peer_log.add(Draft::new(time).id(id.clone())).await.unwrap();
    let (near, far) = Memory::pair();
    let options = SyncOptions::new().auth(move |_| std::future::ready(access.clone()));
    let _here = BaseSync::new(log, Json, Role::Acceptor, near).options(options).start();
    let there = BaseSync::new(&peer_log, Json, Role::Opener, far).start();
    // It is confirmed either way.
    there.wait_for(State::Synchronized).await.unwrap();
    assert!(there.diagnostics().synced >= Added::new(1).unwrap());
    there.close().await.unwrap();
    let held_back = peer_log.held_back(log.node_id()).await.unwrap();
    let is_taken = log.by_id(&id).await.unwrap().is_some();
    match (&held_back[..], is_taken) {
        ([], true) => {}
        ([refused], false) => assert_eq!(refused.id, id),
        (held_back, _) => panic!("taken: {is_taken}, and held back: {held_back:?}"),
    }
    is_taken
}

#[tokio::test]
async fn ids_that_come_back_to_a_node_that_forgot_them_are_not_given_again() {
    let (_, clock) = clock();
    let log = open(&Arc::new(MemoryStore::new()), &clock).await;
    assert!(receive_own_event(&log, NOW + 5, Access::relay()).await);
    let meta = log.add(1).await.unwrap().meta.clone();
    assert_eq!(meta.id.time().value(), NOW + 6);
    // Ids run ahead, times do not.
    assert_eq!(meta.time.value(), NOW);
}

#[tokio::test]
async fn an_id_of_this_node_that_a_draft_brings_is_not_given_again() {
    let (_, clock) = clock();
    let log = open(&Arc::new(MemoryStore::new()), &clock).await;
    let id = EventId::new(Timestamp::new(NOW + 1).unwrap(), "node".parse().unwrap());
    log.add(Draft::new(1).id(id)).await.unwrap();
    for event in 2..5 {
        assert_eq!(log.add(event).await.unwrap().event, event);
    }
    assert_eq!(log.last_added().value(), 4);
}

#[tokio::test]
async fn a_peer_cannot_push_the_ids_of_this_node_into_the_far_future() {
    let (_, clock) = clock();
    let store = Arc::new(MemoryStore::new());
    let log = open(&store, &clock).await;
    let latest = logux_sync::codecs::MAX_SAFE_INTEGER;
    let tomorrow = NOW + 24 * 60 * 60 * 1000;
    for time in [latest, tomorrow + 1, NOW + 5] {
        assert!(!receive_own_event(&log, time, Access::client()).await, "{time}");
    }
    assert_eq!(log.last_added(), Added::ZERO);
    assert_eq!(log.add(1).await.unwrap().meta.id.time().value(), NOW);

    // What a relay brings back is kept, but nothing goes on from there.
    for time in [latest, tomorrow + 1] {
        assert!(receive_own_event(&log, time, Access::relay()).await, "{time}");
    }
    let meta = log.add(2).await.unwrap().meta.clone();
    assert_eq!((meta.id.time().value(), meta.time.value()), (NOW + 1, NOW));
    drop(log);
    let log = open(&store, &clock).await;
    let meta = log.add(3).await.unwrap().meta.clone();
    // Those that are taken are passed over.
    assert!((NOW + 2..NOW + 5).contains(&meta.id.time().value()), "{}", meta.id);
    assert_eq!(meta.time.value(), NOW);
    assert_eq!(log.last_added().value(), 5);
}

#[tokio::test]
async fn the_last_id_that_there_can_be_is_an_error_and_no_panic() {
    let log = Log::open_with(
        "node".parse().unwrap(),
        Arc::new(MemoryStore::new()) as Arc<dyn Store<u64>>,
        Clock::new(|| Timestamp::new(logux_sync::codecs::MAX_SAFE_INTEGER).unwrap()),
    )
    .await
    .unwrap();
    log.add(1).await.unwrap();
    let error = log.add(2).await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "there are no more ids");
}

#[tokio::test]
async fn a_draft_says_more_and_an_id_that_is_there_changes_nothing() {
    let log = Log::<u64>::open("node".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let id: EventId = "OzcVoWD other".parse().unwrap();
    let draft = Draft::new(1)
        .id(id.clone())
        .time(Timestamp::new(5).unwrap())
        .reason("why")
        .index("where")
        .extra("status", "new");
    let first = log.add(draft).await.unwrap();
    assert_eq!((first.meta.time.value(), &first.meta.id), (5, &id));
    assert_eq!(
        (&first.meta.reasons[..], &first.meta.indexes[..]),
        (&["why".into()][..], &["where".into()][..])
    );
    assert_eq!(first.meta.extra["status"], "new");
    let again = log.add(Draft::new(2).id(id.clone())).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(log.by_id(&id).await.unwrap(), Some(first));
    assert_eq!(log.last_added().value(), 1);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_may_repeat_an_id() {
    let log = Log::<u64>::open("node".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let id: EventId = "1 other".parse().unwrap();
    let drafts = [Draft::new(1), Draft::new(2).id(id.clone()), Draft::new(3), Draft::new(4).id(id)];
    let entries = log.add_batch(drafts).await.unwrap();
    assert_eq!(numbers(&entries), [1, 2, 3, 2]);
    assert_eq!(numbers(&log.entries_after(Added::ZERO, 10).await.unwrap()), [1, 2, 3]);
    assert_eq!(numbers(&log.entries_after(Added::new(1).unwrap(), 1).await.unwrap()), [2]);
    assert!(log.add_batch(Vec::<u64>::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_order_of_creation_is_by_time_then_node_then_id() {
    let log = Log::<u64>::open("node".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let add = async |event: u64, id: &str, time: u64| {
        let draft = Draft::new(event).id(id.parse().unwrap()).time(Timestamp::new(time).unwrap());
        log.add(draft).await.unwrap();
    };
    add(4, "3 b", 10).await;
    add(1, "9 z", 5).await;
    add(3, "9 a", 10).await;
    add(2, "8 a", 10).await;
    add(5, "1 a", 11).await;
    let all = log.entries_created_after(None, usize::MAX).await.unwrap();
    assert_eq!(numbers(&all), [1, 2, 3, 4, 5]);
    let page = log.entries_created_after(Some(&all[1].meta.created()), 2).await.unwrap();
    assert_eq!(numbers(&page), [3, 4]);
}

#[tokio::test]
async fn following_gives_what_is_there_and_what_comes() {
    let log = Log::<u64>::open("node".parse().unwrap(), MemoryStore::new()).await.unwrap();
    log.add_batch(0..1000).await.unwrap();
    let mut entries = log.follow(Added::new(10).unwrap());
    for n in 10..1000 {
        assert_eq!(entries.next().await.unwrap().unwrap().event, n);
    }
    assert!(entries.next().now_or_never().is_none());
    log.add(1000).await.unwrap();
    assert_eq!(entries.next().await.unwrap().unwrap().event, 1000);
}

#[tokio::test]
async fn a_meta_and_cursors_are_read_back_by_serde_as_they_were_written() {
    let log = Log::<u64>::open("10:a".parse().unwrap(), MemoryStore::new()).await.unwrap();
    let plain = log.add(1).await.unwrap().meta.clone();
    let draft = Draft::new(2)
        .reason("tab")
        .index("users/1")
        .subprotocol(Subprotocol::new(3, 1))
        .extra("color", "red");
    let full = log.add(draft).await.unwrap().meta.clone();
    let json = serde_json::to_value(&plain).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["added", "id", "time"]);
    for meta in [plain, full] {
        let text = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<Meta>(&text).unwrap(), meta, "{text}");
    }
    let epoch = Epoch::random();
    let cursors =
        Cursors { sent: Added::new(7).unwrap(), epoch: Some(epoch), ..Cursors::default() };
    let text = serde_json::to_string(&cursors).unwrap();
    assert!(text.contains(&format!("{:?}", epoch.to_string())), "{text}");
    assert_eq!(serde_json::from_str::<Cursors>(&text).unwrap(), cursors);
    assert_eq!(serde_json::from_str::<Cursors>("{}").unwrap(), Cursors::default());
}

#[test]
fn what_is_not_a_meta_or_cursors_is_not_read_as_one() {
    let metas = [
        r#"{"time":1,"added":1}"#,
        r#"{"id":"!","time":1,"added":1}"#,
        r#"{"id":"1 10:a","time":-1,"added":1}"#,
        r#"{"id":"1 10:a","time":1,"added":9007199254740992}"#,
        r#"{"id":"1 10:a","time":1,"added":1,"source":""}"#,
    ];
    for text in metas {
        assert!(serde_json::from_str::<Meta>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Meta>(r#"{"id":"1 10:a","time":1,"added":1}"#).is_ok());
    for text in [r#"{"sent":-1}"#, r#"{"epoch":7}"#, r#"{"epoch":"+123456789abcdef"}"#] {
        assert!(serde_json::from_str::<Cursors>(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_batch_whose_ids_are_taken_keeps_its_order() {
    let (_, clock) = clock();
    let store = Arc::new(MemoryStore::new());
    // Two logs on one store, which their documentation forbids.
    let (one, other) = (open(&store, &clock).await, open(&store, &clock).await);
    one.add_batch(100..103).await.unwrap();
    let known = one.add(200).await.unwrap();
    let drafts = [
        Draft::new(0),
        Draft::new(1),
        Draft::new(2).id(known.meta.id.clone()),
        Draft::new(3),
        Draft::new(4).id("1 else".parse().unwrap()),
        Draft::new(5).id("1 else".parse().unwrap()),
        Draft::new(6),
    ];
    let added = other.add_batch(drafts).await.unwrap();
    assert_eq!(numbers(&added), [0, 1, 200, 3, 4, 4, 6]);
    let all = other.entries_after(Added::ZERO, 100).await.unwrap();
    assert_eq!(numbers(&all), [100, 101, 102, 200, 0, 1, 3, 4, 6]);
    let ids: Vec<_> = [0, 1, 3, 6].map(|place: usize| added[place].meta.id.clone()).to_vec();
    assert!(ids.is_sorted() && ids[0] > known.meta.id, "{ids:?}");
}

#[tokio::test]
async fn a_long_row_of_ids_that_are_taken_is_passed_over_in_few_steps() {
    let (_, clock) = clock();
    let store = Arc::new(MemoryStore::new());
    let (one, other) = (open(&store, &clock).await, open(&store, &clock).await);
    one.add_batch(0..100_000).await.unwrap();
    let started = std::time::Instant::now();
    let added = other.add(100_000).await.unwrap();
    assert_eq!(added.meta.added.value(), 100_001);
    let time = added.meta.id.time().value();
    assert!((NOW + 100_000..NOW + 300_000).contains(&time), "{time}");
    assert!(started.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn a_clock_that_has_lost_the_time_does_not_move_ids_back() {
    let (time, clock) = clock();
    let store = Arc::new(MemoryStore::new());
    let open = async || open(&store, &clock).await;
    open().await.add(1).await.unwrap();
    // The device has no battery for its clock.
    time.store(10_000, Ordering::Relaxed);
    for n in 2..4 {
        let meta = open().await.add(n).await.unwrap().meta.clone();
        assert_eq!((meta.id.time().value(), meta.time.value()), (NOW + n - 1, 10_000));
    }
    time.store(NOW + 500, Ordering::Relaxed);
    assert_eq!(open().await.add(4).await.unwrap().meta.id.time().value(), NOW + 500);
}
