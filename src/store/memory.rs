use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::iter;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use logux_codecs::{Added, Event, EventId, NodeId, Timestamp};

use super::append::{Answer, Append, IfKnown, Stored};
use super::change::{Change, Effect, Which};
use super::contract::{Store, StoreError};
use super::end::End;
use super::ids::{Ids, Standing};
use super::query::{IdState, Label, Order, Page, Query};
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
    /// In the order of adding.
    added: Vec<Arc<Entry<E>>>,
    /// The positions of those of them that are gone, until there are many.
    gone: HashSet<u64>,
    /// The position of the last event that was added.
    last: u64,
    /// Positions in the order of creation: of the events that came in it, nearly all.
    created: Vec<u64>,
    /// Those that came later than one that was created later.
    late: BTreeMap<Created, u64>,
    labels: HashMap<Label, Labelled>,
    ids: Ids,
    records: BTreeMap<Key, Text>,
}

/// The positions of the events with a label, in both orders.
#[derive(Default)]
struct Labelled {
    added: BTreeSet<u64>,
    created: BTreeMap<Created, u64>,
}

/// The text of a record.
enum Text {
    Number(u64),
    Any(String),
}

/// As few events as this are not worth a search for those that are gone.
const FEW: usize = 64;

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
        let state = State {
            added: Vec::new(),
            gone: HashSet::new(),
            last: 0,
            created: Vec::new(),
            late: BTreeMap::new(),
            labels: HashMap::new(),
            ids: Ids::default(),
            records: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), end: Arc::default() }
    }

    /// An empty store whose log has this identity, for tests that are to run the same way twice.
    pub fn with_epoch(epoch: Epoch) -> Self {
        let store = Self::new();
        store.state().change_record(RecordChange::Put(Key::epoch(), epoch.to_string()));
        store
    }

    /// No method of `State` panics half-way, so a poisoned lock still guards a whole state.
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event> State<E> {
    fn append(&mut self, append: Append<E>) -> Result<Stored<E>, StoreError> {
        let Append { entries, if_known, changes, records, forget, shows_cleaned, .. } = append;
        // One alone is added or not.
        if if_known == IfKnown::AddNone && entries.len() > 1 && !self.ids.lacks(&entries) {
            let mut stored = Stored {
                entries: entries.iter().map(|_| None).collect(),
                known: entries,
                ..Stored::default()
            };
            for Entry { meta, .. } in &stored.known {
                match self.ids.standing(&meta.id) {
                    Standing::New | Standing::Known(_) => {}
                    Standing::Gone => stored.gone.push(meta.id.clone()),
                    Standing::TooOld => stored.too_old.push(meta.id.clone()),
                }
            }
            return Ok(stored);
        }
        let mut copies = self.copies(&changes, &entries)?;
        let mut stored = Stored::default();
        stored.entries = entries.into_iter().map(|entry| self.add(entry, &mut stored)).collect();
        if if_known == IfKnown::LeaveOut || stored.known.is_empty() {
            for change in changes {
                self.change(change, shows_cleaned, &mut copies, &mut stored);
            }
            for change in records {
                self.change_record(change);
            }
            if let Some(forget) = forget {
                self.ids.forget(forget);
            }
            if self.gone.len() > FEW && self.gone.len() > self.added.len() / 2 {
                self.added.retain(|entry| !self.gone.contains(&entry.meta.added.value()));
                self.created.retain(|position| !self.gone.contains(position));
                self.gone = HashSet::new();
            }
        }
        Ok(stored)
    }

    /// Copies of the events that may be edited while somebody else has them: whoever has read one keeps it as it was.
    /// Made before anything changes, as this may fail.
    fn copies(
        &self,
        changes: &[Change],
        entries: &[Entry<E>],
    ) -> Result<BTreeMap<u64, Entry<E>>, StoreError> {
        // Events that are added with the changes are copied then, which must not fail.
        for entry in entries.iter().filter(|_| !changes.is_empty()) {
            let of_it = changes.iter().filter(|change| match &change.events {
                Which::At(_) => false,
                Which::Ids(ids) => ids.contains(&entry.meta.id),
                Which::Before { reason, .. } => entry.meta.reasons.contains(reason),
            });
            let edits = |change: &Change| change.edit.apply(&mut entry.meta.clone());
            if of_it.map(edits).any(|effect| effect == Effect::Edited) {
                entry.with_meta(entry.meta.clone()).map_err(StoreError::new)?;
            }
        }
        let mut copies = BTreeMap::new();
        for Change { events, edit } in changes {
            // The event before which they were created may be added with them.
            let positions = match events {
                Which::At(_) | Which::Ids(_) => self.positions(events),
                Which::Before { reason, .. } => self.all_with(reason),
            };
            for position in positions {
                let Some(entry) = self.entry(position) else { continue };
                let is_shared = Arc::strong_count(entry) > 1 && !copies.contains_key(&position);
                if is_shared && edit.apply(&mut entry.meta.clone()) == Effect::Edited {
                    let copy = entry.with_meta(entry.meta.clone()).map_err(StoreError::new)?;
                    copies.insert(position, copy);
                }
            }
        }
        Ok(copies)
    }

    fn change(
        &mut self,
        change: Change,
        shows_cleaned: bool,
        copies: &mut BTreeMap<u64, Entry<E>>,
        stored: &mut Stored<E>,
    ) {
        let Change { events, edit } = change;
        for position in self.positions(&events) {
            let Some(index) = self.index_of(position) else { continue };
            let mut meta = self.added[index].meta.clone();
            let effect = edit.apply(&mut meta);
            match effect {
                Effect::Nothing => continue,
                Effect::Edited => {
                    self.unlabel(index);
                    let entry = &mut self.added[index];
                    if let Some(copy) = copies.remove(&position) {
                        *entry = Arc::new(copy);
                    }
                    if let Some(entry) = Arc::get_mut(entry) {
                        entry.meta = meta;
                    } else if let Ok(copy) = entry.with_meta(meta) {
                        // It is added by the same append, whose answer has it as it was added.
                        *entry = Arc::new(copy);
                    }
                    self.label(index);
                }
                Effect::Cleaned => {
                    self.unlabel(index);
                    let entry = &self.added[index];
                    self.ids.clean(&entry.meta.id);
                    self.late.remove(&entry.meta.created());
                    self.gone.insert(position);
                    if shows_cleaned {
                        stored.cleaned.push(Arc::clone(entry));
                    }
                }
            }
            stored.changed.push((Added::ZERO.plus(position), effect));
        }
    }

    /// Where the events are that are to be changed.
    fn positions(&self, events: &Which) -> Vec<u64> {
        match events {
            Which::At(positions) => positions.iter().map(|position| position.value()).collect(),
            Which::Ids(ids) => ids.iter().filter_map(|id| self.position_of(id)).collect(),
            Which::Before { reason, newest } => self.before(reason.clone(), newest),
        }
    }

    fn position_of(&self, id: &EventId) -> Option<u64> {
        match self.ids.standing(id) {
            Standing::Known(position) => Some(position),
            Standing::New | Standing::Gone | Standing::TooOld => None,
        }
    }

    fn all_with(&self, reason: &str) -> Vec<u64> {
        let labelled = self.labels.get(&Label::Reason(reason.to_owned()));
        labelled.into_iter().flat_map(|labelled| labelled.added.iter().copied()).collect()
    }

    /// The positions of the events with this reason that were created before one which is there.
    fn before(&self, reason: String, newest: &EventId) -> Vec<u64> {
        let newest = self.position_of(newest).and_then(|position| self.entry(position));
        let Some(newest) = newest.map(|entry| entry.meta.created()) else { return Vec::new() };
        let labelled = self.labels.get(&Label::Reason(reason));
        let before = labelled.map(|labelled| labelled.created.range::<Created, _>(..newest));
        before.into_iter().flatten().map(|(_, position)| *position).collect()
    }

    fn label(&mut self, index: usize) {
        let meta = &self.added[index].meta;
        let position = meta.added.value();
        for label in Label::all_of(meta) {
            let labelled = self.labels.entry(label).or_default();
            labelled.added.insert(position);
            labelled.created.insert(meta.created(), position);
        }
    }

    fn unlabel(&mut self, index: usize) {
        let meta = &self.added[index].meta;
        for label in Label::all_of(meta) {
            if let Some(labelled) = self.labels.get_mut(&label) {
                labelled.added.remove(&meta.added.value());
                labelled.created.remove(&meta.created());
                if labelled.added.is_empty() {
                    self.labels.remove(&label);
                }
            }
        }
    }

    /// Adds an entry, unless its id is known: then it goes to those.
    fn add(&mut self, mut entry: Entry<E>, stored: &mut Stored<E>) -> Option<Arc<Entry<E>>> {
        let position = self.last + 1;
        match self.ids.insert(&mut entry.meta.id, position) {
            Standing::New => {}
            standing => {
                match standing {
                    Standing::Gone => stored.gone.push(entry.meta.id.clone()),
                    Standing::TooOld => stored.too_old.push(entry.meta.id.clone()),
                    Standing::Known(_) | Standing::New => {}
                }
                stored.known.push(entry);
                return None;
            }
        }
        self.last = position;
        entry.meta.added = Added::ZERO.plus(position);
        // One from the far future that is gone would make all that follow late.
        while self.created.last().is_some_and(|newest| self.gone.contains(newest)) {
            self.created.pop();
        }
        let newest = self.created.last().and_then(|&newest| self.slot_of(newest));
        let newest = newest.map(|index| &self.added[index].meta);
        if newest.is_none_or(|newest| newest.cmp_created(&entry.meta).is_lt()) {
            self.created.push(position);
        } else {
            self.late.insert(entry.meta.created(), position);
        }
        let entry = Arc::new(entry);
        self.added.push(Arc::clone(&entry));
        if !entry.meta.reasons.is_empty() || !entry.meta.indexes.is_empty() {
            self.label(self.added.len() - 1);
        }
        Some(entry)
    }
}

