//! What is done with events of a type, and with who subscribes to a channel.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::call::{Call, Callback};
use super::route::Route;
use super::undo::Undo;
use crate::{Entry, Value};

/// What is done with the events of one type: who may add them, to whom they go, and what they do.
///
/// The events of a client are handled one after the other, in the order in which it made them: `access`, then `route`,
/// then `process`, and then one transaction adds the event to the log with its route and what the callbacks added.
/// The client gets `logux/processed`, or `logux/undo` if one of them fails.
///
/// A process that ends in the middle of that begins again with `access` when it is started again: so what `process`
/// does elsewhere, as in a database, has the event's [id](super::Context::id) as its key.
///
/// ```
/// use logux_sync::app::{Client, Handler, Route, Typed, Undo};
/// # #[derive(serde::Deserialize)] struct Rename { user: String, name: String }
///
/// let rename: Handler<()> = Handler::access(async |client: Client, Typed(rename): Typed<Rename>| {
///     client.is_of(rename.user)
/// })
/// .route(async |Typed(rename): Typed<Rename>| Route::from(format!("users/{}", rename.user)))
/// .process(async |Typed(rename): Typed<Rename>| -> Result<(), Undo> {
///     if rename.name.is_empty() { Err(Undo::new("emptyName")) } else { Ok(()) }
/// });
/// ```
#[must_use]
pub struct Handler<S> {
    pub(super) access: Erased<S, ()>,
    pub(super) route: Option<Erased<S, Route>>,
    pub(super) process: Option<Erased<S, ()>>,
    pub(super) queue: String,
}

/// What a channel is: who may subscribe to it, and what a subscriber is sent.
///
/// A channel [from the log](Self::from_log) needs no `load`: whoever subscribes is sent the channel's events that the
/// log has and it does not, and then each that is added.
///
/// ```
/// use logux_sync::app::{Channel, Client, Path, Undo};
/// use serde_json::json;
///
/// let user: Channel<()> = Channel::access(async |client: Client, Path(id): Path<String>| client.is_of(id))
///     .load(async |Path(id): Path<String>| -> Result<_, Undo> {
///         Ok(vec![json!({ "type": "users/name", "user": id, "name": "Ann" })])
///     });
/// let notes: Channel<()> = Channel::access(async |client: Client, Path(id): Path<String>| client.is_of(id)).from_log();
/// # let _ = (user, notes);
/// ```
#[must_use]
pub struct Channel<S> {
    pub(super) access: Erased<S, ()>,
    pub(super) filter: Option<Erased<S, Filter>>,
    pub(super) load: Option<Erased<S, Vec<Value>>>,
    pub(super) unsubscribed: Option<Erased<S, ()>>,
    pub(super) is_from_log: bool,
    pub(super) queue: String,
}

/// Which events of a channel a subscriber gets: what the [`filter`](Channel::filter) of a channel answers.
#[derive(Clone)]
pub struct Filter(Arc<LetsThrough>);

type LetsThrough = dyn Fn(&Entry<Value>) -> bool + Send + Sync;

/// A callback whose arguments are not known any more.
pub(super) type Erased<S, T> =
    Arc<dyn Fn(Call<S>) -> BoxFuture<'static, Result<T, Undo>> + Send + Sync>;

/// The queue of what says nothing else.
pub(super) const MAIN: &str = "main";

impl<S: Send + Sync + 'static> Handler<S> {
    /// Decides who may add such events: `true`, or `Ok(())`. An event for which it answers `false` is undone with the
    /// reason `denied`.
    pub fn access<Arguments>(callback: impl Callback<S, Arguments, Output: IntoAccess>) -> Self {
        let access = erase(callback, IntoAccess::into_access);
        Self { access, route: None, process: None, queue: MAIN.to_owned() }
    }

    /// Says to whom an event goes. Without it, the event is only in the log.
    pub fn route<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoRoute>,
    ) -> Self {
        self.route = Some(erase(callback, IntoRoute::into_route));
        self
    }

    /// Does what the event is for. It may be called again for the same event, with the same id, if the process ended
    /// before the event was in the log.
    pub fn process<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoDone>,
    ) -> Self {
        self.process = Some(erase(callback, IntoDone::into_done));
        self
    }

    /// Puts such events into a queue of their own: a client's events of one queue wait for each other, those of several
    /// do not. A queue's name has up to 50 letters, digits, `-` and `_`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = name.into();
        self
    }
}

