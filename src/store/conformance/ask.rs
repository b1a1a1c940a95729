//! What the checks ask of a store, and the events that they add.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::future::join;
use logux_codecs::{Added, Counter, EventId, NodeId, Timestamp, Value};
use logux_transports::rt::yield_now;

use crate::entry::{Draft, Entry, Meta};
use crate::store::append::{Append, Stored};
use crate::store::change::{Change, Edit, Effect, Which};
use crate::store::contract::Store;
use crate::store::query::{Label, Order, Page, Query};
use crate::store::record::{Key, Prefix, RecordChange};

/// An event of a node, by the time in its id and its own time. It has a reason, an index and an extra key.
pub(super) fn entry(node: &str, id_time: u64, event_time: u64) -> Entry<Value> {
    entry_of_id(EventId::new(time(id_time), self::node(node)), event_time)
}

/// The same, with a counter in the id.
pub(super) fn counted(node: &str, id_time: u64, counter: u64, event_time: u64) -> Entry<Value> {
    let counter = Counter::new(counter).expect("a small number");
    entry_of_id(EventId::with_counter(time(id_time), self::node(node), counter), event_time)
}

fn entry_of_id(id: EventId, event_time: u64) -> Entry<Value> {
    let event = serde_json::json!({ "type": "kit", "n": id.time().value() });
    Draft::new(event)
        .time(time(event_time))
        .reason("kit")
        .index("index")
        .extra("key", "value")
        .into_entry(id, Timestamp::ZERO)
}

/// The same event, kept for these reasons instead.
pub(super) fn kept_for(reasons: &[&str], mut entry: Entry<Value>) -> Entry<Value> {
    entry.meta.reasons = texts(reasons).into();
    entry
}

/// The same event, with these indexes instead.
pub(super) fn found_by(indexes: &[&str], mut entry: Entry<Value>) -> Entry<Value> {
    entry.meta.indexes = texts(indexes).into();
    entry
}

pub(super) fn node(name: &str) -> NodeId {
    name.parse().expect("a node id")
}

pub(super) fn time(number: u64) -> Timestamp {
    Timestamp::new(number).expect("a safe number")
}

pub(super) fn position(number: u64) -> Added {
    Added::new(number).expect("a safe number")
}

pub(super) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub(super) fn reason(text: &str) -> Label {
    Label::Reason(text.to_owned())
}

pub(super) fn index(text: &str) -> Label {
    Label::Index(text.to_owned())
}

/// A short name of an event for the messages of checks: its node and the time in its id, as in `a3`; a counter
/// follows, as in `a3.1`.
pub(super) fn name(meta: &Meta) -> String {
    let (node, time, counter) = (meta.id.node(), meta.id.time(), meta.id.counter());
    if counter == Counter::ZERO {
        format!("{node}{time}")
    } else {
        format!("{node}{time}.{counter}")
    }
}

pub(super) fn names(entries: &[Arc<Entry<Value>>]) -> Vec<String> {
    entries.iter().map(|entry| name(&entry.meta)).collect()
}

/// The position that each event got.
pub(super) fn positions(entries: &[Option<Arc<Entry<Value>>>]) -> Vec<Added> {
    let added = entries.iter().map(|entry| entry.as_ref().map(|entry| entry.meta.added));
    added.collect::<Option<_>>().expect("an event with a new id is added")
}

pub(super) async fn submit(store: &impl Store<Value>, append: Append<Value>) -> Stored<Value> {
    let count = append.entries.len();
    let stored = store.submit(append).await.expect("an append works");
    assert_eq!(stored.entries.len(), count, "not one answer for each event");
    let added = stored.entries.iter().flatten().count();
    assert_eq!(stored.known.len(), count - added, "an event is neither added nor given back");
    stored
}

/// Adds events, each if its id is new.
pub(super) async fn add(
    store: &impl Store<Value>,
    entries: Vec<Entry<Value>>,
) -> Vec<Option<Arc<Entry<Value>>>> {
    submit(store, Append::events(entries)).await.entries
}

/// Adds events whose ids are new, and answers their positions.
pub(super) async fn add_new(store: &impl Store<Value>, entries: Vec<Entry<Value>>) -> Vec<Added> {
    let end = store.end().get();
    let positions = positions(&add(store, entries).await);
    let is_above = positions.iter().all(|position| *position > end);
    assert!(is_above, "a position that was used before is used again");
    positions
}

/// Makes an append of changes, and checks that the answer and the [`End`](crate::End) say the same of them, and
/// that the end has not fallen.
pub(super) async fn submit_changes(
    store: &impl Store<Value>,
    append: Append<Value>,
) -> Stored<Value> {
    let end = store.end();
    let (before, last) = (end.changes(), end.get());
    let stored = submit(store, append.showing_cleaned(true)).await;
    let (told, _) = end.changes_since(before);
    assert_eq!(
        effects(&told.unwrap_or_default()),
        effects(&stored.changed),
        "the end and the answer do not tell of the same changes"
    );
    assert!(end.get() >= last, "the end falls where events are changed");
    let cleaned = effects(&stored.changed).into_iter();
    let cleaned = cleaned.filter(|(_, effect)| *effect == Effect::Cleaned);
    let cleaned: Vec<u64> = cleaned.map(|(position, _)| position).collect();
    let mut given: Vec<_> = stored.cleaned.iter().map(|entry| entry.meta.added.value()).collect();
    given.sort_unstable();
    assert_eq!(given, cleaned, "the answer does not have the events that are cleaned, each once");
    stored
}

/// Edits events.
pub(super) async fn change(store: &impl Store<Value>, events: Which, edit: Edit) -> Stored<Value> {
    submit_changes(store, Append::changes(vec![Change { events, edit }])).await
}