impl<E> State<E> {
    fn change_record(&mut self, change: RecordChange) {
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

    /// How many entries have positions up to this one, those that are gone among them.
    fn count_up_to(&self, position: u64) -> usize {
        let Some(first) = self.added.first() else { return 0 };
        let ahead = (position + 1).saturating_sub(first.meta.added.value());
        // As many as that, unless positions between are missing.
        let most = usize::try_from(ahead).unwrap_or(usize::MAX).min(self.added.len());
        match most.checked_sub(1).map(|last| self.added[last].meta.added.value()) {
            Some(last) if last > position => {
                self.added[..most].partition_point(|entry| entry.meta.added.value() <= position)
            }
            _ => most,
        }
    }

    /// Where in `added` a position is, also that of an event which is gone.
    fn slot_of(&self, position: u64) -> Option<usize> {
        let index = self.count_up_to(position).checked_sub(1)?;
        (self.added[index].meta.added.value() == position).then_some(index)
    }

    fn index_of(&self, position: u64) -> Option<usize> {
        self.slot_of(position).filter(|_| !self.gone.contains(&position))
    }

    fn entry(&self, position: u64) -> Option<&Arc<Entry<E>>> {
        self.index_of(position).map(|index| &self.added[index])
    }

    fn is_there(&self, entry: &Arc<Entry<E>>) -> bool {
        self.gone.is_empty() || !self.gone.contains(&entry.meta.added.value())
    }

    /// The events after a position, or before it.
    fn in_order_of_adding<'a>(
        &'a self,
        after: Option<Added>,
        newest_first: bool,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry<E>>> + 'a> {
        let after = after.map(Added::value);
        let is_there = |entry: &&Arc<Entry<E>>| self.is_there(entry);
        if newest_first {
            let end = after.map_or(self.added.len(), |before| {
                before.checked_sub(1).map_or(0, |last| self.count_up_to(last))
            });
            Box::new(self.added[..end].iter().rev().filter(is_there))
        } else {
            let start = after.map_or(0, |after| self.count_up_to(after));
            Box::new(self.added[start..].iter().filter(is_there))
        }
    }

