use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{
    Added, Codec, Event, EventId, EventLimits, MAX_SAFE_INTEGER, NodeId, Timestamp,
};
use logux_transports::rt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot};

use super::adding::Last;
use super::cleaned::{self, Cleaned};
use super::consumer;
use super::earlier::Earlier;
use super::encoded::{Encoded, EncodedByCodec};
use super::entries::Entries;
use super::inbox::{Filling, Queues};
use super::interest::{Interest, Interests};
use super::known::{Known, Peers};
use super::options::Behaviour;
use super::room::Room;
use super::tail::Tail;
use super::{Clock, Follow, LogOptions};
use crate::cursors::Epoch;
use crate::entry::{Created, Entry};
use crate::store::{
    Answer, Append, End, Forget, IdState, Key, Page, Prefix, Query, RecordChange, Store, StoreError,
};

/// A node's events: what the program adds, and what its peers send.
///
/// A handle; clones are the same log. An event that was added is there when `add` returns, as
/// safe as the [`Store`] makes it, and every session of the log sends it from there: the log is
/// the queue.
///
/// The Logux project calls an event an *action* since its version 0.2.
///
/// ```
/// use logux_sync::{Added, Log, MemoryStore};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// #[serde(tag = "type")]
/// enum Counter {
///     #[serde(rename = "counter/inc")]
///     Inc { by: i64 },
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::open("10:uuid".parse()?, MemoryStore::new()).await?;
/// let entry = log.add(Counter::Inc { by: 1 }).await?;
/// assert_eq!(log.entries_after(Added::ZERO, 100).await?, [entry]);
/// # Ok(())
/// # }
/// ```
pub struct Log<E> {
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    node_id: NodeId,
    store: Arc<dyn Store<E>>,
    clock: Clock,
    event_limits: EventLimits,
    behaviour: Behaviour<E>,
    /// Shows the events that are cleaned.
    cleaned: broadcast::Sender<Arc<Entry<E>>>,
    /// What ids and times were given last.
    last: Mutex<Last>,
    end: Arc<End>,
    tail: Tail<E>,
    encoded: EncodedByCodec,
    interests: Interests,
    /// Room for events that wait for the store.
    waiting: Arc<Semaphore>,
    /// The last one of [`Log::next_number`].
    number: AtomicU64,
    epoch: Epoch,
    room: Mutex<Room>,
    /// By peer.
    known: Mutex<Peers>,
    /// The names of the consumers that there are now.
    consumers: consumer::Names,
    queues: Queues,
}

impl<E> Log<E> {
    /// The queues of the inbox.
    pub(super) fn queues(&self) -> &Queues {
        &self.shared.queues
    }
}

impl<E: Event> Log<E> {
    /// Opens the log of a node that the store keeps, by the system's clock.
    ///
    /// `node_id` must be unique among all nodes that exchange events, and no two logs may be open
    /// on one store at the same time.
    ///
    /// Ids go on from the last one of the store, also where the clock shows a time before 2026, as clocks
    /// without a battery do. Only after one that is more than a day ahead of another clock do they follow
    /// the clock again, or a clock that was wrong once would make all later ids wrong.
    ///
    /// Events that were [set aside](Self::set_aside) and that `E` can read now are added. Where a filter
    /// has to be asked first, that waits for the next session with the client that the event came from,
    /// whichever its tab is.
    pub async fn open(node_id: NodeId, store: impl Store<E>) -> Result<Self, StoreError> {
        Self::open_with(node_id, Arc::new(store), LogOptions::new()).await
    }

