//! Sessions that are only sent events with certain indexes: one task of the log looks at what is added, so that
//! nobody else is woken by it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_core::future::BoxFuture;
use logux_codecs::{Added, Event};
use logux_transports::rt::{self, Instant, sleep_until};
use tokio::sync::Notify;

use super::tail::Tail;
use crate::store::{End, Page, Store};

/// So late the others learn that the log has grown: their cursors follow it, and they need not look through all
/// of it when something for them comes.
const LATER: Duration = Duration::from_secs(1);

/// How much is looked at at once.
const PAGE: Page = Page::new(256);

/// The sessions of a log that are interested in some events only.
#[derive(Clone, Default)]
pub(super) struct Interests(Arc<Shared>);

#[derive(Default)]
struct Shared {
    sessions: Mutex<Sessions>,
    /// Rings when the last one has gone.
    alone: Notify,
    /// Rings when nobody looks at what is added any more.
    abandoned: Notify,
}

#[derive(Default)]
struct Sessions {
    /// By number.
    ends: HashMap<u64, Arc<End>>,
    /// The numbers of the sessions that are interested in an index.
    by_index: HashMap<String, BTreeSet<u64>>,
    last: u64,
    /// A task looks at what is added.
    is_looked_at: bool,
}

/// What one session is interested in, until it is dropped.
pub(crate) struct Interest {
    interests: Interests,
    number: u64,
    indexes: HashSet<String>,
    /// Those of them that count only for events above a position.
    late: HashMap<String, Added>,
    /// Moved by the task that looks at what is added.
    end: Arc<End>,
    log_end: Arc<End>,
}

impl Interests {
    /// A session is interested in events with one of these indexes.
    pub(super) fn register<E: Event>(
        &self,
        indexes: HashSet<String>,
        late: HashMap<String, Added>,
        store: &Arc<dyn Store<E>>,
        tail: &Tail<E>,
    ) -> Interest {
        let log_end = store.end();
        let end = Arc::new(End::default());
        let mut sessions = self.sessions();
        sessions.last += 1;
        let number = sessions.last;
        sessions.ends.insert(number, Arc::clone(&end));
        for index in &indexes {
            sessions.by_index.entry(index.clone()).or_default().insert(number);
        }
        // What is added from here on, the task sees or finds the session.
        end.advance(log_end.get());
        // Where nobody can look, each session is woken by all that is added.
        if !sessions.is_looked_at && rt::can_spawn() {
            sessions.is_looked_at = true;
            let looking = Looking { interests: self.clone(), is_over: false };
            let (seen, end) = (log_end.get(), Arc::clone(&log_end));
            drop(sessions);
            rt::spawn(look(looking, Arc::clone(store), tail.clone(), end, seen));
        }
        Interest { interests: self.clone(), number, indexes, late, end, log_end }
    }

    /// Nothing panics while the lock is held.
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes sessions by what is added, as long as there are any.
async fn look<E: Event>(
    mut looking: Looking,
    store: Arc<dyn Store<E>>,
    tail: Tail<E>,
    log_end: Arc<End>,
    mut seen: Added,
) {
    let interests = looking.interests.clone();
    let mut all_learn_at: Option<Instant> = None;
    loop {
        let later = async {
            match all_learn_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            end = log_end.beyond(seen) => end,
            () = later => {
                all_learn_at = None;
                interests.sessions().wake_all(seen);
                continue;
            }
            () = interests.0.alone.notified() => {
                if looking.is_over() {
                    return;
                }
                continue;
            }
        };
        rt::consume_budget().await;
        let Ok(entries) = tail.read(&store, seen, PAGE).await else {
            // Each finds out for itself what is wrong with the store.
            seen = end;
            interests.sessions().wake_all(seen);
            continue;
        };
        // Where there is nothing more, the position need not be that of an event.
        seen = entries.last().map_or(end, |last| last.meta.added);
        let indexes = entries.iter().flat_map(|entry| entry.meta.indexes.iter());
        interests.sessions().wake(indexes, seen);
        all_learn_at = all_learn_at.or_else(|| Instant::now().checked_add(LATER));
    }
}

/// The task, until it ends: because nobody is left, with its runtime, or by a panic in a store.
struct Looking {
    interests: Interests,
    is_over: bool,
}

impl Looking {
    /// Whether nobody is interested any more. The next session then needs another task.
    fn is_over(&mut self) -> bool {
        let mut sessions = self.interests.sessions();
        self.is_over = sessions.ends.is_empty();
        sessions.is_looked_at = !self.is_over;
        self.is_over
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !self.is_over {
            self.interests.sessions().is_looked_at = false;
            // From now on they look for themselves.
            self.interests.0.abandoned.notify_waiters();
        }
    }
}

impl Sessions {
    fn wake<'i>(&self, indexes: impl Iterator<Item = &'i String>, seen: Added) {
        let numbers: BTreeSet<u64> =
            indexes.filter_map(|index| self.by_index.get(index)).flatten().copied().collect();
        for end in numbers.iter().filter_map(|number| self.ends.get(number)) {
            end.advance(seen);
        }
    }

    fn wake_all(&self, seen: Added) {
        for end in self.ends.values() {
            if end.get() < seen {
                end.advance(seen);
            }
        }
    }
}

impl Interest {
    /// Waits until the log ends beyond a position, as far as this session has to know, and answers where.
    /// Cancel-safe.
    ///
    /// Boxed: few sessions wait like this, and all would have room and code for it.
    pub(crate) fn beyond(&self, position: Added) -> BoxFuture<'_, Added> {
        Box::pin(async move {
            loop {
                let mut abandoned = pin!(self.interests.0.abandoned.notified());
                // From here on it is heard.
                abandoned.as_mut().enable();
                let is_looked_at = self.interests.sessions().is_looked_at;
                if !is_looked_at {
                    return self.log_end.beyond(position).await;
                }
                tokio::select! {
                    end = self.end.beyond(position) => return end,
                    () = abandoned => {}
                }
            }
        })
    }

    /// What the session is interested in.
    pub(crate) const fn indexes(&self) -> &HashSet<String> {
        &self.indexes
    }

    /// Whether the session may be sent an event with these indexes at this position.
    pub(crate) fn is_in(&self, indexes: &[String], added: Added) -> bool {
        let is_late = |index| self.late.get(index).is_some_and(|after| added <= *after);
        indexes.iter().any(|index| self.indexes.contains(index) && !is_late(index))
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut sessions = self.interests.sessions();
        sessions.ends.remove(&self.number);
        for index in &self.indexes {
            if let Some(numbers) = sessions.by_index.get_mut(index) {
                numbers.remove(&self.number);
                if numbers.is_empty() {
                    sessions.by_index.remove(index);
                }
            }
        }
        if sessions.ends.is_empty() {
            self.interests.0.alone.notify_one();
        }
    }
}

impl fmt::Debug for Interests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interests").finish_non_exhaustive()
    }
}
