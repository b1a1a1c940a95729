//! A store that takes its time, and a mirror of what it holds for the checks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::FutureExt;
use logux_sync::codecs::Counter;
use logux_sync::{
    Added, Answer, Append, Cursors, End, Entry, Epoch, EventId, IdState, IfKnown, Key, MemoryStore,
    NodeId, Page, PeerRecord, Prefix, Query, Record, RecordChange, SetAside, Store, StoreError,
    Stored, Timestamp,
};
use tokio::sync::{mpsc, oneshot};

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
    /// The positions of the events that the node's consumer was delivered, and those that it has acknowledged.
    pub(crate) delivered: HashSet<u64>,
    pub(crate) acknowledged: HashSet<u64>,
    pub(crate) violations: Vec<String>,
}

impl Mirror {
    /// A consumer goes on after this position. What was acknowledged without a gap is behind it, and nothing that was
    /// never delivered.
    pub(crate) fn consumer_began(&mut self, position: Added) {
        let missed = (1..=position.value()).find(|added| !self.delivered.contains(added));
        if let Some(added) = missed {
            self.violations.push(format!("a consumer has passed {added}, and never got it"));
        }
        let all = 1..=self.entries.len() as u64;
        let kept = all.take_while(|added| self.acknowledged.contains(added)).last();
        if kept.is_some_and(|kept| kept > position.value()) {
            self.violations.push(format!("{kept:?} was acknowledged, and {position} is known"));
        }
        // What was acknowledged after one that was not is not kept.
        self.acknowledged = (1..=position.value()).collect();
    }

    pub(crate) fn delivered(&mut self, entry: &Entry<Number>) {
        let place = usize::try_from(entry.meta.added.value()).unwrap() - 1;
        if self.entries.get(place).is_none_or(|held| held.id != entry.meta.id) {
            self.violations.push(format!("{} was delivered, and is not there", entry.meta.id));
        }
        self.delivered.insert(entry.meta.added.value());
    }
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

/// A process's way to its disk. What is submitted during one commit is the next one.
pub(crate) struct SlowStore {
    process: Arc<Process>,
    commits: mpsc::UnboundedSender<Commit>,
}

/// What ends with a process.
struct Process {
    broken: Option<Broken>,
    disk: Arc<Disk>,
    random: Mutex<Rng>,
    max_delay: Duration,
    killed: AtomicBool,
    unwritten: Mutex<Unwritten>,
}

/// Changes that may wait. Readers see them, and they are lost with the process.
#[derive(Default)]
struct Unwritten {
    waiting: Vec<RecordChange>,
    /// Those that are in a commit already.
    submitted: VecDeque<RecordChange>,
}

struct Commit {
    append: Append<Number>,
    /// The events that a broken store loses.
    lost: Option<Entry<Number>>,
    /// `None` for what may wait, and was answered at once.
    answer: Option<oneshot::Sender<Result<Stored<Number>, StoreError>>>,
}

impl SlowStore {
    pub(crate) fn new(
        disk: &Arc<Disk>,
        seed: u64,
        max_delay: Duration,
        broken: Option<Broken>,
    ) -> Self {
        let process = Arc::new(Process {
            broken,
            disk: Arc::clone(disk),
            random: Mutex::new(Rng::with_seed(seed)),
            max_delay,
            killed: AtomicBool::new(false),
            unwritten: Mutex::default(),
        });
        let (commits, mut submitted) = mpsc::unbounded_channel();
        let writer = Arc::clone(&process);
        tokio::spawn(async move {
            let mut all = Vec::new();
            while submitted.recv_many(&mut all, usize::MAX).await > 0 {
                writer.delay().await;
                for commit in all.drain(..) {
                    writer.commit(commit).await;
                }
            }
        });
        Self { process, commits }
    }

    /// From now on the process neither reads nor writes.
    pub(crate) fn kill(&self) {
        self.process.killed.store(true, Ordering::Relaxed);
        // What was not written is lost.
        let mut mirror = self.process.disk.mirror.lock().unwrap();
        for (peer, cursors) in &mut mirror.cursors {
            *cursors = self.process.disk.cursors(peer, &[]);
        }
    }
}

impl Process {
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

