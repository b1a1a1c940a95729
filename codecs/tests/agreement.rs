//! An event means the same in every codec.
#![cfg(all(
    feature = "conformance",
    feature = "json",
    feature = "logux-binary",
    feature = "message-pack",
    feature = "xml"
))]

use logux_codecs::conformance::events;
use logux_codecs::{
    Added, Codec, Extra, Json, Limits, LoguxBinary, Message, MessagePack, Sync, Timestamp, Value,
    WireId, WireMeta, Xml,
};

fn through<C: Codec>(codec: &C, message: &Message<Value>, seed: u64) -> Message<Value> {
    let mut frame = Vec::new();
    let passed = codec
        .encode(message, &mut frame)
        .map_err(|error| error.to_string())
        .and_then(|()| codec.decode(&frame, Limits::default()).map_err(|error| error.to_string()));
    passed.unwrap_or_else(|error| panic!("seed {seed}, {}: {error}\n{message:?}", C::NAME))
}

#[test]
fn a_hundred_thousand_events_are_the_same_in_all_codecs() {
    for seed in 0..1_000 {
        let mut generated = events(seed);
        let entries = (0..100).map(|n: i64| {
            let extra = match generated.next() {
                Some(Value::Object(object)) if n % 10 == 0 => object,
                _ => Extra::new(),
            };
            let id = WireId::Absolute { time: Timestamp::ZERO, author: None };
            let meta = WireMeta { id, time: n, subprotocol: None, extra };
            (generated.next().unwrap_or_default(), meta)
        });
        let message = Message::Sync(Sync { added: Added::ZERO, entries: entries.collect() });
        let json = through(&Json, &message, seed);
        assert_eq!(json, message, "seed {seed}, json");
        assert_eq!(through(&MessagePack, &message, seed), json, "seed {seed}, message-pack");
        assert_eq!(through(&Xml, &message, seed), json, "seed {seed}, xml");
        // And over each other, as through a relay.
        let relayed = through(&Xml, &through(&MessagePack, &message, seed), seed);
        assert_eq!(relayed, message, "seed {seed}, message-pack and then xml");
        // Which carries no meta of the application.
        let mut bare = message;
        if let Message::Sync(sync) = &mut bare {
            sync.entries.iter_mut().for_each(|(_, meta)| meta.extra.clear());
        }
        let binary = through(&LoguxBinary::new(), &bare, seed);
        assert_eq!(binary, bare, "seed {seed}, logux-binary");
    }
}
