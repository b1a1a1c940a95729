//! What becomes of appends.

use std::time::Duration;

use logux_codecs::{Added, EventId, Value};
use logux_transports::rt::timeout;

use super::ask::{add, by_id, entry, last_added, put, raise, read, record, submit, submit_changes};
use crate::entry::Entry;
use crate::store::append::{Append, IfKnown};
use crate::store::change::{Change, Edit, Which};
use crate::store::contract::Store;

/// Longer than any store takes for an append.
const LIMIT: Duration = Duration::from_secs(60);

/// Contract 1: with one event in an append, with many and with none.
pub async fn positions_count_up(store: &impl Store<Value>) {
    assert_eq!(last_added(store), 0, "an empty store has a last position");
    let (mut number, mut last) = (0, 0);
    for size in [1, 3, 0, 200] {
        let events: Vec<_> = (0..size).map(|n| entry("a", number + n + 1, 1)).collect();
        number += size;
        for added in add(store, events).await {
            let added = added.expect("an event with a new id is added").meta.added.value();
            assert!(last > 0 || added == 1, "the first position is not 1");
            assert!(added > last, "a position is not above the one before");
            last = added;
        }
        assert_eq!(last_added(store), last, "the log ends elsewhere than at its last event");
    }
}

/// Contract 2: an id that repeats within an append, and one that the store has.
pub async fn an_id_is_added_once(store: &impl Store<Value>) {
    let mut first = entry("a", 1, 1);
    first.event = Value::from("first");
    let mut second = entry("a", 1, 2);
    second.event = Value::from("second");
    let other = entry("b", 1, 1);
    let answers = add(store, vec![first.clone(), second.clone(), other.clone()]).await;
    let added: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(added, [true, false, true], "an id that repeats within an append is added twice");
    let answers = add(store, vec![second, entry("a", 2, 1), first.clone()]).await;
    let added: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(added, [false, true, false], "an id that the store has is added again");
    let stored = store.submit(Append::events(vec![first.clone()])).await.expect("an append works");
    let given_back = std::slice::from_ref(&first);
    assert_eq!(stored.known, given_back, "an event with a known id is not given back");
    let all = read(store, 0, usize::MAX).await;
    assert_eq!(all.len(), 3, "an id that repeats is there twice");
    let kept = by_id(store, &first.meta.id).await.expect("an event is found by its id");
    assert_eq!(kept.event, first.event, "a repeated id changes the event");
    assert_eq!(kept.meta.time, first.meta.time, "a repeated id changes the meta");
    let ids = [entry("c", 1, 1).meta.id, other.meta.id, entry("a", 7, 1).meta.id];
    let found = store.by_ids(&ids).await.expect("reading works");
    let found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false], "of several ids, others are found than are there");
}

/// Contract 3, as far as it can be asked of every store: not what a failure leaves, but that all of
/// an append is there after it.
pub async fn an_append_is_one_transaction(store: &impl Store<Value>) {
    let batch = vec![entry("peer", 1, 1), entry("peer", 2, 2)];
    let ids: Vec<EventId> = batch.iter().map(|entry| entry.meta.id.clone()).collect();
    // Also with nothing new, and with nothing at all.
    for (number, entries) in [(7, batch.clone()), (9, batch), (12, Vec::new())] {
        let append = Append::events(entries).and_records([raise("cursor", number)]);
        submit(store, append).await;
        for id in &ids {
            assert!(by_id(store, id).await.is_some(), "an event of a batch is missing");
        }
        let cursor = record(store, "cursor").await;
        assert_eq!(cursor, Some(number.to_string()), "a record of an append is lost");
    }
    assert_eq!(read(store, 0, usize::MAX).await.len(), 2, "an event is there twice");
    // Events, a change to one that was there, and a record.
    let events = Which::At(vec![Added::ZERO.plus(1)]);
    let edit = Edit::AddReasons(vec!["later".to_owned()]);
    let append = Append::events(vec![entry("peer", 3, 3)]).and_records([raise("cursor", 15)]);
    submit_changes(store, append.and_changes([Change { events, edit }])).await;
    let all = read(store, 0, usize::MAX).await;
    assert_eq!(all.len(), 3, "an event is not added where others are changed");
    let changed = by_id(store, &ids[0]).await.expect("an event is found by its id");
    assert_eq!(changed.meta.reasons, ["kit", "later"], "a change beside events is not made");
    let cursor = record(store, "cursor").await;
    assert_eq!(cursor.as_deref(), Some("15"), "a record beside changes is lost");
}

