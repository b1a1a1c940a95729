//! The test kit for codecs: one call in a test runs the whole contract of [`Codec`].
//!
//! ```
//! logux_codecs::conformance::codec(&logux_codecs::Json);
//! ```
//!
//! Each function checks one line of the contract, under its name, and panics where it is broken.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a check fails")]

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    Added, Codec, CodecName, Connect, Connected, Counter, EventLimits, Extra, Headers, Json,
    Limits, MAX_SAFE_INTEGER, Message, NodeId, ProtocolError, Rare, Subprotocol, Sync, Timestamp,
    WireId, WireMeta,
};

/// Checks every line of the contract.
pub fn codec<C: Codec>(codec: &C) {
    reads_back_what_it_writes(codec);
    appends_to_the_frame(codec);
    agrees_with_json(codec);
    refuses_a_cut_frame(codec);
    refuses_trailing_bytes(codec);
    refuses_numbers_out_of_range(codec);
    survives_any_bytes(codec);
    keeps_the_limits(codec);
    carries_the_types_of_serde(codec);
    has_a_name_that_http_takes(codec);
    keeps_its_expansion(codec);
    writes_events_apart(codec);
}

/// Contract 1: decoding an encoded message gives an equal message.
pub fn reads_back_what_it_writes<C: Codec>(codec: &C) {
    for message in messages() {
        let frame = encode(codec, &message);
        let back: Message<Value> = codec
            .decode(&frame, Limits::default())
            .unwrap_or_else(|error| panic!("{message:?} does not read back: {error}"));
        assert_eq!(back, message);
    }
}

/// Contract 2: encoding appends.
pub fn appends_to_the_frame<C: Codec>(codec: &C) {
    for message in messages() {
        let mut frame = b"before".to_vec();
        assert!(codec.encode(&message, &mut frame).is_ok(), "{message:?}");
        assert_eq!(&frame[..6], b"before");
        assert_eq!(&frame[6..], encode(codec, &message), "the same message, other bytes");
    }
}

/// Contract 3: what the codec reads and JSON writes is what JSON would have written at once.
pub fn agrees_with_json<C: Codec>(codec: &C) {
    for message in messages() {
        let frame = encode(codec, &message);
        let Ok(back) = codec.decode::<Value>(&frame, Limits::default()) else {
            panic!("{message:?} does not read back")
        };
        assert_eq!(text(&encode(&Json, &back)), text(&encode(&Json, &message)));
    }
}

/// Contract 4: no proper beginning of a frame is a message.
pub fn refuses_a_cut_frame<C: Codec>(codec: &C) {
    for message in messages() {
        let frame = encode(codec, &message);
        for end in 0..frame.len() {
            assert!(
                codec.decode::<Value>(&frame[..end], Limits::default()).is_err(),
                "{message:?} reads back from {end} of {} bytes",
                frame.len()
            );
        }
    }
}

/// Contract 5: a frame is one message and nothing else.
pub fn refuses_trailing_bytes<C: Codec>(codec: &C) {
    for message in messages() {
        let frame = encode(codec, &message);
        let twice = [frame.as_slice(), frame.as_slice()].concat();
        assert!(
            codec.decode::<Value>(&twice, Limits::default()).is_err(),
            "two times {message:?} reads as one"
        );
        let trailing = [frame.as_slice(), &[1]].concat();
        assert!(
            codec.decode::<Value>(&trailing, Limits::default()).is_err(),
            "{message:?} and a byte reads back"
        );
    }
}

/// Contract 6: a number that a double does not hold exactly is neither a time nor a position.
pub fn refuses_numbers_out_of_range<C: Codec>(codec: &C) {
    let safe = MAX_SAFE_INTEGER.cast_signed();
    for (time, taken) in [
        (0, true),
        (-1, true),
        (safe, true),
        (-safe, true),
        (safe + 1, false),
        (-safe - 1, false),
        (i64::MAX, false),
        (i64::MIN, false),
    ] {
        let message = sync(vec![(json!({ "type": "a" }), WireMeta { time, ..meta() })]);
        let decoded = codec.decode::<Value>(&encode(codec, &message), Limits::default());
        assert_eq!(decoded.is_ok(), taken, "the time {time}");
    }
}