/// Edits the event at a position.
pub(super) async fn edit(store: &impl Store<Value>, at: Added, edit: Edit) -> Stored<Value> {
    change(store, Which::At(vec![at]), edit).await
}

/// Cleans the event at a position.
pub(super) async fn clean(store: &impl Store<Value>, at: Added) {
    let stored = edit(store, at, Edit::Clean).await;
    let expected = BTreeMap::from([(at.value(), Effect::Cleaned)]);
    assert_eq!(effects(&stored.changed), expected, "an event is not cleaned");
}

/// What became of each event in the end, by its position.
pub(super) fn effects(changed: &[(Added, Effect)]) -> BTreeMap<u64, Effect> {
    changed.iter().map(|(added, effect)| (added.value(), *effect)).collect()
}

pub(super) async fn query(
    store: &impl Store<Value>,
    query: Query,
    limit: usize,
) -> Vec<Arc<Entry<Value>>> {
    store.read(query, limit.into()).await.expect("reading works")
}

/// The events above a position.
pub(super) async fn read(
    store: &impl Store<Value>,
    after: u64,
    limit: usize,
) -> Vec<Arc<Entry<Value>>> {
    query(store, Query::added(position(after)), limit).await
}

/// Reads page after page until there is nothing more.
async fn read_pages(
    store: &impl Store<Value>,
    mut query: Query,
    page: Page,
) -> Vec<Arc<Entry<Value>>> {
    let (mut all, mut ids) = (Vec::new(), HashSet::new());
    loop {
        let entries = store.read(query.clone(), page).await.expect("reading works");
        let Some(last) = entries.last().map(|entry| &entry.meta) else { return all };
        query.order = match query.order {
            Order::Added(_) => Order::Added(Some(last.added)),
            Order::Created(_) => Order::Created(Some(last.created())),
        };
        for entry in entries {
            let is_first = ids.insert(entry.meta.id.clone());
            let name = name(&entry.meta);
            assert!(is_first, "{name} is read twice, page by page: {query:?}");
            all.push(entry);
        }
    }
}

/// Checks that these events are found, all or those with a label, in both orders, both directions, and pages of
/// several sizes. The names are in the order of adding and in that of creation, oldest first.
pub(super) async fn assert_found(
    store: &impl Store<Value>,
    label: Option<Label>,
    added: &[impl AsRef<str>],
    created: &[impl AsRef<str>],
) {
    let orders = [
        ("adding", Order::Added(None), added.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        ("creation", Order::Created(None), created.iter().map(AsRef::as_ref).collect()),
    ];
    for (of, order, oldest_first) in orders {
        for newest_first in [false, true] {
            for page in [1, 2, usize::MAX] {
                let query = Query { order: order.clone(), label: label.clone(), newest_first };
                let found = names(&read_pages(store, query, page.into()).await);
                let mut expected = oldest_first.clone();
                if newest_first {
                    expected.reverse();
                }
                let first = if newest_first { "newest" } else { "oldest" };
                let what = label.as_ref().map_or("all".to_owned(), |label| format!("{label:?}"));
                assert_eq!(
                    found, expected,
                    "wrong events of {what} in the order of {of}, the {first} first, in pages of {page}"
                );
            }
        }
    }
}

pub(super) async fn by_id(store: &impl Store<Value>, id: &EventId) -> Option<Arc<Entry<Value>>> {
    let found = store.by_ids(std::slice::from_ref(id)).await.expect("reading works");
    assert_eq!(found.len(), 1, "not one answer for each id");
    found.into_iter().next().flatten()
}

pub(super) async fn count(store: &impl Store<Value>) -> u64 {
    store.count().await.expect("counting works")
}

/// The largest time in the ids of a node's events.
pub(super) async fn last_time(store: &impl Store<Value>, name: &str) -> Option<u64> {
    store.last_time(&node(name)).await.expect("reading works").map(Timestamp::value)
}

pub(super) fn last_added(store: &impl Store<Value>) -> u64 {
    store.end().get().value()
}

/// A record becomes this number, if it is not larger.
pub(super) fn raise(key: &str, to: u64) -> RecordChange {
    RecordChange::Raise(Key::new(key), to)
}

/// A record becomes this text.
pub(super) fn put(key: &str, text: &str) -> RecordChange {
    RecordChange::Put(Key::new(key), text.to_owned())
}

/// All records whose keys begin so.
pub(super) async fn records(store: &impl Store<Value>, prefix: &str) -> Vec<(String, String)> {
    page_of_records(store, prefix, None, usize::MAX).await
}

pub(super) async fn page_of_records(
    store: &impl Store<Value>,
    prefix: &str,
    after: Option<&str>,
    at_most: usize,
) -> Vec<(String, String)> {
    let (prefix, after) = (Prefix::new(prefix), after.map(Key::new));
    let records = store.records(&prefix, after.as_ref(), at_most).await.expect("reading works");
    records.into_iter().map(|(key, text)| (key.to_string(), text)).collect()
}

pub(super) async fn record(store: &impl Store<Value>, key: &str) -> Option<String> {
    let records = records(store, key).await;
    records.into_iter().find(|(name, _)| name == key).map(|(_, text)| text)
}

/// Adds 100 events while something else goes on.
pub(super) async fn while_events_are_added(store: &impl Store<Value>, work: impl Future) {
    let adding = async {
        for batch in 0..20 {
            add(store, (0..5).map(|n| entry("turns", batch * 5 + n, 1)).collect()).await;
            // Those that wait for a turn get one in between.
            yield_now().await;
        }
    };
    join(adding, work).await;
}
