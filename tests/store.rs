//! The memory store keeps the contract of stores, and the kit that says so notices faults.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use logux_sync::{
    Added, Answer, Append, Change, Created, Edit, Effect, End, Entry, EventId, Forget, IdState,
    IfKnown, Key, Label, MemoryStore, Meta, NodeId, Order, Page, Prefix, Query, RecordChange,
    Store, StoreError, Stored, Timestamp, Value, Which, conformance,
};

#[tokio::test]
async fn the_memory_store_keeps_the_contract_of_stores() {
    conformance::store(async || MemoryStore::new()).await;
}

macro_rules! faults {
    ($($fault:ident => $message:literal,)*) => {
        /// A way to break the contract.
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum Fault {
            None,
            $($fault,)*
        }

        /// Each, and a part of what the kit says of it.
        const FAULTS: &[(Fault, &str)] = &[$((Fault::$fault, $message),)*];
    };
}

faults! {
    CountsFromZero => "the first position is not 1",
    UsesAPositionTwice => "a position is not above the one before",
    ForgetsIds => "an id that repeats within an append is added twice",
    DropsWhatIsKnown => "an event is neither added nor given back",
    FindsOnlyTheFirstId => "of several ids, others are found than are there",
    AddsAPart => "a part of a batch is added",
    ForgetsRecords => "a record of an append is lost",
    ReadsBackwards => "wrong events in the order of adding",
    HidesAllWhileAdding => "events are missing while others are added",
    SortsByAdding => "wrong events on page 1 in the order of creation",
    ForgetsThePage => "wrong events on page 2 in the order of creation",
    IgnoresTheNumber => "wrong events in the order of adding",
    IgnoresTheBytes => "a page of 0 bytes has not just one event",
    MixesUpTimes => "the last time is not the largest one in the ids",
    NeverRemoves => "records are not what their changes make of them",
    LetsNumbersFall => "a number is wrong after it was raised to 4",
    PutsAnew => "records are not what their changes make of them",
    ListsAllRecords => "not the records whose keys begin so",
    WorksOnlyIfAwaited => "events are in another order than their appends",
    TheCallerMovesTheEnd => "the end does not move for an append that nobody awaits",
    TheEndIsTooFar => "the log ends elsewhere than at its last event",
    IgnoresNewestFirst => "the newest first",
    IgnoresThePlaceIfNewestFirst => "is read twice, page by page",
    ReadsThePlaceIfNewestFirst => "is read twice, page by page",
    IgnoresTheLabel => "wrong events of Reason(\"x\")",
    TakesIndexesForReasons => "wrong events of Reason(\"x\")",
    FindsPartsOfLabels => "wrong events of Reason(\"\")",
    KeepsLabelsAsTheyWere => "wrong events of Reason(\"x\")",
    DropsThePlaceOfALabel => "is read twice, page by page",
    NeverCleans => "an event is not cleaned",
    NeverCleansByReasons => "an event is not what it should be after RemoveReasons",
    FindsTheCleanedById => "an event is there after RemoveReasons",
    ReadsTheCleaned => "wrong events of all in the order of adding",
    SetsReasonsBesideOthers => "wrong events of Reason(\"x\")",
    IgnoresExtraKeys => "the answer is wrong about SetExtra",
    ChangesOnlyTheFirst => "an event that was changed cannot be changed again",
    LosesSizesByEdits => "the size of an event is lost after",
    DoesNotTellTheEnd => "the end and the answer do not tell of the same changes",
    TellsChangesOfNothing => "the answer is wrong about AddReasons",
    ChangesAreNotTold => "the end and the answer do not tell of the same changes",
    TheCleanedAreNotTold => "the answer does not have the events that are cleaned",
    ReusesThePositionOfTheLast => "a position that was used before is used again",
    TheEndFalls => "the end moves where the last event is cleaned",
    AddsTheGoneAgain => "an event is added whose id is known, gone or too old",
    GoneIsNotTold => "is Gone, but the answer says gone: false",
    ThereIsToldAsGone => "an id that is there, or new, is said to be gone",
    RefusedAndChanges => "a batch that was not added changes events",
    RefusedAndForgets => "is Gone, but the answer says gone: false, too old: true",
    NeverKeepsTheLast => "an event of the same append is not cleaned",
    KeepsNoneWithoutTheNewest => "an event that is gone is taken for one that is there",
    CleansTheNewestToo => "not just the events before the last one are gone",
    CleansLaterOnesToo => "not just the events before the last one are gone",
    ComparesOnlyTimes => "not just the events before the last one are gone",
    KeepsTheLastOnlyIfNew => "not just the events before the last one are gone",
    BelievesTheTimeThatComes => "an event that comes again with another time",
    NeverForgets => "is TooOld, but the answer says gone: true",
    ForgetsByTimeOnly => "is TooOld, but the answer says gone: true",
    ForgetsByNumberOnly => "is TooOld, but the answer says gone: true",
    ForgetsOneMore => "is Gone, but the answer says gone: false, too old: true",
    ForgetsFirst => "ids are forgotten before all else is done",
    ForgetsForAllNodes => "an id is taken for a forgotten one",
    ForgetsWhatIsThere => "is There, but the answer says gone: false, too old: true",
    TooOldIsNotTold => "is TooOld, but the answer says gone: false, too old: false",
    LastTimesFall => "the last time of a node falls",
    CountsTheGone => "events are counted where all are gone",
    CountsTheRefused => "an event that is not added moves the end or the count",
    IgnoresTheKeyBefore => "gives some of them twice",
    IgnoresTheNumberOfRecords => "a page has more records than were asked for",
    ChangesNoneById => "of several ids, others are changed",
    CallsTheGoneNew => "it is not told which ids are there, gone and new",
    CallsTheTooOldNew => "it is not told which ids are too old",
    CallsTheThereGone => "it is not told which ids are there, gone and new",
    CallsTheNewThere => "an id of an empty store is not new",
    TheKeyBeforeMustBeThere => "wrong records after the key",
}