/// Contract 7: bytes of any kind are an error or a message, and a deep nest is an error.
pub fn survives_any_bytes<C: Codec>(codec: &C) {
    let mut random = Random(0x5EED);
    for message in messages() {
        let frame = encode(codec, &message);
        for _ in 0..64 {
            let mut changed = frame.clone();
            for _ in 0..=random.below(3) {
                let place = random.below(changed.len());
                changed[place] = random.byte();
            }
            let _ = codec.decode::<Value>(&changed, Limits::default());
        }
    }
    for length in 0..256 {
        let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        let _ = codec.decode::<Value>(&bytes, Limits::default());
    }
}

/// Contract 8: what lies just within the limits is taken, what lies just above is not.
pub fn keeps_the_limits<C: Codec>(codec: &C) {
    let limits = Limits::default().depth(20).events(3);
    // The message is the first level.
    for (levels, taken) in [(19, true), (20, false)] {
        let nest = (0..levels).fold(Value::Null, |inner, _| json!([inner]));
        let frame = encode(codec, &sync(vec![(nest, meta())]));
        let decoded = codec.decode::<Value>(&frame, limits);
        assert_eq!(decoded.is_ok(), taken, "{levels} levels in a message, of {limits:?}");
    }
    for (events, taken) in [(3, true), (4, false)] {
        let frame = encode(codec, &sync(vec![(json!({ "type": "a" }), meta()); events]));
        let decoded = codec.decode::<Value>(&frame, limits);
        assert_eq!(decoded.is_ok(), taken, "{events} events in a message, of {limits:?}");
    }
    refuses_a_deep_nest(codec);
    refuses_to_expand_a_frame(codec);
}

/// Contract 9: events may be of any type that JSON can carry, and look like JSON to a relay.
pub fn carries_the_types_of_serde<C: Codec>(codec: &C) {
    let text = || "a".to_owned();
    let nested = || Nested { unit: (), newtype: Newtype(7), optional: None };
    carries(codec, Shape::Unit);
    carries(codec, Shape::Newtype(text()));
    carries(codec, Shape::Newtype(String::new()));
    carries(codec, Shape::Tuple(u64::MAX, i64::MIN));
    carries(codec, Shape::Struct { inner: nested() });
    carries(codec, vec![Shape::Unit, Shape::Struct { inner: nested() }]);
    carries(codec, InternallyTagged::Empty);
    carries(codec, InternallyTagged::Full { value: u64::MAX, list: vec![], text: Some(text()) });
    carries(codec, AdjacentlyTagged::Unit);
    carries(codec, AdjacentlyTagged::Data(vec![-1, 0, 300]));
    carries(codec, Untagged::Number(1 << 53));
    carries(codec, Untagged::Text(text()));
    carries(codec, Untagged::List(vec![None, Some(1.5)]));
    carries(
        codec,
        Flattened {
            kind: text(),
            rest: InternallyTagged::Full { value: 0, list: vec![1, 2], text: None },
        },
    );
    carries(codec, (true, "é".to_owned(), [0.1_f64, -0.0, f64::MAX, 5e-324]));
    carries(codec, (i8::MIN, u8::MAX, i16::MIN, u16::MAX, i32::MIN, u32::MAX));
    carries(codec, [0.1_f32, -0.0, f32::MAX, f32::MIN_POSITIVE, 1e-45]);
    carries(codec, (Some(Some(1)), None::<u8>, Vec::<Vec<u8>>::new()));
}

/// Contract 10: transports name the codec in headers of HTTP, which take tokens only.
pub fn has_a_name_that_http_takes<C: Codec>(_: &C) {
    let _ = CodecName::of(C::NAME);
}

