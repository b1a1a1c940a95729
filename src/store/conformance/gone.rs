//! What is known of events that are gone.

use logux_codecs::{Added, EventId, Value};

use super::ask::{
    add_new, by_id, change, clean, count, counted, edit, entry, kept_for, last_added, last_time,
    name, names, raise, read, record, submit, submit_changes, texts, time,
};
use crate::entry::Entry;
use crate::store::append::{Append, IfKnown};
use crate::store::change::{Change, Edit, Forget, Which};
use crate::store::contract::Store;
use crate::store::query::IdState;

/// What is known of an event's id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// It is there.
    There,
    /// It was there, and is gone.
    Gone,
    /// It may be one of those that are forgotten.
    TooOld,
    /// It is gone, and whether that is remembered or forgotten is up to the store.
    GoneOrTooOld,
}

/// Checks that events are not added, and what is said of their ids.
pub(super) async fn assert_known(store: &impl Store<Value>, events: &[(Entry<Value>, Known)]) {
    for (event, known) in events {
        assert_known_together(store, &[(event.clone(), *known)], IfKnown::LeaveOut).await;
        assert_known_together(store, &[(event.clone(), *known)], IfKnown::AddNone).await;
    }
    assert_known_together(store, events, IfKnown::LeaveOut).await;
    assert_known_together(store, events, IfKnown::AddNone).await;
}

async fn assert_known_together(
    store: &impl Store<Value>,
    events: &[(Entry<Value>, Known)],
    if_known: IfKnown,
) {
    let before = (count(store).await, last_added(store));
    let given: Vec<_> = events.iter().map(|(event, _)| event.clone()).collect();
    let stored = submit(store, Append::events(given.clone()).if_known(if_known)).await;
    assert_eq!(stored.known, given, "an event is added whose id is known, gone or too old");
    for (Entry { meta, .. }, known) in events {
        let is_gone = stored.gone.contains(&meta.id);
        let is_too_old = stored.too_old.contains(&meta.id);
        let is_right = match known {
            Known::There => !is_gone && !is_too_old,
            Known::Gone => is_gone && !is_too_old,
            Known::TooOld => is_too_old && !is_gone,
            Known::GoneOrTooOld => is_gone != is_too_old,
        };
        let name = name(meta);
        assert!(
            is_right,
            "the id {name} is {known:?}, but the answer says gone: {is_gone}, too old: {is_too_old}"
        );
        let is_there = by_id(store, &meta.id).await.is_some();
        assert_eq!(is_there, *known == Known::There, "the wrong events are there: {name}");
    }
    let after = (count(store).await, last_added(store));
    assert_eq!(after, before, "an event that is not added moves the end or the count");
}