/// What is wrong only once a store is opened again, and what the kit says of it.
const FAULTS_OF_OPENING: [(Fault, &str); 8] = [
    (Fault::TheEndFalls, "the end is lost where the last event is cleaned"),
    (Fault::AddsTheGoneAgain, "an event is added whose id is known, gone or too old"),
    (Fault::ReadsTheCleaned, "events are not as they were edited, or some of them are back"),
    (Fault::KeepsLabelsAsTheyWere, "wrong events of Reason(\"x\")"),
    (Fault::LosesSizesByEdits, "the sizes of events are lost"),
    (Fault::NeverForgets, "the id a5 is TooOld, but the answer says gone: true"),
    (Fault::LastTimesFall, "the last time of a node is lost"),
    (Fault::CountsTheGone, "the count of events is wrong"),
];

/// A store in memory with a fault.
struct Faulty {
    memory: Arc<MemoryStore<Value>>,
    fault: Fault,
    /// An end of its own, where that is the fault.
    end: Mutex<Arc<End>>,
    adding: Arc<AtomicBool>,
    /// What there was.
    past: Arc<Mutex<Past>>,
    /// What there was, as far as the fault has to do with it.
    wrong: Arc<Mutex<Past>>,
}

#[derive(Clone, Default)]
struct Past {
    /// All events, as they were added.
    added: HashMap<EventId, Arc<Entry<Value>>>,
    gone: HashSet<EventId>,
    refused: u64,
    /// Ids of earlier times are forgotten.
    forgotten: Timestamp,
}

impl Past {
    /// Of the events that were edited.
    fn lose_sizes<'a>(&self, entries: impl IntoIterator<Item = &'a mut Arc<Entry<Value>>>) {
        for entry in entries {
            let before = self.added.get(&entry.meta.id);
            if before.is_some_and(|before| before.meta != entry.meta) {
                *entry = Arc::new(Entry::clone(entry).sized(0));
            }
        }
    }
}

