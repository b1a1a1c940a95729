use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::Codecs;
use logux_transports::{Listener, rt};
use tokio::sync::watch;

use super::answers::{self, Answers};
use super::clients::Clients;
use super::handler::{Channel, Handler};
use super::pattern::{Pattern, PatternError};
use super::route;
use super::running::RunningApp;
use super::shared::{Handling, Outcomes, RESERVED, Shared};
use super::sync_map::{self, SyncMap};
use super::work;
use crate::{
    Access, CallbackError, Headers, Log, LogOptions, Login, Role, Server, SyncOptions, Value,
};

/// What a server does with the events of its clients: handlers by the types of events, channels, and who may connect.
///
/// See the [module](super) for an example.
#[must_use = "an app does nothing until it is served"]
pub struct App<S = ()> {
    state: S,
    auth: Auth<S>,
    handlers: Vec<(String, Handler<S>)>,
    otherwise: Option<Handler<S>>,
    channels: Vec<(String, Channel<S>)>,
    options: SyncOptions<Value>,
    max_connections: Option<usize>,
    max_subscriptions: usize,
    is_development: bool,
}

/// The header by which an app tells its clients that they can subscribe to channels: `true`.
pub const HAS_CHANNELS: &str = "channels";

type Auth<S> = Arc<dyn Fn(Login, S) -> BoxFuture<'static, Access<Value>> + Send + Sync>;

/// Why an app cannot be served as it was put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// A pattern cannot be read.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Something has two handlers.
    #[error("there are two handlers for {0:?}; leave one of them out")]
    Twice(String),
    /// A handler is for types that clients cannot add.
    #[error("there can be no handler for {0:?}: types that begin with `logux/` are the protocol's")]
    Reserved(String),
    /// A handler or a channel is never asked.
    #[error(
        "{hidden:?} is never asked, for {by:?} stands before it and is for all of it; put it first"
    )]
    Hidden {
        /// What comes later.
        hidden: String,
        /// What comes before.
        by: String,
    },
    /// A queue cannot have this name.
    #[error(
        "a queue of an app cannot have the name {0:?}: it must have between 1 and 50 letters, digits, - and _"
    )]
    Queue(String),
}

impl App {
    /// An app without a state. `auth` says who a client is, as [`SyncOptions::auth`](crate::SyncOptions::auth) does:
    /// **bind the name to the credentials**. A client may add events as its own user and client only, so a
    /// [relay](crate::Access::relay) is taken for a client here, and [`Access::log`](crate::Access::log) has no meaning.
    /// The user `server` is refused.
    pub fn new<A>(auth: impl Fn(Login) -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output: Into<Access<Value>>> + Send + 'static,
    {
        Self::with_state((), move |login, ()| auth(login))
    }
}

impl<S: Clone + Send + Sync + 'static> App<S> {
    /// An app whose callbacks share a state, as a pool of connections to a database, which is cloned for each of them.
    pub fn with_state<A>(state: S, auth: impl Fn(Login, S) -> A + Send + Sync + 'static) -> Self
    where
        A: Future<Output: Into<Access<Value>>> + Send + 'static,
    {
        let auth: Auth<S> =
            Arc::new(move |login, state| auth(login, state).map(Into::into).boxed());
        Self {
            state,
            auth,
            handlers: Vec::new(),
            otherwise: None,
            channels: Vec::new(),
            options: SyncOptions::new(),
            max_connections: None,
            max_subscriptions: 1_000,
            is_development: false,
        }
    }

    /// Handles the events of a type: `posts/add`, or all types of a pattern, `posts/*`. A type that is written out goes
    /// before patterns, and of these the first.
    pub fn on(mut self, kind: impl Into<String>, handler: Handler<S>) -> Self {
        self.handlers.push((kind.into(), handler));
        self
    }

    /// Handles the events of all other types. Without it, they are undone with the reason `unknownType`.
    pub fn otherwise(mut self, handler: Handler<S>) -> Self {
        self.otherwise = Some(handler);
        self
    }

    /// Lets clients subscribe to a channel, or to all of a pattern: `posts/:id`, whose parameters do not cross a slash.
    /// The first that fits is taken. What fits none is undone with the reason `wrongChannel`.
    pub fn channel(mut self, pattern: impl Into<String>, channel: Channel<S>) -> Self {
        self.channels.push((pattern.into(), channel));
        self
    }

    /// Lets clients create, change and delete objects: see [`SyncMap`].
    pub fn sync_map(mut self, plural: &str, map: SyncMap<S>) -> Self {
        let sync_map::Parts { handlers, channels } = map.parts(plural);
        self.handlers.extend(handlers);
        self.channels.extend(channels);
        self
    }

    /// How sessions behave: limits, quotas, subprotocols, how long a callback may take
    /// ([`callback_timeout`](SyncOptions::callback_timeout)). What the app does itself (`auth`, `in_filter`, `in_map`,
    /// `out_indexes`, `out_filter`) is not taken from there.
    pub fn options(mut self, options: SyncOptions<Value>) -> Self {
        self.options = options;
        self
    }

    /// How many clients may be connected at once: as [`Server::max_connections`](crate::Server::max_connections) says.
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = Some(count);
        self
    }

