//! What is read, by connections that only read.

use std::path::Path;

use logux_codecs::{EventId, NodeId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::apply::standing;
use super::engine::{READ, settings};
use super::row::{COLUMNS, NODES, Written, number, timestamp, word, written};
use crate::store::query::{IdState, Order, Page, Query};
use crate::store::record::{Key, Prefix};

/// A connection that only reads.
pub(super) struct Reader(Connection);

impl Reader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, READ)?;
        settings(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        Ok(Self(connection))
    }

    pub(super) fn read(&self, query: &Query, page: Page) -> rusqlite::Result<Vec<Written>> {
        let Query { order, label, newest_first } = query;
        let start = if *newest_first { i64::MAX } else { -1 };
        let after = match order {
            Order::Added(after) => after.map_or(start, |after| number(after.value())),
            Order::Created(after) => {
                after.as_ref().map_or(start, |after| number(after.time.value()))
            }
        };
        // Where there is none, no event is of the time.
        let id = match order {
            Order::Created(after) => after.as_ref().map(|after| &after.id),
            Order::Added(_) => None,
        };
        let (kind, text) = label.as_ref().map_or((0, ""), word);
        let mut statement = self.0.prepare_cached(&sql_of(query))?;
        let mut rows = statement.query(params![
            after,
            id.map_or("", |id| id.node().as_str()),
            id.map_or(0, |id| number(id.counter().value())),
            id.map_or(0, |id| number(id.time().value())),
            kind,
            text,
            number(page.events as u64)
        ])?;
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
            "SELECT {COLUMNS} FROM event e {NODES} \
             WHERE e.node = (SELECT number FROM node WHERE name = ?) \
             AND e.id_time = ? AND e.id_counter = ?"
        );
        let values =
            params![id.node().as_str(), number(id.time().value()), number(id.counter().value())];
        self.0.prepare_cached(&sql)?.query_row(values, written).optional()
    }

    pub(super) fn id_state(&self, id: &EventId) -> rusqlite::Result<IdState> {
        let sql = "SELECT number FROM node WHERE name = ?";
        let node = self.0.prepare_cached(sql)?.query_row([id.node().as_str()], |row| row.get(0));
        let Some(node) = node.optional()? else { return Ok(IdState::New) };
        Ok(standing(&self.0, node, id)?.into())
    }

    pub(super) fn last_time(&self, node: &NodeId) -> rusqlite::Result<Option<Timestamp>> {
        let sql = "SELECT last_time FROM node WHERE name = ?";
        let time = self.0.prepare_cached(sql)?.query_row([node.as_str()], |row| row.get(0));
        let time: Option<Option<i64>> = time.optional()?;
        Ok(time.flatten().and_then(timestamp))
    }

    /// What is wrong with the database: at most so many findings.
    pub(super) fn check(&self, at_most: usize) -> rusqlite::Result<Vec<String>> {
        let mut check = self.0.prepare(&format!("PRAGMA integrity_check({at_most})"))?;
        let findings = check.query_map([], |row| row.get(0))?;
        let mut found: Vec<String> = findings.collect::<Result<_, _>>()?;
        found.retain(|finding| finding != "ok");
        // Where a page is damaged, there may be nothing to count.
        match self.miscounted() {
            Ok(wrong) => found.extend(wrong),
            Err(error) => found.push(error.to_string()),
        }
        found.truncate(at_most);
        Ok(found)
    }

    /// What the log says of itself, and is not so.
    fn miscounted(&self) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT log.events, (SELECT count(*) FROM event), log.gone, (SELECT count(*) FROM gone), \
                   log.last_added, (SELECT coalesce(max(added), 0) FROM event) FROM log";
        let counts = self.0.query_row(sql, [], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
        })?;
        let [said, events, said_gone, gone, last, highest]: [i64; 6] = counts;
        let mut wrong = Vec::new();
        if said != events {
            wrong.push(format!("it says that it has {said} events, and has {events}"));
        }
        if said_gone != gone {
            wrong.push(format!("it says that it remembers {said_gone} ids, and has {gone}"));
        }
        if highest > last {
            wrong.push(format!("an event has the position {highest}, after the last one, {last}"));
        }
        Ok(wrong)
    }

    pub(super) fn count(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT events FROM log";
        let count: i64 = self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The first records whose keys begin so and come after this one, and how many transactions there were before
    /// this was read.
    pub(super) fn records(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        at_most: usize,
    ) -> rusqlite::Result<(Vec<(Key, String)>, i64)> {
        let transaction = self.0.unchecked_transaction()?;
        let commits = transaction.query_row("SELECT commits FROM log", [], |row| row.get(0))?;
        let after = after.map(Key::as_str).filter(|after| *after >= prefix.as_str());
        let is_after = if after.is_some() { ">" } else { ">=" };
        let sql =
            format!("SELECT key, value FROM record WHERE key {is_after} ? ORDER BY key LIMIT ?");
        let mut statement = transaction.prepare_cached(&sql)?;
        let from = after.unwrap_or(prefix.as_str());
        let mut rows = statement.query(params![from, number(at_most as u64)])?;
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

/// The statement of a query: `?1` to `?4` are the place to begin after, `?5` and `?6` the label, `?7` how many
/// events are read.
///
/// An index gives the order of times; only events of the same time are sorted.
fn sql_of(query: &Query) -> String {
    let Query { order, label, newest_first } = query;
    let (is_after, direction) = if *newest_first { ("<", "DESC") } else { (">", "ASC") };
    let (table, index, event, has_label) = match label {
        None => ("event e", "INDEXED BY event_created", "", "true"),
        Some(_) => (
            "label l",
            "INDEXED BY label_created",
            "CROSS JOIN event e ON e.added = l.added",
            "l.word = (SELECT number FROM word WHERE kind = ?5 AND text = ?6)",
        ),
    };
    // The table that is read in order.
    let t = if label.is_some() { "l" } else { "e" };
    match order {
        Order::Added(_) => format!(
            "SELECT {COLUMNS} FROM {table} {event} {NODES} \
             WHERE {has_label} AND {t}.added {is_after} ?1 ORDER BY {t}.added {direction} LIMIT ?7"
        ),
        Order::Created(_) => format!(
            "SELECT {COLUMNS} FROM {table} {index} {event} {NODES} \
             WHERE {has_label} AND {t}.time {is_after}= ?1 \
             AND ({t}.time, n.name, e.id_counter, e.id_time) {is_after} (?1, ?2, ?3, ?4) \
             ORDER BY {t}.time {direction}, n.name {direction}, e.id_counter {direction}, \
             e.id_time {direction} LIMIT ?7"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::apply::{BEFORE, FORGET, Made, OLDEST_GONE, Transaction};
    use super::super::engine::Engine;
    use super::*;
    use crate::entry::Meta;
    use crate::store::append::IfKnown;
    use crate::store::query::Label;

    fn filled(path: &Path) -> Engine {
        let mut engine = Engine::open(path).unwrap();
        let events = (1..=3_000).map(|n| {
            let time = Timestamp::new(n).unwrap();
            let node = format!("node{}", n % 7).parse().unwrap();
            let mut meta = Meta::new(EventId::new(time, node));
            meta.reasons.push(format!("reason{}", n % 50));
            meta.indexes.push("index".to_owned());
            Written { event: "{}".to_owned(), meta, bytes: 2 }
        });
        let transaction = Transaction {
            events: events.collect(),
            if_known: IfKnown::AddNone,
            ..Transaction::of_records(Vec::new())
        };
        let made: Made = engine.prepare(&[transaction]).unwrap().remove(0).unwrap();
        assert_eq!(made.positions.iter().flatten().count(), 3_000);
        engine.commit().unwrap();
        engine
    }

    /// How SQLite would do it, a line for each step.
    fn plan(engine: &Engine, sql: &str) -> String {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = engine.connection.prepare(&explain).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>(3).unwrap();
            plan.push('\n');
        }
        plan
    }

    #[test]
    fn pages_are_read_in_the_order_of_an_index() {
        let name = format!("logux-sync-plans-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let engine = filled(&folder.join("log.db"));
        for statistics in ["SELECT 1", "ANALYZE"] {
            engine.connection.execute_batch(statistics).unwrap();
            for (order, label, expected) in [
                (Order::Added(None), false, "SEARCH e USING INTEGER PRIMARY KEY (rowid"),
                (Order::Created(None), false, "SEARCH e USING INDEX event_created (time"),
                (Order::Added(None), true, "SEARCH l USING PRIMARY KEY (word=? AND added"),
                (Order::Created(None), true, "SEARCH l USING COVERING INDEX label_created (word="),
            ] {
                let is_created = matches!(order, Order::Created(_));
                let label = label.then(|| Label::Reason("reason7".to_owned()));
                let query = Query { order, label, newest_first: false };
                for query in [query.clone(), query.newest_first()] {
                    let plan = plan(&engine, &sql_of(&query));
                    assert!(plan.starts_with(expected), "{query:?}:\n{plan}");
                    assert!(!plan.contains("SCAN"), "{query:?}:\n{plan}");
                    // Only events of the same time are sorted.
                    let sorted = plan.lines().find(|line| line.contains("B-TREE"));
                    let expected = "USE TEMP B-TREE FOR LAST 3 TERMS OF ORDER BY";
                    assert_eq!(sorted, is_created.then_some(expected), "{query:?}:\n{plan}");
                }
            }
            for (sql, expected) in [
                (BEFORE, "SEARCH l USING COVERING INDEX label_created (word=? AND time<?)"),
                (FORGET, "SEARCH gone USING COVERING INDEX gone_time"),
            ] {
                let plan = plan(&engine, sql);
                assert!(plan.starts_with(expected) && !plan.contains("SCAN"), "{sql}:\n{plan}");
            }
            // From its beginning, as far as is asked for.
            let plan = plan(&engine, OLDEST_GONE);
            assert_eq!(plan, "SCAN gone USING COVERING INDEX gone_time\n");
        }
        engine.close().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