    /// Opens a log on a store that others hold, too, or with options: a [`Clock`](crate::Clock) is one.
    pub async fn open_with(
        node_id: NodeId,
        store: Arc<dyn Store<E>>,
        options: impl Into<LogOptions<E>>,
    ) -> Result<Self, StoreError> {
        let LogOptions { clock, event_limits, is_restored, behaviour } = options.into();
        let opened = clock.now();
        let last_id = store.last_time(&node_id).await?.unwrap_or_default();
        // An id from beyond tomorrow may have come from a peer, or from a clock that was wrong. To go on
        // from there would make all ids lie, or end them; an id that is taken is passed over.
        let last_id = if last_id <= tomorrow(opened) {
            last_id
        } else if opened.value() < WRITTEN_MS && made_here(&*store, &node_id, last_id).await? {
            // Not that id is wrong, but the clock: it has lost the time, as those without a battery do.
            last_id
        } else {
            Timestamp::ZERO
        };
        // Events that wait in the inbox have their ids, too. This node gave them itself.
        let handed_in = Key::handed_in();
        let text = record(&*store, &handed_in).await?;
        let time = text.map(|text| {
            let time = text.parse().ok().and_then(Timestamp::new);
            time.ok_or_else(|| StoreError::damaged(&handed_in, &text))
        });
        let is_right = |time: &Timestamp| *time <= tomorrow(opened) || opened.value() < WRITTEN_MS;
        let last_id = time.transpose()?.filter(is_right).unwrap_or_default().max(last_id);
        let epoch = identity(&*store, is_restored).await?;
        let log = Self {
            shared: Arc::new(Shared {
                node_id,
                clock,
                event_limits,
                behaviour,
                cleaned: broadcast::Sender::new(cleaned::MAX_WAITING),
                last: Mutex::new(Last {
                    id: last_id,
                    time: Timestamp::ZERO,
                    earlier: Earlier::new(opened.max(last_id)),
                }),
                tail: Tail::new(&store.end()),
                encoded: EncodedByCodec::default(),
                interests: Interests::default(),
                end: store.end(),
                waiting: Arc::new(Semaphore::new(MAX_WAITING)),
                // After those of an earlier process, also where the clock stands still.
                number: AtomicU64::new(last_id.value().saturating_mul(1 << 10)),
                store,
                epoch,
                room: Mutex::default(),
                known: Mutex::default(),
                consumers: Mutex::default(),
                queues: Queues::default(),
            }),
        };
        log.take_up_what_can_be_read().await?;
        Ok(log)
    }

    /// The name of the node whose log this is.
    pub fn node_id(&self) -> &NodeId {
        &self.shared.node_id
    }

    /// Where the time of day comes from.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The time now, by the log's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The position of the last event; zero if there is none.
    pub fn last_added(&self) -> Added {
        self.shared.end.get()
    }

    /// What an event must keep to, to be added.
    pub fn event_limits(&self) -> EventLimits {
        self.shared.event_limits
    }

    /// The events whose position is above `added`, in the order in which they came: a [`Page`] of them, or at
    /// most so many if it is a number.
    pub async fn entries_after(
        &self,
        added: Added,
        page: impl Into<Page>,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        self.shared.store.read(Query::added(added), page.into()).await
    }

    /// A page of the events whose position is above `added`, up to the end of the log and in the order in which
    /// they came, for those that read all of them as they come.
    pub(crate) async fn next_after(
        &self,
        added: Added,
        page: Page,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let Shared { tail, store, .. } = &*self.shared;
        tail.read(store, added, page).await
    }

    /// The newest events as codecs of this type write them, for all sessions.
    pub(crate) fn encoded<C: Codec>(&self) -> Arc<Encoded> {
        self.shared.encoded.of::<C>()
    }

    /// A session is only sent events with one of these indexes, and woken by no others.
    pub(crate) fn interest_in(
        &self,
        indexes: HashSet<String>,
        late: HashMap<String, Added>,
    ) -> Interest {
        let Shared { interests, store, tail, .. } = &*self.shared;
        interests.register(indexes, late, store, tail)
    }

    /// The events that were created after `position` (all, for `None`), oldest first: a [`Page`] of them, or
    /// at most so many if it is a number. All nodes agree on this order.
    pub async fn entries_created_after(
        &self,
        position: Option<&Created>,
        page: impl Into<Page>,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        self.shared.store.read(Query::created(position.cloned()), page.into()).await
    }

    /// The event of that id.
    pub async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<E>>>, StoreError> {
        Ok(self.by_ids(std::slice::from_ref(id)).await?.pop().flatten())
    }

