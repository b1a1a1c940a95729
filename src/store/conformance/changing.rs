//! What becomes of events that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use logux_codecs::{Added, MAX_SAFE_INTEGER, Value};

use super::ask::{
    add, add_new, assert_found, by_id, change, clean, count, counted, edit, effects, entry,
    found_by, index, kept_for, last_added, last_time, names, position, positions, read, reason,
    submit_changes, texts,
};
use crate::entry::Entry;
use crate::store::append::{Append, IfKnown, Stored};
use crate::store::change::{Change, Edit, Effect, Which};
use crate::store::contract::Store;

use Effect::{Cleaned, Edited, Nothing};

/// Contract 15: each edit of events that it changes, leaves as they are and cleans, several at once, in their
/// order, and positions of no event.
pub async fn changes_events_as_edits_say(store: &impl Store<Value>) {
    each_edit(store).await;
    several_events(store).await;
    several_edits(store).await;
}

/// Every edit, of events with other reasons; what becomes of each is told.
async fn each_edit(store: &impl Store<Value>) {
    let add_reasons = |reasons: &[&str]| Edit::AddReasons(texts(reasons));
    let remove = |reasons: &[&str]| Edit::RemoveReasons(texts(reasons));
    let set = |reasons: &[&str]| Edit::SetReasons(texts(reasons));
    let extra = |key: &str, value| Edit::SetExtra(key.to_owned(), value);
    let (none, one, two): (&[&str], &[&str], &[&str]) = (&[], &["x"], &["x", "y"]);
    let cases = [
        (one, add_reasons(&["y"]), Edited),
        (one, add_reasons(&["x"]), Nothing),
        (one, add_reasons(&["y", "x", "y"]), Edited),
        (one, add_reasons(&[]), Nothing),
        (none, add_reasons(&["y"]), Edited),
        (two, remove(&["x"]), Edited),
        (two, remove(&["y", "z"]), Edited),
        (two, remove(&["z"]), Nothing),
        (two, remove(&["X"]), Nothing),
        (two, remove(&["y", "x"]), Cleaned),
        (one, remove(&["x", "x"]), Cleaned),
        (one, remove(&[]), Nothing),
        (none, remove(&["x"]), Nothing),
        (&["x", "x"], remove(&["x"]), Cleaned),
        (one, set(&["x"]), Nothing),
        (one, set(&["x", "x"]), Nothing),
        (one, set(&["z", "y", "z"]), Edited),
        (two, set(&["y"]), Edited),
        (two, set(&["y", "x"]), Edited),
        (none, set(&["x"]), Edited),
        (two, set(&[]), Cleaned),
        (none, set(&[]), Cleaned),
        (one, extra("key", Some(Value::from("other"))), Edited),
        (one, extra("key", Some(Value::from("value"))), Nothing),
        (none, extra("new", Some(serde_json::json!({ "deep": [1, null] }))), Edited),
        (one, extra("key", Some(Value::Null)), Edited),
        (one, extra("key", None), Edited),
        (one, extra("never", None), Nothing),
        (two, Edit::Clean, Cleaned),
        (none, Edit::Clean, Cleaned),
        (one, Edit::CleanUnreasoned, Nothing),
        (none, Edit::CleanUnreasoned, Cleaned),
    ];
    let times = 1..=cases.len() as u64;
    // In the order of creation they are the other way round.
    let event = |(n, (reasons, _, _)): (u64, &(&[&str], _, _))| {
        kept_for(reasons, entry("a", n, 100 - n)).sized(70)
    };
    let before: Vec<_> = times.zip(&cases).map(event).collect();
    let added = add(store, before).await;
    let mut expected: Vec<Arc<Entry<Value>>> = added.iter().flatten().map(Arc::clone).collect();
    for ((reasons, edit, effect), place) in cases.iter().zip(positions(&added)) {
        let stored = self::edit(store, place, edit.clone()).await;
        let changed = BTreeMap::from([(place.value(), *effect)]);
        let changed = if *effect == Nothing { BTreeMap::new() } else { changed };
        let of = format!("{edit:?} of an event with the reasons {reasons:?}");
        assert_eq!(effects(&stored.changed), changed, "the answer is wrong about {of}");
        let found = expected.iter().position(|entry| entry.meta.added == place);
        let index = found.expect("each event is changed once");
        let mut entry = Entry::clone(&expected[index]);
        edit.apply(&mut entry.meta);
        let kept = by_id(store, &entry.meta.id).await;
        if *effect == Cleaned {
            assert_eq!(kept, None, "an event is there after {of}");
            expected.remove(index);
        } else {
            let kept = kept.unwrap_or_else(|| panic!("an event is gone after {of}"));
            assert_eq!(*kept, entry, "an event is not what it should be after {of}");
            assert!(kept.size() > 0, "the size of an event is lost after {of}");
            expected[index] = Arc::new(entry);
        }
        assert_eq!(read(store, 0, usize::MAX).await, expected, "other events change by {of}");
    }
    let added = names(&expected);
    let created: Vec<_> = added.iter().rev().collect();
    assert_found(store, None, &added, &created).await;
    // Each can be changed again.
    let all: Vec<Added> = expected.iter().map(|entry| entry.meta.added).collect();
    let stored = change(store, Which::At(all.clone()), set(&["again"])).await;
    let all: BTreeMap<_, _> = all.iter().map(|place| (place.value(), Edited)).collect();
    assert_eq!(effects(&stored.changed), all, "an event that was changed cannot be changed again");
    assert_found(store, Some(reason("again")), &added, &created).await;
}

