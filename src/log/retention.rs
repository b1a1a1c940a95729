//! How long events are kept.

use std::time::Duration;

use logux_codecs::{Added, Event, NodeId, Timestamp};
use logux_transports::rt;

use super::Log;
use super::editing::Effects;
use crate::entry::Entry;
#[cfg(feature = "app")]
use crate::store::{Answer, Stored};
use crate::store::{
    Append, Edit, Key, Order, Page, PeerRecord, Prefix, Query, Record, RecordChange, StoreError,
};

/// How long a log keeps its events: [`Log::prune`].
///
/// An event goes if it is beyond one of the limits. By default it stays nevertheless while it has reasons, while a
/// [consumer](Log::consumer) has not acknowledged it, or while a peer has not confirmed it that was connected within
/// the last 90 days. Events that a filter withheld from a peer, or that the peer refused, do not wait for that peer.
/// Of the tabs of one client, only the one that was connected last counts.
///
/// ```
/// # use std::time::Duration;
/// # use logux_sync::{Log, MemoryStore, Retention};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
/// for number in 1..=10 {
///     log.add(number.to_string()).await?;
/// }
/// let retention = Retention::new().max_age(Duration::from_secs(30 * 24 * 60 * 60)).max_events(4);
/// assert_eq!(log.prune(&retention).await?.cleaned, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Retention {
    max_age: Option<Duration>,
    max_events: Option<u64>,
    is_confirmed_enough: bool,
    keeps_reasons: bool,
    keeps_unconfirmed: bool,
    forget_peers_after: Duration,
}

const PAGE: Page = Page::new(256);

/// So many records are read or removed at once.
const RECORDS: usize = 1_000;

impl Retention {
    /// Keeps all events, and forgets peers that were not connected for 90 days.
    pub fn new() -> Self {
        Self {
            max_age: None,
            max_events: None,
            is_confirmed_enough: false,
            keeps_reasons: true,
            keeps_unconfirmed: true,
            forget_peers_after: Duration::from_secs(90 * 24 * 60 * 60),
        }
    }

    /// Cleans events that were created longer ago than this.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Cleans the events that were added first, until there are no more than this.
    pub fn max_events(mut self, events: u64) -> Self {
        self.max_events = Some(events);
        self
    }

    /// Cleans events once all peers have confirmed them and all consumers have acknowledged them. Without peers and
    /// consumers these are all events.
    pub fn until_confirmed(mut self) -> Self {
        self.is_confirmed_enough = true;
        self
    }

    /// Also cleans events that have reasons.
    pub fn also_with_reasons(mut self) -> Self {
        self.keeps_reasons = false;
        self
    }

    /// Also cleans events that some peer has not confirmed; that peer will not receive them. Events that a consumer
    /// has not acknowledged still stay.
    pub fn also_unconfirmed(mut self) -> Self {
        self.keeps_unconfirmed = false;
        self
    }

    /// Forgets the cursors and the held-back list of a peer that was not connected for so long. If the peer comes back,
    /// events travel again; it does not receive events that were cleaned meanwhile.
    pub fn forget_peers_after(mut self, duration: Duration) -> Self {
        self.forget_peers_after = duration;
        self
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::new()
    }
}

/// Prunes a log for as long as it is held: [`Log::prune_every`].
#[derive(Debug)]
#[must_use = "pruning ends when this is dropped"]
pub struct Pruning(rt::AbortHandle);

impl Drop for Pruning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is kept of one peer.
#[derive(Default)]
struct Peer {
    sent: Option<Added>,
    seen: Option<Timestamp>,
    /// Of a node that is known by another name.
    seen_by_name: Option<Timestamp>,
    keys: Vec<Key>,
}

impl<E: Event> Log<E> {
    /// Cleans the events that a retention does not keep, and forgets peers that did not come back.
    ///
    /// Cleans a few hundred events per transaction. If the call fails, or is dropped before it is ready, a part of it is
    /// done; repeat it to do the rest.
    pub async fn prune(&self, retention: &Retention) -> Result<Effects, StoreError> {
        let confirmed = self.forget_peers(retention.forget_peers_after).await?;
        let acknowledged = self.consumers().await?.into_iter().map(|(_, position)| position).min();
        let acknowledged = acknowledged.unwrap_or_else(|| self.last_added());
        let confirmed = confirmed.map_or(acknowledged, |confirmed| confirmed.min(acknowledged));
        let limit = if retention.keeps_unconfirmed { confirmed } else { acknowledged };
        let may_go = |entry: &Entry<E>, limit: Added| {
            let is_kept = retention.keeps_reasons && !entry.meta.reasons.is_empty();
            entry.meta.added <= limit && !is_kept
        };
        // One may have got a reason meanwhile.
        let edit = if retention.keeps_reasons { Edit::CleanUnreasoned } else { Edit::Clean };
        let mut all = Effects::default();
        if retention.is_confirmed_enough {
            let goes = |entry: &Entry<E>| may_go(entry, confirmed);
            all.count(self.clean_first(confirmed, goes, &edit, u64::MAX).await?);
        }
        let goes = |entry: &Entry<E>| may_go(entry, limit);
        if let Some(age) = retention.max_age {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            if let Some(first) = self.now().shifted(-age) {
                all.count(self.clean_created_before(first, goes, &edit).await?);
            }
        }
        if let Some(max) = retention.max_events {
            let surplus = self.count().await?.saturating_sub(max);
            all.count(self.clean_first(limit, goes, &edit, surplus).await?);
        }
        Ok(all)
    }

