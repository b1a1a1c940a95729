//! What a log knows of one peer for as long as the process runs, whatever becomes of its connections.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_codecs::{Added, EventId, NodeId};
use logux_transports::rt::Instant;

use super::Withheld;
use super::present::{Newcomer, Present};
use crate::apart::Refused;
use crate::cursors::Epoch;
use crate::store::End;

/// Shared by all connections with the peer.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Inner>);

#[derive(Default)]
struct Inner {
    withheld: Withheld,
    /// How many events are held back from the peer, at most; `None` before they are counted. Held while
    /// some are listed.
    listed: tokio::sync::Mutex<Option<usize>>,
    state: Mutex<State>,
    /// All up to here is confirmed or not for the peer, and it is noted what the peer did not take.
    reached: End,
    /// Whether something was ever doubtful: what is asked most often is then not locked.
    has_doubts: AtomicBool,
}

/// What this process knows of the positions that a peer claims.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// All of this log up to here was confirmed by it or is not for it.
    pub(crate) settled: Added,
    /// It has claimed this position of another log.
    pub(crate) unfounded: Added,
}

#[derive(Default)]
struct State {
    /// The peer has refused frames with events up to here, and it is not known which event was wrong.
    suspected_up_to: Added,
    trust: Trust,
    /// Since when the peer has only failed, and taken nothing.
    failing_since: Option<Instant>,
    /// How many events were held back since the peer took one.
    accused_in_a_row: u32,
    /// What is held back though it may not be to blame: a peer may fail for a while whatever it is sent.
    /// So it is offered again once the peer has taken something else. What is refused even then is to blame,
    /// unless the peer may take it at another time: then it is offered now and then.
    doubtful: HashMap<EventId, Doubt>,
    /// See [`Known::offer_at`].
    offer_at: Option<Instant>,
    /// How often that was done since the peer took something.
    offers: u32,
    /// The connections that are let in.
    present: Present,
    /// When the last one left.
    left: Option<Instant>,
    /// Since the last connection was let in, the peer has brought an event of a twin of this node's.
    saw_twin: bool,
}

/// A peer that takes nothing for so long is not waited for any more.
const MAX_FAILING: Duration = Duration::from_secs(60);

/// So many events are looked for in haste.
const MAX_IN_A_ROW: u32 = 32;

/// What is held back and not proven to be to blame is offered after so long if there is nothing else to
/// send; then after twice as long, and so on.
const FIRST_OFFER: Duration = Duration::from_secs(60);
const LAST_OFFER: Duration = Duration::from_secs(60 * 60);

/// What speaks against an event that may not be to blame.
#[derive(Clone, Copy, Default)]
struct Doubt {
    /// The peer has taken something since, and this was offered again.
    is_tried: bool,
    /// It was refused right after something else was taken.
    is_proven: bool,
    /// How often it was refused.
    refusals: u32,
}

/// What becomes of an event that was refused alone.
pub(crate) struct Verdict {
    /// It may not be to blame.
    pub(crate) is_doubtful: bool,
    /// To look on leads somewhere: a peer that refuses one event after the other may well refuse all.
    pub(crate) leads_somewhere: bool,
}

/// A connection that is let in, for as long as it lasts.
pub(crate) struct Presence {
    known: Known,
    number: u64,
    /// Whether a connection with another log of the peer's was there when this one came.
    pub(crate) has_twin: bool,
}

impl Known {
    pub(crate) fn withheld(&self) -> &Withheld {
        &self.0.withheld
    }

    pub(crate) fn listed(&self) -> &tokio::sync::Mutex<Option<usize>> {
        &self.0.listed
    }

    /// Events up to here are sent one at a time, to find out which of them the peer refuses.
    pub(crate) fn suspected_up_to(&self) -> Added {
        self.state().suspected_up_to
    }

    /// How far the peer is done with the log, as this process knows. Back at zero where the peer has lost its
    /// log.
    pub(crate) fn reached(&self) -> &End {
        &self.0.reached
    }

    /// A connection shows how far the peer is done with the log. The furthest of those that are here counts.
    fn shows(&self, number: u64, position: Added) {
        let mut state = self.state();
        if let Some(furthest) = state.present.furthest_once_at(number, position)
            && furthest != self.0.reached.get()
        {
            self.0.reached.set(furthest);
        }
    }

