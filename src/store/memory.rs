use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::iter;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use logux_codecs::{Added, Counter, EventId, NodeId, Timestamp};

use super::append::{Answer, Append, IfKnown, Stored};
use super::contract::{Store, StoreError};
use super::end::End;
use super::query::{Page, Query};
use super::record::{Key, Prefix, RecordChange};
use crate::cursors::Epoch;
use crate::entry::{Created, Entry};

/// Keeps a log in memory, for as long as the process runs.
///
/// Adding an event takes constant time where ids come in their order, reading after a position takes time for what is read.
/// So does reading in the order of creation; an event that comes late takes a search among those that did.
pub struct MemoryStore<E> {
    state: Mutex<State<E>>,
    end: Arc<End>,
}

struct State<E> {
    /// The event of position `n` is at `n - 1`.
    added: Vec<Arc<Entry<E>>>,
    /// Indexes into `added`, in the order of creation: the events that came in it, nearly all.
    created: Vec<usize>,
    /// Those that came later than one that was created later.
    late: BTreeMap<Created, usize>,
    ids: Ids,
    records: BTreeMap<Key, Text>,
}

/// The text of a record.
enum Text {
    Number(u64),
    Any(String),
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Any(text) => f.write_str(text),
        }
    }
}

impl<E> MemoryStore<E> {
    /// An empty store.
    pub fn new() -> Self {
        let (added, created, late) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (ids, records) = (Ids::default(), BTreeMap::new());
        let state = State { added, created, late, ids, records };
        Self { state: Mutex::new(state), end: Arc::default() }
    }

    /// An empty store whose log has this identity, for tests that are to run the same way twice.
    pub fn with_epoch(epoch: Epoch) -> Self {
        let store = Self::new();
        store.state().change(RecordChange::Put(Key::epoch(), epoch.to_string()));
        store
    }

    /// No method of `State` panics half-way, so a poisoned lock still guards a whole state.
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> State<E> {
    /// Answers what became of the events, and where the log ends if it has grown.
    fn append(&mut self, append: Append<E>) -> (Stored<E>, Option<Added>) {
        let Append { entries, if_known, records, .. } = append;
        // One alone is added or not.
        if if_known == IfKnown::AddNone && entries.len() > 1 && !self.ids.lacks(&entries) {
            let none = entries.iter().map(|_| None).collect();
            return (Stored { entries: none, known: entries }, None);
        }
        let mut known = Vec::new();
        let before = self.added.len();
        let entries = entries.into_iter().map(|entry| self.add(entry, &mut known)).collect();
        if if_known == IfKnown::LeaveOut || known.is_empty() {
            for change in records {
                self.change(change);
            }
        }
        let end = self.added.len();
        let end = (end > before).then(|| Added::ZERO.plus(end as u64));
        (Stored { entries, known }, end)
    }

    fn change(&mut self, change: RecordChange) {
        match change {
            // What is changed most often.
            RecordChange::Raise(key, to) => match self.records.get_mut(&key) {
                Some(Text::Number(number)) => *number = to.max(*number),
                Some(Text::Any(text)) => {
                    let before = text.parse().unwrap_or_default();
                    self.records.insert(key, Text::Number(to.max(before)));
                }
                None => drop(self.records.insert(key, Text::Number(to))),
            },
            RecordChange::Put(key, text) => drop(self.records.insert(key, Text::Any(text))),
            RecordChange::PutNew(key, text) => {
                self.records.entry(key).or_insert(Text::Any(text));
            }
            RecordChange::Remove(key) => drop(self.records.remove(&key)),
        }
    }

    /// Adds an entry, unless its id is known: then it goes to those.
    fn add(&mut self, mut entry: Entry<E>, known: &mut Vec<Entry<E>>) -> Option<Arc<Entry<E>>> {
        let index = self.added.len();
        if !self.ids.insert(&mut entry.meta.id, index) {
            known.push(entry);
            return None;
        }
        entry.meta.added = Added::ZERO.plus(index as u64 + 1);
        let newest = self.created.last().and_then(|&newest| self.added.get(newest));
        if newest.is_none_or(|newest| newest.meta.cmp_created(&entry.meta).is_lt()) {
            self.created.push(index);
        } else {
            self.late.insert(entry.meta.created(), index);
        }
        let entry = Arc::new(entry);
        self.added.push(Arc::clone(&entry));
        Some(entry)
    }

    /// The events that were created after this one, oldest first.
    fn created_after(&self, after: Option<&Created>) -> impl Iterator<Item = &Arc<Entry<E>>> {
        let entry = |&index: &usize| &self.added[index];
        let start = after.map_or(0, |after| {
            self.created.partition_point(|index| entry(index).meta.created() <= *after)
        });
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut in_order = self.created[start..].iter().map(entry).peekable();
        let late = self.late.range::<Created, _>((from, Bound::Unbounded));
        let mut late = late.map(move |(_, index)| entry(index)).peekable();
        iter::from_fn(move || match (in_order.peek(), late.peek()) {
            (Some(one), Some(other)) if other.meta.cmp_created(&one.meta).is_lt() => late.next(),
            (None, _) => late.next(),
            _ => in_order.next(),
        })
    }
}

/// The ids of all events, by node and then by time: the name of a node is kept once, and found
/// without a search while its events come in a row.
#[derive(Default)]
struct Ids {
    numbers: HashMap<NodeId, usize>,
    nodes: Vec<Node>,
    /// The number of the node whose event came last.
    latest: usize,
}

struct Node {
    id: NodeId,
    /// The ids that came in their own order, nearly all, and the indexes of their events.
    in_order: Vec<(Place, usize)>,
    /// Those that came later than a later one.
    late: BTreeMap<Place, usize>,
}

/// What tells the ids of one node apart, in their order.
type Place = (Timestamp, Counter);

impl Ids {
    /// Notes an id, and lets it share the name of its node. `false` if it is known.
    fn insert(&mut self, id: &mut EventId, index: usize) -> bool {
        let key = (id.time(), id.counter());
        let node = self.node(id.node());
        if node.in_order.last().is_none_or(|(last, _)| *last < key) {
            node.in_order.push((key, index));
        } else if node.index_of(key).is_some() {
            return false;
        } else {
            node.late.insert(key, index);
        }
        *id = EventId::with_counter(key.0, node.id.clone(), key.1);
        true
    }