/// Contract 11: the events that formats take the most for, in long arrays and in deep nests, between
/// the longest ids, need no longer frame than the codec says, and are read within it. So do events
/// that nearly reach the limits, of values that do not repeat, in which nothing can be compressed.
pub fn keeps_its_expansion<C: Codec>(codec: &C) {
    let none = Extra::new;
    for (name, event) in large_events() {
        keeps_it_for(codec, &name, event.clone(), longest_id('"'), none());
        keeps_it_for(codec, &name, event, longest_id('&'), none());
    }
    let id = || longest_id('"');
    for (name, event) in varied_values() {
        keeps_it_for(codec, name, event, id(), none());
    }
    let mut random = Random(0x5EED);
    let tenths = random.many(62_000, |random| random.digit_as_f32() / 10.0);
    keeps_it_for(codec, "short floats of 32 bits", tenths, id(), none());
    let floats = random.many(15_000, Random::float);
    keeps_it_for(codec, "long floats of 32 bits", floats, id(), none());
    let digits = Bytes(random.many(124_000, Random::digit));
    keeps_it_for(codec, "bytes below 10", digits, id(), none());
    let bytes = Bytes(random.many(65_000, Random::byte));
    keeps_it_for(codec, "bytes", bytes, id(), none());
    let variants = random.many(20_000, Random::variant);
    keeps_it_for(codec, "variants", variants, id(), none());
    for (name, value) in varied_values() {
        let extra = Extra::from_iter([("a".to_owned(), value)]);
        keeps_it_for(codec, &format!("{name} in the meta"), json!({ "type": "a" }), id(), extra);
    }
}

/// Contract 12: a `sync` of events that were written apart has the bytes of the whole one.
pub fn writes_events_apart<C: Codec>(codec: &C) {
    let safe = MAX_SAFE_INTEGER.cast_signed();
    // Many, and the numbers at the limits: formats write them in other forms.
    let times = [0, 1, -1, 127, 128, -129, safe, -safe];
    let shifted = |shift| WireId::Shifted { shift, node: None, counter: Counter::ZERO };
    let ids = times.iter().map(|&shift| WireMeta { id: shifted(shift), ..meta() });
    let metas = times.iter().map(|&time| WireMeta { time, ..meta() }).chain(ids);
    let entries = metas.map(|meta| (json!({ "type": "a" }), meta)).collect();
    let added = Added::ZERO.plus(MAX_SAFE_INTEGER);
    let many = Message::Sync(Sync { added, entries });
    for message in messages().into_iter().chain([many]) {
        let Message::Sync(Sync { added, entries }) = &message else { continue };
        let parts: Option<Vec<_>> = entries
            .iter()
            .map(|(event, meta)| {
                let mut part = b"before".to_vec();
                let written = codec.encode_event(event, &mut part)?;
                assert!(written.is_ok(), "{event} cannot be written apart");
                assert_eq!(&part[..6], b"before", "what was there before an event has changed");
                Some((part.split_off(6), meta.clone()))
            })
            .collect();
        let events = parts.iter().flatten().map(|(part, meta)| (part.as_slice(), meta.clone()));
        let events: Vec<_> = events.collect();
        let mut frame = b"before".to_vec();
        let written = codec.encode_sync(*added, events.into_iter(), &mut frame);
        assert_eq!(written.is_some(), parts.is_some(), "one of two methods is missing");
        if let Some(written) = written {
            assert!(written.is_ok(), "{message:?} cannot be put together");
            assert_eq!(&frame[..6], b"before", "what was there before a message has changed");
            assert_eq!(&frame[6..], encode(codec, &message), "{message:?} has other bytes");
        }
    }
}

