//! The MessagePack codec: its contract, its bytes, and what it refuses to read.
#![cfg(feature = "message-pack")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;

use logux_codecs::{
    Added, Codec, Json, Limits, Message, MessagePack, MessagePackError, Rare, Subprotocol, Sync,
    Timestamp, Value, WireId, WireMeta,
};
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

#[cfg(feature = "conformance")]
#[test]
fn message_pack_keeps_the_contract_of_codecs() {
    logux_codecs::conformance::codec(&MessagePack);
}

/// An event in the smallest `sync`.
fn sync<E>(event: E) -> Message<E> {
    let meta = WireMeta {
        id: WireId::Absolute { time: Timestamp::new(1).unwrap(), author: None },
        time: 1,
        subprotocol: None,
        extra: Rare::default(),
    };
    Message::Sync(Sync { added: Added::ZERO, entries: vec![(event, meta)] })
}

fn encode<E: Serialize>(message: &Message<E>) -> Vec<u8> {
    let mut frame = Vec::new();
    MessagePack.encode(message, &mut frame).unwrap();
    frame
}

fn decode<E: DeserializeOwned>(frame: &[u8]) -> Result<Message<E>, MessagePackError> {
    MessagePack.decode(frame, Limits::default())
}

/// What lies before and after the event in [`sync`].
const BEFORE: &[u8] = b"\x94\xa4sync\x00";
const AFTER: &[u8] = b"\x82\xa2id\xa10\xa4time\x01";

/// The bytes of an event alone.
fn bytes<E: Serialize>(event: E) -> Vec<u8> {
    let frame = encode(&sync(event));
    frame.strip_prefix(BEFORE).unwrap().strip_suffix(AFTER).unwrap().to_vec()
}

fn unwritable<E: Serialize>(event: E) -> MessagePackError {
    MessagePack.encode(&sync(event), &mut Vec::new()).unwrap_err()
}

