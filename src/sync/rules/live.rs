//! A connection over which both sides send events.

use std::collections::{HashSet, VecDeque};

use logux_codecs::{Added, EventId, Sync, Timestamp};

use super::arrival::{Arrival, Unread};
use super::input_output::{Covered, Unreadable};
use super::relative::{FarFuture, Relative};
use super::whose::Authors;
use crate::apart::{Refused, SetAside};
use crate::entry::{Entry, Incoming};
use crate::sync::error::Misbehaviour;

#[derive(Debug)]
pub(super) struct Live {
    pub(super) relative: Relative,
    // What this side sends.
    /// All up to here was sent, or is not for the peer.
    pub(super) position: Added,
    /// All up to here was there when the connection became live.
    pub(super) start_end: Added,
    pub(super) return_up_to: Added,
    /// The log is being read after this position.
    pub(super) reading: Option<Added>,
    /// Up to here one event is sent at a time: the peer refuses one of them.
    pub(super) suspected_up_to: Added,
    pub(super) reevaluation: Reevaluation,
    /// What was withheld up to here is looked at again.
    pub(super) reevaluate_up_to: Added,
    /// The `sync` messages that wait for their `synced`.
    pub(super) unconfirmed: VecDeque<Covered>,
    pub(super) sent: Added,
    /// So many of the first that are unconfirmed were sent before all of the log was to be sent again.
    pub(super) stale: usize,
    /// The log is to be sent again from its beginning once it has been read.
    pub(super) restarts: bool,
    pub(super) ready_sent: bool,
    // What the other side sends.
    pub(super) received: Added,
    pub(super) received_before: Added,
    pub(super) storing: VecDeque<Arrived>,
    pub(super) peer_ready: bool,
    pub(super) far_future: FarFuture,
    pub(super) unreadable: Unreadable,
    pub(super) authors: Authors,
}

/// What a peer has confirmed.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// How many of the batches that waited longest are confirmed: the caller removes them.
    pub(super) count: usize,
    /// Whether the cursor moves with it.
    pub(super) moves: bool,
}

/// What came in one `sync`.
#[derive(Debug)]
pub(super) struct SyncReceived<E> {
    pub(super) incoming: Incoming<E>,
    /// Those that cannot be read, and are dropped.
    pub(super) skipped: Vec<Refused>,
}

/// Whether withheld events are looked at again. That waits until nothing is under way, which would
/// be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reevaluation {
    Idle,
    Wanted,
    /// It is being found out where to begin, and whether to do so `again` is wanted since.
    Finding {
        again: bool,
    },
}

/// What a message from the peer asks for once everything before it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrived {
    Sync {
        added: Added,
        /// Its number is lower than what was received before this connection. Tells a protocol without
        /// `ready` what `ready` does.
        is_of_another_log: bool,
    },
    Ready(Added),
}

impl Live {
    pub(super) fn sync<E>(
        &mut self,
        sync: Sync<Arrival<E>>,
        now: Timestamp,
    ) -> Result<SyncReceived<E>, Misbehaviour> {
        let Sync { added, entries: wire } = sync;
        let (mut refused, mut skipped) = (Vec::new(), Vec::new());
        let (mut entries, mut set_aside) = (Vec::with_capacity(wire.len()), Vec::new());
        for ((arrival, meta), place) in wire.into_iter().zip(1..) {
            let meta = self.relative.incoming(meta, now, self.far_future);
            let meta = meta.map_err(|what| what.in_event(place))?;
            let Relative { local, peer_name, .. } = &self.relative;
            if let Err(reason) = self.authors.check(local, peer_name, meta.id.node()) {
                refused.push(Refused::new(meta.id, reason));
                continue;
            }
            match arrival {
                Arrival::Event(event, size) => entries.push(Entry::new(event, meta).sized(size)),
                Arrival::Unfit(unfit) => refused.push(Refused::new(meta.id, unfit.to_string())),
                Arrival::Unread(unread) => {
                    let Unread { event, reason } = *unread;
                    match self.unreadable {
                        Unreadable::Keep => set_aside.push(SetAside::new(event, meta, reason)),
                        Unreadable::Skip => skipped.push(Refused::new(meta.id, reason)),
                        Unreadable::Refuse => {
                            let reason = format!("it cannot be read: {reason}");
                            refused.push(Refused::new(meta.id, reason));
                        }
                    }
                }
            }
        }
        // Numbers may repeat or fall: a JavaScript node gives 0 to events that it does not keep. Others are
        // those of its log, which a connection begins after `received_before`.
        let is_of_another_log = !self.relative.protocol.has_ready()
            && (Added::ZERO.plus(1)..self.received_before).contains(&added);
        self.storing.push_back(Arrived::Sync { added, is_of_another_log });
        self.received = if is_of_another_log { Added::ZERO } else { self.received.max(added) };
        let refused = (!refused.is_empty()).then(|| refused.into_boxed_slice());
        let incoming = Incoming { set_aside, refused, ..self.received(entries) };
        Ok(SyncReceived { incoming, skipped })
    }

    pub(super) fn ready<E>(&mut self, added: Added) -> Incoming<E> {
        self.storing.push_back(Arrived::Ready(added));
        self.received = if added < self.received_before {
            // Another log, nothing of which is known to be here; see `peer_log_replaced`.
            Added::ZERO
        } else {
            self.received.max(added)
        };
        self.received(Vec::new())
    }

    fn received<E>(&self, entries: Vec<Entry<E>>) -> Incoming<E> {
        // How far a log is received is kept under the name of the node whose log it is.
        let (peer, up_to) = (self.relative.peer_name.clone(), self.received);
        Incoming { entries, up_to, ..Incoming::nothing(peer) }
    }

    /// Only what waits for it can be confirmed; `@logux/core` believes any number, and never again
    /// sends what is below. Answers how much is confirmed now. Batches that were sent before
    /// the peer's log was replaced are confirmed, too, but move no cursor.
    pub(super) fn synced(&mut self, added: Added) -> Result<Confirmed, Misbehaviour> {
        let place = self.unconfirmed.iter().position(|waiting| waiting.up_to == added);
        let place = place.ok_or(Misbehaviour::Unsent(added))?;
        let count = place + 1;
        let moves = count > self.stale;
        self.stale = self.stale.saturating_sub(count);
        if moves {
            // With nothing else under way, what comes after it and is not for the peer counts, too.
            self.sent = if count == self.unconfirmed.len() { self.position } else { added };
        }
        Ok(Confirmed { count, moves })
    }

    /// The peer did not take these events of what waits for its confirmation. Answers those that do.
    pub(super) fn refused_by_peer(&mut self, ids: &[EventId], reason: &str) -> usize {
        let ids: HashSet<&EventId> = ids.iter().collect();
        let mut found = 0;
        for covered in &mut self.unconfirmed {
            for (added, id) in &covered.sent {
                if ids.contains(id) && !covered.withheld.contains(added) {
                    covered.withheld.push(*added);
                    covered.refused.push(Refused::new(id.clone(), reason));
                    found += 1;
                }
            }
        }
        found
    }

    /// Sends all of the log again: the peer has another log than before. What is under way counts for
    /// nothing.
    pub(super) fn restart(&mut self) {
        self.sent = Added::ZERO;
        self.position = Added::ZERO;
        self.stale = self.unconfirmed.len();
        self.restarts = self.reading.is_some();
    }

    /// Goes back to send what is for the peer now and was not before.
    pub(super) fn go_back(&mut self, after: Added) {
        self.reevaluate_up_to = self.reevaluate_up_to.max(self.position);
        self.position = self.position.min(after);
        self.sent = self.sent.min(after);
    }
}