    fn node(&mut self, id: &NodeId) -> &mut Node {
        if self.nodes.get(self.latest).is_none_or(|latest| latest.id != *id) {
            self.latest = *self.numbers.entry(id.clone()).or_insert_with(|| {
                let (in_order, late) = (Vec::new(), BTreeMap::new());
                self.nodes.push(Node { id: id.clone(), in_order, late });
                self.nodes.len() - 1
            });
        }
        &mut self.nodes[self.latest]
    }

    /// Whether the ids of all these are new, and differ.
    fn lacks<E>(&self, entries: &[Entry<E>]) -> bool {
        let key = |id: &EventId| (id.time(), id.counter());
        // Nearly always they are of one node and in their order, and come after all that it has.
        let in_order = entries.windows(2).all(|pair| {
            let (one, next) = (&pair[0].meta.id, &pair[1].meta.id);
            one.node() == next.node() && key(one) < key(next)
        });
        if in_order && let Some(first) = entries.first().map(|entry| &entry.meta.id) {
            let node = self.numbers.get(first.node()).map(|&number| &self.nodes[number]);
            let last = node.and_then(|node| node.in_order.last());
            if last.is_none_or(|(last, _)| *last < key(first)) {
                return true;
            }
        }
        let mut seen = HashSet::new();
        entries
            .iter()
            .all(|Entry { meta, .. }| seen.insert(&meta.id) && self.index_of(&meta.id).is_none())
    }

    fn index_of(&self, id: &EventId) -> Option<usize> {
        let number = *self.numbers.get(id.node())?;
        self.nodes[number].index_of((id.time(), id.counter()))
    }

    fn last_time(&self, node: &NodeId) -> Option<Timestamp> {
        let (last, _) = self.nodes[*self.numbers.get(node)?].in_order.last()?;
        Some(last.0)
    }
}

impl Node {
    fn index_of(&self, key: Place) -> Option<usize> {
        match self.in_order.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => Some(self.in_order[place].1),
            Err(_) => self.late.get(&key).copied(),
        }
    }
}

#[async_trait]
impl<E: Send + Sync + 'static> Store<E> for MemoryStore<E> {
    fn submit(&self, append: Append<E>) -> Answer<E> {
        let (stored, end) = self.state().append(append);
        // Those that wait are woken when they can read.
        if let Some(end) = end {
            self.end.advance(end);
        }
        Answer::ready(Ok(stored))
    }

    fn reads_from_memory(&self) -> bool {
        true
    }

    fn end(&self) -> Arc<End> {
        Arc::clone(&self.end)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let size = |entry: &Arc<Entry<E>>| entry.size();
        match query {
            Query::Added(after) => {
                let state = self.state();
                let start = usize::try_from(after.value()).unwrap_or(usize::MAX);
                let entries = state.added.get(start..).unwrap_or_default();
                Ok(page.take(entries.iter().cloned(), size))
            }
            Query::Created(after) => {
                let state = self.state();
                Ok(page.take(state.created_after(after.as_ref()).cloned(), size))
            }
        }
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        let state = self.state();
        let by_id = |id| state.ids.index_of(id).map(|index| Arc::clone(&state.added[index]));
        Ok(ids.iter().map(by_id).collect())
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().ids.last_time(node))
    }

    async fn records(&self, prefix: &Prefix) -> Result<Vec<(Key, String)>, StoreError> {
        let state = self.state();
        let from = state.records.range(Key::new(prefix.as_str())..);
        let found = from.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        Ok(found.map(|(key, text)| (key.clone(), text.to_string())).collect())
    }
}

impl<E> Default for MemoryStore<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for MemoryStore<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("events", &self.state().added.len()).finish()
    }
}