/// Contract 17: after each edit that cleans, in the append that cleans, in later ones, and where all ids must be
/// new.
pub async fn an_id_that_is_gone_is_not_added_again(store: &impl Store<Value>) {
    let event = |n| kept_for(&["x"], entry("a", n, n));
    let places = add_new(store, (1..=6).map(event).collect()).await;
    clean(store, places[1]).await;
    edit(store, places[2], Edit::RemoveReasons(texts(&["x"]))).await;
    edit(store, places[3], Edit::SetReasons(Vec::new())).await;
    let newest = event(2).meta.id;
    let before = Which::Before { reason: "x".to_owned(), newest };
    let stored = change(store, before, Edit::Clean).await;
    assert_eq!(stored.changed, [], "an event that is gone is taken for one that is there");
    let before = Which::Before { reason: "x".to_owned(), newest: event(5).meta.id };
    let stored = change(store, before, Edit::Clean).await;
    assert_eq!(names(&stored.cleaned), ["a1"], "not just the events before the last one are gone");
    // Also with other words, and another time.
    let mut other = event(3);
    other.event = Value::from("other");
    other.meta.time = time(77);
    let known = [
        (event(1), Known::Gone),
        (event(6), Known::There),
        (event(2), Known::Gone),
        (other, Known::Gone),
        (event(4), Known::Gone),
        (event(5), Known::There),
    ];
    assert_known(store, &known).await;

    // Beside ids that are new, however similar.
    let similar = [entry("b", 2, 2), counted("a", 2, 1, 2), entry("a:a", 2, 2), entry("a", 7, 2)];
    let batch = vec![event(2), similar[0].clone(), event(6), similar[1].clone()];
    let stored = submit(store, Append::events(batch)).await;
    let added: Vec<bool> = stored.entries.iter().map(Option::is_some).collect();
    assert_eq!(added, [false, true, false, true], "other events are added than those of new ids");
    assert_eq!(stored.known, [event(2), event(6)], "events that are not added are not given back");
    assert_eq!(stored.gone, [event(2).meta.id], "not just the id of an event that is gone is gone");

    // Refused as a whole, with all that the append would change.
    let batch = vec![similar[2].clone(), event(3), similar[3].clone(), event(6), event(1)];
    let append = Append::events(batch.clone()).if_known(IfKnown::AddNone);
    let at = |place| Which::At(vec![place]);
    let append = append
        .and_changes([
            Change { events: at(places[4]), edit: Edit::Clean },
            Change { events: at(places[5]), edit: Edit::AddReasons(texts(&["y"])) },
        ])
        .and_records([raise("number", 1)])
        .and_forget(Some(Forget { before: time(100), at_most: 0 }));
    let stored = submit_changes(store, append).await;
    assert_eq!(stored.entries, vec![None; 5], "a part of a batch with an id that is gone is added");
    assert_eq!(stored.known, batch, "a batch that was refused is not given back");
    let gone = [event(3).meta.id, event(1).meta.id];
    assert_eq!(stored.gone, gone, "not the ids of events that are gone are said to be gone");
    assert_eq!(stored.changed, [], "a batch that was refused changes events");
    assert_eq!(record(store, "number").await, None, "a batch that was refused changes records");
    let left = read(store, 0, usize::MAX).await;
    assert_eq!(names(&left), ["a5", "a6", "b2", "a2.1"], "a batch that was refused changes events");
    assert_eq!(left[1].meta.reasons, ["x"], "a batch that was refused changes events");
    assert_known(store, &known).await;

    // Events are added first: it is there when it comes again, and then it is gone.
    let clean = Change { events: at(places[4]), edit: Edit::Clean };
    let append = Append::events(vec![event(5), event(8)]).and_changes([clean]);
    let stored = submit_changes(store, append).await;
    assert_eq!(stored.known, [event(5)], "an event is added again by the append that cleans it");
    assert_eq!(stored.gone, [], "an event is gone before its append has cleaned it");
    assert_eq!(names(&stored.cleaned), ["a5"], "an event is not cleaned that came again");
    // One that the same append adds and cleans.
    let newest = event(8).meta.id;
    let before = Which::Before { reason: "now".to_owned(), newest };
    let append = Append::events(vec![kept_for(&["now"], entry("c", 1, 1))]);
    submit_changes(store, append.and_changes([Change { events: before, edit: Edit::Clean }])).await;
    let known =
        [(event(5), Known::Gone), (entry("c", 1, 1), Known::Gone), (event(8), Known::There)];
    assert_known(store, &known).await;
    // One that is gone, and comes twice.
    let stored = submit(store, Append::events(vec![event(5), event(9), event(5)])).await;
    assert_eq!(stored.known.len(), 2, "an event that is gone is added when it comes twice");
    assert_eq!(last_time(store, "c").await, Some(1), "the last time of a node falls");
}

/// Contract 19: by time, by number, by both; of several nodes, of ids that were never there, of events that are
/// there, and of ids that are gone later.
pub async fn forgets_old_ids(store: &impl Store<Value>) {
    by_time(store).await;
    by_number(store).await;
}

async fn forget(store: &impl Store<Value>, before: u64, at_most: usize) {
    let forget = Forget { before: time(before), at_most };
    let stored = submit_changes(store, Append::events(Vec::new()).and_forget(Some(forget))).await;
    assert_eq!(stored.changed, [], "to forget ids changes events");
}

/// Cleans those of these events that are named.
async fn clean_some(store: &impl Store<Value>, ids: &[EventId]) {
    let mut places: Vec<Added> = Vec::new();
    for id in ids {
        places.push(by_id(store, id).await.expect("an event is found by its id").meta.added);
    }
    let stored = change(store, Which::At(places), Edit::Clean).await;
    assert_eq!(stored.cleaned.len(), ids.len(), "an event is not cleaned");
}

