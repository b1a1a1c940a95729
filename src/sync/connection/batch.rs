//! From the log to a frame: the next events for a peer, as many as fit.

use std::sync::Arc;

use bytes::Bytes;
use logux_codecs::{Added, Codec, Event, EventId, Message, Sync, WireEntry};

use crate::entry::Entry;
use crate::log::{Log, Withheld};
use crate::sync::callbacks::Outward;
use crate::sync::error::Error;
use crate::sync::peer::Peer;
use crate::sync::rules::{Relative, Wanted};

/// Frames of events are not made longer than this, in bytes, unless one event alone is longer.
const GOOD_FRAME: usize = 64 << 10;

/// How much is put into one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Events in one `sync`.
    pub(crate) batch: usize,
    /// Bytes of a frame.
    pub(crate) max_frame: usize,
    /// How many events of their usual size make a good frame.
    pub(crate) fits: usize,
}

impl BatchLimits {
    pub(crate) fn new(batch: usize, max_frame: usize) -> Self {
        // The first frame is a guess; later ones know the size of an event.
        Self { batch, max_frame, fits: batch.min(100) }
    }
}

/// What was read for the peer.
pub(crate) struct Batch {
    /// It has, with this, all that it may have up to here.
    pub(crate) up_to: Added,
    /// What the filter withheld.
    pub(crate) withheld: Vec<Added>,
    /// The `sync` message; `None` if nothing of what was read is for the peer.
    pub(crate) frame: Option<Bytes>,
    /// How many events are in it.
    pub(crate) events: usize,
    /// The next [`BatchLimits::fits`].
    pub(crate) fits: usize,
}

/// Makes batches for one peer, on the terms of one connection.
pub(crate) struct Batcher<E, C> {
    pub(crate) log: Log<E>,
    pub(crate) codec: C,
    pub(crate) relative: Relative,
    pub(crate) peer: Arc<Peer>,
    pub(crate) outward: Outward<E>,
    /// What the peer was not sent, where there is a filter.
    pub(crate) withheld: Option<Withheld>,
}

impl<E: Event, C: Codec> Batcher<E, C> {
    /// Reads the next events from the log and writes one `sync` with as many of them as fit. The
    /// others stay where they are: in the log.
    pub(crate) async fn next(
        self: Arc<Self>,
        wanted: Wanted,
        limits: BatchLimits,
    ) -> Result<Batch, Error> {
        let limit = limits.batch.min(limits.fits).max(1);
        let after = self.skip(wanted);
        let entries = self.log.entries_after(after, limit).await?;
        let end = match entries.last() {
            Some(last) if entries.len() == limit => last.meta.added,
            // There is no more, even if the position is not that of an event.
            Some(last) => last.meta.added.max(wanted.up_to),
            None => wanted.up_to,
        };
        let mut entries = entries;
        entries.retain(|entry| self.is_for_peer(entry, wanted));
        let places: Vec<_> =
            entries.iter().map(|entry| (entry.meta.added, entry.meta.id.clone())).collect();
        let answers = self.outward.apply(entries, &self.peer).await?;
        let (mut visible, mut withheld) = (Vec::new(), Vec::new());
        for ((added, id), answer) in places.into_iter().zip(answers) {
            match answer {
                Some(entry) => visible.push(Visible { added, id, entry }),
                None => withheld.push(added),
            }
        }
        let mut count = visible.len();
        while count > 0 {
            let up_to = if count == visible.len() { end } else { visible[count - 1].added };
            let frame = self.encode(&visible[..count], up_to)?;
            let bytes = frame.len();
            if bytes > limits.max_frame && count == 1 {
                let id = visible[0].id.clone();
                return Err(Error::EventTooLarge { id, bytes, limit: limits.max_frame });
            }
            if bytes <= GOOD_FRAME.min(limits.max_frame) || count == 1 {
                let shrunk = count < visible.len();
                let fits = if shrunk { count } else { limit.saturating_mul(2) };
                withheld.retain(|added| *added <= up_to);
                return Ok(Batch { up_to, withheld, frame: Some(frame), events: count, fits });
            }
            // In proportion, and always fewer.
            count = (count * GOOD_FRAME.min(limits.max_frame) / bytes).clamp(1, count - 1);
        }
        Ok(Batch { up_to: end, withheld, frame: None, events: 0, fits: limits.fits })
    }

    /// After which position there is something to look at: in a reevaluation, only what was withheld.
    fn skip(&self, wanted: Wanted) -> Added {
        if wanted.after >= wanted.reevaluate_up_to {
            return wanted.after;
        }
        let next = self.withheld.as_ref().and_then(|withheld| withheld.skip(wanted.after));
        next.unwrap_or(wanted.reevaluate_up_to).min(wanted.reevaluate_up_to)
    }

    /// What came from the peer is there already; in a reevaluation, so is what was not withheld.
    fn is_for_peer(&self, entry: &Entry<E>, wanted: Wanted) -> bool {
        let added = entry.meta.added;
        let returned =
            entry.meta.source.as_ref() == Some(&self.relative.peer) && added > wanted.return_up_to;
        let is_withheld = || self.withheld.as_ref().is_some_and(|known| known.contains(added));
        let delivered = added <= wanted.reevaluate_up_to && !is_withheld();
        !returned && !delivered
    }

    fn encode(&self, entries: &[Visible<E>], added: Added) -> Result<Bytes, Error> {
        let wire: Vec<WireEntry<_>> = entries
            .iter()
            .map(|one| (&one.entry.event, self.relative.outgoing(&one.id, &one.entry.meta)))
            .collect();
        let mut frame = Vec::with_capacity(128 * entries.len());
        match self.codec.encode(&Message::Sync(Sync { added, entries: wire }), &mut frame) {
            Ok(()) => Ok(frame.into()),
            Err(error) => match entries {
                [one] => {
                    Err(Error::Encode { id: one.id.clone(), format: C::NAME, source: error.into() })
                }
                _ => self.encode_one_by_one(entries),
            },
        }
    }

    /// Finds the event that cannot be written.
    fn encode_one_by_one(&self, entries: &[Visible<E>]) -> Result<Bytes, Error> {
        for one in entries {
            self.encode(std::slice::from_ref(one), one.added)?;
        }
        Err(Error::Encode {
            id: entries[0].id.clone(),
            format: C::NAME,
            source: "its events can be written one by one, but not together".into(),
        })
    }
}

/// An event as the peer may have it, and where and what it is: not for a map to change.
struct Visible<E> {
    added: Added,
    id: EventId,
    entry: Arc<Entry<E>>,
}
