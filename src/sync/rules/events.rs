//! What is sent, stored and confirmed.

use logux_codecs::{Added, Message, shown};

use super::input_output::{Covered, Output, Role, SentNext, Wanted};
use super::live::{Arrived, Reevaluation};
use super::phase::Phase;
use super::report::Report;
use super::rules::{Rules, Suspects};
use crate::apart::Refused;
use crate::cursors::Cursors;
use crate::log::Received;
use crate::sync::error::Error;
use crate::sync::notice::Notice;

/// So many events are told of in one notice, at most: a reader that is slow holds some notices.
const EVENTS_IN_A_NOTICE: usize = 256;

impl<E> Rules<E> {
    /// What arrived is in the store: now, and not before, it is confirmed. The peer learns first what was
    /// not taken.
    pub(super) fn stored(&mut self, count: usize, received: Received) {
        let Received { set_aside, refused, has_twin, .. } = received;
        self.refuse_events(&refused);
        self.tell_all(&set_aside, Notice::SetAside);
        if has_twin {
            self.twin();
        }
        for _ in 0..count {
            let Phase::Live(live) = &mut self.phase else { return };
            match live.storing.pop_front() {
                // One `synced` for each `sync`, in their order: a JavaScript sender counts them.
                Some(Arrived::Sync { added, is_of_another_log }) => {
                    self.send(Message::Synced(added));
                    if is_of_another_log {
                        self.peer_log_replaced();
                    }
                }
                Some(Arrived::Ready(added)) => {
                    live.peer_ready = true;
                    if added < live.received_before {
                        self.peer_log_replaced();
                    }
                }
                None => {}
            }
        }
    }

    /// The peer's log ends before what was received from it: it is another log, which lacks
    /// what was sent to the one before.
    fn peer_log_replaced(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.received_before == Added::ZERO {
            return;
        }
        // Once for each connection, or one short message could have the whole log sent again.
        live.received_before = Added::ZERO;
        if self.config.peer_name.is_some() && self.peer_epoch.is_none() {
            // What was confirmed was so for all nodes of that name: this one only counts anew.
            // A second look is about some of what was confirmed before it.
            let sent = live.sent.max(live.reevaluate_up_to);
            let return_up_to = live.return_up_to;
            let cursors = Cursors { sent, return_up_to, ..Cursors::default() };
            self.outputs.push_back(Output::Reset(cursors));
            self.hang_up(Some(Error::LogReplaced));
            return;
        }
        live.return_up_to = self.log_end;
        self.reset_cursors(&Cursors::default());
        match self.config.role {
            // Only the `connect` of a new connection can tell the peer to start over.
            Role::Opener => self.hang_up(Some(Error::LogReplaced)),
            Role::Acceptor => {
                if let Phase::Live(live) = &mut self.phase {
                    live.restart();
                }
                self.tell(Notice::StartedOver);
            }
        }
    }

    /// Events of the peer that this node does not take: both users learn which, and why.
    pub(super) fn refuse_events(&mut self, refused: &[Refused]) {
        if refused.is_empty() {
            return;
        }
        for report in Report::of_refused(refused) {
            self.send(Message::Debug(report.to_string()));
        }
        self.tell_all(refused, Notice::Refused);
    }

    /// Another node has the name of this one, or of the peer.
    pub(super) fn twin(&mut self) {
        // Once for each connection, however many events show it.
        if !std::mem::replace(&mut self.told_twin, true) {
            self.send(Message::Debug(Report::Twin.to_string()));
            self.tell(Notice::Twin);
        }
    }

    /// What the peer says of this node's events; `false` if it is not about those.
    pub(super) fn reported(&mut self, report: &Report) -> bool {
        match (report, &mut self.phase) {
            (Report::Twin, Phase::Live(_)) => {
                if !std::mem::replace(&mut self.told_twin, true) {
                    self.tell(Notice::Twin);
                }
                true
            }
            (Report::Refused { ids, reason }, Phase::Live(live)) => {
                live.refused_by_peer(ids, &shown(reason)) > 0
            }
            // Nobody who was not let in has a say.
            (_, _) => false,
        }
    }