async fn by_time(store: &impl Store<Value>) {
    let of = |node: &str, n: u64| entry(node, n, n);
    let ids = |events: &[(&str, u64)]| -> Vec<EventId> {
        events.iter().map(|&(node, n)| of(node, n).meta.id).collect()
    };
    let a = (2..=9).map(|n| of("a", n));
    // Some come late.
    let others = [("b", 3), ("b", 1), ("b", 2), ("c", 8), ("e", 1), ("d", 9), ("d", 7), ("d", 2)];
    add_new(store, a.chain(others.map(|(node, n)| of(node, n))).collect()).await;
    let gone = [("a", 3), ("a", 4), ("a", 5), ("a", 7), ("b", 2), ("d", 7), ("c", 8), ("e", 1)];
    clean_some(store, &ids(&gone)).await;
    forget(store, 0, usize::MAX).await;
    let remembered = gone.map(|(node, n)| (of(node, n), Known::Gone));
    assert_known(store, &remembered).await;

    forget(store, 5, usize::MAX).await;
    let known = [
        // Forgotten, and as old as a forgotten one.
        (of("a", 3), Known::TooOld),
        (of("a", 4), Known::TooOld),
        (of("b", 2), Known::TooOld),
        (of("e", 1), Known::TooOld),
        (of("a", 1), Known::TooOld),
        (of("a", 0), Known::TooOld),
        (counted("a", 4, 7, 1), Known::TooOld),
        (counted("b", 1, 1, 1), Known::TooOld),
        (counted("e", 1, 1, 1), Known::TooOld),
        // Not older than the time.
        (of("a", 5), Known::Gone),
        (of("a", 7), Known::Gone),
        (of("d", 7), Known::Gone),
        (of("c", 8), Known::Gone),
        // There, however old.
        (of("a", 2), Known::There),
        (of("a", 6), Known::There),
        (of("b", 1), Known::There),
        (of("d", 2), Known::There),
    ];
    assert_known(store, &known).await;
    // In order, one node's, from the time of its last id on, which is forgotten.
    let batch = vec![counted("e", 1, 1, 1), of("e", 3), of("e", 4)];
    let stored = submit(store, Append::events(batch.clone()).if_known(IfKnown::AddNone)).await;
    assert_eq!(stored.known, batch, "a part of a batch is added of which an id is too old");
    // What was never there, and is later than all that is forgotten of its node.
    let new = [
        counted("a", 5, 1, 5),
        of("b", 4),
        counted("b", 3, 1, 3),
        of("c", 1),
        of("d", 1),
        counted("d", 7, 1, 7),
        of("e", 2),
        of("f", 1),
        of("a:b", 1),
    ];
    let stored = submit(store, Append::events(new.to_vec()).if_known(IfKnown::AddNone)).await;
    let wrong = "an id is taken for a forgotten one";
    assert_eq!(stored.known, [], "{wrong}");
    assert_eq!(stored.too_old, [], "{wrong}");
    assert_known(store, &new.map(|event| (event, Known::There))).await;

    // In a batch, new ones beside those that are too old.
    let batch = vec![of("a", 10), of("a", 3), of("g", 1), of("a", 2), of("a", 5)];
    let stored = submit(store, Append::events(batch.clone()).if_known(IfKnown::AddNone)).await;
    assert_eq!(stored.known, batch, "a part of a batch is added of which an id is too old");
    let stored = submit(store, Append::events(batch.clone())).await;
    let added: Vec<bool> = stored.entries.iter().map(Option::is_some).collect();
    let expected = [true, false, true, false, false];
    assert_eq!(added, expected, "an id that is too old keeps others from being added");
    let told = (stored.gone, stored.too_old);
    let expected = (ids(&[("a", 5)]), ids(&[("a", 3)]));
    assert_eq!(told, expected, "it is not told which ids are gone, and which are too old");

    // An event that is there although it is that old can be read, changed and cleaned.
    let old = by_id(store, &of("a", 2).meta.id).await.expect("an event is found by its id");
    let stored = edit(store, old.meta.added, Edit::AddReasons(texts(&["more"]))).await;
    assert_eq!(stored.changed.len(), 1, "an event whose id is old is not changed");
    clean_some(store, &ids(&[("a", 2)])).await;
    assert_known(store, &[(of("a", 2), Known::GoneOrTooOld)]).await;
    // An earlier time brings nothing back, and changes nothing.
    forget(store, 1, usize::MAX).await;
    assert_known(store, &known[..13]).await;
    // What the append itself cleans is forgotten after it.
    let six = by_id(store, &of("a", 6).meta.id).await.expect("an event is found by its id");
    let clean = Change { events: Which::At(vec![six.meta.added]), edit: Edit::Clean };
    let append = Append::events(vec![of("a", 5)]).and_changes([clean]);
    let forget = Forget { before: time(7), at_most: usize::MAX };
    let stored = submit_changes(store, append.and_forget(Some(forget))).await;
    let told = (stored.gone, stored.too_old);
    assert_eq!(told, (ids(&[("a", 5)]), Vec::new()), "ids are forgotten before all else is done");
    let known = [
        (of("a", 6), Known::TooOld),
        (of("a", 5), Known::TooOld),
        (counted("a", 5, 1, 5), Known::There),
        (counted("a", 5, 2, 5), Known::TooOld),
        (of("a", 7), Known::Gone),
        (of("d", 7), Known::Gone),
    ];
    assert_known(store, &known).await;
    for (node, last) in [("a", 10), ("b", 4), ("c", 8), ("d", 9), ("e", 2), ("f", 1)] {
        assert_eq!(last_time(store, node).await, Some(last), "forgetting changes a last time");
    }
}

