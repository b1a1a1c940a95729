use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_codecs::{Added, Headers};
use logux_transports::rt::sleep;
use tokio::sync::{Notify, oneshot};

use crate::log::{Alarm, Alert};
use crate::sync::admission::Displaced;

/// How many texts for the peer's developer wait for the connection; a further one waits to be told.
const MAX_TEXTS: usize = 16;

/// What a session does at the next moment, because it was told so.
#[derive(Debug)]
pub(crate) enum Command {
    Headers(Headers),
    Debug(String),
    Reevaluate,
    OfferAgain,
    Subscribe(Subscription),
    /// From the index of this name.
    Unsubscribe(String),
    /// Another node has the name of the peer. Not the user, but another session says so.
    Twin,
    /// A newer connection of the peer's speaks for it.
    Superseded,
    /// Another user's connection gets the place of this one.
    GiveUpPlace,
    Reconnect,
    /// With a reason for the peer, if there is one.
    Close(Option<String>),
}

/// A peer that subscribes to an index.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) index: String,
    pub(crate) replay: Replay,
    /// Told once the peer has what is replayed.
    pub(crate) done: oneshot::Sender<()>,
}

/// What a peer that subscribes to an index is sent of the events that the log has already:
/// [`SessionHandle::subscribe`](crate::SessionHandle::subscribe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// None of them.
    Nothing,
    /// Those above this position that the peer does not have: for a peer that comes back.
    After(Added),
    /// All, also those that the peer was sent before and those that came from it: for a peer that keeps nothing of
    /// them.
    All,
}

/// What can be done at any time, with and without a connection.
#[derive(Debug)]
pub(crate) enum Wish {
    Reconnect,
    Close,
}

/// What a session was told and has not done yet. A state and not a queue, so that nobody waits for a
/// session that is busy with something else.
#[expect(clippy::struct_excessive_bools, reason = "each is told by itself")]
#[derive(Debug, Default)]
struct Told {
    headers: Option<Headers>,
    texts: VecDeque<String>,
    subscriptions: VecDeque<Command>,
    /// There is a connection, over which texts can go.
    is_connected: bool,
    reevaluate: bool,
    offer_again: bool,
    has_twin: bool,
    is_superseded: bool,
    is_displaced: bool,
    reconnect: bool,
    close: Option<Close>,
    is_cut: bool,
}

/// The wish to end. It stays.
#[derive(Clone, Debug, Default)]
struct Close {
    reason: Option<String>,
    /// How long that may take, where it is not as the options say.
    within: Option<Duration>,
}

#[derive(Debug, Default)]
struct Shared {
    told: Mutex<Told>,
    /// Rings in the order in which the waiting began, so that a simulation runs the same way twice.
    changed: Notify,
}

/// Tells a session things.
#[derive(Clone, Debug)]
pub(super) struct Commander(Arc<Shared>);

/// The session ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Owner(Commander);

/// What a session is told, for the side that runs it.
#[derive(Debug)]
pub(crate) struct Commands(Arc<Shared>);

impl Commands {
    pub(super) fn new() -> (Owner, Self) {
        let shared = Arc::new(Shared::default());
        (Owner(Commander(Arc::clone(&shared))), Self(shared))
    }

    pub(super) fn commander(&self) -> Commander {
        Commander(Arc::clone(&self.0))
    }

    /// What tells of a newer connection with the peer.
    pub(crate) fn alarm(&self) -> Alarm {
        let session = Arc::downgrade(&self.0);
        Box::new(move |alert| {
            if let Some(session) = session.upgrade() {
                session.tell(|told| match alert {
                    Alert::Twin => told.has_twin = true,
                    Alert::Superseded => told.is_superseded = true,
                });
            }
        })
    }

    /// What the server calls when it takes the place of the session's connection.
    pub(crate) fn displace(&self) -> impl Fn(Displaced) + Send + use<> {
        let session = Arc::downgrade(&self.0);
        move |how| {
            if let Some(session) = session.upgrade() {
                session.tell(|told| match how {
                    Displaced::InOrder => told.is_displaced = true,
                    Displaced::AtOnce => told.is_cut = true,
                });
            }
        }
    }

    /// Notes whether there is a connection. What is only for the one that there was is forgotten.
    pub(crate) fn connected(&self, is_connected: bool) {
        self.0.tell(|told| {
            told.is_connected = is_connected;
            told.texts.clear();
            told.subscriptions.clear();
            told.has_twin = false;
            told.is_superseded = false;
        });
    }

    /// What to do next on a connection; what only a peer that is let in can have waits for that.
    /// Cancel-safe.
    pub(crate) async fn next(&self, is_live: bool) -> Command {
        let command = self.0.wait(|told| told.next(is_live)).await;
        if let Command::Debug(_) = command {
            // There is room for another one.
            self.0.changed.notify_waiters();
        }
        command
    }

    /// Waits for what can be done at any time. Cancel-safe.
    pub(crate) async fn wish(&self) -> Wish {
        let wish = |told: &mut Told| match &told.close {
            Some(_) => Some(Wish::Close),
            None => std::mem::take(&mut told.reconnect).then_some(Wish::Reconnect),
        };
        self.0.wait(wish).await
    }

