//! The inbox: events that wait for a handler, durably and without positions, in queues.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{Event, EventId};
use serde::de::IgnoredAny;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::Log;
use super::adding::Also;
use super::beside::TOO_OLD;
use super::error::AddError;
use super::options::Choice;
use crate::apart::Refused;
use crate::entry::{Draft, Entry, Meta};
use crate::store::{Append, IdState, Key, Prefix, Record, RecordChange, StoreError};

/// One queue of events that wait for a handler: [`Log::inbox`].
///
/// A waiting event has an id and a time, but no position yet: no session sends it, and no session's cursor passes it.
/// The handler takes the events one by one and settles each: one transaction takes the event out of the queue and adds
/// the events that the handler made of it.
///
/// The handler sees each event at least once and can recognise it by its id. An event comes again if the process ends
/// before the event is settled. It also comes again if it was settled without being added, and the peer sends it again.
///
/// ```
/// # use logux_sync::{Draft, Log, MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
/// log.hand_in("orders", ["two apples".to_owned()]).await?;
/// let mut orders = log.inbox("orders")?;
/// let order = orders.next().await?;
/// let answer = Draft::new("thank you".to_owned());
/// order.settle(|order| vec![order.index("users/1"), answer]).await?;
/// assert_eq!(log.count().await?, 2);
/// # Ok(())
/// # }
/// ```
pub struct Inbox<E> {
    log: Log<E>,
    queue: Arc<Queue>,
    /// What was read and is not settled; what there is besides is read once this is empty.
    read: VecDeque<Kept<E>>,
    /// The last event that was handed out is not settled.
    is_handed_out: bool,
}

/// An event as it waits.
struct Kept<E> {
    key: Key,
    entry: Entry<E>,
    /// Reasons that earlier events lose.
    keep_last: Vec<String>,
    /// Of its text in the store.
    bytes: usize,
}

/// An event that has its meta, and the reasons that earlier events lose.
pub(super) type Named<E> = (Entry<E>, Vec<String>);

/// The meta of an event that waits, if it can be read.
pub(super) fn meta(text: &str) -> Option<Meta> {
    type Text = (u64, (IgnoredAny, Meta, IgnoredAny));
    serde_json::from_str::<Text>(text).ok().map(|(_, (_, meta, _))| meta)
}

/// An event of an [`Inbox`]. One that is dropped comes again.
#[must_use = "an event that is not settled comes again"]
pub struct Waiting<'a, E> {
    inbox: &'a mut Inbox<E>,
    kept: Kept<E>,
    /// What comes after it. Given back when it is settled; else it is all read again.
    rest: VecDeque<Kept<E>>,
}

/// Why an event was not put into a queue, or a queue not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// There is a handle for this queue in this process.
    #[error("the queue {0:?} is open already; drop that handle first")]
    InUse(String),
    /// A queue cannot have this name.
    #[error(
        "a queue cannot have the name {0:?}: it must have between 1 and 300 bytes, without spaces and control characters"
    )]
    Name(String),
    /// Too much waits in the queue.
    #[error(
        "{MAX_EVENTS} events or {MAX_BYTES} bytes wait in the queue {0:?}; wait until its handler has settled some"
    )]
    Full(String),
    /// An event cannot be added to any log.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// So many events may wait in one queue, with so many bytes as JSON.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 32 << 20;

/// So many are read at once.
const PAGE: usize = 256;

/// The queues of this process that are open, or to which something was given.
#[derive(Default)]
pub(super) struct Queues {
    by_name: Mutex<HashMap<String, Arc<Queue>>>,
    unclaimed: Mutex<Unclaimed>,
    /// Rings when there is another one that is unclaimed.
    more: Notify,
}

/// Queues in which something may wait, and of which there is no handle: the one that has waited longest comes first.
#[derive(Default)]
struct Unclaimed {
    in_order: VecDeque<String>,
    names: HashSet<String>,
    /// Those that an earlier process has left are among them.
    has_all: bool,
}

struct Queue {
    name: String,
    state: Mutex<State>,
    /// Held while it is found out how much waits, and while that grows.
    filling: Arc<tokio::sync::Mutex<()>>,
    grown: Notify,
}

/// Events on their way into a queue.
pub(super) struct Filling {
    queue: Arc<Queue>,
    pub(super) changes: Vec<RecordChange>,
    /// How much waits then.
    amount: (usize, usize),
    _held: OwnedMutexGuard<()>,
}

