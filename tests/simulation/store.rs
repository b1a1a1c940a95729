//! A store that takes its time, and a mirror of what it holds for the checks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::codecs::Counter;
use logux_sync::{
    Added, Created, Cursors, Entry, Epoch, EventId, IfKnown, MemoryStore, NodeId, Refused,
    SetAside, Store, StoreError, Stored, Timestamp,
};

use crate::event::Number;

/// What a node's store holds, readable at once.
#[derive(Default)]
pub(crate) struct Mirror {
    /// By position.
    pub(crate) entries: Vec<Held>,
    /// By id: the peer that the event came from.
    pub(crate) ids: HashMap<EventId, Option<NodeId>>,
    /// Those that the filters may hold back.
    pub(crate) private: HashSet<EventId>,
    pub(crate) cursors: HashMap<NodeId, Cursors>,
    /// What each peer did not take.
    pub(crate) held_back: BTreeMap<NodeId, HashSet<EventId>>,
    /// What some peer did not take at first.
    pub(crate) was_held_back: HashSet<EventId>,
    /// What cannot be read, and the peer that it came from.
    pub(crate) set_aside: BTreeMap<EventId, Option<NodeId>>,
    pub(crate) violations: Vec<String>,
}

/// An event of a log.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) id: EventId,
    pub(crate) number: Number,
    /// The peer that it came from.
    pub(crate) source: Option<NodeId>,
}

/// What outlives a process.
pub(crate) struct Disk {
    memory: MemoryStore<Number>,
    /// Whether some log was replaced by an empty one.
    pub(crate) may_reset: AtomicBool,
    /// A peer that may say of its log what it likes.
    hostile: Option<NodeId>,
    pub(crate) mirror: Mutex<Mirror>,
}

impl Disk {
    /// An empty one; `epoch` from the seed, so that a seed is the same run each time.
    pub(crate) fn new(epoch: u64, hostile: Option<NodeId>) -> Self {
        Self {
            memory: MemoryStore::with_epoch(Epoch::new(epoch)),
            may_reset: AtomicBool::new(false),
            hostile,
            mirror: Mutex::default(),
        }
    }
}

/// A way to break the contract of stores. The hazards are those of `tests/planted/faults.rs`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Broken {
    /// A1: a batch is answered, and its last event is not there.
    LosesTheLast,
    /// B4: what a connection that ended says late moves a cursor back.
    CursorsFall,
    /// B7: all peers share the cursors of one.
    CursorsAreShared,
    /// B8: the log calls itself another one at each start.
    IdentityChanges,
    /// C1: an event that comes again is added again. The checks of this simulation know an event by
    /// its id, so the copy has another one.
    IdsAreForgotten,
}

impl Broken {
    pub(crate) const ALL: [Self; 5] = [
        Self::LosesTheLast,
        Self::CursorsFall,
        Self::CursorsAreShared,
        Self::IdentityChanges,
        Self::IdsAreForgotten,
    ];
}

/// A process's way to its disk.
pub(crate) struct SlowStore {
    broken: Option<Broken>,
    disk: Arc<Disk>,
    random: Mutex<Rng>,
    max_delay: Duration,
    killed: AtomicBool,
}

impl SlowStore {
    pub(crate) fn new(
        disk: &Arc<Disk>,
        seed: u64,
        max_delay: Duration,
        broken: Option<Broken>,
    ) -> Self {
        Self {
            broken,
            disk: Arc::clone(disk),
            random: Mutex::new(Rng::with_seed(seed)),
            max_delay,
            killed: AtomicBool::new(false),
        }
    }

