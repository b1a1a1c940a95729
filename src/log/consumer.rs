//! Durable named consumers: programs that have to do with each event at least once, whatever becomes of the process.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, StreamExt};
use logux_codecs::{Added, Event};
use logux_transports::rt;
use tokio::sync::Notify;

use super::typed::is_of_type;
use super::{Follow, Log};
use crate::entry::Entry;
use crate::store::{Append, Key, Prefix, Record, RecordChange, StoreError};

/// Reads a log and remembers durably how far it has come: [`Log::consumer`].
///
/// Each event is delivered at least once. After a restart, delivery begins with the first event that was not
/// acknowledged; later events are then delivered again, also acknowledged ones.
///
/// ```
/// # use logux_sync::{Log, MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
/// log.add("welcome".to_owned()).await?;
/// let mut mailer = log.consumer("mailer").await?;
/// let mail = mailer.next().await?;
/// println!("sent: {}", mail.event);
/// mail.ack().await?;
/// # Ok(())
/// # }
/// ```
pub struct Consumer<E> {
    shared: Arc<Shared<E>>,
    follow: Follow<E>,
    max_waiting: usize,
    of_type: Option<String>,
}

/// An event that was delivered to a consumer. If this is dropped without [`ack`](Self::ack), the event is delivered
/// again.
#[must_use = "an event that is not acknowledged is delivered again"]
pub struct Delivery<E> {
    entry: Arc<Entry<E>>,
    shared: Arc<Shared<E>>,
    is_done: bool,
}

/// Why there is no consumer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// There is one of this name in this process.
    #[error(
        "there is a consumer {0:?} already; drop it and its deliveries first, or take another name"
    )]
    InUse(String),
    /// A consumer cannot have this name.
    #[error(
        "a consumer cannot have the name {0:?}: it must have between 1 and 200 bytes, and no control characters"
    )]
    Name(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Shared<E> {
    name: Name<E>,
    log: Log<E>,
    state: Mutex<State<E>>,
    /// There is room, or something to be delivered again.
    changed: Notify,
}

/// A name that is in use for as long as this is there.
struct Name<E>(String, Log<E>);

impl<E> Name<E> {
    fn take(log: &Log<E>, name: &str) -> Result<Self, ConsumerError> {
        if lock(log.consumer_names()).insert(name.to_owned()) {
            Ok(Self(name.to_owned(), log.clone()))
        } else {
            Err(ConsumerError::InUse(name.to_owned()))
        }
    }
}

impl<E> Drop for Name<E> {
    fn drop(&mut self) {
        lock(self.1.consumer_names()).remove(&self.0);
    }
}

struct State<E> {
    /// All up to here were delivered, or are none of the consumer's.
    read_up_to: Added,
    /// Positions that were delivered and are not acknowledged.
    open: BTreeSet<Added>,
    /// Those of them that are to be delivered again.
    returned: VecDeque<Arc<Entry<E>>>,
    /// What is kept of it, or on its way to the store.
    stored: Added,
}

/// So many events may be delivered and not acknowledged.
const MAX_WAITING: usize = 1_000;

/// The names that are in use.
pub(super) type Names = Mutex<HashSet<String>>;

impl<E: Event> Log<E> {
    /// A durable reader with a name. It continues where the last consumer of this name stopped; a new name begins with
    /// the first event. Only one consumer of each name exists at a time.
    ///
    /// [`prune`](Self::prune) keeps events that a consumer has not acknowledged; nothing else that cleans events waits
    /// for consumers.
    pub async fn consumer(&self, name: &str) -> Result<Consumer<E>, ConsumerError> {
        self.consumer_after(name, Added::ZERO).await
    }

    /// The same, but a new consumer begins after this position, or at the end of the log if that is before it;
    /// [`last_added`](Self::last_added) is the position of the last event.
    pub async fn consumer_after(
        &self,
        name: &str,
        position: Added,
    ) -> Result<Consumer<E>, ConsumerError> {
        if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            return Err(ConsumerError::Name(name.escape_default().take(200).collect()));
        }
        let position = position.min(self.last_added());
        let shared = Arc::new(Shared {
            name: Name::take(self, name)?,
            log: self.clone(),
            state: Mutex::new(State {
                read_up_to: Added::ZERO,
                open: BTreeSet::new(),
                returned: VecDeque::new(),
                stored: Added::ZERO,
            }),
            changed: Notify::new(),
        });
        let key = Key::consumer(name);
        let new = RecordChange::PutNew(key.clone(), position.value().to_string());
        self.submit(Append::records(vec![new])).await?;
        let text = self.record(&key).await?.unwrap_or_default();
        let after = number(&key, &text)?;
        {
            let mut state = shared.state();
            (state.read_up_to, state.stored) = (after, after);
        }
        let follow = self.follow(after);
        Ok(Consumer { shared, follow, max_waiting: MAX_WAITING, of_type: None })
    }

    /// All consumers that there ever were and that are not forgotten, with the position up to which each has
    /// acknowledged all events.
    pub async fn consumers(&self) -> Result<Vec<(String, Added)>, StoreError> {
        let records = self.records(&Prefix::consumers()).await?;
        let consumer = |(key, text): (Key, String)| match key.record() {
            Some(Record::Consumer(name)) => Some(number(&key, &text).map(|at| (name, at))),
            _ => None,
        };
        records.into_iter().filter_map(consumer).collect()
    }

    /// Forgets how far a consumer is: the next one of its name is new.
    pub async fn forget_consumer(&self, name: &str) -> Result<(), ConsumerError> {
        // Nobody else begins with it meanwhile.
        let _name = Name::take(self, name)?;
        let remove = RecordChange::Remove(Key::consumer(name));
        self.submit(Append::records(vec![remove])).await?;
        Ok(())
    }
}