    /// What is known of these ids, in their order.
    pub(crate) async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        self.shared.store.id_states(ids).await
    }

    pub(crate) async fn by_ids(
        &self,
        ids: &[EventId],
    ) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        self.shared.store.by_ids(ids).await
    }

    /// All events above a position, then each that is added, as a stream without end.
    ///
    /// ```
    /// # use futures_util::StreamExt;
    /// # use logux_sync::{Added, Log, MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
    /// let mut entries = log.follow(Added::ZERO);
    /// log.add("hello".to_owned()).await?;
    /// assert_eq!(entries.next().await.unwrap()?.event, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow(&self, after: Added) -> Follow<E> {
        Follow::new(self.clone(), after)
    }

    /// The events of the log, in an order and by what they are found by, as a stream or in pages.
    pub fn entries(&self) -> Entries<E> {
        Entries::new(self.clone())
    }

    /// Waits until the store has kept all that was submitted to it so far. Tells thereby whether it can keep anything
    /// now: it fails where the disk is full, and a durable store takes as long as a transaction takes.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.submit(Append::records(Vec::new())).await.map(drop)
    }

    /// How many events there are.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.shared.store.count().await
    }

    /// The events that this process cleans from now on.
    ///
    /// ```
    /// # use futures_util::StreamExt;
    /// # use logux_sync::{Draft, Log, MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
    /// let mut cleaned = log.cleaned();
    /// log.add(Draft::new("one".to_owned()).keep_last("size")).await?;
    /// log.add(Draft::new("two".to_owned()).keep_last("size")).await?;
    /// assert_eq!(cleaned.next().await.unwrap()?.event, "one");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cleaned(&self) -> Cleaned<E> {
        Cleaned::new(self.shared.cleaned.subscribe())
    }

    /// Shows an event that is gone, or that was never kept.
    pub(super) fn tell_cleaned(&self, entry: &Arc<Entry<E>>) {
        // Nobody has to listen.
        let _ = self.shared.cleaned.send(Arc::clone(entry));
    }

    /// What happens to events as they are added, and after they are gone.
    pub(super) fn behaviour(&self) -> &Behaviour<E> {
        &self.shared.behaviour
    }

    /// A page of events.
    pub(crate) async fn read(
        &self,
        query: Query,
        page: Page,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        // Others have their turn between the pages of a store that answers at once.
        rt::consume_budget().await;
        self.shared.store.read(query, page).await
    }

    /// Whether all events above one position and up to another came from a peer.
    pub(crate) async fn came_from(
        &self,
        peer: Option<&NodeId>,
        mut after: Added,
        up_to: Added,
    ) -> Result<bool, StoreError> {
        const PAGE: usize = 256;

        while after < up_to {
            let entries = self.entries_after(after, PAGE).await?;
            let mut looked_at = entries.iter().take_while(|entry| entry.meta.added <= up_to);
            if !looked_at
                .all(|entry| entry.meta.source.is_some() && entry.meta.source.as_ref() == peer)
            {
                return Ok(false);
            }
            let Some(last) = entries.last() else { break };
            after = last.meta.added;
        }
        Ok(true)
    }

    /// Which log this is, for peers to notice when it is another one.
    pub(crate) fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// What is known of a peer.
    pub(crate) fn known(&self, peer: &NodeId) -> Known {
        // Nothing panics while the lock is held.
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).get(peer)
    }

    /// Whether a peer is connected.
    pub(super) fn is_here(&self, peer: &NodeId) -> bool {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).is_here(peer)
    }

    /// Where the log ends, now and later.
    pub(crate) fn end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Room for this many bytes of events that wait for the store. `None` after the end of all things: nobody
    /// closes the semaphore.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(MAX_WAITING)).unwrap_or(u32::MAX);
        let waiting = || Arc::clone(&self.shared.waiting);
        match waiting().try_acquire_many_owned(bytes) {
            Ok(room) => Some(room),
            // Rarely: the wait takes room in each future that may have it.
            Err(_) => Box::pin(waiting().acquire_many_owned(bytes)).await.ok(),
        }
    }

    /// What was given last. Held while a store is given events, so that ids and positions have one order.
    /// Nothing panics meanwhile.
    pub(super) fn last(&self) -> MutexGuard<'_, Last> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not give those of these ids again that are of this node, as when it lost its log and a peer sends back its
    /// events. Answers the last of their times. One from the far future would make all later ids lie, or end them.
    pub(super) fn pass_over<'a>(
        &self,
        last: &mut Last,
        ids: impl Iterator<Item = &'a EventId>,
    ) -> Option<Timestamp> {
        let tomorrow = tomorrow(self.now());
        let own = ids.filter(|id| id.node() == self.node_id()).map(EventId::time);
        let own = own.filter(|time| *time <= tomorrow).max();
        last.id = own.map_or(last.id, |own| own.max(last.id));
        own
    }

    /// Nothing panics while the lock is held.
    pub(super) fn room(&self) -> MutexGuard<'_, Room> {
        self.shared.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number above all that were given before, by this process or an earlier one whose clock was not ahead.
    pub(super) fn next_number(&self) -> u64 {
        let now = self.now().value().saturating_mul(1 << 10);
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.shared.number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(last.unwrap_or_default()).unwrap_or_default()
    }

    /// Gives an append to the store.
    pub(super) fn submit(&self, append: Append<E>) -> Answer<E> {
        self.submit_with(append, Vec::new())
    }

    /// The same; these queues of the inbox are told when it is made.
    pub(super) fn submit_with(&self, mut append: Append<E>, fillings: Vec<Filling>) -> Answer<E> {
        if !append.entries.is_empty() && self.shared.store.shows_what_it_keeps() {
            append = self.shared.tail.fed_by(append);
        }
        if append.changes.is_empty() && fillings.is_empty() {
            return self.shared.store.submit(append);
        }
        if !append.changes.is_empty() {
            let Behaviour { remember_for, remember_at_most, .. } = &self.shared.behaviour;
            let for_ms = i64::try_from(remember_for.as_millis()).unwrap_or(i64::MAX);
            let before = self.now().shifted(-for_ms).unwrap_or(Timestamp::ZERO);
            append.forget = Some(Forget { before, at_most: *remember_at_most });
        }
        let shows_cleaned = self.shared.cleaned.receiver_count() > 0;
        let answer = self.shared.store.submit(append.showing_cleaned(shows_cleaned));
        if !shows_cleaned && fillings.is_empty() {
            return answer;
        }
        let log = self.clone();
        let tell = async move {
            let stored = answer.await?;
            for entry in &stored.cleaned {
                log.tell_cleaned(entry);
            }
            for filling in fillings {
                filling.done(log.queues());
            }
            Ok(stored)
        };
        if !rt::can_spawn() {
            return Answer::later(tell);
        }
        // Whoever called may have gone.
        let (told, answer) = oneshot::channel();
        rt::spawn(async move {
            let _ = told.send(tell.await);
        });
        Answer::later(async { answer.await.map_err(StoreError::new)? })
    }

    pub(crate) async fn record(&self, key: &Key) -> Result<Option<String>, StoreError> {
        record(&*self.shared.store, key).await
    }

    /// The first records whose keys begin so and come after this one.
    pub(super) async fn some_records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        self.shared.store.records(prefix, after, at_most).await
    }

    /// All records whose keys begin so, of which there are few.
    pub(super) async fn records(&self, prefix: &Prefix) -> Result<Vec<(Key, String)>, StoreError> {
        self.shared.store.records(prefix, None, usize::MAX).await
    }
}

