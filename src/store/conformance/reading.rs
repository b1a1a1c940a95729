//! What is read, and in which order.

use logux_codecs::{Added, MAX_SAFE_INTEGER, Value};
use logux_transports::rt::yield_now;

use super::ask::{
    add, add_new, assert_found, clean, count, edit, entry, found_by, index, kept_for, last_time,
    names, position, put, query, raise, read, reason, submit, texts, while_events_are_added,
};
use crate::entry::{Created, Entry};
use crate::store::append::{Append, IfKnown};
use crate::store::change::{Change, Edit, Forget, Which};
use crate::store::contract::Store;
use crate::store::query::{Order, Page, Query};

/// Contract 4: from the start, from the middle and from beyond the end, in parts, and while events
/// are added.
pub async fn reads_in_the_order_of_adding(store: &impl Store<Value>) {
    let times = [5, 3, 9, 1, 7];
    let places = add_new(store, times.map(|time| entry("a", time, time)).to_vec()).await;
    let times_after = async |after: u64, limit: usize| -> Vec<u64> {
        let entries = read(store, after, limit).await;
        entries.iter().map(|entry| entry.meta.id.time().value()).collect()
    };
    let wrong = "wrong events in the order of adding";
    assert_eq!(times_after(0, 100).await, times, "{wrong}");
    assert_eq!(times_after(0, usize::MAX).await, times, "{wrong}");
    assert_eq!(times_after(0, 2).await, [5, 3], "{wrong}, of the first page");
    assert_eq!(times_after(places[1].value(), 2).await, [9, 1], "{wrong}, of the second page");
    assert_eq!(times_after(places[3].value(), 100).await, [7], "{wrong}, of the last page");
    assert_eq!(times_after(0, 0).await, [0; 0], "{wrong}: none was asked for");
    assert_eq!(times_after(places[4].value(), 100).await, [0; 0], "{wrong}, after the last one");
    assert_eq!(times_after(MAX_SAFE_INTEGER, 100).await, [0; 0], "{wrong}, far after the last one");
    let entries = read(store, 0, 1).await;
    let mut expected = entry("a", 5, 5);
    expected.meta.added = places[0];
    assert_eq!(*entries[0], expected, "an entry is not what was added");
    while_events_are_added(store, read_meanwhile(store, 5, 105)).await;
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
        for again in [Query::created(None), Query::created(None).newest_first()] {
            let again = query(store, again, usize::MAX).await;
            assert!(again.len() >= seen, "the orders have different events");
        }
        yield_now().await;
    }
}

/// Nodes, times in ids, and times of events, in the order of creation: by time, then by node, then by the time in
/// the id.
const CREATED: [(&str, u64, u64); 6] =
    [("b", 9, 1), ("a", 1, 2), ("a", 3, 2), ("a:b", 2, 2), ("b", 1, 2), ("a", 8, 3)];

/// Adds those events in another order, in two appends.
async fn add_in_another_order(store: &impl Store<Value>) -> Vec<Added> {
    let mut places = Vec::new();
    for order in [[5, 0, 3], [1, 4, 2]] {
        let batch = order.map(|index| entry_of(CREATED[index]));
        places.extend(add_new(store, batch.to_vec()).await);
    }
    places
}

fn entry_of((name, id_time, event_time): (&str, u64, u64)) -> Entry<Value> {
    entry(name, id_time, event_time)
}

