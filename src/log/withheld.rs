//! Which events a peer does not have, because `out_filter` said no or it did not take them: what to look
//! at again when the filter's answers have changed, or when they are offered again.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{Added, Event, EventId, NodeId};
use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::store::{Append, Key, PeerRecord, RecordChange, StoreError};

/// So many ranges are told apart, which take 96 KiB. Above that the oldest are joined: what lies between two
/// of them may then travel twice, and is added once.
const MAX_RANGES: usize = 1 << 12;

/// So many are joined at once, so that this is rare.
const JOINED: usize = MAX_RANGES / 16;

/// So many ranges are kept in the store.
const MAX_NOTED: usize = 256;

/// What is known of one peer. Shared by all connections with it, and noted in the store as each ends; what a process
/// knew that was killed counts as withheld.
#[derive(Clone, Debug, Default)]
pub(crate) struct Withheld(Arc<Mutex<Positions>>);

#[derive(Debug, Default)]
struct Positions {
    withheld: Ranges,
    /// What this process has not looked at: an earlier one has sent it, or the peer claims to have it.
    unknown: Ranges,
    /// All up to here was sent, or is withheld or unknown.
    known_up_to: u64,
    /// What is withheld is to be looked at again.
    reevaluating: bool,
    /// What is to be sent although its place was passed, by its position.
    offered: BTreeMap<u64, Offer>,
    /// Whether there is a filter, or was one.
    is_filtered: bool,
    /// What the store has of it, once that was read.
    noted: Option<Noted>,
}

/// Why an event is to be sent although its place was passed.
#[derive(Clone, Debug)]
enum Offer {
    /// The peer did not take it.
    Again(EventId),
    /// The peer subscribed to it later.
    Replay(EventId),
}

/// What is kept in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Noted {
    up_to: u64,
    /// The first and the last position of each range.
    withheld: Vec<(u64, u64)>,
    unknown: Vec<(u64, u64)>,
    is_to_be_looked_at: bool,
}

/// Sets of positions.
#[derive(Debug, Default)]
struct Ranges {
    /// In order, none touching the next.
    ranges: Vec<RangeInclusive<u64>>,
}

/// What became of an event, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was sent, or came from the peer.
    Sent,
    Withheld,
    /// This process has not looked at it.
    Unknown,
}

impl Offer {
    const fn id(&self) -> &EventId {
        match self {
            Self::Again(id) | Self::Replay(id) => id,
        }
    }
}

impl Withheld {
    /// A connection starts to send after `position`. What another process sent before is not
    /// known: where there is a filter, it counts as withheld. What is known stays so: this connection may be an
    /// old one that comes late, and others with the same peer go on.
    pub(crate) fn start(&self, position: Added, is_filtered: bool) {
        let mut positions = self.positions();
        positions.is_filtered |= is_filtered;
        let position = position.value();
        if position > positions.known_up_to {
            let unknown = positions.known_up_to + 1..=position;
            if is_filtered {
                positions.withheld.insert(unknown.clone());
            }
            positions.unknown.insert(unknown);
            positions.known_up_to = position;
        }
    }

    /// Takes what an earlier process has noted, unless that was done.
    fn recall(&self, noted: Noted) {
        let mut positions = self.positions();
        if positions.noted.is_some() {
            return;
        }
        let begins = positions.known_up_to == 0;
        if begins {
            positions.known_up_to = noted.up_to;
            for (first, last) in &noted.unknown {
                positions.unknown.insert(*first..=*last);
            }
        }
        for (first, last) in &noted.withheld {
            positions.withheld.insert(*first..=*last);
        }
        positions.reevaluating |= noted.is_to_be_looked_at;
        positions.noted = Some(noted);
    }

    /// What is to be noted: `None` if that is in the store.
    fn to_note(&self) -> Option<Noted> {
        let positions = self.positions();
        let mut noted = Noted::default();
        // Without a filter, all that was passed was sent.
        if positions.is_filtered || !positions.withheld.ranges.is_empty() {
            noted = Noted {
                up_to: positions.known_up_to,
                withheld: positions.withheld.to_pairs(),
                unknown: positions.unknown.to_pairs(),
                is_to_be_looked_at: positions.reevaluating,
            };
        }
        (noted != *positions.noted.as_ref().unwrap_or(&Noted::default())).then_some(noted)
    }

    /// What became of the event at a position that was passed.
    pub(crate) fn fate(&self, added: Added) -> Fate {
        let positions = self.positions();
        let added = added.value();
        if added > positions.known_up_to || positions.unknown.holds(added) {
            Fate::Unknown
        } else if positions.withheld.holds(added) {
            Fate::Withheld
        } else {
            Fate::Sent
        }
    }

    /// What is sent now up to `up_to` leaves these out.
    pub(crate) fn withhold(&self, up_to: Added, withheld: &[Added]) {
        let mut positions = self.positions();
        for added in withheld {
            positions.withheld.insert(added.value()..=added.value());
        }
        positions.known_up_to = positions.known_up_to.max(up_to.value());
    }

