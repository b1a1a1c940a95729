//! How long events are kept.

use std::time::Duration;

use logux_codecs::{Added, Event, NodeId, Timestamp};
use logux_transports::rt;

use super::Log;
use super::editing::Effects;
use crate::entry::Entry;
use crate::store::{
    Append, Edit, Key, Order, Page, PeerRecord, Prefix, Query, Record, RecordChange, StoreError,
};

/// How long a log keeps its events: [`Log::prune`].
///
/// Events that have reasons stay, and so does what somebody has not received yet, unless it is said otherwise: a peer
/// that was here within 90 days, or a [consumer](Log::consumer). What a filter withheld from a peer, or the peer did
/// not take, it does not wait for. Of the tabs of one client, only the one that was here last counts. What is beyond
/// one of the limits goes.
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
    /// Everything is kept, but peers that were not here for 90 days are forgotten.
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

    /// Events that were created longer ago than this go.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Of more events than this, those that were added first go.
    pub fn max_events(mut self, events: u64) -> Self {
        self.max_events = Some(events);
        self
    }

    /// Events that all peers have confirmed, and all consumers acknowledged, go. Where there are neither peers nor
    /// consumers, that is every event.
    pub fn until_confirmed(mut self) -> Self {
        self.is_confirmed_enough = true;
        self
    }

    /// Also events that have reasons to be kept go.
    pub fn also_with_reasons(mut self) -> Self {
        self.keeps_reasons = false;
        self
    }

    /// Also events that some peer has not confirmed go, and it will not receive them. What a consumer has not
    /// acknowledged stays.
    pub fn also_unconfirmed(mut self) -> Self {
        self.keeps_unconfirmed = false;
        self
    }

    /// A peer that was not here for so long is forgotten: how far it is, and what it did not take. If it comes
    /// back, events travel again; what is gone meanwhile it does not receive.
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
    keys: Vec<Key>,
}

impl<E: Event> Log<E> {
    /// Cleans events that are not to be kept any longer, and forgets peers that did not come back.
    ///
    /// Changes a few hundred events in each transaction. A call that is dropped before it is ready, or that fails,
    /// has done a part of it.
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

    /// Prunes now, and again each time that so long has passed, at least a second, for as long as the answer is held. What fails is
    /// tried again the next time, and said to `tracing`.
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
                    PeerRecord::Sent => peer.sent = text.parse().ok().and_then(Added::new),
                    PeerRecord::Seen => peer.seen = text.parse().ok().and_then(Timestamp::new),
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
    ) -> Result<Option<(Timestamp, Added)>, StoreError> {
        let mut last_seen = peer.seen;
        if peer.seen.is_none() || self.is_here(name) {
            // One that was never noted to be here has its time from now on.
            self.submit(Append::records(vec![seen(name, now)]).may_wait()).await?;
            last_seen = Some(now);
        }
        if let Some(last_seen) = last_seen.filter(|last_seen| *last_seen >= oldest) {
            // Of a node that is known by another name only what came from it is kept under this one.
            let is_sent_to = peer.sent.is_some() || peer.seen.is_some();
            let sent = peer.sent.unwrap_or(Added::ZERO);
            return Ok(is_sent_to.then_some((last_seen, sent)));
        }
        self.remove_all(&Prefix::held_back(name)).await?;
        let removed = peer.keys.into_iter().map(RecordChange::Remove).collect();
        self.submit(Append::records(removed)).await?;
        Ok(None)
    }

    /// Removes all records whose keys begin so.
    pub(super) async fn remove_all(&self, prefix: &Prefix) -> Result<(), StoreError> {
        loop {
            let records = self.some_records(prefix, None, RECORDS).await?;
            if records.is_empty() {
                return Ok(());
            }
            let removed = records.into_iter().map(|(key, _)| RecordChange::Remove(key)).collect();
            self.submit(Append::records(removed)).await?;
        }
    }

    /// Notes that a peer is here.
    pub(crate) fn note_seen(&self, peer: &NodeId) {
        // Nobody has to wait for it.
        drop(self.submit(Append::records(vec![seen(peer, self.now())]).may_wait()));
    }
}

/// How far the clients are: a browser has another tab after each load of a page, and only the last one comes again.
#[derive(Default)]
struct Clients {
    /// The last tab of one client: when it was here, and how far it is.
    current: Option<(NodeId, Timestamp, Added)>,
    furthest_behind: Option<Added>,
}

impl Clients {
    /// Counts a peer; those of one client come one after the other.
    fn count(&mut self, name: &NodeId, peer: Option<(Timestamp, Added)>) {
        let Some((seen, sent)) = peer else { return };
        match &mut self.current {
            Some((of, last_seen, last_sent)) if of.client_id() == name.client_id() => {
                if seen >= *last_seen {
                    (*last_seen, *last_sent) = (seen, sent);
                }
            }
            current => {
                let before = current.replace((name.clone(), seen, sent));
                self.end(before);
            }
        }
    }

    fn end(&mut self, client: Option<(NodeId, Timestamp, Added)>) {
        let sent = client.map(|(_, _, sent)| sent);
        self.furthest_behind = self.furthest_behind.into_iter().chain(sent).min();
    }

    fn furthest_behind(mut self) -> Option<Added> {
        let last = self.current.take();
        self.end(last);
        self.furthest_behind
    }
}

/// What notes that a peer was here.
fn seen(peer: &NodeId, now: Timestamp) -> RecordChange {
    RecordChange::Raise(Key::peer(peer, PeerRecord::Seen), now.value())
}