/// What outlives a process.
#[derive(Clone, Default)]
struct Disk {
    memory: Arc<MemoryStore<Value>>,
    past: Arc<Mutex<Past>>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let Disk { memory, past } = Disk::default();
        let end = match fault {
            Fault::TheCallerMovesTheEnd
            | Fault::TheEndIsTooFar
            | Fault::DoesNotTellTheEnd
            | Fault::TheEndFalls => Arc::default(),
            _ => Store::<Value>::end(&*memory),
        };
        let wrong = Arc::clone(&past);
        Self { memory, fault, end: Mutex::new(end), adding: Arc::default(), past, wrong }
    }

    /// Only what is there now becomes wrong.
    fn open(disk: &Disk, fault: Fault) -> Self {
        let Disk { memory, past } = disk.clone();
        let wrong = Arc::new(Mutex::new(past.lock().unwrap().clone()));
        let end = Store::<Value>::end(&*memory);
        let store =
            Self { memory, fault, end: Mutex::new(end), adding: Arc::default(), past, wrong };
        if fault == Fault::TheEndFalls {
            store.end_at_the_last();
        }
        store
    }

    /// The end is where the last event is that can be read.
    fn end_at_the_last(&self) {
        *self.end.lock().unwrap() = Arc::new(End::new(self.last()));
    }

    fn all(&self) -> Vec<Arc<Entry<Value>>> {
        let all = self.memory.read(Query::added(Added::ZERO), usize::MAX.into());
        all.now_or_never().unwrap().unwrap()
    }

    fn last(&self) -> Added {
        self.all().last().map_or(Added::ZERO, |entry| entry.meta.added)
    }

    fn make(&self, append: Append<Value>) -> Result<Stored<Value>, StoreError> {
        // What is gone by it is noted here, too.
        self.memory.submit(append.showing_cleaned(true)).now_or_never().unwrap()
    }

    fn record_change(&self, change: RecordChange) -> Option<RecordChange> {
        Some(match (self.fault, change) {
            (Fault::ForgetsRecords, _) | (Fault::NeverRemoves, RecordChange::Remove(_)) => {
                return None;
            }
            (Fault::LetsNumbersFall, RecordChange::Raise(key, to)) => {
                RecordChange::Put(key, to.to_string())
            }
            (Fault::PutsAnew, RecordChange::PutNew(key, text)) => RecordChange::Put(key, text),
            (_, change) => change,
        })
    }

    fn changes(&self, Change { mut events, edit }: Change) -> Vec<Change> {
        if let (Fault::ChangesOnlyTheFirst, Which::At(positions)) = (self.fault, &mut events) {
            positions.truncate(1);
        }
        let edits = match (self.fault, edit) {
            (Fault::NeverCleans, Edit::Clean) | (Fault::IgnoresExtraKeys, Edit::SetExtra(..)) => {
                vec![]
            }
            (Fault::NeverCleansByReasons, edit @ Edit::RemoveReasons(_)) => {
                vec![Edit::AddReasons(vec!["left".to_owned()]), edit]
            }
            (Fault::SetsReasonsBesideOthers, Edit::SetReasons(reasons)) if !reasons.is_empty() => {
                vec![Edit::AddReasons(reasons)]
            }
            (Fault::ChangesNoneById, _) if matches!(events, Which::Ids(_)) => vec![],
            (Fault::NeverKeepsTheLast, _) if matches!(events, Which::Before { .. }) => vec![],
            (_, edit) => vec![edit],
        };
        edits.into_iter().map(|edit| Change { events: events.clone(), edit }).collect()
    }

    fn misread(&self, append: &mut Append<Value>) {
        let wrong = self.wrong.lock().unwrap();
        for entry in &mut append.entries {
            let id = &entry.meta.id;
            let is_unknown = match self.fault {
                Fault::ForgetsIds => true,
                Fault::AddsTheGoneAgain => wrong.gone.contains(id),
                _ => false,
            };
            if is_unknown {
                let unique = format!("{}:{}", id.node(), fastrand::u64(..));
                entry.meta.id = EventId::new(id.time(), unique.parse().unwrap());
            }
        }
        if self.fault == Fault::AddsAPart {
            append.if_known = IfKnown::LeaveOut;
        }
        let records = std::mem::take(&mut append.records).into_iter();
        append.records = records.filter_map(|change| self.record_change(change)).collect();
        let changes = std::mem::take(&mut append.changes).into_iter();
        append.changes = changes.flat_map(|change| self.changes(change)).collect();
        append.forget = append.forget.and_then(|forget| match self.fault {
            Fault::NeverForgets => None,
            Fault::ForgetsByTimeOnly => Some(Forget { at_most: usize::MAX, ..forget }),
            Fault::ForgetsByNumberOnly => Some(Forget { before: Timestamp::ZERO, ..forget }),
            Fault::ForgetsOneMore => {
                Some(Forget { at_most: forget.at_most.saturating_sub(1), ..forget })
            }
            _ => Some(forget),
        });
    }

    fn make_wrongly(&self, mut append: Append<Value>) -> Result<Stored<Value>, StoreError> {
        match self.fault {
            Fault::RefusedAndChanges => {
                let changes = append.changes.clone();
                let mut stored = self.make(append)?;
                if stored.entries.iter().all(Option::is_none) && !stored.known.is_empty() {
                    let changed = self.make(Append::changes(changes))?;
                    (stored.changed, stored.cleaned) = (changed.changed, changed.cleaned);
                }
                Ok(stored)
            }
            Fault::RefusedAndForgets => {
                let forget = append.forget;
                let stored = self.make(append)?;
                self.make(Append::events(vec![]).and_forget(forget))?;
                Ok(stored)
            }
            Fault::ForgetsFirst if append.if_known == IfKnown::LeaveOut => {
                self.make(Append::events(vec![]).and_forget(append.forget.take()))?;
                self.make(append)
            }
            Fault::KeepsNoneWithoutTheNewest
            | Fault::CleansTheNewestToo
            | Fault::CleansLaterOnesToo
            | Fault::ComparesOnlyTimes
            | Fault::KeepsTheLastOnlyIfNew
            | Fault::BelievesTheTimeThatComes => self.change_later(append),
            Fault::ForgetsForAllNodes => self.leave_out_the_old(append),
            _ => self.make(append),
        }
    }

    /// Adds the events first, and makes each change apart.
    fn change_later(&self, mut append: Append<Value>) -> Result<Stored<Value>, StoreError> {
        let changes = std::mem::take(&mut append.changes);
        let (if_known, forget) = (append.if_known, append.forget.take());
        let mut stored = self.make(append)?;
        if if_known == IfKnown::AddNone && !stored.known.is_empty() {
            return Ok(stored);
        }
        for Change { events, edit } in changes {
            let events = match events {
                Which::Before { reason, newest: id } => {
                    let new = stored.entries.iter().flatten();
                    let is_new = new.map(|entry| &entry.meta.id).any(|new| *new == id);
                    let all = self.all();
                    let there = all.iter().find(|entry| entry.meta.id == id);
                    let is_there = there.is_some();
                    let again = stored.known.iter().find(|entry| entry.meta.id == id);
                    let newest = match (self.fault, again, there) {
                        (Fault::BelievesTheTimeThatComes, Some(again), _) => again.meta.created(),
                        (_, _, Some(there)) => there.meta.created(),
                        _ => Created { time: id.time(), id: id.clone() },
                    };
                    let is_before = |meta: &Meta| match self.fault {
                        Fault::KeepsNoneWithoutTheNewest => meta.created() < newest,
                        Fault::CleansTheNewestToo => is_there && meta.created() <= newest,
                        Fault::CleansLaterOnesToo => is_there && meta.id != id,
                        Fault::ComparesOnlyTimes => is_there && meta.time < newest.time,
                        Fault::BelievesTheTimeThatComes => is_there && meta.created() < newest,
                        _ => is_new && meta.created() < newest,
                    };
                    let metas = all.iter().map(|entry| &entry.meta);
                    let of_reason = metas.filter(|meta| meta.reasons.contains(&reason));
                    let before = of_reason.filter(|meta| is_before(meta));
                    Which::At(before.map(|meta| meta.added).collect())
                }
                events => events,
            };
            let changed = self.make(Append::changes(vec![Change { events, edit }]))?;
            stored.changed.extend(changed.changed);
            stored.cleaned.extend(changed.cleaned);
        }
        self.make(Append::events(vec![]).and_forget(forget))?;
        Ok(stored)
    }

    /// Takes an id that is new for a forgotten one if one of another node is forgotten.
    fn leave_out_the_old(&self, mut append: Append<Value>) -> Result<Stored<Value>, StoreError> {
        let is_old = |entry: &Entry<Value>| {
            let past = self.past.lock().unwrap();
            let (id, is_known) = (&entry.meta.id, past.added.contains_key(&entry.meta.id));
            !is_known && id.time() < past.forgotten
        };
        let entries = std::mem::take(&mut append.entries);
        let given = entries.clone();
        let (old, new): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_old);
        append.entries = new;
        let mut stored = self.make(append)?;
        stored.too_old.extend(old.iter().map(|entry| entry.meta.id.clone()));
        let added = std::mem::take(&mut stored.entries).into_iter().flatten();
        let mut added: HashMap<_, _> = added.map(|entry| (entry.meta.id.clone(), entry)).collect();
        stored.entries = given.iter().map(|entry| added.remove(&entry.meta.id)).collect();
        let all = stored.entries.iter().zip(given);
        stored.known = all.filter(|(added, _)| added.is_none()).map(|(_, given)| given).collect();
        Ok(stored)
    }

    fn note(&self, stored: &Stored<Value>, forget: Option<Forget>) {
        let mut past = self.past.lock().unwrap();
        for entry in stored.entries.iter().flatten() {
            past.added.insert(entry.meta.id.clone(), Arc::clone(entry));
        }
        past.gone.extend(stored.cleaned.iter().map(|entry| entry.meta.id.clone()));
        past.refused += stored.known.len() as u64;
        if let Some(Forget { before, .. }) = forget.filter(|_| stored.known.is_empty()) {
            past.forgotten = past.forgotten.max(before);
        }
    }

    fn misreport(&self, stored: &mut Stored<Value>) {
        let ids = |entries: &[Entry<Value>]| {
            entries.iter().map(|entry| entry.meta.id.clone()).collect::<Vec<_>>()
        };
        match self.fault {
            Fault::UsesAPositionTwice => {
                if let [Some(first), .., Some(last)] = &mut stored.entries[..] {
                    *last = Arc::clone(first);
                }
            }
            Fault::DropsWhatIsKnown => stored.known.clear(),
            Fault::ChangesAreNotTold => stored.changed.clear(),
            Fault::TheCleanedAreNotTold => stored.cleaned.clear(),
            Fault::GoneIsNotTold => stored.gone.clear(),
            Fault::TooOldIsNotTold => stored.too_old.clear(),
            Fault::ThereIsToldAsGone => stored.gone = ids(&stored.known),
            Fault::ForgetsWhatIsThere => {
                let forgotten = self.past.lock().unwrap().forgotten;
                let there = ids(&stored.known).into_iter();
                stored.too_old = there.filter(|id| id.time() < forgotten).collect();
            }
            _ => {}
        }
    }

    /// Gives events lower positions than they have.
    fn lower(stored: &mut Stored<Value>) {
        for entry in stored.entries.iter_mut().flatten() {
            let mut changed = Entry::clone(entry);
            changed.meta.added = Added::new(entry.meta.added.value() - 1).unwrap();
            *entry = Arc::new(changed);
        }
    }

    /// Whether an event has a label.
    fn has(&self, label: &Label, meta: &Meta) -> bool {
        let wrong = self.wrong.lock().unwrap();
        let meta = wrong.added.get(&meta.id).map_or(meta, |entry| &entry.meta);
        match (self.fault, label) {
            (Fault::TakesIndexesForReasons, Label::Reason(text)) => {
                meta.reasons.contains(text) || meta.indexes.contains(text)
            }
            (Fault::FindsPartsOfLabels, Label::Reason(text)) => {
                meta.reasons.iter().any(|reason| reason.contains(text))
            }
            _ => label.is_of(meta),
        }
    }

    /// Reads in another way than the store in memory.
    fn read_wrongly(&self, query: &Query, page: Page) -> Vec<Arc<Entry<Value>>> {
        let mut entries = self.all();
        if self.fault == Fault::ReadsTheCleaned {
            let wrong = self.wrong.lock().unwrap();
            entries.extend(wrong.gone.iter().map(|id| Arc::clone(&wrong.added[id])));
        }
        if let Some(label) = &query.label {
            entries.retain(|entry| self.has(label, &entry.meta));
        }
        match &query.order {
            Order::Added(place) => {
                entries.sort_by_key(|entry| entry.meta.added);
                entries.retain(|entry| {
                    is_after(&entry.meta.added, place.as_ref(), query.newest_first)
                });
            }
            Order::Created(place) => {
                entries.sort_by_key(|entry| entry.meta.created());
                entries.retain(|entry| {
                    is_after(&entry.meta.created(), place.as_ref(), query.newest_first)
                });
            }
        }
        if query.newest_first {
            entries.reverse();
        }
        page.take(entries, |entry| entry.size())
    }
}

