//! What a user can have a session ask: plain functions, boxed once, each answer awaited so that
//! neither an error nor a panic in it goes unseen.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use logux_codecs::Value;
use logux_transports::rt::timeout;

use super::error::{CallbackTimeout, Error, IN_FILTER, IN_MAP, OUT_FILTER, OUT_INDEXES, OUT_MAP};
use super::peer::Peer;
use crate::apart::Refused;
use crate::entry::{Draft, Entry, Incoming};

/// Why a callback of the user's could not answer. `?` makes it of any error.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;

/// How many events a filter or a map is asked about at once.
const AT_ONCE: usize = 16;

/// How long an answer of the user's may take, if the user does not say.
pub(crate) const CALLBACK_LIMIT: Duration = Duration::from_secs(60);

type Answer<T> = BoxFuture<'static, Result<T, CallbackError>>;

type Filter<E> = Arc<dyn Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer<bool> + Send + Sync>;
type InMap<E> = Arc<dyn Fn(Entry<E>, Arc<Peer>) -> Answer<Entry<E>> + Send + Sync>;
type OutMap<E> = Arc<dyn Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer<Arc<Entry<E>>> + Send + Sync>;

/// Which queue of the inbox an event waits in, if it does. May change what is local of the event.
type Inboxes<E> = Arc<dyn Fn(&mut Entry<E>, &Peer) -> Option<String> + Send + Sync>;
/// What is added for an event that is refused.
type RefusedAnswer<E> = Arc<dyn Fn(&Refused, &Peer) -> Option<Draft<E>> + Send + Sync>;

/// What is asked about events that come in: first whether to take them, then what to make of them.
pub(crate) struct Inward<E> {
    pub(crate) filter: Option<Filter<E>>,
    pub(crate) map: Option<InMap<E>>,
    pub(crate) inbox: Option<Inboxes<E>>,
    pub(crate) answer: Option<RefusedAnswer<E>>,
    /// Each event is stored before the next one is asked about.
    pub(crate) in_order: bool,
    /// How long each answer may take.
    pub(crate) limit: Option<Duration>,
}

type Indexes = Arc<dyn Fn(&Peer) -> Vec<String> + Send + Sync>;

/// What is asked about events that go out: first whether to send them, then what to make of them.
pub(crate) struct Outward<E> {
    /// Only events with one of these indexes are sent, and the filter is asked about them.
    pub(crate) indexes: Option<Indexes>,
    pub(crate) filter: Option<Filter<E>>,
    pub(crate) map: Option<OutMap<E>>,
    /// How long each answer may take.
    pub(crate) limit: Option<Duration>,
}

/// Where credentials come from.
#[derive(Clone)]
pub(crate) enum Credentials {
    Fixed(Value),
    Made(Arc<dyn Fn() -> Answer<Value> + Send + Sync>),
}

impl<E: Send + Sync + 'static> Inward<E> {
    pub(crate) fn is_empty(&self) -> bool {
        self.filter.is_none() && self.map.is_none()
    }

    /// The events of a message that are to be stored, in their order.
    pub(crate) async fn apply(
        &self,
        received: Incoming<E>,
        peer: &Arc<Peer>,
    ) -> Result<Incoming<E>, Error> {
        let judged = stream::iter(received.entries)
            .map(|entry| self.apply_to_one(entry, Arc::clone(peer)))
            .buffered(AT_ONCE)
            .try_filter_map(|entry| std::future::ready(Ok(entry)));
        Ok(Incoming { entries: judged.try_collect().await?, ..received })
    }

    async fn apply_to_one(
        &self,
        mut entry: Entry<E>,
        peer: Arc<Peer>,
    ) -> Result<Option<Entry<E>>, Error> {
        if let Some(filter) = &self.filter {
            let shared = Arc::new(entry);
            let ask = || filter(Arc::clone(&shared), Arc::clone(&peer));
            let asked = answer(IN_FILTER, self.limit, ask);
            if !asked.await? {
                return Ok(None);
            }
            let kept = || Error::callback(IN_FILTER, "it still holds an event after its answer");
            entry = Arc::into_inner(shared).ok_or_else(kept)?;
        }
        if let Some(map) = &self.map {
            // The map does not change an event's id, nor where it came from.
            let (id, source) = (entry.meta.id.clone(), entry.meta.source.clone());
            entry = answer(IN_MAP, self.limit, || map(entry, peer)).await?;
            entry.meta.id = id;
            entry.meta.source = source;
        }
        Ok(Some(entry))
    }
}