/// Of several positions, also such of no event, and one twice.
async fn several_events(store: &impl Store<Value>) {
    let kept = |n| kept_for(&["x", "y"], entry("b", n, n));
    let places = add_new(store, (1..=4).map(kept).collect()).await;
    clean(store, places[2]).await;
    let nowhere = [Added::ZERO, position(MAX_SAFE_INTEGER), places[3].plus(1)];
    let add_z = || Edit::AddReasons(texts(&["z"]));
    let add_u = || Edit::AddReasons(texts(&["u"]));
    let stored = change(store, Which::At(nowhere.to_vec()), add_z()).await;
    assert_eq!(stored.changed, [], "an event is changed at a position of no event");
    let stored = change(store, Which::At(Vec::new()), add_z()).await;
    assert_eq!(stored.changed, [], "an event is changed where none was named");
    let stored = edit(store, places[2], Edit::SetReasons(texts(&["z"]))).await;
    assert_eq!(stored.changed, [], "an event that is gone is changed");
    let all = [places[3], nowhere[0], places[2], places[0], nowhere[1], places[0]];
    let stored = change(store, Which::At(all.to_vec()), add_z()).await;
    let expected = [places[0], places[3]].map(|place| (place.value(), Edited));
    let changed = effects(&stored.changed);
    assert_eq!(changed, BTreeMap::from(expected), "of several positions, others are changed");
    assert_found(store, Some(reason("z")), &["b1", "b4"], &["b1", "b4"]).await;
    // By their ids.
    let id = |n| entry("b", n, n).meta.id;
    let stored = change(store, Which::Ids(vec![id(4), id(3), id(9)]), add_u()).await;
    let expected = BTreeMap::from([(places[3].value(), Edited)]);
    assert_eq!(effects(&stored.changed), expected, "of several ids, others are changed");
    assert_found(store, Some(reason("u")), &["b4"], &["b4"]).await;
    let remove = Edit::RemoveReasons(texts(&["x", "y"]));
    let stored = change(store, Which::At(places.clone()), remove).await;
    let expected = [(places[0], Edited), (places[1], Cleaned), (places[3], Edited)];
    let expected = expected.map(|(place, effect)| (place.value(), effect));
    let changed = effects(&stored.changed);
    assert_eq!(changed, BTreeMap::from(expected), "events do not change each by its own reasons");
}

/// Of one event in one append.
async fn several_edits(store: &impl Store<Value>) {
    let places =
        add_new(store, (1..=3).map(|n| kept_for(&["x"], entry("c", n, n))).collect()).await;
    let of = |place, edit| Change { events: Which::At(vec![place]), edit };
    let add_y = || Edit::AddReasons(texts(&["y"]));
    let remove_x = || Edit::RemoveReasons(texts(&["x"]));
    let changes = vec![
        of(places[0], add_y()),
        of(places[0], remove_x()),
        of(places[1], remove_x()),
        of(places[1], add_y()),
        of(places[2], Edit::SetExtra("n".to_owned(), Some(Value::from(1)))),
        of(places[2], Edit::SetExtra("n".to_owned(), Some(Value::from(2)))),
        of(places[2], Edit::Clean),
        of(places[2], Edit::Clean),
    ];
    let stored = submit_changes(store, Append::changes(changes)).await;
    let expected = [(places[0], Edited), (places[1], Cleaned), (places[2], Cleaned)];
    let expected = expected.map(|(place, effect)| (place.value(), effect));
    let changed = effects(&stored.changed);
    assert_eq!(changed, BTreeMap::from(expected), "edits are not made in their order");
    assert_found(store, Some(reason("y")), &["c1"], &["c1"]).await;
}

