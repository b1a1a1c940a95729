use std::collections::{BTreeMap, HashMap, HashSet, hash_map};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use logux_codecs::{Added, Counter, EventId, NodeId, Timestamp};

use super::contract::{IfKnown, Store, StoreError, Stored};
use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Created, Entry};

/// Keeps a log in memory, for as long as the process runs.
///
/// Adding an event takes constant time where ids come in their order, reading after a position takes time for what is read.
/// The order of creation is made when it is asked for: at once where events arrived in it.
pub struct MemoryStore<E> {
    state: Mutex<State<E>>,
}

struct State<E> {
    /// The event of position `n` is at `n - 1`.
    added: Vec<Arc<Entry<E>>>,
    /// Indexes into `added`, in the order of creation if `sorted`, else that of adding at the end.
    created: Vec<usize>,
    sorted: bool,
    ids: Ids,
    cursors: HashMap<NodeId, Cursors>,
    dialled: Option<NodeId>,
    epoch: Epoch,
    set_aside: ById<SetAside>,
    held_back: HashMap<NodeId, ById<Refused>>,
}

impl<E> MemoryStore<E> {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_epoch(Epoch::random())
    }

    /// An empty store with an identity of one's own, for tests that are to run the same way twice.
    pub fn with_epoch(epoch: Epoch) -> Self {
        Self {
            state: Mutex::new(State {
                added: Vec::new(),
                created: Vec::new(),
                sorted: true,
                ids: Ids::default(),
                cursors: HashMap::new(),
                dialled: None,
                epoch,
                set_aside: ById::default(),
                held_back: HashMap::new(),
            }),
        }
    }

    /// No method of `State` panics half-way, so a poisoned lock still guards a whole state.
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> State<E> {
    /// Adds an entry, unless its id is known: then it goes to those.
    fn add(&mut self, mut entry: Entry<E>, known: &mut Vec<Entry<E>>) -> Option<Arc<Entry<E>>> {
        let index = self.added.len();
        if !self.ids.insert(&mut entry.meta.id, index) {
            known.push(entry);
            return None;
        }
        entry.meta.added = Added::ZERO.plus(index as u64 + 1);
        let newest = self.created.last().and_then(|&newest| self.added.get(newest));
        self.sorted &= newest.is_none_or(|newest| newest.meta.cmp_created(&entry.meta).is_lt());
        self.created.push(index);
        let entry = Arc::new(entry);
        self.added.push(Arc::clone(&entry));
        Some(entry)
    }

    /// The order of creation. Sorting is fast where most of the order is there already.
    fn created(&mut self) -> &[usize] {
        if !self.sorted {
            let added = &self.added;
            self.created.sort_by(|&a, &b| added[a].meta.cmp_created(&added[b].meta));
            self.sorted = true;
        }
        &self.created
    }
}

/// Things that have an id, each once, in the order in which they came.
struct ById<T> {
    order: BTreeMap<u64, T>,
    places: HashMap<EventId, u64>,
    next: u64,
}

impl<T: Clone> ById<T> {
    fn insert(&mut self, id: EventId, thing: T) {
        if let hash_map::Entry::Vacant(place) = self.places.entry(id) {
            place.insert(self.next);
            self.order.insert(self.next, thing);
            self.next += 1;
        }
    }

    /// In the place of what is there under the id.
    fn replace(&mut self, id: EventId, thing: T) {
        match self.places.get(&id).and_then(|place| self.order.get_mut(place)) {
            Some(there) => *there = thing,
            None => self.insert(id, thing),
        }
    }

    fn remove(&mut self, ids: &[EventId]) {
        for id in ids {
            if let Some(place) = self.places.remove(id) {
                self.order.remove(&place);
            }
        }
    }

    fn all(&self) -> Vec<T> {
        self.order.values().cloned().collect()
    }
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self { order: BTreeMap::new(), places: HashMap::new(), next: 0 }
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
    in_order: Vec<(Key, usize)>,
    /// Those that came later than a later one.
    late: BTreeMap<Key, usize>,
}

/// What tells the ids of one node apart, in their order.
type Key = (Timestamp, Counter);

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
    fn index_of(&self, key: Key) -> Option<usize> {
        match self.in_order.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => Some(self.in_order[place].1),
            Err(_) => self.late.get(&key).copied(),
        }
    }
}

#[async_trait]
impl<E: Send + Sync + 'static> Store<E> for MemoryStore<E> {
    async fn add(
        &self,
        entries: Vec<Entry<E>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<E>, StoreError> {
        let mut state = self.state();
        // One alone is added or not.
        if if_known == IfKnown::AddNone && entries.len() > 1 && !state.ids.lacks(&entries) {
            let none = entries.iter().map(|_| None).collect();
            return Ok(Stored { entries: none, known: entries });
        }
        let mut known = Vec::new();
        let added = entries.into_iter().map(|entry| state.add(entry, &mut known)).collect();
        let is_refused = if_known == IfKnown::AddNone && !known.is_empty();
        if let Some((peer, received)) = received.filter(|_| !is_refused) {
            let cursors = state.cursors.entry(peer.clone()).or_default();
            cursors.received = cursors.received.max(received);
        }
        Ok(Stored { entries: added, known })
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let state = self.state();
        let start = usize::try_from(added.value()).unwrap_or(usize::MAX).min(state.added.len());
        let end = start.saturating_add(limit).min(state.added.len());
        Ok(state.added[start..end].to_vec())
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let mut state = self.state();
        state.created();
        let State { added, created, .. } = &*state;
        let start = position.map_or(0, |position| {
            created.partition_point(|&index| added[index].meta.created() <= *position)
        });
        Ok(created[start..].iter().take(limit).map(|&index| Arc::clone(&added[index])).collect())
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<E>>>, StoreError> {
        let state = self.state();
        Ok(state.ids.index_of(id).map(|index| Arc::clone(&state.added[index])))
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        Ok(Added::ZERO.plus(self.state().added.len() as u64))
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().ids.last_time(node))
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        let state = self.state();
        Ok(state.cursors.get(peer).copied().unwrap_or_default())
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        let mut state = self.state();
        let cursors = state.cursors.entry(peer.clone()).or_default();
        cursors.sent = cursors.sent.max(sent);
        Ok(())
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        Ok(self.state().dialled.clone())
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        self.state().dialled = Some(peer.clone());
        Ok(())
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        self.state().cursors.insert(peer.clone(), cursors);
        Ok(())
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        self.state().cursors.entry(peer.clone()).or_default().epoch = Some(epoch);
        Ok(())
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        Ok(self.state().epoch)
    }

    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError> {
        let mut state = self.state();
        for event in events {
            state.set_aside.insert(event.meta.id.clone(), event);
        }
        Ok(())
    }

    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        Ok(self.state().set_aside.all())
    }

    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        self.state().set_aside.remove(ids);
        Ok(())
    }

    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError> {
        let mut state = self.state();
        let held_back = state.held_back.entry(peer.clone()).or_default();
        for event in events {
            held_back.replace(event.id.clone(), event);
        }
        Ok(())
    }

    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        Ok(self.state().held_back.get(peer).map_or_else(Vec::new, ById::all))
    }

    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        if let Some(held_back) = self.state().held_back.get_mut(peer) {
            held_back.remove(ids);
        }
        Ok(())
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
