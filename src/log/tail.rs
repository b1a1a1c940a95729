//! The last events of a log, for sessions that are live: each of them reads every event, and the store is asked
//! once for all.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::Shared;
use logux_codecs::{Added, Event};

use crate::entry::Entry;
use crate::store::{Page, Query, Store, StoreError};

/// So many bytes of events are kept.
const MAX_BYTES: usize = 8 << 20;

/// What an entry takes at least, in bytes: its size may be unknown.
const MIN_SIZE: usize = 256;

/// How much is read at once.
const PAGE: Page = Page::new(256);

type Entries<E> = Vec<Arc<Entry<E>>>;

/// A reading that several sessions wait for. Each of them drives it: one that ends holds up nobody.
type Reading<E> = Shared<BoxFuture<'static, Result<Arc<Entries<E>>, Arc<StoreError>>>>;

/// All events of a log above one position and up to another.
pub(super) struct Tail<E>(Mutex<Kept<E>>);

struct Kept<E> {
    after: Added,
    up_to: Added,
    entries: VecDeque<Arc<Entry<E>>>,
    bytes: usize,
    /// What comes after `up_to`, once it is read.
    next: Option<Reading<E>>,
}

/// Where the events after a position come from.
enum Source<E> {
    /// Here they are.
    Kept(Entries<E>),
    /// What comes next is being read, from now on or by somebody before.
    Next { reading: Reading<E>, is_new: bool },
    /// They are older.
    Store,
}

impl<E: Event> Tail<E> {
    /// Keeps nothing yet of a log that ends here.
    pub(super) fn new(end: Added) -> Self {
        let (entries, bytes, next) = (VecDeque::new(), 0, None);
        Self(Mutex::new(Kept { after: end, up_to: end, entries, bytes, next }))
    }

    /// The events after a position: a page of them, or all that there are. `end`: all up to there can be read.
    pub(super) async fn read(
        &self,
        store: &Arc<dyn Store<E>>,
        after: Added,
        end: Added,
        page: Page,
    ) -> Result<Entries<E>, StoreError> {
        if store.reads_from_memory() {
            return store.read(Query::Added(after), page).await;
        }
        loop {
            match self.source(store, after, end, page) {
                Source::Kept(entries) => return Ok(entries),
                Source::Store => return store.read(Query::Added(after), page).await,
                Source::Next { reading, is_new } => {
                    let read = reading.clone().await;
                    let is_empty = read.as_ref().is_ok_and(|read| read.is_empty());
                    self.kept().extend(&reading, read.as_ref().map_or(&[], |read| read));
                    read.map_err(|error| StoreError::shared(&error))?;
                    // What was begun by somebody else may be older than the last event.
                    if is_empty && is_new {
                        // Up to the end there is nothing more than what is kept.
                        return Ok(self.kept().after(after, page));
                    }
                }
            }
        }
    }

    fn source(&self, store: &Arc<dyn Store<E>>, after: Added, end: Added, page: Page) -> Source<E> {
        let mut kept = self.kept();
        if after > kept.up_to && kept.next.is_none() {
            // Those before are read by nobody any more.
            (kept.after, kept.up_to, kept.bytes) = (after, after, 0);
            kept.entries.clear();
        }
        if after < kept.after || after > kept.up_to {
            return Source::Store;
        }
        if after < kept.up_to {
            let entries = kept.after(after, page);
            let ends_here = entries.last().is_some_and(|last| last.meta.added == kept.up_to);
            let bytes: usize = entries.iter().map(|entry| entry.size()).sum();
            let is_full = entries.len() >= page.events || bytes >= page.bytes;
            if is_full || !ends_here || end <= kept.up_to {
                return Source::Kept(entries);
            }
        }
        let (is_new, up_to) = (kept.next.is_none(), kept.up_to);
        let reading = kept.next.get_or_insert_with(|| {
            let store = Arc::clone(store);
            let read = async move { store.read(Query::Added(up_to), PAGE).await };
            read.map(|read| read.map(Arc::new).map_err(Arc::new)).boxed().shared()
        });
        Source::Next { reading: reading.clone(), is_new }
    }

    /// Nothing panics while the lock is held.
    fn kept(&self) -> MutexGuard<'_, Kept<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Kept<E> {
    /// A page of what is kept after a position.
    fn after(&self, after: Added, page: Page) -> Entries<E> {
        let start = self.entries.partition_point(|entry| entry.meta.added <= after);
        page.take(self.entries.range(start..).cloned(), |entry| entry.size())
    }

    /// What comes next is read, by all that waited for it: the first of them brings it here.
    fn extend(&mut self, reading: &Reading<E>, entries: &[Arc<Entry<E>>]) {
        if !self.next.as_ref().is_some_and(|next| next.ptr_eq(reading)) {
            return;
        }
        self.next = None;
        for entry in entries {
            self.up_to = entry.meta.added;
            self.bytes += entry.size().max(MIN_SIZE);
            self.entries.push_back(Arc::clone(entry));
        }
        while self.bytes > MAX_BYTES
            && let Some(first) = self.entries.pop_front()
        {
            self.after = first.meta.added;
            self.bytes -= first.size().max(MIN_SIZE);
        }
    }
}

impl<E> fmt::Debug for Tail<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}
