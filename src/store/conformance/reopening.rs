//! What is there when a store is opened again.

use logux_codecs::Value;

use super::ask::{
    add_new, assert_found, by_id, change, count, edit, entry, found_by, index, kept_for,
    last_added, last_time, put, raise, read, reason, record, submit, submit_changes, texts, time,
};
use super::gone::{Known, assert_known};
use crate::store::append::Append;
use crate::store::change::{Edit, Forget, Which};
use crate::store::contract::Store;
use crate::store::record::{Key, RecordChange};

/// Checks that a store still holds all when it is opened again; `open` opens the same one each time, which is new
/// the first time, and of which no other handle is left.
pub async fn store_that_is_opened_again<S: Store<Value>>(open: impl AsyncFn() -> S) {
    let mut last = 0;
    for round in 1..=3 {
        let store = open().await;
        assert_eq!(last_added(&store), last, "the end of the log is lost");
        let entries = read(&store, 0, usize::MAX).await;
        let numbers: Vec<_> = entries.iter().map(|entry| entry.meta.id.time().value()).collect();
        assert_eq!(numbers, (1..=2 * (round - 1)).collect::<Vec<_>>(), "events are lost");
        assert!(entries.iter().all(|entry| entry.size() > 0), "the sizes of events are lost");
        let last_of_node = last_time(&store, "a").await;
        assert_eq!(last_of_node, numbers.last().copied(), "the last time of a node is lost");
        assert_eq!(count(&store).await, 2 * (round - 1), "the count of events is wrong");
        let first = entry("a", 1, 1);
        assert_eq!(by_id(&store, &first.meta.id).await.is_some(), round > 1, "ids are lost");
        let expected = (round > 1).then(|| (round - 1).to_string());
        assert_eq!(record(&store, "text").await, expected, "a record is lost");
        let records = [
            put("text", &round.to_string()),
            put("gone", ""),
            RecordChange::Remove(Key::new("gone")),
            raise("number", 10 * round),
        ];
        let events = [2 * round - 1, 2 * round].map(|n| entry("a", n, n).sized(100));
        let append = Append::events(events.to_vec()).and_records(records);
        for entry in submit(&store, append).await.entries {
            let added = entry.expect("an event with a new id is added").meta.added.value();
            assert!(added > last, "a position is used twice");
            last = added;
        }
        // What may wait is written as the store is closed, if not before.
        submit(&store, Append::records(vec![raise("waits", round)]).may_wait()).await;
        let waits = record(&store, "waits").await;
        assert_eq!(waits, Some(round.to_string()), "a record that may wait is lost");
        assert_eq!(record(&store, "gone").await, None, "a record that was removed is back");
        let stored = submit(&store, Append::events(vec![first])).await;
        assert_eq!(stored.known.len(), 1, "an id is added twice");
    }
    Box::pin(changes_are_kept(open, last)).await;
}

/// Edits, labels, ids that are gone and that are forgotten, the count, and the last position where the last event
/// is cleaned.
async fn changes_are_kept<S: Store<Value>>(open: impl AsyncFn() -> S, end: u64) {
    let store = open().await;
    assert_eq!(record(&store, "waits").await.as_deref(), Some("3"), "a record that waited is lost");
    let of_a = read(&store, 0, usize::MAX).await.iter().map(|entry| entry.meta.added).collect();
    change(&store, Which::At(of_a), Edit::Clean).await;
    let forget = Some(Forget { before: time(6), at_most: usize::MAX });
    submit_changes(&store, Append::events(Vec::new()).and_forget(forget)).await;
    let event = |n| found_by(&["i"], kept_for(&["x"], entry("b", n, 20 - n))).sized(100);
    let places = add_new(&store, (1..=5).map(event).collect()).await;
    assert!(places[0].value() > end, "the position of an event that is gone is used again");
    edit(&store, places[0], Edit::AddReasons(texts(&["y"]))).await;
    edit(&store, places[0], Edit::RemoveReasons(texts(&["x"]))).await;
    edit(&store, places[1], Edit::SetExtra("n".to_owned(), Some(Value::from(1)))).await;
    edit(&store, places[1], Edit::SetExtra("key".to_owned(), None)).await;
    change(&store, Which::At(vec![places[2], places[4]]), Edit::Clean).await;
    let edited = read(&store, 0, usize::MAX).await;
    let mut end = last_added(&store);
    assert_eq!(end, places[4].value(), "the end moves where the last event is cleaned");
    drop(store);

    for round in 1..=2 {
        let store = open().await;
        let now = last_added(&store);
        assert_eq!(now, end, "the end is lost where the last event is cleaned");
        assert_eq!(count(&store).await, 3, "the count of events is wrong");
        let events = read(&store, 0, usize::MAX).await;
        assert_eq!(events, edited, "events are not as they were edited, or some of them are back");
        assert!(events.iter().all(|entry| entry.size() > 0), "the sizes of events are lost");
        assert_found(&store, None, &["b1", "b2", "b4"], &["b4", "b2", "b1"]).await;
        assert_found(&store, Some(reason("x")), &["b2", "b4"], &["b4", "b2"]).await;
        assert_found(&store, Some(reason("y")), &["b1"], &["b1"]).await;
        assert_found(&store, Some(index("i")), &["b1", "b2", "b4"], &["b4", "b2", "b1"]).await;
        let known = [
            (event(1), Known::There),
            (event(3), Known::Gone),
            (event(5), Known::Gone),
            (entry("a", 6, 6), Known::Gone),
            (entry("a", 5, 5), Known::TooOld),
            (entry("a", 0, 0), Known::TooOld),
        ];
        assert_known(&store, &known).await;
        for (node, last) in [("a", 6), ("b", 5)] {
            let now = last_time(&store, node).await;
            assert_eq!(now, Some(last), "the last time of a node is lost");
        }
        // Once more the last event goes, and with the next round nothing else.
        let added = add_new(&store, vec![entry("c", round, round)]).await[0];
        assert!(added.value() > end, "the position of an event that is gone is used again");
        end = added.value();
        edit(&store, added, Edit::Clean).await;
    }
}
