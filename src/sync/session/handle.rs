use std::fmt;
use std::future::pending;
use std::sync::Arc;

use logux_codecs::{Added, EventId, Headers, NodeId};
use tokio::sync::oneshot;

use super::commands::{Command, Commander, Commands, Owner, Replay, Subscription};
use super::diagnostics::{Diagnostics, Seen};
use super::reporter::{Reporter, View};
use super::streams::{Notices, States};
use crate::log::{Receipt, ReceiptError, SessionLog};
use crate::sync::error::Error;
use crate::sync::notice::Notice;
use crate::sync::peer::Peer;
use crate::sync::state::State;

/// Looks at a running synchronization, and tells it things; it goes on and ends without this.
#[derive(Clone)]
pub struct SessionHandle {
    commander: Commander,
    view: View,
}

/// The session ended before it reached what was waited for.
///
/// Its `source` is the error that the session ended with, if it ended with one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the session ended")]
pub struct SessionEnded {
    #[source]
    reason: Option<Arc<Error>>,
}

/// Why a session gave no receipt: see [`SessionHandle::receipt`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoReceipt {
    /// The log does not hold the event, or the store failed.
    #[error(transparent)]
    Log(#[from] ReceiptError),
    /// The session ended before the peer was done with the event. What was not confirmed travels in the next
    /// session.
    #[error(transparent)]
    Ended(#[from] SessionEnded),
}

impl SessionEnded {
    /// The error that the session ended with; `None` if either side closed it, or if its task was cut
    /// or panicked.
    pub const fn reason(&self) -> Option<&Arc<Error>> {
        self.reason.as_ref()
    }
}

#[expect(clippy::unused_async, reason = "what is told at once today may have to wait one day")]
impl SessionHandle {
    /// A handle, what ends the session when it is dropped, and the side that runs the session.
    pub(crate) fn new(log: Arc<dyn SessionLog>) -> (Self, Owner, Commands, Reporter) {
        let (owner, commands) = Commands::new();
        let reporter = Reporter::new(log);
        let handle = Self { commander: owner.commander(), view: reporter.view() };
        (handle, owner, commands, reporter)
    }

    /// A handle of the session that is run by these.
    pub(crate) fn of(commands: &Commands, reporter: &Reporter) -> Self {
        Self { commander: commands.commander(), view: reporter.view() }
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.view.diagnostics.borrow().diagnostics.state
    }

    /// Each state from now on, the present one first. States that last only for a moment may be
    /// skipped. Ends with the session.
    pub fn states(&self) -> States {
        States::new(self.view.diagnostics.clone())
    }

    /// Waits for a state. [`State::Synchronized`] counts only once all events are confirmed that
    /// the log held when this was called.
    ///
    /// Fails if the session ends before, and says why it ended. Cancel-safe.
    pub async fn wait_for(&self, state: State) -> Result<(), SessionEnded> {
        let mut seen = self.view.diagnostics.clone();
        let mut log = None;
        let mut end = Added::ZERO;
        let reached = seen.wait_for(|seen| {
            // As of now, or of when it is known which log it is.
            if let Some(now) = &seen.log
                && log.as_ref().is_none_or(|before| !Arc::ptr_eq(before, now))
            {
                end = now.end().get();
                log = Some(Arc::clone(now));
            }
            let Diagnostics { state: now, synced, .. } = seen.diagnostics;
            now == state && (state != State::Synchronized || synced >= end)
        });
        if reached.await.is_ok() {
            return Ok(());
        }
        Err(self.session_ended())
    }

    /// Waits until the peer is done with an event of the session's log, and answers what became of the event.
    /// Goes on over later connections, and with another node, if that answers then.
    ///
    /// Fails if the session ends before, which loses nothing: the event travels in the next session.
    /// [`Log::receipt`](crate::Log::receipt) waits across sessions. Cancel-safe.
    ///
    /// ```
    /// # use logux_sync::{Json, Log, Memory, MemoryStore, Receipt, ServerSync, BaseSync, Role};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let log = Log::<String>::open("10:client".parse()?, MemoryStore::new()).await?;
    /// # let server_log = Log::<String>::open("server".parse()?, MemoryStore::new()).await?;
    /// # let (near, far) = Memory::pair();
    /// # let _server = ServerSync::new(&server_log, Json, far).start();
    /// # let client = BaseSync::new(&log, Json, Role::Opener, near).start();
    /// let entry = log.add("hello".to_owned()).await?;
    /// match client.receipt(&entry.meta.id).await? {
    ///     Receipt::Confirmed => println!("the peer has it"),
    ///     Receipt::HeldBack(refused) => println!("the peer did not take it: {}", refused.reason),
    ///     Receipt::Withheld => println!("out_filter keeps it from the peer"),
    ///     other => println!("an earlier process was done with it: {other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn receipt(&self, id: &EventId) -> Result<Receipt, NoReceipt> {
        let mut seen = self.view.diagnostics.clone();
        loop {
            let (log, peer) = {
                let seen = seen.borrow_and_update();
                let peer = seen.diagnostics.peer.as_ref().map(|peer| peer.node_id.clone());
                (seen.log.clone(), peer)
            };
            let Some(log) = log else { return Err(self.session_ended().into()) };
            let receipt = async {
                match &peer {
                    Some(peer) => log.receipt(peer, id).await,
                    None => pending().await,
                }
            };
            let is_another = |seen: &Seen| {
                seen.diagnostics.peer.as_ref().map(|peer| &peer.node_id) != peer.as_ref()
                    || seen.log.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &log))
            };
            tokio::select! {
                biased;
                receipt = receipt => return Ok(receipt?),
                another = seen.wait_for(is_another) => {
                    if another.is_err() {
                        return Err(self.session_ended().into());
                    }
                }
            }
        }
    }

    fn session_ended(&self) -> SessionEnded {
        SessionEnded { reason: self.view.diagnostics.borrow().ended.clone() }
    }

    /// The node at the other end of the present connection, or of the last one.
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.view.diagnostics.borrow().diagnostics.peer.clone()
    }

    /// How it is doing, as of now.
    pub fn diagnostics(&self) -> Diagnostics {
        self.view.diagnostics.borrow().diagnostics.clone()
    }

    /// What happens: errors, headers, texts of the peer. The first stream of a session begins with
    /// what was told since its start, whoever asks for it: at most 16 notices, with at most 4 KiB of
    /// the peer's texts and headers, of many events the first. Later streams begin now. A reader that falls more than 16 notices behind
    /// misses the oldest. Ends with the session.
    pub fn notices(&self) -> Notices<Notice> {
        self.view.notices.read()
    }

    /// The errors of [`notices`](Self::notices): a stream of its own, which counts as the first if
    /// it is.
    pub fn errors(&self) -> Notices<Arc<Error>> {
        self.notices().errors()
    }

    /// Sends new headers, which replace those before; without a connection, with the next one. Ready at
    /// once.
    pub async fn set_headers(&self, headers: Headers) {
        self.commander.headers(headers);
    }

    /// Sends the peer's developer a text; it is dropped where there is no connection. Waits only while 16
    /// other texts do.
    pub async fn debug(&self, text: impl Into<String>) {
        self.commander.debug(text.into()).await;
    }

    /// Asks `out_indexes` and `out_filter` again about all events that they have withheld from the peer, and sends those
    /// that they let through now; nothing that the peer has travels again. Without a connection, with
    /// the next one. Ready at once.
    ///
    /// Such an event comes late: after events of its node that were made after it. What was withheld
    /// is remembered as long as the process runs. Of what the peer got before that, nothing is
    /// known, and what the filter lets through of it travels again, to be ignored there.
    pub async fn reevaluate(&self) {
        self.commander.reevaluate();
    }

    /// Sends the peer events with this index, too, for as long as the present connection lasts: besides those of
    /// [`out_indexes`](crate::SyncOptions::out_indexes), where that is set. [`out_filter`](crate::SyncOptions::out_filter)
    /// is asked about them as about all others.
    ///
    /// Ready once the peer has confirmed what `replay` says it is to get of the past, in the order of the log and page
    /// by page, so that nothing piles up for a slow peer. What is added meanwhile follows. The cost is that of the
    /// events that are sent, however long the log is.
    ///
    /// Replays of a peer come one after the other. Events of the past come late: after events of their nodes that were
    /// made after them. Subscribing to an index twice sends what is live once.
    ///
    /// Fails where there is no connection, or it ends before. If the call is dropped, the peer stays subscribed.
    pub async fn subscribe(
        &self,
        index: impl Into<String>,
        replay: Replay,
    ) -> Result<(), SessionEnded> {
        let (done, is_done) = oneshot::channel();
        let subscription = Subscription { index: index.into(), replay, done };
        self.commander.subscription(Command::Subscribe(subscription));
        is_done.await.map_err(|_| self.session_ended())
    }

    /// Ends what [`subscribe`](Self::subscribe) began for this index, also a replay that is under way. Ready at once.
    pub fn unsubscribe(&self, index: impl Into<String>) {
        self.commander.subscription(Command::Unsubscribe(index.into()));
    }

    /// Sends the events again that the peer did not take: see [`Log::held_back`](crate::Log::held_back).
    /// Those that it takes now are held back no longer. Without a connection, with the next one. Ready at
    /// once.
    ///
    /// Such an event comes late: after events of its node that were made after it.
    pub async fn offer_again(&self) {
        self.commander.offer_again();
    }

    /// Says that the network is back, or another one. Ready at once.
    ///
    /// A client that waits to dial again does so now; a connection that is being opened, or whose peer has
    /// not answered yet, or that is ending, is dropped and dialled anew. Over an open connection the peer is
    /// asked whether it is there: if it says nothing within 10 seconds, or the
    /// [`timeout`](crate::SyncOptions::timeout) if that is shorter, the connection is lost. A session that
    /// does not dial only asks.
    pub async fn reconnect_now(&self) {
        self.commander.reconnect();
    }

    /// Ends the session, as [`Session::close`](crate::Session::close) does, and waits for that: at most
    /// [`SyncOptions::farewell`](crate::SyncOptions::farewell).
    ///
    /// Dropping the future after it was polled leaves the rest to the background.
    pub async fn close(&self) -> Result<(), Arc<Error>> {
        self.commander.close(None, None);
        self.over().await
    }

    /// The same, and tells the peer why: it gets the error `closed` with this text, of which at most 512
    /// bytes are sent, if it can still be told.
    ///
    /// For the peer that is an [`Error::Received`]. It is transient, also for JavaScript nodes: a client whose
    /// transport dials again comes back. A peer that is to stay away is refused by
    /// [`auth`](crate::SyncOptions::auth) then.
    pub async fn close_with(&self, reason: impl Into<String>) -> Result<(), Arc<Error>> {
        self.order_to_close(Some(reason.into()));
        self.over().await
    }

    /// Ends the session at once, without a farewell. What was not confirmed travels again.
    pub fn abort(&self) {
        self.commander.cut();
    }

    /// Waits until the session is over, and answers the error that it ended with. Cancel-safe.
    pub(crate) async fn over(&self) -> Result<(), Arc<Error>> {
        let mut seen = self.view.diagnostics.clone();
        // The session drops its end when it is over.
        let _ = seen.wait_for(|_| false).await;
        let ended = seen.borrow().ended.clone();
        ended.map_or(Ok(()), Err)
    }

    /// Ends the session in the background.
    pub(crate) fn order_to_close(&self, reason: Option<String>) {
        self.commander.close(reason, None);
    }

    /// The node that the peer of the present connection says that it is, let in or not; nothing is proven of it
    /// until there is a [`peer`](Self::peer).
    pub fn claimed(&self) -> Option<NodeId> {
        self.view.diagnostics.borrow().claimed.clone()
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostics { state, ref peer, .. } = self.view.diagnostics.borrow().diagnostics;
        f.debug_struct("Session").field("state", &state).field("peer", peer).finish_non_exhaustive()
    }
}
