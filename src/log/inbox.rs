//! The inbox: events that wait for a handler, durably and without positions, in queues.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{Event, EventId};
use serde::de::IgnoredAny;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::Log;
use super::adding::Also;
use super::error::AddError;
use crate::apart::Refused;
use crate::entry::{Draft, Entry, Meta};
use crate::store::{Append, Key, Prefix, Record, RecordChange, StoreError};

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
pub(super) struct Queues(Mutex<HashMap<String, Arc<Queue>>>);

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
    pub(super) fn done(self) {
        self.queue.state().amount = Some(self.amount);
        self.queue.grown.notify_waiters();
    }
}

#[derive(Default)]
struct State {
    is_open: bool,
    /// How much waits; `None` before that was counted.
    amount: Option<(usize, usize)>,
}

impl Queues {
    fn get(&self, name: &str) -> Result<Arc<Queue>, InboxError> {
        let is_refused = |character: char| character.is_control() || character.is_whitespace();
        if name.is_empty() || name.len() > 300 || name.contains(is_refused) {
            return Err(InboxError::Name(name.escape_default().take(300).collect()));
        }
        // Nothing panics while the lock is held.
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let Some(filling) = self.fill(&queue, entries).await? else { return Ok(ids) };
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
        entries: &mut Vec<Entry<E>>,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<Filling>, StoreError> {
        let Some(choose) = &self.behaviour().inbox else { return Ok(Vec::new()) };
        // In the order of their names, so that no two wait for each other.
        let mut diverted: BTreeMap<String, Vec<Named<E>>> = BTreeMap::new();
        for entry in std::mem::take(entries) {
            let Some(queue) = choose(&entry) else {
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
            let filling = self.fill(&queue, entries).await.map_err(|error| match error {
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
    ) -> Result<Option<Filling>, InboxError> {
        let ids: Vec<EventId> = entries.iter().map(|(entry, _)| entry.meta.id.clone()).collect();
        let known = self.by_ids(&ids).await?;
        let (mut changes, mut bytes) = (Vec::with_capacity(entries.len()), 0);
        let new = entries.iter().zip(known).filter(|(_, known)| known.is_none());
        for ((Entry { event, meta, .. }, keep_last), _) in new {
            let text = self.listed(&(event, meta, keep_last))?;
            bytes += text.len();
            changes.push(RecordChange::PutNew(Key::inbox(&queue.name, &meta.id), text));
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
        if std::mem::replace(&mut queue.state().is_open, true) {
            return Err(InboxError::InUse(queue.name.clone()));
        }
        Ok(Inbox { log: self.clone(), queue, read: VecDeque::new() })
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
    /// The event that was handed in first. Waits for one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Waiting<'_, E>, StoreError> {
        let queue = Arc::clone(&self.queue);
        loop {
            let mut grown = std::pin::pin!(queue.grown.notified());
            // From here on nothing is missed.
            grown.as_mut().enable();
            if self.read.is_empty() {
                self.read = self.read_all().await?;
            }
            if let Some(kept) = self.read.pop_front() {
                let rest = std::mem::take(&mut self.read);
                return Ok(Waiting { inbox: self, kept, rest });
            }
            grown.await;
        }
    }

    /// All that waits.
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
        Ok(read.into_iter().map(|(_, kept)| kept).collect())
    }
}

impl<E> Waiting<'_, E> {
    /// The event, with its meta; it has no position.
    pub const fn entry(&self) -> &Entry<E> {
        &self.kept.entry
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
        let Self { inbox, kept: Kept { key, entry, keep_last, bytes }, rest } = self;
        let id = entry.meta.id.clone();
        let drafts = events(Draft { keep_last: keep_last.into(), ..Draft::from_entry(entry) });
        let also = Also { records: vec![RecordChange::Remove(key)], may_be_gone: Some(id) };
        let added = inbox.log.add_with(drafts, also).await?;
        inbox.read = rest;
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
        self.queue.state().is_open = false;
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