/// Contract 5: events that come in another order, of equal times and of several nodes, page by page.
pub async fn reads_in_the_order_of_creation(store: &impl Store<Value>) {
    add_in_another_order(store).await;
    let read_created =
        async |after: Option<Created>, limit| query(store, Query::created(after), limit).await;
    let mut position = None;
    for page in [1, 2, 3] {
        let entries = read_created(position, 2).await;
        let ids: Vec<_> = entries.iter().map(|entry| entry.meta.id.clone()).collect();
        let expected: Vec<_> =
            CREATED[2 * page - 2..2 * page].iter().map(|&parts| entry_of(parts).meta.id).collect();
        assert_eq!(ids, expected, "wrong events on page {page} in the order of creation");
        position = entries.last().map(|entry| entry.meta.created());
    }
    let rest = read_created(position, 2).await;
    assert!(rest.is_empty(), "there is something after the last event");
    // A position between two events, as that of an event which is gone.
    let between = entry("a", 4, 2).meta.created();
    let entries = read_created(Some(between), 1).await;
    assert_eq!(names(&entries), ["a:b2"], "wrong events after a place of no event");
    // An event that was created early and comes late goes to its place.
    add(store, vec![entry("z", 1, 0)]).await;
    let entries = read_created(None, 1).await;
    assert_eq!(names(&entries), ["z1"], "a late event is out of order");
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
    let all = [Query::added(Added::ZERO), Query::created(None)];
    let found = all.clone().map(|query| query.with(reason("kit")));
    let backwards = [Order::Added(None), Order::Created(None)];
    let backwards = backwards.map(|order| Query { order, label: None, newest_first: true });
    for query in all.into_iter().chain(found).chain(backwards) {
        let count =
            async |page: Page| store.read(query.clone(), page).await.expect("reading works").len();
        assert_eq!(count(Page::new(7)).await, 7, "another number of events than a page has");
        for bytes in [0, 1] {
            let page = Page::new(100).bytes(bytes);
            assert_eq!(count(page).await, 1, "a page of {bytes} bytes has not just one event");
        }
        // Stores write events in other ways, and count what they write.
        let some = count(Page::new(100).bytes(8_000)).await;
        assert!((4..=8).contains(&some), "{some} events of 1,000 bytes in a page of 8,000");
        let both = count(Page::new(2).bytes(8_000)).await;
        assert_eq!(both, 2, "another number of events than a page with room for more bytes has");
    }
}

/// Contract 7: of ids that come in another order than that of their times.
pub async fn knows_the_last_id_of_a_node(store: &impl Store<Value>) {
    assert_eq!(last_time(store, "a").await, None, "an empty store has a last time of a node");
    add(store, vec![entry("a", 5, 900), entry("a", 3, 1), entry("b", 9, 1)]).await;
    let last = last_time(store, "a").await;
    assert_eq!(last, Some(5), "the last time is not the largest one in the ids of a node");
    let last = last_time(store, "b").await;
    assert_eq!(last, Some(9), "the last time is not the largest one in the ids of a node");
    assert_eq!(last_time(store, "c").await, None, "a node without events has a last time");
}

