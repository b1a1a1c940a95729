use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

use logux_codecs::{Added, Event, EventId, EventLimits, MAX_SAFE_INTEGER, NodeId, Timestamp};
use tokio::sync::Mutex;

use super::earlier::Earlier;
use super::known::{Known, Peers};
use super::position::Position;
use super::room::Room;
use super::{AddError, Clock, Follow, HoldBackError, LogOptions};
use crate::apart::{Refused, SetAside};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Created, Draft, Entry, Incoming};
use crate::store::{IfKnown, Store, StoreError, Stored};

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
    /// What ids and times were given last. Held while the store adds, so that ids and positions have
    /// one order, and the store is asked for one thing at a time.
    last: Mutex<Last>,
    end: Arc<Position>,
    epoch: Epoch,
    room: std::sync::Mutex<Room>,
    /// By peer.
    known: std::sync::Mutex<Peers>,
}

/// What this node gave to its own events last.
#[derive(Debug)]
struct Last {
    /// The time in the last id. It may run ahead of the clock: ids do not repeat.
    id: Timestamp,
    /// The time of the last event. It follows the clock.
    time: Timestamp,
    /// What it gave before the log was opened.
    earlier: Earlier,
    /// The store may hold more than is known: it did not answer what it was asked last.
    is_unclear: bool,
}

/// Events that are added in one transaction of the store.
#[derive(Debug)]
struct Batch<E> {
    entries: Vec<Entry<E>>,
    /// How many drafts the call has.
    count: usize,
    /// For each entry: its place in the call, and whether its draft brought its id, which may be known.
    /// Empty where no draft of the call brought one: then each entry is in its place.
    places: Vec<(usize, bool)>,
    /// What is known already, with its place in the call.
    there: Vec<(usize, Arc<Entry<E>>)>,
    /// The places of drafts with an id that an earlier draft of the call brought, and its place.
    repeated: Vec<(usize, usize)>,
    /// How many ids are passed over next, if one is taken.
    step: i64,
}

