//! What every message is held to, whatever wrote it: shown with JSON, and with a format of serde's
//! own that can say more than JSON does.
#![cfg(feature = "json")]

use std::collections::BTreeMap;

use logux_codecs::{Codec, Json, Limits, Message, Value};
use serde::Deserialize;
use serde::de::value::{Error, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

fn event<E: DeserializeOwned>(event: &str, limits: Limits) -> Result<E, String> {
    let frame = format!(r#"["sync",1,{event},{{"id":"1","time":1}}]"#);
    match Json.decode(frame.as_bytes(), limits) {
        Ok(Message::Sync(mut sync)) => Ok(sync.entries.remove(0).0),
        Ok(_) => panic!("no sync"),
        Err(error) => Err(std::error::Error::source(&error).unwrap().to_string()),
    }
}

#[test]
fn arrays_objects_and_variants_count_as_levels_in_values_and_in_types() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum Nest {
        End,
        Deeper(Box<Self>),
        Both { inner: Vec<Self> },
    }

    // The message is the first level.
    let limits = Limits::default().depth(4);
    assert!(event::<Value>(r#"{"a":[{}]}"#, limits).is_ok());
    assert!(event::<Value>(r#"{"a":[{"b":[]}]}"#, limits).unwrap_err().contains("nest too deep"));
    assert!(event::<Nest>(r#"{"Deeper":{"Deeper":{"Deeper":"End"}}}"#, limits).is_ok());
    assert!(event::<Nest>(r#"{"Deeper":{"Deeper":{"Deeper":{"Deeper":"End"}}}}"#, limits).is_err());
    assert!(event::<Nest>(r#"{"Both":{"inner":["End"]}}"#, limits).is_ok());
    assert!(event::<Nest>(r#"{"Both":{"inner":[{"Deeper":"End"}]}}"#, limits).is_err());
}

#[test]
fn keys_are_read_from_their_text_in_one_spelling() {
    type Map<K> = BTreeMap<K, u8>;

    let limits = Limits::default();
    assert_eq!(event::<Map<i64>>(r#"{"-1":1,"5":2}"#, limits), Ok([(-1, 1), (5, 2)].into()));
    assert_eq!(
        event::<Map<u64>>(&format!(r#"{{"{}":1}}"#, u64::MAX), limits),
        Ok([(u64::MAX, 1)].into())
    );
    assert_eq!(
        event::<Map<i128>>(&format!(r#"{{"{}":1}}"#, i128::MIN), limits),
        Ok([(i128::MIN, 1)].into())
    );
    assert_eq!(event::<Map<bool>>(r#"{"true":1}"#, limits), Ok([(true, 1)].into()));
    assert_eq!(event::<Map<char>>(r#"{"a":1}"#, limits), Ok([('a', 1)].into()));
    assert_eq!(event::<Map<Option<u8>>>(r#"{"7":1}"#, limits), Ok([(Some(7), 1)].into()));
    for keys in [r#"{"05":1}"#, r#"{"+5":1}"#, r#"{" 5":1}"#, r#"{"5.0":1}"#, r#"{"":1}"#] {
        assert!(event::<Map<i64>>(keys, limits).is_err(), "{keys}");
    }
    assert!(event::<Map<u8>>(r#"{"256":1}"#, limits).is_err());
    assert!(event::<Map<bool>>(r#"{"True":1}"#, limits).is_err());
}

#[test]
fn a_sync_has_no_more_events_than_allowed() {
    let events = |count: usize| {
        let entries = r#",{},{"id":"1","time":1}"#.repeat(count);
        let frame = format!(r#"["sync",1{entries}]"#);
        Json.decode::<Value>(frame.as_bytes(), Limits::default()).is_ok()
    };
    assert!(events(10_000));
    assert!(!events(10_001));
}

#[test]
fn a_message_has_no_more_objects_than_allowed() {
    let limits = Limits::default().objects(5);
    // The meta is one of them.
    assert!(event::<Value>(r#"[{},{"a":{}},{}]"#, limits).is_ok());
    assert!(
        event::<Value>(r#"[{},{"a":{}},{},{}]"#, limits).unwrap_err().contains("too many objects")
    );
}

/// A format that brings what JSON does not have.
enum Foreign {
    Bytes,
    Extension,
    Text(&'static str),
    List(Vec<Self>),
}

impl<'de> Deserializer<'de> for Foreign {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Bytes => visitor.visit_bytes(b"ping"),
            Self::Extension => visitor.visit_newtype_struct(1_u8.into_deserializer()),
            Self::Text(text) => visitor.visit_str(text),
            Self::List(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Foreign {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[test]
fn what_json_does_not_have_is_refused() {
    let read = |items| Limits::default().read::<Value, _>(Foreign::List(items));
    let headers = || Foreign::Text("new");
    assert!(read(vec![headers(), Foreign::Text("anything")]).is_ok());
    assert!(read(vec![Foreign::Bytes]).is_err(), "bytes are no type of a message");
    assert!(read(vec![headers(), Foreign::Bytes]).is_err(), "not even where all is ignored");
    assert!(read(vec![headers(), Foreign::Extension]).is_err());
    assert!(read(vec![headers(), Foreign::List(vec![Foreign::Extension])]).is_err());
}
