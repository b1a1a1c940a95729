//! An event means the same in every codec.
#![cfg(all(
    feature = "conformance",
    feature = "json",
    feature = "logux-binary",
    feature = "message-pack",
    feature = "xml"
))]

use std::collections::BTreeMap;
use std::fmt::Debug;

use logux_codecs::conformance::events;
use logux_codecs::{
    Added, Codec, EventLimits, Extra, Headers, Json, Limits, LoguxBinary, Message, MessagePack,
    Rare, Sync, Timestamp, Unfit, Value, WireId, WireMeta, Xml,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

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
            let meta = WireMeta { id, time: n, subprotocol: None, extra: extra.into() };
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

/// An event as it is read by each codec in which it can be written.
fn in_all_codecs<E: DeserializeOwned + PartialEq + Debug>(event: &impl Serialize) -> Option<E> {
    fn read<C: Codec, E: DeserializeOwned>(codec: &C, event: &impl Serialize) -> Option<E> {
        let id = WireId::Absolute { time: Timestamp::ZERO, author: None };
        let meta = WireMeta { id, time: 0, subprotocol: None, extra: Rare::default() };
        let message = Message::Sync(Sync { added: Added::ZERO, entries: vec![(event, meta)] });
        let mut frame = Vec::new();
        codec.encode(&message, &mut frame).unwrap();
        match codec.decode(&frame, Limits::default()) {
            Ok(Message::Sync(mut sync)) => Some(sync.entries.remove(0).0),
            Ok(_) => panic!("a sync is read as another message"),
            Err(_) => None,
        }
    }

    let json = read(&Json, event);
    assert_eq!(read(&MessagePack, event), json, "message-pack");
    assert_eq!(read(&Xml, event), json, "xml");
    assert_eq!(read(&LoguxBinary::new(), event), json, "logux-binary");
    json
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Single { value: f32 },
    Double { value: f64 },
}

#[test]
fn a_number_that_would_be_infinite_is_refused_by_the_type_that_asks_for_it() {
    for (number, fits) in [
        (1e38, true),
        (f64::from(f32::MAX), true),
        // As the shortest text of `f32::MAX` is: rounded down.
        (3.402_823_5e38, true),
        (3.402_823_6e38, false),
        (-1e39, false),
        (1e300, false),
    ] {
        assert_eq!(in_all_codecs::<f32>(&number).is_some(), fits, "{number}");
        assert_eq!(in_all_codecs::<[Option<f32>; 1]>(&[number]).is_some(), fits, "{number}");
        let key = BTreeMap::from([(number.to_string(), 1)]);
        assert_eq!(in_all_codecs::<Keys>(&key).is_some(), fits, "{number} as a key");
        assert_eq!(in_all_codecs::<f64>(&number), Some(number));
        assert_eq!(in_all_codecs::<Value>(&number), Some(json!(number)));
    }
}

/// Keys that are floats, which no map of the standard library takes.
#[derive(Debug, PartialEq)]
struct Keys(Vec<f32>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<f32, u8>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// Where serde holds an event back, nobody refuses it but the measure.
#[test]
fn a_number_that_becomes_infinite_behind_serde_s_back_is_unfit() {
    let check = |event: &Value| {
        let event = in_all_codecs::<Tagged>(event).unwrap();
        EventLimits::default().check(&event, &Extra::new()).map(drop)
    };
    let single = |value: f64| json!({ "type": "Single", "value": value });
    assert_eq!(check(&single(1e38)), Ok(()));
    assert_eq!(check(&single(3.402_823_5e38)), Ok(()));
    assert_eq!(check(&single(1e300)), Err(Unfit::NotFinite));
    assert_eq!(check(&single(-1e39)), Err(Unfit::NotFinite));
    assert_eq!(check(&json!({ "type": "Double", "value": 1e300 })), Ok(()));
    // A type that asks for a double itself is none of those.
    assert_eq!(in_all_codecs::<f64>(&1e300), Some(1e300));
}

#[test]
fn a_number_that_is_not_finite_is_refused() {
    let event = |number: &[u8]| {
        let frame = [b"\x94\xa4sync\x00", number, b"\x82\xa2id\xa10\xa4time\x01"].concat();
        let (frame, limits) = (frame.as_slice(), Limits::default());
        let is_read = [
            MessagePack.decode::<Value>(frame, limits).is_ok(),
            MessagePack.decode::<f32>(frame, limits).is_ok(),
            MessagePack.decode::<f64>(frame, limits).is_ok(),
            MessagePack.decode::<Option<f64>>(frame, limits).is_ok(),
            MessagePack.decode::<serde::de::IgnoredAny>(frame, limits).is_ok(),
        ];
        assert!(is_read.iter().all(|read| *read == is_read[0]), "{number:x?}: {is_read:?}");
        is_read[0]
    };
    assert!(event(b"\xcb\x3f\xf0\0\0\0\0\0\0"), "1");
    assert!(!event(b"\xcb\x7f\xf8\0\0\0\0\0\0"), "not a number");
    assert!(!event(b"\xcb\x7f\xf0\0\0\0\0\0\0"), "infinite");
    assert!(!event(b"\xcb\xff\xf0\0\0\0\0\0\0"), "infinite");
    assert!(!event(b"\xca\x7f\xc0\0\0"), "not a number");
    assert!(!event(b"\xca\xff\x80\0\0"), "infinite");
}

/// A relay that reads any value reads all events, bytes among them.
#[test]
fn bytes_are_the_same_in_all_codecs() {
    let bytes = serde_bytes::ByteBuf::from(vec![0, 127, 128, 255]);
    assert_eq!(in_all_codecs::<Value>(&bytes), Some(json!([0, 127, 128, 255])));
    assert_eq!(in_all_codecs::<serde_bytes::ByteBuf>(&bytes), Some(bytes));
}

/// Whether another crate has turned on `serde_json/arbitrary_precision`.
fn numbers_are_texts() -> bool {
    let number: Value = serde_json::from_str("1.00").unwrap();
    let text = number.to_string();
    text == "1.00"
}

/// An object whose keys keep their order.
struct Pairs(Vec<(&'static str, Value)>);

impl Serialize for Pairs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// What `serde_json` calls its numbers, where they are texts.
const PRIVATE: &str = "$serde_json::private::Number";

#[test]
fn numbers_are_the_same_whatever_serde_json_makes_of_them() {
    for text in ["5", "-5", "1.5", "2.0", "1.00", "-0", "1e300", "18446744073709551616", "0.1"] {
        let value: Value = serde_json::from_str(text).unwrap();
        let expected = text.parse::<u64>().map_or_else(
            |_| {
                text.parse::<i64>()
                    .map_or_else(|_| json!(text.parse::<f64>().unwrap()), Value::from)
            },
            Value::from,
        );
        let expected = if text == "-0" { json!(-0.0) } else { expected };
        assert_eq!(in_all_codecs::<Value>(&value), Some(expected), "{text}");
        let double = text.parse().unwrap();
        let event = json!({ "type": "Double", "value": value });
        assert_eq!(in_all_codecs::<Tagged>(&event), Some(Tagged::Double { value: double }));
        assert_eq!(in_all_codecs::<f64>(&value), Some(double));
        // A number is no object: this is one event with as many as are allowed.
        let many = json!([value, [value], { "a": value }]);
        let mut frame = format!(r#"["sync",1.0,{many},{{"id":"1","time":2.0,"x":{value}}}]"#);
        frame = frame.replace("\"time\"", "\"subprotocol\":3.0,\"time\"");
        let read = Json.decode::<Value>(frame.as_bytes(), Limits::default().objects(2).depth(3));
        let Ok(Message::Sync(sync)) = read else { panic!("{frame}: {read:?}") };
        assert_eq!((sync.added.value(), sync.entries[0].1.time), (1, 2));
    }
}

/// Without the feature it is an object as any other. With it, it is the number that it spells, as
/// `serde_json` has it; or an error, for no type of an event can tell it from a number.
#[test]
fn an_object_with_the_private_key_is_the_same_in_all_codecs() {
    let is_on = numbers_are_texts();
    let value = |event: &Pairs| in_all_codecs::<Value>(event);
    let plain = |event: &Pairs| serde_json::to_string(event).unwrap();
    for (event, with_the_feature) in [
        (vec![(PRIVATE, json!("1e5"))], Some(json!(100_000.0))),
        (vec![(PRIVATE, json!("7"))], Some(json!(7))),
        (vec![(PRIVATE, json!("1e999"))], None),
        (vec![(PRIVATE, json!("zzz"))], None),
        (vec![(PRIVATE, json!(" 7"))], None),
        (vec![(PRIVATE, json!(""))], None),
        (vec![(PRIVATE, json!(7))], None),
        (vec![(PRIVATE, json!(null))], None),
        (vec![(PRIVATE, json!(["7"]))], None),
        (vec![(PRIVATE, json!({ "a": 1 }))], None),
        (vec![(PRIVATE, json!("7")), ("a", json!(1))], None),
        (vec![(PRIVATE, json!({ "a": {} })), ("a", json!(1))], None),
    ] {
        let event = Pairs(event);
        let text = plain(&event);
        let read = value(&event);
        if is_on {
            assert_eq!(read, with_the_feature, "{text}");
        } else {
            assert_eq!(read.map(|read| read.to_string()).as_ref(), Some(&text));
        }
        // Whatever asks for it, all codecs give the same.
        in_all_codecs::<f64>(&event);
        in_all_codecs::<f32>(&event);
        in_all_codecs::<u64>(&event);
        in_all_codecs::<i8>(&event);
        in_all_codecs::<u128>(&event);
        in_all_codecs::<bool>(&event);
        in_all_codecs::<char>(&event);
        in_all_codecs::<String>(&event);
        in_all_codecs::<Option<f64>>(&event);
        in_all_codecs::<Option<u64>>(&event);
        in_all_codecs::<()>(&event);
        in_all_codecs::<Vec<u8>>(&event);
        in_all_codecs::<(u8, u8)>(&event);
        in_all_codecs::<serde_json::Number>(&event);
        in_all_codecs::<Extra>(&event);
        in_all_codecs::<BTreeMap<String, Value>>(&event);
        in_all_codecs::<BTreeMap<String, String>>(&event);
        in_all_codecs::<Tagged>(&event);
        in_all_codecs::<Untagged>(&event);
        in_all_codecs::<Named>(&event);
        in_all_codecs::<Variant>(&event);
        assert!(in_all_codecs::<serde::de::IgnoredAny>(&event).is_some(), "{text}");
        in_all_codecs::<Tagged>(&json!({ "type": "Double", "value": event.0[0].1 }));
        assert!(EventLimits::default().check(&event, &Extra::new()).is_err(), "{text}");
    }
    // It is a key like others where it is not the first.
    let event = Pairs(vec![("a", json!(1.5)), (PRIVATE, json!("zzz"))]);
    assert_eq!(value(&event).unwrap().as_object().unwrap().len(), 2);
    // And within others, and in what is not an event.
    let nested = Pairs(vec![("a", json!([{ "b": 1 }]))]);
    assert!(value(&nested).is_some());
    for options in [json!("7"), json!("zzz")] {
        let object = Extra::from_iter([(PRIVATE.to_owned(), options)]);
        let frame = |frame: &str| {
            let read = Json.decode::<Value>(frame.as_bytes(), Limits::default());
            read.map_err(|error| error.to_string())
        };
        let json = serde_json::to_string(&object).unwrap();
        assert_eq!(frame(&format!(r#"["headers",{json}]"#)), Ok(Message::Headers(object)));
        let _ = frame(&format!(r#"["connect",7,"a",0,{{"token":{json}}}]"#));
        let _ = frame(&format!(r#"["connect",7,"a",0,{json}]"#));
        let _ = frame(&format!(r#"["ping",{json}]"#));
        let _ = frame(&format!(r#"["error","wrong-format",{json}]"#));
        assert!(frame(&format!(r#"["new",{json}]"#)).is_ok());
        assert!(frame(&format!(r#"["sync",1,{{}},{json}]"#)).is_err());
    }
}

/// What `serde_json/raw_value` takes for JSON that is to be read as it stands.
const RAW: &str = "$serde_json::private::RawValue";

/// Whether the feature is on or not, so that all peers agree: what is in the text would be read
/// without limits.
#[test]
fn an_object_with_the_key_of_raw_json_is_refused_by_all_codecs() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for text in [json!("1"), json!(deep), json!("1e999"), json!("zzz"), json!(7), json!({})] {
        for event in [
            Pairs(vec![(RAW, text.clone())]),
            // Under `flatten` and `tag`, the second key can become the first.
            Pairs(vec![("type", json!("Any")), (RAW, text.clone())]),
            Pairs(vec![("a", json!([{ RAW: text }]))]),
        ] {
            let shown = serde_json::to_string(&event).unwrap();
            assert_eq!(in_all_codecs::<Value>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<Extra>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<BTreeMap<String, Value>>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<AnyTagged>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<AnyFlattened>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<Untagged>(&event), None, "{shown}");
            assert_eq!(in_all_codecs::<Raw>(&event), None, "{shown}");
            // What is skipped does no harm.
            assert!(in_all_codecs::<serde::de::IgnoredAny>(&event).is_some(), "{shown}");
        }
    }
    let frame = |frame: &str| {
        let read = Json.decode::<Value>(frame.as_bytes(), Limits::default());
        read.map(drop).map_err(|error| chain(&error))
    };
    let object = json!({ RAW: "[]" });
    for message in [
        format!(r#"["headers",{object}]"#),
        format!(r#"["connect",7,"a",0,{{"token":{object}}}]"#),
        format!(r#"["sync",1,{{}},{{"id":"1","time":1,"x":{object}}}]"#),
    ] {
        let error = frame(&message).unwrap_err();
        assert!(error.contains(RAW) && error.contains("another name"), "{message}: {error}");
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum AnyTagged {
    Any(Value),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct AnyFlattened {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(flatten)]
    rest: Value,
}

/// As `serde_json` writes its own type for raw JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "$serde_json::private::RawValue")]
struct Raw {
    #[serde(rename = "$serde_json::private::RawValue")]
    text: Value,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Double(f64),
    Object(BTreeMap<String, Value>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    #[serde(rename = "$serde_json::private::Number")]
    text: Value,
    #[serde(default)]
    a: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Variant {
    #[serde(rename = "$serde_json::private::Number")]
    Private(Value),
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"))
}

/// Whoever reads the log of a server with many events in a message finds the one that is wrong.
#[test]
fn an_error_in_an_event_or_its_meta_says_which() {
    fn errors<C: Codec, E: DeserializeOwned + Debug>(codec: &C, frame: &[u8]) -> String {
        chain(&codec.decode::<E>(frame, Limits::default()).unwrap_err())
    }

    fn says<C: Codec>(codec: &C, message: &Message<Value>, place: usize, reason: &str) {
        let mut frame = Vec::new();
        codec.encode(message, &mut frame).unwrap();
        let error = errors::<C, Tagged>(codec, &frame);
        let start = format!(": event {place}: ");
        assert!(error.contains(&start) && error.contains(reason), "{}: {error}", C::NAME);
        assert_eq!(error.matches("event ").count(), 1, "{}: {error}", C::NAME);
        assert!(error.matches(" at line ").count() <= 1, "{}: {error}", C::NAME);
    }

    let good = json!({ "type": "Double", "value": 1.5 });
    let nest = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for place in 1..=4 {
        for (wrong, reason) in [
            (json!({ "type": "Triple" }), "unknown variant `Triple`"),
            (json!({ "type": "Double", "value": "a" }), "invalid type: string \"a\""),
            (json!({ "type": "Double" }), "missing field `value`"),
            (json!(7), "invalid type: integer `7`"),
            (json!({ "a": nest, "type": "Double" }), "nest too deep"),
        ] {
            let entries = (1..=4).map(|number| {
                let id = WireId::Absolute { time: Timestamp::ZERO, author: None };
                let meta = WireMeta { id, time: 0, subprotocol: None, extra: Rare::default() };
                (if number == place { wrong.clone() } else { good.clone() }, meta)
            });
            let sync = Message::Sync(Sync { added: Added::ZERO, entries: entries.collect() });
            says(&Json, &sync, place, reason);
            says(&MessagePack, &sync, place, reason);
            says(&Xml, &sync, place, reason);
            says(&LoguxBinary::new(), &sync, place, reason);
        }
    }
    let json = |frame: &str| errors::<_, Value>(&Json, frame.as_bytes());
    let start = r#"["sync",1,{},{"id":"1","time":1},"#;
    let before = "the JSON is not a message: ";
    for (rest, expected) in [
        (r#"{},{"id":"1"}]"#, "event 2: missing field `time`"),
        (r"{}]", "event 2: the message ends before an event's meta"),
        (r#"{"a":nul}]"#, "event 2: expected ident"),
        (r#"{},{"id":"1","time":1},{"a"#, "event 3: EOF while parsing a string"),
    ] {
        let error = json(&format!("{start}{rest}"));
        let (what, column) = error.split_once(" at line 1 column ").unwrap();
        assert_eq!(what, format!("{before}{expected}"));
        assert!(column.parse::<usize>().is_ok_and(|column| column > start.len()), "{error}");
    }
    // What is wrong with the message itself has no event.
    assert!(!json(r#"["sync",-1,{},{"id":"1","time":1}]"#).contains("event "));
    let xml = "<array xmlns=\"http://www.w3.org/2005/xpath-functions\"><string>sync</string>\
               <number>1</number><map><a";
    let error = errors::<_, Value>(&Xml, xml.as_bytes());
    assert!(error.contains("event 1: the text is not well-formed XML: "), "{error}");
    assert!(error.contains(", before byte "), "{error}");
    let error = errors::<_, Value>(&MessagePack, b"\x94\xa4sync\x00\xa1\xff");
    assert!(error.contains("event 1: ") && error.matches("utf-8").count() == 1, "{error}");
}
