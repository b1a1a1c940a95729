use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use logux_codecs::{Added, Headers, NodeId, Protocol, Subprotocol, shown};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use super::error::Error;
use super::state::State;
use crate::log::End;

/// How many notices wait for a reader; above that the oldest are dropped.
const NOTICES: usize = 16;

/// A running synchronization. Made by `start` of [`ClientSync`](crate::ClientSync),
/// [`ServerSync`](crate::ServerSync) and [`BaseSync`](crate::BaseSync).
///
/// All that can be seen of it and asked of it is on its [`SessionHandle`], which it stands for.
/// Dropping it ends the synchronization in the background; [`close`](Self::close) waits for that.
pub struct Session {
    handle: SessionHandle,
    commands: mpsc::Sender<Command>,
    /// What is told before anybody asks.
    first_notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    task: JoinHandle<Result<(), Arc<Error>>>,
}

/// Looks at a running synchronization, and tells it things; it goes on and ends without this.
#[derive(Clone)]
pub struct SessionHandle {
    /// Weak, as the session ends when its owner drops it.
    commands: mpsc::WeakSender<Command>,
    status: watch::Receiver<Status>,
    log_end: Arc<End>,
    /// Weak, so that the streams end with the task.
    notices: broadcast::WeakSender<Notice>,
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
    /// The peer had seen another log in this one's place, or has another log itself than before:
    /// all of this log is sent to it again.
    StartedOver,
}

/// The node at the other end, once it is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its name.
    pub node_id: NodeId,
    /// The version of its application.
    pub subprotocol: Option<Subprotocol>,
    /// The version of the protocol that is spoken with it.
    pub protocol: Protocol,
}

/// How a session is doing: [`SessionHandle::diagnostics`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnostics {
    /// Where it stands.
    pub state: State,
    /// The node at the other end of the present connection, or of the last one.
    pub peer: Option<Arc<Peer>>,
    /// How many connections there were, the present one included.
    pub connections: u64,
    /// How long the last question took to be answered: `connect`, or a ping.
    pub round_trip: Option<Duration>,
    /// How many milliseconds the own clock is ahead of the peer's, if times are fixed.
    pub time_fix: i64,
    /// All events of the own log up to here are confirmed by the peer, or not for it.
    pub synced: Added,
    /// All events of the peer's log up to here are in the own log.
    pub other_synced: Added,
    /// Events that were sent, those that were sent again counted again.
    pub events_sent: u64,
    /// Events that arrived, those that were there already or refused counted, too.
    pub events_received: u64,
    /// Bytes of the frames that were given to the link.
    pub bytes_sent: u64,
    /// Bytes of the frames that arrived.
    pub bytes_received: u64,
}

/// What a user can ask of a running connection.
#[derive(Debug)]
pub(crate) enum Command {
    Headers(Headers),
    Debug(String),
    Reevaluate,
    Reconnect,
    Close,
}