    /// Waits for the wish to dial now, and leaves it for the next that asks. Cancel-safe.
    pub(crate) async fn wants_to_reconnect(&self) {
        self.0.wait(|told| (told.reconnect && told.close.is_none()).then_some(())).await;
    }

    /// Waits until the session is to be over, done or not: this long after it was told to end, if it was
    /// not told how long that may take. Cancel-safe.
    pub(crate) async fn overdue(&self, farewell: Duration) {
        let close = |told: &mut Told| told.close.clone().or(told.is_cut.then(Close::default));
        let close = self.0.wait(close).await;
        // Boxed: this waits beside each connection, and comes to its end once.
        Box::pin(async {
            tokio::select! {
                biased;
                () = self.0.wait(|told| told.is_cut.then_some(())) => {}
                () = sleep(close.within.unwrap_or(farewell)) => {}
            }
        })
        .await;
    }

    /// How long the end may take, if the session was told that.
    pub(crate) fn within(&self) -> Option<Duration> {
        self.0.told().close.as_ref()?.within
    }

    /// New headers, if there are any.
    pub(crate) fn take_headers(&self) -> Option<Headers> {
        self.0.told().headers.take()
    }

    /// Whether withheld events are to be looked at again.
    pub(crate) fn take_reevaluate(&self) -> bool {
        std::mem::take(&mut self.0.told().reevaluate)
    }

    /// Whether what the peer did not take is to be offered again.
    pub(crate) fn take_offer_again(&self) -> bool {
        std::mem::take(&mut self.0.told().offer_again)
    }
}

impl Drop for Commands {
    /// The session is over: nobody has to wait to tell it something.
    fn drop(&mut self) {
        self.connected(false);
    }
}

impl Commander {
    pub(super) fn headers(&self, headers: Headers) {
        self.0.tell(|told| told.headers = Some(headers));
    }

    pub(super) fn reevaluate(&self) {
        self.0.tell(|told| told.reevaluate = true);
    }

    /// Changes what the peer is subscribed to, in the order of the calls. Dropped where there is no connection.
    pub(super) fn subscription(&self, command: Command) {
        self.0.tell(|told| {
            if told.is_connected {
                told.subscriptions.push_back(command);
            }
        });
    }

    pub(super) fn offer_again(&self) {
        self.0.tell(|told| told.offer_again = true);
    }

    pub(super) fn reconnect(&self) {
        self.0.tell(|told| told.reconnect = true);
    }

    /// Waits while many texts are there. Dropped where there is no connection.
    pub(super) async fn debug(&self, text: String) {
        let mut text = Some(text);
        let told = |told: &mut Told| {
            if told.texts.len() >= MAX_TEXTS {
                return None;
            }
            if let Some(text) = text.take().filter(|_| told.is_connected) {
                told.texts.push_back(text);
            }
            Some(())
        };
        self.0.wait(told).await;
        self.0.changed.notify_waiters();
    }

    /// Ends the session. What it was told first holds, but it may get less time.
    pub(super) fn close(&self, reason: Option<String>, within: Option<Duration>) {
        self.0.tell(|told| {
            let close = told.close.get_or_insert(Close { reason, within });
            close.within = within.or(close.within);
        });
    }

    /// Ends the session at once.
    pub(super) fn cut(&self) {
        self.0.tell(|told| told.is_cut = true);
    }
}

impl Owner {
    pub(super) fn commander(&self) -> Commander {
        self.0.clone()
    }

    /// Ends the session, within this time.
    pub(crate) fn close_within(&self, limit: Duration) {
        self.0.close(None, Some(limit));
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(None, None);
    }
}

impl Shared {
    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told());
        self.changed.notify_waiters();
    }

    /// Waits until there is something to take.
    async fn wait<T>(&self, mut take: impl FnMut(&mut Told) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let taken = take(&mut self.told());
            if let Some(taken) = taken {
                return taken;
            }
            changed.await;
        }
    }

    /// Nothing panics while the lock is held.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn next(&mut self, is_live: bool) -> Option<Command> {
        if let Some(close) = &self.close {
            return Some(Command::Close(close.reason.clone()));
        }
        if std::mem::take(&mut self.is_displaced) {
            return Some(Command::GiveUpPlace);
        }
        // Before the end: the user learns why.
        if std::mem::take(&mut self.has_twin) {
            return Some(Command::Twin);
        }
        if std::mem::take(&mut self.is_superseded) {
            return Some(Command::Superseded);
        }
        if std::mem::take(&mut self.reconnect) {
            return Some(Command::Reconnect);
        }
        if let Some(headers) = self.headers.take() {
            return Some(Command::Headers(headers));
        }
        if let Some(text) = self.texts.pop_front() {
            return Some(Command::Debug(text));
        }
        if is_live && std::mem::take(&mut self.reevaluate) {
            return Some(Command::Reevaluate);
        }
        if is_live && let Some(subscription) = self.subscriptions.pop_front() {
            return Some(subscription);
        }
        (is_live && std::mem::take(&mut self.offer_again)).then_some(Command::OfferAgain)
    }
}