/// Contract 16: by each edit that cleans; the first event, the last, late ones, many, all; and one that is added by
/// the same append.
pub async fn cleaned_events_are_gone(store: &impl Store<Value>) {
    let events = [
        found_by(&["i"], entry("a", 1, 1)),
        found_by(&["i", "j"], kept_for(&["x"], entry("b", 1, 5))),
        kept_for(&["x", "y"], entry("a", 2, 0)),
        found_by(&["i"], kept_for(&["x"], entry("a", 3, 5))),
        entry("b", 2, 5),
    ];
    let places = add_new(store, events.to_vec()).await;
    let stored = edit(store, places[1], Edit::Clean).await;
    // What the event says of itself, not why it was kept.
    let given = &stored.cleaned[0];
    assert_eq!(given.meta.id, events[1].meta.id, "the answer has another event than was cleaned");
    assert_eq!(given.event, events[1].event, "the answer has another event than was cleaned");
    assert_eq!(given.meta.indexes, ["i", "j"], "the answer has another event than was cleaned");
    assert_eq!(
        by_id(store, &given.meta.id).await,
        None,
        "an event that is gone is found by its id"
    );
    assert_found(store, None, &["a1", "a2", "a3", "b2"], &["a2", "a1", "a3", "b2"]).await;
    assert_found(store, Some(index("i")), &["a1", "a3"], &["a1", "a3"]).await;
    assert_found(store, Some(index("j")), &[""; 0], &[""; 0]).await;
    for nothing in [places[1], position(1_000), Added::ZERO] {
        let stored = edit(store, nothing, Edit::Clean).await;
        let is_nothing = stored.changed.is_empty() && stored.cleaned.is_empty();
        assert!(is_nothing, "the answer has an event that was gone before, or never there");
    }
    // All with a reason: those that have others stay.
    let with_x = Which::At(vec![places[2], places[3]]);
    let stored = change(store, with_x, Edit::RemoveReasons(texts(&["x"]))).await;
    assert_eq!(names(&stored.cleaned), ["a3"], "not those are cleaned that have no reason left");
    assert_found(store, None, &["a1", "a2", "b2"], &["a2", "a1", "b2"]).await;
    assert_found(store, Some(reason("x")), &[""; 0], &[""; 0]).await;
    // The last one: its position is not used again.
    let end = last_added(store);
    edit(store, places[4], Edit::SetReasons(Vec::new())).await;
    assert_eq!(last_added(store), end, "the end moves where the last event is cleaned");
    let next = add_new(store, vec![entry("b", 3, 2)]).await[0];
    assert!(next.value() > end, "the position of an event that is gone is used again");
    assert_found(store, None, &["a1", "a2", "b3"], &["a2", "a1", "b3"]).await;
    // One that the same append adds is answered all the same.
    let newest = entry("z", 9, 9).meta.created();
    let append = Append::events(vec![kept_for(&["now"], entry("c", 1, 1)), entry("z", 9, 9)]);
    let events = Which::Before { reason: "now".to_owned(), newest: newest.id };
    let append = append.and_changes([Change { events, edit: Edit::Clean }]);
    let stored = submit_changes(store, append).await;
    let added = positions(&stored.entries);
    assert_eq!(names(&stored.cleaned), ["c1"], "an event of the same append is not cleaned");
    assert_eq!(last_added(store), added[1].value(), "the end is not at the last event");
    assert_found(store, None, &["a1", "a2", "b3", "z9"], &["a2", "a1", "b3", "z9"]).await;
    clean_many(store).await;
    // All of them.
    let all = read(store, 0, usize::MAX).await.iter().map(|entry| entry.meta.added).collect();
    let end = last_added(store);
    change(store, Which::At(all), Edit::Clean).await;
    assert_eq!(count(store).await, 0, "events are counted where all are gone");
    assert_found(store, None, &[""; 0], &[""; 0]).await;
    for label in [reason("kit"), reason("y"), index("index"), index("i")] {
        assert_found(store, Some(label), &[""; 0], &[""; 0]).await;
    }
    assert_eq!(last_added(store), end, "the end falls where all events are cleaned");
    assert_eq!(last_time(store, "z").await, Some(9), "the last time of a node falls");
    let next = add_new(store, vec![entry("z", 10, 1)]).await[0];
    assert!(next.value() > end, "the position of an event that is gone is used again");
    assert_found(store, None, &["z10"], &["z10"]).await;
}