    /// Nothing from `after` to `up_to` is for the peer, but what is sent now.
    pub(crate) fn withhold_all(&self, after: Added, up_to: Added) {
        let mut positions = self.positions();
        if after < up_to {
            positions.withheld.insert(after.value() + 1..=up_to.value());
        }
        positions.known_up_to = positions.known_up_to.max(up_to.value());
    }

    /// The peer has all from `after` to `up_to` but for these.
    pub(crate) fn delivered(&self, after: Added, up_to: Added, withheld: &[Added]) {
        let mut positions = self.positions();
        let covered = after.value() + 1..=up_to.value();
        positions.unknown.remove(covered.clone());
        positions.withheld.remove(covered);
        for added in withheld {
            positions.withheld.insert(added.value()..=added.value());
        }
    }

    /// The peer has these.
    pub(crate) fn delivered_these(&self, delivered: impl Iterator<Item = Added>) {
        let mut positions = self.positions();
        for added in delivered {
            positions.unknown.remove(added.value()..=added.value());
            positions.withheld.remove(added.value()..=added.value());
        }
    }

    /// This one, which the peer did not take, is to be sent again.
    pub(crate) fn offer(&self, added: Added, id: EventId) {
        self.positions().offered.insert(added.value(), Offer::Again(id));
    }

    /// These, to which the peer subscribed later, are to be sent.
    pub(crate) fn replay(&self, events: Vec<(Added, EventId)>) {
        let mut positions = self.positions();
        for (added, id) in events {
            positions.offered.entry(added.value()).or_insert(Offer::Replay(id));
        }
    }

    /// What a peer subscribed to is not sent any more.
    pub(crate) fn end_replays(&self) {
        self.positions().offered.retain(|_, offer| matches!(offer, Offer::Again(_)));
    }

    /// Whether the event at this position, which the peer did not take, is offered again.
    pub(crate) fn is_offered_again(&self, added: Added) -> bool {
        matches!(self.positions().offered.get(&added.value()), Some(Offer::Again(_)))
    }

    /// Whether the peer subscribed to the event at this position later.
    pub(crate) fn is_replayed(&self, added: Added) -> bool {
        matches!(self.positions().offered.get(&added.value()), Some(Offer::Replay(_)))
    }

    /// The first events that are offered above a position and up to another, so many at most.
    pub(crate) fn offers_between(
        &self,
        after: Added,
        up_to: Added,
        at_most: usize,
    ) -> Vec<EventId> {
        let (after, up_to) = (after.value(), up_to.value());
        if after >= up_to {
            return Vec::new();
        }
        let positions = self.positions();
        let offered = positions.offered.range(after + 1..=up_to).take(at_most);
        offered.map(|(_, offer)| offer.id().clone()).collect()
    }

    /// Whether something is offered.
    pub(crate) fn offers_some(&self) -> bool {
        !self.positions().offered.is_empty()
    }

    /// The peer took what is at this position, or it is not for the peer. Answers whether it was offered again.
    pub(crate) fn take_offer(&self, added: Added) -> bool {
        matches!(self.positions().offered.remove(&added.value()), Some(Offer::Again(_)))
    }

    /// The offer of this one is over: the peer did not take it.
    pub(crate) fn withdraw(&self, id: &EventId) {
        self.withdraw_if(|offered| offered == id);
    }

    /// The same of all these.
    pub(crate) fn withdraw_if(&self, is_over: impl Fn(&EventId) -> bool) {
        self.positions().offered.retain(|_, offer| !is_over(offer.id()));
    }

    /// Wants all looked at again.
    pub(crate) fn reevaluate(&self) {
        let mut positions = self.positions();
        positions.reevaluating = !positions.withheld.ranges.is_empty();
    }

    /// Whether all that is withheld is looked at again, not only what is offered.
    pub(crate) fn is_reevaluating(&self) -> bool {
        self.positions().reevaluating
    }

    /// How many ranges of events the peer does not have, as far as is known.
    pub(crate) fn ranges(&self) -> usize {
        self.positions().withheld.ranges.len()
    }

    /// Whether a second look was wanted and not finished, maybe by an earlier connection.
    pub(crate) fn waits(&self) -> bool {
        let positions = self.positions();
        positions.reevaluating || !positions.offered.is_empty()
    }

    /// After which position a second look begins.
    pub(crate) fn first(&self) -> Option<Added> {
        self.skip(Added::ZERO)
    }

    pub(crate) fn finish_reevaluation(&self) {
        self.positions().reevaluating = false;
    }

    /// The last position that can be skipped in a second look that has come to `after`.
    pub(crate) fn skip(&self, after: Added) -> Option<Added> {
        let positions = self.positions();
        let after = after.value();
        let place = positions.withheld.place(after.saturating_add(1));
        let withheld = positions.withheld.ranges.get(place);
        let withheld = withheld.filter(|_| positions.reevaluating).map(|range| *range.start());
        let offered = positions.offered.range(after.saturating_add(1)..).next();
        let next = withheld.into_iter().chain(offered.map(|(added, _)| *added)).min()?;
        Some(Added::ZERO.plus((next - 1).max(after)))
    }

