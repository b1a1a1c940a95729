//! The newest events as a codec writes them, for all sessions with that codec: each is written once.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use logux_codecs::{Added, Codec, Event, EventLimits};

use crate::entry::Entry;

/// So many bytes are kept for each codec: sessions that are live need the last few events.
const MAX_BYTES: usize = 1 << 20;

/// A session that is so many positions behind the newest event here has what it sends written for itself: it would only
/// push out what the others need.
const MAX_BEHIND: u64 = 1024;

/// The places of so many positions are kept, also where most of their events are sent to nobody.
const MAX_PLACES: usize = 1 << 14;

/// What a block takes besides its events, in bytes.
const BLOCK: usize = 96;

/// What is kept by codec, as long as a session has it.
#[derive(Default)]
pub(super) struct EncodedByCodec(Mutex<HashMap<TypeId, Weak<Encoded>>>);

/// The newest events of a log as one codec writes them.
#[derive(Debug, Default)]
pub(crate) struct Encoded(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The position of the first of `places`.
    first: u64,
    /// Where each event is, by position; [`Place::NOWHERE`] for one that is not here.
    places: VecDeque<Place>,
    /// The number of the first of `blocks`.
    first_block: u64,
    /// Events that were written together.
    blocks: VecDeque<Block>,
    bytes: usize,
}

/// Where an event is: the number of a block, and bytes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    block: u64,
    start: u32,
    end: u32,
}

/// Events that were written together.
type Block = Arc<[u8]>;

/// Events as they are written, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Nearly always all are in one block.
    first: Option<Block>,
    others: Vec<Block>,
    /// The index of a block, and bytes in it.
    places: Vec<(u32, u32, u32)>,
}

impl EncodedByCodec {
    /// What sessions with codecs of this type share.
    pub(super) fn of<C: Codec>(&self) -> Arc<Encoded> {
        // Nothing panics while the lock is held.
        let mut by_codec = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = by_codec.entry(TypeId::of::<C>()).or_default();
        shared.upgrade().unwrap_or_else(|| {
            let encoded = Arc::default();
            *shared = Arc::downgrade(&encoded);
            encoded
        })
    }
}

impl Encoded {
    /// The parts of these events, in the order of their positions. `None` where the codec cannot write events apart, or
    /// one of these not at all.
    ///
    /// While one session has events written, others that are as far wait for them, for they would write the same. One
    /// that is far behind writes for itself.
    pub(crate) fn parts<'e, E: Event, C: Codec>(
        &self,
        codec: &C,
        entries: impl ExactSizeIterator<Item = &'e Entry<E>> + Clone,
    ) -> Option<Parts> {
        let mut kept = self.kept();
        if !entries.clone().next().is_some_and(|first| kept.is_near(first.meta.added)) {
            drop(kept);
            return Parts::of_one_session(codec, entries);
        }
        let (mut parts, mut block, mut has_new) = (Parts::default(), Vec::new(), false);
        parts.places.reserve_exact(entries.len());
        // The block before the new one.
        let mut last = None;
        for entry in entries.clone() {
            let place = if let Some(place) = kept.place(entry.meta.added) {
                if last != Some(place.block) {
                    last = Some(place.block);
                    parts.push(Arc::clone(kept.block(place.block)?));
                }
                (parts.last()?, place.start, place.end)
            } else {
                if !std::mem::replace(&mut has_new, true) {
                    block.reserve_exact(length(entries.clone()));
                }
                write(codec, entry, &mut block)?
            };
            parts.places.push(place);
        }
        if has_new {
            let block = Block::from(block);
            parts.push(Arc::clone(&block));
            let index = parts.last()?;
            let block = kept.push(block);
            for (entry, place) in entries.zip(&mut parts.places) {
                if place.0 == NEW {
                    place.0 = index;
                    kept.note(entry.meta.added, Place { block, start: place.1, end: place.2 });
                }
            }
            kept.shrink();
        }
        Some(parts)
    }

    /// A panic in an event's `Serialize` leaves what is kept as it was.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index of a block that has none yet.
const NEW: u32 = u32::MAX;

/// How many bytes the events have as JSON, as far as somebody has measured them.
fn length<'e, E: 'e>(entries: impl Iterator<Item = &'e Entry<E>>) -> usize {
    entries.map(|entry| entry.size().saturating_sub(EventLimits::META)).sum()
}

/// Appends an event to a new block, and answers where it is.
fn write<E: Event, C: Codec>(
    codec: &C,
    entry: &Entry<E>,
    block: &mut Vec<u8>,
) -> Option<(u32, u32, u32)> {
    let start = u32::try_from(block.len()).ok()?;
    codec.encode_event(&entry.event, block)?.ok()?;
    Some((NEW, start, u32::try_from(block.len()).ok()?))
}