/// So many that a store may make room.
async fn clean_many(store: &impl Store<Value>) {
    let many = (1..=300).map(|n| entry("many", n, if n % 5 == 0 { n - 4 } else { n })).collect();
    let places = add_new(store, many).await;
    let is_kept = |index: usize| index % 4 == 1;
    for part in places.chunks(40) {
        let gone = part.iter().enumerate().filter(|(index, _)| !is_kept(*index));
        change(store, Which::At(gone.map(|(_, place)| *place).collect()), Edit::Clean).await;
    }
    let places: Vec<_> = places.into_iter().zip(1_u64..).collect();
    let kept = |index: usize| is_kept(index % 40);
    let kept: Vec<_> = (0..300).filter(|index| kept(*index)).map(|index| places[index]).collect();
    let mut expected: Vec<_> = ["a1", "a2", "b3", "z9"].map(str::to_owned).into();
    expected.extend(kept.iter().map(|(_, n)| format!("many{n}")));
    let found = names(&read(store, 0, usize::MAX).await);
    assert_eq!(found, expected, "others are there than should be where many are cleaned");
    for (place, n) in &kept {
        let at = |at| super::ask::entry("many", at, at).meta.id;
        let found = by_id(store, &at(*n)).await;
        let found = found.unwrap_or_else(|| panic!("an event is lost where many are cleaned"));
        assert_eq!(
            found.meta.added, *place,
            "an event gets another position as others are cleaned"
        );
        assert_eq!(
            by_id(store, &at(n + 1)).await,
            None,
            "an event that is gone is found by its id"
        );
    }
    // Late ones, and edits.
    add_new(store, vec![entry("late", 1, 100), entry("late", 2, 1_000)]).await;
    expected.extend(["late1", "late2"].map(str::to_owned));
    for (place, _) in &kept {
        let stored = edit(store, *place, Edit::AddReasons(texts(&["left"]))).await;
        assert_eq!(stored.changed, [(*place, Edited)], "an event that is left is not changed");
    }
    let mut all = read(store, 0, usize::MAX).await;
    let left = |all: &[Arc<Entry<Value>>]| -> Vec<String> {
        let left = names(all).into_iter();
        left.filter(|name| name.starts_with("many")).collect()
    };
    let added = left(&all);
    all.sort_by_key(|entry| entry.meta.created());
    assert_found(store, None, &expected, &names(&all)).await;
    assert_found(store, Some(reason("left")), &added, &left(&all)).await;
}

