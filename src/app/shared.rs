//! What all parts of a running app have in common.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use logux_codecs::Added;
use logux_transports::rt;
use tokio::sync::oneshot;

use super::answers::{ANSWER, Answers};
use super::clients::{Clients, Seat};
use super::handler::{Channel, Handler, MAIN};
use super::pattern::{Parameters, Pattern};
use super::route;
use super::undo::Undo;
use super::work::Outcome;
use crate::store::{Edit, Key, Label, Order, Page, PeerRecord, Query};
use crate::{Entry, EventId, Headers, Log, Meta, NodeId, Peer, SessionHandle, StoreError, Value};

/// How the names of the app's queues begin.
pub(super) const PREFIX: &str = "app:";

/// How the types of events begin that are the protocol's.
pub(super) const RESERVED: &str = "logux/";

pub(super) const SUBSCRIBE: &str = "logux/subscribe";
pub(super) const UNSUBSCRIBE: &str = "logux/unsubscribe";

/// Answers that no client has confirmed go after so long.
const ANSWERS_ARE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Shared<S> {
    pub(super) state: S,
    /// By types that are exact.
    pub(super) types: HashMap<String, Handler<S>>,
    pub(super) patterns: Vec<(Pattern, Handler<S>)>,
    pub(super) otherwise: Option<Handler<S>>,
    pub(super) channels: Vec<(Pattern, Channel<S>)>,
    pub(super) limit: Option<Duration>,
    pub(super) max_subscriptions: usize,
    pub(super) is_development: bool,
    pub(super) log: Log<Value>,
    pub(super) clients: Clients,
    pub(super) answers: Answers,
    pub(super) outcomes: Outcomes,
    pub(super) handling: Handling,
    pub(super) connections: AtomicU64,
}

/// Who waits for what comes of this server's own events.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Mutex<HashMap<EventId, oneshot::Sender<Result<(), Undo>>>>);

impl Outcomes {
    pub(super) fn wait(&self, id: EventId) -> oneshot::Receiver<Result<(), Undo>> {
        let (told, waits) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for any more.
        waiting.retain(|_, told| !told.is_closed());
        waiting.insert(id, told);
        waits
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn tell(&self, id: &EventId, result: Result<(), Undo>) {
        // Nothing panics while the lock is held.
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(told) = told {
            let _ = told.send(result);
        }
    }
}

/// The events that are being handled: one may wait in two queues, if its client sent it twice.
#[derive(Debug, Default)]
pub(super) struct Handling(Mutex<HashSet<EventId>>);

/// An event that is being handled, until this is dropped.
#[derive(Debug)]
pub(super) struct InHand<'a>(&'a Handling, EventId);

impl Handling {
    /// `None` if it is being handled.
    pub(super) fn begin(&self, id: &EventId) -> Option<InHand<'_>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.clone()).then(|| InHand(self, id.clone()))
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        // Nothing panics while the lock is held.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// The type of an event; empty if it has none.
pub(super) fn kind_of(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

/// The beginning of what a client has written, for the program's log: it could be long.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

impl<S: Clone + Send + Sync + 'static> Shared<S> {
    /// Who handles events of a type.
    pub(super) fn handler(&self, kind: &str) -> Option<(&Handler<S>, Parameters)> {
        if let Some(handler) = self.types.get(kind) {
            return Some((handler, Parameters::new()));
        }
        let found = self
            .patterns
            .iter()
            .find_map(|(pattern, handler)| Some((handler, pattern.find(kind)?)));
        found.or_else(|| Some((self.otherwise.as_ref()?, Parameters::new())))
    }

    /// What a channel is.
    pub(super) fn channel(&self, name: &str) -> Option<(&Channel<S>, Parameters)> {
        let mut channels = self.channels.iter();
        channels.find_map(|(pattern, channel)| Some((channel, pattern.find(name)?)))
    }

    /// The queue in which an event of this author waits.
    pub(super) fn queue(&self, event: &Value, author: &NodeId) -> String {
        let kind = kind_of(event);
        let name = if matches!(kind, SUBSCRIBE | UNSUBSCRIBE) {
            let channel = event["channel"].as_str().and_then(|channel| self.channel(channel));
            channel.map(|(channel, _)| channel.queue.as_str())
        } else {
            self.handler(kind).map(|(handler, _)| handler.queue.as_str())
        };
        format!("{PREFIX}{}:{}", name.unwrap_or(MAIN), author.client_id())
    }

    /// What a peer sent waits there.
    pub(super) fn divert(&self, entry: &mut Entry<Value>, peer: &Peer) -> String {
        let meta = &mut entry.meta;
        meta.subprotocol = meta.subprotocol.or(peer.subprotocol);
        Answers::mark(meta, peer.protocol);
        self.queue(&entry.event, entry.meta.id.node())
    }

    /// After which position a client gets what goes to it directly: where one of its connections came to last, or where
    /// the log ends now for a client that was never here.
    pub(super) async fn starts_after(&self, node: &NodeId) -> Result<Added, StoreError> {
        let Ok(client) = node.client_id().parse::<NodeId>() else { return Ok(Added::ZERO) };
        let key = Key::peer(&client, PeerRecord::Direct);
        let noted =
            self.log.record(&key).await?.and_then(|text| text.parse().ok()).and_then(Added::new);
        let noted = if let Some(noted) = noted {
            noted
        } else {
            let end = self.log.last_added();
            self.log.note_direct([(client, end)]).await?;
            end
        };
        let here = self.clients.get(node.client_id()).map(|seat| seat.session.diagnostics().synced);
        Ok(here.unwrap_or_default().max(noted))
    }

    /// A client is let in: an older connection of it ends.
    pub(super) fn enter(
        self: &Arc<Self>,
        node: &NodeId,
        session: SessionHandle,
        headers: Arc<Headers>,
        after: Added,
    ) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let (seat, before) = self.clients.enter(node, session, headers, number);
        if let Some((older, left)) = before {
            tracing::info!(client = seat.client, "a newer connection of the client is here");
            older.session.order_to_close(None);
            self.tell_left(&older, left);
        }
        let (shared, newcomer) = (Arc::clone(self), seat.clone());
        rt::spawn(async move {
            if let Err(error) = shared.restore(&newcomer, after).await {
                let (client, error) = (&newcomer.client, crate::sync::with_causes(&error));
                tracing::error!(
                    client,
                    error,
                    "what a client was told is not known; it should connect again"
                );
                newcomer.session.order_to_close(None);
            }
        });
        let shared = Arc::clone(self);
        rt::spawn(async move {
            seat.session.over().await.ok();
            let client = seat.client.parse().ok();
            let synced = seat.session.diagnostics().synced;
            drop(shared.log.note_direct(client.map(|client| (client, synced))));
            let left = shared.clients.leave(&seat);
            shared.tell_left(&seat, left);
        });
    }

