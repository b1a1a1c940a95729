//! Encrypted events: of their type the bytes are arrays of numbers in JSON, and bytes here.

use std::borrow::Cow;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

/// How many bytes `iv` has.
const IV: usize = 12;

/// An encrypted event, exactly.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Encrypted<'a> {
    #[serde(rename = "type")]
    _type: Type,
    pub(super) iv: [u8; IV],
    pub(super) d: Cow<'a, [u8]>,
    pub(super) compressed: bool,
}

#[derive(Deserialize)]
enum Type {
    #[serde(rename = "0")]
    Encrypted,
}

impl<'a> Encrypted<'a> {
    pub(super) fn new(iv: [u8; IV], d: &'a [u8], compressed: bool) -> Self {
        Self { _type: Type::Encrypted, iv, d: Cow::Borrowed(d), compressed }
    }

    /// An event's JSON, if that is what it is. Only what starts like it is read again.
    pub(super) fn from_json(json: &[u8]) -> Option<Encrypted<'static>> {
        const STARTS: [&[u8]; 4] =
            [br#"{"type":"0""#, br#"{"iv":["#, br#"{"d":["#, br#"{"compressed":"#];

        if STARTS.iter().any(|start| json.starts_with(start)) {
            serde_json::from_slice(json).ok()
        } else {
            None
        }
    }

    /// The event for any type to be read from, as from its JSON.
    pub(super) fn deserializer(&self) -> impl Deserializer<'_, Error = serde_json::Error> {
        Part::Event(self)
    }
}

/// The event, or a value in it.
#[derive(Clone, Copy)]
enum Part<'a> {
    Event(&'a Encrypted<'a>),
    Text(&'static str),
    Bytes(&'a [u8]),
    Byte(u8),
    Bool(bool),
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Event(Encrypted { iv, d, compressed, .. }) => {
                let fields = [
                    ("type", Self::Text("0")),
                    ("iv", Self::Bytes(iv)),
                    ("d", Self::Bytes(d)),
                    ("compressed", Self::Bool(*compressed)),
                ];
                visitor.visit_map(MapDeserializer::new(fields.into_iter()))
            }
            Self::Text(text) => visitor.visit_borrowed_str(text),
            Self::Bytes(bytes) => {
                visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied().map(Self::Byte)))
            }
            Self::Byte(byte) => visitor.visit_u64(byte.into()),
            Self::Bool(bool) => visitor.visit_bool(bool),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, serde_json::Error> for Part<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