/// What became of the events of a peer, beside those that are in the log now.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Those that cannot be read, and are set aside.
    pub(crate) set_aside: Vec<Refused>,
    /// Those that cannot be read, and for which there is no room.
    pub(crate) refused: Vec<Refused>,
    /// There is an event of this node that neither this process nor an earlier one made: told once for each
    /// connection.
    pub(crate) has_twin: bool,
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
        options: impl Into<LogOptions>,
    ) -> Result<Self, StoreError> {
        let LogOptions { clock, event_limits } = options.into();
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
        let last_added = store.last_added().await?;
        let epoch = store.epoch().await?;
        let log = Self {
            shared: Arc::new(Shared {
                node_id,
                store,
                clock,
                event_limits,
                last: Mutex::new(Last {
                    id: last_id,
                    time: Timestamp::ZERO,
                    earlier: Earlier::new(opened.max(last_id)),
                    is_unclear: false,
                }),
                end: Arc::new(Position::new(last_added)),
                epoch,
                room: std::sync::Mutex::default(),
                known: std::sync::Mutex::default(),
            }),
        };
        let set_aside = log.set_aside().await?;
        for event in &set_aside {
            // What is there has its room.
            log.room().take(event);
        }
        let (ids, entries) = log.readable(set_aside, |event| !event.unjudged);
        log.take_up(&ids, entries).await?;
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

    /// Adds an event, or a [`Draft`] with more to say, and answers its entry once the store has it.
    ///
    /// For a draft with an id that the log has already, answers the entry that is there. An event that
    /// cannot be sent to every peer is refused: see [`EventLimits`].
    ///
    /// A call that is dropped before it is ready may or may not add the event.
    pub async fn add(&self, event: impl Into<Draft<E>>) -> Result<Arc<Entry<E>>, AddError> {
        let mut entries = self.add_batch([event.into()]).await?;
        let no_answer = || StoreError::new("the store gave no answer");
        Ok(entries.pop().ok_or_else(no_answer)?)
    }

    /// Adds events in one transaction of the store, in their order; all of them or, on an error,
    /// none. Answers as [`add`](Self::add) does, one entry for each draft.
    pub async fn add_batch<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        let events = events.into_iter();
        let mut last = self.shared.last.lock().await;
        let now = self.now();
        let mut batch = Batch::new(events.size_hint().0);
        // The ids that drafts brought, and the place of the first with each.
        let mut brought = HashMap::new();
        for event in events {
            let mut draft = event.into();
            let place = batch.count;
            let checked = self.shared.event_limits.check_event(&draft.event, &draft.extra);
            checked.map_err(|reason| AddError::Unfit { place: place + 1, reason })?;
            batch.count += 1;
            let Some(id) = draft.id.take() else {
                let id = self.next_id(&mut last, now)?;
                batch.push(draft.into_entry(id, last.next_time(now)), place, false);
                continue;
            };
            if let Some(&first) = brought.get(&id) {
                batch.repeated.push((place, first));
                continue;
            }
            // An id of this node that its program brings along must not be given again.
            if *id.node() == self.shared.node_id {
                last.id = id.time().max(last.id);
            }
            brought.insert(id.clone(), place);
            let time = id.time();
            batch.push(draft.into_entry(id, time), place, true);
        }
        for _ in 0..MAX_ATTEMPTS {
            if batch.entries.is_empty() {
                return Ok(batch.answers(Vec::new())?);
            }
            let entries = std::mem::take(&mut batch.entries);
            let stored = self.store_all(&mut last, entries, None, IfKnown::AddNone).await?;
            if stored.known.is_empty() {
                return Ok(batch.answers(stored.entries)?);
            }
            batch.entries = stored.known;
            self.pass_over_what_is_known(&mut last, &mut batch).await?;
        }
        Err(StoreError::new("the store says of every id that it is known").into())
    }

    /// Prepares a batch that was not added, as an id of it was known, to be added once more.
    async fn pass_over_what_is_known(
        &self,
        last: &mut Last,
        batch: &mut Batch<E>,
    ) -> Result<(), StoreError> {
        let before = batch.entries.len();
        if !batch.places.is_empty() {
            let entries = std::mem::take(&mut batch.entries);
            let places = std::mem::take(&mut batch.places);
            for (entry, (place, is_brought)) in entries.into_iter().zip(places) {
                if is_brought && let Some(there) = self.by_id(&entry.meta.id).await? {
                    batch.there.push((place, there));
                } else {
                    batch.entries.push(entry);
                    batch.places.push((place, is_brought));
                }
            }
        }
        if batch.entries.len() == before {
            // An id that was given is taken. A row of those may be long: each time more are passed over.
            last.id = last.id.shifted(batch.step).unwrap_or(last.id);
            batch.step = batch.step.saturating_mul(2).saturating_add(1);
            let now = self.now();
            for (index, entry) in batch.entries.iter_mut().enumerate() {
                if !batch.places.get(index).is_some_and(|(_, is_brought)| *is_brought) {
                    entry.meta.id = self.next_id(last, now)?;
                }
            }
        }
        Ok(())
    }

    /// At most `limit` events whose position is above `added`, in the order in which they came.
    pub async fn entries_after(
        &self,
        added: Added,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        self.shared.store.entries_after(added, limit).await
    }

    /// At most `limit` events that were created after `position` (all, for `None`), oldest first:
    /// an order that all nodes agree on.
    pub async fn entries_created_after(
        &self,
        position: Option<&Created>,
        limit: usize,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        self.shared.store.entries_created_after(position, limit).await
    }

    /// The event of that id.
    pub async fn by_id(&self, id: &EventId) -> Result<Option<Arc<Entry<E>>>, StoreError> {
        self.shared.store.by_id(id).await
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
        Follow::new(Arc::clone(&self.shared.store), Arc::clone(&self.shared.end), after)
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

    /// How far the log and that of a peer are in step.
    pub async fn cursors(&self, peer: &NodeId) -> Result<Cursors, StoreError> {
        self.shared.store.cursors(peer).await
    }

    /// The node that answered when this one last dialled.
    pub(crate) async fn dialled(&self) -> Result<Option<NodeId>, StoreError> {
        self.shared.store.dialled().await
    }

    pub(crate) async fn set_dialled(&self, peer: &NodeId) -> Result<(), StoreError> {
        self.shared.store.set_dialled(peer).await
    }

    pub(crate) async fn advance_sent(&self, peer: &NodeId, sent: Added) -> Result<(), StoreError> {
        self.shared.store.advance_sent(peer, sent).await
    }

    pub(crate) async fn reset_cursors(
        &self,
        peer: &NodeId,
        cursors: Cursors,
    ) -> Result<(), StoreError> {
        self.shared.store.reset_cursors(peer, cursors).await
    }

    pub(crate) async fn set_epoch(&self, peer: &NodeId, epoch: Epoch) -> Result<(), StoreError> {
        self.shared.store.set_epoch(peer, epoch).await
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

    /// Where the log ends, now and later.
    pub(crate) fn end(&self) -> &Arc<Position> {
        &self.shared.end
    }

    /// Adds what a peer sent, and moves its cursor, in one transaction; what cannot be read is set aside
    /// before.
    ///
    /// A peer may send back what this node made before it lost its log: such an id is not given again.
    /// That moves ids, never the clock.
    pub(crate) async fn receive(&self, received: Incoming<E>) -> Result<Received, StoreError> {
        let Incoming { peer, entries, set_aside, up_to } = received;
        let mut last = self.shared.last.lock().await;
        let (kept, mut outcome) = self.make_room(set_aside);
        if !kept.is_empty() {
            self.shared.store.set_aside(kept).await?;
        }
        let own: Vec<_> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| *entry.meta.id.node() == self.shared.node_id)
            .map(|(index, entry)| (index, entry.meta.id.time()))
            .collect();
        let stored =
            self.store_all(&mut last, entries, Some((&peer, up_to)), IfKnown::LeaveOut).await?;
        let now = self.now();
        let tomorrow = tomorrow(now);
        let mut has_twin = false;
        for (index, time) in own {
            let is_new = stored.entries.get(index).is_some_and(Option::is_some);
            let is_earlier = last.earlier.may_hold(time, now);
            has_twin |= is_new && !is_earlier && time <= tomorrow;
            // One from the far future would make all later ids lie, or end them.
            if time <= tomorrow {
                last.id = last.id.max(time);
            }
        }
        outcome.has_twin = has_twin && self.known(&peer).first_sees_twin();
        Ok(outcome)
    }

    /// Counts what is to be set aside. Answers what there is room for, and tells of all.
    fn make_room(&self, events: Vec<SetAside>) -> (Vec<SetAside>, Received) {
        let mut received = Received::default();
        let kept = events.into_iter().filter(|event| {
            let has_room = self.room().take(event);
            let told = Refused::new(event.meta.id.clone(), event.reason.clone());
            let list = if has_room { &mut received.set_aside } else { &mut received.refused };
            list.push(told);
            has_room
        });
        let kept = kept.collect();
        (kept, received)
    }

    /// The events of peers that this program cannot read, oldest first: at most 1,000 with 4 MiB of
    /// each user, with all of its clients and tabs, and 10,000 with 32 MiB in all. Further ones are refused.
    /// Bytes are those of the events and their meta as JSON, and of the reasons. The user is the part of a
    /// node id before the first colon; of a node without one, the node.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.shared.store.events_set_aside().await
    }

    /// Gives up events that are set aside.
    pub async fn forget_set_aside(&self, ids: &[EventId]) -> Result<(), StoreError> {
        self.shared.store.remove_set_aside(ids).await?;
        self.room().give_back(ids);
        Ok(())
    }

    /// The events that a peer did not take, oldest first, with the reasons: they are in this log, and
    /// the peer has them not. At most 10,000: a peer that refuses more ends the connection, and what is not
    /// listed is sent again in the next.
    ///
    /// [`SessionHandle::offer_again`](crate::SessionHandle::offer_again) sends them again. What is
    /// [doubtful](Refused::is_doubtful) is offered by itself, once the peer has taken something else, or
    /// after a minute, and then less and less often, at least each hour.
    pub async fn held_back(&self, peer: &NodeId) -> Result<Vec<Refused>, StoreError> {
        self.shared.store.held_back(peer).await
    }

    /// Lists events that a peer did not take. On an error they are not listed, and the cursor must not pass
    /// them.
    pub(crate) async fn hold_back(
        &self,
        peer: &NodeId,
        events: Vec<Refused>,
    ) -> Result<(), HoldBackError> {
        let known = self.known(peer);
        let mut listed = known.listed().lock().await;
        let count = match *listed {
            Some(count) if count + events.len() <= MAX_HELD_BACK => count + events.len(),
            // Counted for the first time, or anew: some may have been listed twice, or taken since.
            _ => {
                let there = self.held_back(peer).await?;
                let ids: HashSet<_> = there.iter().map(|event| &event.id).collect();
                there.len() + events.iter().filter(|event| !ids.contains(&event.id)).count()
            }
        };
        if count > MAX_HELD_BACK {
            return Err(HoldBackError::Full);
        }
        *listed = Some(count);
        Ok(self.shared.store.hold_back(peer, events).await?)
    }

    pub(crate) async fn release(&self, peer: &NodeId, ids: &[EventId]) -> Result<(), StoreError> {
        self.shared.store.release(peer, ids).await
    }

    /// Whether something of a peer's user is set aside.
    pub(crate) fn sets_aside_some_of(&self, peer: &NodeId) -> bool {
        self.room().holds_some_of(peer)
    }

    /// What is set aside of a peer's client, of any of its tabs, and waits for the filters of a session with
    /// it.
    pub(crate) async fn unjudged(
        &self,
        peer: &NodeId,
    ) -> Result<(Vec<EventId>, Vec<Entry<E>>), StoreError> {
        let events = self.set_aside().await?;
        // A browser has another tab id after each load of the page.
        let is_of_client = |event: &SetAside| {
            event.meta.source.as_ref().is_some_and(|source| source.client_id() == peer.client_id())
        };
        Ok(self.readable(events, |event| event.unjudged && is_of_client(event)))
    }

    /// Those of what is set aside that can be read and added.
    fn readable(
        &self,
        events: Vec<SetAside>,
        is_wanted: impl Fn(&SetAside) -> bool,
    ) -> (Vec<EventId>, Vec<Entry<E>>) {
        let read = |SetAside { event, meta, .. }: SetAside| {
            let event = E::deserialize(&event).ok()?;
            self.shared.event_limits.check_event(&event, &meta.extra).ok()?;
            Some((meta.id.clone(), Entry::new(event, meta)))
        };
        events.into_iter().filter(is_wanted).filter_map(read).unzip()
    }

    /// Adds these entries, which were set aside, and sets aside no longer what has these ids.
    pub(crate) async fn take_up(
        &self,
        ids: &[EventId],
        entries: Vec<Entry<E>>,
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut last = self.shared.last.lock().await;
        self.store_all(&mut last, entries, None, IfKnown::LeaveOut).await?;
        self.forget_set_aside(ids).await
    }

    /// Nothing panics while the lock is held.
    fn room(&self) -> MutexGuard<'_, Room> {
        self.shared.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be called with the lock of what was given last, which makes it the only call.
    async fn store_all(
        &self,
        last: &mut Last,
        entries: Vec<Entry<E>>,
        received: Option<(&NodeId, Added)>,
        if_known: IfKnown,
    ) -> Result<Stored<E>, StoreError> {
        // Until there is an answer, also if nobody waits for it any more.
        let was_unclear = std::mem::replace(&mut last.is_unclear, true);
        let stored = self.shared.store.add(entries, received, if_known).await?;
        if let Some(entry) = stored.entries.iter().flatten().last() {
            self.shared.end.advance(entry.meta.added);
        }
        if was_unclear {
            // These are stored, whatever can be known of those before.
            let Ok(end) = self.shared.store.last_added().await else { return Ok(stored) };
            self.shared.end.advance(end);
        }
        last.is_unclear = false;
        Ok(stored)
    }

    /// The next id: later than the last one, whatever the clock does.
    fn next_id(&self, last: &mut Last, now: Timestamp) -> Result<EventId, StoreError> {
        last.id = match last.id.shifted(1) {
            Some(next) => next.max(now),
            // After the last id that there can be, those that are free.
            None if now < last.id => now,
            None => return Err(StoreError::new("there are no more ids")),
        };
        Ok(EventId::new(last.id, self.shared.node_id.clone()))
    }
}

