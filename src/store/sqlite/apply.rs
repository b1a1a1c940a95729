//! What a transaction does to the rows.

use std::collections::HashSet;

use logux_codecs::{Added, EventId, NodeId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use super::engine::{Engine, Node};
use super::row::{COLUMNS, NODES, Written, number, position, rest_of, word, written};
use crate::entry::{Created, Meta};
use crate::store::append::IfKnown;
use crate::store::change::{Change, Effect, Forget, Which};
use crate::store::ids::Standing;
use crate::store::query::Label;
use crate::store::record::RecordChange;

/// An append as it is kept.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) events: Vec<Written>,
    pub(super) if_known: IfKnown,
    pub(super) changes: Vec<Change>,
    pub(super) records: Vec<RecordChange>,
    pub(super) forget: Option<Forget>,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// For each event its position, or `None` where it was not added.
    pub(super) positions: Vec<Option<Added>>,
    /// Of those that were not added, the ids of events that are gone.
    pub(super) gone: Vec<EventId>,
    /// Of those that were not added, the ids that may be forgotten ones.
    pub(super) too_old: Vec<EventId>,
    pub(super) changed: Vec<(Added, Effect)>,
    /// The events that are gone by it, as they were.
    pub(super) cleaned: Vec<Written>,
}

impl Transaction {
    pub(super) fn of_records(records: Vec<RecordChange>) -> Self {
        Self {
            events: Vec::new(),
            if_known: IfKnown::LeaveOut,
            changes: Vec::new(),
            records,
            forget: None,
        }
    }
}

impl Made {
    fn leave_out(&mut self, id: &EventId, standing: Standing) {
        match standing {
            Standing::New | Standing::Known(_) => {}
            Standing::Gone => self.gone.push(id.clone()),
            Standing::TooOld => self.too_old.push(id.clone()),
        }
    }
}

impl Engine {
    pub(super) fn apply(&mut self, transaction: &Transaction) -> rusqlite::Result<Made> {
        let Transaction { events, if_known, changes, records, forget } = transaction;
        let mut made = Made::default();
        if *if_known == IfKnown::AddNone && !self.are_all_new(events)? {
            for Written { meta, .. } in events {
                let standing = self.standing(&meta.id)?;
                made.leave_out(&meta.id, standing);
                made.positions.push(None);
            }
            return Ok(made);
        }
        for Written { event, meta, .. } in events {
            let added = self.insert(event, meta, &mut made)?;
            made.positions.push(added);
        }
        for change in changes {
            self.change(change, &mut made)?;
        }
        for change in records {
            self.change_record(change)?;
        }
        if let Some(forget) = forget {
            self.forget(*forget)?;
        }
        Ok(made)
    }

