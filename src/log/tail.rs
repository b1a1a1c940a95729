//! The last events of a log, for sessions that are live and for followers: each of them reads every event, and
//! while they keep up the store is asked once for all.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{Added, Event};
use logux_transports::rt;
use tokio::sync::Notify;

use crate::entry::Entry;
use crate::store::{Append, Effect, End, Page, Query, Store, StoreError};

/// So many bytes of events are kept.
const MAX_BYTES: usize = 8 << 20;

/// Of what is added, so many bytes are kept for somebody to read them. Whoever reads less quickly has it read, so that
/// what comes next pushes nothing out that others still need; and a log that nobody reads keeps little.
const MAX_UNREAD: usize = 1 << 20;

/// What an entry takes at least, in bytes, and what one that nobody has measured is taken for.
const MIN_SIZE: usize = 256;
const UNKNOWN_SIZE: usize = 64 << 10;

/// How much is read at once.
const PAGE: Page = Page::new(256);

type Entries<E> = Vec<Arc<Entry<E>>>;

/// All events of a log above one position and up to another.
pub(super) struct Tail<E>(Arc<Mutex<Kept<E>>>);

struct Kept<E> {
    after: Added,
    up_to: Added,
    entries: VecDeque<Arc<Entry<E>>>,
    bytes: usize,
    /// How many of them were added since somebody has read from here.
    unread: usize,
    /// How often events of the log had been changed when these were as they are there.
    changes: u64,
    /// A task reads what comes after `up_to`, and rings when it has ended.
    reading: Option<Arc<Notify>>,
}

/// Where the events after a position come from.
enum Source<E> {
    /// Here they are, or there are none.
    Kept(Entries<E>),
    /// A task reads them.
    Reading(Arc<Notify>),
    Store,
}

/// The end of a reading, whatever becomes of it.
struct Ends<E> {
    kept: Arc<Mutex<Kept<E>>>,
    bell: Arc<Notify>,
}

impl<E: Event> Tail<E> {
    /// Keeps nothing yet of a log that ends here.
    pub(super) fn new(end: &End) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            after: end.get(),
            up_to: end.get(),
            entries: VecDeque::new(),
            bytes: 0,
            unread: 0,
            changes: end.changes(),
            reading: None,
        })))
    }

    /// The events after a position and up to the end of the log: a page of them, or all that there are.
    pub(super) async fn read(
        &self,
        store: &Arc<dyn Store<E>>,
        after: Added,
        page: Page,
    ) -> Result<Entries<E>, StoreError> {
        let log_end = store.end();
        let end = log_end.get();
        if !store.reads_from_memory() && rt::can_spawn() {
            loop {
                match self.source(store, after, &log_end, end, page) {
                    Source::Kept(entries) => return Ok(entries),
                    Source::Store => break,
                    Source::Reading(bell) => {
                        let mut rung = pin!(bell.notified());
                        // From here on it is heard.
                        rung.as_mut().enable();
                        let before = {
                            let kept = lock(&self.0);
                            let is_under_way =
                                kept.reading.as_ref().is_some_and(|now| Arc::ptr_eq(now, &bell));
                            is_under_way.then_some(kept.up_to)
                        };
                        if let Some(before) = before {
                            rung.await;
                            if lock(&self.0).up_to <= before {
                                // It has failed. Whoever waits finds out why.
                                break;
                            }
                        }
                    }
                }
            }
        }
        let mut entries = store.read(Query::added(after), page).await?;
        // What the store does not call readable yet may still get others before it.
        entries.truncate(entries.partition_point(|entry| entry.meta.added <= end));
        Ok(entries)
    }

    /// Has the events of an append come here as soon as they are kept, if its store shows them.
    pub(super) fn fed_by(&self, append: Append<E>) -> Append<E> {
        let kept = Arc::clone(&self.0);
        append.on_kept(move |entries| {
            let let_go = lock(&kept).add(entries);
            // Whatever is done as an event is dropped, nobody waits for it with the lock.
            drop(let_go);
        })
    }

    fn source(
        &self,
        store: &Arc<dyn Store<E>>,
        after: Added,
        log_end: &End,
        end: Added,
        page: Page,
    ) -> Source<E> {
        let mut kept = lock(&self.0);
        kept.catch_up(log_end);
        let ahead = after.value().saturating_sub(kept.up_to.value());
        if ahead > PAGE.events as u64 && kept.reading.is_none() {
            // Nobody has read what lies between.
            kept.begin_at(after);
        }
        if after < kept.after || after > end {
            return Source::Store;
        }
        if end <= kept.up_to {
            return Source::Kept(kept.between(after, end, page));
        }
        if after < kept.up_to {
            let entries = kept.between(after, end, page);
            if page.is_filled_by(&entries) {
                return Source::Kept(entries);
            }
        }
        let up_to = kept.up_to;
        let bell = kept.reading.get_or_insert_with(|| {
            let bell = Arc::new(Notify::new());
            let (ends, store) =
                (Ends { kept: Arc::clone(&self.0), bell: Arc::clone(&bell) }, store);
            rt::spawn(read(Arc::clone(store), up_to, end, ends));
            bell
        });
        Source::Reading(Arc::clone(bell))
    }
}