    /// A part of the log is done with: confirmed by the peer, or not for it.
    pub(super) fn done_with(&mut self, mut covered: Covered) {
        let refused = std::mem::take(&mut covered.refused);
        if !refused.is_empty() {
            self.tell_all(&refused, Notice::HeldBack);
            self.outputs.push_back(Output::HoldBack(refused));
        }
        self.outputs.push_back(Output::Confirmed(covered));
    }

    /// Tells of events, not too many at once.
    pub(super) fn tell_all(&mut self, events: &[Refused], notice: impl Fn(Vec<Refused>) -> Notice) {
        for events in events.chunks(EVENTS_IN_A_NOTICE) {
            self.tell(notice(events.to_vec()));
        }
    }

    /// The next part of the log was looked at; what of it is for the peer was sent.
    pub(super) fn covered(&mut self, sent_next: SentNext) {
        let SentNext { up_to, sent, withheld, unsendable: refused, is_offer } = sent_next;
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(after) = live.reading.take() else { return };
        let is_stale = std::mem::take(&mut live.restarts);
        live.position = if is_stale { Added::ZERO } else { up_to };
        let waits = !sent.is_empty();
        let covered = Covered { after, up_to, sent, withheld, refused, is_offer };
        if waits {
            live.unconfirmed.push_back(covered);
            live.stale += usize::from(is_stale);
            return;
        }
        let moves = !is_stale && live.unconfirmed.is_empty() && live.sent < up_to;
        if moves {
            live.sent = up_to;
        }
        self.done_with(covered);
        if moves && self.config.role == Role::Opener {
            self.outputs.push_back(Output::Advance(up_to));
        }
    }

    /// What the peer may have refused, when it ended the connection by an error: all that waits for its
    /// confirmation.
    pub(crate) fn suspects(&self) -> Option<Suspects> {
        let Phase::Live(live) = &self.phase else { return self.suspects.clone() };
        let last = live.unconfirmed.back()?;
        let only = match (live.unconfirmed.len(), &last.sent[..]) {
            (1, [(added, id)]) => Some((*added, id.clone())),
            _ => None,
        };
        Some(Suspects { up_to: last.up_to, only, before: live.suspected_up_to })
    }

    /// The log is the queue: whenever something has changed, this looks at what is next in it.
    pub(super) fn send_what_can_be_sent(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.reevaluate_up_to > Added::ZERO && live.sent >= live.reevaluate_up_to {
            live.reevaluate_up_to = Added::ZERO;
            // Or a second look is wanted again, which begins with what is known now.
            if live.reevaluation == Reevaluation::Idle {
                self.outputs.push_back(Output::Reevaluated);
            }
        }
        if live.sent >= live.suspected_up_to {
            // None of them was to blame, or what was is held back.
            live.suspected_up_to = Added::ZERO;
        }
        if live.reading.is_some() {
            return;
        }
        if live.reevaluation != Reevaluation::Idle {
            if live.reevaluation == Reevaluation::Wanted && live.unconfirmed.is_empty() {
                live.reevaluation = Reevaluation::Finding { again: false };
                self.outputs.push_back(Output::FindWithheld);
            }
            return;
        }
        // All that was there at the start is sent, and nothing that is said here overtakes it.
        if !live.ready_sent && live.position >= live.start_end {
            live.ready_sent = true;
            // Not the position: that may count what came from the peer since, and hide that its
            // log is a new one.
            self.outputs.push_back(Output::Send(Message::Ready(live.start_end)));
        }
        let one_only = live.position < live.suspected_up_to;
        let window = if one_only { 1 } else { self.config.window };
        if live.position < self.log_end && live.unconfirmed.len() < window {
            live.reading = Some(live.position);
            self.outputs.push_back(Output::SendNext(Wanted {
                after: live.position,
                up_to: self.log_end,
                return_up_to: live.return_up_to,
                reevaluate_up_to: live.reevaluate_up_to,
                one_only,
            }));
        }
    }
}
