//! Ready-made answers for [`in_filter`](crate::SyncOptions::in_filter) and
//! [`out_filter`](crate::SyncOptions::out_filter).
//!
//! ```
//! use logux_sync::{SyncOptions, Value, filters};
//!
//! let options = SyncOptions::<Value>::new()
//!     .in_filter(filters::own_events())
//!     .out_filter(filters::of_types(["todo/add", "todo/remove"]));
//! ```

use std::collections::HashSet;
use std::future::{Ready, ready};
use std::sync::Arc;

use logux_codecs::{Event, Value};

use super::callbacks::CallbackError;
use super::peer::Peer;
use crate::entry::Entry;

/// What a filter answers.
type Answer = Ready<Result<bool, CallbackError>>;

/// Only events that the peer's own node created: as an `in_filter`, nobody can speak for others.
/// Not for a peer that passes on what it got from other nodes.
pub fn own_events<E>() -> impl Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer + Send + Sync + 'static {
    |entry, peer| ready(Ok(*entry.meta.id.node() == peer.node_id))
}

/// Only events that the peer's own node did not create: as an `out_filter` in a mesh, nobody is sent
/// what it made itself over a third node. Nodes that lose their logs then get their own events back
/// only from the peers that they sent them to.
pub fn foreign_events<E>() -> impl Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer + Send + Sync + 'static {
    |entry, peer| ready(Ok(*entry.meta.id.node() != peer.node_id))
}

/// Only events of these types: those with one of these texts under `type`. Writes each event as a
/// value to look at it; a `match` on the event in a filter of one's own is cheaper.
pub fn of_types<E: Event>(
    types: impl IntoIterator<Item = impl Into<String>>,
) -> impl Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer + Send + Sync + 'static {
    let types: HashSet<String> = types.into_iter().map(Into::into).collect();
    move |entry, _| {
        let found = serde_json::to_value(&entry.event).map_err(CallbackError::from);
        ready(found.map(|event| {
            event.get("type").and_then(Value::as_str).is_some_and(|found| types.contains(found))
        }))
    }
}

/// Only events that have one of these indexes in this log, for an `out_filter`: indexes do not
/// travel. A server of many clients says so by [`out_indexes`](crate::SyncOptions::out_indexes), which wakes only
/// the sessions that an event is for.
pub fn with_index<E>(
    indexes: impl IntoIterator<Item = impl Into<String>>,
) -> impl Fn(Arc<Entry<E>>, Arc<Peer>) -> Answer + Send + Sync + 'static {
    let indexes: HashSet<String> = indexes.into_iter().map(Into::into).collect();
    move |entry, _| ready(Ok(entry.meta.indexes.iter().any(|index| indexes.contains(index))))
}