    /// To how many channels a client may be subscribed at once: 1,000. What is more is undone with the reason
    /// `tooManySubscriptions`.
    pub const fn max_subscriptions(mut self, count: usize) -> Self {
        self.max_subscriptions = count;
        self
    }

    /// Tells developers of clients more: why an event is undone, in the page's console. And lets `@logux/client` connect
    /// without TLS, by the header `env`. Not for what strangers use.
    pub const fn development(mut self, is_development: bool) -> Self {
        self.is_development = is_development;
        self
    }

    /// Options for the log of an app whose clients are JavaScript pages: it refuses what JavaScript cannot hold.
    pub fn log_options() -> LogOptions<Value> {
        LogOptions::new().event_limits(crate::EventLimits::for_javascript())
    }

    /// Tells what is wrong with the app as it was put together, as [`serve`](Self::serve) does: before a log is opened.
    pub fn check(&self) -> Result<(), AppError> {
        let Self { handlers, channels, otherwise, .. } = self;
        let kinds = handlers.iter().map(|(kind, _)| kind.as_str());
        if let Some(kind) = kinds.clone().find(|kind| kind.starts_with(RESERVED)) {
            return Err(AppError::Reserved(kind.to_owned()));
        }
        // What is written out goes before patterns of types, and not of channels.
        check_order(kinds, |pattern| !pattern.is_exact())?;
        check_order(channels.iter().map(|(name, _)| name.as_str()), |_| true)?;
        let queues = handlers.iter().map(|(_, handler)| handler).chain(otherwise);
        let queues = queues.map(|handler| &handler.queue);
        for queue in queues.chain(channels.iter().map(|(_, channel)| &channel.queue)) {
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            if queue.is_empty() || queue.len() > 50 || !queue.chars().all(fits) {
                return Err(AppError::Queue(queue.clone()));
            }
        }
        Ok(())
    }

    /// Serves the app on a log: each connection that the listener accepts, in one codec or the one of several that the
    /// client names. Must be called within a tokio runtime.
    ///
    /// To mount it in a program that has an HTTP server, take the listener of
    /// [`HttpListener::mounted`](crate::HttpListener::mounted).
    pub fn serve<C: Codecs, L: Listener>(
        self,
        log: &Log<Value>,
        codecs: C,
        listener: L,
    ) -> Result<RunningApp, AppError> {
        self.check()?;
        let Self { state, auth, handlers, otherwise, channels, options, .. } = self;
        let Parts { types, patterns, channels } = parts(handlers, channels)?;
        let shared = Arc::new(Shared {
            state,
            types,
            patterns,
            otherwise,
            channels,
            limit: options.inward.limit,
            max_subscriptions: self.max_subscriptions,
            is_development: self.is_development,
            log: log.clone(),
            clients: Clients::default(),
            answers: Answers { own: log.node_id().clone(), limits: log.event_limits() },
            outcomes: Outcomes::default(),
            handling: Handling::default(),
            connections: AtomicU64::new(0),
        });
        let options = session_options(&shared, auth, options);
        let mut server = Server::new(log, codecs, listener).options(options);
        if let Some(count) = self.max_connections {
            server = server.max_connections(count);
        }
        let server = server.start();
        // It need not be waited for: nothing is in the log yet that it is about, or it was noted before.
        drop(log.note_app());
        let (stop, stops) = watch::channel(false);
        let worker = rt::spawn(work::run(Arc::clone(&shared), stops));
        let sweep = rt::spawn(Arc::clone(&shared).sweep());
        Ok(RunningApp::new(shared, server, stop, worker, sweep))
    }
}