    /// The events that were created after this one, or before it.
    fn in_order_of_creation<'a>(
        &'a self,
        after: Option<&'a Created>,
        newest_first: bool,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry<E>>> + 'a> {
        let slot = |&position: &u64| self.slot_of(position).map(|index| &self.added[index]);
        // Those that are gone have their places until they are taken out.
        let place = |is_before: &dyn Fn(&Created) -> bool| {
            self.created.partition_point(|position| {
                slot(position).is_some_and(|entry| is_before(&entry.meta.created()))
            })
        };
        let is_there = |entry: &&Arc<Entry<E>>| self.is_there(entry);
        let entry = |(_, position): (&Created, &u64)| self.entry(*position);
        let (all, none) = (Bound::Unbounded, Bound::Unbounded);
        if newest_first {
            let end = after.map_or(self.created.len(), |after| place(&|one| one < after));
            let one = self.created[..end].iter().rev().filter_map(slot).filter(is_there);
            let late = (all, after.map_or(none, Bound::Excluded));
            let late = self.late.range::<Created, _>(late).rev().filter_map(entry);
            Box::new(merge(one, late, |one, other| other.meta.cmp_created(&one.meta).is_gt()))
        } else {
            let start = after.map_or(0, |after| place(&|one| one <= after));
            let one = self.created[start..].iter().filter_map(slot).filter(is_there);
            let late = (after.map_or(none, Bound::Excluded), all);
            let late = self.late.range::<Created, _>(late).filter_map(entry);
            Box::new(merge(one, late, |one, other| other.meta.cmp_created(&one.meta).is_lt()))
        }
    }

    /// The events with a label.
    fn labelled<'a>(
        &'a self,
        label: &Label,
        order: &'a Order,
        newest_first: bool,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry<E>>> + 'a> {
        let Some(labelled) = self.labels.get(label) else { return Box::new(iter::empty()) };
        let entry = |position: &u64| self.entry(*position);
        match order {
            Order::Added(after) => {
                let positions = labelled.added.range(bounds(after.map(Added::value), newest_first));
                if newest_first {
                    Box::new(positions.rev().filter_map(entry))
                } else {
                    Box::new(positions.filter_map(entry))
                }
            }
            Order::Created(after) => {
                let bounds = bounds(after.as_ref(), newest_first);
                let positions = labelled.created.range::<Created, _>(bounds);
                let positions = positions.map(|(_, position)| position);
                if newest_first {
                    Box::new(positions.rev().filter_map(entry))
                } else {
                    Box::new(positions.filter_map(entry))
                }
            }
        }
    }
}

