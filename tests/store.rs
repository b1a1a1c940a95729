//! The memory store keeps the contract of stores, and the kit that says so notices faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use logux_sync::{
    Added, Created, Cursors, Entry, Epoch, EventId, IfKnown, MemoryStore, NodeId, Refused,
    SetAside, Store, StoreError, Stored, Timestamp, Value, conformance,
};

#[tokio::test]
async fn the_memory_store_keeps_the_contract_of_stores() {
    conformance::store(async || MemoryStore::new()).await;
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    ForgetsTheCursor,
    CountsFromZero,
    ReadsBackwards,
    IgnoresTheLimit,
    ForgetsIds,
    SharesCursors,
    MixesUpTimes,
    SortsByAdding,
    UsesAPositionTwice,
    ForgetsThePage,
    HidesAllWhileAdding,
    HasNoIdentity,
    DropsWhatIsKnown,
    NeverReleases,
    KeepsWhatIsRemoved,
    MixesAsideAndLog,
    AddsAPart,
}

struct Faulty {
    memory: MemoryStore<Value>,
    fault: Fault,
    adding: AtomicBool,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        std::mem::discriminant(&self.fault) == std::mem::discriminant(&fault)
    }

    fn peer(&self, peer: &NodeId) -> NodeId {
        if self.has(Fault::SharesCursors) { "all".parse().unwrap() } else { peer.clone() }
    }
}

#[async_trait]
impl Store<Value> for Faulty {
    async fn add(
        &self,
        mut entries: Vec<Entry<Value>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<Value>, StoreError> {
        if self.has(Fault::ForgetsIds) {
            for entry in &mut entries {
                let time = entry.meta.id.time();
                let unique = format!("{}:{:p}", entry.meta.id.node(), entry);
                entry.meta.id = EventId::new(time, unique.parse().unwrap());
            }
        }
        let peer = received.map(|(peer, received)| (self.peer(peer), received));
        let received = peer.as_ref().map(|(peer, received)| (peer, *received));
        let received = if self.has(Fault::ForgetsTheCursor) { None } else { received };
        let if_known = if self.has(Fault::AddsAPart) { IfKnown::LeaveOut } else { if_known };
        self.adding.store(true, Ordering::Relaxed);
        let mut stored = self.memory.add(entries, received, if_known).await?;
        let answers = &mut stored.entries;
        tokio::task::yield_now().await;
        self.adding.store(false, Ordering::Relaxed);
        if self.has(Fault::UsesAPositionTwice)
            && let [Some(first), .., Some(last)] = &mut answers[..]
        {
            *last = Arc::clone(first);
        }
        if self.has(Fault::CountsFromZero) {
            for entry in answers.iter_mut().flatten() {
                let mut changed = Entry::clone(entry);
                changed.meta.added = Added::new(entry.meta.added.value() - 1).unwrap();
                *entry = Arc::new(changed);
            }
        }
        if self.has(Fault::DropsWhatIsKnown) {
            stored.known.clear();
        }
        Ok(stored)
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        if self.has(Fault::HidesAllWhileAdding) && self.adding.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let limit = if self.has(Fault::IgnoresTheLimit) { usize::MAX } else { limit };
        let mut entries = self.memory.entries_after(added, limit).await?;
        if self.has(Fault::ReadsBackwards) {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Value>>>, StoreError> {
        if self.has(Fault::SortsByAdding) {
            return self.memory.entries_after(Added::ZERO, limit).await;
        }
        let position = position.filter(|_| !self.has(Fault::ForgetsThePage));
        self.memory.entries_created_after(position, limit).await
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<Value>>>, StoreError> {
        self.memory.by_id(id).await
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        Store::<Value>::last_added(&self.memory).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        if self.has(Fault::MixesUpTimes) {
            let entries = self.memory.entries_after(Added::ZERO, usize::MAX).await?;
            let own = entries.iter().filter(|entry| entry.meta.id.node() == node);
            return Ok(own.map(|entry| entry.meta.time).max());
        }
        Store::<Value>::last_time(&self.memory, node).await
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        Store::<Value>::cursors(&self.memory, &self.peer(peer)).await
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        Store::<Value>::advance_sent(&self.memory, &self.peer(peer), sent).await
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        Store::<Value>::dialled(&self.memory).await
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        Store::<Value>::set_dialled(&self.memory, peer).await
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        Store::<Value>::reset_cursors(&self.memory, &self.peer(peer), cursors).await
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        Store::<Value>::set_epoch(&self.memory, &self.peer(peer), epoch).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        if self.has(Fault::HasNoIdentity) {
            return Ok(Epoch::random());
        }
        Store::<Value>::epoch(&self.memory).await
    }

    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError> {
        if self.has(Fault::MixesAsideAndLog) {
            let entries = events.iter().map(|one| Entry::new(one.event.clone(), one.meta.clone()));
            self.memory.add(entries.collect(), None, IfKnown::LeaveOut).await?;
        }
        Store::<Value>::set_aside(&self.memory, events).await
    }

    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        Store::<Value>::events_set_aside(&self.memory).await
    }

    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        if self.has(Fault::KeepsWhatIsRemoved) {
            return Ok(());
        }
        Store::<Value>::remove_set_aside(&self.memory, ids).await
    }

    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError> {
        Store::<Value>::hold_back(&self.memory, &self.peer(peer), events).await
    }

    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        Store::<Value>::held_back(&self.memory, &self.peer(peer)).await
    }

    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        if self.has(Fault::NeverReleases) {
            return Ok(());
        }
        Store::<Value>::release(&self.memory, &self.peer(peer), ids).await
    }
}

#[tokio::test]
async fn the_kit_notices_faults() {
    for fault in [
        Fault::ForgetsTheCursor,
        Fault::CountsFromZero,
        Fault::ReadsBackwards,
        Fault::IgnoresTheLimit,
        Fault::ForgetsIds,
        Fault::SharesCursors,
        Fault::MixesUpTimes,
        Fault::SortsByAdding,
        Fault::UsesAPositionTwice,
        Fault::ForgetsThePage,
        Fault::HidesAllWhileAdding,
        Fault::HasNoIdentity,
        Fault::DropsWhatIsKnown,
        Fault::MixesAsideAndLog,
        Fault::KeepsWhatIsRemoved,
        Fault::NeverReleases,
        Fault::AddsAPart,
    ] {
        assert!(check(fault).await.is_err_and(|error| error.is_panic()), "{fault:?} passes");
    }
    check(Fault::None).await.unwrap();
}

async fn check(fault: Fault) -> Result<(), tokio::task::JoinError> {
    let make =
        async move || Faulty { memory: MemoryStore::new(), fault, adding: AtomicBool::new(false) };
    tokio::spawn(async move { conformance::store(make).await }).await
}