fn is_after<T: Ord>(one: &T, place: Option<&T>, newest_first: bool) -> bool {
    place.is_none_or(|place| if newest_first { one < place } else { one > place })
}

#[async_trait]
impl Store<Value> for Faulty {
    fn submit(&self, mut append: Append<Value>) -> Answer<Value> {
        let fault = self.fault;
        self.misread(&mut append);
        let (memory, end) = (Arc::clone(&self.memory), self.end());
        if fault == Fault::WorksOnlyIfAwaited {
            // The kit awaits the last answer first.
            return Answer::later(async move { memory.submit(append).await });
        }
        self.adding.store(true, Ordering::Relaxed);
        let before = Store::<Value>::end(&*memory).get();
        let is_last_gone = self.last() < before;
        let (forget, changes) = (append.forget, append.changes.clone());
        let mut stored = match self.make_wrongly(append) {
            Ok(stored) => stored,
            Err(error) => return Answer::ready(Err(error)),
        };
        self.note(&stored, forget);
        self.misreport(&mut stored);
        let last = Store::<Value>::end(&*memory).get();
        match fault {
            Fault::CountsFromZero => Self::lower(&mut stored),
            Fault::ReusesThePositionOfTheLast if is_last_gone => Self::lower(&mut stored),
            Fault::TellsChangesOfNothing if stored.known.is_empty() => {
                let named = changes.into_iter().flat_map(|Change { events, .. }| match events {
                    Which::At(positions) => positions,
                    _ => Vec::new(),
                });
                let changed: HashSet<_> = stored.changed.iter().map(|(place, _)| *place).collect();
                let more = named.filter(|place| !changed.contains(place));
                let more: Vec<_> = more.map(|place| (place, Effect::Edited)).collect();
                end.changed(&more);
                stored.changed.extend(more);
            }
            Fault::DoesNotTellTheEnd => end.advance(last),
            Fault::TheEndIsTooFar => end.advance(last.plus(u64::from(last > Added::ZERO))),
            Fault::TheCallerMovesTheEnd => end.changed(&stored.changed),
            Fault::TheEndFalls => {
                end.changed(&stored.changed);
                if last > before {
                    end.advance(last);
                } else if !stored.cleaned.is_empty() && Arc::ptr_eq(&self.past, &self.wrong) {
                    self.end_at_the_last();
                }
            }
            _ => {}
        }
        let adding = Arc::clone(&self.adding);
        Answer::later(async move {
            tokio::task::yield_now().await;
            adding.store(false, Ordering::Relaxed);
            if fault == Fault::TheCallerMovesTheEnd {
                end.advance(Store::<Value>::end(&*memory).get());
            }
            Ok(stored)
        })
    }

