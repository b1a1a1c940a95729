//! From the log to a frame: the next events for a peer, as many as fit.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use logux_codecs::{Added, Codec, Event, EventId, EventLimits, Message, Sync, Unfit};

use super::replay::Replaying;
use crate::apart::Refused;
use crate::entry::{Entry, Meta};
use crate::log::{Encoded, Fate, Interest, Log, Parts, Withheld};
use crate::store::{Label, Page, Query};
use crate::sync::callbacks::Outward;
use crate::sync::error::Error;
use crate::sync::peer::Peer;
use crate::sync::rules::{Relative, SentNext, Wanted};

/// Frames of events are not made longer than this, in bytes, unless one event alone is longer.
const GOOD_FRAME: usize = 64 << 10;

/// About how many bytes a codec writes for the meta of an event, and around all events.
const META: usize = 40;
const ENVELOPE: usize = 32;

/// How many events a message has at most, to a node of this library and to others.
const OWN_BATCH: usize = 1000;
const BATCH: usize = 100;

/// How much is put into one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Events in one `sync`.
    batch: usize,
    /// The user says how many.
    is_set: bool,
    /// Bytes of a frame.
    pub(crate) max_frame: usize,
    /// How many events of their usual size make a good frame.
    pub(crate) fits: usize,
}

impl BatchLimits {
    pub(crate) fn new(batch: Option<usize>, max_frame: usize) -> Self {
        let (batch, is_set) = (batch.unwrap_or(BATCH), batch.is_some());
        // The first frame is a guess; later ones know the size of an event.
        Self { batch, is_set, max_frame, fits: batch.min(BATCH) }
    }

    /// The peer is a node of this library.
    pub(crate) fn are_for_own_kind(&mut self) {
        if !self.is_set {
            self.batch = OWN_BATCH;
        }
    }
}

/// A peer that may have only some events, and lacks more than this many, is sent them by their indexes: to look at all
/// would take as long as the log is. The newest events are at hand for all sessions.
const FAR_BEHIND: u64 = 512;

/// Above so many indexes, it takes less to look at all.
const MAX_INDEXES: usize = 64;

/// How much of a replay is prepared at once.
const REPLAYED: usize = 500;

/// What was read for the peer.
pub(crate) struct Batch {
    pub(crate) next: SentNext,
    /// The `sync` message; `None` if nothing of what was read is for the peer.
    pub(crate) frame: Option<Bytes>,
    /// The next [`BatchLimits::fits`].
    pub(crate) fits: usize,
    /// Nothing after this position is for the peer, but what is sent.
    pub(crate) all_withheld_after: Option<Added>,
}

/// Makes batches for one peer, on the terms of one connection.
pub(crate) struct Batcher<E, C> {
    pub(crate) log: Log<E>,
    /// The newest events, as the codec writes them.
    pub(crate) encoded: Arc<Encoded>,
    pub(crate) codec: C,
    pub(crate) relative: Relative,
    pub(crate) peer: Arc<Peer>,
    pub(crate) outward: Outward<E>,
    /// Which events the peer may have, unless it may have all.
    pub(crate) interest: Option<Arc<Interest>>,
    /// What the peer was not sent.
    pub(crate) withheld: Withheld,
    /// The events that the peer did not take.
    pub(crate) held_back: Arc<Mutex<HashSet<EventId>>>,
}

impl<E: Event, C: Codec> Batcher<E, C> {
    /// The same on other terms. What is being read already keeps the old ones: it was made under them.
    pub(crate) fn with(&self, relative: Relative) -> Self {
        Self {
            log: self.log.clone(),
            encoded: Arc::clone(&self.encoded),
            codec: self.codec.clone(),
            relative,
            peer: Arc::clone(&self.peer),
            outward: self.outward.clone(),
            interest: self.interest.clone(),
            withheld: self.withheld.clone(),
            held_back: Arc::clone(&self.held_back),
        }
    }

