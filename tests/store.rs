//! The memory store keeps the contract of stores, and the kit that says so notices faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use logux_sync::{
    Added, Answer, Append, End, Entry, EventId, IfKnown, Key, MemoryStore, NodeId, Page, Prefix,
    Query, RecordChange, Store, StoreError, Timestamp, Value, conformance,
};

#[tokio::test]
async fn the_memory_store_keeps_the_contract_of_stores() {
    conformance::store(async || MemoryStore::new()).await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    CountsFromZero,
    UsesAPositionTwice,
    ForgetsIds,
    DropsWhatIsKnown,
    FindsOnlyTheFirstId,
    AddsAPart,
    ForgetsRecords,
    ReadsBackwards,
    HidesAllWhileAdding,
    SortsByAdding,
    ForgetsThePage,
    IgnoresTheNumber,
    IgnoresTheBytes,
    MixesUpTimes,
    NeverRemoves,
    LetsNumbersFall,
    PutsAnew,
    ListsAllRecords,
    WorksOnlyIfAwaited,
    TheCallerMovesTheEnd,
    TheEndIsTooFar,
}

const FAULTS: [Fault; 21] = [
    Fault::CountsFromZero,
    Fault::UsesAPositionTwice,
    Fault::ForgetsIds,
    Fault::DropsWhatIsKnown,
    Fault::FindsOnlyTheFirstId,
    Fault::AddsAPart,
    Fault::ForgetsRecords,
    Fault::ReadsBackwards,
    Fault::HidesAllWhileAdding,
    Fault::SortsByAdding,
    Fault::ForgetsThePage,
    Fault::IgnoresTheNumber,
    Fault::IgnoresTheBytes,
    Fault::MixesUpTimes,
    Fault::NeverRemoves,
    Fault::LetsNumbersFall,
    Fault::PutsAnew,
    Fault::ListsAllRecords,
    Fault::WorksOnlyIfAwaited,
    Fault::TheCallerMovesTheEnd,
    Fault::TheEndIsTooFar,
];

struct Faulty {
    memory: Arc<MemoryStore<Value>>,
    fault: Fault,
    /// An end of its own, where that is the fault.
    end: Arc<End>,
    adding: Arc<AtomicBool>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let memory = Arc::new(MemoryStore::new());
        let own_end = matches!(fault, Fault::TheCallerMovesTheEnd | Fault::TheEndIsTooFar);
        let end = if own_end { Arc::default() } else { Store::<Value>::end(&*memory) };
        Self { memory, fault, end, adding: Arc::default() }
    }

    fn change(&self, change: RecordChange) -> Option<RecordChange> {
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
}

#[async_trait]
impl Store<Value> for Faulty {
    fn submit(&self, mut append: Append<Value>) -> Answer<Value> {
        let fault = self.fault;
        if fault == Fault::ForgetsIds {
            for entry in &mut append.entries {
                let time = entry.meta.id.time();
                let unique = format!("{}:{}", entry.meta.id.node(), fastrand::u64(..));
                entry.meta.id = EventId::new(time, unique.parse().unwrap());
            }
        }
        if fault == Fault::AddsAPart {
            append.if_known = IfKnown::LeaveOut;
        }
        let records = std::mem::take(&mut append.records);
        append.records = records.into_iter().filter_map(|change| self.change(change)).collect();
        let (memory, end) = (Arc::clone(&self.memory), Arc::clone(&self.end));
        if fault == Fault::WorksOnlyIfAwaited {
            // The kit awaits the last answer first.
            return Answer::later(async move { memory.submit(append).await });
        }
        self.adding.store(true, Ordering::Relaxed);
        let answer = memory.submit(append);
        let adding = Arc::clone(&self.adding);
        if fault == Fault::TheEndIsTooFar {
            let last = Store::<Value>::end(&*memory).get();
            end.advance(Added::new(last.value() + u64::from(last > Added::ZERO)).unwrap());
        }
        Answer::later(async move {
            let mut stored = answer.await?;
            tokio::task::yield_now().await;
            adding.store(false, Ordering::Relaxed);
            if fault == Fault::TheCallerMovesTheEnd {
                end.advance(Store::<Value>::end(&*memory).get());
            }
            if fault == Fault::UsesAPositionTwice
                && let [Some(first), .., Some(last)] = &mut stored.entries[..]
            {
                *last = Arc::clone(first);
            }
            if fault == Fault::CountsFromZero {
                for entry in stored.entries.iter_mut().flatten() {
                    let mut changed = Entry::clone(entry);
                    changed.meta.added = Added::new(entry.meta.added.value() - 1).unwrap();
                    *entry = Arc::new(changed);
                }
            }
            if fault == Fault::DropsWhatIsKnown {
                stored.known.clear();
            }
            Ok(stored)
        })
    }

    fn end(&self) -> Arc<End> {
        Arc::clone(&self.end)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        if self.fault == Fault::HidesAllWhileAdding && self.adding.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let page = match self.fault {
            Fault::IgnoresTheNumber => Page::new(usize::MAX).bytes(page.bytes),
            Fault::IgnoresTheBytes => page.events.into(),
            _ => page,
        };
        let query = match (self.fault, query) {
            (Fault::SortsByAdding, Query::Created(_)) => Query::Added(Added::ZERO),
            (Fault::ForgetsThePage, Query::Created(_)) => Query::Created(None),
            (_, query) => query,
        };
        let mut entries = self.memory.read(query, page).await?;
        if self.fault == Fault::ReadsBackwards {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<Value>>>>, StoreError> {
        let mut found = self.memory.by_ids(ids).await?;
        if self.fault == Fault::FindsOnlyTheFirstId {
            found.iter_mut().skip(1).for_each(|found| *found = None);
        }
        Ok(found)
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        if self.fault == Fault::MixesUpTimes {
            let entries = self.memory.read(Query::Added(Added::ZERO), usize::MAX.into()).await?;
            let own = entries.iter().filter(|entry| entry.meta.id.node() == node);
            return Ok(own.map(|entry| entry.meta.time).max());
        }
        Store::<Value>::last_time(&*self.memory, node).await
    }

    async fn records(&self, prefix: &Prefix) -> Result<Vec<(Key, String)>, StoreError> {
        let all = Prefix::new("");
        let prefix = if self.fault == Fault::ListsAllRecords { &all } else { prefix };
        Store::<Value>::records(&*self.memory, prefix).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_kit_notices_faults() {
    for fault in FAULTS {
        assert!(check(fault).await.is_err_and(|error| error.is_panic()), "{fault:?} passes");
    }
    check(Fault::None).await.unwrap();
}

async fn check(fault: Fault) -> Result<(), tokio::task::JoinError> {
    let make = async move || Faulty::new(fault);
    tokio::spawn(async move { conformance::store(make).await }).await
}