/// Contract 18: where the event is new, was there before, is older than others, has equal times, is gone or never
/// was there, and is refused.
pub async fn keeps_the_last_with_a_reason(store: &impl Store<Value>) {
    let last = |n, time| kept_for(&["last"], entry("a", n, time));
    let remove = || Edit::RemoveReasons(texts(&["last"]));
    let before = |newest: &Entry<Value>, edit| Change {
        events: Which::Before { reason: "last".to_owned(), newest: newest.meta.id.clone() },
        edit,
    };
    let keep = async |event: Entry<Value>, if_known| -> Stored<Value> {
        let change = before(&event, remove());
        let append = Append::events(vec![event]).if_known(if_known).and_changes([change]);
        submit_changes(store, append).await
    };
    let found = async |expected: &[&str]| {
        let all = read(store, 0, usize::MAX).await;
        assert_eq!(names(&all), expected, "not just the events before the last one are gone");
    };
    keep(last(1, 10), IfKnown::LeaveOut).await;
    found(&["a1"]).await;
    add(store, vec![kept_for(&["last", "more"], entry("a", 2, 11)), entry("a", 3, 1)]).await;
    let stored = keep(last(4, 12), IfKnown::LeaveOut).await;
    assert_eq!(names(&stored.cleaned), ["a1"], "not just the events before the last one are gone");
    found(&["a2", "a3", "a4"]).await;
    assert_found(store, Some(reason("last")), &["a4"], &["a4"]).await;
    assert_found(store, Some(reason("more")), &["a2"], &["a2"]).await;
    // One that comes late is gone at the next occasion, and later ones stay.
    let stored = keep(last(5, 9), IfKnown::LeaveOut).await;
    assert_eq!(stored.changed, [], "an event that came late changes later ones, or itself");
    keep(last(6, 20), IfKnown::AddNone).await;
    found(&["a2", "a3", "a6"]).await;
    // Of equal times the order of creation goes by node, counter and the time in the id.
    let equal = |entry| kept_for(&["last"], entry);
    let earlier = [equal(entry("a", 99, 30)), equal(counted("b", 9, 1, 30))];
    let later = [equal(counted("b", 2, 3, 30)), equal(entry("c", 1, 30))];
    add(store, [&earlier[..], &later[..]].concat()).await;
    let newest = equal(counted("b", 3, 2, 30));
    keep(newest.clone(), IfKnown::LeaveOut).await;
    found(&["a2", "a3", "b2.3", "c1", "b3.2"]).await;
    // One that was there before, with or without the reason.
    add(store, vec![last(7, 5)]).await;
    keep(newest, IfKnown::LeaveOut).await;
    found(&["a2", "a3", "b2.3", "c1", "b3.2"]).await;
    add(store, vec![last(8, 0), last(9, 1)]).await;
    submit_changes(store, Append::changes(vec![before(&entry("a", 3, 1), remove())])).await;
    found(&["a2", "a3", "b2.3", "c1", "b3.2", "a9"]).await;
    // One that comes again with another time: when it was created, the log knows.
    for time in [30, 90] {
        let again = last(9, time);
        assert_eq!(
            keep(again, IfKnown::LeaveOut).await.changed,
            [],
            "an event that comes again with another time changes those before that time, or itself"
        );
    }
    found(&["a2", "a3", "b2.3", "c1", "b3.2", "a9"]).await;
    assert_found(
        store,
        Some(reason("last")),
        &["b2.3", "c1", "b3.2", "a9"],
        &["a9", "b3.2", "b2.3", "c1"],
    )
    .await;
    // One that is not there: that never was, that is gone, and that is refused.
    let absent = async |newest: Entry<Value>, append: Append<Value>, what: &str| {
        let stored = submit_changes(store, append.and_changes([before(&newest, remove())])).await;
        assert_eq!(stored.changed, [], "events are gone before an event that {what}");
    };
    absent(last(50, 50), Append::events(Vec::new()), "never was there").await;
    absent(last(4, 12), Append::events(Vec::new()), "is gone").await;
    absent(last(4, 12), Append::events(vec![last(4, 12)]), "is gone, and was to be added").await;
    let refused = vec![last(51, 51), entry("a", 3, 1)];
    let refused = Append::events(refused).if_known(IfKnown::AddNone);
    absent(last(51, 51), refused, "is refused").await;
    found(&["a2", "a3", "b2.3", "c1", "b3.2", "a9"]).await;
    // Several in one append, and other edits.
    let two = [last(60, 60), last(61, 61)];
    let append = Append::events(two.to_vec());
    let changes = two.iter().map(|event| before(event, remove()));
    let stored = submit_changes(store, append.and_changes(changes)).await;
    assert_eq!(stored.cleaned.len(), 5, "of two new events, not the later one alone is kept");
    found(&["a2", "a3", "a61"]).await;
    add(store, vec![kept_for(&["last", "more"], entry("a", 62, 2)), last(63, 63)]).await;
    let newest = last(63, 63).meta.id;
    let events = Which::Before { reason: "last".to_owned(), newest };
    change(store, events.clone(), Edit::SetExtra("n".to_owned(), Some(Value::from(1)))).await;
    let marked = read(store, 0, usize::MAX).await;
    let marked: Vec<_> = marked.iter().map(|entry| entry.meta.extra.contains_key("n")).collect();
    assert_eq!(marked, [false, false, true, true, false], "other events change than those before");
    change(store, events, Edit::Clean).await;
    found(&["a2", "a3", "a63"]).await;
    let of_nobody = Which::Before { reason: "nobody".to_owned(), newest: last(63, 63).meta.id };
    let stored = change(store, of_nobody, Edit::Clean).await;
    assert_eq!(stored.changed, [], "events without a reason are taken for such that have it");
}