    /// Whether a second look, at all or at what is offered only, is about the event at this position.
    pub(crate) fn is_looked_at_again(&self, added: Added, looks_at_all: bool) -> bool {
        let positions = self.positions();
        let added = added.value();
        looks_at_all && positions.withheld.holds(added) || positions.offered.contains_key(&added)
    }

    /// No method panics half-way, so a poisoned lock still guards whole positions.
    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Event> Log<E> {
    /// Remembers what an earlier process knew of the events that a peer does not have.
    pub(crate) async fn recall_withheld(&self, peer: &NodeId) -> Result<(), StoreError> {
        let known = self.known(peer);
        let withheld = known.withheld();
        if withheld.positions().noted.is_none() {
            let key = Key::peer(peer, PeerRecord::Withheld);
            let text = self.record(&key).await?;
            let noted = text.map(|text| {
                serde_json::from_str(&text).map_err(|_| StoreError::damaged(&key, &text))
            });
            withheld.recall(noted.transpose()?.unwrap_or_default());
        }
        Ok(())
    }

    /// Keeps what is known of the events that a peer does not have.
    pub(crate) async fn note_withheld(&self, peer: &NodeId) -> Result<(), StoreError> {
        let known = self.known(peer);
        let withheld = known.withheld();
        let Some(noted) = withheld.to_note() else { return Ok(()) };
        let key = Key::peer(peer, PeerRecord::Withheld);
        let change = if noted == Noted::default() {
            RecordChange::Remove(key)
        } else {
            RecordChange::Put(key, serde_json::to_string(&noted).map_err(StoreError::new)?)
        };
        self.submit(Append::records(vec![change])).await?;
        withheld.positions().noted = Some(noted);
        Ok(())
    }
}

impl Ranges {
    /// The first and the last position of each range, of the oldest together where there are many.
    fn to_pairs(&self) -> Vec<(u64, u64)> {
        let joined = self.ranges.len().saturating_sub(MAX_NOTED - 1);
        let mut pairs = Vec::with_capacity(self.ranges.len().min(MAX_NOTED));
        if let Some([first, .., last]) = self.ranges.get(..joined) {
            pairs.push((*first.start(), *last.end()));
        } else {
            pairs.extend(self.ranges[..joined].iter().map(|one| (*one.start(), *one.end())));
        }
        pairs.extend(self.ranges[joined..].iter().map(|range| (*range.start(), *range.end())));
        pairs
    }

    /// The first range that ends at or after a position.
    fn place(&self, position: u64) -> usize {
        self.ranges.partition_point(|range| *range.end() < position)
    }

    fn holds(&self, position: u64) -> bool {
        self.ranges.get(self.place(position)).is_some_and(|range| range.contains(&position))
    }

    fn insert(&mut self, range: RangeInclusive<u64>) {
        // All that overlap or touch become one.
        let from = self.place(range.start().saturating_sub(1));
        let to =
            self.ranges.partition_point(|other| *other.start() <= range.end().saturating_add(1));
        let joined = match self.ranges.get(from..to) {
            Some([first, .., last]) => {
                *first.start().min(range.start())..=*last.end().max(range.end())
            }
            Some([only]) => *only.start().min(range.start())..=*only.end().max(range.end()),
            _ => range,
        };
        self.ranges.splice(from..to.max(from), [joined]);
        if self.ranges.len() > MAX_RANGES {
            let end = *self.ranges[JOINED].end();
            self.ranges[0] = *self.ranges[0].start()..=end;
            self.ranges.drain(1..=JOINED);
            self.ranges.shrink_to(MAX_RANGES);
        }
    }

    fn remove(&mut self, range: RangeInclusive<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.place(*range.start());
        let to = self.ranges.partition_point(|other| other.start() <= range.end());
        if from >= to {
            return;
        }
        let (first, last) = (self.ranges[from].clone(), self.ranges[to - 1].clone());
        let before = (first.start() < range.start()).then(|| *first.start()..=range.start() - 1);
        let after = (last.end() > range.end()).then(|| range.end() + 1..=*last.end());
        self.ranges.splice(from..to, before.into_iter().chain(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain set of numbers.
    #[test]
    fn ranges_hold_what_a_set_holds() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut positions = Ranges::default();
            let mut set = std::collections::BTreeSet::new();
            for _ in 0..100 {
                let start = random.u64(1..60);
                let end = start + random.u64(..6);
                if random.bool() {
                    positions.insert(start..=end);
                    set.extend(start..=end);
                } else {
                    positions.remove(start..=end);
                    set.retain(|number| !(start..=end).contains(number));
                }
                let held: Vec<u64> = positions.ranges.iter().cloned().flatten().collect();
                assert_eq!(held, set.iter().copied().collect::<Vec<_>>(), "seed {seed}");
                let apart =
                    positions.ranges.windows(2).all(|two| two[0].end() + 1 < *two[1].start());
                assert!(apart, "seed {seed}: {:?}", positions.ranges);
            }
        }
    }
}
