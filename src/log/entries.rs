use std::fmt;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::{TryStreamExt, stream};
use logux_codecs::{Added, Event};

use super::Log;
use super::typed::is_of_type;
use crate::entry::{Created, Entry};
use crate::store::{Label, Order, Page, Query, StoreError};

/// The events of a log, in an order and by what they are found by: [`Log::entries`](crate::Log::entries).
///
/// ```
/// # use futures_util::TryStreamExt;
/// # use logux_sync::{Draft, Log, MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = Log::<String>::open("node".parse()?, MemoryStore::new()).await?;
/// log.add(Draft::new("one".to_owned()).index("users/1")).await?;
/// log.add(Draft::new("two".to_owned()).index("users/2")).await?;
/// log.add(Draft::new("three".to_owned()).index("users/1")).await?;
/// let entries = log.entries().index("users/1").newest_first().stream();
/// let entries: Vec<_> = entries.try_collect().await?;
/// assert_eq!(entries[0].event, "three");
/// assert_eq!(entries.len(), 2);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Entries<E> {
    log: Log<E>,
    query: Query,
    /// What the store is not asked for, as it knows only one label at a time.
    also: Vec<Label>,
    of_type: Option<String>,
}

/// How much is read at once.
const PAGE: Page = Page::new(256);

impl<E: Event> Entries<E> {
    pub(super) const fn new(log: Log<E>) -> Self {
        Self { log, query: Query::added(Added::ZERO), also: Vec::new(), of_type: None }
    }

    /// In the order in which they were added, which it is anyway, from the first one.
    pub fn by_added(mut self) -> Self {
        self.query.order = Order::Added(None);
        self
    }

    /// In the order in which they were created, which is the same on all nodes, from the first one.
    pub fn by_creation(mut self) -> Self {
        self.query.order = Order::Created(None);
        self
    }

    /// In the order in which they were added, those that come after a position in the direction of reading.
    pub fn after_added(mut self, position: Added) -> Self {
        self.query.order = Order::Added(Some(position));
        self
    }

    /// In the order in which they were created, those that come after one in the direction of reading.
    pub fn after_created(mut self, created: Created) -> Self {
        self.query.order = Order::Created(Some(created));
        self
    }

    /// The other way round.
    pub fn newest_first(mut self) -> Self {
        self.query.newest_first = true;
        if self.query.order == Order::Added(Some(Added::ZERO)) {
            self.query.order = Order::Added(None);
        }
        self
    }

    /// Only those with this index.
    pub fn index(self, index: impl Into<String>) -> Self {
        self.with(Label::Index(index.into()))
    }

    /// Only those that are kept for this reason.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        self.with(Label::Reason(reason.into()))
    }

    fn with(mut self, label: Label) -> Self {
        self.also.extend(self.query.label.replace(label));
        self
    }

    /// Only those that are objects with this `type`.
    pub fn of_type(mut self, name: impl Into<String>) -> Self {
        self.of_type = Some(name.into());
        self
    }

    /// The events one by one, until there are no more for now. What is added meanwhile is among them if it comes
    /// later in the order.
    pub fn stream(self) -> impl Stream<Item = Result<Arc<Entry<E>>, StoreError>> + Send {
        let pages = self.pages(PAGE).map_ok(|page| stream::iter(page.into_iter().map(Ok)));
        pages.try_flatten()
    }

    /// The events by pages of at least one event, which may be shorter, but not empty.
    pub fn pages(
        self,
        page: impl Into<Page>,
    ) -> impl Stream<Item = Result<Vec<Arc<Entry<E>>>, StoreError>> + Send {
        let Page { events, bytes } = page.into();
        let page = Page::new(events.max(1)).bytes(bytes);
        stream::try_unfold((self, page), async |(mut entries, page)| {
            loop {
                let mut read = entries.log.read(entries.query.clone(), page).await?;
                let Some(last) = read.last() else { return Ok(None) };
                entries.query.order = match entries.query.order {
                    Order::Added(_) => Order::Added(Some(last.meta.added)),
                    Order::Created(_) => Order::Created(Some(last.meta.created())),
                };
                read.retain(|entry| entries.shows(entry));
                if !read.is_empty() {
                    return Ok(Some((read, (entries, page))));
                }
            }
        })
    }

    fn shows(&self, entry: &Entry<E>) -> bool {
        self.also.iter().all(|label| label.is_of(&entry.meta))
            && self.of_type.as_ref().is_none_or(|name| is_of_type(&entry.event, name))
    }
}

impl<E> fmt::Debug for Entries<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("query", &self.query).finish_non_exhaustive()
    }
}
