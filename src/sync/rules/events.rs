//! What is sent, stored and confirmed.

use logux_codecs::{Added, Message};

use super::input_output::{Covered, Output, Role, Wanted};
use super::live::{Arrived, Reevaluation};
use super::phase::Phase;
use super::rules::Rules;
use crate::cursors::Cursors;
use crate::sync::error::Error;
use crate::sync::notice::Notice;

impl<E> Rules<E> {
    /// What arrived is in the store: now, and not before, it is confirmed.
    pub(super) fn stored(&mut self, count: usize) {
        for _ in 0..count {
            let Phase::Live(live) = &mut self.phase else { return };
            match live.storing.pop_front() {
                // One `synced` for each `sync`, in their order: a JavaScript sender counts them.
                Some(Arrived::Sync(added)) => self.send(Message::Synced(added)),
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
        live.sent = Added::ZERO;
        // Once for each connection, or one short message could have the whole log sent again.
        live.received_before = Added::ZERO;
        live.return_up_to = self.log_end;
        self.reset_cursors(&Cursors::default());
        match self.config.role {
            // Only the `connect` of a new connection can tell the peer to start over.
            Role::Opener => self.hang_up(Some(Error::LogReplaced)),
            Role::Acceptor => {
                if let Phase::Live(live) = &mut self.phase {
                    live.position = Added::ZERO;
                }
                self.tell(Notice::StartedOver);
            }
        }
    }

    /// The next part of the log was looked at; what of it is for the peer was sent.
    pub(super) fn covered(&mut self, up_to: Added, sent: bool, withheld: Vec<Added>) {
        let Phase::Live(live) = &mut self.phase else { return };
        let Some(after) = live.reading.take() else { return };
        live.position = up_to;
        let covered = Covered { after, up_to, withheld };
        if sent {
            live.unconfirmed.push_back(covered);
        } else {
            if self.config.filtered {
                self.outputs.push_back(Output::Confirmed(covered));
            }
            if live.unconfirmed.is_empty() && live.sent < up_to {
                live.sent = up_to;
                if self.config.role == Role::Opener {
                    self.outputs.push_back(Output::Advance(up_to));
                }
            }
        }
    }

    /// The log is the queue: whenever something has changed, this looks at what is next in it.
    pub(super) fn send_what_can_be_sent(&mut self) {
        let Phase::Live(live) = &mut self.phase else { return };
        if live.reevaluate_up_to > Added::ZERO && live.sent >= live.reevaluate_up_to {
            live.reevaluate_up_to = Added::ZERO;
            self.outputs.push_back(Output::Reevaluated);
        }
        if live.reading.is_some() {
            return;
        }
        if live.reevaluation != Reevaluation::Idle {
            if live.reevaluation == Reevaluation::Wanted && live.unconfirmed.is_empty() {
                live.reevaluation = Reevaluation::Finding;
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
        if live.position < self.log_end && live.unconfirmed.len() < self.config.window {
            live.reading = Some(live.position);
            self.outputs.push_back(Output::SendNext(Wanted {
                after: live.position,
                up_to: self.log_end,
                return_up_to: live.return_up_to,
                reevaluate_up_to: live.reevaluate_up_to,
            }));
        }
    }
}