    /// What is known of the positions that the peer claims.
    pub(crate) fn trust(&self) -> Trust {
        self.state().trust
    }

    /// Notes as its connection ends what it has confirmed, and what is not for it.
    pub(crate) fn settle_up_to(&self, position: Added) {
        self.state().trust.settled = position;
    }

    /// The peer has claimed a position of another log.
    pub(crate) fn claims_another_log(&self, position: Added) {
        self.state().trust.unfounded = position;
    }

    pub(crate) fn suspect(&self, up_to: Added) {
        let mut state = self.state();
        state.suspected_up_to = state.suspected_up_to.max(up_to);
    }

    /// Whether the peer has refused nothing of late, so that what it takes says nothing new.
    pub(crate) fn is_calm(&self) -> bool {
        let state = self.state();
        state.suspected_up_to == Added::ZERO
            && state.failing_since.is_none()
            && state.accused_in_a_row == 0
            && state.doubtful.is_empty()
            && !self.0.withheld.offers_some()
    }

    /// The peer has all up to here, or that is not for it.
    pub(crate) fn passed(&self, up_to: Added) {
        let mut state = self.state();
        // What is offered lies before, and is sent alone, too.
        if state.suspected_up_to <= up_to && !self.0.withheld.offers_some() {
            state.suspected_up_to = Added::ZERO;
        }
    }

    /// The peer has taken these events. Answers which of them were held back, and what is to be offered
    /// again now.
    pub(crate) fn took(&self, events: Vec<(Added, EventId)>) -> (Vec<EventId>, Vec<EventId>) {
        if events.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut state = self.state();
        state.failing_since = None;
        state.accused_in_a_row = 0;
        state.offers = 0;
        if state.doubtful.is_empty() && !self.0.withheld.offers_some() {
            return (Vec::new(), Vec::new());
        }
        let released = events.into_iter().filter(|(added, id)| {
            // Another connection may have sent what this one held back.
            let was_doubtful = state.doubtful.remove(id).is_some();
            self.0.withheld.take_offer(*added) || was_doubtful
        });
        let released = released.map(|(_, id)| id).collect();
        let is_untried = |doubt: &Doubt| !doubt.is_tried && !doubt.is_proven;
        let untried = state.doubtful.iter_mut().filter(|(_, doubt)| is_untried(doubt));
        let untried = untried.map(|(id, doubt)| {
            doubt.is_tried = true;
            id.clone()
        });
        (released, untried.collect())
    }

    /// Whether the peer has failed for so long, from now on or before, that events are held back which
    /// may not be to blame.
    pub(crate) fn fails_for_long(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        now.duration_since(*state.failing_since.get_or_insert(now)) >= MAX_FAILING
    }

    /// An event that was sent alone is refused, on a connection on which the peer took something, or
    /// nothing yet; `may_pass` if the peer may take the same event at another time.
    pub(crate) fn accuse(&self, id: &EventId, took_some: bool, may_pass: bool) -> Verdict {
        self.0.withheld.withdraw(id);
        let mut state = self.state();
        state.accused_in_a_row += 1;
        let leads_somewhere = state.accused_in_a_row <= MAX_IN_A_ROW;
        let mut doubt = state.doubtful.remove(id).unwrap_or_default();
        doubt.is_proven |= doubt.is_tried && took_some;
        let is_doubtful = may_pass || !doubt.is_proven;
        // Of the others, this connection will not show whether they are to blame.
        self.0.withheld.withdraw_if(|other| state.doubtful.contains_key(other));
        for doubt in state.doubtful.values_mut() {
            doubt.is_tried = false;
        }
        if is_doubtful {
            self.0.has_doubts.store(true, Ordering::Relaxed);
            doubt.refusals = doubt.refusals.saturating_add(1);
            state.doubt(id.clone(), doubt);
        }
        Verdict { is_doubtful, leads_somewhere }
    }

    /// What another process held back, and had doubts about.
    pub(crate) fn doubt(&self, ids: impl Iterator<Item = EventId>) {
        let mut state = self.state();
        for id in ids {
            if !state.doubtful.contains_key(&id) {
                self.0.has_doubts.store(true, Ordering::Relaxed);
                state.doubt(id, Doubt::default());
            }
        }
    }

