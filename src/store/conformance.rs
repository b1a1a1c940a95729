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

use futures_util::future::join;
use logux_codecs::{Added, EventId, NodeId, Timestamp, Value};
use logux_transports::rt::yield_now;

use super::contract::{IfKnown, Store, Stored};
use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Draft, Entry};

/// Checks every line of the contract; `make` gives a new and empty store each time.
pub async fn store<S: Store<Value>>(make: impl AsyncFn() -> S) {
    positions_count_up(&make().await).await;
    an_id_is_added_once(&make().await).await;
    a_batch_is_one_transaction(&make().await).await;
    reads_in_the_order_of_adding(&make().await).await;
    reads_in_the_order_of_creation(&make().await).await;
    cursors_are_kept_per_peer(&make().await).await;
    remembers_who_was_dialled(&make().await).await;
    has_an_identity(&make().await, &make().await).await;
    knows_the_last_id_of_a_node(&make().await).await;
    keeps_what_is_set_aside(&make().await).await;
    keeps_what_is_held_back(&make().await).await;
    adds_all_or_none_where_ids_must_be_new(&make().await).await;
}

/// Contract 1: with one event in a call, with many and with none.
pub async fn positions_count_up(store: &impl Store<Value>) {
    assert_eq!(last_added(store).await, 0, "an empty store has a last position");
    let mut expected = 0;
    for size in [1, 3, 0, 200] {
        let events: Vec<_> = (0..size).map(|n| entry("a", expected + n + 1, 1)).collect();
        for added in add(store, events).await {
            expected += 1;
            let added = added.expect("an event with a new id is added");
            assert_eq!(added.meta.added.value(), expected, "positions have a gap or repeat");
        }
        assert_eq!(last_added(store).await, expected);
    }
}

/// Contract 2: an id that repeats within a call, and one that the store has.
pub async fn an_id_is_added_once(store: &impl Store<Value>) {
    let first = Entry { event: Value::from("first"), ..entry("a", 1, 1) };
    let second = Entry { event: Value::from("second"), ..entry("a", 1, 2) };
    let other = entry("b", 1, 1);
    let answers = add(store, vec![first.clone(), second.clone(), other.clone()]).await;
    let added: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(added, [true, false, true], "an id that repeats within a call");
    let answers = add(store, vec![second, entry("a", 2, 1), first.clone()]).await;
    let added: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(added, [false, true, false], "an id that the store has");
    let stored =
        store.add(vec![first.clone()], None, IfKnown::LeaveOut).await.expect("adding works");
    assert_eq!(
        stored.known,
        std::slice::from_ref(&first),
        "an event with a known id is not given back"
    );
    assert_eq!(last_added(store).await, 3, "an id that repeats takes a position");
    let kept = by_id(store, &first.meta.id).await.expect("an event is found by its id");
    assert_eq!(kept.event, first.event, "a repeated id changes the event");
    assert_eq!(kept.meta.time, first.meta.time, "a repeated id changes the meta");
    assert!(by_id(store, &entry("c", 1, 1).meta.id).await.is_none(), "a foreign id is found");
}

/// Contract 3, as far as it can be asked of every store: not what a failure leaves, but that all of
/// a call is there after it.
pub async fn a_batch_is_one_transaction(store: &impl Store<Value>) {
    let peer = node("peer");
    let batch = vec![entry("peer", 1, 1), entry("peer", 2, 2)];
    let ids: Vec<EventId> = batch.iter().map(|entry| entry.meta.id.clone()).collect();
    let answers = store.add(batch.clone(), Some((&peer, position(7))), IfKnown::LeaveOut).await;
    assert_eq!(answers.expect("adding works").entries.len(), 2);
    for id in &ids {
        assert!(by_id(store, id).await.is_some(), "an event of a batch is missing");
    }
    assert_eq!(cursors(store, &peer).await.received, position(7), "the cursor of a batch is lost");
    // A batch of nothing new, and one of nothing at all, move the cursor, too.
    store.add(batch, Some((&peer, position(9))), IfKnown::LeaveOut).await.expect("adding works");
    assert_eq!(cursors(store, &peer).await.received, position(9));
    store
        .add(Vec::new(), Some((&peer, position(12))), IfKnown::LeaveOut)
        .await
        .expect("adding nothing works");
    assert_eq!(cursors(store, &peer).await.received, position(12));
    assert_eq!(last_added(store).await, 2);
}

