use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use logux_codecs::{Added, Headers, NodeId, Protocol, Subprotocol};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use super::error::Error;
use super::relative::Relative;
use super::state::State;
use crate::log::End;

/// How many notices wait for a reader; above that the oldest are dropped.
const NOTICES: usize = 16;

/// A running synchronization. Made by `start` of [`ClientSync`](crate::ClientSync),
/// [`ServerSync`](crate::ServerSync) and [`BaseSync`](crate::BaseSync).
///
/// Dropping it ends the synchronization in the background; [`close`](Self::close) waits for that.
pub struct Session {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    log_end: Arc<End>,
    /// Weak, so that the streams end with the task.
    notices: broadcast::WeakSender<Notice>,
    /// What is told before anybody asks.
    first_notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    task: JoinHandle<Result<(), Arc<Error>>>,
}

/// What happened in a session that a user may want to know, as a stream: [`Session::notices`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A connection ended with an error. The session goes on if the transport dials again.
    Error(Arc<Error>),
    /// The peer's headers, all of them.
    Headers(Headers),
    /// A text for this node's developer.
    Debug(String),
    /// The peer had seen another log in this one's place: all of this log is sent to it again.
    StartedOver,
}

/// The node at the other end, once it is let in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Remote {
    /// Its name.
    pub node_id: NodeId,
    /// The version of its application.
    pub subprotocol: Option<Subprotocol>,
    /// The version of the protocol that is spoken with it.
    pub protocol: Protocol,
}

/// What a user can ask of a running connection.
#[derive(Debug)]
pub(crate) enum Command {
    Headers(Headers),
    Debug(String),
    Close,
}

#[derive(Clone, Debug)]
struct Status {
    state: State,
    /// All up to here is confirmed by the peer, or not for it.
    confirmed: Added,
    remote: Option<Remote>,
}

/// The side of a [`Session`] that runs it.
#[derive(Debug)]
pub(crate) struct Reporter {
    status: watch::Sender<Status>,
    notices: broadcast::Sender<Notice>,
}

impl Session {
    /// Runs `task`, which is handed what a session is told and what it has to say.
    pub(crate) fn spawn<F>(
        log_end: Arc<End>,
        task: impl FnOnce(mpsc::Receiver<Command>, Reporter) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), Arc<Error>>> + Send + 'static,
    {
        let (commands, receiver) = mpsc::channel(16);
        let reporter = Reporter::new();
        let status = reporter.status.subscribe();
        let notices = reporter.notices.downgrade();
        let first_notices = Mutex::new(Some(reporter.notices.subscribe()));
        let task = tokio::spawn(task(receiver, reporter));
        Self { commands, status, log_end, notices, first_notices, task }
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Each state from now on, the present one first. States that last only for a moment may be
    /// skipped. Ends with the session.
    pub fn states(&self) -> States {
        let status = self.status.clone();
        let states = stream::unfold((status, None), async |(mut status, last)| {
            let state = status.wait_for(|status| Some(status.state) != last).await.ok()?.state;
            Some((state, (status, Some(state))))
        });
        States { states: states.boxed() }
    }

    /// Waits for a state. [`State::Synchronized`] counts only once all events are confirmed that
    /// the log held when this was called. `false` if the session ends before.
    ///
    /// Cancel-safe.
    pub async fn wait_for(&self, state: State) -> bool {
        let end = self.log_end.get();
        let mut status = self.status.clone();
        let reached = |status: &Status| {
            status.state == state && (state != State::Synchronized || status.confirmed >= end)
        };
        status.wait_for(reached).await.is_ok()
    }

    /// The node at the other end of the present connection, or of the last one.
    pub fn remote(&self) -> Option<Remote> {
        self.status.borrow().remote.clone()
    }

    /// What happens: errors, headers, texts of the peer. The first stream of a session starts with
    /// its start, later ones with now. A reader that falls far behind misses the oldest. Ends with
    /// the session.
    pub fn notices(&self) -> Notices<Notice> {
        let first = self.first_notices.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receiver = first.or_else(|| Some(self.notices.upgrade()?.subscribe()));
        Notices { notices: stream::iter(receiver).flat_map(notices).boxed() }
    }

    /// The errors of [`notices`](Self::notices): a stream of its own, which counts as the first if
    /// it is.
    pub fn errors(&self) -> Notices<Arc<Error>> {
        let errors = self.notices().filter_map(async |notice| match notice {
            Notice::Error(error) => Some(error),
            _ => None,
        });
        Notices { notices: errors.boxed() }
    }

    /// Sends new headers, which replace those before; without a connection, with the next one.
    pub async fn set_headers(&self, headers: Headers) {
        // Fails only when the session is over, which needs no headers.
        let _ = self.commands.send(Command::Headers(headers)).await;
    }

    /// Sends the peer's developer a text; it is dropped where there is no connection.
    pub async fn debug(&self, text: impl Into<String>) {
        let _ = self.commands.send(Command::Debug(text.into())).await;
    }

    /// Ends the synchronization: what is being sent goes out, what has arrived is stored, the
    /// connection is closed. Answers the error that it ended with, if it had ended before.
    ///
    /// Dropping the future before it is ready leaves the rest to the background.
    pub async fn close(self) -> Result<(), Arc<Error>> {
        // Fails only when the session is over.
        let _ = self.commands.send(Command::Close).await;
        self.ended().await
    }

    /// Waits until the session ends by itself: without an error if the peer closed it.
    pub async fn ended(mut self) -> Result<(), Arc<Error>> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Ok(()),
            },
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.borrow();
        f.debug_struct("Session")
            .field("state", &status.state)
            .field("remote", &status.remote)
            .finish_non_exhaustive()
    }
}