    /// An event is settled.
    pub(super) fn settled(&self, meta: &Meta, outcome: &Outcome, entries: &[Arc<Entry<Value>>]) {
        let id = &meta.id;
        for entry in
            entries.iter().filter(|entry| entry.meta.reasons.iter().any(|one| one == ANSWER))
        {
            if let Some(client) = route::client_of(&entry.meta) {
                self.clients.answered(client, entry.meta.added);
            }
        }
        let result = match outcome {
            Outcome::Over { undo: Some(undo), .. } => Err(undo.clone()),
            Outcome::Done { .. } | Outcome::Over { undo: None, .. } => Ok(()),
        };
        if let Err(undo) = &result {
            self.tell_developer(id, undo);
        }
        self.outcomes.tell(id, result);
    }

    /// Tells the developer of a client why its event is undone.
    fn tell_developer(&self, id: &EventId, undo: &Undo) {
        if !self.is_development {
            return;
        }
        if let Some(Seat { session, .. }) = self.clients.get(id.node().client_id()) {
            let cause = undo.cause().unwrap_or("it was undone");
            let text = format!("{id} is undone with the reason {:?}: {cause}", undo.reason());
            rt::spawn(async move { session.debug(text).await });
        }
    }

    /// Cleans answers that their clients have, and now and then those that are old.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut rounds = 0_u32;
        loop {
            if rounds.is_multiple_of(3_600)
                && let Err(error) = self.clean_old_answers().await
            {
                let error = crate::sync::with_causes(&error);
                tracing::warn!(%error, "old answers were not cleaned; that is tried again in an hour");
            }
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(5) {
                drop(self.log.note_direct(self.clients.take_progress()));
            }
            rt::sleep(Duration::from_secs(1)).await;
            for positions in self.clients.take_confirmed().chunks(256) {
                // Those that stay go by their age.
                if let Err(error) = self.clean_answers(positions.to_vec()).await {
                    let error = crate::sync::with_causes(&error);
                    tracing::debug!(%error, "answers were not cleaned");
                }
            }
        }
    }

    async fn clean_answers(&self, positions: Vec<Added>) -> Result<(), StoreError> {
        let edit = Edit::RemoveReasons(vec![ANSWER.to_owned()]);
        self.log.change_at(positions, &edit).await.map(drop)
    }

    async fn clean_old_answers(&self) -> Result<(), StoreError> {
        let for_ms = i64::try_from(ANSWERS_ARE_KEPT.as_millis()).unwrap_or(i64::MAX);
        let Some(before) = self.log.now().shifted(-for_ms) else { return Ok(()) };
        let mut query = Query::created(None).with(Label::Reason(ANSWER.to_owned()));
        loop {
            let page = self.log.read(query.clone(), Page::new(256)).await?;
            let Some(last) = page.last().map(|last| last.meta.created()) else { return Ok(()) };
            let old = page.iter().filter(|entry| entry.meta.id.time() < before);
            let positions: Vec<Added> = old.map(|entry| entry.meta.added).collect();
            let is_all = positions.len() < page.len();
            drop(page);
            self.clean_answers(positions).await?;
            if is_all {
                return Ok(());
            }
            query.order = Order::Created(Some(last));
        }
    }
}