/// Contract 4: from the start, from the middle and from beyond the end, in parts, and while events
/// are added.
pub async fn reads_in_the_order_of_adding(store: &impl Store<Value>) {
    let times = [5, 3, 9, 1, 7];
    add(store, times.map(|time| entry("a", time, time)).to_vec()).await;
    let read = async |after: u64, limit: usize| -> Vec<u64> {
        let entries = store.entries_after(position(after), limit).await.expect("reading works");
        entries.iter().map(|entry| entry.meta.id.time().value()).collect()
    };
    assert_eq!(read(0, 100).await, times);
    assert_eq!(read(0, usize::MAX).await, times);
    assert_eq!(read(0, 2).await, [5, 3]);
    assert_eq!(read(2, 2).await, [9, 1]);
    assert_eq!(read(4, 100).await, [7]);
    assert_eq!(read(0, 0).await, [0; 0]);
    assert_eq!(read(5, 100).await, [0; 0]);
    assert_eq!(read(logux_codecs::MAX_SAFE_INTEGER, 100).await, [0; 0]);
    let entries = store.entries_after(Added::ZERO, 1).await.expect("reading works");
    let mut expected = entry("a", 5, 5);
    expected.meta.added = position(1);
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
        let entries = store.entries_after(Added::ZERO, usize::MAX).await.expect("reading works");
        assert!(entries.len() >= seen, "events are missing while others are added");
        for (entry, place) in entries.iter().zip(1..) {
            assert_eq!(entry.meta.added, position(place), "positions have a gap while adding");
        }
        seen = entries.len();
        let created = store.entries_created_after(None, usize::MAX).await;
        assert!(created.expect("reading works").len() >= seen, "the two orders differ");
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
        let entries = store.entries_created_after(position.as_ref(), 2).await;
        let entries = entries.expect("reading works");
        let ids: Vec<_> = entries.iter().map(|entry| entry.meta.id.clone()).collect();
        let expected: Vec<_> =
            sorted[2 * page - 2..2 * page].iter().map(|&parts| entry_of(parts).meta.id).collect();
        assert_eq!(ids, expected, "page {page} in the order of creation");
        position = entries.last().map(|entry| entry.meta.created());
    }
    let rest = store.entries_created_after(position.as_ref(), 2).await.expect("reading works");
    assert!(rest.is_empty(), "there is something after the last event");
    // A position between two events, as that of an event which is gone.
    let between = entry("a", 4, 2).meta.created();
    let entries = store.entries_created_after(Some(&between), 1).await.expect("reading works");
    assert_eq!(entries[0].meta.id, entry("a:b", 2, 2).meta.id, "after a position of no event");
    // An event that was created early and comes late goes to its place.
    add(store, vec![entry("z", 1, 0)]).await;
    let entries = store.entries_created_after(None, 1).await.expect("reading works");
    assert_eq!(entries[0].meta.id, entry("z", 1, 0).meta.id, "a late event is out of order");
}

/// Contract 6: cursors rise, do not fall, and start over when they are reset.
pub async fn cursors_are_kept_per_peer(store: &impl Store<Value>) {
    let (one, other) = (node("1:one"), node("1:other"));
    assert_eq!(cursors(store, &one).await, Cursors::default(), "an unknown peer has cursors");
    store.advance_sent(&one, position(5)).await.expect("a cursor can be set");
    store
        .add(Vec::new(), Some((&one, position(3))), IfKnown::LeaveOut)
        .await
        .expect("a cursor can be set");
    let expected = Cursors { sent: position(5), received: position(3), ..Cursors::default() };
    assert_eq!(cursors(store, &one).await, expected);
    assert_eq!(cursors(store, &other).await, Cursors::default(), "peers share cursors");
    // What comes late, from a connection that ended, changes nothing.
    store.advance_sent(&one, position(4)).await.expect("a cursor can be set");
    store
        .add(Vec::new(), Some((&one, position(2))), IfKnown::LeaveOut)
        .await
        .expect("a cursor can be set");
    assert_eq!(cursors(store, &one).await, expected, "a cursor falls");
    let reset = Cursors { return_up_to: position(6), ..Cursors::default() };
    store.reset_cursors(&one, reset).await.expect("cursors can be reset");
    assert_eq!(cursors(store, &one).await, reset);
    store.advance_sent(&one, position(1)).await.expect("a cursor can be set");
    store.set_epoch(&one, Epoch::new(7)).await.expect("an epoch can be set");
    let expected = Cursors { sent: position(1), epoch: Some(Epoch::new(7)), ..reset };
    assert_eq!(cursors(store, &one).await, expected);
    assert_eq!(cursors(store, &other).await, Cursors::default(), "peers share cursors");
}

/// Contract 7: the node that was noted last, and no other peer.
pub async fn remembers_who_was_dialled(store: &impl Store<Value>) {
    let dialled = async || store.dialled().await.expect("reading works");
    assert_eq!(dialled().await, None);
    for name in ["server", "other", "server"] {
        store.set_dialled(&node(name)).await.expect("a node can be noted");
        assert_eq!(dialled().await, Some(node(name)));
    }
    store
        .add(Vec::new(), Some((&node("peer"), position(1))), IfKnown::LeaveOut)
        .await
        .expect("adding works");
    assert_eq!(dialled().await, Some(node("server")), "a peer was not dialled");
}

/// Contract 8: the same each time, and another one in `other`.
pub async fn has_an_identity(store: &impl Store<Value>, other: &impl Store<Value>) {
    let epoch = store.epoch().await.expect("reading works");
    add(store, vec![entry("a", 1, 1)]).await;
    assert_eq!(store.epoch().await.expect("reading works"), epoch, "the identity changes");
    let other = other.epoch().await.expect("reading works");
    assert_ne!(other, epoch, "two stores have the same identity");
}