    /// Reads the next events from the log and writes one `sync` with as many of them as fit. The
    /// others stay where they are: in the log.
    pub(crate) async fn next(
        self: Arc<Self>,
        wanted: Wanted,
        limits: BatchLimits,
    ) -> Result<Batch, Error> {
        let limit = if wanted.one_only { 1 } else { limits.batch.min(limits.fits).max(1) };
        let after = self.skip(wanted);
        let looked_at_all = self.withheld.is_reevaluating();
        // An event's size has more for its meta than that mostly takes.
        let bytes = GOOD_FRAME.saturating_add(limit.saturating_mul(EventLimits::META));
        let page = Page::new(limit).bytes(bytes);
        let looks_back = after < wanted.reevaluate_up_to && !looked_at_all;
        let mut is_all_else_withheld = false;
        let (mut entries, end) = if looks_back {
            // Boxed, as the next: they are rare, and inline they would enlarge what is made for each batch.
            Box::pin(self.offered(after, wanted.reevaluate_up_to, limit)).await?
        } else if let Some(indexes) = self.indexes_to_read_by(wanted) {
            is_all_else_withheld = true;
            Box::pin(self.of_interest(indexes, after, wanted.up_to, limit)).await?
        } else {
            let entries = self.log.next_after(after, page).await?;
            // Where there is nothing more, the position need not be that of an event.
            let end = entries.last().map_or(wanted.up_to, |last| last.meta.added);
            (entries, end)
        };
        // Another connection may have begun or ended that meanwhile; then nothing is clear.
        let looks_at_all = self.withheld.is_reevaluating();
        let is_offer = wanted.after < wanted.reevaluate_up_to && !(looked_at_all && looks_at_all)
            || is_all_else_withheld;
        let (mut visible, mut withheld) = (Vec::new(), Vec::new());
        let mut unsendable = Vec::new();
        entries.retain(|entry| self.is_for_peer(entry, wanted, looks_at_all));
        self.keep_what_is_of_no_interest(&mut entries, &mut withheld);
        self.keep_what_is_held_back(&mut entries, &mut withheld);
        if self.outward.asks() {
            let places: Vec<_> =
                entries.iter().map(|entry| (entry.meta.added, entry.meta.id.clone())).collect();
            let answers = self.outward.apply(entries, &self.peer).await?;
            for ((added, id), answer) in places.into_iter().zip(answers) {
                let Some(entry) = answer else {
                    self.keep(added);
                    withheld.push(added);
                    continue;
                };
                match self.check_map(&entry) {
                    Ok(()) => visible.push(Visible { added, id, entry }),
                    Err(unfit) => {
                        withheld.push(added);
                        unsendable.push((added, Refused::new(id, unfit.to_string())));
                    }
                }
            }
        } else {
            visible.extend(entries.into_iter().map(|entry| {
                let Meta { added, ref id, .. } = entry.meta;
                Visible { added, id: id.clone(), entry }
            }));
        }
        let mut parts = self.parts(&visible);
        let mut count = visible.len();
        while count > 0 {
            let up_to = if count == visible.len() { end } else { visible[count - 1].added };
            let (bytes, reason) = match self.encode(&visible[..count], parts.as_ref(), up_to) {
                Ok(frame)
                    if frame.len() <= GOOD_FRAME.min(limits.max_frame)
                        || (count == 1 && frame.len() <= limits.max_frame) =>
                {
                    let shrunk = count < visible.len();
                    let fits = match (shrunk, wanted.one_only) {
                        (true, _) => count,
                        (false, true) => limits.fits,
                        (false, false) => limit.saturating_mul(2),
                    };
                    visible.truncate(count);
                    let sent = visible.into_iter().map(|one| (one.added, one.id)).collect();
                    let next =
                        SentNext { is_offer, ..SentNext::new(up_to, sent, withheld, unsendable) };
                    let all_withheld_after = is_all_else_withheld.then_some(after);
                    return Ok(Batch { next, frame: Some(frame), fits, all_withheld_after });
                }
                Ok(frame) => {
                    let (bytes, max) = (frame.len(), limits.max_frame);
                    let reason = format!("its frame has {bytes} bytes, of {max} that one may have");
                    (bytes, reason)
                }
                // Which of them it is shows when they are written alone.
                Err(error) => (usize::MAX, with_causes(&error)),
            };
            if count == 1 {
                // It alone stays here; the others go on.
                let one = visible.remove(0);
                parts = self.parts(&visible);
                withheld.push(one.added);
                unsendable.push((one.added, Refused::new(one.id, reason)));
                count = visible.len();
            } else {
                // In proportion, and always fewer.
                let fitting = count.saturating_mul(GOOD_FRAME.min(limits.max_frame)) / bytes;
                count = fitting.clamp(1, count - 1);
            }
        }
        // Nothing of so many: the next look may be at more.
        let fits = if wanted.one_only { limits.fits } else { limit.saturating_mul(2) };
        let next = SentNext { is_offer, ..SentNext::new(end, Vec::new(), withheld, unsendable) };
        let all_withheld_after = is_all_else_withheld.then_some(after);
        Ok(Batch { next, frame: None, fits, all_withheld_after })
    }

