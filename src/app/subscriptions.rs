//! Clients subscribe to channels, and leave them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use logux_codecs::{Added, Counter};
use logux_transports::rt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answers::{ANSWER, Answers, answer};
use super::call::{Call, Context, Since, Subscription};
use super::clients::{ALL, Before, Gone, Left, Seat, Subscribed};
use super::handler::{Channel, Filter};
use super::pattern::Parameters;
use super::route::{self, MAX_NAME};
use super::shared::{SUBSCRIBE, Shared, UNSUBSCRIBE, shown};
use super::undo::Undo;
use super::work::{Outcome, ask, facts};
use crate::store::{Label, Order, Page, Query};
use crate::{
    Draft, Entry, EventId, Headers, IdState, Log, Meta, NodeId, Replay, SessionHandle, State,
    StoreError, Timestamp, Value,
};

/// A client that subscribed and went is waited for so long: it comes back after a moment of bad network, or once this
/// server is there again. Its other events of the queue wait with it.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(60);

/// What a client wants of a channel has so many bytes at most, as JSON.
const MAX_FILTER: usize = 4_000;

impl<S: Clone + Send + Sync + 'static> Shared<S> {
    /// What comes of a `logux/subscribe`.
    pub(super) async fn subscribe(&self, entry: &Entry<Value>) -> Outcome {
        let name = entry.event["channel"].as_str().filter(|name| name.len() <= MAX_NAME);
        let channel = name.and_then(|name| Some((name, self.channel(name)?)));
        let Some((name, (channel, parameters))) = channel else {
            let name = entry.event["channel"].to_string();
            let what = format!("there is no channel {}", shown(&name));
            return self.answers.undone(entry, Undo::new("wrongChannel").because(what));
        };
        let client = entry.meta.id.node().client_id();
        if wanted_of_it(&entry.event).len() > MAX_FILTER {
            let what = format!("its filter has more than {MAX_FILTER} bytes");
            return self.answers.undone(entry, Undo::new("wrongFormat").because(what));
        }
        if self.clients.is_full_of_answers(client) {
            let what = "it confirms none of its answers";
            return self.answers.undone(entry, Undo::error(what));
        }
        while let Some(seat) = self.clients.wait_for(client, COMES_BACK_WITHIN).await {
            match self.admit(entry, name, channel, parameters.clone(), &seat).await {
                Ok(Some((answers, id))) => {
                    return Answers::over(entry, answers, Some(id), Told::index(entry));
                }
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
        let Subscription { since, creating, .. } = wanted(name, &entry.event);
        let call = self.call_of(entry, name, parameters, &seat.headers);
        // What the callbacks know, they know from now on.
        let end = self.log.last_added();
        let filter = self.ask_for_access(channel, &call).await?;
        let wanted = wanted_of_it(&entry.event);
        let subscribed =
            self.clients.subscribe(seat, name, &wanted, filter, self.max_subscriptions);
        let before = match subscribed {
            Err(Gone) => return Ok(None),
            Ok(Subscribed::TooMany) => {
                let what = format!("a client has at most {} subscriptions", self.max_subscriptions);
                return Err(Undo::new("tooManySubscriptions").because(what));
            }
            Ok(Subscribed::Done(before)) => before,
        };
        let loaded = async {
            let replay = match &since {
                _ if creating || !channel.is_from_log => Replay::After(end),
                Since(Some((id, _))) => replay_since(&self.log, id).await?,
                Since(None) => Replay::All,
            };
            if seat.session.subscribe(route::channel(name), replay).await.is_err() {
                return Ok(None);
            }
            let events = match &channel.load {
                Some(load) if !creating => ask(load, call.clone(), self.limit).await?,
                _ => Vec::new(),
            };
            let Ok(mut all) = self.subscribe_also(seat, &call.context, end).await else {
                return Ok(None);
            };
            all.extend(events);
            Ok(Some((all, id_with_position(&self.log, end)?)))
        };
        match loaded.await {
            Ok(None) => Ok(None),
            Ok(Some((events, id))) => {
                let loaded =
                    events.into_iter().map(|event| answer(Draft::new(event), &seat.client));
                // What goes to others is no answer, and kept like all other events.
                let own = route::client(&seat.client);
                let added = call.context.take_added().into_iter().map(|draft| {
                    let is_answer = draft.indexes.iter().all(|index| *index == own);
                    if is_answer { answer(draft, &seat.client) } else { draft }
                });
                Ok(Some((loaded.chain(added).collect(), id)))
            }
            Err(undo) => {
                match before {
                    Before::Same(filter) => {
                        self.clients.put_back(&seat.client, name, &wanted, filter);
                    }
                    Before::Nothing => drop(self.end(&seat.client, name, &wanted)),
                }
                Err(undo)
            }
        }
    }

    /// What the callbacks of a channel are told.
    fn call_of(
        &self,
        entry: &Entry<Value>,
        name: &str,
        parameters: Parameters,
        headers: &Arc<Headers>,
    ) -> Call<S> {
        let mut facts = facts(entry, parameters);
        facts.subscription = Some(wanted(name, &entry.event));
        facts.headers = Arc::clone(headers);
        Call { state: self.state.clone(), context: Context::new(facts) }
    }

    /// Whether a client may subscribe, and to which events.
    async fn ask_for_access(
        &self,
        channel: &Channel<S>,
        call: &Call<S>,
    ) -> Result<Option<Filter>, Undo> {
        ask(&channel.access, call.clone(), self.limit).await?;
        match &channel.filter {
            Some(filter) => ask(filter, call.clone(), self.limit).await.map(Some),
            None => Ok(None),
        }
    }

    /// Subscribes a client to the channels that a callback named, from a position on. Answers what tells the client: that
    /// comes first, for `@logux/client` looks whether it is subscribed to an object when it is told of it.
    async fn subscribe_also(
        &self,
        seat: &Seat,
        context: &Context,
        after: Added,
    ) -> Result<Vec<Value>, Gone> {
        let (mut told, mut waits) = (Vec::new(), Vec::new());
        for channel in context.take_channels() {
            if self.clients.subscribe_to_all(seat, &channel)? {
                let replay = Replay::After(after);
                waits.push(seat.session.subscribe(route::channel(&channel), replay));
            }
            told.push(json!({ "type": "logux/subscribed", "channel": channel }));
        }
        let all = futures_util::future::try_join_all(waits).await;
        all.map(|_| told).map_err(|_| Gone)
    }

    /// A client is here again: what it was told and had not read yet is sent to it once more, so it is also subscribed
    /// again to what it was told so of. It does not subscribe anew by itself to what it did not know it was subscribed to.
    pub(super) async fn restore(&self, seat: &Seat, after: Added) -> Result<(), StoreError> {
        // What it says itself that it has, it has read.
        let mut states = seat.session.states();
        while !matches!(states.next().await, None | Some(State::Sending | State::Synchronized)) {}
        let after = after.max(seat.session.diagnostics().synced);
        let mut query = Query::added(after).with(Label::Index(route::client(&seat.client)));
        let mut open: HashMap<_, (Told, Arc<Entry<Value>>)> = HashMap::new();
        loop {
            let page = self.log.read(query.clone(), Page::new(256)).await?;
            let Some(last) = page.last().map(|last| last.meta.added) else { break };
            for entry in &page {
                let meta = &entry.meta;
                if meta.reasons.iter().any(|reason| reason == ANSWER) {
                    self.clients.answered(&seat.client, meta.added);
                }
                let Some(told) = Told::of(meta).filter(|told| told.node == seat.node) else {
                    continue;
                };
                let wish = (told.channel.clone(), wanted_of_it(&json!({ "filter": told.filter })));
                if told.has_left {
                    open.remove(&wish);
                } else {
                    open.insert(wish, (told, Arc::clone(entry)));
                }
            }
            query.order = Order::Added(Some(last));
        }
        for (told, entry) in open.into_values() {
            self.resume(seat, &entry, &told).await;
        }
        self.clients.is_restored(seat);
        Ok(())
    }

    /// Subscribes a client again.
    async fn resume(&self, seat: &Seat, answer: &Entry<Value>, told: &Told) {
        let Some((channel, parameters)) = self.channel(&told.channel) else { return };
        let event = json!({ "type": SUBSCRIBE, "channel": told.channel, "filter": told.filter });
        let meta = Meta::new(EventId::new(answer.meta.id.time(), seat.node.clone()));
        let entry = Entry::new(event, meta);
        let call = self.call_of(&entry, &told.channel, parameters, &seat.headers);
        let admitted = self.ask_for_access(channel, &call);
        let wanted = wanted_of_it(&entry.event);
        let subscribed = admitted.await.map(|filter| {
            self.clients.subscribe_again(
                seat,
                &told.channel,
                &wanted,
                filter,
                self.max_subscriptions,
            )
        });
        match subscribed {
            Ok(Ok(())) => {
                let position = Added::new(answer.meta.id.counter().value()).unwrap_or(Added::ZERO);
                let replay = Replay::After(position);
                // An error says that the client has gone again, and comes here again.
                let _ = seat.session.subscribe(route::channel(&told.channel), replay).await;
            }
            Ok(Err(Gone)) => {}
            Err(undo) => {
                let (channel, cause) = (&told.channel, undo.cause());
                tracing::warn!(
                    channel,
                    cause,
                    "a client that is here again may not have the channel any more"
                );
            }
        }
    }

    /// What comes of a `logux/unsubscribe`: it is always done.
    pub(super) async fn unsubscribe(&self, entry: &Entry<Value>) -> Outcome {
        let client = entry.meta.id.node().client_id();
        let mut added = Vec::new();
        if let Some(name) = entry.event["channel"].as_str()
            && self.end(client, name, &wanted_of_it(&entry.event)).is_some()
        {
            added = self.call_unsubscribed(entry, name).await;
        }
        Answers::over(entry, added, None, Told::index(entry))
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
            rt::spawn(async move {
                let added = shared.call_unsubscribed(&entry, &name).await;
                if let Err(error) = shared.log.add_batch(added).await {
                    let error = crate::sync::with_causes(&error);
                    tracing::error!(
                        channel = name,
                        error,
                        "what an unsubscribed callback added was not kept"
                    );
                }
            });
        }
    }

    /// Ends a subscription. Answers the session if the client is not subscribed to the channel any more.
    fn end(&self, client: &str, name: &str, wanted: &str) -> Option<SessionHandle> {
        let session = self.clients.unsubscribe(client, name, wanted)?;
        session.unsubscribe(route::channel(name));
        Some(session)
    }

    /// Answers what the callback adds.
    async fn call_unsubscribed(&self, entry: &Entry<Value>, name: &str) -> Vec<Draft<Value>> {
        let Some((channel, parameters)) = self.channel(name) else { return Vec::new() };
        let Some(unsubscribed) = &channel.unsubscribed else { return Vec::new() };
        let call = self.call_of(entry, name, parameters, &Arc::default());
        let context = call.context.clone();
        match ask(unsubscribed, call, self.limit).await {
            Ok(()) => context.take_added(),
            Err(undo) => {
                let cause = undo.cause();
                tracing::error!(channel = name, cause, "the unsubscribed callback failed");
                Vec::new()
            }
        }
    }
}

/// What the answer to a subscription says in the log alone: so that the client can be subscribed again if it has gone
/// before it read the answer.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    node: NodeId,
    channel: String,
    filter: Option<Value>,
    /// The client was told that it is subscribed no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_left: bool,
}

/// How the index begins that says it.
const TOLD: &str = "logux/subscription:";

impl Told {
    fn of(meta: &Meta) -> Option<Self> {
        let text = meta.indexes.iter().find_map(|index| index.strip_prefix(TOLD))?;
        serde_json::from_str(text).ok()
    }

    /// The index. `None` if there is no telling to whom it was told.
    fn index(entry: &Entry<Value>) -> Option<String> {
        let node = entry.meta.source.clone()?;
        let channel = entry.event["channel"].as_str()?.to_owned();
        let filter = entry.event.get("filter").cloned();
        if channel.len() > MAX_NAME || wanted_of_it(&entry.event).len() > MAX_FILTER {
            return None;
        }
        let has_left = entry.event["type"] == UNSUBSCRIBE;
        let told = serde_json::to_string(&Self { node, channel, filter, has_left }).ok()?;
        Some(format!("{TOLD}{told}"))
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