impl Parts {
    /// The parts of events that nobody else is sent.
    pub(crate) fn of_one_session<'e, E: Event, C: Codec>(
        codec: &C,
        entries: impl ExactSizeIterator<Item = &'e Entry<E>> + Clone,
    ) -> Option<Self> {
        let mut block = Vec::with_capacity(length(entries.clone()));
        let written = entries.map(|entry| {
            let (_, start, end) = write(codec, entry, &mut block)?;
            Some((0, start, end))
        });
        let places = written.collect::<Option<_>>()?;
        Some(Self { first: Some(block.into()), others: Vec::new(), places })
    }

    fn push(&mut self, block: Block) {
        match &self.first {
            None => self.first = Some(block),
            Some(_) => self.others.push(block),
        }
    }

    /// The index of the block that came last.
    fn last(&self) -> Option<u32> {
        u32::try_from(self.others.len()).ok()
    }

    fn block(&self, index: u32) -> &[u8] {
        match index.checked_sub(1) {
            // Places are in blocks that are here.
            None => self.first.as_deref().unwrap_or_default(),
            Some(index) => &self.others[index as usize],
        }
    }

    /// How many bytes the first parts have.
    pub(crate) fn bytes(&self, count: usize) -> usize {
        self.places.iter().take(count).map(|(_, start, end)| (end - start) as usize).sum()
    }

    /// The part of each event.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places
            .iter()
            .map(|&(block, start, end)| &self.block(block)[start as usize..end as usize])
    }
}

impl Place {
    const NOWHERE: Self = Self { block: u64::MAX, start: 0, end: 0 };
}

impl Kept {
    fn place(&self, added: Added) -> Option<Place> {
        let index = usize::try_from(added.value().checked_sub(self.first)?).ok()?;
        let place = *self.places.get(index)?;
        (place.block >= self.first_block && place != Place::NOWHERE).then_some(place)
    }

    fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number.checked_sub(self.first_block)?).ok()?)
    }

    fn is_near(&self, added: Added) -> bool {
        added.value() + MAX_BEHIND >= self.first + self.places.len() as u64
    }

    /// Answers the number of the block.
    fn push(&mut self, block: Block) -> u64 {
        self.bytes += BLOCK + block.len();
        self.blocks.push_back(block);
        self.first_block + self.blocks.len() as u64 - 1
    }

    /// Notes where an event is, unless older ones than it have been let go.
    fn note(&mut self, added: Added, place: Place) {
        let position = added.value();
        let end = self.first + self.places.len() as u64;
        if position == end && self.places.len() < MAX_PLACES {
            // Nearly always it is the next one.
            self.places.push_back(place);
            return;
        }
        if self.places.is_empty() || position > end + MAX_PLACES as u64 {
            self.places.clear();
            self.first = position;
        }
        let Some(index) = position.checked_sub(self.first) else { return };
        let Ok(index) = usize::try_from(index) else { return };
        if index >= self.places.len() {
            self.places.resize(index + 1, Place::NOWHERE);
        }
        self.places[index] = place;
        let surplus = self.places.len().saturating_sub(MAX_PLACES);
        self.places.drain(..surplus);
        self.first += surplus as u64;
    }

    /// Lets the oldest blocks go, and the places of what is not here any more.
    fn shrink(&mut self) {
        while self.bytes > MAX_BYTES
            && let Some(block) = self.blocks.pop_front()
        {
            self.bytes -= BLOCK + block.len();
            self.first_block += 1;
        }
        while let Some(place) = self.places.front()
            && (place.block < self.first_block || *place == Place::NOWHERE)
        {
            self.places.pop_front();
            self.first += 1;
        }
    }
}

impl fmt::Debug for EncodedByCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedByCodec").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use logux_codecs::{EventId, Json, Timestamp};

    use super::*;
    use crate::entry::Meta;

    fn entry(position: u64) -> Entry<String> {
        let id = EventId::new(Timestamp::new(position).unwrap(), "node".parse().unwrap());
        let meta = Meta { added: Added::ZERO.plus(position), ..Meta::new(id) };
        Entry::new(format!("{position:060}"), meta)
    }

    fn parts(encoded: &Encoded, positions: impl IntoIterator<Item = u64>) -> Vec<String> {
        let entries: Vec<_> = positions.into_iter().map(entry).collect();
        let parts = encoded.parts(&Json, entries.iter()).unwrap();
        parts.iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
    }

    fn expected(positions: impl IntoIterator<Item = u64>) -> Vec<String> {
        positions.into_iter().map(|position| format!("\"{position:060}\"")).collect()
    }

    #[test]
    fn parts_are_those_of_their_events_whoever_asked_before() {
        let encoded = Encoded::default();
        let asked: [&[u64]; 6] = [&[2, 5], &[1, 2, 3, 4, 5, 6], &[4], &[6, 9], &[1, 9], &[7, 8]];
        for positions in asked {
            assert_eq!(parts(&encoded, positions.to_vec()), expected(positions.to_vec()));
        }
    }

    /// However far apart the events are that somebody is sent.
    #[test]
    fn what_is_kept_is_bounded() {
        let most = MAX_PLACES as u64;
        for (gap, rounds) in [(1, 1000), (2, 1000), (1000, 50), (most - 1, 10), (most + 1, 10)] {
            let encoded = Encoded::default();
            for round in 0..rounds {
                let first = 1 + 20 * round * gap;
                let positions = (0..20).map(|n| first + n * gap);
                assert_eq!(parts(&encoded, positions.clone()), expected(positions));
            }
            let kept = encoded.kept();
            let places = kept.places.capacity();
            assert!(kept.bytes <= MAX_BYTES, "{} bytes are kept", kept.bytes);
            assert!(places <= 4 * MAX_PLACES, "places of {places} positions are kept");
        }
    }

    #[test]
    fn who_is_far_behind_pushes_nothing_out() {
        let encoded = Encoded::default();
        parts(&encoded, 100_000..100_100);
        let before = encoded.kept().blocks.len();
        assert_eq!(parts(&encoded, 1..50), expected(1..50));
        assert_eq!(encoded.kept().blocks.len(), before);
    }
}