impl Filling {
    /// They are there.
    pub(super) fn done(self, queues: &Queues) {
        let is_open = {
            let mut state = self.queue.state();
            (state.amount, state.has_grown) = (Some(self.amount), true);
            state.is_open
        };
        self.queue.grown.notify_waiters();
        if !is_open {
            queues.offer(self.queue.name.clone());
        }
    }
}

struct State {
    is_open: bool,
    /// Something may be in the store that its handle has not read.
    has_grown: bool,
    /// How much waits; `None` before that was counted.
    amount: Option<(usize, usize)>,
}

impl Default for State {
    fn default() -> Self {
        Self { is_open: false, has_grown: true, amount: None }
    }
}

impl Queues {
    /// Something may wait in a queue that nobody has to do with.
    fn offer(&self, name: String) {
        // Nothing panics while the lock is held.
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if unclaimed.names.insert(name.clone()) {
            unclaimed.in_order.push_back(name);
            self.more.notify_waiters();
        }
    }

    /// The first queue in which something may wait and whose name begins so.
    fn claim(&self, prefix: &str) -> Claimed {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !unclaimed.has_all {
            return Claimed::NotListed;
        }
        let place = unclaimed.in_order.iter().position(|name| name.starts_with(prefix));
        let name = place.and_then(|place| unclaimed.in_order.remove(place));
        let Some(name) = name else { return Claimed::None };
        unclaimed.names.remove(&name);
        Claimed::Queue(name)
    }

    fn withdraw(&self, name: &str) {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if unclaimed.names.remove(name) {
            unclaimed.in_order.retain(|other| other != name);
        }
    }

    fn has_all(&self) {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        unclaimed.has_all = true;
    }

    fn get(&self, name: &str) -> Result<Arc<Queue>, InboxError> {
        let is_refused = |character: char| character.is_control() || character.is_whitespace();
        if name.is_empty() || name.len() > 300 || name.contains(is_refused) {
            return Err(InboxError::Name(name.escape_default().take(300).collect()));
        }
        // Nothing panics while the lock is held.
        let mut queues = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(name) {
            return Ok(Arc::clone(queue));
        }
        // Those that nobody has to do with are counted again when they are wanted.
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        let queue = Arc::new(Queue {
            name: name.to_owned(),
            state: Mutex::default(),
            filling: Arc::default(),
            grown: Notify::new(),
        });
        queues.insert(name.to_owned(), Arc::clone(&queue));
        Ok(queue)
    }
}

/// What there is to claim.
enum Claimed {
    Queue(String),
    None,
    /// That is not known: what an earlier process has left was not looked for.
    NotListed,
}

impl Queue {
    /// Nothing panics while the lock is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event> Log<E> {
    /// Puts events into a queue, in one transaction: each with an id and a time, and without a position. Answers
    /// their ids once the store has them. An event whose id the log has, or that waits in the queue already, is left
    /// out.
    ///
    /// The events must fit the log's [`EventLimits`](crate::EventLimits). At most 10,000 events with 32 MiB wait in one
    /// queue. If the call is dropped before it is ready, either all events wait or none.
    pub async fn hand_in<D: Into<Draft<E>>>(
        &self,
        queue: &str,
        events: impl IntoIterator<Item = D>,
    ) -> Result<Vec<EventId>, InboxError> {
        let events: Vec<Draft<E>> = events.into_iter().map(Into::into).collect();
        let queue = self.queues().get(queue)?;
        let entries = self.named(events)?;
        let ids: Vec<EventId> = entries.iter().map(|(entry, _)| entry.meta.id.clone()).collect();
        // Before the queue is held, as what peers send does.
        let room = self.reserve(entries.iter().map(|(entry, _)| entry.size()).sum()).await;
        let mut too_old = Vec::new();
        let filling = self.fill(&queue, entries, &mut too_old).await?;
        if let Some(Refused { id, .. }) = too_old.pop() {
            let place = ids.iter().position(|other| *other == id).unwrap_or_default() + 1;
            return Err(AddError::Gone { place, id }.into());
        }
        let Some(filling) = filling else { return Ok(ids) };
        let own = ids.iter().filter(|id| id.node() == self.node_id()).map(EventId::time);
        // No later process gives these ids again.
        let own = own.max().map(|last| RecordChange::Raise(Key::handed_in(), last.value()));
        let changes = filling.changes.iter().cloned().chain(own).collect();
        self.submit_with(Append::records(changes).with_room(room), vec![filling]).await?;
        Ok(ids)
    }

