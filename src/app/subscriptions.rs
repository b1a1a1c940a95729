//! Clients subscribe to channels, and leave them.

use std::sync::Arc;
use std::time::Duration;

use logux_codecs::{Added, Counter};
use logux_transports::rt;
use serde_json::json;

use super::answers::{Answers, answer};
use super::call::{Call, Context, Since, Subscription};
use super::clients::{Gone, Left, Seat};
use super::handler::Channel;
use super::pattern::Parameters;
use super::route;
use super::shared::{Shared, UNSUBSCRIBE};
use super::undo::Undo;
use super::work::{Outcome, ask, facts};
use crate::{Draft, Entry, EventId, IdState, Log, Meta, Replay, StoreError, Timestamp, Value};

/// A client that subscribed and went is waited for so long: it comes back after a moment of bad network, or once this
/// server is there again. Its other events of the queue wait with it.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(60);

/// The name of a channel has so many bytes at most.
const MAX_NAME: usize = 1_000;

impl<S: Clone + Send + Sync + 'static> Shared<S> {
    /// What comes of a `logux/subscribe`.
    pub(super) async fn subscribe(&self, entry: &Entry<Value>) -> Outcome {
        let name = entry.event["channel"].as_str().filter(|name| name.len() <= MAX_NAME);
        let channel = name.and_then(|name| Some((name, self.channel(name)?)));
        let Some((name, (channel, parameters))) = channel else {
            let what = format!("there is no channel {}", entry.event["channel"]);
            return self.answers.undone(entry, Undo::new("wrongChannel").because(what));
        };
        let client = entry.meta.id.node().client_id();
        while let Some(seat) = self.clients.wait_for(client, COMES_BACK_WITHIN).await {
            match self.admit(entry, name, channel, parameters.clone(), &seat).await {
                Ok(Some((answers, id))) => return Answers::over(entry, answers, Some(id)),
                Err(undo) => return self.answers.undone(entry, undo),
                // Nobody told the client that it is subscribed, so it will not subscribe anew.
                Ok(None) => {
                    seat.session.over().await.ok();
                    self.clients.leave(&seat);
                }
            }
        }
        self.answers.undone(entry, Undo::error("the client did not come back"))
    }

    /// What a new subscriber is sent before it is told that it is one, and the id of the event that tells it; `None` if
    /// it has gone meanwhile.
    async fn admit(
        &self,
        entry: &Entry<Value>,
        name: &str,
        channel: &Channel<S>,
        parameters: Parameters,
        seat: &Seat,
    ) -> Result<Option<(Vec<Draft<Value>>, EventId)>, Undo> {
        let subscription = wanted(name, &entry.event);
        let (since, creating) = (subscription.since.clone(), subscription.creating);
        let mut facts = facts(entry, parameters);
        facts.subscription = Some(subscription);
        facts.headers = seat.headers.clone();
        let context = Context::new(facts);
        let call = || Call { state: self.state.clone(), context: context.clone() };
        ask(&channel.access, call(), self.limit).await?;
        let filter = match &channel.filter {
            Some(filter) => Some(ask(filter, call(), self.limit).await?),
            None => None,
        };
        let wanted = wanted_of_it(&entry.event);
        match self.clients.subscribe(seat, name, wanted.clone(), filter, self.max_subscriptions) {
            Err(Gone) => return Ok(None),
            Ok(false) => {
                let what = format!("a client has at most {} subscriptions", self.max_subscriptions);
                return Err(Undo::new("tooManySubscriptions").because(what));
            }
            Ok(true) => {}
        }
        let loaded = async {
            let replay = match &since {
                _ if creating || !channel.is_from_log => Replay::Nothing,
                Since(Some((id, _))) => replay_since(&self.log, id).await?,
                Since(None) => Replay::All,
            };
            let end = self.log.last_added();
            if seat.session.subscribe(route::channel(name), replay).await.is_err() {
                return Ok(None);
            }
            let events = match &channel.load {
                Some(load) if !creating => ask(load, call(), self.limit).await?,
                _ => Vec::new(),
            };
            for channel in context.take_channels() {
                let is_new = self.clients.subscribe(
                    seat,
                    &channel,
                    ALL.to_owned(),
                    None,
                    self.max_subscriptions,
                );
                if !matches!(is_new, Ok(true)) {
                    continue;
                }
                if seat.session.subscribe(route::channel(&channel), Replay::Nothing).await.is_err()
                {
                    return Ok(None);
                }
                context.send_back(&json!({ "type": "logux/subscribed", "channel": channel }))?;
            }
            Ok(Some((events, id_with_position(&self.log, end)?)))
        };
        match loaded.await {
            Ok(None) => Ok(None),
            Ok(Some((events, id))) => {
                let loaded = events.into_iter().map(Draft::new);
                let all = loaded.chain(context.take_added());
                Ok(Some((all.map(|draft| answer(draft, &seat.client)).collect(), id)))
            }
            Err(undo) => {
                self.end(&seat.client, name, &wanted);
                Err(undo)
            }
        }
    }

    /// What comes of a `logux/unsubscribe`: it is always done.
    pub(super) async fn unsubscribe(&self, entry: &Entry<Value>) -> Outcome {
        let client = entry.meta.id.node().client_id();
        if let Some(name) = entry.event["channel"].as_str() {
            self.end(client, name, &wanted_of_it(&entry.event));
            self.call_unsubscribed(entry, name).await;
        }
        Answers::over(entry, Vec::new(), None)
    }

    /// A connection has ended: its client is subscribed to nothing any more.
    pub(super) fn tell_left(self: &Arc<Self>, seat: &Seat, left: Left) {
        for name in left {
            if self.channel(&name).is_none_or(|(channel, _)| channel.unsubscribed.is_none()) {
                continue;
            }
            let event = json!({ "type": UNSUBSCRIBE, "channel": name });
            let meta = Meta::new(EventId::new(self.log.now(), seat.node.clone()));
            let (shared, entry) = (Arc::clone(self), Entry::new(event, meta));
            rt::spawn(async move { shared.call_unsubscribed(&entry, &name).await });
        }
    }

    fn end(&self, client: &str, name: &str, wanted: &str) {
        if let Some(session) = self.clients.unsubscribe(client, name, wanted) {
            session.unsubscribe(route::channel(name));
        }
    }

    async fn call_unsubscribed(&self, entry: &Entry<Value>, name: &str) {
        let Some((channel, parameters)) = self.channel(name) else { return };
        let Some(unsubscribed) = &channel.unsubscribed else { return };
        let mut facts = facts(entry, parameters);
        facts.subscription = Some(wanted(name, &entry.event));
        let context = Context::new(facts);
        let call = Call { state: self.state.clone(), context };
        if let Err(undo) = ask(unsubscribed, call, self.limit).await {
            tracing::error!(
                channel = name,
                cause = undo.cause(),
                "the unsubscribed callback failed"
            );
        }
    }
}