/// Contract 8: an id that the store has, early and late in an append, and one that repeats within it.
pub async fn adds_all_or_none_where_ids_must_be_new(store: &impl Store<Value>) {
    let add = async |entries: Vec<Entry<Value>>, number: u64| {
        let change = Change {
            events: Which::At(vec![Added::ZERO.plus(1)]),
            edit: Edit::AddReasons(vec![number.to_string()]),
        };
        let append = Append::events(entries).if_known(IfKnown::AddNone);
        let append = append.and_records([raise("cursor", number)]).and_changes([change]);
        submit_changes(store, append).await
    };
    let of = |times: &[u64]| times.iter().map(|&time| entry("a", time, 1)).collect::<Vec<_>>();
    let stored = add(of(&[3, 5, 4]), 1).await;
    let is_added = stored.known.is_empty() && stored.entries.iter().all(Option::is_some);
    assert!(is_added, "new ids are refused");
    assert_eq!(stored.changed.len(), 1, "a change beside new ids is not made");
    let one_of_another = vec![entry("a", 9, 1), entry("b", 1, 1), entry("a", 9, 2)];
    for batch in [of(&[5, 6, 7]), of(&[1, 4]), of(&[6, 7, 6]), of(&[3]), one_of_another] {
        let stored = add(batch.clone(), 2).await;
        assert_eq!(stored.entries, vec![None; batch.len()], "a part of a batch is added");
        assert_eq!(stored.known, batch, "a batch that was not added is not given back");
        assert_eq!(stored.gone, [], "an id that is there, or new, is said to be gone");
        assert_eq!(stored.too_old, [], "an id that is there, or new, is said to be too old");
        assert_eq!(stored.changed, [], "a batch that was not added changes events");
        let all = read(store, 0, usize::MAX).await;
        assert_eq!(all.len(), 3, "a part of a batch is added");
        assert_eq!(all[0].meta.reasons, ["kit", "1"], "a batch that was not added changes events");
        let cursor = record(store, "cursor").await;
        assert_eq!(cursor.as_deref(), Some("1"), "a record of a batch that was not added changes");
    }
    let stored = add(of(&[6, 7, 1]), 2).await;
    let positions: Vec<_> = stored.entries.iter().flatten().map(|entry| entry.meta.added).collect();
    assert!(stored.known.is_empty() && positions.len() == 3, "new ids are refused");
    assert!(positions.is_sorted(), "the events of a batch are not added in order: {positions:?}");
    let cursor = record(store, "cursor").await;
    assert_eq!(cursor.as_deref(), Some("2"), "a record of a batch that was added is lost");
    let stored = add(Vec::new(), 3).await;
    assert_eq!(stored.changed.len(), 1, "changes without events are not made");
    let cursor = record(store, "cursor").await;
    assert_eq!(cursor.as_deref(), Some("3"), "a record without events is lost");
}

/// Contract 10: the answers are awaited in the opposite order.
pub async fn appends_are_made_in_the_order_of_submission(store: &impl Store<Value>) {
    let answers: Vec<_> = (1..=50)
        .map(|n| {
            let records = [raise("number", n), put("last", &n.to_string())];
            store.submit(Append::events(vec![entry("a", 100 - n, n)]).and_records(records))
        })
        .collect();
    let mut positions = Vec::new();
    for answer in answers.into_iter().rev() {
        let stored = answer.await.expect("an append works");
        let entry = stored.entries.into_iter().next().flatten();
        positions.push(entry.expect("an event with a new id is added").meta.added);
    }
    positions.reverse();
    assert!(positions.is_sorted(), "events are in another order than their appends");
    let times: Vec<_> = read(store, 0, 100).await.iter().map(|entry| entry.meta.time).collect();
    assert!(times.is_sorted() && times.len() == 50, "events are read in another order");
    let last = record(store, "last").await;
    assert_eq!(last.as_deref(), Some("50"), "records are changed in another order");
    // Changes, too.
    let first = Which::At(vec![Added::ZERO.plus(1)]);
    let answers: Vec<_> = (1..=50)
        .map(|n| {
            let edit = Edit::AddReasons(vec![n.to_string()]);
            store.submit(Append::changes(vec![Change { events: first.clone(), edit }]))
        })
        .collect();
    for answer in answers.into_iter().rev() {
        answer.await.expect("an append works");
    }
    let reasons = read(store, 0, 1).await[0].meta.reasons.clone();
    let expected: Vec<_> = (1..=50).map(|n| n.to_string()).collect();
    assert_eq!(reasons[1..], expected, "events are changed in another order than it was asked for");
}

/// Contract 11: the answer is dropped at once.
pub async fn an_append_is_made_whether_or_not_its_answer_is_awaited(store: &impl Store<Value>) {
    let end = store.end();
    let mut last = Added::ZERO;
    for n in 1..=20 {
        let append = Append::events(vec![entry("a", n, n)]).and_records([raise("number", n)]);
        drop(store.submit(append));
        let moved = timeout(LIMIT, end.beyond(last)).await;
        last = moved.expect("the end does not move for an append that nobody awaits");
        assert_eq!(read(store, 0, 100).await.len() as u64, n, "an append is not made");
    }
    // Records and changes are what they are after all that was answered.
    let (events, before) = (Which::At(vec![last]), end.changes());
    let edit = Edit::AddReasons(vec!["later".to_owned()]);
    drop(store.submit(Append::changes(vec![Change { events, edit }])));
    store.submit(Append::events(Vec::new())).await.expect("adding nothing works");
    let number = record(store, "number").await;
    assert_eq!(number.as_deref(), Some("20"), "a record that nobody awaits is lost");
    let changed = by_id(store, &entry("a", 20, 20).meta.id).await;
    let reasons = changed.expect("an event is found by its id").meta.reasons.clone();
    assert_eq!(reasons, ["kit", "later"], "a change that nobody awaits is not made");
    assert!(end.changes() > before, "the end does not tell of a change that nobody awaits");
}