/// Reads an event of these bytes.
fn read<E: DeserializeOwned>(event: &[u8]) -> Result<E, String> {
    match decode(&[BEFORE, event, AFTER].concat()) {
        Ok(Message::Sync(mut sync)) => Ok(sync.entries.remove(0).0),
        Ok(_) => panic!("a sync is read as another message"),
        Err(error) => Err(std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

/// The same in JSON.
fn read_json<E: DeserializeOwned>(event: &str) -> Result<E, String> {
    let frame = format!(r#"["sync",0,{event},{{"id":"0","time":1}}]"#);
    match Json.decode(frame.as_bytes(), Limits::default()) {
        Ok(Message::Sync(mut sync)) => Ok(sync.entries.remove(0).0),
        Ok(_) => panic!("a sync is read as another message"),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether another crate has turned on `serde_json/arbitrary_precision`. The reference does not know
/// the numbers of `serde_json` then.
fn numbers_are_texts() -> bool {
    let number: Value = serde_json::from_str("1.00").unwrap();
    let text = number.to_string();
    text == "1.00"
}

fn reference<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut writer).unwrap();
    bytes
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[test]
fn frames_are_laid_out_as_those_of_json() {
    // Read into a type that keeps the order: the keys of a `Value` are sorted.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ordered {
        r#type: String,
        n: f64,
    }

    for (json, expected) in [
        (r#"["ping",7]"#, "92a470696e6707"),
        (r#"["synced",65536]"#, "92a673796e636564ce00010000"),
        (r#"["connect",7,"10:uuid",0]"#, "94a7636f6e6e65637407a731303a7575696400"),
        (
            r#"["connected",7,"server:x",[1795391894738,1795391894740],{"subprotocol":2}]"#,
            "95a9636f6e6e656374656407a87365727665723a7892cf000001a205b234d2cf000001a205b234d4\
             81ab73756270726f746f636f6c02",
        ),
        (
            r#"["sync",3,{"type":"a","n":-1.5},{"id":"OzcVoWD 10:uuid","time":-3}]"#,
            "94a473796e630382a474797065a161a16ecbbff8000000000000\
             82a26964af4f7a63566f57442031303a75756964a474696d65fd",
        ),
        (r#"["headers",{}]"#, "92a76865616465727380"),
        (r#"["error","wrong-credentials"]"#, "92a56572726f72b177726f6e672d63726564656e7469616c73"),
        (r#"["debug","error","é"]"#, "93a56465627567a56572726f72a2c3a9"),
    ] {
        let message = Json.decode::<Ordered>(json.as_bytes(), Limits::default()).unwrap();
        let frame = encode(&message);
        assert_eq!(hex(&frame), expected, "{json}");
        assert_eq!(decode::<Ordered>(&frame).unwrap(), message);
    }
}

#[test]
fn integers_have_their_smallest_form() {
    for (number, expected) in [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65_535, "cdffff"),
        (65_536, "ce00010000"),
        (u32::MAX.into(), "ceffffffff"),
        (1 << 32, "cf0000000100000000"),
        (i64::MAX, "cf7fffffffffffffff"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-128, "d080"),
        (-129, "d1ff7f"),
        (-32_768, "d18000"),
        (-32_769, "d2ffff7fff"),
        (i32::MIN.into(), "d280000000"),
        (i64::from(i32::MIN) - 1, "d3ffffffff7fffffff"),
        (i64::MIN, "d38000000000000000"),
    ] {
        assert_eq!(hex(&bytes(number)), expected, "{number}");
        assert_eq!(read(&bytes(number)), Ok(number));
    }
    assert_eq!(hex(&bytes(u64::MAX)), "cfffffffffffffffff");
    assert_eq!((bytes(-7_i8), bytes(200_u8)), (bytes(-7_i64), bytes(200_u64)));
}

#[cfg(feature = "conformance")]
#[test]
fn every_message_has_the_bytes_of_the_reference() {
    if numbers_are_texts() {
        return;
    }
    for message in logux_codecs::conformance::messages() {
        assert_eq!(hex(&encode(&message)), hex(&reference(&message)), "{message:?}");
    }
}

#[test]
fn generated_values_have_the_bytes_of_the_reference_and_read_back() {
    let is_reference = !numbers_are_texts();
    for seed in 0..100_000 {
        let value = Random(seed).value(4);
        let written = bytes(&value);
        if is_reference {
            assert_eq!(hex(&written), hex(&reference(&value)), "seed {seed}: {value}");
        }
        assert_eq!(read(&written), Ok(value), "seed {seed}");
    }
}

#[test]
fn lengths_have_their_smallest_form() {
    for length in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
        let text = "x".repeat(length);
        assert_eq!(bytes(&text), reference(&text), "a text of {length}");
        assert_eq!(read(&bytes(&text)), Ok(text));
        let array = vec![(); length];
        assert_eq!(bytes(&array), reference(&array), "an array of {length}");
        assert_eq!(read(&bytes(&array)), Ok(array));
        let map: BTreeMap<String, u8> = (0..length).map(|n| (format!("{n:05}"), 7)).collect();
        assert_eq!(bytes(&map), reference(&map), "a map of {length}");
        assert_eq!(read(&bytes(&map)), Ok(map));
    }
}

/// As `len` says, or not at all, or wrongly.
struct Counted {
    items: usize,
    said: Option<usize>,
}

struct CountedMap(Counted);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(self.said)?;
        (0..self.items).try_for_each(|n| items.serialize_element(&n))?;
        items.end()
    }
}

impl Serialize for CountedMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_map(self.0.said)?;
        (0..self.0.items).try_for_each(|n| entries.serialize_entry(&format!("{n:05}"), &n))?;
        entries.end()
    }
}

#[test]
fn a_length_that_is_not_known_or_not_true_is_put_right() {
    for items in [0, 1, 15, 16, 17, 300, 65_535, 65_536] {
        for said in [None, Some(0), Some(items), Some(items + 1), Some(20), Some(70_000)] {
            let array: Vec<_> = (0..items).collect();
            let written = bytes(Counted { items, said });
            assert!(written == reference(&array), "an array of {items}, said to have {said:?}");
            let map: BTreeMap<_, _> = (0..items).map(|n| (format!("{n:05}"), n)).collect();
            let written = bytes(CountedMap(Counted { items, said }));
            assert!(written == reference(&map), "a map of {items}, said to have {said:?}");
        }
    }
}

/// Texts that are written bit by bit.
#[test]
fn a_text_that_is_displayed_is_written_as_if_it_was_there() {
    struct Displayed(usize);

    impl Serialize for Displayed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{:é>width$}", "", width = self.0))
        }
    }

    for width in [0, 1, 15, 16, 127, 128, 32_767, 32_768, 40_000] {
        assert_eq!(bytes(Displayed(width)), reference(&"é".repeat(width)), "{width}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { a: u8, b: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Newtype(BTreeMap<String, u8>),
    Struct { a: u8, b: Option<String>, c: External },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { a: u8, b: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Tuple(u8, String),
    Struct { a: u8, b: Option<String> },
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    first: char,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    left_out: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(i64);

/// The type's bytes are the reference's, and the event is the same in JSON, itself and as a value.
fn is_the_same_event<E: Serialize + DeserializeOwned + PartialEq + Debug>(event: E) {
    if !numbers_are_texts() {
        assert_eq!(hex(&bytes(&event)), hex(&reference(&event)), "{event:?}");
    }
    means_what_json_means(event);
}

fn means_what_json_means<E: Serialize + DeserializeOwned + PartialEq + Debug>(event: E) {
    let written = bytes(&event);
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(read::<Value>(&written), read_json::<Value>(&json), "{event:?}");
    assert_eq!(read_json::<E>(&json).as_ref(), Ok(&event));
    assert_eq!(read::<E>(&written), Ok(event));
}

#[test]
fn every_shape_of_serde_is_that_of_the_reference_and_of_json() {
    let text = || "é".to_owned();
    for event in [
        External::Unit,
        External::Newtype(1),
        External::Tuple(1, text()),
        External::Struct { a: 1, b: None },
        External::Struct { a: 1, b: Some(text()) },
    ] {
        is_the_same_event(event.clone());
        is_the_same_event(vec![event.clone(), External::Unit, event.clone()]);
        is_the_same_event(Internal::Struct { a: 1, b: Some(text()), c: event });
    }
    is_the_same_event(Internal::Unit);
    is_the_same_event(Internal::Newtype([(text(), 1)].into()));
    for event in [
        Adjacent::Unit,
        Adjacent::Newtype(1),
        Adjacent::Tuple(1, text()),
        Adjacent::Struct { a: 1, b: None },
    ] {
        is_the_same_event(event);
    }
    for event in [
        Untagged::Number(1),
        Untagged::Tuple(1, text()),
        Untagged::Struct { a: 1, b: None },
        Untagged::Text(text()),
    ] {
        is_the_same_event(event);
    }
    for count in [0, 1, 14, 15, 16, 70_000] {
        let rest = (0..count).map(|n| (format!("{n:05}"), json!([n, { "a": null }]))).collect();
        is_the_same_event(Flat { first: '\u{1F600}', rest, left_out: None });
    }
    is_the_same_event(Newtype(-5));
    is_the_same_event((1_u8, -1_i8, 70_000_u32, i16::MIN, true, 'x', (), Some(1), [1.5_f64, -0.0]));
    is_the_same_event(vec![None, Some(vec![text()])]);
    is_the_same_event((f64::MAX, f64::MIN_POSITIVE, 5e-324, u64::MAX, i64::MIN).0);
    is_the_same_event(HashMap::from([(text(), Newtype(1))]));
}

/// A type with a form for humans has it in every codec: an event is the same in all.
#[test]
fn types_have_their_form_for_humans() {
    is_the_same_event("127.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(bytes("127.0.0.1".parse::<IpAddr>().unwrap()), bytes("127.0.0.1"));
}

/// Here rmp-serde writes an empty array, which is no unit in JSON.
#[test]
fn a_struct_without_fields_is_nil() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    assert_eq!(bytes(Unit), b"\xc0");
    means_what_json_means(Unit);
}

/// Here rmp-serde writes the numbers, which no node with JSON could be told.
#[test]
fn a_number_that_is_not_finite_is_nil() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(bytes(number), b"\xc0");
    }
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(bytes(number), b"\xc0");
    }
}

/// Here rmp-serde writes a float of 32 bits, of which a relay that knows doubles makes another number.
#[test]
fn a_float_of_32_bits_is_the_number_that_json_has_for_it() {
    for (single, double) in [
        (0.0, 0.0),
        (-0.0, -0.0),
        (0.5, 0.5),
        (0.1, 0.1),
        (-3.3, -3.3),
        (16_777_216.0, 16_777_216.0),
        (f32::MAX, 3.402_823_5e38),
        (f32::MIN, -3.402_823_5e38),
        (f32::MIN_POSITIVE, 1.175_494_4e-38),
        (1e-45, 1e-45),
    ] {
        assert_eq!(hex(&bytes(single)), hex(&bytes::<f64>(double)), "{single}");
        means_what_json_means(single);
    }
    let mut random = 7_u64;
    for _ in 0..10_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let single = f32::from_bits((random >> 32) as u32);
        if single.is_finite() {
            means_what_json_means(single);
        }
    }
    assert_eq!(read(b"\xca\x3d\xcc\xcc\xcd"), Ok(0.1_f32), "as other programs write it");
}

/// Here rmp-serde writes an extension.
#[test]
fn there_are_no_extensions() {
    #[derive(Serialize)]
    #[serde(rename = "_ExtStruct")]
    struct Extension((i8, u8));

    assert_eq!(bytes(Extension((1, 2))), b"\x92\x01\x02");
    for extension in [
        b"\xd4\x01\x00".as_slice(),
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xc7\x01\x01\x00",
        b"\xc7\x00\x01",
    ] {
        assert!(read::<Value>(extension).is_err(), "{extension:x?}");
        assert!(read::<Newtype>(extension).is_err(), "{extension:x?}");
        assert!(read::<Vec<Value>>(extension).is_err(), "{extension:x?}");
        assert!(read::<serde::de::IgnoredAny>(extension).is_err(), "{extension:x?}");
    }
}

/// Here rmp-serde writes 16 bytes.
#[test]
fn an_integer_of_128_bits_is_written_where_64_hold_it() {
    assert_eq!(bytes(u128::from(u64::MAX)), bytes(u64::MAX));
    assert_eq!(bytes(i128::from(i64::MIN)), bytes(i64::MIN));
    assert_eq!(bytes(i128::from(u64::MAX)), bytes(u64::MAX));
    assert_eq!(read(&bytes(7_u128)), Ok(7_u128));
    assert_eq!(read(&bytes(-7_i128)), Ok(-7_i128));
    assert!(matches!(unwritable(u128::MAX), MessagePackError::Integer));
    assert!(matches!(unwritable(i128::MIN), MessagePackError::Integer));
    assert!(matches!(unwritable(i128::from(u64::MAX) + 1), MessagePackError::Integer));
}

/// Here rmp-serde writes the numbers themselves.
#[test]
fn keys_are_written_as_texts_and_read_from_them() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Name {
        One,
        Two,
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Key(i16);

    assert_eq!(bytes(BTreeMap::from([(-5, 1)])), b"\x81\xa2-5\x01");
    means_what_json_means(BTreeMap::from([(0_u8, 1), (255, 1)]));
    means_what_json_means(BTreeMap::from([(i64::MIN, 1), (i64::MAX, 1)]));
    means_what_json_means(BTreeMap::from([(i128::MIN, 1), (i128::MAX, 1)]));
    means_what_json_means(BTreeMap::from([(u128::MAX, 1)]));
    means_what_json_means(BTreeMap::from([(true, 1), (false, 2)]));
    means_what_json_means(BTreeMap::from([('é', 1), ('\0', 2)]));
    means_what_json_means(BTreeMap::from([(Name::One, 1), (Name::Two, 2)]));
    means_what_json_means(BTreeMap::from([(Key(1), 1), (Key(-2), 2)]));
    means_what_json_means(BTreeMap::from([(Some("a".to_owned()), 1)]));
    means_what_json_means(BTreeMap::from([("::1".parse::<IpAddr>().unwrap(), 1)]));
}

struct FloatKeys<T>(Vec<T>);

impl<T: Serialize> Serialize for FloatKeys<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|key| (key, ())))
    }
}

