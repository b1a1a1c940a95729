//! How an event is kept in a row of the database.

use logux_codecs::{Added, Counter, EventId, Extra, Subprotocol, Timestamp};
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::entry::Meta;
use crate::store::query::Label;

/// What is read of each event: its meta, and then the event itself.
pub(super) const COLUMNS: &str =
    "e.added, n.name, e.id_time, e.id_counter, e.time, s.name, e.meta, e.event";

/// What its meta is read from.
pub(super) const META: &str = "e.added, n.name, e.id_time, e.id_counter, e.time, s.name, e.meta";

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
#[derive(Default, Serialize, Deserialize)]
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
    let Meta { reasons, indexes, subprotocol, extra, .. } = meta;
    if reasons.is_empty() && indexes.is_empty() && subprotocol.is_none() && extra.is_empty() {
        return Ok(None);
    }
    let rest = Rest {
        reasons: reasons.to_vec(),
        indexes: indexes.to_vec(),
        subprotocol: *subprotocol,
        extra: Extra::clone(extra),
    };
    let json = serde_json::to_string(&rest);
    json.map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Reads a row of [`COLUMNS`].
pub(super) fn written(row: &Row<'_>) -> rusqlite::Result<Written> {
    let meta = meta(row)?;
    let event: String = row.get(7)?;
    let bytes = event.len() + row.get_ref(6)?.as_str_or_null()?.map_or(0, str::len);
    Ok(Written { event, meta, bytes })
}

/// Reads a row of [`META`], or of [`COLUMNS`].
pub(super) fn meta(row: &Row<'_>) -> rusqlite::Result<Meta> {
    let added = position(row.get(0)?);
    let damaged = |column: usize, what: &str| {
        let what = format!("the event at position {added} is damaged: its row has {what}");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let node = |column: usize, text: &str| text.parse().map_err(|_| damaged(column, "no node id"));
    let time =
        |column: usize| timestamp(row.get(column)?).ok_or_else(|| damaged(column, "no time"));
    let counter = u64::try_from(row.get::<_, i64>(3)?)
        .ok()
        .and_then(Counter::new)
        .ok_or_else(|| damaged(3, "no counter"))?;
    let id = EventId::with_counter(time(2)?, node(1, row.get_ref(1)?.as_str()?)?, counter);
    let source = row.get_ref(5)?.as_str_or_null()?.map(|text| node(5, text)).transpose()?;
    let rest = row.get_ref(6)?.as_str_or_null()?.map(serde_json::from_str::<Rest>).transpose();
    let Rest { reasons, indexes, subprotocol, extra } =
        rest.map_err(|_| damaged(6, "no meta that can be read"))?.unwrap_or_default();
    Ok(Meta {
        added,
        time: time(4)?,
        source,
        reasons: reasons.into(),
        indexes: indexes.into(),
        subprotocol,
        extra: extra.into(),
        ..Meta::new(id)
    })
}

/// Whether a row was found that cannot be read, while the database itself works.
pub(super) fn is_of_a_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
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