    /// The next events that are offered, and up to where these are all. What lies between them is not read.
    async fn offered(
        &self,
        after: Added,
        up_to: Added,
        at_most: usize,
    ) -> Result<(Vec<Arc<Entry<E>>>, Added), Error> {
        let ids = self.withheld.offers_between(after, up_to, at_most);
        let is_all = ids.len() < at_most;
        let found = self.log.by_ids(&ids).await?;
        // Those that are not in the log any more are offered no longer.
        let gone = ids.iter().zip(&found).filter(|(_, found)| found.is_none());
        gone.for_each(|(id, _)| self.withheld.withdraw(id));
        let entries: Vec<_> = found.into_iter().flatten().collect();
        let last = entries.last().map(|last| last.meta.added);
        let end = if is_all { up_to } else { last.unwrap_or(after) };
        Ok((entries, end))
    }

    /// By which indexes the next events are read, where that costs less than to look at all that there are.
    fn indexes_to_read_by(&self, wanted: Wanted) -> Option<&HashSet<String>> {
        let indexes = self.interest.as_ref()?.indexes();
        let behind = wanted.up_to.value().saturating_sub(wanted.after.value());
        let is_new = wanted.after >= wanted.reevaluate_up_to;
        (is_new && behind > FAR_BEHIND && indexes.len() <= MAX_INDEXES).then_some(indexes)
    }

    /// The next events that have one of these indexes, and up to where these are all.
    async fn of_interest(
        &self,
        indexes: &HashSet<String>,
        after: Added,
        up_to: Added,
        at_most: usize,
    ) -> Result<(Vec<Arc<Entry<E>>>, Added), Error> {
        let (mut found, mut end) = (BTreeMap::new(), up_to);
        for index in indexes {
            let query = Query::added(after).with(Label::Index(index.clone()));
            let limits = Page::new(at_most);
            let page = self.log.read(query, limits).await?;
            if may_go_on(limits, &page)
                && let Some(last) = page.last()
            {
                end = end.min(last.meta.added);
            }
            found.extend(page.into_iter().map(|entry| (entry.meta.added, entry)));
        }
        let mut entries: Vec<_> = found.into_values().collect();
        entries.retain(|entry| entry.meta.added <= end);
        if entries.len() > at_most {
            entries.truncate(at_most);
            end = entries[at_most - 1].meta.added;
        }
        Ok((entries, end))
    }

    /// The peer may not have an event: an offer of it is over.
    fn keep(&self, added: Added) {
        self.withheld.take_offer(added);
    }