#[test]
fn keys_that_are_floats_are_spelled_as_in_json() {
    let keys = vec![1.0, -0.5, 1e300, 5e-324, 0.1, 1e16, 1e-5, 123_456_789.125];
    let json = serde_json::to_string(&FloatKeys(keys.clone())).unwrap();
    assert_eq!(read::<Value>(&bytes(FloatKeys(keys))), read_json(&json));
    let json = serde_json::to_string(&FloatKeys(vec![0.1_f32])).unwrap();
    assert_eq!(read::<Value>(&bytes(FloatKeys(vec![0.1_f32]))), read_json(&json));
    assert!(matches!(unwritable(FloatKeys(vec![f64::NAN])), MessagePackError::Key));
    assert!(matches!(unwritable(FloatKeys(vec![f32::INFINITY])), MessagePackError::Key));
}

#[test]
fn keys_that_have_no_text_are_refused() {
    for error in [
        unwritable(BTreeMap::from([((), 1)])),
        unwritable(BTreeMap::from([(None::<String>, 1)])),
        unwritable(BTreeMap::from([(vec![1], 1)])),
        unwritable(BTreeMap::from([((1, 2), 1)])),
        unwritable(BTreeMap::from([(BTreeMap::from([(1, 1)]), 1)])),
        unwritable(BTreeMap::from([(serde_bytes::ByteBuf::from(vec![1]), 1)])),
    ] {
        assert!(matches!(error, MessagePackError::Key), "{error}");
    }
}

