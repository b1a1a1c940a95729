use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use logux_codecs::Event;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::typed::is_of_type;
use crate::entry::Entry;

/// So many events wait for one that reads them slowly.
pub(super) const MAX_WAITING: usize = 1_024;

/// The events that are cleaned from now on, by this process, as a stream: [`Log::cleaned`](crate::Log::cleaned).
///
/// Nothing waits for this stream. If it is read too slowly, it skips events and says how many. It ends with the log.
#[must_use = "a stream does nothing until it is read"]
pub struct Cleaned<E>(BoxStream<'static, Result<Arc<Entry<E>>, Missed>>);

/// Events were cleaned, and not shown, because the stream was read too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} events were cleaned while the stream was not read; read it faster, or look at the log again"
)]
pub struct Missed(pub u64);

impl<E: Event> Cleaned<E> {
    pub(super) fn new(events: broadcast::Receiver<Arc<Entry<E>>>) -> Self {
        let events = stream::unfold(events, async |mut events| match events.recv().await {
            Ok(entry) => Some((Ok(entry), events)),
            Err(RecvError::Lagged(count)) => Some((Err(Missed(count)), events)),
            Err(RecvError::Closed) => None,
        });
        Self(events.boxed())
    }

    /// Only those that are objects with this `type`.
    pub fn of_type(self, name: impl Into<String>) -> Self {
        let name = name.into();
        let is_shown = move |entry: &Result<Arc<Entry<E>>, Missed>| {
            let is_shown = entry.as_ref().map_or(true, |entry| is_of_type(&entry.event, &name));
            std::future::ready(is_shown)
        };
        Self(self.0.filter(is_shown).boxed())
    }
}

impl<E> Stream for Cleaned<E> {
    type Item = Result<Arc<Entry<E>>, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<E> fmt::Debug for Cleaned<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaned").finish_non_exhaustive()
    }
}
