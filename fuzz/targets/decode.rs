//! What holds for every decoder and any bytes.

use std::collections::BTreeMap;

use logux_sync::{Codec, Limits, Value};
use logux_sync::codecs::{Message};
use serde::{Deserialize, Serialize};

/// Types ask a reader for other things than values do.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "a")]
    A { number: u64, text: String, list: Vec<f32>, optional: Option<Box<Event>> },
    #[serde(rename = "b")]
    B(BTreeMap<i64, (bool, char)>),
    #[serde(other)]
    Unknown,
}

pub(crate) fn decode<C: Codec>(codec: &C, frame: &[u8]) {
    let limits = Limits::default();
    let _ = codec.decode::<Event>(frame, limits);
    let _ = codec.decode::<Vec<Option<u8>>>(frame, limits);
    let message: Message<Value> = match codec.decode(frame, limits) {
        Ok(message) => message,
        Err(_) => return,
    };
    if matches!(message, Message::Unknown(_)) {
        return;
    }
    // What is taken can be passed on, in all codecs, and stays what it is.
    let mut written = Vec::new();
    codec.encode(&message, &mut written).expect("what was read can be written");
    let back: Message<Value> = codec.decode(&written, limits).expect("what was written can be read");
    assert_eq!(back, message);
    written.clear();
    logux_sync::Json.encode(&message, &mut written).expect("what was read can be written in JSON");
    let back: Message<Value> =
        logux_sync::Json.decode(&written, limits).expect("what JSON was written can be read");
    assert_eq!(back, message);
}