#[test]
fn an_event_that_fails_to_be_written_says_why() {
    struct Failing;

    impl Serialize for Failing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    assert_eq!(unwritable(Failing).to_string(), "the event cannot be written: not today");
}

#[test]
fn integers_written_as_floats_are_integers_of_the_protocol() {
    let ping = |number: &[u8]| decode::<Value>(&[b"\x92\xa4ping", number].concat());
    let five = Message::Ping(Added::new(5).unwrap());
    assert_eq!(ping(b"\xcb\x40\x14\0\0\0\0\0\0").unwrap(), five);
    assert_eq!(ping(b"\xca\x40\xa0\0\0").unwrap(), five);
    assert_eq!(ping(b"\xcb\x80\0\0\0\0\0\0\0").unwrap(), Message::Ping(Added::ZERO));
    // Longer than needed is a number still.
    assert_eq!(ping(b"\xcf\0\0\0\0\0\0\0\x05").unwrap(), five);
    assert_eq!(ping(b"\xd3\0\0\0\0\0\0\0\x05").unwrap(), five);
    for wrong in [
        b"\xcb\x40\x14\0\0\0\0\0\x01".as_slice(), // 5.000000000000001
        b"\xcb\x7f\xf8\0\0\0\0\0\0",              // NaN
        b"\xcb\x7f\xf0\0\0\0\0\0\0",              // infinity
        b"\xcb\x43\x40\0\0\0\0\0\0",              // 2^53
        b"\xcb\xc0\x14\0\0\0\0\0\0",              // -5
        b"\xff",                                  // -1
        b"\xc0",                                  // nil
        b"\xa15",                                 // "5"
    ] {
        assert!(ping(wrong).is_err(), "{wrong:x?}");
    }
    let connect =
        b"\x95\xa7connect\xca\x40\xe0\0\0\xa1a\0\x81\xabsubprotocol\xcb\x40\x08\0\0\0\0\0\0";
    let Message::Connect(connect) = decode::<Value>(connect).unwrap() else { panic!() };
    assert_eq!((connect.protocol, connect.subprotocol), (7, Some(Subprotocol::new(3, 0))));
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    for (frame, reason) in [
        (b"".as_slice(), "marker"),
        (b"\x80", "an array that starts with its type"),
        (b"\xa4ping", "an array that starts with its type"),
        (b"\xc1", "Reserved"),
        (b"\x90", "ends before a type"),
        (b"\x91\x01", "the type of a message"),
        (b"\x91\xc4\x04ping", "byte array"),
        (b"\x92\xa2\xc3\x28\x01", "utf8"),
        (b"\x91\xa4ping", "ends before a position"),
        (b"\x93\xa4ping\x01\x02", "too many items"),
        (b"\x94\xa7connect\x07\xa1a\x91\x00", "an integer"),
        (b"\x93\xa5debug\xa5error\xc4\x01a", "byte array"),
        (b"\x92\xa7headers\x81\x01\x02", "no text"),
        (b"\x92\xa7headers\x81\xc0\x02", "no text"),
        (b"\x92\xa7headers\x81\xc4\x01a\x02", "byte array"),
    ] {
        let error = decode::<Value>(frame).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(reason), "{frame:x?}: {source}");
        assert_eq!(error.to_string(), "the MessagePack is not a message");
    }
    let error = decode::<Value>(b"\x92\xa4ping\x01\xc0").unwrap_err();
    assert!(matches!(error, MessagePackError::Trailing), "{error}");
}