    /// Whether the ids of all these are new, and differ.
    fn are_all_new(&mut self, events: &[Written]) -> rusqlite::Result<bool> {
        let mut seen = HashSet::new();
        for Written { meta, .. } in events {
            if self.standing(&meta.id)? != Standing::New || !seen.insert(&meta.id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn standing(&mut self, id: &EventId) -> rusqlite::Result<Standing> {
        let time = number(id.time().value());
        let node = match self.known_node(id.node())? {
            Some(node) if node.last_time >= Some(time) => node.number,
            // Nearly always: no forgotten time is later than the last one.
            _ => return Ok(Standing::New),
        };
        let sql = "SELECT (SELECT added FROM event WHERE node = ?1 AND id_time = ?2 AND id_counter = ?3), \
             coalesce((SELECT forgotten FROM node WHERE number = ?1) >= ?2, false), \
             EXISTS (SELECT 1 FROM gone WHERE node = ?1 AND id_time = ?2 AND id_counter = ?3)";
        let standing = |row: &Row<'_>| {
            if let Some(added) = row.get(0)? {
                return Ok(Standing::Known(position(added).value()));
            }
            Ok(match (row.get(1)?, row.get(2)?) {
                (true, _) => Standing::TooOld,
                (false, true) => Standing::Gone,
                (false, false) => Standing::New,
            })
        };
        let id = params![node, time, number(id.counter().value())];
        self.connection.prepare_cached(sql)?.query_row(id, standing)
    }

    /// Adds an event, unless its id is known.
    fn insert(
        &mut self,
        event: &str,
        meta: &Meta,
        made: &mut Made,
    ) -> rusqlite::Result<Option<Added>> {
        let standing = self.standing(&meta.id)?;
        if standing != Standing::New {
            made.leave_out(&meta.id, standing);
            return Ok(None);
        }
        let node = self.node(meta.id.node())?;
        let source = meta.source.as_ref().map(|source| self.node(source)).transpose()?;
        let added = self.totals.last_added + 1;
        let id_time = number(meta.id.time().value());
        let insert = "INSERT INTO event (added, node, id_time, id_counter, time, source, event, meta) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.connection.prepare_cached(insert)?.execute(params![
            added,
            node,
            id_time,
            number(meta.id.counter().value()),
            number(meta.time.value()),
            source,
            event,
            rest_of(meta)?,
        ])?;
        self.totals.last_added = added;
        self.totals.events += 1;
        if !meta.reasons.is_empty() || !meta.indexes.is_empty() {
            for label in Label::all_of(meta) {
                self.add_label(&label, added, meta.time)?;
            }
        }
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

    fn change(&mut self, change: &Change, made: &mut Made) -> rusqlite::Result<()> {
        let positions = match &change.events {
            Which::At(positions) => positions.iter().map(|added| number(added.value())).collect(),
            Which::Before { reason, newest } => self.before(reason, newest)?,
        };
        for position in positions {
            let Some(event) = self.event_at(position)? else { continue };
            let mut meta = event.meta.clone();
            let effect = change.edit.apply(&mut meta);
            match effect {
                Effect::Nothing => continue,
                Effect::Edited => self.edit(position, &event.meta, &meta)?,
                Effect::Cleaned => self.clean(position, &event.meta)?,
            }
            made.changed.push((event.meta.added, effect));
            if effect == Effect::Cleaned {
                made.cleaned.push(event);
            }
        }
        Ok(())
    }

    /// The positions of the events with this reason that were created before one which is there.
    fn before(&mut self, reason: &str, newest: &Created) -> rusqlite::Result<Vec<i64>> {
        if !matches!(self.standing(&newest.id)?, Standing::Known(_)) {
            return Ok(Vec::new());
        }
        let Created { time, id } = newest;
        let (kind, text) = (REASON, reason);
        let newest = params![
            kind,
            text,
            number(time.value()),
            id.node().as_str(),
            number(id.counter().value()),
            number(id.time().value())
        ];
        let mut statement = self.connection.prepare_cached(BEFORE)?;
        statement.query_map(newest, |row| row.get(0))?.collect()
    }

    fn event_at(&self, position: i64) -> rusqlite::Result<Option<Written>> {
        let sql = format!("SELECT {COLUMNS} FROM event e {NODES} WHERE e.added = ?");
        self.connection.prepare_cached(&sql)?.query_row([position], written).optional()
    }

    /// Gives an event another meta: other reasons, or other extra keys.
    fn edit(&self, added: i64, before: &Meta, after: &Meta) -> rusqlite::Result<()> {
        let update = "UPDATE event SET meta = ? WHERE added = ?";
        self.connection.prepare_cached(update)?.execute(params![rest_of(after)?, added])?;
        if after.reasons == before.reasons {
            return Ok(());
        }
        for label in Label::all_of(after).filter(|label| !label.is_of(before)) {
            self.add_label(&label, added, after.time)?;
        }
        for label in Label::all_of(before).filter(|label| !label.is_of(after)) {
            self.remove_label(&label, added)?;
        }
        Ok(())
    }

    /// Removes an event, and remembers its id, unless that is of a time that is forgotten.
    fn clean(&mut self, added: i64, meta: &Meta) -> rusqlite::Result<()> {
        let delete = "DELETE FROM event WHERE added = ?";
        self.connection.prepare_cached(delete)?.execute([added])?;
        self.totals.events -= 1;
        for label in Label::all_of(meta) {
            self.remove_label(&label, added)?;
        }
        let insert = "INSERT INTO gone (node, id_time, id_counter) SELECT number, ?2, ?3 FROM node \
                      WHERE name = ?1 AND coalesce(forgotten < ?2, true)";
        let (id, time) = (&meta.id, number(meta.id.time().value()));
        let id = params![id.node().as_str(), time, number(id.counter().value())];
        let inserted = self.connection.prepare_cached(insert)?.execute(id)?;
        self.totals.gone += i64::from(inserted > 0);
        Ok(())
    }

    fn add_label(&self, label: &Label, added: i64, time: Timestamp) -> rusqlite::Result<()> {
        let (kind, text) = word(label);
        let insert = "INSERT INTO word (kind, text) VALUES (?, ?) ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(insert)?.execute(params![kind, text])?;
        // An event may name a reason twice.
        let insert = "INSERT INTO label (word, added, time) \
                      SELECT number, ?, ? FROM word WHERE kind = ? AND text = ? \
                      ON CONFLICT DO NOTHING";
        let time = number(time.value());
        self.connection.prepare_cached(insert)?.execute(params![added, time, kind, text])?;
        Ok(())
    }

    /// Takes a label from an event, and forgets its word with the last one.
    fn remove_label(&self, label: &Label, added: i64) -> rusqlite::Result<()> {
        let find = "SELECT number FROM word WHERE kind = ? AND text = ?";
        let mut find = self.connection.prepare_cached(find)?;
        let word: Option<i64> = find.query_row(word(label), |row| row.get(0)).optional()?;
        let Some(word) = word else { return Ok(()) };
        let delete = "DELETE FROM label WHERE word = ? AND added = ?";
        self.connection.prepare_cached(delete)?.execute([word, added])?;
        let delete = "DELETE FROM word WHERE number = ?1 \
                      AND NOT EXISTS (SELECT 1 FROM label WHERE word = ?1)";
        self.connection.prepare_cached(delete)?.execute([word])?;
        Ok(())
    }

    fn change_record(&self, change: &RecordChange) -> rusqlite::Result<()> {
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

    /// Forgets ids of events that are gone.
    fn forget(&mut self, Forget { before, at_most }: Forget) -> rusqlite::Result<()> {
        // The first id that stays.
        let mut stays = (number(before.value()), i64::MIN, i64::MIN);
        let surplus = self.totals.gone.saturating_sub(number(at_most as u64));
        if surplus > 0 {
            let sql = "SELECT id_time, node, id_counter FROM gone \
                       ORDER BY id_time, node, id_counter LIMIT 1 OFFSET ?";
            let id = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let first = self.connection.prepare_cached(sql)?.query_row([surplus], id).optional()?;
            stays = stays.max(first.unwrap_or((i64::MAX, i64::MAX, i64::MAX)));
        }
        let forgotten: Vec<(i64, i64)> = self
            .connection
            .prepare_cached(FORGOTTEN)?
            .query_map(stays, |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if forgotten.is_empty() {
            return Ok(());
        }
        for (node, time) in forgotten {
            let update =
                "UPDATE node SET forgotten = max(coalesce(forgotten, 0), ?) WHERE number = ?";
            self.connection.prepare_cached(update)?.execute([time, node])?;
        }
        let deleted = self.connection.prepare_cached(FORGET)?.execute(stays)?;
        self.totals.gone -= number(deleted as u64);
        Ok(())
    }
}

/// The kind of the words that are reasons: see [`word`].
const REASON: i64 = 0;

/// The events with a reason that were created before another one.
pub(super) const BEFORE: &str = "
SELECT l.added
FROM label l INDEXED BY label_created CROSS JOIN event e ON e.added = l.added
    CROSS JOIN node n ON n.number = e.node
WHERE l.word = (SELECT number FROM word WHERE kind = ?1 AND text = ?2) AND l.time <= ?3
    AND (l.time, n.name, e.id_counter, e.id_time) < (?3, ?4, ?5, ?6)
ORDER BY l.time, n.name, e.id_counter, e.id_time
";

/// The nodes of the ids before one, and the last of their times.
pub(super) const FORGOTTEN: &str = "
SELECT node, max(id_time) FROM gone INDEXED BY gone_time
WHERE (id_time, node, id_counter) < (?, ?, ?) GROUP BY node
";

pub(super) const FORGET: &str = "
DELETE FROM gone INDEXED BY gone_time WHERE (id_time, node, id_counter) < (?, ?, ?)
";
