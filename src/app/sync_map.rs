//! Objects whose fields clients change: `SyncMap` of `@logux/client` and its frameworks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, json};

use super::call::{Call, Callback, Context, Extract, Since};
use super::handler::{Channel, Erased, Filter, Handler, IntoAccess, IntoDone, MAIN, erase};
use super::route::Route;
use super::undo::Undo;
use crate::{Draft, Entry, Timestamp, Value};

/// Objects with an id and fields, which clients create, change and delete: what `syncMapTemplate` of `@logux/client`
/// speaks. `plural` names them in the events: `tasks/create`, `tasks/change` and `tasks/delete` come from clients, and
/// `tasks/created`, `tasks/changed` and `tasks/deleted` go to all that are subscribed to `tasks/<id>`, and the first two
/// to `tasks`, with the times of the events that they stand for. So of two changes of one field the later one wins,
/// whichever comes first.
///
/// Callbacks take the id as a [`Path`](super::Path) and the fields as [`Fields`].
///
/// [From the log](Self::from_log), nothing else is needed: the log has all changes. With callbacks, the objects are kept
/// elsewhere.
///
/// ```
/// use logux_sync::app::{App, Client, Path, SyncMap};
///
/// let app = App::new(async |_| true)
///     .sync_map("tasks", SyncMap::access(async |client: Client, Path(id): Path<String>| {
///         id.starts_with(client.user_id().unwrap_or_default())
///     }).from_log());
/// # let _ = app;
/// ```
#[must_use]
pub struct SyncMap<S> {
    access: Erased<S, ()>,
    create: Option<Erased<S, ()>>,
    change: Option<Erased<S, ()>>,
    delete: Option<Erased<S, ()>>,
    load: Option<Erased<S, Option<MapState>>>,
    list: Option<List<S>>,
    is_from_log: bool,
    queue: String,
}

/// Who may see all objects, and which these are.
struct List<S> {
    access: Erased<S, ()>,
    objects: Erased<S, Vec<(String, MapState)>>,
}

/// What a [`SyncMap`] is made of, by what it is for.
pub(super) struct Parts<S> {
    pub(super) handlers: Vec<(String, Handler<S>)>,
    pub(super) channels: Vec<(String, Channel<S>)>,
}

/// The fields of an event of a [`SyncMap`]: an argument of a callback. An event without fields has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Map<String, Value>);

/// The fields of an object, and when each was changed: what a `load` callback of a [`SyncMap`] answers.
///
/// ```
/// # use logux_sync::{Timestamp, app::MapState};
/// let state = MapState::new().changed_at("text", "hello", Timestamp::ZERO).now("author", "ann");
/// # let _ = state;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapState(Vec<(String, Value, Option<Timestamp>)>);

impl MapState {
    /// Without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field and the time of the event that changed it last. A client that has a later change keeps that.
    #[must_use]
    pub fn changed_at(
        mut self,
        field: impl Into<String>,
        value: impl Into<Value>,
        time: Timestamp,
    ) -> Self {
        self.0.push((field.into(), value.into(), Some(time)));
        self
    }

    /// Adds a field that takes the place of whatever the client has.
    #[must_use]
    pub fn now(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.push((field.into(), value.into(), None));
        self
    }

    /// The events that tell it to a client which has what was before `since`: one for each time.
    fn events(self, kind: &str, id: &str, since: Option<Timestamp>) -> Vec<Draft<Value>> {
        let mut by_time: BTreeMap<Option<Timestamp>, Map<String, Value>> = BTreeMap::new();
        for (field, value, time) in self.0 {
            if time.is_none() || time >= since {
                by_time.entry(time).or_default().insert(field, value);
            }
        }
        let draft = |(time, fields): (Option<Timestamp>, Map<String, Value>)| {
            let draft = Draft::new(json!({ "type": kind, "id": id, "fields": fields }));
            match time {
                Some(time) => draft.time(time),
                None => draft,
            }
        };
        by_time.into_iter().map(draft).collect()
    }
}