/// What a client said that it wants.
fn wanted(name: &str, event: &Value) -> Subscription {
    let since = event.get("since").and_then(|since| {
        let id = since["id"].as_str()?;
        let id = EventId::from_protocol_5(id).ok().or_else(|| id.parse().ok())?;
        let time = since["time"].as_u64().and_then(Timestamp::new).unwrap_or(id.time());
        Some((id, time))
    });
    Subscription {
        channel: name.to_owned(),
        filter: event.get("filter").filter(|filter| !filter.is_null()).cloned(),
        since: Since(since),
        creating: event["creating"] == true,
    }
}

/// Of a channel, all.
const ALL: &str = "{}";

/// Tells the ways apart in which a client is subscribed to one channel.
fn wanted_of_it(event: &Value) -> String {
    match event.get("filter") {
        Some(filter) if !filter.is_null() => filter.to_string(),
        _ => ALL.to_owned(),
    }
}

/// What a client lacks of a channel of which it has this event. Nothing is known by an event that this log never had, as
/// one of an earlier log of this name.
async fn replay_since(log: &Log<Value>, id: &EventId) -> Result<Replay, StoreError> {
    let states = log.id_states(std::slice::from_ref(id)).await?;
    let position = match states.first() {
        None | Some(IdState::New) => return Ok(Replay::All),
        // An answer says it by its counter.
        Some(IdState::There | IdState::Gone)
            if id.node() == log.node_id() && id.counter().value() > 0 =>
        {
            Some(id.counter().value())
        }
        Some(IdState::There) => {
            log.by_id(id).await?.map(|entry| entry.meta.added.value().saturating_sub(1))
        }
        Some(IdState::Gone | IdState::TooOld) => None,
    };
    Ok(Replay::After(position.and_then(Added::new).unwrap_or(Added::ZERO)))
}

/// An id for the answer to a subscription: it tells up to which position the client has the channel, so that a client
/// that comes back need not be sent all of it, also where the answer is gone by then.
fn id_with_position(log: &Log<Value>, position: Added) -> Result<EventId, StoreError> {
    let id = log.new_id()?;
    let counter = Counter::new(position.value()).unwrap_or(id.counter());
    Ok(EventId::with_counter(id.time(), id.node().clone(), counter))
}