    /// Leaves out what the peer may not have by its indexes. That needs no answer of the user's.
    fn keep_what_is_of_no_interest(
        &self,
        entries: &mut Vec<Arc<Entry<E>>>,
        withheld: &mut Vec<Added>,
    ) {
        let Some(interest) = &self.interest else { return };
        entries.retain(|entry| {
            let Meta { added, indexes, .. } = &entry.meta;
            let stays = !interest.is_in(indexes, *added) && !self.withheld.is_replayed(*added);
            if stays {
                self.keep(*added);
                withheld.push(*added);
            }
            !stays
        });
    }

    /// Leaves out what the peer did not take, unless it is offered again.
    fn keep_what_is_held_back(&self, entries: &mut Vec<Arc<Entry<E>>>, withheld: &mut Vec<Added>) {
        let held_back = self.held_back();
        if !held_back.is_empty() {
            entries.retain(|entry| {
                let added = entry.meta.added;
                let is_held_back = held_back.contains(&entry.meta.id);
                let stays = is_held_back && !self.withheld.is_offered_again(added);
                if stays {
                    self.keep(added);
                }
                withheld.extend(stays.then_some(added));
                !stays
            });
        }
    }

    /// Whether an event can still be sent to every peer, after what the user made of it.
    fn check_map(&self, entry: &Entry<E>) -> Result<(), Unfit> {
        if self.outward.map.is_some() {
            self.log.event_limits().check_event(&entry.event, &entry.meta.extra)?;
        }
        Ok(())
    }

    /// Prepares to send all that the peer did not take.
    pub(crate) async fn offer_again(self: Arc<Self>) -> Result<(), Error> {
        for refused in self.log.held_back(&self.peer.node_id).await? {
            self.offer(refused.id).await?;
        }
        Ok(())
    }

    /// Prepares to send the next page of a replay.
    pub(crate) async fn replay(&self, replaying: &Replaying) -> Result<(), Error> {
        let end = self.log.last_added();
        let query = Query::added(replaying.reached()).with(Label::Index(replaying.index.clone()));
        let limits = Page::new(REPLAYED);
        let page = self.log.read(query, limits).await?;
        let is_full = may_go_on(limits, &page);
        let within = page.iter().filter(|entry| entry.meta.added <= end);
        let last = page.last().map(|last| last.meta.added).filter(|_| is_full);
        let is_new = |entry: &&Arc<Entry<E>>| {
            let is_own = entry.meta.source.as_ref() == Some(&self.relative.peer);
            !is_own && self.withheld.fate(entry.meta.added) != Fate::Sent
        };
        let all_up_to = replaying.all_up_to;
        let replayed = within.filter(|entry| entry.meta.added <= all_up_to || is_new(entry));
        let replayed = replayed.map(|entry| (entry.meta.added, entry.meta.id.clone()));
        self.withheld.replay(replayed.collect());
        replaying.reach(last.unwrap_or(end).min(end), last.is_none_or(|last| last >= end));
        Ok(())
    }

    /// Prepares to send these, which the peer did not take, one at a time.
    pub(crate) async fn try_again(self: Arc<Self>, ids: Vec<EventId>) -> Result<(), Error> {
        let known = self.log.known(&self.peer.node_id);
        for id in ids {
            if let Some(added) = self.offer(id).await? {
                known.suspect(added);
            }
        }
        Ok(())
    }

    /// Answers where the event is.
    async fn offer(&self, id: EventId) -> Result<Option<Added>, Error> {
        let added = self.log.by_id(&id).await?.map(|entry| entry.meta.added);
        if let Some(added) = added {
            self.withheld.offer(added, id);
        } else {
            // It is not in the log any more.
            let peer = &self.peer.node_id;
            self.log.known(peer).settle(&id);
            self.log.release(peer, vec![id]).await?;
        }
        Ok(added)
    }

    /// The peer did not take these: they are not sent to it again, unless they are offered.
    pub(crate) fn hold_back(&self, events: &[Refused]) {
        // Their offers are over: see `Known::settle_all`.
        self.held_back().extend(events.iter().map(|refused| refused.id.clone()));
    }