/// How sessions behave that serve an app.
fn session_options<S: Clone + Send + Sync + 'static>(
    shared: &Arc<Shared<S>>,
    auth: Auth<S>,
    mut options: SyncOptions<Value>,
) -> SyncOptions<Value> {
    let is_app = (HAS_CHANNELS.to_owned(), true.into());
    let env = ("env".to_owned(), Value::from("development"));
    let headers = [is_app].into_iter().chain(shared.is_development.then_some(env));
    let headers: Headers = options.headers.clone().into_iter().chain(headers).collect();
    options = options.headers(headers);
    let of_auth = Arc::clone(shared);
    options = options.auth(move |login| {
        let (shared, auth) = (Arc::clone(&of_auth), Arc::clone(&auth));
        async move {
            if login.user_id() == Some("server") || login.node_id.as_str() == "server" {
                return Access::nobody();
            }
            let (node, session) = (login.node_id.clone(), login.session.clone());
            let headers = Arc::clone(&login.headers);
            let access = auth(login, shared.state.clone()).await.only_client();
            if access.authors(Role::Acceptor).is_none() {
                return access;
            }
            match shared.starts_after(&node).await {
                Ok(position) => {
                    shared.enter(&node, session, headers, position);
                    access.starting_after(position)
                }
                Err(error) => Access::from(Err::<bool, CallbackError>(error.into())),
            }
        }
    });
    options = options.out_indexes(|peer| route::direct(&peer.node_id));
    let of_filter = Arc::clone(shared);
    options = options.out_filter(move |entry, peer| {
        std::future::ready(Ok(of_filter.clients.is_for(&entry, &peer)))
    });
    let of_inbox = Arc::clone(shared);
    options.inward.filter = None;
    options.inward.map = None;
    options.inward.inbox = Some(Arc::new(move |entry, peer| Some(of_inbox.divert(entry, peer))));
    options.inward.answer = Some(Arc::new(|refused, peer| {
        let (id, reason) = (&refused.id, &refused.reason);
        tracing::info!(%id, reason, peer = %peer.node_id, "an event is refused");
        Some(answers::of_refused(id, peer))
    }));
    options
}

/// That each of these is asked about something.
fn check_order<'a>(
    texts: impl Iterator<Item = &'a str>,
    is_in_order: impl Fn(&Pattern) -> bool,
) -> Result<(), AppError> {
    let mut before: Vec<(&str, Pattern)> = Vec::new();
    for text in texts {
        let pattern = Pattern::parse(text)?;
        for (other, earlier) in &before {
            if *other == text {
                return Err(AppError::Twice(text.to_owned()));
            }
            // A pattern is for another one if it is for its text, for a parameter stands for any other; and one that goes
            // on with anything also for what that may be.
            let is_for_rest =
                || !text.ends_with('*') || earlier.find(&format!("{text}/x")).is_some();
            if is_in_order(&pattern) && earlier.find(text).is_some() && is_for_rest() {
                let (hidden, by) = (text.to_owned(), (*other).to_owned());
                return Err(AppError::Hidden { hidden, by });
            }
        }
        before.push((text, pattern));
    }
    Ok(())
}

/// What an app has, by what it is for.
struct Parts<S> {
    types: HashMap<String, Handler<S>>,
    patterns: Vec<(Pattern, Handler<S>)>,
    channels: Vec<(Pattern, Channel<S>)>,
}

fn parts<S>(
    handlers: Vec<(String, Handler<S>)>,
    channels: Vec<(String, Channel<S>)>,
) -> Result<Parts<S>, PatternError> {
    let (mut types, mut patterns) = (HashMap::new(), Vec::new());
    for (kind, handler) in handlers {
        let pattern = Pattern::parse(&kind)?;
        if pattern.is_exact() {
            types.insert(kind, handler);
        } else {
            patterns.push((pattern, handler));
        }
    }
    let parsed = |(name, channel): (String, _)| Ok((Pattern::parse(&name)?, channel));
    let channels = channels.into_iter().map(parsed).collect::<Result<_, _>>()?;
    Ok(Parts { types, patterns, channels })
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<&str> = self.handlers.iter().map(|(kind, _)| kind.as_str()).collect();
        let channels: Vec<&str> = self.channels.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("App")
            .field("handlers", &handlers)
            .field("channels", &channels)
            .finish_non_exhaustive()
    }
}
