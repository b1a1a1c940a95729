//! A log in an SQLite database: durable, in one file that any tool reads.
//!
//! - `engine`: the schema, and the connection that writes; `apply`: what an append does to the rows;
//! - `reader`: what is read, and how; `row`: how an event is kept;
//! - `database`: a database that is open, and what of it is not written yet; `file`: that nobody else opens it;
//! - `writer`: the thread that writes, with group commit; `reply`: what it tells of an append; `checkpoint`: when it moves the write-ahead log;
//! - [`OpenError`]: why a database was not opened.

mod apply;
mod checkpoint;
mod database;
mod engine;
mod error;
mod file;
mod reader;
mod reply;
mod row;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use logux_codecs::{Event, EventId, NodeId, Timestamp, shown};

use apply::Transaction;
use database::Database;
pub use error::OpenError;
use reader::Reader;
use reply::AppendReply;
use row::Written;

use super::append::{Answer, Append, Stored};
use super::change::{Change, Edit, Which};
use super::contract::{Store, StoreError};
use super::end::End;
use super::query::{IdState, Page, Query};
use super::record::{Key, Prefix, RecordChange};
use crate::entry::Entry;

/// Keeps a log in an SQLite database. What was answered survives the end of the process and the loss of power.
///
/// One program writes at a time, which a lock file beside the database sees to; others may read meanwhile, as a
/// shell or a backup does. All that is submitted while one commit runs is the next commit.
///
/// ```
/// use logux_sync::{Added, Log, SqliteStore, Value};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("logux-sqlite-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("log.db");
/// let log = Log::<Value>::open("server".parse()?, SqliteStore::open(&path)?).await?;
/// log.add(serde_json::json!({ "type": "hello" })).await?;
/// drop(log);
///
/// let log = Log::<Value>::open("server".parse()?, SqliteStore::open(&path)?).await?;
/// assert_eq!(log.entries_after(Added::ZERO, 10).await?.len(), 1);
/// # drop(log);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
///
/// What is cleaned is overwritten in the file, and in the write-ahead log once nothing was written for a second. SQLite
/// may leave a copy in unused space where it had moved a row from page to page; `VACUUM`, by any tool, removes those.
///
/// Dropping the last handle of its log writes what is left and waits for that, as long as the disk takes.
pub struct SqliteStore {
    database: Database,
}

impl SqliteStore {
    /// Opens the database at a path, and makes it if it is not there. Its folder must be there.
    ///
    /// Blocks for as long as the disk takes: milliseconds, also for a large log.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(path.as_ref())? })
    }

    /// Looks through the whole database for damage, and returns what was found, for a person to read: at most 100
    /// findings, and none if the database is sound.
    ///
    /// Takes as long as the disk takes to read the file, also if the future is dropped before it is ready. The log
    /// can be used meanwhile; what is written until then stays in the write-ahead log.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.database.read(|reader| reader.check(100)).await
    }
}

#[async_trait]
impl<E: Event> Store<E> for SqliteStore {
    fn submit(&self, append: Append<E>) -> Answer<E> {
        let (append, room, on_kept) = append.into_parts();
        let Append { entries, if_known, changes, records, forget, shows_cleaned, may_wait, .. } =
            append;
        let is_of_records = entries.is_empty() && changes.is_empty() && forget.is_none();
        if may_wait && is_of_records && records.iter().all(rises) {
            let numbers = records.into_iter().filter_map(|change| match change {
                RecordChange::Raise(key, to) => Some((key, to)),
                _ => None,
            });
            self.database.let_wait(numbers);
            return Answer::ready(Ok(Stored::default()));
        }
        let mut events = Vec::with_capacity(entries.len());
        for entry in &entries {
            // In this thread: the one that writes has enough to do.
            match serde_json::to_string(&entry.event) {
                Ok(event) => {
                    let bytes = event.len().max(entry.size());
                    events.push(Written { event, meta: entry.meta.clone(), bytes });
                }
                Err(error) => return Answer::ready(Err(StoreError::new(error))),
            }
        }
        let texts = records.iter().map(|change| match change {
            RecordChange::Put(_, text) | RecordChange::PutNew(_, text) => text.len(),
            RecordChange::Raise(..) | RecordChange::Remove(_) => 0,
        });
        let texts = texts.chain(changes.iter().map(size));
        let bytes = events.iter().map(|written| written.bytes).chain(texts).sum();
        let transaction = Transaction { events, if_known, changes, records, forget, shows_cleaned };
        let (reply, answer) = AppendReply::new(entries, on_kept, room);
        self.database.submit(transaction, bytes, reply);
        answer
    }

    fn end(&self) -> Arc<End> {
        Arc::clone(self.database.end())
    }

    fn shows_what_it_keeps(&self) -> bool {
        true
    }

    async fn read(&self, query: Query, page: Page) -> Result<Vec<Arc<Entry<E>>>, StoreError> {
        let read = self.database.read(move |reader| reader.read(&query, page)).await?;
        read.into_iter().map(to_entry).collect()
    }

    async fn by_ids(&self, ids: &[EventId]) -> Result<Vec<Option<Arc<Entry<E>>>>, StoreError> {
        let ids = ids.to_vec();
        let read = move |reader: &Reader| ids.iter().map(|id| reader.by_id(id)).collect();
        let found: Vec<Option<Written>> = self.database.read(read).await?;
        found.into_iter().map(|written| written.map(to_entry).transpose()).collect()
    }

    async fn id_states(&self, ids: &[EventId]) -> Result<Vec<IdState>, StoreError> {
        let ids = ids.to_vec();
        let read = move |reader: &Reader| ids.iter().map(|id| reader.id_state(id)).collect();
        self.database.read(read).await
    }

    async fn last_time(&self, node: &NodeId) -> Result<Option<Timestamp>, StoreError> {
        let node = node.clone();
        self.database.read(move |reader| reader.last_time(&node)).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.database.read(Reader::count).await
    }

    async fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> Result<Vec<(Key, String)>, StoreError> {
        self.database.records(prefix, after, at_most).await
    }
}

/// Whether a change only raises a number, so that a later one says all.
fn rises(change: &RecordChange) -> bool {
    matches!(change, RecordChange::Raise(..))
}

/// About how many bytes a change says.
fn size(Change { events, edit }: &Change) -> usize {
    let which = match events {
        Which::At(positions) => size_of_val(&**positions),
        Which::Ids(ids) => {
            ids.iter().map(|id| id.node().as_str().len() + size_of::<EventId>()).sum()
        }
        Which::Before { reason, .. } => reason.len(),
    };
    let edit = match edit {
        Edit::AddReasons(reasons) | Edit::RemoveReasons(reasons) | Edit::SetReasons(reasons) => {
            reasons.iter().map(String::len).sum()
        }
        Edit::SetExtra(key, value) => {
            key.len() + value.as_ref().map_or(0, |value| value.to_string().len())
        }
        Edit::Clean | Edit::CleanUnreasoned => 0,
    };
    which + edit
}

fn to_entry<E: Event>(written: Written) -> Result<Arc<Entry<E>>, StoreError> {
    let Written { event, meta, bytes } = written;
    match serde_json::from_str(&event) {
        Ok(event) => Ok(Arc::new(Entry::new(event, meta).sized(bytes))),
        Err(error) => {
            let (id, added, error) = (meta.id, meta.added, shown(&error.to_string()));
            Err(StoreError::new(format!(
                "the event {id} at position {added} cannot be read as one of this program: {error}; open the log \
                 with the type that wrote it, or with Open of yours"
            )))
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("end", self.database.end()).finish_non_exhaustive()
    }
}
