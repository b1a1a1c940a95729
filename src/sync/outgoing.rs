//! From the log to a frame: the next events for a peer, as many as fit.

use std::sync::Arc;

use bytes::Bytes;
use logux_codecs::{Added, Codec, Event, Message, Sync, WireEntry};

use super::error::Error;
use super::relative::Relative;
use super::rules::Wanted;
use crate::log::{Entry, Log};

/// Frames of events are not made longer than this, in bytes, unless one event alone is longer.
const GOOD_FRAME: usize = 64 << 10;

/// How much is put into one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events in one `sync`.
    pub(crate) batch: usize,
    /// Bytes of a frame.
    pub(crate) max_frame: usize,
    /// How many events of their usual size make a good frame.
    pub(crate) fits: usize,
}

/// What was read for the peer.
pub(crate) struct Batch {
    /// It has, with this, all that it may have up to here.
    pub(crate) up_to: Added,
    /// The `sync` message; `None` if nothing of what was read is for the peer.
    pub(crate) frame: Option<Bytes>,
    /// The next [`Limits::fits`].
    pub(crate) fits: usize,
}

/// Reads the next events from the log and writes one `sync` with as many of them as fit. The others
/// stay where they are: in the log.
pub(crate) async fn next_batch<E: Event, C: Codec>(
    log: Log<E>,
    codec: C,
    relative: Relative,
    wanted: Wanted,
    limits: Limits,
) -> Result<Batch, Error> {
    let limit = limits.batch.min(limits.fits).max(1);
    let entries = log.entries_after(wanted.after, limit).await?;
    let end = match entries.last() {
        Some(last) if entries.len() == limit => last.meta.added,
        // There is no more, even if the position is not that of an event.
        Some(last) => last.meta.added.max(wanted.up_to),
        None => wanted.up_to,
    };
    let visible: Vec<_> =
        entries.iter().filter(|entry| is_for_peer(entry, &relative, wanted)).collect();
    let mut count = visible.len();
    while count > 0 {
        let up_to = if count == visible.len() { end } else { visible[count - 1].meta.added };
        let frame = encode(&codec, &relative, &visible[..count], up_to)?;
        let bytes = frame.len();
        if bytes > limits.max_frame && count == 1 {
            let id = visible[0].meta.id.clone();
            return Err(Error::EventTooLarge { id, bytes, limit: limits.max_frame });
        }
        if bytes <= GOOD_FRAME.min(limits.max_frame) || count == 1 {
            let shrunk = count < visible.len();
            let fits = if shrunk { count } else { limit.saturating_mul(2) };
            return Ok(Batch { up_to, frame: Some(frame), fits });
        }
        // In proportion, and always fewer.
        count = (count * GOOD_FRAME.min(limits.max_frame) / bytes).clamp(1, count - 1);
    }
    Ok(Batch { up_to: end, frame: None, fits: limits.fits })
}

/// What came from the peer is there already.
fn is_for_peer<E>(entry: &Entry<E>, relative: &Relative, wanted: Wanted) -> bool {
    entry.meta.source.as_ref() != Some(&relative.remote) || entry.meta.added <= wanted.return_up_to
}

fn encode<E: Event, C: Codec>(
    codec: &C,
    relative: &Relative,
    entries: &[&Arc<Entry<E>>],
    added: Added,
) -> Result<Bytes, Error> {
    let to_wire = |entry: &&Arc<Entry<E>>| relative.outgoing(&entry.meta);
    let wire: Vec<WireEntry<_>> =
        entries.iter().map(|entry| (&entry.event, to_wire(entry))).collect();
    let mut frame = Vec::new();
    match codec.encode(&Message::Sync(Sync { added, entries: wire }), &mut frame) {
        Ok(()) => Ok(frame.into()),
        Err(error) if entries.len() == 1 => Err(Error::Encode {
            id: entries[0].meta.id.clone(),
            format: C::NAME,
            source: error.into(),
        }),
        // One of them cannot be written: find out which.
        Err(_) => encode_one_by_one(codec, relative, entries),
    }
}

/// Finds the event that cannot be written.
fn encode_one_by_one<E: Event, C: Codec>(
    codec: &C,
    relative: &Relative,
    entries: &[&Arc<Entry<E>>],
) -> Result<Bytes, Error> {
    for entry in entries {
        encode(codec, relative, std::slice::from_ref(entry), entry.meta.added)?;
    }
    Err(Error::Encode {
        id: entries[0].meta.id.clone(),
        format: C::NAME,
        source: "its events can be written one by one, but not together".into(),
    })
}
