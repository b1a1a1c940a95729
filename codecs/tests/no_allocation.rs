//! Writing a message takes no memory but that of the frame.
#![cfg(feature = "conformance")]

use allocation_counter::measure;
use logux_codecs::conformance::messages;
use logux_codecs::{Codec, Json, Message, Value};
use serde::Serialize;

/// What `message` allocates on its way into a frame that has room for it.
fn allocations<C: Codec, E: Serialize>(codec: &C, message: &Message<E>) -> u64 {
    let mut frame = Vec::with_capacity(1 << 20);
    let used = measure(|| assert!(codec.encode(message, &mut frame).is_ok()));
    assert!(frame.len() < 1 << 20, "the frame had to grow");
    used.count_total
}

fn allocates_nothing<C: Codec>(codec: &C) {
    let messages: Vec<Message<Value>> = messages()
        .into_iter()
        // Errors are rare, and most are the last message of a connection: the options of one are
        // made when they are asked for.
        .filter(|message| !matches!(message, Message::Error(_)))
        .collect();
    assert!(messages.len() > 50);
    for message in &messages {
        assert_eq!(allocations(codec, message), 0, "{} writes {message:?}", C::NAME);
    }
}

#[test]
fn the_measure_sees_an_allocation() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn json_allocates_nothing() {
    allocates_nothing(&Json);
}

#[cfg(feature = "xml")]
#[test]
fn xml_allocates_nothing() {
    allocates_nothing(&logux_codecs::Xml);
}

#[cfg(feature = "message-pack")]
mod message_pack {
    use std::collections::BTreeMap;

    use logux_codecs::{Added, MessagePack, Rare, Sync, Timestamp, WireId, WireMeta};
    use serde::Serialize;

    use super::*;

    #[test]
    fn message_pack_allocates_nothing() {
        allocates_nothing(&MessagePack);
    }

    /// Nor where lengths are not known, keys are no texts, or texts are displayed.
    #[test]
    fn message_pack_allocates_nothing_for_what_it_has_to_put_right() {
        #[derive(Serialize)]
        struct Event {
            address: std::net::IpAddr,
            #[serde(flatten)]
            rest: BTreeMap<String, Value>,
            keys: BTreeMap<i64, Vec<f64>>,
            float: f64,
            short: [f32; 2],
        }

        let event = Event {
            address: "2001:db8::1234:5678:9abc".parse().unwrap(),
            rest: (0..300).map(|n| (n.to_string(), n.into())).collect(),
            keys: [(i64::MIN, vec![0.5, f64::NAN]), (7, vec![])].into(),
            float: 0.1,
            short: [0.1, f32::MIN_POSITIVE],
        };
        let meta = WireMeta {
            id: WireId::Absolute { time: Timestamp::ZERO, author: None },
            time: 0,
            subprotocol: None,
            extra: Rare::default(),
        };
        let sync = Sync { added: Added::ZERO, entries: vec![(event, meta)] };
        assert_eq!(allocations(&MessagePack, &Message::Sync(sync)), 0);
    }
}

/// Nor does measuring an event, which takes no frame.
#[test]
fn a_check_of_an_event_allocates_nothing() {
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Map(std::collections::BTreeMap<&'static str, u8>),
        Struct { z: u8, a: u8 },
    }

    let limits = logux_codecs::EventLimits::default();
    // Where another crate has turned on `serde_json/arbitrary_precision`.
    let numbers_are_texts = std::mem::needs_drop::<serde_json::Number>();
    let mut events = logux_codecs::conformance::events(3);
    for _ in 0..500 {
        let event = events.next().unwrap();
        let Some(Value::Object(extra)) = events.next() else { panic!("an event is an object") };
        let used = measure(|| assert!(limits.check(&event, &extra).is_ok()));
        // To read a number that `serde_json` holds as text can take memory.
        assert!(used.count_total == 0 || numbers_are_texts, "{event}");
    }
    // Nor where a map of keys that ascend lies behind a tag.
    let map = Tagged::Map([("a", 1), ("b", 2), ("z", 3)].into());
    for event in [map, Tagged::Struct { z: 1, a: 2 }] {
        let used = measure(|| assert!(limits.check(&event, &logux_codecs::Extra::new()).is_ok()));
        assert_eq!(used.count_total, 0);
    }
    let shown: (std::net::IpAddr, f32) = ("2001:db8::1234".parse().unwrap(), 0.1);
    let extra = logux_codecs::Extra::new();
    assert_eq!(measure(|| assert!(limits.check(&shown, &extra).is_ok())).count_total, 0);
}
