//! The test kit for stores: one call in a test runs the whole contract of [`Store`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use logux_sync::{MemoryStore, conformance};
//!
//! conformance::store(async || MemoryStore::new()).await;
//! # }
//! ```
//!
//! Each function checks one line of the contract, under its name, and panics where it is broken.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a check fails")]
#![expect(clippy::expect_used, reason = "to panic is how a check fails")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use logux_codecs::{Added, EventId, NodeId, Timestamp, Value};
use logux_transports::rt::{timeout, yield_now};

use super::append::{Append, IfKnown, Stored};
use super::contract::Store;
use super::query::{Page, Query};
use super::record::{Key, Prefix, RecordChange};
use crate::entry::{Created, Draft, Entry};

/// Longer than any store takes for an append.
const LIMIT: Duration = Duration::from_secs(60);

/// Checks every line of the contract; `make` gives a new and empty store each time.
pub async fn store<S: Store<Value>>(make: impl AsyncFn() -> S) {
    positions_count_up(&make().await).await;
    an_id_is_added_once(&make().await).await;
    an_append_is_one_transaction(&make().await).await;
    reads_in_the_order_of_adding(&make().await).await;
    reads_in_the_order_of_creation(&make().await).await;
    reads_no_more_than_a_page(&make().await).await;
    knows_the_last_id_of_a_node(&make().await).await;
    adds_all_or_none_where_ids_must_be_new(&make().await).await;
    keeps_records(&make().await).await;
    appends_are_made_in_the_order_of_submission(&make().await).await;
    an_append_is_made_whether_or_not_its_answer_is_awaited(&make().await).await;
    the_end_is_where_reading_ends(&make().await).await;
}

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
        assert_eq!(
            store.last_time(&node("a")).await.expect("reading works"),
            numbers.last().map(|&last| Timestamp::new(last).expect("a small number"),)
        );
        let first = entry("a", 1, 1);
        assert_eq!(by_id(&store, &first.meta.id).await.is_some(), round > 1, "ids are lost");
        let expected = (round > 1).then(|| (round - 1).to_string());
        assert_eq!(record(&store, "text").await, expected, "a record is lost");
        let records = [
            RecordChange::Put(Key::new("text"), round.to_string()),
            RecordChange::Put(Key::new("gone"), String::new()),
            RecordChange::Remove(Key::new("gone")),
            raise("number", 10 * round),
        ];
        let events = [2 * round - 1, 2 * round].map(|n| entry("a", n, n).sized(100));
        let append = Append::events(events.to_vec()).and_records(records);
        let stored = store.submit(append).await.expect("adding works");
        for entry in stored.entries {
            let added = entry.expect("an event with a new id is added").meta.added.value();
            assert!(added > last, "a position is used twice");
            last = added;
        }
        // What may wait is written as the store is closed, if not before.
        let append = Append::records(vec![raise("waits", round)]).may_wait();
        store.submit(append).await.expect("changing records works");
        assert_eq!(record(&store, "waits").await, Some(round.to_string()));
        assert_eq!(record(&store, "gone").await, None, "a record that was removed is back");
        let stored = store.submit(Append::events(vec![first])).await.expect("adding works");
        assert_eq!(stored.known.len(), 1, "an id is added twice");
    }
}