    /// Takes out of what a peer sent what is to wait in the inbox. Answers what puts it there.
    ///
    /// Those for which there cannot be such a queue are refused.
    pub(super) async fn divert(
        &self,
        choose: &Choice<E>,
        entries: &mut Vec<Entry<E>>,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<Filling>, StoreError> {
        // In the order of their names, so that no two wait for each other.
        let mut diverted: BTreeMap<String, Vec<Named<E>>> = BTreeMap::new();
        for mut entry in std::mem::take(entries) {
            let Some(queue) = choose(&mut entry) else {
                entries.push(entry);
                continue;
            };
            diverted.entry(queue).or_default().push((entry, Vec::new()));
        }
        let ids = diverted.values().flatten().map(|(entry, _)| &entry.meta.id);
        let own = self.pass_over(&mut self.last(), ids);
        let mut fillings = Vec::with_capacity(diverted.len());
        for (queue, entries) in diverted {
            let queue = match self.queues().get(&queue) {
                Ok(queue) => queue,
                Err(error) => {
                    let ids = entries.into_iter().map(|(entry, _)| entry.meta.id);
                    refused.extend(ids.map(|id| Refused::new(id, error.to_string())));
                    continue;
                }
            };
            let filling = self.fill(&queue, entries, refused).await.map_err(|error| match error {
                InboxError::Store(error) => error,
                // The handler gets on, and then the peer can come again.
                full => StoreError::busy(full),
            });
            fillings.extend(filling?);
        }
        if let (Some(own), Some(filling)) = (own, fillings.first_mut()) {
            filling.changes.push(RecordChange::Raise(Key::handed_in(), own.value()));
        }
        Ok(fillings)
    }

    /// What puts events into a queue; `None` if all of them are known.
    async fn fill(
        &self,
        queue: &Arc<Queue>,
        entries: Vec<Named<E>>,
        refused: &mut Vec<Refused>,
    ) -> Result<Option<Filling>, InboxError> {
        let ids: Vec<EventId> = entries.iter().map(|(entry, _)| entry.meta.id.clone()).collect();
        let states = self.id_states(&ids).await?;
        let (mut changes, mut bytes) = (Vec::with_capacity(entries.len()), 0);
        for ((Entry { event, meta, .. }, keep_last), state) in entries.iter().zip(states) {
            match state {
                IdState::New => {
                    let text = self.listed(&(event, meta, keep_last))?;
                    bytes += text.len();
                    changes.push(RecordChange::PutNew(Key::inbox(&queue.name, &meta.id), text));
                }
                IdState::TooOld => refused.push(Refused::new(meta.id.clone(), TOO_OLD)),
                IdState::There | IdState::Gone => {}
            }
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let held = Arc::clone(&queue.filling).lock_owned().await;
        let with = |(before, bytes_before)| (before + changes.len(), bytes_before + bytes);
        let is_full = |(events, bytes): &(usize, usize)| *events > MAX_EVENTS || *bytes > MAX_BYTES;
        let counted = queue.state().amount;
        let amount = match counted.map(with).filter(|amount| !is_full(amount)) {
            Some(amount) => amount,
            // What is settled at the same time may not have been counted.
            None => with(self.amount(&queue.name).await?),
        };
        if is_full(&amount) {
            return Err(InboxError::Full(queue.name.clone()));
        }
        // Until it is known whether they are there.
        queue.state().amount = None;
        Ok(Some(Filling { queue: Arc::clone(queue), changes, amount, _held: held }))
    }

    /// The events of a queue, in the order in which they were handed in. (If the clock went back between two processes,
    /// later events may come first.) Only one handle for each queue exists at a time.
    pub fn inbox(&self, queue: &str) -> Result<Inbox<E>, InboxError> {
        let queue = self.queues().get(queue)?;
        {
            let mut state = queue.state();
            if std::mem::replace(&mut state.is_open, true) {
                return Err(InboxError::InUse(queue.name.clone()));
            }
            // What an earlier handle has read and not settled is there, too.
            state.has_grown = true;
        }
        self.queues().withdraw(&queue.name);
        Ok(Inbox { log: self.clone(), queue, read: VecDeque::new(), is_handed_out: false })
    }

    /// A queue in which something may wait, and of which there is no handle: of those whose names begin with
    /// `prefix`, the one that has waited longest. Waits for one. So a program with a queue for each of many users
    /// needs a handle only for those that have something to do: it takes a queue, handles what is in it, and drops
    /// it once [`try_next`](Inbox::try_next) finds nothing.
    ///
    /// Queues that an earlier process has left are among them. Several may wait at once. Cancel-safe.
    ///
    /// ```
    /// # use logux_sync::{Log, MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
    /// log.hand_in("orders/7", ["two apples".to_owned()]).await?;
    /// let mut orders = log.next_inbox("orders/").await?;
    /// assert_eq!(orders.name(), "orders/7");
    /// while let Some(order) = orders.try_next().await? {
    ///     order.settle(|order| vec![order]).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_inbox(&self, prefix: &str) -> Result<Inbox<E>, StoreError> {
        let queues = self.queues();
        loop {
            let mut more = std::pin::pin!(queues.more.notified());
            // From here on nothing is missed.
            more.as_mut().enable();
            match queues.claim(prefix) {
                // One that is in use is offered again when it is dropped.
                Claimed::Queue(name) => {
                    if let Ok(inbox) = self.inbox(&name) {
                        return Ok(inbox);
                    }
                }
                Claimed::None => more.await,
                Claimed::NotListed => {
                    for name in self.inboxes().await? {
                        queues.offer(name);
                    }
                    queues.has_all();
                }
            }
        }
    }

    /// The names of the queues in which something waits, in their order.
    pub async fn inboxes(&self) -> Result<Vec<String>, StoreError> {
        let (mut names, mut after): (Vec<String>, Option<Key>) = (Vec::new(), None);
        loop {
            let found = self.some_records(&Prefix::inboxes(), after.as_ref(), 1).await?;
            let Some((key, _)) = found.into_iter().next() else { return Ok(names) };
            let Some(Record::Inbox(name, _)) = key.record() else {
                after = Some(key);
                continue;
            };
            // Behind all of this queue.
            after = Some(Key::new(format!("{}\u{10FFFF}", Prefix::inbox(&name).as_str())));
            names.push(name);
        }
    }

    /// How many events wait in a queue, and their bytes.
    async fn amount(&self, queue: &str) -> Result<(usize, usize), StoreError> {
        let (mut events, mut bytes, mut after) = (0, 0, None);
        loop {
            let page = self.some_records(&Prefix::inbox(queue), after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok((events, bytes)) };
            after = Some(last.clone());
            events += page.len();
            bytes += page.iter().map(|(_, text)| text.len()).sum::<usize>();
        }
    }
}

impl<E: Event> Inbox<E> {
    /// The name of the queue.
    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// The event that was handed in first. Waits for one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Waiting<'_, E>, StoreError> {
        let queue = Arc::clone(&self.queue);
        loop {
            let mut grown = std::pin::pin!(queue.grown.notified());
            // From here on nothing is missed.
            grown.as_mut().enable();
            if let Some(kept) = self.first().await? {
                return Ok(self.hand_out(kept));
            }
            grown.await;
        }
    }