async fn by_number(store: &impl Store<Value>) {
    forget(store, 1_000, usize::MAX).await;
    // Those of one node are older than those of the other, and one is in between.
    let of = |node: &str, n: u64| entry(node, n, n);
    let events = (1_001..=1_100).map(|n| of(["x", "y"][usize::from(n > 1_050)], n));
    add_new(store, events.chain([of("x", 1_090), of("x", 2_000), of("y", 2_000)]).collect()).await;
    let gone: Vec<_> = (1_001..=1_100).map(|n| of(["x", "y"][usize::from(n > 1_050)], n)).collect();
    let ids: Vec<_> = gone.iter().map(|entry| entry.meta.id.clone()).collect();
    clean_some(store, &ids).await;
    clean_some(store, &[of("x", 1_090).meta.id]).await;
    forget(store, 0, 101).await;
    assert_known(store, &[(gone[0].clone(), Known::Gone), (gone[99].clone(), Known::Gone)]).await;
    // 1,081 to 1,100, and the one in between.
    forget(store, 0, 21).await;
    let known = [
        (gone[0].clone(), Known::TooOld),
        (gone[49].clone(), Known::TooOld),
        (gone[50].clone(), Known::TooOld),
        (gone[79].clone(), Known::TooOld),
        (of("y", 1), Known::TooOld),
        (counted("x", 1_050, 1, 1), Known::TooOld),
        (gone[80].clone(), Known::Gone),
        (gone[99].clone(), Known::Gone),
        (of("x", 1_090), Known::Gone),
        (of("x", 2_000), Known::There),
    ];
    assert_known(store, &known).await;
    add_new(store, vec![of("x", 1_051), of("x", 1_080), counted("y", 1_081, 1, 1)]).await;
    forget(store, 0, 21).await;
    assert_known(store, &known).await;
    // The last of a node, and all.
    clean_some(store, &[of("x", 2_000).meta.id, of("y", 2_000).meta.id]).await;
    forget(store, 0, 0).await;
    let known = [
        (of("x", 2_000), Known::TooOld),
        (of("x", 1_999), Known::TooOld),
        (of("x", 1_051), Known::There),
        (counted("y", 1_081, 1, 1), Known::There),
        (of("y", 2_000), Known::TooOld),
    ];
    assert_known(store, &known).await;
    for node in ["x", "y"] {
        let last = last_time(store, node).await;
        assert_eq!(last, Some(2_000), "the last time of a node does not count a forgotten id");
    }
    add_new(store, vec![of("x", 2_001), of("y", 2_001), of("z", 1)]).await;
    assert_eq!(last_time(store, "x").await, Some(2_001), "a last time is wrong");
}

/// Contract 22: of ids that are new, there, gone and forgotten, of several nodes at once.
pub async fn tells_what_is_known_of_ids(store: &impl Store<Value>) {
    let states = async |ids: &[(&str, u64)]| {
        let ids: Vec<EventId> = ids.iter().map(|(name, n)| entry(name, *n, *n).meta.id).collect();
        store.id_states(&ids).await.expect("reading works")
    };
    let asked = [("a", 1), ("a", 2), ("a", 3), ("b", 2), ("a", 4), ("a:a", 2)];
    assert_eq!(states(&[]).await, [], "not one answer for each id");
    assert_eq!(states(&asked).await, [IdState::New; 6], "an id of an empty store is not new");
    let places = add_new(
        store,
        [("a", 1), ("a", 2), ("a", 3), ("b", 2)].map(|(name, n)| entry(name, n, n)).to_vec(),
    )
    .await;
    clean(store, places[1]).await;
    let (new, there, gone, too_old) =
        (IdState::New, IdState::There, IdState::Gone, IdState::TooOld);
    let expected = [there, gone, there, there, new, new];
    assert_eq!(states(&asked).await, expected, "it is not told which ids are there, gone and new");
    // One that the same append adds.
    let event = entry("a", 4, 4);
    let clean = Change { events: Which::Ids(vec![event.meta.id.clone()]), edit: Edit::Clean };
    submit_changes(store, Append::events(vec![event]).and_changes([clean])).await;
    let expected = [there, gone, there, there, gone, new];
    assert_eq!(
        states(&asked).await,
        expected,
        "an id that came and went in one append is not gone"
    );
    submit(
        store,
        Append::events(Vec::new()).and_forget(Some(Forget { before: time(3), at_most: 9 })),
    )
    .await;
    let expected = [there, too_old, there, there, gone, new];
    assert_eq!(states(&asked).await, expected, "it is not told which ids are too old");
}