/// Contract 1: with one event in an append, with many and with none.
pub async fn positions_count_up(store: &impl Store<Value>) {
    assert_eq!(last_added(store), 0, "an empty store has a last position");
    let (mut number, mut last) = (0, 0);
    for size in [1, 3, 0, 200] {
        let events: Vec<_> = (0..size).map(|n| entry("a", number + n + 1, 1)).collect();
        number += size;
        for added in add(store, events).await {
            let added = added.expect("an event with a new id is added").meta.added.value();
            assert!(added > last, "a position is not above the one before");
            assert!(last > 0 || added == 1, "the first position is not 1");
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
    assert_eq!(added, [true, false, true], "an id that repeats within an append");
    let answers = add(store, vec![second, entry("a", 2, 1), first.clone()]).await;
    let added: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(added, [false, true, false], "an id that the store has");
    let stored = store.submit(Append::events(vec![first.clone()])).await.expect("adding works");
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
        store.submit(append).await.expect("adding works");
        for id in &ids {
            assert!(by_id(store, id).await.is_some(), "an event of a batch is missing");
        }
        assert_eq!(record(store, "cursor").await, Some(number.to_string()), "a record is lost");
    }
    assert_eq!(read(store, 0, usize::MAX).await.len(), 2);
}

/// Contract 4: from the start, from the middle and from beyond the end, in parts, and while events
/// are added.
pub async fn reads_in_the_order_of_adding(store: &impl Store<Value>) {
    let times = [5, 3, 9, 1, 7];
    let added = add(store, times.map(|time| entry("a", time, time)).to_vec()).await;
    let places: Vec<u64> = added.iter().flatten().map(|entry| entry.meta.added.value()).collect();
    let times_after = async |after: u64, limit: usize| -> Vec<u64> {
        let entries = read(store, after, limit).await;
        entries.iter().map(|entry| entry.meta.id.time().value()).collect()
    };
    assert_eq!(times_after(0, 100).await, times);
    assert_eq!(times_after(0, usize::MAX).await, times);
    assert_eq!(times_after(0, 2).await, [5, 3]);
    assert_eq!(times_after(places[1], 2).await, [9, 1]);
    assert_eq!(times_after(places[3], 100).await, [7]);
    assert_eq!(times_after(0, 0).await, [0; 0]);
    assert_eq!(times_after(places[4], 100).await, [0; 0]);
    assert_eq!(times_after(logux_codecs::MAX_SAFE_INTEGER, 100).await, [0; 0]);
    let entries = read(store, 0, 1).await;
    let mut expected = entry("a", 5, 5);
    expected.meta.added = position(places[0]);
    assert_eq!(*entries[0], expected, "an entry is not what was added");
    join(add_in_turns(store), read_meanwhile(store, 5, 105)).await;
}

/// Adds 100 events; whoever waits for a turn gets one in between.
async fn add_in_turns(store: &impl Store<Value>) {
    for batch in 0..20 {
        add(store, (0..5).map(|n| entry("turns", batch * 5 + n, 1)).collect()).await;
        yield_now().await;
    }
}

/// Reads until there are as many events as there will be; none that was there is missed.
async fn read_meanwhile(store: &impl Store<Value>, mut seen: usize, all: usize) {
    while seen < all {
        let entries = read(store, 0, usize::MAX).await;
        assert!(entries.len() >= seen, "events are missing while others are added");
        for pair in entries.windows(2) {
            assert!(pair[0].meta.added < pair[1].meta.added, "positions are out of order");
        }
        seen = entries.len();
        let created = read_created(store, None, usize::MAX).await;
        assert!(created.len() >= seen, "the two orders differ");
        yield_now().await;
    }
}

/// Contract 5: events that come in another order, of equal times and of several nodes, page by page.
pub async fn reads_in_the_order_of_creation(store: &impl Store<Value>) {
    // By time, then by node, then by the time in the id; added in another order, in two calls.
    let sorted = [("b", 9, 1), ("a", 1, 2), ("a", 3, 2), ("a:b", 2, 2), ("b", 1, 2), ("a", 8, 3)];
    for order in [[5, 0, 3], [1, 4, 2]] {
        let batch = order.map(|index| entry_of(sorted[index]));
        add(store, batch.to_vec()).await;
    }
    let mut position = None;
    for page in [1, 2, 3] {
        let entries = read_created(store, position, 2).await;
        let ids: Vec<_> = entries.iter().map(|entry| entry.meta.id.clone()).collect();
        let expected: Vec<_> =
            sorted[2 * page - 2..2 * page].iter().map(|&parts| entry_of(parts).meta.id).collect();
        assert_eq!(ids, expected, "page {page} in the order of creation");
        position = entries.last().map(|entry| entry.meta.created());
    }
    let rest = read_created(store, position, 2).await;
    assert!(rest.is_empty(), "there is something after the last event");
    // A position between two events, as that of an event which is gone.
    let between = entry("a", 4, 2).meta.created();
    let entries = read_created(store, Some(between), 1).await;
    assert_eq!(entries[0].meta.id, entry("a:b", 2, 2).meta.id, "after a position of no event");
    // An event that was created early and comes late goes to its place.
    add(store, vec![entry("z", 1, 0)]).await;
    let entries = read_created(store, None, 1).await;
    assert_eq!(entries[0].meta.id, entry("z", 1, 0).meta.id, "a late event is out of order");
}

/// Contract 6: by number, by bytes, by both, and an event that is larger than a page.
pub async fn reads_no_more_than_a_page(store: &impl Store<Value>) {
    let mut state = 1_u64;
    // Letters that no store can write in less.
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + u8::try_from(state >> 58).unwrap_or_default())
    };
    let mut large = |n: u64| {
        let Entry { meta, .. } = entry("a", n, n);
        let text: String = (0..1_000).map(|_| letter()).collect();
        Entry::new(Value::from(text), meta).sized(1_100)
    };
    add(store, (1..=20).map(&mut large).collect()).await;
    for query in [Query::Added(Added::ZERO), Query::Created(None)] {
        let count =
            async |page: Page| store.read(query.clone(), page).await.expect("reading works").len();
        assert_eq!(count(Page::new(7)).await, 7);
        for bytes in [0, 1] {
            let page = Page::new(100).bytes(bytes);
            assert_eq!(count(page).await, 1, "not the first event, or more");
        }
        // Stores write events in other ways, and count what they write.
        let some = count(Page::new(100).bytes(8_000)).await;
        assert!((4..=8).contains(&some), "{some} events of 1,000 bytes in a page of 8,000");
        assert_eq!(count(Page::new(2).bytes(8_000)).await, 2);
    }
}