#[test]
fn a_length_that_the_frame_does_not_keep_makes_no_room() {
    fn costs_little<E: DeserializeOwned + Debug>() {
        let lengths = [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"];
        for frame in lengths.map(|marker| [BEFORE, marker, &[0xff; 4], &[1; 64]].concat()) {
            let used = allocation_counter::measure(|| drop(decode::<E>(&frame).unwrap_err()));
            assert!(used.bytes_max < 8192, "{} bytes for {frame:x?}", used.bytes_max);
        }
        for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
            let used = allocation_counter::measure(|| {
                drop(decode::<E>(&[marker, 0xff, 0xff, 0xff, 0xff]).unwrap_err());
            });
            assert!(used.bytes_max < 512, "{} bytes for {marker:x}", used.bytes_max);
        }
    }

    costs_little::<Vec<u64>>();
    costs_little::<HashMap<String, u64>>();
    costs_little::<String>();
    costs_little::<serde_bytes::ByteBuf>();
    costs_little::<Value>();
    costs_little::<Internal>();
    costs_little::<External>();
}

/// Here rmp-serde writes bytes, which a relay that reads any value could not read.
#[test]
fn bytes_are_written_as_numbers_and_read_as_both() {
    for length in [0, 1, 15, 16, 255, 256, 65_535, 65_536] {
        let numbers: Vec<u8> = (0..length).map(|n: usize| n.to_le_bytes()[0]).collect();
        let binary = serde_bytes::ByteBuf::from(numbers.clone());
        assert!(bytes(&binary) == bytes(&numbers), "{length} bytes");
        assert_eq!(read(&bytes(&binary)).as_ref(), Ok(&binary));
        assert_eq!(read(&reference(&binary)), Ok(binary));
        assert_eq!(read::<Value>(&bytes(&numbers)), Ok(numbers.into()));
    }
}