    fn end(&self) -> Arc<End> {
        Arc::clone(&self.end.lock().unwrap())
    }

    async fn read(
        &self,
        mut query: Query,
        page: Page,
    ) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        if self.fault == Fault::HidesAllWhileAdding && self.adding.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let page = match self.fault {
            Fault::IgnoresTheNumber => Page::new(usize::MAX).bytes(page.bytes),
            Fault::IgnoresTheBytes => page.events.into(),
            _ => page,
        };
        query.order = match (self.fault, query.order) {
            (Fault::SortsByAdding, Order::Created(_)) => Order::Added(None),
            (Fault::ForgetsThePage, Order::Created(_)) => Order::Created(None),
            (Fault::IgnoresThePlaceIfNewestFirst, Order::Added(_)) if query.newest_first => {
                Order::Added(None)
            }
            (Fault::DropsThePlaceOfALabel, Order::Created(_)) if query.label.is_some() => {
                Order::Created(None)
            }
            (Fault::ReadsThePlaceIfNewestFirst, Order::Added(place)) if query.newest_first => {
                Order::Added(place.map(|place| place.plus(1)))
            }
            (_, order) => order,
        };
        match self.fault {
            Fault::IgnoresNewestFirst => query.newest_first = false,
            Fault::IgnoresTheLabel => query.label = None,
            _ => {}
        }
        let mut entries = match self.fault {
            Fault::TakesIndexesForReasons
            | Fault::FindsPartsOfLabels
            | Fault::KeepsLabelsAsTheyWere
            | Fault::ReadsTheCleaned => self.read_wrongly(&query, page),
            _ => self.memory.read(query, page).await?,
        };
        match self.fault {
            Fault::ReadsBackwards => entries.reverse(),
            Fault::LosesSizesByEdits => self.wrong.lock().unwrap().lose_sizes(&mut entries),
            _ => {}
        }
        Ok(entries)
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<Value>>>>, StoreError> {
        let mut found = self.memory.by_ids(ids).await?;
        let wrong = self.wrong.lock().unwrap();
        match self.fault {
            Fault::FindsOnlyTheFirstId => found.iter_mut().skip(1).for_each(|found| *found = None),
            Fault::FindsTheCleanedById => {
                for (found, id) in found.iter_mut().zip(ids) {
                    *found = found.take().or_else(|| wrong.added.get(id).cloned());
                }
            }
            Fault::LosesSizesByEdits => wrong.lose_sizes(found.iter_mut().flatten()),
            _ => {}
        }
        Ok(found)
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        let mut states = Store::<Value>::id_states(&*self.memory, ids).await?;
        match self.fault {
            Fault::CallsTheGoneNew => {
                for state in states.iter_mut().filter(|state| **state == IdState::Gone) {
                    *state = IdState::New;
                }
            }
            Fault::CallsTheTooOldNew => {
                for state in states.iter_mut().filter(|state| **state == IdState::TooOld) {
                    *state = IdState::New;
                }
            }
            Fault::CallsTheThereGone => {
                for state in states.iter_mut().filter(|state| **state == IdState::There) {
                    *state = IdState::Gone;
                }
            }
            Fault::CallsTheNewThere => states.fill(IdState::There),
            _ => {}
        }
        Ok(states)
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        let own = |entry: &&Arc<Entry<Value>>| entry.meta.id.node() == node;
        if self.fault == Fault::MixesUpTimes {
            return Ok(self.all().iter().filter(own).map(|entry| entry.meta.time).max());
        }
        if self.fault == Fault::LastTimesFall {
            let past = self.past.lock().unwrap().clone();
            let wrong = self.wrong.lock().unwrap();
            let left = past.added.values().filter(|entry| !wrong.gone.contains(&entry.meta.id));
            return Ok(left.filter(own).map(|entry| entry.meta.id.time()).max());
        }
        Store::<Value>::last_time(&*self.memory, node).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let count = Store::<Value>::count(&*self.memory).await?;
        Ok(match self.fault {
            Fault::CountsTheGone => count + self.wrong.lock().unwrap().gone.len() as u64,
            Fault::CountsTheRefused => count + self.wrong.lock().unwrap().refused,
            _ => count,
        })
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        let all = Prefix::new("");
        let (prefix, after, at_most) = match self.fault {
            Fault::ListsAllRecords => (&all, after, at_most),
            Fault::IgnoresTheKeyBefore => (prefix, None, at_most),
            Fault::IgnoresTheNumberOfRecords => (prefix, after, usize::MAX),
            _ => (prefix, after, at_most),
        };
        if let (Fault::TheKeyBeforeMustBeThere, Some(after)) = (self.fault, after) {
            let key = Prefix::new(after.as_str());
            let found = Store::<Value>::records(&*self.memory, &key, None, 1).await?;
            if found.first().is_none_or(|(key, _)| key != after) {
                return Ok(Vec::new());
            }
        }
        Store::<Value>::records(&*self.memory, prefix, after, at_most).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_kit_notices_faults() {
    for &(fault, message) in FAULTS {
        let check = conformance::store(async move || Faulty::new(fault));
        assert_fails(tokio::spawn(check).await, fault, message);
    }
    conformance::store(async || Faulty::new(Fault::None)).await;
}

#[tokio::test(start_paused = true)]
async fn the_kit_notices_faults_of_stores_that_are_opened_again() {
    for (fault, message) in FAULTS_OF_OPENING {
        let disk = Disk::default();
        let open = async move || Faulty::open(&disk, fault);
        let check = conformance::store_that_is_opened_again(open);
        assert_fails(tokio::spawn(check).await, fault, message);
    }
    let disk = Disk::default();
    conformance::store_that_is_opened_again(async || Faulty::open(&disk, Fault::None)).await;
}

/// Checks that the kit has found the fault, and not something else.
fn assert_fails(result: Result<(), tokio::task::JoinError>, fault: Fault, message: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{fault:?} passes"));
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(message), "{fault:?} is found by another check: {text}");
}