impl<S: Clone + Send + Sync + 'static> SyncMap<S> {
    /// Decides who may see, create, change and delete an object, by its id.
    pub fn access<Arguments>(callback: impl Callback<S, Arguments, Output: IntoAccess>) -> Self {
        Self {
            access: erase(callback, IntoAccess::into_access),
            create: None,
            change: None,
            delete: None,
            load: None,
            list: None,
            is_from_log: false,
            queue: MAIN.to_owned(),
        }
    }

    /// Keeps the objects in the log alone: clients may create, change and delete them, and who subscribes to
    /// `<plural>/<id>` is sent what has become of the object.
    pub fn from_log(mut self) -> Self {
        self.is_from_log = true;
        self
    }

    /// Keeps an object that was created.
    pub fn create<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoDone>,
    ) -> Self {
        self.create = Some(erase(callback, IntoDone::into_done));
        self
    }

    /// Keeps what was changed.
    pub fn change<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoDone>,
    ) -> Self {
        self.change = Some(erase(callback, IntoDone::into_done));
        self
    }

    /// Deletes an object.
    pub fn delete<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoDone>,
    ) -> Self {
        self.delete = Some(erase(callback, IntoDone::into_done));
        self
    }

    /// Answers an object to who subscribes to `<plural>/<id>`; with [`Undo::not_found`] if there is none. Changes that
    /// are older than the client's [`Since`] need not be answered.
    pub fn load<Arguments>(
        mut self,
        callback: impl Callback<S, Arguments, Output: IntoMapState>,
    ) -> Self {
        self.load = Some(erase(callback, IntoMapState::into_map_state));
        self
    }

    /// Lets clients subscribe to `<plural>`, with a filter by the values of fields: `access` says who may, and `list`
    /// answers the objects that they may see, by their ids. The client is subscribed to each of these, too.
    pub fn list<Arguments, OfList>(
        mut self,
        access: impl Callback<S, Arguments, Output: IntoAccess>,
        list: impl Callback<S, OfList, Output: IntoMapStates>,
    ) -> Self {
        let access = erase(access, IntoAccess::into_access);
        let objects = erase(list, IntoMapStates::into_map_states);
        self.list = Some(List { access, objects });
        self
    }

    /// The queue of all that concerns these objects: see [`Handler::queue`].
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = name.into();
        self
    }

    /// The handlers and channels that it is made of.
    pub(super) fn parts(self, plural: &str) -> Parts<S> {
        let Self { access, create, change, delete, load, list, is_from_log, queue } = self;
        let mut handlers = Vec::new();
        for (kind, done, keeps, to_all) in [
            ("create", "created", create, true),
            ("change", "changed", change, true),
            ("delete", "deleted", delete, false),
        ] {
            let routes = Routes { plural: plural.into(), to_all };
            let of_event = with_id(Arc::clone(&access));
            if keeps.is_some() || is_from_log {
                let keeps = keeps.map(with_id);
                let (done, routes) = (format!("{plural}/{done}"), routes.clone());
                let process: Erased<S, ()> = Arc::new(move |call: Call<S>| {
                    let (keeps, done, routes) = (keeps.clone(), done.clone(), routes.clone());
                    Box::pin(async move {
                        if let Some(keeps) = keeps {
                            keeps(call.clone()).await?;
                        }
                        // Who made it has it, and from the log it is sent it where it has not.
                        finish(&call.context, &done, &routes, !is_from_log);
                        Ok(())
                    })
                });
                let handler = Handler {
                    access: of_event,
                    route: None,
                    process: Some(process),
                    queue: queue.clone(),
                };
                handlers.push((format!("{plural}/{kind}"), handler));
            }
            // What the server says itself, as of an object that changed elsewhere.
            let route = move |context: Context| {
                let routes = routes.clone();
                async move { routes.of(context.event()) }
            };
            let own = Handler::access(async || false).route(route).queue(queue.clone());
            handlers.push((format!("{plural}/{done}"), own));
        }
        let mut channels = Vec::new();
        if load.is_some() || is_from_log {
            let kind = format!("{plural}/changed");
            let channel = Channel {
                access,
                filter: None,
                load: load.map(|load| loads_one(load, kind)),
                unsubscribed: None,
                is_from_log,
                queue: queue.clone(),
            };
            channels.push((format!("{plural}/:id"), channel));
        }
        if let Some(List { access, objects }) = list {
            let channel = Channel {
                access,
                filter: Some(by_fields()),
                load: Some(loads_all(objects, plural.to_owned())),
                unsubscribed: None,
                is_from_log: false,
                queue,
            };
            channels.push((plural.to_owned(), channel));
        }
        Parts { handlers, channels }
    }
}

/// To which channels an event of an object goes.
#[derive(Clone)]
struct Routes {
    plural: Arc<str>,
    /// Also to who sees all objects.
    to_all: bool,
}

impl Routes {
    fn of(&self, event: &Value) -> Route {
        let plural = &self.plural;
        let id = event["id"].as_str().unwrap_or_default();
        let one = Route::from(format!("{plural}/{id}"));
        if self.to_all { one.channel(plural) } else { one }
    }
}

/// The callback, where the id in the event is its parameter. An event without one is undone.
fn with_id<S: Clone + Send + Sync + 'static>(callback: Erased<S, ()>) -> Erased<S, ()> {
    Arc::new(move |call: Call<S>| {
        let id =
            call.context.event()["id"].as_str().filter(|id| !id.is_empty() && !id.contains('/'));
        match id {
            Some(id) => {
                let parameters = vec![("id".to_owned(), id.to_owned())];
                let context = call.context.with_parameters(parameters);
                callback(Call { state: call.state, context })
            }
            None => Box::pin(async {
                let what = "its id must be a text without slashes";
                Err(Undo::new("wrongFormat").because(what))
            }),
        }
    })
}