#[test]
fn texts_are_texts_and_bytes_are_bytes() {
    assert!(read::<String>(b"\xc4\x01a").is_err(), "bytes for a text");
    assert!(read::<Value>(b"\xc4\x01a").is_err(), "bytes for any value");
    assert!(read::<serde::de::IgnoredAny>(b"\xc4\x01a").is_err(), "bytes for nothing");
    assert!(read::<String>(b"\xa2\xc3\x28").is_err(), "what is not UTF-8");
    assert!(read::<Value>(b"\xa2\xc3\x28").is_err(), "what is not UTF-8");
    assert!(read::<Vec<u8>>(b"\xc4\x01a").is_err(), "bytes for an array");
    assert!(read::<[u8; 1]>(b"\xc4\x01a").is_err(), "bytes for an array");
    assert!(read::<Two>(b"\xc4\x02ab").is_err(), "bytes for a struct");
    assert!(read::<External>(b"\xc4\x04Unit").is_err(), "bytes for a variant");
    assert!(read::<Newtype>(b"\x81\xc4\x01a\x01").is_err(), "bytes for a key");
}

#[derive(Debug, PartialEq, Deserialize)]
struct Two {
    a: u8,
    b: u8,
}

/// Types that serde derives would take the number of a field or variant for its name.
#[test]
fn keys_and_names_are_texts() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    enum Name {
        One(u8),
    }

    assert_eq!(read(b"\x82\xa1a\x01\xa1b\x02"), Ok(Two { a: 1, b: 2 }));
    assert!(read::<Two>(b"\x82\x00\x01\x01\x02").is_err());
    assert!(read::<Value>(b"\x81\x01\x02").is_err());
    assert!(read::<BTreeMap<u8, u8>>(b"\x81\x01\x02").is_err());
    assert!(read::<BTreeMap<Option<u8>, u8>>(b"\x81\x01\x02").is_err());
    assert!(read::<BTreeMap<bool, u8>>(b"\x81\xc3\x02").is_err());
    assert!(read::<BTreeMap<Vec<u8>, u8>>(b"\x81\x91\x01\x02").is_err());
    assert!(read::<BTreeMap<Name, u8>>(b"\x81\x81\xa3One\x01\x02").is_err());
    assert!(read::<serde::de::IgnoredAny>(b"\x81\x01\x02").is_err());
    assert_eq!(read(b"\xa4Unit"), Ok(External::Unit));
    assert!(read::<External>(b"\x00").is_err());
    assert!(read::<External>(b"\x81\x01\x07").is_err());
    assert!(read::<Internal>(b"\x81\xa4type\x00").is_err());
}

