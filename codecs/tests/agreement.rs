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
    Added, Codec, Extra, Headers, Json, Limits, LoguxBinary, Message, MessagePack, Sync, Timestamp,
    Value, WireId, WireMeta, Xml,
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

#[test]
fn headers_are_an_object_and_nothing_else_for_none() {
    fn headers<C: Codec>(codec: &C, frame: &[u8]) -> Result<Message<Value>, String> {
        codec.decode(frame, Limits::default()).map_err(|error| error.to_string())
    }

    let none = Ok(Message::Headers(Headers::new()));
    assert_eq!(headers(&Json, br#"["headers",{}]"#), none);
    assert!(headers(&Json, br#"["headers",null]"#).is_err());
    assert_eq!(headers(&MessagePack, b"\x92\xa7headers\x80"), none);
    assert!(headers(&MessagePack, b"\x92\xa7headers\xc0").is_err());
    let xml = |headers| {
        let namespace = "http://www.w3.org/2005/xpath-functions";
        format!(r#"<array xmlns="{namespace}"><string>headers</string>{headers}</array>"#)
    };
    assert_eq!(headers(&Xml, xml("<map/>").as_bytes()), none);
    assert!(headers(&Xml, xml("<null/>").as_bytes()).is_err());
}