/// Contract 7: of ids that come in another order than that of their times.
pub async fn knows_the_last_id_of_a_node(store: &impl Store<Value>) {
    let last = async |name: &str| {
        store.last_time(&node(name)).await.expect("reading works").map(Timestamp::value)
    };
    assert_eq!(last("a").await, None);
    add(store, vec![entry("a", 5, 900), entry("a", 3, 1), entry("b", 9, 1)]).await;
    assert_eq!(last("a").await, Some(5), "the time in the ids, not that of the events");
    assert_eq!(last("b").await, Some(9));
    assert_eq!(last("c").await, None);
}

/// Contract 8: an id that the store has, early and late in an append, and one that repeats within it.
pub async fn adds_all_or_none_where_ids_must_be_new(store: &impl Store<Value>) {
    let add = async |entries: Vec<Entry<Value>>, number| {
        let append = Append::events(entries).if_known(IfKnown::AddNone);
        let append = append.and_records([raise("cursor", number)]);
        store.submit(append).await.expect("adding works")
    };
    let of = |times: &[u64]| times.iter().map(|&time| entry("a", time, 1)).collect::<Vec<_>>();
    let Stored { entries, known } = add(of(&[3, 5, 4]), 1).await;
    assert!(known.is_empty() && entries.iter().all(Option::is_some), "new ids are refused");
    let one_of_another = vec![entry("a", 9, 1), entry("b", 1, 1), entry("a", 9, 2)];
    for batch in [of(&[5, 6, 7]), of(&[1, 4]), of(&[6, 7, 6]), of(&[3]), one_of_another] {
        let Stored { entries, known } = add(batch.clone(), 2).await;
        assert_eq!(entries, vec![None; batch.len()], "a part of a batch is added");
        assert_eq!(known, batch, "a batch that was not added is not given back");
        assert_eq!(read(store, 0, usize::MAX).await.len(), 3, "a part of a batch is added");
        let cursor = record(store, "cursor").await;
        assert_eq!(cursor.as_deref(), Some("1"), "a record of a batch that was not added changes");
    }
    let Stored { entries, known } = add(of(&[6, 7, 1]), 2).await;
    let positions: Vec<_> = entries.iter().flatten().map(|entry| entry.meta.added).collect();
    assert!(known.is_empty() && positions.len() == 3 && positions.is_sorted(), "{positions:?}");
    assert_eq!(record(store, "cursor").await.as_deref(), Some("2"));
}

