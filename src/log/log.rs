use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use logux_codecs::{Added, Event, EventId, NodeId, Timestamp};
use tokio::sync::Mutex;

use super::end::End;
use super::{Clock, Follow, Withheld};
use crate::cursors::{Cursors, Epoch};
use crate::entry::{Created, Draft, Entry, Incoming};
use crate::store::{Store, StoreError};

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
    /// The time of the last id that was given. Held while the store adds, so that ids and
    /// positions have one order, and the store is asked for one thing at a time.
    last_time: Mutex<Timestamp>,
    end: Arc<End>,
    epoch: Epoch,
    /// By peer.
    withheld: std::sync::Mutex<HashMap<NodeId, Withheld>>,
}

impl<E: Event> Log<E> {
    /// Opens the log of a node that the store keeps, by the system's clock.
    ///
    /// `node_id` must be unique among all nodes that exchange events, and no two logs may be open
    /// on one store at the same time: ids would repeat.
    pub async fn open(node_id: NodeId, store: impl Store<E>) -> Result<Self, StoreError> {
        Self::open_with(node_id, Arc::new(store), Clock::system()).await
    }

    /// Opens a log on a store that others hold, too, by a clock of one's own.
    pub async fn open_with(
        node_id: NodeId,
        store: Arc<dyn Store<E>>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let last_time = store.last_time(&node_id).await?.unwrap_or_default();
        let last_added = store.last_added().await?;
        let epoch = store.epoch().await?;
        Ok(Self {
            shared: Arc::new(Shared {
                node_id,
                store,
                clock,
                last_time: Mutex::new(last_time),
                end: Arc::new(End::new(last_added)),
                epoch,
                withheld: std::sync::Mutex::default(),
            }),
        })
    }

    /// The name of the node whose log this is.
    pub fn node_id(&self) -> &NodeId {
        &self.shared.node_id
    }

    /// The time now, by the log's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The position of the last event; zero if there is none.
    pub fn last_added(&self) -> Added {
        self.shared.end.get()
    }

    /// Adds an event, or a [`Draft`] with more to say, and answers its entry once the store has it.
    ///
    /// For a draft with an id that the log has already, answers the entry that is there.
    ///
    /// A call that is dropped before it is ready may or may not add the event.
    pub async fn add(&self, event: impl Into<Draft<E>>) -> Result<Arc<Entry<E>>, StoreError> {
        let mut entries = self.add_batch([event.into()]).await?;
        entries.pop().ok_or_else(|| StoreError::new("the store gave no answer"))
    }

    /// Adds events in one transaction of the store, in their order; all of them or, on an error,
    /// none. Answers as [`add`](Self::add) does, one entry for each draft.
    pub async fn add_batch<D: Into<Draft<E>>>(
        &self,
        events: impl IntoIterator<Item = D>,
    ) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let mut last_time = self.shared.last_time.lock().await;
        let mut ids = Vec::new();
        let mut entries = Vec::new();
        for event in events {
            let draft = event.into();
            let id = match &draft.id {
                Some(id) => id.clone(),
                None => self.next_id(&mut last_time)?,
            };
            // An id of this node that its program brings along must not be given again.
            if *id.node() == self.shared.node_id {
                *last_time = id.time().max(*last_time);
            }
            ids.push(id.clone());
            entries.push(draft.into_entry(id));
        }
        let answers = self.store_all(&mut last_time, entries, None).await?;
        drop(last_time);
        let mut added = Vec::with_capacity(ids.len());
        for (answer, id) in answers.into_iter().zip(&ids) {
            added.push(match answer {
                Some(entry) => entry,
                None => self
                    .by_id(id)
                    .await?
                    .ok_or_else(|| StoreError::new("the store neither added nor has an event"))?,
            });
        }
        Ok(added)
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

    /// What a peer was not sent.
    pub(crate) fn withheld(&self, peer: &NodeId) -> Withheld {
        // Nothing panics while the lock is held.
        let mut withheld = self.shared.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        withheld.entry(peer.clone()).or_default().clone()
    }

    /// Where the log ends, now and later.
    pub(crate) fn end(&self) -> &Arc<End> {
        &self.shared.end
    }

    /// Adds what a peer sent, and moves its cursor, in one transaction.
    ///
    /// A peer may send back what this node made before it lost its log: such an id is not given
    /// again. One in the far future is a lie that would make all later ids lie, too, or end them:
    /// such an event is refused.
    pub(crate) async fn receive(&self, received: Incoming<E>) -> Result<(), StoreError> {
        let Incoming { peer, mut entries, up_to } = received;
        let mut last_time = self.shared.last_time.lock().await;
        let believable = self.now().shifted(DAY_MS).unwrap_or_default();
        let own = |entry: &Entry<E>| *entry.meta.id.node() == self.shared.node_id;
        entries.retain(|entry| {
            let believed = !own(entry) || entry.meta.id.time() <= believable;
            if !believed {
                tracing::warn!(%peer, id = %entry.meta.id, "refused an event of this node from the future");
            }
            believed
        });
        let latest =
            entries.iter().filter(|entry| own(entry)).map(|entry| entry.meta.id.time()).max();
        self.store_all(&mut last_time, entries, Some((&peer, up_to))).await?;
        *last_time = latest.map_or(*last_time, |latest| latest.max(*last_time));
        Ok(())
    }

    /// Must be called with the lock of the last time, which makes it the only call.
    async fn store_all(
        &self,
        _writing: &mut Timestamp,
        entries: Vec<Entry<E>>,
        received: Option<(&NodeId, Added)>,
    ) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        let answers = self.shared.store.add(entries, received).await?;
        if let Some(last) = answers.iter().flatten().last() {
            self.shared.end.advance(last.meta.added);
        }
        Ok(answers)
    }

    /// An id that this node never had: later than the last one, whatever the clock does.
    fn next_id(&self, last_time: &mut Timestamp) -> Result<EventId, StoreError> {
        let next = last_time.shifted(1).map(|next| next.max(self.now()));
        *last_time = next.ok_or_else(|| StoreError::new("there are no more ids"))?;
        Ok(EventId::new(*last_time, self.shared.node_id.clone()))
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

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