    /// The peer took these after all.
    pub(crate) fn release(&self, ids: &[EventId]) {
        let mut held_back = self.held_back();
        for id in ids {
            held_back.remove(id);
        }
    }

    /// Nothing panics while the lock is held.
    fn held_back(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After which position there is something to look at: in a second look, only what was withheld, or
    /// is offered.
    fn skip(&self, wanted: Wanted) -> Added {
        if wanted.after >= wanted.reevaluate_up_to {
            return wanted.after;
        }
        let next = self.withheld.skip(wanted.after);
        next.unwrap_or(wanted.reevaluate_up_to).min(wanted.reevaluate_up_to)
    }

    /// What came from the peer is there already; so is, where this looks a second time, all that it does
    /// not look at.
    fn is_for_peer(&self, entry: &Entry<E>, wanted: Wanted, looks_at_all: bool) -> bool {
        let added = entry.meta.added;
        let returned =
            entry.meta.source.as_ref() == Some(&self.relative.peer) && added > wanted.return_up_to;
        let delivered = added <= wanted.reevaluate_up_to
            && !self.withheld.is_looked_at_again(added, looks_at_all);
        (!returned || self.withheld.is_replayed(added)) && !delivered
    }

    /// The events as the codec writes them, apart from their message. `None` if that cannot be.
    fn parts(&self, entries: &[Visible<E>]) -> Option<Parts> {
        let entries = entries.iter().map(|one| &*one.entry);
        if self.outward.map.is_some() {
            // What a map made is for this peer only.
            return Parts::of_one_session(&self.codec, entries);
        }
        self.encoded.parts(&self.codec, entries)
    }

    fn encode(
        &self,
        entries: &[Visible<E>],
        parts: Option<&Parts>,
        added: Added,
    ) -> Result<Bytes, C::Error> {
        let mut frame = Vec::new();
        let meta = |one: &Visible<E>| self.relative.outgoing(one.added, &one.id, &one.entry.meta);
        let put_together = parts.and_then(|parts| {
            frame.reserve(parts.bytes(entries.len()) + META * entries.len() + ENVELOPE);
            let events = parts.iter().zip(entries).map(|(part, one)| (part, meta(one)));
            self.codec.encode_sync(added, events, &mut frame)
        });
        if let Some(written) = put_together {
            written?;
        } else {
            frame.reserve(3 * META * entries.len());
            let entries = entries.iter().map(|one| (&one.entry.event, meta(one))).collect();
            self.codec.encode(&Message::Sync(Sync { added, entries }), &mut frame)?;
        }
        // A transport keeps it until the peer has it, and counts its length.
        frame.shrink_to_fit();
        Ok(frame.into())
    }
}

impl SentNext {
    /// What was looked at beyond `up_to` does not count.
    fn new(
        up_to: Added,
        sent: Vec<(Added, EventId)>,
        mut withheld: Vec<Added>,
        unsendable: Vec<(Added, Refused)>,
    ) -> Self {
        withheld.retain(|added| *added <= up_to);
        let unsendable = unsendable.into_iter().filter(|(added, _)| *added <= up_to);
        let unsendable = unsendable.map(|(_, refused)| refused).collect();
        Self { up_to, sent, withheld, unsendable, is_offer: false }
    }
}

/// Whether there may be more than was read: a store need not tell the sizes by which a page ends.
fn may_go_on<E>(page: Page, read: &[Arc<Entry<E>>]) -> bool {
    page.is_filled_by(read) || read.iter().any(|entry| entry.size() == 0)
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = all.map(ToString::to_string).collect();
    texts.join(": ")
}

/// An event as the peer may have it, and where and what it is: not for a map to change.
struct Visible<E> {
    added: Added,
    id: EventId,
    entry: Arc<Entry<E>>,
}
