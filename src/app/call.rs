//! One event on its way through the callbacks, and what these may ask for.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use futures_core::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pattern::Parameters;
use super::route::Route;
use super::undo::Undo;
use crate::{Draft, EventId, Headers, NodeId, Subprotocol, Timestamp, Value};

/// An event and all that is known about it, for the callbacks of a handler: the arguments of a callback are
/// [extracted](Extract) from it.
#[derive(Clone, Debug)]
pub struct Call<S> {
    pub(super) state: S,
    pub(super) context: Context,
}

/// The event that a callback is about, and what else the callback may do: an argument of a callback.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    event: Arc<Value>,
    id: EventId,
    time: Timestamp,
    subprotocol: Option<Subprotocol>,
    client: Client,
    headers: Arc<Headers>,
    parameters: Parameters,
    subscription: Option<Subscription>,
    also: Arc<Also>,
}

/// What is done with the event.
#[derive(Debug, Default)]
struct Also {
    added: Mutex<Vec<Draft<Value>>>,
    /// Where it goes, beside what `route` says.
    route: Mutex<Route>,
    /// Channels to which the client is subscribed, too.
    channels: Mutex<Vec<String>>,
}

/// What a call is made of.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) event: Arc<Value>,
    pub(super) id: EventId,
    pub(super) time: Timestamp,
    pub(super) subprotocol: Option<Subprotocol>,
    pub(super) headers: Arc<Headers>,
    pub(super) parameters: Parameters,
    pub(super) subscription: Option<Subscription>,
}

/// Who made an event: an argument of a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client(NodeId);

/// What a client wants of a channel: an argument of the callbacks of a [`Channel`](super::Channel).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Subscription {
    /// The name of the channel.
    pub channel: String,
    /// What of the channel the client wants, in the application's own words.
    pub filter: Option<Value>,
    /// What the client has of the channel: an argument of its own, too.
    pub since: Since,
    /// The client has made what the channel is about, and needs nothing of its past.
    pub creating: bool,
}

/// The last event of the channel that a client has, if it has any: an argument of a callback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since(pub Option<(EventId, Timestamp)>);

/// The event, read as a type of the program's own: an argument of a callback. An event that cannot be read so is undone
/// with the reason `wrongFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typed<T>(pub T);

/// What all callbacks of an app share, as a pool of connections to a database: an argument of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<S>(pub S);

/// What the parameters of the pattern stand for: an argument of a callback. A text or a number for one parameter, a
/// tuple for up to four, or a `HashMap` by their names. What cannot be read so is undone with the reason `notFound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// The headers that the client sent, as `@logux/client` sets them: an argument of a callback. They are empty where the
/// client is not connected any more.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientHeaders(pub Arc<Headers>);

/// What can be an argument of a callback.
pub trait Extract<S>: Sized + Send {
    /// Takes it from an event and what is known of it.
    fn extract(call: &Call<S>) -> Result<Self, Undo>;
}

impl Context {
    pub(super) fn new(facts: Facts) -> Self {
        let Facts { event, id, time, subprotocol, headers, parameters, subscription } = facts;
        let client = Client(id.node().clone());
        let also = Arc::default();
        Self(Arc::new(Inner {
            event,
            id,
            time,
            subprotocol,
            client,
            headers,
            parameters,
            subscription,
            also,
        }))
    }

    /// The event.
    pub fn event(&self) -> &Value {
        &self.0.event
    }

    /// The event's id. It is the same if the event is handled again, after a process has ended in the middle of it.
    pub fn id(&self) -> &EventId {
        &self.0.id
    }

    /// When the event was made, by its client's clock as this server sees it.
    pub fn time(&self) -> Timestamp {
        self.0.time
    }

    /// The version of the application that made the event.
    pub fn subprotocol(&self) -> Option<Subprotocol> {
        self.0.subprotocol
    }

    /// Who made the event.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Adds another event to the log, in the transaction that notes that this one is done: both are there, or none is.
    /// If this one is undone, the other is not added.
    pub fn add(&self, event: &impl Serialize, route: impl Into<Route>) -> Result<(), Undo> {
        let route = route.into();
        route.check()?;
        self.add_draft(Draft::new(serde_json::to_value(event)?), route);
        Ok(())
    }

    /// The same, with more to say about the event.
    pub fn add_draft(&self, draft: Draft<Value>, route: impl Into<Route>) {
        // Nothing panics while the lock is held.
        let mut added = self.0.also.added.lock().unwrap_or_else(PoisonError::into_inner);
        added.push(route.into().draft(draft));
    }

    /// Adds an event that goes to this client only.
    pub fn send_back(&self, event: &impl Serialize) -> Result<(), Undo> {
        self.add(event, Route::nobody().client(self.client().client_id()))
    }

    /// Sends the event there, too: for a callback that finds out only while it works to whom the event goes. In callbacks
    /// of a [`Channel`](super::Channel) it says nothing.
    pub fn route_to(&self, route: impl Into<Route>) {
        let all = &self.0.also.route;
        all.lock().unwrap_or_else(PoisonError::into_inner).extend(route.into());
    }