    async fn commit(&self, commit: Commit) {
        let Commit { mut append, lost, answer } = commit;
        if self.broken == Some(Broken::IdsAreForgotten) {
            for entry in &mut append.entries {
                let id = &entry.meta.id;
                let known = self.disk.memory.by_ids(std::slice::from_ref(id)).await.unwrap();
                if known.iter().any(Option::is_some) {
                    let counter = Counter::new(7).unwrap();
                    entry.meta.id = EventId::with_counter(id.time(), id.node().clone(), counter);
                }
            }
        }
        let (changes, if_known) = (append.records.clone(), append.if_known);
        let mut stored = self.disk.memory.submit(append).await.unwrap();
        if answer.is_none() {
            let mut unwritten = self.unwritten.lock().unwrap();
            unwritten.submitted.drain(..changes.len());
        }
        if if_known == IfKnown::LeaveOut || stored.known.is_empty() {
            self.mirror_records(&changes);
        }
        self.mirror_events(&stored);
        stored.entries.extend(lost.map(|entry| Some(Arc::new(entry))));
        if let Some(answer) = answer {
            // Nobody has to wait for it.
            let _ = answer.send(Ok(stored));
        }
    }

    fn mirror_events(&self, stored: &Stored<Number>) {
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
    }

    fn mirror_records(&self, changes: &[RecordChange]) {
        let mut mirror = self.disk.mirror.lock().unwrap();
        let mirror = &mut *mirror;
        let is_put = |change: &RecordChange| {
            matches!(change, RecordChange::Put(..) | RecordChange::PutNew(..))
        };
        let mut peers = HashSet::new();
        for change in changes {
            match change.key().record().expect("a record that this library knows") {
                Record::SetAside(id) if is_put(change) => {
                    let RecordChange::PutNew(_, text) = change else { unreachable!() };
                    let (_, event): (u64, SetAside) = serde_json::from_str(text).unwrap();
                    mirror.set_aside.entry(id).or_insert(event.meta.source);
                }
                Record::SetAside(id) => drop(mirror.set_aside.remove(&id)),
                Record::HeldBack(peer, id) if is_put(change) => {
                    mirror.was_held_back.insert(id.clone());
                    mirror.held_back.entry(peer).or_default().insert(id);
                }
                Record::HeldBack(peer, id) => {
                    mirror.held_back.entry(peer).or_default().remove(&id);
                }
                Record::Peer(peer, PeerRecord::Sent) if is_put(change) => {
                    let is_hostile = self.disk.hostile.as_ref() == Some(&peer);
                    if !self.disk.may_reset.load(Ordering::Relaxed) && !is_hostile {
                        let what = format!("the log of {peer} counts as replaced, but never was");
                        mirror.violations.push(what);
                    }
                    // It may fall.
                    mirror.cursors.remove(&peer);
                    peers.insert(peer);
                }
                Record::Peer(peer, _) => drop(peers.insert(peer)),
                _ => {}
            }
        }
        for peer in peers {
            let cursors = self.disk.cursors(&peer, &self.unwritten());
            let before = mirror.cursors.insert(peer, cursors).unwrap_or_default();
            if before.sent > cursors.sent || before.received > cursors.received {
                mirror.violations.push(format!("cursors fell from {before:?} to {cursors:?}"));
            }
        }
    }

    fn unwritten(&self) -> Vec<RecordChange> {
        let unwritten = self.unwritten.lock().unwrap();
        unwritten.submitted.iter().chain(&unwritten.waiting).cloned().collect()
    }
}

impl Disk {
    /// The records whose keys begin so, with changes that are not written yet.
    fn records(&self, prefix: &Prefix, unwritten: &[RecordChange]) -> BTreeMap<Key, String> {
        let records = Store::<Number>::records(&self.memory, prefix, None, usize::MAX);
        let records = records.now_or_never();
        let records = records.expect("a store in memory answers at once").unwrap();
        let mut records: BTreeMap<_, _> = records.into_iter().collect();
        for change in unwritten {
            let key = change.key().clone();
            if key.as_str().starts_with(prefix.as_str()) {
                let text = change.clone().apply(records.get(&key).map(String::as_str));
                records.extend(text.map(|text| (key, text)));
            }
        }
        records
    }