impl<E> Batch<E> {
    fn new(count: usize) -> Self {
        let (places, there, repeated) = (Vec::new(), Vec::new(), Vec::new());
        Self { entries: Vec::with_capacity(count), count: 0, places, there, repeated, step: 0 }
    }

    fn push(&mut self, entry: Entry<E>, place: usize, is_brought: bool) {
        if is_brought || !self.places.is_empty() || place != self.entries.len() {
            let before = self.places.len()..self.entries.len();
            self.places.extend(before.map(|place| (place, false)));
            self.places.push((place, is_brought));
        }
        self.entries.push(entry);
    }

    /// One entry for each draft, once these were added.
    fn answers(self, added: Vec<Option<Arc<Entry<E>>>>) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let mut answers = added;
        if answers.len() != self.count || !self.places.is_empty() {
            let added = std::mem::replace(&mut answers, vec![None; self.count]);
            for ((place, _), entry) in self.places.into_iter().zip(added) {
                answers[place] = entry;
            }
            for (place, entry) in self.there {
                answers[place] = Some(entry);
            }
            for (place, first) in self.repeated {
                let answer = answers[first].clone();
                answers[place] = answer;
            }
        }
        let all: Option<Vec<_>> = answers.into_iter().collect();
        all.ok_or_else(|| StoreError::new("the store neither added nor gave back an event"))
    }
}