/// Adds the event that tells others what was done, with the time of the one that asked for it.
fn finish(context: &Context, kind: &str, routes: &Routes, leaves_out_its_client: bool) {
    let mut event = context.event().clone();
    event["type"] = kind.into();
    let mut route = routes.of(&event);
    if leaves_out_its_client {
        route = route.except_client(context.client().client_id());
    }
    context.add_draft(Draft::new(event).time(context.time()), route);
}

fn loads_one<S: Clone + Send + Sync + 'static>(
    load: Erased<S, Option<MapState>>,
    kind: String,
) -> Erased<S, Vec<Value>> {
    Arc::new(move |call: Call<S>| {
        let (load, kind) = (Arc::clone(&load), kind.clone());
        Box::pin(async move {
            let context = call.context.clone();
            let since = Since::extract(&call)?.0.map(|(_, time)| time);
            let id = context.parameter("id").unwrap_or_default().to_owned();
            if let Some(state) = load(call).await? {
                for draft in state.events(&kind, &id, since) {
                    context.add_draft(draft, Route::nobody());
                }
            }
            Ok(Vec::new())
        })
    })
}

fn loads_all<S: Clone + Send + Sync + 'static>(
    list: Erased<S, Vec<(String, MapState)>>,
    plural: String,
) -> Erased<S, Vec<Value>> {
    Arc::new(move |call: Call<S>| {
        let (list, plural) = (Arc::clone(&list), plural.clone());
        Box::pin(async move {
            let context = call.context.clone();
            let since = Since::extract(&call)?.0.map(|(_, time)| time);
            for (id, state) in list(call).await? {
                context.subscribe(format!("{plural}/{id}"));
                for draft in state.events(&format!("{plural}/changed"), &id, since) {
                    context.add_draft(draft, Route::nobody());
                }
            }
            Ok(Vec::new())
        })
    })
}

/// Objects that are created with other values than the filter says, or change to others, are not for who set it.
fn by_fields<S: Clone + Send + Sync + 'static>() -> Erased<S, Filter> {
    Arc::new(|call: Call<S>| {
        Box::pin(async move {
            let filter = call.context.subscription().and_then(|wanted| wanted.filter.clone());
            let filter = match filter {
                Some(Value::Object(filter)) => filter,
                _ => Map::new(),
            };
            Ok(Filter::new(move |entry: &Entry<Value>| {
                let kind = entry.event["type"].as_str().unwrap_or_default();
                let fields = &entry.event["fields"];
                let fits = |(field, wanted): (&String, &Value)| match fields.get(field) {
                    Some(value) => value == wanted,
                    None => !kind.ends_with("/created"),
                };
                filter.iter().all(fits)
            }))
        })
    })
}

impl<S: Send> Extract<S> for Fields {
    fn extract(call: &Call<S>) -> Result<Self, Undo> {
        match call.context.event().get("fields") {
            None => Ok(Self::default()),
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            Some(_) => Err(Undo::new("wrongFormat").because("its fields are not an object")),
        }
    }
}

/// What a `load` callback of a [`SyncMap`] may answer.
pub trait IntoMapState {
    /// The object; `None` where the client needs nothing of it.
    fn into_map_state(self) -> Result<Option<MapState>, Undo>;
}

impl IntoMapState for MapState {
    fn into_map_state(self) -> Result<Option<MapState>, Undo> {
        Ok(Some(self))
    }
}

impl IntoMapState for Option<MapState> {
    fn into_map_state(self) -> Result<Option<MapState>, Undo> {
        Ok(self)
    }
}

impl<T: IntoMapState> IntoMapState for Result<T, Undo> {
    fn into_map_state(self) -> Result<Option<MapState>, Undo> {
        self?.into_map_state()
    }
}

/// What a `list` callback of a [`SyncMap`] may answer.
pub trait IntoMapStates {
    /// The objects, by their ids.
    fn into_map_states(self) -> Result<Vec<(String, MapState)>, Undo>;
}

impl IntoMapStates for Vec<(String, MapState)> {
    fn into_map_states(self) -> Result<Vec<(String, MapState)>, Undo> {
        Ok(self)
    }
}

impl<T: IntoMapStates> IntoMapStates for Result<T, Undo> {
    fn into_map_states(self) -> Result<Vec<(String, MapState)>, Undo> {
        self?.into_map_states()
    }
}

impl<S> fmt::Debug for SyncMap<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncMap").field("is_from_log", &self.is_from_log).finish_non_exhaustive()
    }
}