    /// The event that was handed in first, if one waits. Cancel-safe.
    pub async fn try_next(&mut self) -> Result<Option<Waiting<'_, E>>, StoreError> {
        let first = self.first().await?;
        Ok(first.map(|kept| self.hand_out(kept)))
    }

    /// How many events wait now. Reads them all.
    #[cfg(feature = "app")]
    pub(crate) async fn waiting(&mut self) -> Result<usize, StoreError> {
        self.read.clear();
        self.queue.state().has_grown = true;
        match self.first().await? {
            None => Ok(0),
            Some(first) => {
                self.read.push_front(first);
                Ok(self.read.len())
            }
        }
    }

    async fn first(&mut self) -> Result<Option<Kept<E>>, StoreError> {
        if std::mem::take(&mut self.is_handed_out) {
            self.queue.state().has_grown = true;
        }
        if self.read.is_empty() && std::mem::take(&mut self.queue.state().has_grown) {
            let unread = Unread(&self.queue);
            self.read = self.read_all().await?;
            std::mem::forget(unread);
        }
        Ok(self.read.pop_front())
    }

    fn hand_out(&mut self, kept: Kept<E>) -> Waiting<'_, E> {
        self.is_handed_out = true;
        let rest = std::mem::take(&mut self.read);
        Waiting { inbox: self, kept, rest }
    }

    /// All that waits.
    ///
    /// An event that came again while it was settled was put there once more, and is taken out.
    async fn read_all(&self) -> Result<VecDeque<Kept<E>>, StoreError> {
        let records = self.log.records(&Prefix::inbox(&self.queue.name)).await?;
        let mut read = Vec::with_capacity(records.len());
        for (key, text) in records {
            let (number, (event, meta, keep_last)): (u64, (E, Meta, Vec<String>)) =
                serde_json::from_str(&text).map_err(|error| {
                    StoreError::new(format!(
                        "what waits as {key} cannot be read as an event of this program: {error}; open the log with \
                         the type that wrote it, or with Open of yours"
                    ))
                })?;
            let (entry, bytes) = (Entry::new(event, meta), text.len());
            read.push((number, Kept { key, entry, keep_last, bytes }));
        }
        read.sort_unstable_by_key(|(number, _)| *number);
        let ids: Vec<EventId> = read.iter().map(|(_, kept)| kept.entry.meta.id.clone()).collect();
        let states = self.log.id_states(&ids).await?;
        let (mut waiting, mut settled) = (VecDeque::with_capacity(read.len()), Vec::new());
        for ((_, kept), state) in read.into_iter().zip(states) {
            match state {
                IdState::There | IdState::Gone => settled.push(RecordChange::Remove(kept.key)),
                IdState::New | IdState::TooOld => waiting.push_back(kept),
            }
        }
        if !settled.is_empty() {
            self.log.submit(Append::records(settled)).await?;
        }
        Ok(waiting)
    }
}