/// Reads what comes after a position, in a task of its own: whoever waits for it may go. `end`: all up to there
/// can be read.
async fn read<E: Event>(store: Arc<dyn Store<E>>, up_to: Added, end: Added, ends: Ends<E>) {
    let log_end = store.end();
    let changes = log_end.changes();
    match store.read(Query::added(up_to), PAGE).await {
        Ok(entries) => {
            let mut kept = lock(&ends.kept);
            kept.catch_up(&log_end);
            let let_go = kept.extend(entries, changes, end, &log_end);
            drop(kept);
            drop(let_go);
        }
        Err(error) => tracing::debug!(%error, "the next events were not read"),
    }
}

/// What an entry is taken for.
fn size<E>(entry: &Entry<E>) -> usize {
    if entry.size() == 0 { UNKNOWN_SIZE } else { entry.size().max(MIN_SIZE) }
}

/// Nothing panics while the lock is held.
fn lock<E>(kept: &Mutex<Kept<E>>) -> MutexGuard<'_, Kept<E>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> Kept<E> {
    /// A page of what is kept after a position and up to the end, beyond which nothing is shown yet.
    fn between(&mut self, after: Added, end: Added, page: Page) -> Entries<E> {
        self.unread = 0;
        let start = self.entries.partition_point(|entry| entry.meta.added <= after);
        let entries = self.entries.range(start..).take_while(|entry| entry.meta.added <= end);
        page.take(entries.cloned(), |entry| entry.size())
    }

    /// These events were added, those of them that there are. They are kept if they come right after what is here, and
    /// somebody reads. Answers what is let go for them.
    fn add(&mut self, entries: &[Option<Arc<Entry<E>>>]) -> Entries<E> {
        for entry in entries.iter().flatten() {
            if entry.meta.added != self.up_to.plus(1) || self.unread >= MAX_UNREAD {
                // What is not here is read.
                break;
            }
            self.unread += size(entry);
            self.push(Arc::clone(entry));
        }
        self.shrink()
    }

    fn push(&mut self, entry: Arc<Entry<E>>) {
        self.up_to = entry.meta.added;
        self.bytes += size(&entry);
        self.entries.push_back(entry);
    }

    fn shrink(&mut self) -> Entries<E> {
        let mut let_go = Vec::new();
        while self.bytes > MAX_BYTES
            && let Some(first) = self.entries.pop_front()
        {
            self.after = first.meta.added;
            self.bytes -= size(&first);
            let_go.push(first);
        }
        let_go
    }

    /// Keeps only what comes after this position.
    fn begin_at(&mut self, position: Added) {
        (self.after, self.up_to, self.bytes) = (position, position, 0);
        self.entries.clear();
    }

    /// Lets go what was changed since it was read.
    fn catch_up(&mut self, log_end: &End) {
        if log_end.changes() == self.changes {
            return;
        }
        let (changed, changes) = log_end.changes_since(self.changes);
        self.changes = changes;
        let Some(changed) = changed else { return self.begin_at(self.up_to) };
        for (added, effect) in changed {
            if added <= self.after || added > self.up_to {
                continue;
            }
            if effect == Effect::Edited {
                // What comes after it is as it was.
                self.let_go_up_to(added);
                continue;
            }
            if let Ok(place) = self.entries.binary_search_by_key(&added, |entry| entry.meta.added)
                && let Some(gone) = self.entries.remove(place)
            {
                self.bytes -= size(&gone);
            }
        }
    }

    fn let_go_up_to(&mut self, position: Added) {
        self.after = self.after.max(position);
        while self.entries.front().is_some_and(|first| first.meta.added <= position)
            && let Some(first) = self.entries.pop_front()
        {
            self.bytes -= size(&first);
        }
    }

    /// What comes next is read: all up to this end, or a full page of it. When reading began there had been so many
    /// changes of events. Answers what is let go.
    fn extend(
        &mut self,
        mut entries: Entries<E>,
        changes: u64,
        end: Added,
        log_end: &End,
    ) -> Entries<E> {
        self.unread = 0;
        let is_all = !PAGE.is_filled_by(&entries);
        if log_end.changes() != changes {
            let (Some(changed), _) = log_end.changes_since(changes) else { return entries };
            let up_to = entries.last().map_or(self.up_to, |last| last.meta.added);
            for (added, effect) in changed {
                if effect == Effect::Edited && added > self.up_to && added <= up_to {
                    // Whoever waits reads it anew.
                    return entries;
                }
                entries.retain(|entry| entry.meta.added != added || effect == Effect::Edited);
            }
        }
        entries.truncate(entries.partition_point(|entry| entry.meta.added <= end));
        for entry in entries {
            // Others may have been added meanwhile.
            if entry.meta.added > self.up_to {
                self.push(entry);
            }
        }
        if is_all {
            self.up_to = self.up_to.max(end);
        }
        self.shrink()
    }
}