/// Contract 9: put, put anew, put only if there is none, raised and removed, alone and in one append.
pub async fn keeps_records(store: &impl Store<Value>) {
    let put = |key: &str, text: &str| RecordChange::Put(Key::new(key), text.to_owned());
    let put_new = |key: &str, text: &str| RecordChange::PutNew(Key::new(key), text.to_owned());
    let remove = |key: &str| RecordChange::Remove(Key::new(key));
    let change = async |changes: Vec<RecordChange>| {
        store.submit(Append::records(changes)).await.expect("changing records works");
    };
    assert_eq!(records(store, "").await, [], "an empty store has records");
    change(vec![put("b 2", "two"), put("b 1", "\"\u{0}ü"), put("a", ""), put("b", "x")]).await;
    let expected = [("a", ""), ("b", "x"), ("b 1", "\"\u{0}ü"), ("b 2", "two")];
    assert_eq!(records(store, "").await, expected.map(owned), "not in the order of the keys");
    assert_eq!(records(store, "b ").await, [expected[2], expected[3]].map(owned));
    assert_eq!(records(store, "b 2").await, [owned(expected[3])]);
    assert_eq!(records(store, "c").await, []);
    // Keys are texts, not patterns, and differ by each letter.
    let strange = ["B 1", "b%", "b*", "b_", "b\\", "bx", "bü"];
    change(strange.iter().map(|key| put(key, key)).collect()).await;
    for key in strange {
        assert_eq!(record(store, key).await.as_deref(), Some(key));
    }
    for (prefix, count) in [("b_", 1), ("b%", 1), ("B", 1), ("b", 9), ("b ", 2)] {
        assert_eq!(records(store, prefix).await.len(), count, "keys that begin with {prefix}");
    }
    change(strange.iter().map(|key| remove(key)).collect()).await;
    // In the order given.
    change(vec![remove("b 1"), put_new("b 1", "new"), put_new("b 2", "other")]).await;
    change(vec![put("a", "first"), put("a", "last"), remove("b"), remove("never")]).await;
    let expected = [("a", "last"), ("b 1", "new"), ("b 2", "two")];
    assert_eq!(records(store, "").await, expected.map(owned));
    for (to, is) in [(0, "0"), (5, "5"), (4, "5"), (9_007_199_254_740_991, "9007199254740991")] {
        let append = Append::records(vec![raise("number", to)]);
        let append = if to == 4 { append } else { append.may_wait() };
        store.submit(append).await.expect("changing records works");
        assert_eq!(record(store, "number").await.as_deref(), Some(is), "raised to {to}");
    }
    // Events do not wait, whatever is said of them.
    let append = Append::events(vec![entry("a", 1, 1)]).and_records([raise("number", 1)]);
    let stored = store.submit(append.may_wait()).await.expect("adding works");
    assert!(stored.entries.iter().any(Option::is_some), "an event that may wait is not added");
    change(vec![remove("number")]).await;
    change(vec![raise("number", 3)]).await;
    assert_eq!(record(store, "number").await.as_deref(), Some("3"));
    assert_eq!(last_added(store), 1, "a record has a position");
}

/// Contract 10: the answers are awaited in the opposite order.
pub async fn appends_are_made_in_the_order_of_submission(store: &impl Store<Value>) {
    let answers: Vec<_> = (1..=50)
        .map(|n| {
            let records = [raise("number", n), RecordChange::Put(Key::new("last"), n.to_string())];
            store.submit(Append::events(vec![entry("a", 100 - n, n)]).and_records(records))
        })
        .collect();
    let mut positions = Vec::new();
    for answer in answers.into_iter().rev() {
        let stored = answer.await.expect("adding works");
        let entry = stored.entries.into_iter().next().flatten();
        positions.push(entry.expect("an event with a new id is added").meta.added);
    }
    positions.reverse();
    assert!(positions.is_sorted(), "events are in another order than their appends");
    let times: Vec<_> = read(store, 0, 100).await.iter().map(|entry| entry.meta.time).collect();
    assert!(times.is_sorted() && times.len() == 50, "events are read in another order");
    assert_eq!(record(store, "last").await.as_deref(), Some("50"), "records in another order");
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
    // Records are what they are after all that was answered.
    store.submit(Append::events(Vec::new())).await.expect("adding nothing works");
    assert_eq!(record(store, "number").await.as_deref(), Some("20"));
}

