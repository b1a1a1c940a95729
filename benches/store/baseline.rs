//! What one would write without a log.

use std::hint::black_box;
use std::time::{Duration, Instant};

use logux_benches::Counter;
use rusqlite::{Connection, params};

use crate::bare_log::BareLog;
use crate::ours::Folder;

/// How many events are in a batch.
pub(crate) const BATCH: u64 = 100;

/// The same events in a log that is nothing else.
pub(crate) fn hash_map(events: u64) -> Duration {
    let start = Instant::now();
    let mut log = BareLog::default();
    for value in 0..events {
        log.insert(Counter::Inc { value }, 1_790_000_000_000 + value);
    }
    assert_eq!(black_box(log).len() as u64, events);
    start.elapsed()
}

/// The rows that a log has, in the transactions that it makes at full load.
pub(crate) fn inserts(events: u64) -> Duration {
    let folder = Folder::new();
    let mut connection = Connection::open(folder.file("rows.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE event (added INTEGER PRIMARY KEY, node INTEGER NOT NULL,
                id_time INTEGER NOT NULL, id_counter INTEGER NOT NULL, time INTEGER NOT NULL,
                source INTEGER, event TEXT NOT NULL, meta TEXT) STRICT;
             CREATE UNIQUE INDEX event_id ON event (node, id_time, id_counter);
             CREATE INDEX event_created ON event (time);",
        )
        .expect("a table");
    let start = Instant::now();
    let in_one = events_in_a_commit();
    for first in (0..events).step_by(usize::try_from(in_one).expect("a small number")) {
        let transaction = connection.transaction().expect("a transaction");
        let sql = "INSERT INTO event VALUES (?, 1, ?, 0, ?, 2, ?, NULL)";
        let mut insert = transaction.prepare_cached(sql).expect("a statement");
        for value in first..events.min(first + in_one) {
            let event = serde_json::to_string(&Counter::Inc { value }).expect("JSON");
            let time = i64::try_from(1_790_000_000_000 + value).expect("a small number");
            let added = i64::try_from(value + 1).expect("a small number");
            insert.execute(params![added, time, time, event]).expect("inserted");
        }
        drop(insert);
        transaction.commit().expect("committed");
    }
    start.elapsed()
}

/// How many events a commit has at full load, as the count of commits shows.
fn events_in_a_commit() -> u64 {
    *crate::ours::EVENTS_IN_A_COMMIT.get().unwrap_or(&1_000)
}