impl Last {
    /// The time of an event that is made now. It follows the clock, so that a clock that was wrong once
    /// does not make all later times wrong; but where the clock only steps back a little, events stay in
    /// their order.
    fn next_time(&mut self, now: Timestamp) -> Timestamp {
        let stepped_back = self.time.since(now);
        if !(0..=SMALL_STEP_MS).contains(&stepped_back) {
            self.time = now;
        }
        self.time
    }
}

/// So often a batch is given to the store, which refuses it while an id of it is taken. As each time twice
/// as many ids are passed over, that is enough for all that there can be.
const MAX_ATTEMPTS: usize = 64;

/// So many events are held back from one peer, at most.
pub(super) const MAX_HELD_BACK: usize = 10_000;

/// A clock that is corrected by no more than this many milliseconds does not move times back.
const SMALL_STEP_MS: i64 = 1_000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// 2026, when this was written. A clock that shows an earlier time is wrong.
const WRITTEN_MS: u64 = 1_767_225_600_000;

/// Whether this node made its event of that time itself.
async fn made_here<E: Event>(
    store: &dyn Store<E>,
    node_id: &NodeId,
    time: Timestamp,
) -> Result<bool, StoreError> {
    let entry = store.by_id(&EventId::new(time, node_id.clone())).await?;
    Ok(entry.is_some_and(|entry| entry.meta.source.is_none()))
}

/// A day later, or the last moment that there is.
fn tomorrow(now: Timestamp) -> Timestamp {
    let last = Timestamp::new(MAX_SAFE_INTEGER).unwrap_or(now);
    now.shifted(DAY_MS).unwrap_or(last)
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