type Status = Diagnostics;

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
        let (handle, commands, receiver, reporter) = SessionHandle::new(log_end);
        let first_notices = Mutex::new(Some(reporter.notices.subscribe()));
        let task = tokio::spawn(task(receiver, reporter));
        Self { handle, commands, first_notices, task }
    }

    /// A handle to give away.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// What happens: errors, headers, texts of the peer. The first stream of a session starts with
    /// its start, later ones with now. A reader that falls far behind misses the oldest. Ends with
    /// the session.
    pub fn notices(&self) -> Notices<Notice> {
        let first = self.first_notices.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| self.handle.notices(), Notices::new)
    }

    /// The errors of [`notices`](Self::notices): a stream of its own, which counts as the first if
    /// it is.
    pub fn errors(&self) -> Notices<Arc<Error>> {
        self.notices().errors()
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

impl Deref for Session {
    type Target = SessionHandle;

    fn deref(&self) -> &SessionHandle {
        &self.handle
    }
}

impl SessionHandle {
    /// A handle, the strong end of what it commands, and the side that runs it.
    pub(crate) fn new(
        log_end: Arc<End>,
    ) -> (Self, mpsc::Sender<Command>, mpsc::Receiver<Command>, Reporter) {
        let (commands, receiver) = mpsc::channel(16);
        let reporter = Reporter::new();
        let handle = Self {
            commands: commands.downgrade(),
            status: reporter.status.subscribe(),
            log_end,
            notices: reporter.notices.downgrade(),
        };
        (handle, commands, receiver, reporter)
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
            status.state == state && (state != State::Synchronized || status.synced >= end)
        };
        status.wait_for(reached).await.is_ok()
    }

    /// The node at the other end of the present connection, or of the last one.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.status.borrow().peer.clone()
    }

    /// How it is doing, as of now.
    pub fn diagnostics(&self) -> Diagnostics {
        self.status.borrow().clone()
    }

    /// What happens from now on: errors, headers, texts of the peer. A reader that falls far behind
    /// misses the oldest. Ends with the session.
    pub fn notices(&self) -> Notices<Notice> {
        match self.notices.upgrade() {
            Some(notices) => Notices::new(notices.subscribe()),
            None => Notices { notices: stream::empty().boxed() },
        }
    }

    /// The errors of [`notices`](Self::notices).
    pub fn errors(&self) -> Notices<Arc<Error>> {
        self.notices().errors()
    }

    /// Sends new headers, which replace those before; without a connection, with the next one.
    pub async fn set_headers(&self, headers: Headers) {
        self.command(Command::Headers(headers)).await;
    }

    /// Sends the peer's developer a text; it is dropped where there is no connection.
    pub async fn debug(&self, text: impl Into<String>) {
        self.command(Command::Debug(text.into())).await;
    }

    /// Asks `out_filter` again about all events that it has held back from the peer, and sends
    /// those that it lets through now; nothing that the peer has travels again. Without a
    /// connection, with the next one.
    ///
    /// Such an event comes late: after events of its node that were made after it. What was held
    /// back is remembered as long as the process runs. Of what the peer got before that, nothing is
    /// known, and what the filter lets through of it travels again, to be ignored there.
    pub async fn reevaluate(&self) {
        self.command(Command::Reevaluate).await;
    }

    /// Says that the network is back: a client that waits to dial again does so now.
    pub async fn reconnect_now(&self) {
        self.command(Command::Reconnect).await;
    }

    /// Fails only when the session is over, which needs no commands.
    async fn command(&self, command: Command) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(command).await;
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.borrow();
        f.debug_struct("Session")
            .field("state", &status.state)
            .field("peer", &status.peer)
            .finish_non_exhaustive()
    }
}

impl Reporter {
    fn new() -> Self {
        let status = Status {
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
        Self { status: watch::Sender::new(status), notices: broadcast::Sender::new(NOTICES) }
    }

    pub(crate) fn state(&self, state: State) {
        self.update(|status| status.state = state);
    }

    /// Notes what is known. Only who waits for a state or a confirmation is woken.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Diagnostics)) {
        self.status.send_if_modified(|status| {
            let before = (status.state, status.synced);
            change(status);
            (status.state, status.synced) != before
        });
    }

    pub(crate) fn peer(&self) -> Option<Arc<Peer>> {
        self.status.borrow().peer.clone()
    }

    pub(crate) fn synced(&self) -> Added {
        self.status.borrow().synced
    }

    pub(crate) fn tell(&self, notice: Notice) {
        if let Notice::Debug(text) = &notice {
            tracing::debug!(text = %shown(text), "the peer has a text for developers");
        }
        // Fails only when nobody listens.
        let _ = self.notices.send(notice);
    }

    /// Tells an error, in the log of the program and to who reads [`Session::errors`].
    pub(crate) fn error(&self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        let cause = std::error::Error::source(&*error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause = %shown(&cause), "a connection ended");
        self.tell(Notice::Error(Arc::clone(&error)));
        error
    }
}

/// The states of a session as a stream, made by [`SessionHandle::states`].
pub struct States {
    states: BoxStream<'static, State>,
}

/// Notices of a session as a stream, made by [`Session::notices`] and [`Session::errors`].
pub struct Notices<T> {
    notices: BoxStream<'static, T>,
}

impl<T> Notices<T> {
    fn new(receiver: broadcast::Receiver<T>) -> Self
    where
        T: Clone + Send + 'static,
    {
        Self { notices: notices(receiver).boxed() }
    }
}

impl Notices<Notice> {
    fn errors(self) -> Notices<Arc<Error>> {
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

fn notices<T: Clone + Send + 'static>(
    receiver: broadcast::Receiver<T>,
) -> impl Stream<Item = T> + Send {
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
