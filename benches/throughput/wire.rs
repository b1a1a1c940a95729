//! What events cost on the wire.

use logux_benches::Counter;
use logux_sync::codecs::{Message, Sync, WireId, WireMeta};
use logux_sync::{Added, Codec, Json, Rare, Timestamp};

/// What an event costs on the wire, in batches of so many.
pub(crate) fn bytes_per_event(batch: u32) -> f64 {
    let time = |offset: u32| Timestamp::new(1_790_000_000_000 + u64::from(offset));
    let entry = |n: u32| {
        let id = WireId::Absolute { time: time(n).expect("a time"), author: None };
        let meta = WireMeta { id, time: i64::from(n), subprotocol: None, extra: Rare::default() };
        (Counter::Inc { value: 1 }, meta)
    };
    let entries = (0..batch).map(entry).collect();
    let mut frame = Vec::new();
    let added = Added::new(u64::from(batch)).expect("a position");
    Json.encode(&Message::Sync(Sync { added, entries }), &mut frame).expect("encoded");
    f64::from(u32::try_from(frame.len()).expect("a small frame")) / f64::from(batch)
}
