use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use logux_codecs::Headers;
use tokio::sync::{broadcast, watch};

use super::diagnostics::Seen;
use crate::apart::Refused;
use crate::sync::error::Error;
use crate::sync::notice::Notice;
use crate::sync::state::State;

/// How many notices wait for a reader; above that the oldest are dropped.
const MAX_NOTICES: usize = 16;

/// How many bytes of the peer's texts and headers wait for the first reader; above that the oldest of
/// them are dropped.
const MAX_BYTES: usize = 4 << 10;

/// How many of these bytes a notice of events may take. What is beyond them is cut off: that there are
/// such events is told, whatever their number.
const MAX_BYTES_OF_EVENTS: usize = 2 << 10;

/// Where notices are told, and kept until somebody reads them for the first time.
#[derive(Debug)]
pub(super) struct NoticeBoard(Mutex<Board>);

#[derive(Debug)]
struct Board {
    /// Until the first reader comes: notices, and how many bytes each holds.
    kept: Option<VecDeque<(usize, Notice)>>,
    /// All bytes of what is kept.
    bytes: usize,
    /// From the first reader on: most sessions of a server have none, and room for notices is not made for them.
    readers: Option<broadcast::Sender<Notice>>,
    /// The session has ended.
    is_closed: bool,
}

impl Default for NoticeBoard {
    fn default() -> Self {
        let kept = Some(VecDeque::new());
        Self(Mutex::new(Board { kept, bytes: 0, readers: None, is_closed: false }))
    }
}

impl NoticeBoard {
    pub(super) fn tell(&self, mut notice: Notice) {
        let mut board = self.board();
        let board = &mut *board;
        if let Some(kept) = &mut board.kept {
            if let Notice::Refused(events) | Notice::SetAside(events) | Notice::HeldBack(events) =
                &mut notice
            {
                cut(events);
            }
            let size = size(&notice);
            if size > MAX_BYTES {
                return;
            }
            board.bytes += size;
            kept.push_back((size, notice));
            while kept.len() > MAX_NOTICES || board.bytes > MAX_BYTES {
                // What the peer says makes room first, so that it drives no error out.
                let is_of_peer = |(_, notice): &(usize, Notice)| {
                    matches!(
                        notice,
                        Notice::Headers(_)
                            | Notice::Debug(_)
                            | Notice::Refused(_)
                            | Notice::SetAside(_)
                            | Notice::HeldBack(_)
                            | Notice::Twin
                    )
                };
                let oldest = kept.iter().position(is_of_peer).unwrap_or_default();
                let Some((size, _)) = kept.remove(oldest) else { break };
                board.bytes -= size;
            }
        } else if let Some(readers) = &board.readers {
            // Fails only when nobody listens.
            let _ = readers.send(notice);
        }
    }

    /// What is kept, and what comes.
    pub(super) fn read(&self) -> Notices<Notice> {
        let mut board = self.board();
        let kept = board.kept.take().unwrap_or_default();
        let kept = stream::iter(kept.into_iter().map(|(_, notice)| notice));
        let notices = if board.is_closed {
            kept.boxed()
        } else {
            let new = || broadcast::Sender::new(MAX_NOTICES);
            let readers = board.readers.get_or_insert_with(new);
            kept.chain(received(readers.subscribe())).boxed()
        };
        Notices { notices }
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        let mut board = self.board();
        board.readers = None;
        board.is_closed = true;
    }

    /// Nothing panics while the lock is held.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the first events, as many as may wait for a reader.
fn cut(events: &mut Vec<Refused>) {
    let mut bytes = 0;
    let fit = events.iter().take_while(|one| {
        bytes += size_of_one(one);
        bytes <= MAX_BYTES_OF_EVENTS
    });
    let fit = fit.count().max(1);
    events.truncate(fit);
}

/// An id has a time and some punctuation beside the node's name.
fn size_of_one(one: &Refused) -> usize {
    one.reason.len() + one.id.node().as_str().len() + 40
}

/// About how many bytes of the peer's a notice holds.
fn size(notice: &Notice) -> usize {
    let text = |headers: &Headers| serde_json::to_vec(headers).map_or(0, |text| text.len());
    match notice {
        Notice::Headers(headers) => text(headers),
        Notice::Debug(text) => text.len(),
        Notice::Refused(events) | Notice::SetAside(events) | Notice::HeldBack(events) => {
            events.iter().map(size_of_one).sum()
        }
        Notice::Error(_) | Notice::StartedOver | Notice::Twin => 0,
    }
}

fn received(receiver: broadcast::Receiver<Notice>) -> impl Stream<Item = Notice> + Send {
    stream::unfold(receiver, async |mut receiver| {
        loop {
            match receiver.recv().await {
                Ok(notice) => return Some((notice, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

/// The states of a session as a stream, made by [`SessionHandle::states`](crate::SessionHandle::states).
#[must_use = "a stream does nothing until it is read"]
pub struct States {
    states: BoxStream<'static, State>,
}

/// Notices of a session as a stream, made by [`SessionHandle::notices`](crate::SessionHandle::notices)
/// and [`SessionHandle::errors`](crate::SessionHandle::errors).
#[must_use = "a stream does nothing until it is read"]
pub struct Notices<T> {
    notices: BoxStream<'static, T>,
}

impl States {
    pub(super) fn new(seen: watch::Receiver<Seen>) -> Self {
        let states = stream::unfold((seen, None), async |(mut seen, last)| {
            let new = |seen: &Seen| Some(seen.diagnostics.state) != last;
            let state = seen.wait_for(new).await.ok()?.diagnostics.state;
            Some((state, (seen, Some(state))))
        });
        Self { states: states.boxed() }
    }
}

impl Notices<Notice> {
    pub(super) fn errors(self) -> Notices<Arc<Error>> {
        let errors = self.filter_map(async |notice| match notice {
            Notice::Error(error) => Some(error),
            _ => None,
        });
        Notices { notices: errors.boxed() }
    }
}

impl Stream for States {
    type Item = State;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<State>> {
        self.states.as_mut().poll_next(context)
    }
}

impl<T> Stream for Notices<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.notices.as_mut().poll_next(context)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Notices<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}
