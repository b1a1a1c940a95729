//! The database, and the one connection that writes: no threads, no waiting, no events' types.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use logux_codecs::{Added, NodeId};
use rusqlite::{Connection, OpenFlags, Row, params};

use super::apply::{Made, Transaction};
use super::error::OpenError;
use super::row::{is_of_a_row, position};

/// `LGUX`: says whose database it is.
const APPLICATION: i32 = 0x4C47_5558;

/// Of the schema.
const VERSION: i32 = 1;

/// SQLite lost committed transactions before this version where two connections wrote and moved the log into the
/// database at once.
const SOUND_SQLITE: i32 = 3_051_003;

/// So many names of nodes are kept in memory, and those of one transaction.
const MAX_NODES: usize = 10_000;

/// So many free pages may stay in the file; of more, so many are given back at once: 1 MiB. That is done again and
/// again for so long.
const MAX_FREE: i64 = 1_000;
const FREED_AT_ONCE: i64 = 256;
const MAX_GIVING_BACK: Duration = Duration::from_millis(50);

/// A lock of another program is waited for so long.
const BUSY: Duration = Duration::from_secs(5);

/// The same, while nobody else can read.
pub(super) const MAX_BUSY: Duration = Duration::from_millis(200);

const SCHEMA: &str = "
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- How many transactions there were: what tells whether a commit that failed was made.
    commits INTEGER NOT NULL,
    -- The last position that was ever given.
    last_added INTEGER NOT NULL,
    -- How many rows `event` has, and `gone`.
    events INTEGER NOT NULL,
    gone INTEGER NOT NULL
) STRICT;
INSERT INTO log VALUES (1, 0, 0, 0, 0);
-- Names are long, and each event has one or two.
CREATE TABLE node (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- The largest time in the ids of its events, those that are gone among them.
    last_time INTEGER,
    -- Ids of its events that are gone are not remembered up to this time.
    forgotten INTEGER
) STRICT;
CREATE TABLE event (
    added INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,
    id_time INTEGER NOT NULL,
    id_counter INTEGER NOT NULL,
    time INTEGER NOT NULL,
    source INTEGER,
    event TEXT NOT NULL,
    meta TEXT
) STRICT;
CREATE UNIQUE INDEX event_id ON event (node, id_time, id_counter);
CREATE INDEX event_created ON event (time);
-- The ids of events that are gone.
CREATE TABLE gone (
    node INTEGER NOT NULL,
    id_time INTEGER NOT NULL,
    id_counter INTEGER NOT NULL,
    PRIMARY KEY (node, id_time, id_counter)
) STRICT, WITHOUT ROWID;
CREATE INDEX gone_time ON gone (id_time, node, id_counter);
-- The texts of labels: reasons (kind 0) and indexes (kind 1) that some event has.
CREATE TABLE word (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (kind, text)
) STRICT;
-- Which events have them; `time` is that of the event.
CREATE TABLE label (
    word INTEGER NOT NULL,
    added INTEGER NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (word, added)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_created ON label (word, time);
CREATE TABLE record (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- For people.
CREATE VIEW events AS
    SELECT event.added, node.name AS node, event.id_time, event.id_counter, event.time,
        source.name AS source, event.event, event.meta
    FROM event JOIN node ON node.number = event.node
        LEFT JOIN node AS source ON source.number = event.source;
";

pub(super) const READ: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const READ_AND_WRITE: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// What each transaction did, or the row that it could not read.
pub(super) type Prepared = Vec<Result<Made, rusqlite::Error>>;

/// The one connection that writes.
pub(super) struct Engine {
    pub(super) connection: Connection,
    pub(super) nodes: HashMap<NodeId, Node>,
    pub(super) totals: Totals,
    /// How many transactions there were.
    commits: i64,
}

pub(super) struct Node {
    pub(super) number: i64,
    pub(super) last_time: Option<i64>,
}

/// What each transaction writes anew, as it is after what was done in this one.
#[derive(Clone, Copy)]
pub(super) struct Totals {
    pub(super) last_added: i64,
    pub(super) events: i64,
    /// How many ids of events that are gone are remembered.
    pub(super) gone: i64,
}

impl Engine {
    /// Opens the database, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if rusqlite::version_number() < SOUND_SQLITE {
            return Err(OpenError::OldSqlite(rusqlite::version()));
        }
        if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            // A connection that only reads leaves a file as it is that is none of this library's.
            match whose(&Connection::open_with_flags(path, READ)?) {
                // The power was lost while the file was made: what was begun has to be taken back first.
                Ok(_) | Err(OpenError::ReadOnly) => {}
                Err(error) => return Err(error),
            }
        }
        Self::open_for_writing(path, READ_AND_WRITE | OpenFlags::SQLITE_OPEN_CREATE, true)
    }

    /// Opens the database anew after an error of a connection, and tells whether the last transaction that it
    /// began was made: `before` is how many there were before it. The file must be the same. That it
    /// stays so if the power is lost is up to the caller.
    pub(super) fn open_again(
        path: &Path,
        before: i64,
        last_added: Added,
    ) -> Result<(Self, bool), OpenError> {
        let engine = Self::open_for_writing(path, READ_AND_WRITE, false)?;
        let is_same = engine.last_added() >= last_added
            && (engine.commits == before || engine.commits == before + 1);
        if !is_same {
            return Err(OpenError::Replaced);
        }
        let is_made = engine.commits > before;
        Ok((engine, is_made))
    }

    fn open_for_writing(path: &Path, flags: OpenFlags, may_make: bool) -> Result<Self, OpenError> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        if connection.is_readonly("main")? {
            return Err(OpenError::ReadOnly);
        }
        let is_new = whose(&connection)? == Whose::Nobody;
        if is_new && !may_make {
            return Err(OpenError::Replaced);
        }
        if is_new {
            // Before the first table.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        settings(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" {
            return Err(OpenError::NoWal(mode));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        // On macOS nothing else reaches the disk.
        for name in ["fullfsync", "checkpoint_fullfsync"] {
            connection.pragma_update(None, name, true)?;
        }
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // Shorter than what begins a checkpoint, so that its length shows what is still to be moved.
        connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
        connection.pragma_update(None, "cache_size", -8192)?;
        // What was cleaned does not stay in the file.
        connection.pragma_update(None, "secure_delete", true)?;
        if is_new {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        let log = |row: &Row<'_>| {
            let totals = Totals { last_added: row.get(1)?, events: row.get(2)?, gone: row.get(3)? };
            Ok((row.get(0)?, totals))
        };
        let sql = "SELECT commits, last_added, events, gone FROM log";
        let (commits, totals) = connection.query_row(sql, [], log)?;
        Ok(Self { connection, nodes: HashMap::new(), totals, commits })
    }

    pub(super) fn last_added(&self) -> Added {
        position(self.totals.last_added)
    }

    /// How many transactions were made.
    pub(super) fn commits(&self) -> i64 {
        self.commits
    }

    /// Does all of these in one transaction, to be [committed](Self::commit), and answers what each one did; one that
    /// meets a row that cannot be read does nothing. After an error of all, this connection is of no use any more.
    pub(super) fn prepare(&mut self, transactions: &[Transaction]) -> rusqlite::Result<Prepared> {
        // Not in the middle of a transaction, in which a node must not be forgotten.
        if self.nodes.len() >= MAX_NODES {
            self.nodes.clear();
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut made = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            // Only a change reads what is there.
            made.push(if transaction.changes.is_empty() {
                Ok(self.apply(transaction)?)
            } else {
                self.apply_apart(transaction)?
            });
        }
        let Totals { last_added, events, gone } = self.totals;
        let update = "UPDATE log SET commits = ?1 + 1, last_added = ?2, events = ?3, gone = ?4 \
                      WHERE commits = ?1";
        let totals = params![self.commits, last_added, events, gone];
        if self.connection.prepare_cached(update)?.execute(totals)? == 0 {
            // Somebody else has written, whom the lock file does not keep out.
            return Err(rusqlite::Error::StatementChangedRows(0));
        }
        Ok(made)
    }

    /// Does one that can fail by itself.
    fn apply_apart(
        &mut self,
        transaction: &Transaction,
    ) -> rusqlite::Result<Result<Made, rusqlite::Error>> {
        let before = self.totals;
        self.connection.prepare_cached("SAVEPOINT apart")?.execute([])?;
        let made = self.apply(transaction);
        match &made {
            Ok(_) => {}
            Err(error) if is_of_a_row(error) => {
                self.connection.prepare_cached("ROLLBACK TO apart")?.execute([])?;
                self.totals = before;
                // Some of them may have been new.
                self.nodes.clear();
            }
            Err(_) => return made.map(Ok),
        }
        self.connection.prepare_cached("RELEASE apart")?.execute([])?;
        Ok(made)
    }

    /// Commits what was prepared. After an error this connection is of no use any more; whether it was committed
    /// is known by [`commits`](Self::commits) of the next one.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")?;
        self.commits += 1;
        Ok(())
    }

    /// Moves what was written from the write-ahead log into the database: `PASSIVE` as far as no reader needs the
    /// log, `TRUNCATE` all of it. `false` if readers stand in the way.
    pub(super) fn checkpoint(&self, mode: &str) -> rusqlite::Result<bool> {
        let is_busy = |row: &Row<'_>| row.get::<_, i64>(0);
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        Ok(self.connection.query_row(&pragma, [], is_busy)? == 0)
    }

    /// Moves all of the write-ahead log into the database. Waits so long for each that reads it or writes; `false` if
    /// that was not enough.
    pub(super) fn empty_log(&self, patience: Duration) -> rusqlite::Result<bool> {
        self.connection.busy_timeout(patience)?;
        let is_moved = self.checkpoint("TRUNCATE");
        self.connection.busy_timeout(BUSY)?;
        is_moved
    }

    /// Gives pages back that events have left which are gone, until there is something else to do. Waits for nobody;
    /// answers whether enough of them are given back.
    pub(super) fn give_back(&self, is_wanted: &mut dyn FnMut() -> bool) -> rusqlite::Result<bool> {
        self.connection.busy_timeout(Duration::ZERO)?;
        let is_enough = self.give_back_some(is_wanted);
        self.connection.busy_timeout(BUSY)?;
        is_enough
    }

    fn give_back_some(&self, is_wanted: &mut dyn FnMut() -> bool) -> rusqlite::Result<bool> {
        let start = Instant::now();
        let pragma = format!("PRAGMA incremental_vacuum({FREED_AT_ONCE})");
        let mut vacuum = self.connection.prepare_cached(&pragma)?;
        loop {
            let free: i64 =
                self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free <= MAX_FREE {
                return Ok(true);
            }
            if start.elapsed() >= MAX_GIVING_BACK || is_wanted() {
                return Ok(false);
            }
            let mut pages = vacuum.query([])?;
            // Each step is a page.
            while pages.next()?.is_some() {}
        }
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.checkpoint("TRUNCATE")?;
        self.connection.execute_batch("PRAGMA optimize")?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// What a database is.
#[derive(PartialEq)]
enum Whose {
    /// A log of this library's.
    Ours,
    /// It is empty.
    Nobody,
}

/// Whose a database is; an error if it is another program's, or that of a later version.
fn whose(connection: &Connection) -> Result<Whose, OpenError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    let (application, version): (i32, i32) = (number("application_id")?, number("user_version")?);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(Whose::Nobody),
        (APPLICATION, VERSION) => Ok(Whose::Ours),
        (APPLICATION, newer) => Err(OpenError::Newer(newer)),
        _ => Err(OpenError::NotALog),
    }
}

/// What holds for every connection.
pub(super) fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    for (name, value) in [
        ("foreign_keys", 0),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        // In memory.
        ("temp_store", 2),
        // An error of the disk must not end the process.
        ("mmap_size", 0),
    ] {
        connection.pragma_update(None, name, value)?;
    }
    Ok(())
}
