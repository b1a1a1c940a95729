//! How an event is kept in a row of the database.

use logux_codecs::{Added, Counter, EventId, Extra, Subprotocol, Timestamp};
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::entry::Meta;
use crate::store::query::Label;

/// What is read of each event.
pub(super) const COLUMNS: &str =
    "e.added, n.name, e.id_time, e.id_counter, e.time, s.name, e.event, e.meta";

/// The names of the nodes of events. Events come first: `CROSS JOIN` keeps SQLite from beginning with the few
/// nodes, and sorting all of their events.
pub(super) const NODES: &str =
    "CROSS JOIN node n ON n.number = e.node LEFT JOIN node s ON s.number = e.source";

/// An event as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// As JSON.
    pub(super) event: String,
    pub(super) meta: Meta,
    /// How long its texts are.
    pub(super) bytes: usize,
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
    subprotocol: Option<Subprotocol>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    extra: Extra,
}

/// What of an event's meta has no column of its own, as JSON; `None` if that is nothing.
pub(super) fn rest_of(meta: &Meta) -> rusqlite::Result<Option<String>> {
    let rest = Rest {
        reasons: meta.reasons.clone(),
        indexes: meta.indexes.clone(),
        subprotocol: meta.subprotocol,
        extra: meta.extra.clone(),
    };
    if rest == Rest::default() {
        return Ok(None);
    }
    let json = serde_json::to_string(&rest);
    json.map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Reads a row of [`COLUMNS`].
pub(super) fn written(row: &Row<'_>) -> rusqlite::Result<Written> {
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

/// Positions, times and counters are safe integers of JavaScript.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn position(number: i64) -> Added {
    Added::ZERO.plus(u64::try_from(number).unwrap_or_default())
}

pub(super) fn timestamp(number: i64) -> Option<Timestamp> {
    u64::try_from(number).ok().and_then(Timestamp::new)
}

/// A label's place in the table of words: its kind, and its text.
pub(super) fn word(label: &Label) -> (i64, &str) {
    match label {
        Label::Reason(text) => (0, text),
        Label::Index(text) => (1, text),
    }
}