    /// The offer of this event is over: the peer has named it, or it is not in the log any more.
    pub(crate) fn settle(&self, id: &EventId) {
        self.0.withheld.withdraw(id);
        self.state().doubtful.remove(id);
    }

    /// The same of each of these.
    pub(crate) fn settle_all(&self, events: &[Refused]) {
        let ids: HashSet<&EventId> = events.iter().map(|one| &one.id).collect();
        self.0.withheld.withdraw_if(|id| ids.contains(id));
        let mut state = self.state();
        state.doubtful.retain(|id, _| !ids.contains(id));
    }

    /// When to offer what is held back and doubtful, if nothing else happens.
    pub(crate) fn offer_at(&self) -> Option<Instant> {
        if !self.0.has_doubts.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state();
        state.offer_at.filter(|_| !state.doubtful.is_empty())
    }

    /// What of that is offered now that it is time: what was refused least often. Nothing, if another
    /// connection was first.
    pub(crate) fn offers(&self) -> Vec<EventId> {
        let mut state = self.state();
        if state.offer_at.is_none_or(|time| time > Instant::now()) {
            return Vec::new();
        }
        state.offers = state.offers.saturating_add(1);
        state.wait();
        let least = state.doubtful.values().map(|doubt| doubt.refusals).min();
        let offered = state.doubtful.iter().filter(|(_, doubt)| Some(doubt.refusals) == least);
        offered.map(|(id, _)| id.clone()).collect()
    }

    /// A connection is let in.
    pub(crate) fn enter(&self, newcomer: Newcomer) -> Presence {
        let number = newcomer.number;
        let mut state = self.state();
        state.saw_twin = false;
        let has_twin = state.present.enter(newcomer);
        drop(state);
        Presence { known: self.clone(), number, has_twin }
    }

    /// Whether the peer is there with another log than this one.
    pub(crate) fn is_here_with_another_log_than(&self, epoch: Option<Epoch>) -> bool {
        self.state().present.is_there_with_another_log_than(epoch)
    }

    /// Whether a connection with this log of the peer's is let in.
    pub(crate) fn is_here_with(&self, epoch: Option<Epoch>) -> bool {
        self.state().present.is_there_with(epoch)
    }

    /// The peer brings an event of another node of this one's name. `false` if that was told of since the
    /// last connection was let in.
    pub(crate) fn first_sees_twin(&self) -> bool {
        !std::mem::replace(&mut self.state().saw_twin, true)
    }

    /// Nothing panics while the lock is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of all peers. Of those that are gone it is only what spares some traffic, but for a look at
/// withheld events that was asked for; so it is bounded.
#[derive(Debug)]
pub(super) struct Peers {
    known: HashMap<NodeId, Known>,
    /// At so many, those that are gone are looked at.
    look_at: usize,
}

/// Of so many peers that are gone something is known, at most,
const MAX_GONE: usize = 1_000;

/// and of those that left first nothing, above so many ranges of withheld events of all of them: 1.5 MiB.
const MAX_RANGES_GONE: usize = 1 << 16;

/// Fewer peers than this are not worth a look.
const FEW: usize = 64;

impl Default for Peers {
    fn default() -> Self {
        Self { known: HashMap::new(), look_at: FEW }
    }
}

impl Peers {
    /// What is known of a peer.
    pub(super) fn get(&mut self, peer: &NodeId) -> Known {
        if let Some(known) = self.known.get(peer) {
            return known.clone();
        }
        if self.known.len() >= self.look_at {
            self.forget();
            self.look_at = FEW.max(2 * self.known.len());
        }
        self.known.entry(peer.clone()).or_default().clone()
    }

    /// Whether a peer is connected.
    pub(super) fn is_here(&self, peer: &NodeId) -> bool {
        self.known.get(peer).is_some_and(|known| !known.state().present.is_empty())
    }

    /// Forgets peers that are gone.
    fn forget(&mut self) {
        self.known.retain(|_, known| known.is_used() || known.tells_something());
        let gone = self.known.iter().filter(|(_, known)| known.may_go());
        let mut gone: Vec<_> = gone
            .map(|(name, known)| (known.state().left, known.withheld().ranges(), name.clone()))
            .collect();
        gone.sort_unstable_by(|(one, ..), (other, ..)| other.cmp(one));
        let mut ranges = 0;
        for (place, (_, of_peer, name)) in gone.into_iter().enumerate() {
            ranges += of_peer;
            if place >= MAX_GONE || ranges > MAX_RANGES_GONE {
                self.known.remove(&name);
            }
        }
    }
}

impl Known {
    /// Whether somebody has to do with the peer now.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it says more of a peer that is gone than that it is.
    fn tells_something(&self) -> bool {
        let Trust { settled, unfounded } = self.trust();
        let is_settled = settled.max(unfounded) > Added::ZERO;
        is_settled || !self.is_calm() || self.withheld().waits() || self.withheld().ranges() > 0
    }