/// Contract 9: of ids that come in another order than that of their times.
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

/// Contract 10: each id once, oldest first, apart from the log, and gone once it is removed.
pub async fn keeps_what_is_set_aside(store: &impl Store<Value>) {
    let [one, two, three] = [3, 1, 2].map(|time| {
        let Entry { event, meta } = entry("a", time, 1);
        SetAside::new(event, meta, "unknown")
    });
    let all = async || store.events_set_aside().await.expect("reading works");
    assert_eq!(all().await, [], "an empty store has set something aside");
    store.set_aside(vec![one.clone(), two.clone()]).await.expect("setting aside works");
    let again = SetAside { reason: "another".to_owned(), ..one.clone() };
    store.set_aside(vec![again, three.clone()]).await.expect("setting aside works");
    assert_eq!(all().await, [one.clone(), two.clone(), three.clone()]);
    assert_eq!(last_added(store).await, 0, "what is set aside has a position");
    assert!(by_id(store, &one.meta.id).await.is_none(), "what is set aside is in the log");
    let ids = [two.meta.id.clone(), entry("b", 1, 1).meta.id];
    store.remove_set_aside(&ids).await.expect("removing works");
    assert_eq!(all().await, [one, three]);
}

/// Contract 11: each id once and per peer, in the order in which they came first, each as it was told
/// last, and gone once it is released.
pub async fn keeps_what_is_held_back(store: &impl Store<Value>) {
    let (peer, other) = (node("peer"), node("other"));
    let [one, two, three] =
        [3, 1, 2].map(|time| Refused::new(entry("a", time, 1).meta.id, "too large"));
    let all = async |peer: &NodeId| store.held_back(peer).await.expect("reading works");
    assert_eq!(all(&peer).await, [], "an empty store holds something back");
    store.hold_back(&peer, vec![one.clone(), two.clone()]).await.expect("holding back works");
    let again = Refused { is_doubtful: true, ..Refused::new(one.id.clone(), "another") };
    store.hold_back(&peer, vec![again.clone(), three.clone()]).await.expect("holding back works");
    assert_eq!(all(&peer).await, [again.clone(), two.clone(), three.clone()]);
    assert_eq!(all(&other).await, [], "peers share what is held back");
    store.release(&other, std::slice::from_ref(&one.id)).await.expect("releasing works");
    store.release(&peer, std::slice::from_ref(&two.id)).await.expect("releasing works");
    assert_eq!(all(&peer).await, [again, three]);
}

/// Contract 12: an id that the store has, early and late in a call, and one that repeats within it.
pub async fn adds_all_or_none_where_ids_must_be_new(store: &impl Store<Value>) {
    let peer = node("peer");
    let add = async |entries: Vec<Entry<Value>>, received| {
        let received = Some((&peer, position(received)));
        store.add(entries, received, IfKnown::AddNone).await.expect("adding works")
    };
    let of = |times: &[u64]| times.iter().map(|&time| entry("a", time, 1)).collect::<Vec<_>>();
    let Stored { entries, known } = add(of(&[3, 5, 4]), 1).await;
    assert!(known.is_empty() && entries.iter().all(Option::is_some), "new ids are refused");
    let one_of_another = vec![entry("a", 9, 1), entry("b", 1, 1), entry("a", 9, 2)];
    for batch in [of(&[5, 6, 7]), of(&[1, 4]), of(&[6, 7, 6]), of(&[3]), one_of_another] {
        let Stored { entries, known } = add(batch.clone(), 2).await;
        assert_eq!(entries, vec![None; batch.len()], "a part of a batch is added");
        assert_eq!(known, batch, "a batch that was not added is not given back");
        assert_eq!(last_added(store).await, 3, "a part of a batch is added");
        let received = cursors(store, &peer).await.received;
        assert_eq!(received, position(1), "the cursor of a batch that was not added moves");
    }
    let Stored { entries, known } = add(of(&[6, 7, 1]), 2).await;
    let positions: Vec<_> = entries.iter().flatten().map(|entry| entry.meta.added).collect();
    assert_eq!((positions, known), ([4, 5, 6].map(position).to_vec(), vec![]));
    assert_eq!(cursors(store, &peer).await.received, position(2));
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

async fn add(
    store: &impl Store<Value>,
    entries: Vec<Entry<Value>>,
) -> Vec<Option<Arc<Entry<Value>>>> {
    let count = entries.len();
    let Stored { entries: answers, known } =
        store.add(entries, None, IfKnown::LeaveOut).await.expect("adding works");
    assert_eq!(answers.len(), count, "not one answer for each event");
    let added = answers.iter().flatten().count();
    assert_eq!(known.len(), count - added, "an event is neither added nor given back");
    answers
}

async fn by_id(store: &impl Store<Value>, id: &EventId) -> Option<Arc<Entry<Value>>> {
    store.by_id(id).await.expect("reading works")
}

async fn last_added(store: &impl Store<Value>) -> u64 {
    store.last_added().await.expect("reading works").value()
}

async fn cursors(store: &impl Store<Value>, peer: &NodeId) -> Cursors {
    store.cursors(peer).await.expect("reading works")
}