    /// Prunes now and then again after each interval (at least a second), until the answer is dropped. An error is
    /// logged by `tracing`, and the next turn tries again.
    pub fn prune_every(&self, interval: Duration, retention: Retention) -> Pruning {
        let log = self.clone();
        let pruning = rt::spawn(async move {
            loop {
                if let Err(error) = log.prune(&retention).await {
                    tracing::warn!(%error, "the log was not pruned");
                }
                rt::sleep(interval.max(Duration::from_secs(1))).await;
            }
        });
        Pruning(pruning.abort_handle())
    }

    /// Cleans the first events up to a position that may go, so many at most.
    async fn clean_first(
        &self,
        limit: Added,
        goes: impl Fn(&Entry<E>) -> bool,
        edit: &Edit,
        mut at_most: u64,
    ) -> Result<Effects, StoreError> {
        let (mut all, mut query) = (Effects::default(), Query::added(Added::ZERO));
        while at_most > 0 {
            let page = self.read(query.clone(), PAGE).await?;
            let Some(last) = page.last().map(|last| last.meta.added) else { break };
            let few = usize::try_from(at_most).unwrap_or(usize::MAX);
            let going = page.iter().filter(|entry| goes(entry)).take(few);
            let positions: Vec<_> = going.map(|entry| entry.meta.added).collect();
            at_most -= positions.len() as u64;
            all.count(self.change_at(positions, edit).await?);
            if last >= limit {
                break;
            }
            query.order = Order::Added(Some(last));
        }
        Ok(all)
    }