/// Contract 12: after each append, and while events are added.
pub async fn the_end_is_where_reading_ends(store: &impl Store<Value>) {
    let end = store.end();
    for n in 1..=50 {
        let added = add_new(store, vec![entry("a", n, n)]).await;
        assert_eq!(end.get(), added[0], "an append is answered before the end has moved");
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
    while_events_are_added(store, reading).await;
    add(store, vec![entry("a", 1, 1)]).await;
    let last = read(store, 0, usize::MAX).await.pop().map(|entry| entry.meta.added);
    assert_eq!(Some(end.get()), last, "the end moves beyond the last event");
}

/// Contract 13: page by page, from places of events, of no event and of one that is gone, and late events.
pub async fn reads_the_newest_first(store: &impl Store<Value>) {
    assert_found(store, None, &[""; 0], &[""; 0]).await;
    let places = add_in_another_order(store).await;
    let added = ["a8", "b9", "a:b2", "a1", "b1", "a3"];
    let created = ["b9", "a1", "a3", "a:b2", "b1", "a8"];
    assert_found(store, None, &added, &created).await;

    let below = async |place: Added, limit| {
        names(&query(store, Query::added(place).newest_first(), limit).await)
    };
    let before = async |place: (&str, u64, u64), limit| {
        let place = Some(entry_of(place).meta.created());
        names(&query(store, Query::created(place).newest_first(), limit).await)
    };
    let reversed =
        |names: &[&str]| names.iter().rev().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (number, place) in places.iter().enumerate() {
        let found = below(*place, usize::MAX).await;
        let expected = reversed(&added[..number]);
        assert_eq!(found, expected, "newest first, wrong events below the position {place}");
    }
    for (number, place) in CREATED.into_iter().enumerate() {
        let found = before(place, usize::MAX).await;
        let expected = reversed(&created[..number]);
        assert_eq!(
            found, expected,
            "newest first, wrong events that were created before {place:?}"
        );
    }
    assert_eq!(below(Added::ZERO, 9).await, [""; 0], "newest first, there are events below zero");
    let far = below(position(MAX_SAFE_INTEGER), 2).await;
    assert_eq!(far, ["a3", "b1"], "newest first, wrong events below a position of no event");
    for (place, expected) in [
        (("a", 4, 2), vec!["a3", "a1"]),
        (("c", 1, 2), vec!["b1", "a:b2"]),
        (("a", 1, 0), vec![]),
        (("a", 1, 99), vec!["a8", "b1"]),
    ] {
        let found = before(place, 2).await;
        assert_eq!(found, expected, "newest first, wrong events before a place of no event");
    }
    for order in [Order::Added(None), Order::Created(None)] {
        let all = Query { order, label: None, newest_first: true };
        assert_eq!(
            query(store, all, 0).await.len(),
            0,
            "newest first, events where none was asked"
        );
    }

    clean(store, places[5]).await;
    assert_eq!(below(places[5], 2).await, ["b1", "a1"], "wrong events below one that is gone");
    assert_eq!(before(("a", 3, 2), 2).await, ["a1", "b9"], "wrong events before one that is gone");
    add_new(store, vec![entry("z", 1, 0), entry("a", 9, 2), entry("z", 2, 5)]).await;
    let added = ["a8", "b9", "a:b2", "a1", "b1", "z1", "a9", "z2"];
    let created = ["z1", "b9", "a1", "a9", "a:b2", "b1", "a8", "z2"];
    assert_found(store, None, &added, &created).await;
}

/// Contract 14: reasons and indexes of the same name and of strange ones, in pages, and while reasons change.
pub async fn finds_events_by_their_labels(store: &impl Store<Value>) {
    let events = [
        found_by(&["i"], kept_for(&["x"], entry("a", 1, 5))),
        found_by(&[], kept_for(&["x", "y"], entry("b", 1, 5))),
        found_by(&["x"], kept_for(&["y"], entry("a", 2, 3))),
        found_by(&[], kept_for(&[], entry("a", 3, 9))),
        // The same twice is once.
        found_by(&["i", "i"], kept_for(&["x", "k", "x"], entry("a", 4, 1))),
        found_by(&["i", "j"], kept_for(&["y"], entry("b", 2, 7))),
    ];
    let places = add_new(store, events.to_vec()).await;
    let [a1, b1, a2, a3, a4, b2] = places[..] else { panic!("not one answer for each event") };
    let x = || Some(reason("x"));
    assert_found(store, x(), &["a1", "b1", "a4"], &["a4", "a1", "b1"]).await;
    assert_found(store, Some(reason("y")), &["b1", "a2", "b2"], &["a2", "b1", "b2"]).await;
    assert_found(store, Some(index("x")), &["a2"], &["a2"]).await;
    assert_found(store, Some(index("i")), &["a1", "a4", "b2"], &["a4", "a1", "b2"]).await;
    assert_found(store, Some(index("j")), &["b2"], &["b2"]).await;
    for none in [reason("i"), reason(""), reason("X"), reason("%"), index("y"), index("")] {
        assert_found(store, Some(none), &[""; 0], &[""; 0]).await;
    }

    // From places of events that do not have the label, and of no event.
    let found = async |query: Query, limit| {
        names(&super::ask::query(store, query.with(reason("x")), limit).await)
    };
    let created = |name, id_time, time| Some(entry(name, id_time, time).meta.created());
    let wrong = "from a place of an event without the label, wrong events are found";
    assert_eq!(found(Query::added(a2), 9).await, ["a4"], "{wrong}");
    assert_eq!(found(Query::added(a2).newest_first(), 9).await, ["b1", "a1"], "{wrong}");
    assert_eq!(found(Query::created(created("a", 2, 3)), 1).await, ["a1"], "{wrong}");
    let before = Query::created(created("a", 3, 9)).newest_first();
    assert_eq!(found(before, 2).await, ["b1", "a1"], "{wrong}");
    let wrong = "from a place of no event, wrong events with a label are found";
    assert_eq!(found(Query::created(created("a", 9, 5)), 9).await, ["b1"], "{wrong}");
    let before = Query::created(created("a", 9, 5)).newest_first();
    assert_eq!(found(before, 9).await, ["a1", "a4"], "{wrong}");

    // As the reasons are now, also in the middle of reading.
    let add_x = || Edit::AddReasons(texts(&["x"]));
    let remove_x = || Edit::RemoveReasons(texts(&["x"]));
    edit(store, a3, add_x()).await;
    edit(store, b2, add_x()).await;
    edit(store, b1, remove_x()).await;
    edit(store, a1, Edit::SetReasons(texts(&["z"]))).await;
    assert_found(store, x(), &["a3", "a4", "b2"], &["a4", "b2", "a3"]).await;
    assert_found(store, Some(reason("z")), &["a1"], &["a1"]).await;
    assert_found(store, Some(reason("y")), &["b1", "a2", "b2"], &["a2", "b1", "b2"]).await;
    assert_found(store, Some(index("i")), &["a1", "a4", "b2"], &["a4", "a1", "b2"]).await;
    assert_eq!(found(Query::added(Added::ZERO), 2).await, ["a3", "a4"], "wrong first page");
    edit(store, a4, remove_x()).await;
    clean(store, a3).await;
    let wrong = "wrong second page, where reasons have changed since the first";
    assert_eq!(found(Query::added(a4), 2).await, ["b2"], "{wrong}");
    for place in [a1, b1, a2] {
        edit(store, place, add_x()).await;
    }
    assert_found(store, x(), &["a1", "b1", "a2", "b2"], &["a2", "a1", "b1", "b2"]).await;
    assert_eq!(found(Query::created(None), 2).await, ["a2", "a1"], "wrong first page");
    clean(store, a1).await;
    edit(store, b1, remove_x()).await;
    assert_eq!(found(Query::created(created("a", 1, 5)), 2).await, ["b2"], "{wrong}");
    edit(store, b1, add_x()).await;
    let before = Query::created(created("b", 2, 7)).newest_first();
    assert_eq!(found(before, 2).await, ["b1", "a2"], "{wrong}");
    edit(store, a2, Edit::SetExtra("x".to_owned(), Some(Value::from("x")))).await;
    assert_found(store, x(), &["b1", "a2", "b2"], &["a2", "b1", "b2"]).await;
    assert_found(store, Some(index("i")), &["a4", "b2"], &["a4", "b2"]).await;
    // An event that is not added leaves the labels as they are.
    let known = found_by(&["new"], kept_for(&["new"], entry("a", 2, 3)));
    add(store, vec![known.clone()]).await;
    let refused = vec![found_by(&["new"], kept_for(&["new"], entry("a", 7, 7))), known];
    submit(store, Append::events(refused).if_known(IfKnown::AddNone)).await;
    for none in [reason("new"), index("new")] {
        assert_found(store, Some(none), &[""; 0], &[""; 0]).await;
    }

    // Labels are texts, not patterns, and differ by each letter.
    let strange = ["", "X", "x%", "x_", "x ", " x", "x\\", "\"", "'", "ü", "\u{0}", "x\u{0}y"];
    for (number, label) in (1..).zip(strange) {
        add(store, vec![found_by(&[label], kept_for(&[label], entry("s", number, 1)))]).await;
    }
    for (number, label) in (1..).zip(strange) {
        let name = [format!("s{number}")];
        assert_found(store, Some(reason(label)), &name, &name).await;
        assert_found(store, Some(index(label)), &name, &name).await;
    }
}

/// Contract 20: after all that can change the number, and all that must not.
pub async fn counts_its_events(store: &impl Store<Value>) {
    assert_eq!(count(store).await, 0, "an empty store counts events");
    let places = add_new(store, (1..=6).map(|n| entry("a", n, 9 - n)).collect()).await;
    assert_eq!(count(store).await, 6, "the count is not that of the events that were added");
    add(store, vec![entry("a", 1, 1), entry("b", 1, 1), entry("b", 1, 1)]).await;
    assert_eq!(count(store).await, 7, "an event is counted that was not added");
    let refused = vec![entry("b", 2, 2), entry("a", 1, 1)];
    submit(store, Append::events(refused).if_known(IfKnown::AddNone)).await;
    assert_eq!(count(store).await, 7, "an event is counted that was refused");
    submit(store, Append::records(vec![put("text", ""), raise("number", 1)])).await;
    edit(store, places[0], Edit::AddReasons(texts(&["more"]))).await;
    assert_eq!(count(store).await, 7, "an edit or a record changes the count");
    clean(store, places[5]).await;
    clean(store, places[1]).await;
    assert_eq!(count(store).await, 5, "events that are gone are counted");
    edit(store, places[1], Edit::Clean).await;
    edit(store, position(1_000), Edit::Clean).await;
    add(store, vec![entry("a", 2, 2)]).await;
    assert_eq!(count(store).await, 5, "what changes nothing changes the count");
    let forget = Some(Forget { before: super::ask::time(100), at_most: 0 });
    submit(store, Append::events(Vec::new()).and_forget(forget)).await;
    assert_eq!(count(store).await, 5, "to forget ids changes the count");
    let change = Change { events: Which::At(places.clone()), edit: Edit::Clean };
    let append = Append::events(vec![entry("c", 1, 1), entry("c", 2, 2)]).and_changes([change]);
    submit(store, append).await;
    assert_eq!(count(store).await, 3, "the count is not that of the events that are there");
    assert_eq!(read(store, 0, usize::MAX).await.len(), 3, "the count is not that of what is read");
}