impl<S: Send + Sync + 'static> Channel<S> {
    /// Decides who may subscribe: `true`, or `Ok(())`. The subscription is undone with the reason `denied` for `false`.
    pub fn access<Arguments>(callback: impl Callback<S, Arguments, Output: IntoAccess>) -> Self {
        let access = erase(callback, IntoAccess::into_access);
        let (filter, load, unsubscribed) = (None, None, None);
        Self { access, filter, load, unsubscribed, is_from_log: false, queue: MAIN.to_owned() }
    }

    /// Chooses which of the channel's events this subscriber gets: called once, it answers a [`Filter`] that is asked
    /// about each event.
    pub fn filter<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoFilter>,
    ) -> Self {
        self.filter = Some(erase(callback, IntoFilter::into_filter));
        self
    }

    /// Answers the events that a new subscriber needs to know the state of things. They go to this client only, before
    /// it learns that it is subscribed.
    pub fn load<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoEvents>,
    ) -> Self {
        self.load = Some(erase(callback, IntoEvents::into_events));
        self
    }

    /// Sends a new subscriber the events of the channel that the log has: all of them, or if it says what it has
    /// ([`Since`](super::Since)), those from there on. They come before it learns that it is subscribed, and cost what
    /// is sent.
    pub fn from_log(mut self) -> Self {
        self.is_from_log = true;
        self
    }

    /// Is called when a client that was subscribed is so no more, also because its connection has ended.
    pub fn unsubscribed<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoDone>,
    ) -> Self {
        self.unsubscribed = Some(erase(callback, IntoDone::into_done));
        self
    }

    /// The queue in which subscriptions wait: see [`Handler::queue`].
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = name.into();
        self
    }
}

/// A callback whose arguments are not known any more, and whose answer is what it stands for.
pub(super) fn erase<S, Arguments, F, T>(
    callback: F,
    into: fn(F::Output) -> Result<T, Undo>,
) -> Erased<S, T>
where
    S: Send + Sync + 'static,
    F: Callback<S, Arguments>,
    T: Send + 'static,
{
    Arc::new(move |call: Call<S>| {
        let called = callback.call(&call);
        Box::pin(async move { into(called?.await) })
    })
}

impl Filter {
    /// Lets these events through.
    pub fn new(lets_through: impl Fn(&Entry<Value>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(lets_through))
    }

    pub(super) fn lets_through(&self, entry: &Entry<Value>) -> bool {
        (self.0)(entry)
    }
}

/// What an `access` callback may answer.
pub trait IntoAccess {
    /// An undo for who has no access.
    fn into_access(self) -> Result<(), Undo>;
}

impl IntoAccess for bool {
    fn into_access(self) -> Result<(), Undo> {
        if self { Ok(()) } else { Err(Undo::denied()) }
    }
}

impl IntoAccess for () {
    fn into_access(self) -> Result<(), Undo> {
        Ok(())
    }
}

impl<T: IntoAccess> IntoAccess for Result<T, Undo> {
    fn into_access(self) -> Result<(), Undo> {
        self?.into_access()
    }
}

/// What a `route` callback may answer.
pub trait IntoRoute {
    /// The route.
    fn into_route(self) -> Result<Route, Undo>;
}

macro_rules! into_route {
    ($($type:ty),*) => { $(
        impl IntoRoute for $type {
            fn into_route(self) -> Result<Route, Undo> {
                Ok(self.into())
            }
        }
    )* };
}

into_route!(Route, &'static str, String, Vec<String>);

impl<const N: usize> IntoRoute for [String; N] {
    fn into_route(self) -> Result<Route, Undo> {
        Ok(self.into())
    }
}

impl<T: IntoRoute> IntoRoute for Result<T, Undo> {
    fn into_route(self) -> Result<Route, Undo> {
        self?.into_route()
    }
}

/// What a `process` callback may answer.
pub trait IntoDone {
    /// An undo for what failed.
    fn into_done(self) -> Result<(), Undo>;
}

impl IntoDone for () {
    fn into_done(self) -> Result<(), Undo> {
        Ok(())
    }
}

impl IntoDone for Result<(), Undo> {
    fn into_done(self) -> Result<(), Undo> {
        self
    }
}

/// What a `load` callback may answer.
pub trait IntoEvents {
    /// The events.
    fn into_events(self) -> Result<Vec<Value>, Undo>;
}

impl IntoEvents for Vec<Value> {
    fn into_events(self) -> Result<Vec<Value>, Undo> {
        Ok(self)
    }
}

impl IntoEvents for Value {
    fn into_events(self) -> Result<Vec<Value>, Undo> {
        Ok(vec![self])
    }
}

impl IntoEvents for () {
    fn into_events(self) -> Result<Vec<Value>, Undo> {
        Ok(Vec::new())
    }
}

impl<T: IntoEvents> IntoEvents for Result<T, Undo> {
    fn into_events(self) -> Result<Vec<Value>, Undo> {
        self?.into_events()
    }
}

/// What a `filter` callback may answer.
pub trait IntoFilter {
    /// The filter.
    fn into_filter(self) -> Result<Filter, Undo>;
}

impl IntoFilter for Filter {
    fn into_filter(self) -> Result<Filter, Undo> {
        Ok(self)
    }
}

impl<T: IntoFilter> IntoFilter for Result<T, Undo> {
    fn into_filter(self) -> Result<Filter, Undo> {
        self?.into_filter()
    }
}

impl<S> fmt::Debug for Handler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (route, process) = (self.route.is_some(), self.process.is_some());
        let queue = &self.queue;
        f.debug_struct("Handler")
            .field("route", &route)
            .field("process", &process)
            .field("queue", queue)
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("filter", &self.filter.is_some())
            .field("load", &self.load.is_some())
            .field("is_from_log", &self.is_from_log)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}