/// Writes and reads one event as a session does whose log takes no larger one.
fn keeps_it_for<C, E>(codec: &C, name: &str, event: E, id: WireId, extra: Extra)
where
    C: Codec,
    E: Serialize + DeserializeOwned + PartialEq,
{
    let size = match EventLimits::default().check(&event, &extra) {
        Ok(size) => size,
        Err(error) => panic!("{name}: {error}"),
    };
    let longest = EventLimits::default().bytes(size).frame(C::EXPANSION);
    let meta = WireMeta {
        id,
        time: -MAX_SAFE_INTEGER.cast_signed(),
        subprotocol: Some(Subprotocol::new(u32::MAX, u32::MAX)),
        extra: extra.into(),
    };
    let sync = Sync { added: Added::ZERO.plus(MAX_SAFE_INTEGER), entries: vec![(event, meta)] };
    let message = Message::Sync(sync);
    let frame = encode(codec, &message);
    assert!(
        frame.len() <= longest,
        "an event of {size} bytes, {name}, takes {} of {longest}, {} times as much",
        frame.len(),
        frame.len().div_ceil(size),
    );
    // Not the meta: not every format carries all of it.
    match (codec.decode::<E>(&frame, Limits::default().frame(longest)), message) {
        (Ok(Message::Sync(read)), Message::Sync(sync)) => {
            assert!(read.entries[0].0 == sync.entries[0].0, "{name}: another event is read");
        }
        (Ok(_), _) => panic!("{name}: another message is read"),
        (Err(error), _) => panic!(
            "an event of {size} bytes, {name}, is not read where a frame, also when it is \
             expanded, may have {longest}: {error}"
        ),
    }
}

/// Values of some 250,000 bytes, drawn from a seed.
fn varied_values() -> Vec<(&'static str, Value)> {
    let mut random = Random(0xC0DE);
    let mut values = vec![
        ("digits", random.many(124_000, |random| Value::from(random.digit())).into()),
        ("integers", random.many(12_000, |random| Value::from(random.next())).into()),
        ("fractions", random.many(62_000, |random| json!(f64::from(random.digit()) + 0.5)).into()),
    ];
    let text = |byte: u8| Value::from(char::from(byte).to_string());
    let escaped = random.many(25_000, |random| text(random.byte() % 32));
    values.push(("characters that are escaped", escaped.into()));
    let letters = random.many(62_000, |random| text(b'a' + random.byte() % 26));
    values.push(("characters", letters.into()));
    let object = |random: &mut Random| json!({ format!("{:x}", random.byte()): random.digit() });
    values.push(("objects", random.many(24_000, object).into()));
    values
}

/// The shortest values and the texts that have to be escaped, in large numbers.
fn large_events() -> Vec<(String, Value)> {
    let mut events = Vec::new();
    let texts =
        ["", "\u{0}", "\r", "\"", "\\", "&", "<", "\t", "\u{1F600}", "\u{FFFF}", "\u{85}", "a"];
    let values = [json!(0), json!(-1), json!(0.5), json!(1e300), json!(u64::MAX), json!(true)];
    let values = values.into_iter().chain([json!(false), json!(null), json!([]), json!({})]);
    for value in values.chain(texts.map(Value::from)) {
        let key = |n: usize| format!("{n:x}");
        let arrays = vec![json!([value]); 2_000];
        let objects = vec![json!({ "": value }); 2_000];
        let object = (0..2_000).map(|n| (key(n), value.clone())).collect::<Headers>();
        events.push((format!("{value} in an array"), vec![value.clone(); 10_000].into()));
        events.push((format!("{value} in arrays"), arrays.into()));
        events.push((format!("{value} in objects"), objects.into()));
        events.push((format!("{value} in an object"), object.into()));
        let nest = (0..60).fold(value.clone(), |inner, _| json!([inner]));
        events.push((format!("{value} in nested arrays"), vec![nest; 300].into()));
        let nest = (0..60).fold(value.clone(), |inner, _| json!({ "\r": inner }));
        events.push((format!("{value} in nested objects"), vec![nest; 50].into()));
    }
    for text in texts {
        events.push((format!("a text of {text:?}"), text.repeat(10_000).into()));
        let keys = (1..100).map(|n| (text.repeat(n), json!(0))).collect::<Headers>();
        events.push((format!("keys of {text:?}"), keys.into()));
        let objects = vec![json!({ text: text }); 2_000];
        events.push((format!("objects with {text:?}"), objects.into()));
    }
    events
}

