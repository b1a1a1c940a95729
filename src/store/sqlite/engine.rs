//! What is asked of SQLite, and how the answers are read: no threads, no waiting, no events' types.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use logux_codecs::{Added, Counter, EventId, NodeId, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::error::OpenError;
use crate::entry::{Created, Meta};
use crate::store::append::IfKnown;
use crate::store::query::{Page, Query};
use crate::store::record::{Key, Prefix, RecordChange};

/// `LGUX`: says whose database it is.
const APPLICATION: i32 = 0x4C47_5558;

/// Of the schema.
const VERSION: i32 = 1;

/// SQLite lost committed transactions before this version where two connections wrote and moved the log into the
/// database at once.
const SOUND_SQLITE: i32 = 3_051_003;

/// So many names of nodes are kept in memory, and those of one transaction.
const MAX_NODES: usize = 10_000;

const SCHEMA: &str = "
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- How many transactions there were: what tells whether a commit that failed was made.
    commits INTEGER NOT NULL
) STRICT;
INSERT INTO log VALUES (1, 0);
-- Names are long, and each event has one or two.
CREATE TABLE node (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- The largest time in the ids of its events, those that are gone among them.
    last_time INTEGER
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

const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const READ_AND_WRITE: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// What every reading of events begins with. Events come first: `CROSS JOIN` keeps SQLite from beginning with the
/// few nodes, and sorting all of their events.
const EVENTS: &str = "
SELECT e.added, n.name, e.id_time, e.id_counter, e.time, s.name, e.event, e.meta
FROM event e CROSS JOIN node n ON n.number = e.node LEFT JOIN node s ON s.number = e.source
";

/// An event as it is kept.
#[derive(Debug)]
pub(super) struct Written {
    /// As JSON.
    pub(super) event: String,
    pub(super) meta: Meta,
    /// How long its texts are.
    pub(super) bytes: usize,
}

/// An append as it is kept.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) events: Vec<Written>,
    pub(super) if_known: IfKnown,
    pub(super) records: Vec<RecordChange>,
}

impl Transaction {
    pub(super) fn of_records(records: Vec<RecordChange>) -> Self {
        Self { events: Vec::new(), if_known: IfKnown::LeaveOut, records }
    }
}

/// What of an event's meta has no column of its own.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subprotocol: Option<logux_codecs::Subprotocol>,
    #[serde(skip_serializing_if = "logux_codecs::Extra::is_empty")]
    extra: logux_codecs::Extra,
}

/// The one connection that writes.
pub(super) struct Engine {
    connection: Connection,
    nodes: HashMap<NodeId, Node>,
    last_added: i64,
    /// How many transactions there were.
    commits: i64,
}

struct Node {
    number: i64,
    last_time: Option<i64>,
}

/// The connections that only read.
pub(super) struct Reader(Connection);