/// One variant has one form, and does not reach beyond it.
#[test]
fn an_enum_is_a_text_or_an_object_of_one_entry() {
    for (message_pack, json, taken) in [
        (b"\x81\xa7Newtype\x07".as_slice(), r#"{"Newtype":7}"#, true),
        (b"\x81\xa4Unit\xc0", r#"{"Unit":null}"#, true),
        (b"\x91\xa7Newtype\x07", r#"["Newtype"],7"#, false),
        (b"\x91\xa7Newtype", r#"["Newtype"]"#, false),
        (b"\x91\xa4Unit", r#"["Unit"]"#, false),
        (b"\x80", "{}", false),
        (b"\x82\xa7Newtype\x07\xa4Unit\xc0", r#"{"Newtype":7,"Unit":null}"#, false),
        (b"\xa7Newtype", r#""Newtype""#, false),
        (b"\xc0", "null", false),
        (b"\x07", "7", false),
        (b"\x81\xa4Unit\x01", r#"{"Unit":1}"#, false),
        (b"\x81\xa5Tuple\x91\x01", r#"{"Tuple":[1]}"#, false),
    ] {
        assert_eq!(read::<External>(message_pack).is_ok(), taken, "{message_pack:x?}");
        assert_eq!(read_json::<External>(json).is_ok(), taken, "{json}");
    }
}

#[test]
fn what_json_reads_of_a_struct_is_read() {
    for (message_pack, json) in [
        (b"\x92\x01\x02".as_slice(), "[1,2]"),
        (b"\x82\xa1a\x01\xa1a\x01", r#"{"a":1,"a":1}"#),
        (b"\x83\xa1a\x01\xa1b\x02\xa1c\x90", r#"{"a":1,"b":2,"c":[]}"#),
        (b"\x81\xa1a\x01", r#"{"a":1}"#),
        (b"\x82\xa1a\x01\xa1b\xcd\x01\x00", r#"{"a":1,"b":256}"#),
        (b"\x82\xa1a\x01\xa1b\xff", r#"{"a":1,"b":-1}"#),
    ] {
        let message_pack = read::<Two>(message_pack);
        assert_eq!(message_pack.ok(), read_json::<Two>(json).ok(), "{json}");
    }
    let last = read::<Value>(b"\x82\xa1a\x01\xa1a\x02");
    assert_eq!(last, read_json(r#"{"a":1,"a":2}"#));
    assert_eq!(last, Ok(json!({ "a": 2 })));
}

/// A generator (splitmix64): a seed is one value for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn text(&mut self) -> String {
        let most = [2, 8, 34, 300][usize::try_from(self.below(4)).unwrap()];
        let characters = ['a', 'é', '\u{1F600}', '\0', '"', '\u{FFFF}'];
        (0..self.below(most)).map(|_| characters[usize::try_from(self.below(6)).unwrap()]).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => (self.below(2) == 0).into(),
            // Of each length in bits.
            2 => (self.next() >> self.below(64)).into(),
            3 => (self.next().cast_signed() >> self.below(64)).into(),
            4 => Some(f64::from_bits(self.next())).filter(|n| n.is_finite()).into(),
            5 | 6 => self.text().into(),
            7 => {
                let most = [4, 18][usize::from(self.below(8) == 0)];
                (0..self.below(most)).map(|_| self.value(depth - 1)).collect()
            }
            _ => {
                let most = [4, 18][usize::from(self.below(8) == 0)];
                let entries = (0..self.below(most)).map(|_| (self.text(), self.value(depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }
}