/// An id of protocol 7, as that of 5 is shorter and not for all codecs.
fn longest_id(character: char) -> WireId {
    let text = character.to_string().repeat(NodeId::MAX_BYTES);
    let node = NodeId::new(&text).unwrap_or_else(|error| panic!("{error}"));
    WireId::Absolute {
        time: time(MAX_SAFE_INTEGER),
        author: Some((node, counter(MAX_SAFE_INTEGER))),
    }
}

/// Not part of the contract, for a format may have forms of its own for these: maps whose keys are
/// no text, and types that show themselves to people in another way than to programs. Where it
/// holds, a relay can pass every event from this codec to JSON and back.
pub fn writes_everything_as_json_does<C: Codec>(codec: &C) {
    carries(codec, 'é');
    carries(codec, BTreeMap::from([(-1_i64, "minus".to_owned()), (1 << 40, String::new())]));
    carries(codec, BTreeMap::from([(true, 1), (false, 0)]));
    carries(codec, BTreeMap::from([('<', 1), ('\u{0}', 0)]));
    carries(codec, BTreeMap::from([(Key::First, vec![()]), (Key::Second, vec![])]));
    carries(codec, BTreeMap::from([(Newtype(3), BTreeMap::from([(u64::MAX, 0)]))]));
    carries(codec, std::net::IpAddr::from([127, 0, 0, 1]));
    carries(codec, std::time::Duration::from_millis(1_500));
}