/// So many bytes of events may wait for a store.
const MAX_WAITING: usize = 16 << 20;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// 2026, when this was written. A clock that shows an earlier time is wrong.
const WRITTEN_MS: u64 = 1_767_225_600_000;

/// Whether this node made its event of that time itself.
async fn made_here<E: Event>(
    store: &dyn Store<E>,
    node_id: &NodeId,
    time: Timestamp,
) -> Result<bool, StoreError> {
    let found = store.by_ids(&[EventId::new(time, node_id.clone())]).await?;
    Ok(found.into_iter().flatten().any(|entry| entry.meta.source.is_none()))
}

/// The text of a record. Others may have keys that begin with its key, and come after it.
async fn record<E: Event>(store: &dyn Store<E>, key: &Key) -> Result<Option<String>, StoreError> {
    let records = store.records(&Prefix::of(key), None, 1).await?;
    Ok(records.into_iter().find(|(other, _)| other == key).map(|(_, text)| text))
}

/// The identity of the log in a store; one that is new, or another one than before, gets one.
async fn identity<E: Event>(store: &dyn Store<E>, is_another: bool) -> Result<Epoch, StoreError> {
    let key = Key::epoch();
    if let Some(text) = record(store, &key).await?.filter(|_| !is_another) {
        return Epoch::parse(&text).ok_or_else(|| StoreError::damaged(&key, &text));
    }
    let epoch = Epoch::random();
    store.submit(Append::records(vec![RecordChange::Put(key, epoch.to_string())])).await?;
    Ok(epoch)
}

/// A day later, or the last moment that there is.
pub(super) fn tomorrow(now: Timestamp) -> Timestamp {
    let last = Timestamp::new(MAX_SAFE_INTEGER).unwrap_or(now);
    now.shifted(DAY_MS).unwrap_or(last)
}

impl<E> Log<E> {
    /// The names of the consumers that there are now.
    pub(super) fn consumer_names(&self) -> &consumer::Names {
        &self.shared.consumers
    }
}

impl<E> Clone for Log<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<E> fmt::Debug for Log<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("node_id", &self.shared.node_id)
            .field("last_added", &self.shared.end.get())
            .finish_non_exhaustive()
    }
}