    /// Cleans the events that were created before a time and may go.
    async fn clean_created_before(
        &self,
        time: Timestamp,
        goes: impl Fn(&Entry<E>) -> bool,
        edit: &Edit,
    ) -> Result<Effects, StoreError> {
        let (mut all, mut query) = (Effects::default(), Query::created(None));
        loop {
            let page = self.read(query.clone(), PAGE).await?;
            let Some(last) = page.last() else { break };
            query.order = Order::Created(Some(last.meta.created()));
            let is_last = last.meta.time >= time;
            let old = page.iter().filter(|entry| entry.meta.time < time && goes(entry));
            let positions = old.map(|entry| entry.meta.added).collect();
            all.count(self.change_at(positions, edit).await?);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Forgets the peers that were not here for so long, and answers how far the others are, the one that is
    /// furthest behind.
    async fn forget_peers(&self, after: Duration) -> Result<Option<Added>, StoreError> {
        let now = self.now();
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.shifted(-after).unwrap_or(Timestamp::ZERO);
        let mut clients = Clients::default();
        let mut current: Option<(NodeId, Peer)> = None;
        let mut last: Option<Key> = None;
        loop {
            let records = self.some_records(&Prefix::peers(), last.as_ref(), RECORDS).await?;
            let is_end = records.len() < RECORDS;
            last = records.last().map(|(key, _)| key.clone()).or(last);
            for (key, text) in records {
                let Some(Record::Peer(name, field)) = key.record() else { continue };
                // Those of one peer are next to each other.
                if let Some((of, peer)) = current.take_if(|(of, _)| *of != name) {
                    clients.count(&of, self.settle(&of, peer, now, oldest).await?);
                }
                let (_, peer) = current.get_or_insert_with(|| (name, Peer::default()));
                match field {
                    // All up to there is confirmed, or was not for the peer or any node of the client.
                    PeerRecord::Sent | PeerRecord::Direct => {
                        peer.sent = peer.sent.max(text.parse().ok().and_then(Added::new));
                    }
                    PeerRecord::Seen => peer.seen = text.parse().ok().and_then(Timestamp::new),
                    PeerRecord::SeenByName => {
                        peer.seen_by_name = text.parse().ok().and_then(Timestamp::new);
                    }
                    PeerRecord::Received
                    | PeerRecord::ReturnUpTo
                    | PeerRecord::Epoch
                    | PeerRecord::Withheld => {}
                }
                peer.keys.push(key);
            }
            if is_end {
                break;
            }
        }
        if let Some((of, peer)) = current.take() {
            clients.count(&of, self.settle(&of, peer, now, oldest).await?);
        }
        Ok(clients.furthest_behind())
    }

    /// Forgets one peer, or answers when it was here last, and how far it is.
    async fn settle(
        &self,
        name: &NodeId,
        peer: Peer,
        now: Timestamp,
        oldest: Timestamp,
    ) -> Result<Option<Counted>, StoreError> {
        let is_here = self.is_here(name);
        let mut last_seen = peer.seen;
        if is_here || peer.seen.max(peer.seen_by_name).is_none() {
            // One that was never noted to be here has its time from now on.
            self.submit(Append::records(vec![seen(name, PeerRecord::Seen, now)]).may_wait())
                .await?;
            last_seen = Some(now);
        }
        if let Some(last_seen) = last_seen.filter(|last_seen| *last_seen >= oldest) {
            let sent = peer.sent.unwrap_or(Added::ZERO);
            return Ok(Some(Counted { last_seen, sent, is_here }));
        }
        if peer.seen_by_name >= Some(oldest) {
            // Nothing is sent to it under this name.
            return Ok(None);
        }
        self.remove_all(&Prefix::held_back(name)).await?;
        let removed = peer.keys.into_iter().map(RecordChange::Remove).collect();
        self.submit(Append::records(removed)).await?;
        Ok(None)
    }

    /// Removes all records whose keys begin so.
    async fn remove_all(&self, prefix: &Prefix) -> Result<(), StoreError> {
        loop {
            let records = self.some_records(prefix, None, RECORDS).await?;
            if records.is_empty() {
                return Ok(());
            }
            let removed = records.into_iter().map(|(key, _)| RecordChange::Remove(key)).collect();
            self.submit(Append::records(removed)).await?;
        }
    }

    /// Notes that an app is served on the log.
    #[cfg(feature = "app")]
    pub(crate) fn note_app(&self) -> Answer<E> {
        let change = RecordChange::PutNew(Key::of_app(), "1".to_owned());
        self.submit(Append::records(vec![change]))
    }

    /// Whether an [`App`](crate::app::App) was served on this log. A [`Server`](crate::Server) would send each of its
    /// clients all of it.
    #[cfg(feature = "app")]
    pub async fn is_of_app(&self) -> Result<bool, StoreError> {
        Ok(self.record(&Key::of_app()).await?.is_some())
    }

    /// Notes up to where clients of an app have what went to them directly, and that they are here. Of what is not noted
    /// as the process ends, some is sent again.
    #[cfg(feature = "app")]
    pub(crate) fn note_direct(
        &self,
        progress: impl IntoIterator<Item = (NodeId, Added)>,
    ) -> Answer<E> {
        let now = self.now();
        let note = |(client, added): (NodeId, Added)| {
            let direct = RecordChange::raise(Key::peer(&client, PeerRecord::Direct), added);
            [direct, seen(&client, PeerRecord::Seen, now)]
        };
        let changes: Vec<_> = progress.into_iter().flat_map(note).collect();
        if changes.is_empty() {
            return Answer::ready(Ok(Stored::default()));
        }
        self.submit(Append::records(changes).may_wait())
    }

    /// Notes that a peer is here, and what it calls itself.
    pub(crate) fn note_seen(&self, peer: &NodeId, name: Option<&NodeId>) {
        let now = self.now();
        let mut changes = vec![seen(peer, PeerRecord::Seen, now)];
        if let Some(name) = name.filter(|name| *name != peer) {
            changes.push(seen(name, PeerRecord::SeenByName, now));
        }
        // Nobody has to wait for it.
        drop(self.submit(Append::records(changes).may_wait()));
    }
}

/// A peer that is not forgotten.
struct Counted {
    last_seen: Timestamp,
    sent: Added,
    is_here: bool,
}

/// How far the clients are: a browser has another tab after each load of a page, and of those that left only the last
/// one counts.
#[derive(Default)]
struct Clients {
    /// The client that is being counted, and the last of its tabs that left.
    current: Option<(NodeId, Counted)>,
    furthest_behind: Option<Added>,
}

impl Clients {
    /// Counts a peer; those of one client come one after the other.
    fn count(&mut self, name: &NodeId, peer: Option<Counted>) {
        let Some(peer) = peer else { return };
        if peer.is_here {
            self.add(Some(peer.sent));
            return;
        }
        match &mut self.current {
            Some((of, last)) if of.client_id() == name.client_id() => {
                if peer.last_seen > last.last_seen {
                    *last = peer;
                } else if peer.last_seen == last.last_seen {
                    last.sent = last.sent.min(peer.sent);
                }
            }
            current => {
                let before = current.replace((name.clone(), peer));
                self.add(before.map(|(_, peer)| peer.sent));
            }
        }
    }

    fn add(&mut self, sent: Option<Added>) {
        self.furthest_behind = self.furthest_behind.into_iter().chain(sent).min();
    }

    fn furthest_behind(mut self) -> Option<Added> {
        let last = self.current.take().map(|(_, peer)| peer.sent);
        self.add(last);
        self.furthest_behind
    }
}

/// Notes that a peer was here.
fn seen(peer: &NodeId, how: PeerRecord, now: Timestamp) -> RecordChange {
    RecordChange::Raise(Key::peer(peer, how), now.value())
}