impl Engine {
    /// Opens the database, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        if rusqlite::version_number() < SOUND_SQLITE {
            return Err(OpenError::OldSqlite(rusqlite::version()));
        }
        if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            // A connection that only reads leaves a file as it is that is none of this library's.
            whose(&Connection::open_with_flags(path, READ)?)?;
        }
        Self::open_for_writing(path, READ_AND_WRITE | OpenFlags::SQLITE_OPEN_CREATE, true)
    }

    /// Opens a database again that was there a moment ago.
    fn open_again(path: &Path) -> Result<Self, OpenError> {
        Self::open_for_writing(path, READ_AND_WRITE, false)
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
        if is_new {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
        }
        let last = "SELECT coalesce(max(added), 0) FROM event";
        let last_added = connection.query_row(last, [], |row| row.get(0))?;
        let commits = connection.query_row("SELECT commits FROM log", [], |row| row.get(0))?;
        Ok(Self { connection, nodes: HashMap::new(), last_added, commits })
    }

    /// Opens the database anew after an error of a connection, and tells whether the last transaction that it
    /// began was made: `before` is how many there were before it. In both cases that is so for ever when this
    /// returns. The file must be the same.
    pub(super) fn after_failure(
        path: &Path,
        before: i64,
        last_added: Added,
    ) -> Result<(Self, bool), OpenError> {
        let mut engine = Self::open_again(path)?;
        let is_same = engine.last_added() >= last_added
            && (engine.commits == before || engine.commits == before + 1);
        if !is_same {
            return Err(OpenError::Replaced);
        }
        let is_made = engine.commits > before;
        if is_made {
            // What was written may be in the system's memory only, although it can be read: it is written anew, to
            // the database itself.
            if !engine.checkpoint("TRUNCATE")? {
                return Err(OpenError::Unsure);
            }
        } else {
            // What was written, and not committed for this connection, could be for the next process: it is
            // overwritten.
            engine.prepare(&[])?;
            engine.commit()?;
        }
        Ok((engine, is_made))
    }

    pub(super) fn last_added(&self) -> Added {
        position(self.last_added)
    }

    /// How many transactions were made.
    pub(super) fn commits(&self) -> i64 {
        self.commits
    }

    /// Does all of these in one transaction, to be [committed](Self::commit), and answers the positions of each
    /// one's events. After an error this connection is of no use any more.
    pub(super) fn prepare(
        &mut self,
        transactions: &[Transaction],
    ) -> rusqlite::Result<Vec<Vec<Option<Added>>>> {
        // Not in the middle of a transaction, in which a node must not be forgotten.
        if self.nodes.len() >= MAX_NODES {
            self.nodes.clear();
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut positions = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            positions.push(self.apply(transaction)?);
        }
        let count = "UPDATE log SET commits = ?1 + 1 WHERE commits = ?1";
        if self.connection.prepare_cached(count)?.execute([self.commits])? == 0 {
            // Somebody else has written, whom the lock file does not keep out.
            return Err(rusqlite::Error::StatementChangedRows(0));
        }
        Ok(positions)
    }

    /// Commits what was prepared. After an error this connection is of no use any more; whether it was committed
    /// is known by [`commits`](Self::commits) of the next one.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")?;
        self.commits += 1;
        Ok(())
    }

    fn apply(&mut self, transaction: &Transaction) -> rusqlite::Result<Vec<Option<Added>>> {
        let Transaction { events, if_known, records } = transaction;
        if *if_known == IfKnown::AddNone && !self.are_all_new(events)? {
            return Ok(vec![None; events.len()]);
        }
        let mut positions = Vec::with_capacity(events.len());
        for Written { event, meta, .. } in events {
            positions.push(self.insert(event, meta)?);
        }
        for change in records {
            self.change(change)?;
        }
        Ok(positions)
    }

    /// Whether the ids of all these are new, and differ.
    fn are_all_new(&mut self, events: &[Written]) -> rusqlite::Result<bool> {
        let mut seen = HashSet::new();
        for Written { meta, .. } in events {
            let is_known = match self.known_node(meta.id.node())? {
                None => false,
                // Nearly always.
                Some(node) if node.last_time < Some(number(meta.id.time().value())) => false,
                Some(node) => {
                    let node = node.number;
                    let id = params![
                        node,
                        number(meta.id.time().value()),
                        number(meta.id.counter().value())
                    ];
                    let find =
                        "SELECT 1 FROM event WHERE node = ? AND id_time = ? AND id_counter = ?";
                    self.connection.prepare_cached(find)?.exists(id)?
                }
            };
            if is_known || !seen.insert(&meta.id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn insert(&mut self, event: &str, meta: &Meta) -> rusqlite::Result<Option<Added>> {
        let node = self.node(meta.id.node())?;
        let source = meta.source.as_ref().map(|source| self.node(source)).transpose()?;
        let rest = Rest {
            reasons: meta.reasons.clone(),
            indexes: meta.indexes.clone(),
            subprotocol: meta.subprotocol,
            extra: meta.extra.clone(),
        };
        let rest = (rest != Rest::default()).then(|| to_json(&rest)).transpose()?;
        let added = self.last_added + 1;
        let id_time = number(meta.id.time().value());
        let insert = "INSERT INTO event (added, node, id_time, id_counter, time, source, event, meta) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                      ON CONFLICT (node, id_time, id_counter) DO NOTHING";
        let inserted = self.connection.prepare_cached(insert)?.execute(params![
            added,
            node,
            id_time,
            number(meta.id.counter().value()),
            number(meta.time.value()),
            source,
            event,
            rest,
        ])?;
        if inserted == 0 {
            return Ok(None);
        }
        self.last_added = added;
        if let Some(known) = self.nodes.get_mut(meta.id.node())
            && known.last_time < Some(id_time)
        {
            known.last_time = Some(id_time);
            let update = "UPDATE node SET last_time = ? WHERE number = ?";
            self.connection.prepare_cached(update)?.execute([id_time, node])?;
        }
        Ok(Some(position(added)))
    }

    /// The number of a node, which gets one if it has none.
    fn node(&mut self, name: &NodeId) -> rusqlite::Result<i64> {
        if let Some(node) = self.known_node(name)? {
            return Ok(node.number);
        }
        let insert = "INSERT INTO node (name) VALUES (?)";
        self.connection.prepare_cached(insert)?.execute([name.as_str()])?;
        let number = self.connection.last_insert_rowid();
        self.nodes.insert(name.clone(), Node { number, last_time: None });
        Ok(number)
    }

    fn known_node(&mut self, name: &NodeId) -> rusqlite::Result<Option<&Node>> {
        if !self.nodes.contains_key(name) {
            let find = "SELECT number, last_time FROM node WHERE name = ?";
            let mut find = self.connection.prepare_cached(find)?;
            let node = |row: &Row<'_>| Ok(Node { number: row.get(0)?, last_time: row.get(1)? });
            if let Some(node) = find.query_row([name.as_str()], node).optional()? {
                self.nodes.insert(name.clone(), node);
            }
        }
        Ok(self.nodes.get(name))
    }

    fn change(&self, change: &RecordChange) -> rusqlite::Result<()> {
        let insert = "INSERT INTO record (key, value) VALUES (?, ?) ON CONFLICT (key) DO ";
        let (rest, value) = match change {
            RecordChange::Put(_, text) => ("UPDATE SET value = excluded.value", text.clone()),
            RecordChange::PutNew(_, text) => ("NOTHING", text.clone()),
            RecordChange::Raise(_, to) => {
                let larger = "UPDATE SET value = excluded.value \
                              WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)";
                (larger, to.to_string())
            }
            RecordChange::Remove(key) => {
                let delete = "DELETE FROM record WHERE key = ?";
                self.connection.prepare_cached(delete)?.execute([key.as_str()])?;
                return Ok(());
            }
        };
        let key = change.key().as_str();
        let mut insert = self.connection.prepare_cached(&format!("{insert}{rest}"))?;
        insert.execute([key, &value])?;
        Ok(())
    }

    /// Moves what was written from the write-ahead log into the database: `PASSIVE` as far as no reader needs the
    /// log, `TRUNCATE` all of it. `false` if readers stand in the way.
    pub(super) fn checkpoint(&self, mode: &str) -> rusqlite::Result<bool> {
        let is_busy = |row: &Row<'_>| row.get::<_, i64>(0);
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        Ok(self.connection.query_row(&pragma, [], is_busy)? == 0)
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.checkpoint("TRUNCATE")?;
        self.connection.execute_batch("PRAGMA optimize")?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, READ)?;
        settings(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        Ok(Self(connection))
    }

    pub(super) fn read(&self, query: &Query, page: Page) -> rusqlite::Result<Vec<Written>> {
        let limit = number(page.events as u64);
        match query {
            Query::Added(after) => {
                let sql = format!("{EVENTS} WHERE e.added > ? ORDER BY e.added LIMIT ?");
                self.events(&sql, params![number(after.value()), limit], page)
            }
            Query::Created(None) => {
                let order = "ORDER BY e.time, n.name, e.id_counter, e.id_time LIMIT ?";
                self.events(&format!("{EVENTS} {order}"), params![limit], page)
            }
            Query::Created(Some(Created { time, id })) => {
                let sql = format!(
                    "{EVENTS} WHERE e.time >= ?1 \
                     AND (e.time, n.name, e.id_counter, e.id_time) > (?1, ?2, ?3, ?4) \
                     ORDER BY e.time, n.name, e.id_counter, e.id_time LIMIT ?5"
                );
                let after = params![
                    number(time.value()),
                    id.node().as_str(),
                    number(id.counter().value()),
                    number(id.time().value()),
                    limit
                ];
                self.events(&sql, after, page)
            }
        }
    }

    fn events(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        page: Page,
    ) -> rusqlite::Result<Vec<Written>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.is_empty() || bytes < page.bytes {
            let Some(row) = rows.next()? else { break };
            let written = written(row)?;
            bytes += written.bytes;
            events.push(written);
        }
        Ok(events)
    }

    pub(super) fn by_id(&self, id: &EventId) -> rusqlite::Result<Option<Written>> {
        let sql = format!(
            "{EVENTS} WHERE e.node = (SELECT number FROM node WHERE name = ?) \
             AND e.id_time = ? AND e.id_counter = ?"
        );
        let values =
            params![id.node().as_str(), number(id.time().value()), number(id.counter().value())];
        self.0.prepare_cached(&sql)?.query_row(values, written).optional()
    }

    pub(super) fn last_time(&self, node: &NodeId) -> rusqlite::Result<Option<Timestamp>> {
        let sql = "SELECT last_time FROM node WHERE name = ?";
        let time = self.0.prepare_cached(sql)?.query_row([node.as_str()], |row| row.get(0));
        let time: Option<Option<i64>> = time.optional()?;
        Ok(time.flatten().and_then(timestamp))
    }

    /// The records whose keys begin so, and how many transactions there were before this was read.
    pub(super) fn records(&self, prefix: &Prefix) -> rusqlite::Result<(Vec<(Key, String)>, i64)> {
        let transaction = self.0.unchecked_transaction()?;
        let commits = transaction.query_row("SELECT commits FROM log", [], |row| row.get(0))?;
        let sql = "SELECT key, value FROM record WHERE key >= ? ORDER BY key";
        let mut statement = transaction.prepare_cached(sql)?;
        let mut rows = statement.query([prefix.as_str()])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_str()?;
            if !key.starts_with(prefix.as_str()) {
                break;
            }
            records.push((Key::new(key), row.get(1)?));
        }
        Ok((records, commits))
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
fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
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

fn written(row: &Row<'_>) -> rusqlite::Result<Written> {
    let damaged = |column: usize, what: &'static str| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let node =
        |column: usize, text: &str| text.parse().map_err(|_| damaged(column, "not a node id"));
    let time =
        |column: usize| timestamp(row.get(column)?).ok_or_else(|| damaged(column, "not a time"));
    let counter = u64::try_from(row.get::<_, i64>(3)?)
        .ok()
        .and_then(Counter::new)
        .ok_or_else(|| damaged(3, "not a counter"))?;
    let id = EventId::with_counter(time(2)?, node(1, row.get_ref(1)?.as_str()?)?, counter);
    let source = row.get_ref(5)?.as_str_or_null()?.map(|text| node(5, text)).transpose()?;
    let rest = row.get_ref(7)?.as_str_or_null()?;
    let bytes = rest.map_or(0, str::len) + row.get_ref(6)?.as_str()?.len();
    let rest = rest.map(serde_json::from_str::<Rest>).transpose();
    let Rest { reasons, indexes, subprotocol, extra } =
        rest.map_err(|_| damaged(7, "not the meta of an event"))?.unwrap_or_default();
    let added = position(row.get(0)?);
    let meta = Meta {
        added,
        time: time(4)?,
        source,
        reasons,
        indexes,
        subprotocol,
        extra,
        ..Meta::new(id)
    };
    Ok(Written { event: row.get(6)?, meta, bytes })
}

fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Positions, times and counters are safe integers of JavaScript.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn position(number: i64) -> Added {
    Added::ZERO.plus(u64::try_from(number).unwrap_or_default())
}

fn timestamp(number: i64) -> Option<Timestamp> {
    u64::try_from(number).ok().and_then(Timestamp::new)
}