impl<E> Drop for Ends<E> {
    fn drop(&mut self) {
        lock(&self.kept).reading = None;
        self.bell.notify_waiters();
    }
}

impl<E> Clone for Tail<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> fmt::Debug for Tail<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use logux_codecs::{EventId, Timestamp};

    use super::*;
    use crate::entry::Meta;

    fn entry(position: u64) -> Arc<Entry<u64>> {
        let id = EventId::new(Timestamp::new(position).unwrap(), "node".parse().unwrap());
        let meta = Meta { added: Added::ZERO.plus(position), ..Meta::new(id) };
        Arc::new(Entry::new(position, meta))
    }

    /// What a tail shows from its beginning, as long as it need not ask the store.
    fn shown(tail: &Tail<u64>, log_end: &End) -> Option<Vec<u64>> {
        let mut kept = lock(&tail.0);
        kept.catch_up(log_end);
        let end = log_end.get();
        let after = kept.after;
        let entries = (end <= kept.up_to).then(|| kept.between(after, end, PAGE))?;
        Some(entries.iter().map(|entry| entry.event).collect())
    }

    fn add(tail: &Tail<u64>, positions: std::ops::RangeInclusive<u64>) {
        let entries: Vec<_> = positions.map(|position| Some(entry(position))).collect();
        lock(&tail.0).add(&entries);
    }

    #[test]
    fn what_is_added_is_shown_once_the_log_ends_behind_it() {
        let end = End::new(Added::ZERO);
        let tail = Tail::new(&end);
        add(&tail, 1..=3);
        assert_eq!(shown(&tail, &end).unwrap(), [] as [u64; 0]);
        end.advance(Added::ZERO.plus(2));
        assert_eq!(shown(&tail, &end).unwrap(), [1, 2]);
        // By the same commit, one is gone.
        add(&tail, 4..=6);
        end.changed(&[(Added::ZERO.plus(5), Effect::Cleaned)]);
        end.advance(Added::ZERO.plus(6));
        assert_eq!(shown(&tail, &end).unwrap(), [1, 2, 3, 4, 6]);
    }

    /// Nobody reads for a while, and little is kept; then everything is shown again.
    #[test]
    fn what_nobody_reads_is_read_from_the_store() {
        let end = End::new(Added::ZERO);
        let tail = Tail::new(&end);
        let last = 2 * (MAX_UNREAD / UNKNOWN_SIZE) as u64;
        for position in 1..=last {
            add(&tail, position..=position);
            end.advance(Added::ZERO.plus(position));
        }
        let (bytes, up_to) = {
            let kept = lock(&tail.0);
            (kept.bytes, kept.up_to)
        };
        assert_eq!((bytes, shown(&tail, &end)), (MAX_UNREAD, None));
        let read = (up_to.value() + 1..=last).map(entry).collect();
        lock(&tail.0).extend(read, end.changes(), end.get(), &end);
        add(&tail, last + 1..=last + 1);
        end.advance(Added::ZERO.plus(last + 1));
        assert!(shown(&tail, &end).unwrap().into_iter().eq(1..=last + 1));
    }

    #[test]
    fn what_does_not_come_right_after_the_last_is_read() {
        let end = End::new(Added::ZERO);
        let tail = Tail::new(&end);
        add(&tail, 1..=1);
        add(&tail, 3..=4);
        end.advance(Added::ZERO.plus(4));
        assert_eq!(shown(&tail, &end), None);
        let read = (2..=4).map(entry).collect();
        lock(&tail.0).extend(read, end.changes(), end.get(), &end);
        add(&tail, 5..=5);
        end.advance(Added::ZERO.plus(5));
        assert_eq!(shown(&tail, &end).unwrap(), [1, 2, 3, 4, 5]);
        // A reading that began before.
        let read = (4..=5).map(entry).collect();
        lock(&tail.0).extend(read, end.changes(), end.get(), &end);
        assert_eq!(shown(&tail, &end).unwrap(), [1, 2, 3, 4, 5]);
    }
}