/// All after a place in the direction of reading.
fn bounds<T>(after: Option<T>, newest_first: bool) -> (Bound<T>, Bound<T>) {
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    if newest_first { (Bound::Unbounded, after) } else { (after, Bound::Unbounded) }
}

/// One order of two; `is_first` tells whether the next one of the other comes before that of the one.
fn merge<'a, T: 'a>(
    one: impl Iterator<Item = &'a T>,
    other: impl Iterator<Item = &'a T>,
    is_first: impl Fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'a T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if is_first(a, b) => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    })
}

#[async_trait]
impl<E: Event> Store<E> for MemoryStore<E> {
    fn submit(&self, append: Append<E>) -> Answer<E> {
        let mut state = self.state();
        let stored = state.append(append);
        let end = Added::ZERO.plus(state.last);
        drop(state);
        if let Ok(stored) = &stored {
            self.end.changed(&stored.changed);
        }
        // Those that wait are woken when they can read.
        if end > self.end.get() {
            self.end.advance(end);
        }
        Answer::ready(stored)
    }

    fn reads_from_memory(&self) -> bool {
        true
    }

    fn end(&self) -> Arc<End> {
        Arc::clone(&self.end)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let Query { order, label, newest_first } = &query;
        let state = self.state();
        let entries = match (label, order) {
            (Some(label), order) => state.labelled(label, order, *newest_first),
            (None, Order::Added(after)) if !newest_first && state.gone.is_empty() => {
                // What sessions and followers read, again and again.
                let start = after.map_or(0, |after| state.count_up_to(after.value()));
                let entries = state.added[start..].iter().cloned();
                return Ok(page.take(entries, |entry| entry.size()));
            }
            (None, Order::Added(after)) => state.in_order_of_adding(*after, *newest_first),
            (None, Order::Created(after)) => {
                state.in_order_of_creation(after.as_ref(), *newest_first)
            }
        };
        Ok(page.take(entries.cloned(), |entry| entry.size()))
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        let state = self.state();
        let by_id = |id| state.entry(state.position_of(id)?).cloned();
        Ok(ids.iter().map(by_id).collect())
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        let state = self.state();
        Ok(ids.iter().map(|id| state.ids.standing(id).into()).collect())
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().ids.last_time(node))
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let state = self.state();
        Ok((state.added.len() - state.gone.len()) as u64)
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        let first = Key::new(prefix.as_str());
        let from = match after {
            Some(after) if *after >= first => Bound::Excluded(after),
            _ => Bound::Included(&first),
        };
        let state = self.state();
        let records = state.records.range::<Key, _>((from, Bound::Unbounded));
        let found = records.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let found = found.take(at_most);
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
        let state = self.state();
        let events = state.added.len() - state.gone.len();
        drop(state);
        f.debug_struct("MemoryStore").field("events", &events).finish()
    }
}