impl<E> Waiting<'_, E> {
    /// The event, with its meta; it has no position.
    pub const fn entry(&self) -> &Entry<E> {
        &self.kept.entry
    }
}

/// Notes, when it is dropped, that a queue was not read to its end.
struct Unread<'a>(&'a Queue);

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.0.state().has_grown = true;
    }
}

impl<E: Event> Waiting<'_, E> {
    /// Takes the event out of its queue and adds the events that `events` answers, in one transaction: the event
    /// itself, perhaps with reasons and indexes, other events, both, or none. Answers the entries.
    ///
    /// If the log already has the event, or had it, only the others are added. After an error, or if the call is
    /// dropped before it is ready, the event may come again. If the event cannot be added, because the hook refuses it or
    /// it is [too old](crate::LogOptions::remember), it comes again until it is settled without being added, or with a
    /// [new id](Draft::new_id).
    pub async fn settle(
        self,
        events: impl FnOnce(Draft<E>) -> Vec<Draft<E>>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        self.finish(false, events).await
    }

    /// Takes the event out of its queue for good, without adding it, and adds other events in the same transaction. Its
    /// id is remembered like that of an event that was added and [cleaned](Log::clean), so that it does not come again
    /// if the peer sends it again. Answers the entries of the other events.
    ///
    /// After an error, or if the call is dropped before it is ready, the event may come again.
    pub async fn consume(
        self,
        events: impl IntoIterator<Item = Draft<E>>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        let id = self.entry().meta.id.clone();
        // It has a reason, so that it is kept until it is cleaned.
        let all =
            |event: Draft<E>| std::iter::once(event.reason("consumed")).chain(events).collect();
        let mut added = self.finish(true, all).await?;
        added.retain(|entry| entry.meta.id != id);
        Ok(added)
    }

    async fn finish(
        self,
        is_consumed: bool,
        events: impl FnOnce(Draft<E>) -> Vec<Draft<E>>,
    ) -> Result<Vec<Arc<Entry<E>>>, AddError> {
        let Self { inbox, kept: Kept { key, entry, keep_last, bytes }, rest } = self;
        let id = entry.meta.id.clone();
        let drafts = events(Draft { keep_last: keep_last.into(), ..Draft::from_entry(entry) });
        let records = vec![RecordChange::Remove(key)];
        let also = Also { records, may_be_gone: Some(id), cleans_it: is_consumed };
        let added = inbox.log.add_with(drafts, also).await?;
        inbox.read = rest;
        inbox.is_handed_out = false;
        let mut state = inbox.queue.state();
        state.amount = state
            .amount
            .map(|(events, of_all)| (events.saturating_sub(1), of_all.saturating_sub(bytes)));
        drop(state);
        Ok(added)
    }
}

impl<E> Drop for Inbox<E> {
    fn drop(&mut self) {
        let may_wait = {
            let mut state = self.queue.state();
            state.is_open = false;
            state.has_grown || self.is_handed_out || !self.read.is_empty()
        };
        if may_wait {
            self.log.queues().offer(self.queue.name.clone());
        }
    }
}

impl<E> fmt::Debug for Inbox<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("queue", &self.queue.name).finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Waiting<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("id", &self.kept.entry.meta.id).finish_non_exhaustive()
    }
}