fn number(key: &Key, text: &str) -> Result<Added, StoreError> {
    text.parse().ok().and_then(Added::new).ok_or_else(|| StoreError::damaged(key, text))
}

/// Nothing panics while the lock is held.
fn lock(names: &Names) -> MutexGuard<'_, HashSet<String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Event> Consumer<E> {
    /// Only events that are objects with this `type`; all others count as acknowledged.
    #[must_use]
    pub fn of_type(mut self, name: impl Into<String>) -> Self {
        self.of_type = Some(name.into());
        self
    }

    /// How many events may be delivered and not acknowledged: 1,000 where nothing else is said, at least one.
    #[must_use]
    pub fn max_waiting(mut self, events: usize) -> Self {
        self.max_waiting = events.max(1);
        self
    }

    /// The next event: one that was dropped without having been acknowledged, or else the next one of the log.
    /// Waits for it, and for an acknowledgement where too many are missing.
    ///
    /// After an error the next call tries again. Cancel-safe.
    pub async fn next(&mut self) -> Result<Delivery<E>, StoreError> {
        loop {
            // Others have their turn also where many events are passed over.
            rt::consume_budget().await;
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let is_full = {
                let mut state = self.shared.state();
                if let Some(entry) = state.returned.pop_front() {
                    drop(state);
                    return Ok(self.shared.deliver(entry));
                }
                state.open.len() >= self.max_waiting
            };
            if is_full {
                changed.await;
                continue;
            }
            let entry = if let Some(entry) = self.follow.next().now_or_never() {
                entry
            } else {
                // There is time to note what was passed over.
                self.shared.save_soon();
                tokio::select! {
                    biased;
                    () = changed => continue,
                    entry = self.follow.next() => entry,
                }
            };
            let entry = match entry {
                Some(Ok(entry)) => entry,
                // A stream ends with an error; the next call tries again.
                failed => {
                    let read_up_to = self.shared.state().read_up_to;
                    self.follow = self.shared.log.follow(read_up_to);
                    let error = failed.and_then(Result::err);
                    return Err(error.unwrap_or_else(|| StoreError::new("the log was not read")));
                }
            };
            let is_wanted = self.of_type.as_ref().is_none_or(|name| is_of_type(&entry.event, name));
            let mut state = self.shared.state();
            state.read_up_to = entry.meta.added;
            if is_wanted {
                state.open.insert(entry.meta.added);
                drop(state);
                return Ok(self.shared.deliver(entry));
            }
        }
    }

    /// The position up to which all events are acknowledged, or none of this consumer's.
    pub fn position(&self) -> Added {
        self.shared.state().position()
    }
}

impl<E: Event> Delivery<E> {
    /// Acknowledges the event: this process does not deliver it again. Acknowledgements may come in any order. The
    /// store keeps the position up to which all events are acknowledged; so after a restart an event comes again if
    /// an earlier one was not acknowledged.
    ///
    /// If that position grows, this waits until the store has it. If the call is dropped before it is ready, the event
    /// is acknowledged all the same.
    pub async fn ack(mut self) -> Result<(), StoreError> {
        self.is_done = true;
        let Some(change) = self.shared.acknowledge(self.entry.meta.added) else { return Ok(()) };
        let kept = self.shared.log.submit(Append::records(vec![change])).await;
        if kept.is_err() {
            // The next one keeps it, too.
            self.shared.state().stored = Added::ZERO;
        }
        kept.map(drop)
    }
}

impl<E> Delivery<E> {
    /// The event, to be kept when this is gone.
    pub const fn entry(&self) -> &Arc<Entry<E>> {
        &self.entry
    }
}

impl<E> Deref for Delivery<E> {
    type Target = Entry<E>;

    fn deref(&self) -> &Entry<E> {
        &self.entry
    }
}

impl<E> Drop for Delivery<E> {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.state().returned.push_back(Arc::clone(&self.entry));
            self.shared.changed.notify_waiters();
        }
    }
}

impl<E> Shared<E> {
    fn deliver(self: &Arc<Self>, entry: Arc<Entry<E>>) -> Delivery<E> {
        Delivery { entry, shared: Arc::clone(self), is_done: false }
    }

    /// An event is dealt with. Answers what is to be kept, if that is something new.
    fn acknowledge(&self, added: Added) -> Option<RecordChange> {
        let mut state = self.state();
        state.open.remove(&added);
        let change = state.take_change(&self.name.0);
        drop(state);
        self.changed.notify_waiters();
        change
    }

    /// Nothing panics while the lock is held.
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event> Shared<E> {
    /// Keeps how far this is, at some time.
    fn save_soon(&self) {
        if let Some(change) = self.state().take_change(&self.name.0) {
            // If it is lost, a few events are looked at again.
            drop(self.log.submit(Append::records(vec![change]).may_wait()));
        }
    }
}

impl<E> State<E> {
    fn position(&self) -> Added {
        let before = |first: &Added| Added::new(first.value().saturating_sub(1));
        self.open.first().and_then(before).unwrap_or(self.read_up_to)
    }

    fn take_change(&mut self, name: &str) -> Option<RecordChange> {
        let position = self.position();
        if position <= self.stored {
            return None;
        }
        self.stored = position;
        Some(RecordChange::raise(Key::consumer(name), position))
    }
}

impl<E> fmt::Debug for Consumer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("name", &self.shared.name.0).finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("id", &self.entry.meta.id).finish_non_exhaustive()
    }
}
