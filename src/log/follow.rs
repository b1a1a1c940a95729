use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use logux_codecs::{Added, Event};
use logux_transports::rt;

use super::Log;
use super::typed::is_of_type;
use crate::entry::Entry;
use crate::store::{Page, StoreError};

/// How much is read at once.
const PAGE: Page = Page::new(256);

/// The events of a log, those that it holds and then those that are added, as a stream without
/// end. Made by [`Log::follow`](crate::Log::follow).
///
/// Ends only after an error of the store.
#[must_use = "a stream does nothing until it is read"]
pub struct Follow<E> {
    entries: BoxStream<'static, Result<Arc<Entry<E>>, StoreError>>,
}

impl<E: Event> Follow<E> {
    pub(super) fn new(log: Log<E>, after: Added) -> Self {
        let start = (log, after, VecDeque::<Arc<Entry<E>>>::new());
        let entries = stream::try_unfold(start, async |(log, mut after, mut page)| {
            loop {
                if let Some(entry) = page.pop_front() {
                    after = entry.meta.added;
                    return Ok(Some((entry, (log, after, page))));
                }
                // Others have their turn between pages that are there.
                rt::consume_budget().await;
                let last = log.end().beyond(after).await;
                page = log.next_after(after, PAGE).await?.into();
                if page.is_empty() {
                    // There is nothing up to there any more.
                    after = last;
                }
            }
        });
        Self { entries: Box::pin(entries) }
    }

    /// Only events that are objects with this `type`.
    pub fn of_type(self, name: impl Into<String>) -> Self {
        let name = name.into();
        let is_shown = move |entry: &Result<Arc<Entry<E>>, StoreError>| {
            let is_shown = entry.as_ref().map_or(true, |entry| is_of_type(&entry.event, &name));
            std::future::ready(is_shown)
        };
        Self { entries: Box::pin(self.entries.filter(is_shown)) }
    }
}

impl<E> Stream for Follow<E> {
    type Item = Result<Arc<Entry<E>>, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.entries.as_mut().poll_next(context)
    }
}

impl<E> fmt::Debug for Follow<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").finish_non_exhaustive()
    }
}
