//! A store that takes its time, and a mirror of what it holds for the checks.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::codecs::Counter;
use logux_sync::{
    Added, Created, Cursors, Entry, Epoch, EventId, MemoryStore, NodeId, Store, StoreError,
    Timestamp,
};

/// What a node's store holds, readable at once.
#[derive(Default)]
pub(crate) struct Mirror {
    /// By position: the event and the peer that it came from.
    pub(crate) entries: Vec<(EventId, Option<NodeId>)>,
    pub(crate) ids: HashMap<EventId, Option<NodeId>>,
    /// Those that the filters may hold back.
    pub(crate) private: HashSet<EventId>,
    pub(crate) cursors: HashMap<NodeId, Cursors>,
    pub(crate) violations: Vec<String>,
}

/// What outlives a process.
pub(crate) struct Disk {
    memory: MemoryStore<u64>,
    /// Whether some log was replaced by an empty one.
    pub(crate) may_reset: AtomicBool,
    pub(crate) mirror: Mutex<Mirror>,
}

impl Disk {
    /// An empty one; `epoch` from the seed, so that a seed is the same run each time.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            memory: MemoryStore::with_epoch(Epoch::new(epoch)),
            may_reset: AtomicBool::new(false),
            mirror: Mutex::default(),
        }
    }
}

/// Whether the filters may hold an event back.
pub(crate) fn is_private(event: u64) -> bool {
    event.is_multiple_of(5)
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
        let cursors = Store::<u64>::cursors(&self.disk.memory, peer).await?;
        let mut mirror = self.disk.mirror.lock().unwrap();
        let before = mirror.cursors.insert(peer.clone(), cursors).unwrap_or_default();
        if before.sent > cursors.sent || before.received > cursors.received {
            mirror.violations.push(format!("cursors fell from {before:?} to {cursors:?}"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store<u64> for SlowStore {
    async fn add(
        &self,
        mut entries: Vec<Entry<u64>>,
        received: Option<(&NodeId, Added)>,
    ) -> Result<Vec<Option<Arc<Entry<u64>>>>, StoreError> {
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
        let mut answers = self.disk.memory.add(entries, received).await?;
        if let Some((peer, up_to)) = received {
            if self.broken == Some(Broken::CursorsFall) {
                let mut cursors = Store::<u64>::cursors(&self.disk.memory, peer).await?;
                cursors.received = up_to;
                Store::<u64>::reset_cursors(&self.disk.memory, peer, cursors).await?;
            }
            self.look_at_cursors(peer).await?;
        }
        let mut mirror = self.disk.mirror.lock().unwrap();
        let mirror = &mut *mirror;
        for entry in answers.iter().flatten() {
            let meta = &entry.meta;
            mirror.entries.push((meta.id.clone(), meta.source.clone()));
            if is_private(entry.event) {
                mirror.private.insert(meta.id.clone());
            }
            if mirror.entries.len() as u64 != meta.added.value() {
                mirror.violations.push(format!("position {} is not the next", meta.added));
            }
            if mirror.ids.insert(meta.id.clone(), meta.source.clone()).is_some() {
                mirror.violations.push(format!("{} was added twice", meta.id));
            }
        }
        answers.extend(lost.map(|entry| Some(Arc::new(entry))));
        Ok(answers)
    }

    async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<u64>>>, StoreError> {
        self.delay().await;
        self.disk.memory.entries_after(added, limit).await
    }

    async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<u64>>>, StoreError> {
        self.disk.memory.entries_created_after(position, limit).await
    }

    async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<u64>>>, StoreError> {
        self.disk.memory.by_id(id).await
    }

    async fn last_added(&self) -> Result<Added, StoreError> {
        Store::<u64>::last_added(&self.disk.memory).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<u64>::last_time(&self.disk.memory, node).await
    }

    async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        self.delay().await;
        if self.broken == Some(Broken::CursorsAreShared) {
            let mirror = self.disk.mirror.lock().unwrap();
            let first = mirror.cursors.iter().min_by_key(|(peer, _)| (*peer).clone());
            return Ok(first.map(|(_, cursors)| *cursors).unwrap_or_default());
        }
        Store::<u64>::cursors(&self.disk.memory, peer).await
    }

    async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        self.delay().await;
        Store::<u64>::advance_sent(&self.disk.memory, peer, sent).await?;
        self.look_at_cursors(peer).await
    }

    async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        Store::<u64>::dialled(&self.disk.memory).await
    }

    async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        self.delay().await;
        Store::<u64>::set_dialled(&self.disk.memory, peer).await
    }

    async fn reset_cursors(&self, peer: &NodeId, cursors: Cursors) -> Result<(), StoreError> {
        self.delay().await;
        Store::<u64>::reset_cursors(&self.disk.memory, peer, cursors).await?;
        let mut mirror = self.disk.mirror.lock().unwrap();
        mirror.cursors.insert(peer.clone(), cursors);
        if !self.disk.may_reset.load(Ordering::Relaxed) {
            mirror.violations.push(format!("the log of {peer} counts as replaced, but never was"));
        }
        Ok(())
    }

    async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        self.delay().await;
        Store::<u64>::set_epoch(&self.disk.memory, peer, epoch).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        if self.broken == Some(Broken::IdentityChanges) {
            return Ok(Epoch::new(self.random.lock().unwrap().u64(..)));
        }
        Store::<u64>::epoch(&self.disk.memory).await
    }
}