    pub(super) fn take_route(&self) -> Route {
        let route = &self.0.also.route;
        std::mem::take(&mut *route.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take_added(&self) -> Vec<Draft<Value>> {
        let added = &self.0.also.added;
        std::mem::take(&mut *added.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Subscribes the client to another channel, too, whatever that channel's `access` says: for callbacks of a
    /// [`Channel`](super::Channel). The client is told so by `logux/subscribed`, and gets what goes there from now on.
    pub fn subscribe(&self, channel: impl Into<String>) {
        let channels = &self.0.also.channels;
        channels.lock().unwrap_or_else(PoisonError::into_inner).push(channel.into());
    }

    pub(super) fn take_channels(&self) -> Vec<String> {
        let channels = &self.0.also.channels;
        std::mem::take(&mut *channels.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn subscription(&self) -> Option<&Subscription> {
        self.0.subscription.as_ref()
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.0.parameters.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The same event with other parameters.
    pub(super) fn with_parameters(&self, parameters: Parameters) -> Self {
        Self(Arc::new(Inner { parameters, ..Inner::clone(&self.0) }))
    }
}

impl Client {
    /// The user, the part of the node id before the first colon.
    pub fn user_id(&self) -> Option<&str> {
        self.0.user_id()
    }

    /// Whether this is a client of that user.
    pub fn is_of(&self, user: impl AsRef<str>) -> bool {
        self.user_id() == Some(user.as_ref())
    }

    /// The client: `user:client`, without a tab.
    pub fn client_id(&self) -> &str {
        self.0.client_id()
    }

    /// The node that made the event.
    pub fn node_id(&self) -> &NodeId {
        &self.0
    }
}

impl<S: Send> Extract<S> for Context {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(call.context.clone())
    }
}

impl<S: Send> Extract<S> for Client {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(call.context.client().clone())
    }
}

impl<S: Clone + Send> Extract<S> for State<S> {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(Self(call.state.clone()))
    }
}

impl<S: Send> Extract<S> for Subscription {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(call.context.0.subscription.clone().unwrap_or_default())
    }
}

impl<S: Send> Extract<S> for Since {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(call
            .context
            .0
            .subscription
            .as_ref()
            .map(|wanted| wanted.since.clone())
            .unwrap_or_default())
    }
}

impl<S: Send> Extract<S> for ClientHeaders {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        Ok(Self(Arc::clone(&call.context.0.headers)))
    }
}

impl<S: Send, T: DeserializeOwned + Send> Extract<S> for Typed<T> {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        match T::deserialize(call.context.event()) {
            Ok(event) => Ok(Self(event)),
            Err(error) => Err(Undo::new("wrongFormat").because(error.to_string())),
        }
    }
}

impl<S: Send, T: FromParameters> Extract<S> for Path<T> {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        let parameters = &call.context.0.parameters;
        T::from_parameters(parameters).map(Self).ok_or_else(|| {
            let what =
                format!("the parameters {parameters:?} cannot be read as the handler's Path");
            Undo::not_found().because(what)
        })
    }
}

/// What the parameters of a pattern can be read as: the content of a [`Path`].
pub trait FromParameters: Sized + Send {
    /// `None` if they cannot.
    fn from_parameters(parameters: &[(String, String)]) -> Option<Self>;
}

impl<B: BuildHasher + Default + Send> FromParameters for HashMap<String, String, B> {
    fn from_parameters(parameters: &[(String, String)]) -> Option<Self> {
        Some(parameters.iter().cloned().collect())
    }
}

macro_rules! from_one {
    ($($type:ty),*) => { $(
        impl FromParameters for $type {
            fn from_parameters(parameters: &[(String, String)]) -> Option<Self> {
                match parameters {
                    [(_, value)] => value.parse().ok(),
                    _ => None,
                }
            }
        }
    )* };
}

from_one!(String, u16, u32, u64, u128, usize, i16, i32, i64, i128, isize, NodeId);

macro_rules! from_several {
    ($($count:literal: $($type:ident)*;)*) => { $(
        impl<$($type: FromParameters),*> FromParameters for ($($type,)*) {
            fn from_parameters(parameters: &[(String, String)]) -> Option<Self> {
                if parameters.len() != $count {
                    return None;
                }
                let mut each = parameters.chunks(1);
                Some(($($type::from_parameters(each.next()?)?,)*))
            }
        }
    )* };
}

from_several! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
}

/// A function that is called with what it asks for: an `async` closure or function with up to six arguments that can
/// be [extracted](Extract).
pub trait Callback<S, Arguments>: Send + Sync + 'static {
    /// What it answers.
    type Output: Send + 'static;

    /// Calls it, unless one of its arguments cannot be had.
    fn call(&self, call: &Call<S>) -> Result<BoxFuture<'static, Self::Output>, Undo>;
}

macro_rules! callbacks {
    ($(($($argument:ident)*))*) => { $(
        impl<S, F, A, $($argument),*> Callback<S, ($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> A + Send + Sync + 'static,
            A: Future + Send + 'static,
            A::Output: Send + 'static,
            $($argument: Extract<S>,)*
        {
            type Output = A::Output;

            fn call(&self, _call: &Call<S>) -> Result<BoxFuture<'static, A::Output>, Undo> {
                Ok(Box::pin(self($($argument::extract(_call)?),*)))
            }
        }
    )* };
}

callbacks! {
    ()
    (T1)
    (T1 T2)
    (T1 T2 T3)
    (T1 T2 T3 T4)
    (T1 T2 T3 T4 T5)
    (T1 T2 T3 T4 T5 T6)
}
