//! What a transaction does to the rows.

use std::collections::{BTreeMap, HashSet};

use logux_codecs::{Added, EventId, NodeId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::engine::{Engine, Node};
use super::row::{
    COLUMNS, META, NODES, Written, is_of_a_row, meta, number, position, rest_of, word, written,
};
use crate::entry::Meta;
use crate::store::append::IfKnown;
use crate::store::change::{Change, Edit, Effect, Forget, Which};
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
    pub(super) shows_cleaned: bool,
}

/// So many ids are forgotten at once, at most: what else is to be written waits meanwhile.
const FORGOTTEN_AT_ONCE: usize = 1_000;

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
    /// The events that are gone by it, as they were, if the transaction shows them.
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
            shows_cleaned: false,
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
        let Transaction { events, if_known, changes, records, forget, shows_cleaned } = transaction;
        let mut made = Made::default();
        if *if_known == IfKnown::AddNone && !self.are_all_new(events)? {
            for Written { meta, .. } in events {
                let standing = self.standing(&meta.id)?;
                made.leave_out(&meta.id, standing);
                made.positions.push(None);
            }
            return Ok(made);
        }
        let mut risen = BTreeMap::new();
        for Written { event, meta, .. } in events {
            let added = self.insert(event, meta, &mut made, &mut risen)?;
            made.positions.push(added);
        }
        for (node, last_time) in risen {
            let update = "UPDATE node SET last_time = ? WHERE number = ?";
            self.connection.prepare_cached(update)?.execute([last_time, node])?;
        }
        for change in changes {
            self.change(change, *shows_cleaned, &mut made)?;
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
        standing(&self.connection, node, id)
    }

    /// Adds an event, unless its id is known. Notes which nodes have later last times now, and which.
    fn insert(
        &mut self,
        event: &str,
        meta: &Meta,
        made: &mut Made,
        risen: &mut BTreeMap<i64, i64>,
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
            risen.insert(node, id_time);
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

    fn change(
        &mut self,
        change: &Change,
        shows_cleaned: bool,
        made: &mut Made,
    ) -> rusqlite::Result<()> {
        let Change { events, edit } = change;
        let positions = match events {
            Which::At(positions) => positions.iter().map(|added| number(added.value())).collect(),
            Which::Ids(ids) => {
                let mut positions = Vec::with_capacity(ids.len());
                for id in ids {
                    if let Standing::Known(added) = self.standing(id)? {
                        positions.push(number(added));
                    }
                }
                positions
            }
            Which::Before { reason, newest } => self.before(reason, newest)?,
        };
        for added in positions {
            let before = match self.meta_at(added) {
                Ok(Some(meta)) => Some(meta),
                Ok(None) => continue,
                // An event that is damaged can still be cleaned.
                Err(error) if *edit == Edit::Clean && is_of_a_row(&error) => None,
                Err(error) => return Err(error),
            };
            let mut after = before.clone();
            let effect = after.as_mut().map_or(Effect::Cleaned, |meta| edit.apply(meta));
            match (effect, &before, &after) {
                (Effect::Nothing, ..) => continue,
                (Effect::Edited, Some(before), Some(after)) => self.edit(added, before, after)?,
                (_, before, _) => {
                    if shows_cleaned {
                        made.cleaned.extend(self.event_at(added)?);
                    }
                    self.clean(added, before.as_ref())?;
                }
            }
            made.changed.push((position(added), effect));
        }
        Ok(())
    }

    /// The positions of the events with this reason that were created before one which is there.
    fn before(&mut self, reason: &str, newest: &EventId) -> rusqlite::Result<Vec<i64>> {
        let Standing::Known(added) = self.standing(newest)? else { return Ok(Vec::new()) };
        // As the log has it: the same event may have come again with another time.
        let time = "SELECT time FROM event WHERE added = ?";
        let mut time = self.connection.prepare_cached(time)?;
        let time: i64 = time.query_row([number(added)], |row| row.get(0))?;
        let newest = params![
            REASON,
            reason,
            time,
            newest.node().as_str(),
            number(newest.counter().value()),
            number(newest.time().value())
        ];
        let mut statement = self.connection.prepare_cached(BEFORE)?;
        statement.query_map(newest, |row| row.get(0))?.collect()
    }

    fn meta_at(&self, added: i64) -> rusqlite::Result<Option<Meta>> {
        let sql = format!("SELECT {META} FROM event e {NODES} WHERE e.added = ?");
        self.connection.prepare_cached(&sql)?.query_row([added], meta).optional()
    }

    /// An event as it is; `None` for one that cannot be read, too.
    fn event_at(&self, added: i64) -> rusqlite::Result<Option<Written>> {
        let sql = format!("SELECT {COLUMNS} FROM event e {NODES} WHERE e.added = ?");
        match self.connection.prepare_cached(&sql)?.query_row([added], written).optional() {
            Err(error) if is_of_a_row(&error) => Ok(None),
            read => read,
        }
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

    /// Removes an event, and remembers its id, unless that is of a time that is forgotten. Its meta may be damaged.
    fn clean(&mut self, added: i64, meta: Option<&Meta>) -> rusqlite::Result<()> {
        let insert = "INSERT INTO gone (node, id_time, id_counter) \
                      SELECT e.node, e.id_time, e.id_counter \
                      FROM event e CROSS JOIN node n ON n.number = e.node \
                      WHERE e.added = ? AND coalesce(n.forgotten < e.id_time, true)";
        let inserted = self.connection.prepare_cached(insert)?.execute([added])?;
        self.totals.gone += i64::from(inserted > 0);
        let delete = "DELETE FROM event WHERE added = ?";
        self.connection.prepare_cached(delete)?.execute([added])?;
        self.totals.events -= 1;
        let Some(meta) = meta else { return self.remove_labels(added) };
        for label in Label::all_of(meta) {
            self.remove_label(&label, added)?;
        }
        Ok(())
    }

    /// Takes all labels from an event whose meta does not tell them: a search among those of all events.
    fn remove_labels(&self, added: i64) -> rusqlite::Result<()> {
        let find = "SELECT word FROM label WHERE added = ?";
        let mut find = self.connection.prepare_cached(find)?;
        let words = find.query_map([added], |row| row.get(0))?;
        for word in words.collect::<rusqlite::Result<Vec<i64>>>()? {
            self.remove_word(word, added)?;
        }
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

    fn remove_label(&self, label: &Label, added: i64) -> rusqlite::Result<()> {
        let find = "SELECT number FROM word WHERE kind = ? AND text = ?";
        let mut find = self.connection.prepare_cached(find)?;
        let word: Option<i64> = find.query_row(word(label), |row| row.get(0)).optional()?;
        word.map_or(Ok(()), |word| self.remove_word(word, added))
    }

    /// Takes a label from an event, and forgets its word with the last one.
    fn remove_word(&self, word: i64, added: i64) -> rusqlite::Result<()> {
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

    /// Forgets ids of events that are gone, the oldest first.
    fn forget(&mut self, Forget { before, at_most }: Forget) -> rusqlite::Result<()> {
        let before = number(before.value());
        let surplus = self.totals.gone.saturating_sub(number(at_most as u64));
        let surplus = usize::try_from(surplus).unwrap_or_default();
        let mut oldest = self.connection.prepare_cached(OLDEST_GONE)?;
        let mut oldest = oldest.query([number(FORGOTTEN_AT_ONCE as u64)])?;
        let (mut last, mut times, mut count) = (None, BTreeMap::new(), 0);
        while let Some(row) = oldest.next()? {
            let (time, node, counter): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if time >= before && count >= surplus {
                break;
            }
            count += 1;
            last = Some((time, node, counter));
            // They come in the order of their times.
            times.insert(node, time);
        }
        drop(oldest);
        let Some(last) = last else { return Ok(()) };
        for (node, time) in times {
            let update =
                "UPDATE node SET forgotten = max(coalesce(forgotten, 0), ?) WHERE number = ?";
            self.connection.prepare_cached(update)?.execute([time, node])?;
        }
        let deleted = self.connection.prepare_cached(FORGET)?.execute(last)?;
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

pub(super) const OLDEST_GONE: &str = "
SELECT id_time, node, id_counter FROM gone INDEXED BY gone_time
ORDER BY id_time, node, id_counter LIMIT ?
";

pub(super) const FORGET: &str = "
DELETE FROM gone INDEXED BY gone_time WHERE (id_time, node, id_counter) <= (?, ?, ?)
";

/// What is known of an id of the node with this number.
pub(super) fn standing(
    connection: &Connection,
    node: i64,
    id: &EventId,
) -> rusqlite::Result<Standing> {
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
    let id = params![node, number(id.time().value()), number(id.counter().value())];
    connection.prepare_cached(sql)?.query_row(id, standing)
}