impl<E: Send + Sync + 'static> Outward<E> {
    /// Whether some events are not sent.
    pub(crate) const fn withholds(&self) -> bool {
        self.indexes.is_some() || self.filter.is_some()
    }

    /// Whether the user is asked about each event.
    pub(crate) const fn asks(&self) -> bool {
        self.filter.is_some() || self.map.is_some()
    }

    /// The indexes of the events that this peer may have; `None` for all events.
    pub(crate) fn indexes_for(&self, peer: &Peer) -> Result<Option<HashSet<String>>, Error> {
        let Some(indexes) = &self.indexes else { return Ok(None) };
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| indexes(peer)));
        let asked = asked.map_err(|_| Error::callback(OUT_INDEXES, "it panicked"))?;
        Ok(Some(asked.into_iter().collect()))
    }

    /// Each event that the peer may have, as it may have it, or `None`.
    pub(crate) async fn apply(
        &self,
        entries: Vec<Arc<Entry<E>>>,
        peer: &Arc<Peer>,
    ) -> Result<Vec<Option<Arc<Entry<E>>>>, Error> {
        stream::iter(entries)
            .map(|entry| self.apply_to_one(entry, Arc::clone(peer)))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn apply_to_one(
        &self,
        entry: Arc<Entry<E>>,
        peer: Arc<Peer>,
    ) -> Result<Option<Arc<Entry<E>>>, Error> {
        if let Some(filter) = &self.filter {
            let ask = || filter(Arc::clone(&entry), Arc::clone(&peer));
            if !answer(OUT_FILTER, self.limit, ask).await? {
                return Ok(None);
            }
        }
        match &self.map {
            Some(map) => Ok(Some(answer(OUT_MAP, self.limit, || map(entry, peer)).await?)),
            None => Ok(Some(entry)),
        }
    }
}

impl Credentials {
    /// The credentials for one connection.
    pub(crate) async fn produce(&self, limit: Option<Duration>) -> Result<Value, Error> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Made(make) => match answer("credentials_with", limit, || make()).await {
                Ok(value) => Ok(value),
                Err(Error::Callback { source, .. }) => Err(Error::Credentials(source)),
                Err(error) => Err(error),
            },
        }
    }
}

/// Asks, for no longer than that, and takes a panic for an error.
pub(crate) async fn answer<T, A>(
    name: &'static str,
    limit: Option<Duration>,
    ask: impl FnOnce() -> A,
) -> Result<T, Error>
where
    A: Future<Output = Result<T, CallbackError>>,
{
    let mut asked = pin!(AssertUnwindSafe(async { ask().await }).catch_unwind());
    // Most answer at once, and need no timer.
    let answered = match (poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await, limit)
    {
        (Poll::Ready(answered), _) => Ok(answered),
        (Poll::Pending, None) => Ok(asked.await),
        (Poll::Pending, Some(limit)) => timeout(limit, asked).await.map_err(|_| limit),
    };
    match answered {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(source))) => Err(Error::Callback { name, source }),
        Ok(Err(_)) => Err(Error::callback(name, "it panicked")),
        Err(limit) => Err(Error::Callback { name, source: CallbackTimeout(limit).into() }),
    }
}

impl<E> Clone for Inward<E> {
    fn clone(&self) -> Self {
        let Self { filter, map, inbox, answer, in_order, limit } = self;
        let (inbox, answer) = (inbox.clone(), answer.clone());
        Self {
            filter: filter.clone(),
            map: map.clone(),
            inbox,
            answer,
            in_order: *in_order,
            limit: *limit,
        }
    }
}

impl<E> Clone for Outward<E> {
    fn clone(&self) -> Self {
        let (indexes, filter) = (self.indexes.clone(), self.filter.clone());
        Self { indexes, filter, map: self.map.clone(), limit: self.limit }
    }
}

impl<E> Default for Inward<E> {
    fn default() -> Self {
        let limit = Some(CALLBACK_LIMIT);
        Self { filter: None, map: None, inbox: None, answer: None, in_order: false, limit }
    }
}

impl<E> Default for Outward<E> {
    fn default() -> Self {
        Self { indexes: None, filter: None, map: None, limit: Some(CALLBACK_LIMIT) }
    }
}

impl fmt::Debug for Credentials {
    /// They do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}
