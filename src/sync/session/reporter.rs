use std::error::Error as _;
use std::iter::successors;
use std::sync::Arc;

use logux_codecs::{Added, NodeId, shown};
use tokio::sync::watch;

use super::diagnostics::{Diagnostics, Seen};
use super::streams::NoticeBoard;
use crate::log::SessionLog;
use crate::metrics::{self, Traffic};
use crate::sync::error::Error;
use crate::sync::notice::Notice;
use crate::sync::peer::Peer;
use crate::sync::state::State;

/// What the user's side of a session sees.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) diagnostics: watch::Receiver<Seen>,
    pub(super) notices: Arc<NoticeBoard>,
}

/// Shows and tells how a session is doing. The session has ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Reporter {
    seen: watch::Sender<Seen>,
    traffic: Traffic,
    notices: Arc<NoticeBoard>,
}

impl Reporter {
    pub(super) fn new(log: Arc<dyn SessionLog>) -> Self {
        let diagnostics = Diagnostics {
            state: State::Disconnected,
            peer: None,
            connections: 0,
            round_trip: None,
            time_fix: 0,
            synced: Added::ZERO,
            other_synced: Added::ZERO,
            events_sent: 0,
            events_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
        };
        Self {
            seen: watch::Sender::new(Seen {
                diagnostics,
                log: Some(log),
                claimed: None,
                ended: None,
            }),
            traffic: Traffic::new(),
            notices: Arc::default(),
        }
    }

    pub(super) fn view(&self) -> View {
        View { diagnostics: self.seen.subscribe(), notices: Arc::clone(&self.notices) }
    }

    pub(crate) fn state(&self, state: State) {
        self.update(|diagnostics| diagnostics.state = state);
    }

    /// Notes what is known. Only a change of the state or of the confirmations wakes anybody.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Diagnostics)) {
        self.seen.send_if_modified(|seen| {
            let before = (seen.diagnostics.state, seen.diagnostics.synced);
            change(&mut seen.diagnostics);
            (seen.diagnostics.state, seen.diagnostics.synced) != before
        });
    }

    pub(crate) fn sent_events(&self, count: u64) {
        self.traffic.sent_events(count);
        self.update(|diagnostics| diagnostics.events_sent += count);
    }

    pub(crate) fn sent_bytes(&self, count: u64) {
        self.traffic.sent_bytes(count);
        self.update(|diagnostics| diagnostics.bytes_sent += count);
    }

    /// A frame of so many bytes, with so many events.
    pub(crate) fn received(&self, events: u64, bytes: u64) {
        self.traffic.received(events, bytes);
        self.update(|diagnostics| {
            diagnostics.bytes_received += bytes;
            diagnostics.events_received += events;
        });
    }

    /// Notes which node the peer says that it is.
    pub(crate) fn claimed(&self, node_id: NodeId) {
        self.seen.send_if_modified(|seen| {
            seen.claimed = Some(node_id);
            false
        });
    }

    /// Notes which log it is that is kept in step.
    pub(crate) fn log(&self, log: Arc<dyn SessionLog>) {
        self.seen.send_modify(|seen| seen.log = Some(log));
    }

    pub(crate) fn peer(&self) -> Option<Arc<Peer>> {
        self.seen.borrow().diagnostics.peer.clone()
    }

    pub(crate) fn synced(&self) -> Added {
        self.seen.borrow().diagnostics.synced
    }

    pub(crate) fn tell(&self, notice: Notice) {
        if let Notice::Debug(text) = &notice {
            tracing::debug!(text = %shown(text), "the peer has a text for developers");
        }
        self.notices.tell(notice);
    }

    /// Tells an error, in the log of the program and to readers of
    /// [`SessionHandle::errors`](crate::SessionHandle::errors).
    pub(crate) fn error(&self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        let causes = successors(error.source(), |&cause| cause.source());
        let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        metrics::connection_failed(&error);
        tracing::warn!(%error, cause = %shown(&cause), "a connection ended");
        self.tell(Notice::Error(Arc::clone(&error)));
        error
    }

    /// Notes how the session has ended, for those who wait for something else.
    pub(crate) fn finish(self, result: Result<(), Arc<Error>>) -> Result<(), Arc<Error>> {
        if let Err(error) = &result {
            self.seen.send_modify(|seen| seen.ended = Some(Arc::clone(error)));
        }
        result
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // Also where the task was cut in the midst of a connection.
        self.update(|diagnostics| {
            if diagnostics.state != State::Wait {
                diagnostics.state = State::Disconnected;
            }
        });
        self.seen.send_modify(|seen| seen.log = None);
        self.notices.close();
    }
}