/// Contract 12: after each append, and while events are added.
pub async fn the_end_is_where_reading_ends(store: &impl Store<Value>) {
    let end = store.end();
    for n in 1..=50 {
        let stored = store.submit(Append::events(vec![entry("a", n, n)])).await;
        let entry = stored.expect("adding works").entries.into_iter().next().flatten();
        let added = entry.expect("an event with a new id is added").meta.added;
        assert_eq!(end.get(), added, "an append is answered before the end has moved");
    }
    let reading = async {
        let mut seen = end.get();
        while read(store, 0, usize::MAX).await.len() < 150 {
            let now = end.get();
            assert!(now >= seen, "the end falls");
            seen = now;
            let last = read(store, 0, usize::MAX).await.pop().map(|entry| entry.meta.added);
            assert!(last >= Some(now), "an event up to the end cannot be read");
            yield_now().await;
        }
    };
    join(add_in_turns(store), reading).await;
    store.submit(Append::events(vec![entry("a", 1, 1)])).await.expect("adding works");
    let last = read(store, 0, usize::MAX).await.pop().map(|entry| entry.meta.added);
    assert_eq!(Some(end.get()), last, "the end moves beyond the last event");
}

fn entry(name: &str, id_time: u64, event_time: u64) -> Entry<Value> {
    let time = |number| Timestamp::new(number).expect("a small number");
    let event = serde_json::json!({ "type": "kit", "n": id_time });
    Draft::new(event)
        .time(time(event_time))
        .reason("kit")
        .index("index")
        .extra("key", "value")
        .into_entry(EventId::new(time(id_time), node(name)), Timestamp::ZERO)
}

fn entry_of((name, id_time, event_time): (&str, u64, u64)) -> Entry<Value> {
    entry(name, id_time, event_time)
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

fn position(number: u64) -> Added {
    Added::new(number).expect("a safe number")
}

fn raise(key: &str, to: u64) -> RecordChange {
    RecordChange::Raise(Key::new(key), to)
}

fn owned((key, text): (&str, &str)) -> (String, String) {
    (key.to_owned(), text.to_owned())
}

async fn add(
    store: &impl Store<Value>,
    entries: Vec<Entry<Value>>,
) -> Vec<Option<Arc<Entry<Value>>>> {
    let count = entries.len();
    let Stored { entries: answers, known } =
        store.submit(Append::events(entries)).await.expect("adding works");
    assert_eq!(answers.len(), count, "not one answer for each event");
    let added = answers.iter().flatten().count();
    assert_eq!(known.len(), count - added, "an event is neither added nor given back");
    answers
}

async fn read(store: &impl Store<Value>, after: u64, limit: usize) -> Vec<Arc<Entry<Value>>> {
    store.read(Query::Added(position(after)), limit.into()).await.expect("reading works")
}

async fn read_created(
    store: &impl Store<Value>,
    after: Option<Created>,
    limit: usize,
) -> Vec<Arc<Entry<Value>>> {
    store.read(Query::Created(after), limit.into()).await.expect("reading works")
}

async fn by_id(store: &impl Store<Value>, id: &EventId) -> Option<Arc<Entry<Value>>> {
    let found = store.by_ids(std::slice::from_ref(id)).await.expect("reading works");
    assert_eq!(found.len(), 1, "not one answer for each id");
    found.into_iter().next().flatten()
}

fn last_added(store: &impl Store<Value>) -> u64 {
    store.end().get().value()
}

async fn records(store: &impl Store<Value>, prefix: &str) -> Vec<(String, String)> {
    let records = store.records(&Prefix::new(prefix)).await.expect("reading works");
    records.into_iter().map(|(key, text)| (key.to_string(), text)).collect()
}

async fn record(store: &impl Store<Value>, key: &str) -> Option<String> {
    let records = records(store, key).await;
    records.into_iter().find(|(name, _)| name == key).map(|(_, text)| text)
}