impl Reporter {
    pub(crate) fn new() -> Self {
        let status = Status { state: State::Disconnected, confirmed: Added::ZERO, remote: None };
        Self { status: watch::Sender::new(status), notices: broadcast::Sender::new(NOTICES) }
    }

    /// Tells what is known; `None` leaves what was.
    pub(crate) fn update(&self, state: Option<State>, confirmed: Option<Added>) {
        self.status.send_if_modified(|status| {
            let before = (status.state, status.confirmed);
            status.state = state.unwrap_or(status.state);
            status.confirmed = confirmed.unwrap_or(status.confirmed);
            (status.state, status.confirmed) != before
        });
    }

    pub(crate) fn connected(&self, relative: &Relative) {
        self.status.send_if_modified(|status| {
            let known = status.remote.as_ref().is_some_and(|remote| {
                remote.node_id == relative.remote
                    && remote.subprotocol == relative.remote_subprotocol
                    && remote.protocol == relative.protocol
            });
            if !known {
                status.remote = Some(Remote {
                    node_id: relative.remote.clone(),
                    subprotocol: relative.remote_subprotocol,
                    protocol: relative.protocol,
                });
            }
            !known
        });
    }

    pub(crate) fn confirmed(&self) -> Added {
        self.status.borrow().confirmed
    }

    pub(crate) fn tell(&self, notice: Notice) {
        if let Notice::Debug(text) = &notice {
            tracing::debug!(text = %super::error::shown(text), "the peer has a text for developers");
        }
        // Fails only when nobody listens.
        let _ = self.notices.send(notice);
    }

    /// Tells an error, in the log of the program and to who reads [`Session::errors`].
    pub(crate) fn error(&self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        let cause = std::error::Error::source(&*error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause = %super::error::shown(&cause), "a connection ended");
        self.tell(Notice::Error(Arc::clone(&error)));
        error
    }
}

/// The states of a session as a stream, made by [`Session::states`].
pub struct States {
    states: BoxStream<'static, State>,
}

/// Notices of a session as a stream, made by [`Session::notices`] and [`Session::errors`].
pub struct Notices<T> {
    notices: BoxStream<'static, T>,
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

fn notices(receiver: broadcast::Receiver<Notice>) -> impl Stream<Item = Notice> + Send {
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