fn carries<C, E>(codec: &C, event: E)
where
    C: Codec,
    E: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    // By way of the text: a `Value` that is made directly has another double for an `f32`.
    let json = serde_json::to_string(&event).and_then(|json| serde_json::from_str(&json));
    let as_json: Value = match json {
        Ok(json) => json,
        Err(error) => panic!("{event:?} is nothing for JSON: {error}"),
    };
    let message = Message::Sync(Sync { added: Added::ZERO, entries: vec![(event, meta())] });
    let mut frame = Vec::new();
    if let Err(error) = codec.encode(&message, &mut frame) {
        panic!("{message:?} cannot be written: {error}");
    }
    match codec.decode::<E>(&frame, Limits::default()) {
        Ok(back) => assert_eq!(back, message),
        Err(error) => panic!("{message:?} does not read back: {error}"),
    }
    match codec.decode::<Value>(&frame, Limits::default()) {
        Ok(Message::Sync(sync)) => assert_eq!(sync.entries[0].0, as_json, "of {message:?}"),
        other => panic!("{message:?} reads as {other:?}"),
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(String),
    Tuple(u64, i64),
    Struct { inner: Nested },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested {
    unit: (),
    newtype: Newtype,
    optional: Option<Box<Shape>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Newtype(u32);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum InternallyTagged {
    #[serde(rename = "a/empty")]
    Empty,
    #[serde(rename = "a/full")]
    Full {
        value: u64,
        list: Vec<u8>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        text: Option<String>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum AdjacentlyTagged {
    Unit,
    Data(Vec<i32>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
    List(Vec<Option<f64>>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    kind: String,
    #[serde(flatten)]
    rest: InternallyTagged,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    First,
    Second,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Variant {
    A,
    B(u8),
    C(u8, u8),
    D { d: u8 },
}

/// Bytes, for which formats have forms of their own.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

/// A codec may refuse to write such an event, but must not overflow the stack when it reads one:
/// written with much stack, read with the 2 MiB that a thread of a server has.
fn refuses_a_deep_nest<C: Codec>(codec: &C) {
    let writer = codec.clone();
    let write = move || {
        let mut frame = Vec::new();
        let message =
            Message::Sync(Sync { added: Added::ZERO, entries: vec![(Nest(5_000), meta())] });
        writer.encode(&message, &mut frame).ok().map(|()| frame)
    };
    let frame = on_a_stack_of(256 << 20, write);
    let Some(frame) = frame else { return };
    let reader = codec.clone();
    let refused =
        on_a_stack_of(2 << 20, move || reader.decode::<Value>(&frame, Limits::default()).is_err());
    assert!(refused, "5,000 levels are read");
}

/// A text that fits into the frame only because it is compressed must not come out of it. Codecs
/// that do not compress have a longer frame, which the session does not let through.
fn refuses_to_expand_a_frame<C: Codec>(codec: &C) {
    const TEXT: usize = 1 << 20;
    let frame = encode(codec, &sync(vec![(json!("a".repeat(TEXT)), meta())]));
    let limits = Limits::default().frame(TEXT / 2);
    if frame.len() <= limits.frame {
        assert!(
            codec.decode::<Value>(&frame, limits).is_err(),
            "{} bytes expand to more than {TEXT}, of {limits:?}",
            frame.len()
        );
        let limits = limits.frame(2 * TEXT);
        assert!(codec.decode::<Value>(&frame, limits).is_ok(), "{TEXT} bytes, of {limits:?}");
    }
}

fn on_a_stack_of<T: Send + 'static>(bytes: usize, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(run);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        _ => panic!("the codec panicked"),
    }
}

/// An array in an array in an array, so many levels deep.
struct Nest(usize);

impl Serialize for Nest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            levels => [Self(levels - 1)].serialize(serializer),
        }
    }
}

/// Every message of the protocol, with what is hard to write: hard texts, limits of numbers, empty
/// and missing things side by side, and events drawn from a fixed seed.
pub fn messages() -> Vec<Message<Value>> {
    let node = |text: &str| NodeId::new(text).unwrap_or_else(|error| panic!("{error}"));
    let credentials = [None, Some(json!("token")), Some(json!({ "a": [1, null, ""] }))];
    let subprotocols = [None, Some(Subprotocol::new(3, 0)), Some(Subprotocol::new(3, 1))];
    let mut messages = Vec::new();
    for (credentials, subprotocol) in credentials.into_iter().zip(subprotocols) {
        messages.push(Message::Connect(Connect {
            protocol: 7,
            node_id: node("10:a:b"),
            synced: Added::ZERO,
            credentials: credentials.clone(),
            subprotocol,
        }));
        messages.push(Message::Connected(Connected {
            protocol: 7,
            node_id: node("server:é"),
            start: Timestamp::ZERO,
            end: time(MAX_SAFE_INTEGER),
            credentials,
            subprotocol,
        }));
    }
    for added in [0, 1, 255, 65_536, MAX_SAFE_INTEGER] {
        let added = Added::new(added).unwrap_or_default();
        messages.extend([
            Message::Synced(added),
            Message::Ready(added),
            Message::Ping(added),
            Message::Pong(added),
        ]);
    }
    let mut headers = Headers::new();
    messages.push(Message::Headers(headers.clone()));
    headers.insert("locale".to_owned(), json!("fr"));
    headers.insert(String::new(), json!({ "": {}, "a b": [[]], "1": null }));
    messages.push(Message::Headers(headers));
    let texts = HARD_TEXTS.map(str::to_owned);
    messages.extend(texts.iter().cloned().map(Message::Debug));
    messages.extend(texts.into_iter().map(|text| Message::Error(ProtocolError::WrongFormat(text))));
    messages.extend([
        Message::Error(ProtocolError::WrongProtocol { supported: 7, used: 4 }),
        Message::Error(ProtocolError::WrongSubprotocol {
            supported: json!(">= 3.1"),
            used: json!([2, 0]),
        }),
        Message::Error(ProtocolError::WrongCredentials),
        Message::Error(ProtocolError::UnknownMessage("x".to_owned())),
        Message::Error(ProtocolError::MissedAuth("[\"sync\"]".to_owned())),
        Message::Error(ProtocolError::Timeout(70_000)),
        Message::Error(ProtocolError::Bruteforce),
        Message::Error(ProtocolError::Other { kind: "own".to_owned(), options: json!([1]) }),
    ]);
    let mut extra = Extra::new();
    extra.insert("status".to_owned(), json!({ "a": [true, 1.5] }));
    let rich = WireMeta {
        id: WireId::Absolute {
            time: time(1_786_312_345_678),
            author: Some((node("10:a:b"), counter(12))),
        },
        time: -5,
        subprotocol: Some(Subprotocol::new(1, 0)),
        extra: extra.into(),
    };
    messages.push(sync(vec![(json!({ "type": "a" }), meta()), (json!({ "type": "b" }), rich)]));
    for (node, number) in [(None, 0), (None, 3), (Some(node("10:a:b")), 0), (Some(node("x")), 12)] {
        let id = WireId::Shifted { shift: -7, node, counter: counter(number) };
        messages.push(sync(vec![(json!({ "type": "a" }), WireMeta { id, ..meta() })]));
    }
    let mut events = events(7);
    messages.extend((0..64).map(|n| {
        let events = events.by_ref().take(1 + n % 4);
        sync(events.map(|event| (event, meta())).collect())
    }));
    messages
}

/// Events drawn from a seed, without end: objects of all kinds of values, hard texts and numbers at
/// the limits among them. The same for the same seed.
pub fn events(seed: u64) -> impl Iterator<Item = Value> {
    let mut random = Random(seed);
    std::iter::from_fn(move || Some(random.event()))
}

const HARD_TEXTS: [&str; 7] = [
    "",
    " a ",
    "\u{0}\u{1b}[2J",
    "\r\n\t",
    "\"\\</a>&amp;]]>",
    "é\u{1F600}\u{202E}\u{FFFD}",
    "__proto__",
];

fn sync(entries: Vec<(Value, WireMeta)>) -> Message<Value> {
    Message::Sync(Sync { added: Added::ZERO.plus(9), entries })
}

fn meta() -> WireMeta {
    WireMeta {
        id: WireId::Absolute { time: time(1), author: None },
        time: 1,
        subprotocol: None,
        extra: Rare::default(),
    }
}

fn counter(number: u64) -> Counter {
    Counter::new(number).unwrap_or_default()
}

fn time(number: u64) -> Timestamp {
    Timestamp::new(number).unwrap_or_default()
}

fn encode<C: Codec, E: Serialize>(codec: &C, message: &Message<E>) -> Vec<u8> {
    let mut frame = Vec::new();
    match codec.encode(message, &mut frame) {
        Ok(()) => frame,
        Err(error) => {
            let shown = serde_json::to_string(message).unwrap_or_default();
            panic!("a message cannot be written: {error}\n{shown}")
        }
    }
}

fn text(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).into_owned()
}

/// A small generator (splitmix64), so that a kit run twice is the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of it will do")]
    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of it will do")]
    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// One that JSON has one byte for.
    fn digit(&mut self) -> u8 {
        self.byte() % 10
    }

    fn digit_as_f32(&mut self) -> f32 {
        self.digit().into()
    }

    /// A float of all the digits that a finite one has.
    fn float(&mut self) -> f32 {
        let bits = [self.byte(), self.byte(), self.byte(), self.byte() % 0x7f];
        f32::from_le_bytes(bits)
    }

    fn variant(&mut self) -> Variant {
        match self.below(4) {
            0 => Variant::A,
            1 => Variant::B(self.digit()),
            2 => Variant::C(self.digit(), self.digit()),
            _ => Variant::D { d: self.digit() },
        }
    }

    fn many<T>(&mut self, count: usize, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| draw(self)).collect()
    }

    fn event(&mut self) -> Value {
        let mut event = json!({ "type": "generated" });
        for key in ["a", "", "a b", "1"] {
            event[key] = self.value(3);
        }
        event
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => (self.below(2) == 0).into(),
            2 => self.next().into(),
            3 => self.next().cast_signed().into(),
            4 => (self.below(2000) as u64).into(),
            5 => match f64::from_bits(self.next()) {
                // An integer in a double may be one or the other in another codec.
                number if number.fract() != 0.0 => json!(number),
                _ => json!(0.25),
            },
            6 => HARD_TEXTS[self.below(HARD_TEXTS.len())].into(),
            7 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let keys = HARD_TEXTS.iter().take(self.below(4));
                Value::Object(keys.map(|key| ((*key).to_owned(), self.value(depth - 1))).collect())
            }
        }
    }
}