    fn cursors(&self, peer: &NodeId, unwritten: &[RecordChange]) -> Cursors {
        let mut cursors = Cursors::default();
        for (key, text) in self.records(&Prefix::new(format!("peer {peer} ")), unwritten) {
            let position = || Added::new(text.parse().unwrap()).unwrap();
            match key.record() {
                Some(Record::Peer(_, PeerRecord::Sent)) => cursors.sent = position(),
                Some(Record::Peer(_, PeerRecord::Received)) => cursors.received = position(),
                Some(Record::Peer(_, PeerRecord::ReturnUpTo)) => cursors.return_up_to = position(),
                _ => {}
            }
        }
        cursors
    }
}

#[async_trait::async_trait]
impl Store<Number> for SlowStore {
    fn submit(&self, mut append: Append<Number>) -> Answer<Number> {
        let Process { broken, unwritten, .. } = &*self.process;
        if *broken == Some(Broken::CursorsFall) {
            for change in &mut append.records {
                if let RecordChange::Raise(key, to) = change {
                    *change = RecordChange::Put(key.clone(), to.to_string());
                }
            }
        }
        let is_of_records =
            append.entries.is_empty() && append.changes.is_empty() && append.forget.is_none();
        if append.may_wait && is_of_records && self.process.killed.load(Ordering::Relaxed) {
            return Answer::later(std::future::pending());
        }
        if append.may_wait && is_of_records {
            unwritten.lock().unwrap().waiting.extend(append.records.iter().cloned());
            self.process.mirror_records(&append.records);
            return Answer::ready(Ok(Stored::default()));
        }
        let loses = *broken == Some(Broken::LosesTheLast) && append.entries.len() > 3;
        let lost = if loses { append.entries.pop() } else { None };
        let (answer, answered) = oneshot::channel();
        {
            let mut unwritten = unwritten.lock().unwrap();
            let waited = std::mem::take(&mut unwritten.waiting);
            unwritten.submitted.extend(waited.iter().cloned());
            let before = Commit { append: Append::records(waited), lost: None, answer: None };
            let commit = Commit { append, lost, answer: Some(answer) };
            for commit in [before, commit] {
                // Nobody writes for a process that is dead.
                let _ = self.commits.send(commit);
            }
        }
        Answer::later(async { answered.await.map_err(StoreError::new)? })
    }

    fn end(&self) -> Arc<End> {
        Store::<Number>::end(&self.process.disk.memory)
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<Number>>>, StoreError> {
        self.process.delay().await;
        self.process.disk.memory.read(query, page).await
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<Number>>>>, StoreError> {
        self.process.disk.memory.by_ids(ids).await
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        Store::<Number>::id_states(&self.process.disk.memory, ids).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        Store::<Number>::last_time(&self.process.disk.memory, node).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Store::<Number>::count(&self.process.disk.memory).await
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        self.process.delay().await;
        let page = |records: BTreeMap<Key, String>| {
            let records = records.into_iter().filter(|(key, _)| Some(key) > after);
            Ok(records.take(at_most).collect())
        };
        let Process { broken, disk, random, .. } = &*self.process;
        if *broken == Some(Broken::IdentityChanges) && prefix.as_str() == "epoch" {
            let epoch = Epoch::new(random.lock().unwrap().u64(..));
            return page(BTreeMap::from([(Key::new("epoch"), epoch.to_string())]));
        }
        if *broken == Some(Broken::CursorsAreShared) && prefix.as_str().starts_with("peer ") {
            let all = disk.records(&Prefix::new("peer "), &self.process.unwritten());
            let Some((first, _)) = all.first_key_value() else { return Ok(Vec::new()) };
            let of_first = first.as_str().rsplit_once(' ').unwrap().0.to_owned() + " ";
            let of_first = all.into_iter().filter(|(key, _)| key.as_str().starts_with(&of_first));
            let renamed = of_first.map(|(key, text)| {
                let field = key.as_str().rsplit_once(' ').unwrap().1;
                (Key::new(format!("{}{field}", prefix.as_str())), text)
            });
            return page(renamed.collect());
        }
        page(disk.records(prefix, &self.process.unwritten()))
    }
}