    /// From now on the process neither reads nor writes.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
    }

    /// Takes its time before the commit. A process that dies meanwhile has committed nothing.
    async fn delay(&self) {
        let share = self.random.lock().unwrap().f64();
        if !self.max_delay.is_zero() {
            tokio::time::sleep(self.max_delay.mul_f64(share * share)).await;
        }
        if self.killed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn look_at_cursors(&self, peer: &NodeId) -> Result<(), StoreError> {
        let cursors = Store::<Number>::cursors(&self.disk.memory, peer).await?;
        let mut mirror = self.disk.mirror.lock().unwrap();
        let before = mirror.cursors.insert(peer.clone(), cursors).unwrap_or_default();
        if before.sent > cursors.sent || before.received > cursors.received {
            mirror.violations.push(format!("cursors fell from {before:?} to {cursors:?}"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store<Number> for SlowStore {
    async fn add(
        &self,
        mut entries: Vec<Entry<Number>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<Number>, StoreError> {
        self.delay().await;
        let loses = self.broken == Some(Broken::LosesTheLast) && entries.len() > 3;
        let lost = if loses { entries.pop() } else { None };
        if self.broken == Some(Broken::IdsAreForgotten) {
            for entry in &mut entries {
                let id = &entry.meta.id;
                if self.disk.memory.by_id(id).await?.is_some() {
                    let counter = Counter::new(7).unwrap();
                    entry.meta.id = EventId::with_counter(id.time(), id.node().clone(), counter);
                }
            }
        }
        let mut stored = self.disk.memory.add(entries, received, if_known).await?;
        if let Some((peer, up_to)) = received {
            if self.broken == Some(Broken::CursorsFall) {
                let mut cursors = Store::<Number>::cursors(&self.disk.memory, peer).await?;
                cursors.received = up_to;
                Store::<Number>::reset_cursors(&self.disk.memory, peer, cursors).await?;
            }
            self.look_at_cursors(peer).await?;
        }
        let mut mirror = self.disk.mirror.lock().unwrap();
        let mirror = &mut *mirror;
        for entry in stored.entries.iter().flatten() {
            let meta = &entry.meta;
            mirror.entries.push(Held {
                id: meta.id.clone(),
                number: entry.event,
                source: meta.source.clone(),
            });
            if entry.event.is_private() {
                mirror.private.insert(meta.id.clone());
            }
            if mirror.entries.len() as u64 != meta.added.value() {
                mirror.violations.push(format!("position {} is not the next", meta.added));
            }
            if mirror.ids.insert(meta.id.clone(), meta.source.clone()).is_some() {
                mirror.violations.push(format!("{} was added twice", meta.id));
            }
        }
        stored.entries.extend(lost.map(|entry| Some(Arc::new(entry))));
        Ok(stored)
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Number>>>, StoreError> {
        self.delay().await;
        self.disk.memory.entries_after(added, limit).await
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<Number>>>, StoreError> {
        self.disk.memory.entries_created_after(position, limit).await
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<Number>>>, StoreError> {
        self.disk.memory.by_id(id).await
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        Store::<Number>::last_added(&self.disk.memory).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<Number>::last_time(&self.disk.memory, node).await
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        self.delay().await;
        if self.broken == Some(Broken::CursorsAreShared) {
            let mirror = self.disk.mirror.lock().unwrap();
            let first = mirror.cursors.iter().min_by_key(|(peer, _)| (*peer).clone());
            return Ok(first.map(|(_, cursors)| *cursors).unwrap_or_default());
        }
        Store::<Number>::cursors(&self.disk.memory, peer).await
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        self.delay().await;
        Store::<Number>::advance_sent(&self.disk.memory, peer, sent).await?;
        self.look_at_cursors(peer).await
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        Store::<Number>::dialled(&self.disk.memory).await
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        self.delay().await;
        Store::<Number>::set_dialled(&self.disk.memory, peer).await
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        self.delay().await;
        Store::<Number>::reset_cursors(&self.disk.memory, peer, cursors).await?;
        let mut mirror = self.disk.mirror.lock().unwrap();
        mirror.cursors.insert(peer.clone(), cursors);
        let is_hostile = self.disk.hostile.as_ref() == Some(peer);
        if !self.disk.may_reset.load(Ordering::Relaxed) && !is_hostile {
            mirror.violations.push(format!("the log of {peer} counts as replaced, but never was"));
        }
        Ok(())
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        self.delay().await;
        Store::<Number>::set_epoch(&self.disk.memory, peer, epoch).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        if self.broken == Some(Broken::IdentityChanges) {
            return Ok(Epoch::new(self.random.lock().unwrap().u64(..)));
        }
        Store::<Number>::epoch(&self.disk.memory).await
    }

    async fn set_aside(&self, events: Vec<SetAside>) -> Result<(), StoreError> {
        self.delay().await;
        let ids = events.iter().map(|one| (one.meta.id.clone(), one.meta.source.clone()));
        self.disk.mirror.lock().unwrap().set_aside.extend(ids);
        Store::<Number>::set_aside(&self.disk.memory, events).await
    }

    async fn events_set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        Store::<Number>::events_set_aside(&self.disk.memory).await
    }

    async fn remove_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        self.delay().await;
        self.disk.mirror.lock().unwrap().set_aside.retain(|id, _| !ids.contains(id));
        Store::<Number>::remove_set_aside(&self.disk.memory, ids).await
    }

    async fn hold_back(&self, peer: &NodeId, events: Vec<Refused>) -> Result<(), StoreError> {
        self.delay().await;
        let ids = events.iter().map(|one| one.id.clone());
        {
            let mut mirror = self.disk.mirror.lock().unwrap();
            mirror.was_held_back.extend(ids.clone());
            mirror.held_back.entry(peer.clone()).or_default().extend(ids);
        }
        Store::<Number>::hold_back(&self.disk.memory, peer, events).await
    }

    async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        Store::<Number>::held_back(&self.disk.memory, peer).await
    }

    async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        self.delay().await;
        if let Some(held_back) = self.disk.mirror.lock().unwrap().held_back.get_mut(peer) {
            held_back.retain(|id| !ids.contains(id));
        }
        Store::<Number>::release(&self.disk.memory, peer, ids).await
    }
}