    /// Whether the peer is gone, and all that is lost is that some events may travel again.
    fn may_go(&self) -> bool {
        !self.is_used() && !self.withheld().waits()
    }
}

impl State {
    fn doubt(&mut self, id: EventId, doubt: Doubt) {
        self.doubtful.insert(id, Doubt { is_tried: false, ..doubt });
        self.wait();
    }

    /// Until the next offer, which comes whatever becomes of the connection that made the last one.
    fn wait(&mut self) {
        let least = self.doubtful.values().map(|doubt| doubt.refusals).min().unwrap_or_default();
        let often = self.offers.max(least.saturating_sub(1)).min(16);
        let delay = FIRST_OFFER.saturating_mul(2_u32.saturating_pow(often));
        self.offer_at = Instant::now().checked_add(delay.min(LAST_OFFER));
    }
}

impl Presence {
    /// Shows how far the peer is done with the log, by what it said on this connection.
    pub(crate) fn shows(&self, position: Added) {
        self.known.shows(self.number, position);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.known.state();
        state.present.leave(self.number);
        state.left = Some(Instant::now());
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::present::Fence;
    use super::*;

    fn name(number: usize) -> NodeId {
        format!("{number}:client").parse().unwrap()
    }

    fn newcomer() -> Newcomer {
        Newcomer {
            name: name(0),
            number: 0,
            fence: Fence::default(),
            dialled: false,
            epoch: None,
            alarm: Box::new(|_| ()),
        }
    }

    #[test]
    fn names_that_connect_once_and_go_leave_next_to_nothing() {
        let mut peers = Peers::default();
        let present = peers.get(&name(0));
        let _presence = present.enter(newcomer());
        for number in 1..=2_000 {
            let known = peers.get(&name(number));
            known.withheld().start(Added::ZERO, true);
            drop(known.enter(newcomer()));
        }
        assert!(peers.known.len() <= FEW, "{}", peers.known.len());
        assert!(Arc::ptr_eq(&peers.get(&name(0)).0, &present.0));
    }

    #[test]
    fn what_was_withheld_from_peers_that_are_gone_is_bounded() {
        let every_other = |from: u64| (0..10_000).map(move |n| Added::ZERO.plus(from + 2 * n));
        let mut peers = Peers::default();
        for number in 0..40 {
            let known = peers.get(&name(number));
            let presence = known.enter(newcomer());
            let withheld: Vec<_> = every_other(1).collect();
            for some in withheld.chunks(100) {
                known.withheld().withhold(*some.last().unwrap(), some);
            }
            assert!(known.withheld().ranges() <= 1 << 12);
            // Nothing is lost by that: where it begins, and which is the last.
            let is_looked_at = |added| known.withheld().is_looked_at_again(added, true);
            assert!(withheld.iter().all(|added| is_looked_at(*added)));
            drop(presence);
        }
        // One asked for a second look, which is not forgotten.
        let waits = peers.get(&name(0));
        waits.withheld().withhold(Added::ZERO.plus(1), &[Added::ZERO.plus(1)]);
        waits.withheld().reevaluate();
        drop(waits);
        peers.forget();
        let ranges: usize = peers.known.values().map(|known| known.withheld().ranges()).sum();
        assert!(ranges <= MAX_RANGES_GONE + (1 << 12), "{ranges}");
        assert!(peers.known.contains_key(&name(39)) && !peers.known.contains_key(&name(1)));
        for number in 1_000..5_000 {
            let known = peers.get(&name(number));
            known.withheld().withhold(Added::ZERO.plus(1), &[Added::ZERO.plus(1)]);
        }
        peers.forget();
        assert!(peers.known.len() <= MAX_GONE + 1, "{}", peers.known.len());
        assert!(peers.get(&name(0)).withheld().waits());
    }
}
