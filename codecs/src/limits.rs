//! How far a peer's bytes are believed, whatever wrote them.
//!
//! A format's own reader trusts what it reads in ways that differ from format to format: how deep a
//! value may nest, how long an array says that it is, whether there are types of value besides those
//! of the protocol. So each message is read through [`Bounded`], which asks the format's reader for
//! the same things and lets through only what the protocol knows. It is the one place for that.

use std::cell::Cell;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::message::Message;
use crate::precise::{self, Number, Shown};
use crate::reserved::RAW_VALUE;
use crate::wire::MessageVisitor;

/// What a message may ask of the node that reads it.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codec, Json, Limits, Value};
///
/// let deep = format!(r#"["headers",{{"a":{}1{}}}]"#, "[".repeat(70), "]".repeat(70));
/// assert!(Json.decode::<Value>(deep.as_bytes(), Limits::default()).is_err());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many bytes the frame may have, also once it is expanded: 1 MiB.
    ///
    /// For a codec that expands what came, by decompression for instance: it must not expand beyond
    /// this. All others need not look at it, for the session bounds what it receives.
    pub frame: usize,
    /// How many arrays and objects may lie in each other, the message itself included: 64.
    pub depth: usize,
    /// How many events may come in one `sync`: 10,000.
    pub events: usize,
    /// How many objects may be in a message: 100,000. An object of three bytes can take several
    /// hundred where it is read as a [`Value`](crate::Value).
    pub objects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: 1 << 20, depth: 64, events: 10_000, objects: 100_000 }
    }
}

impl Limits {
    /// Sets how many bytes the frame may have, also once a codec has expanded it.
    #[must_use]
    pub const fn frame(mut self, bytes: usize) -> Self {
        self.frame = bytes;
        self
    }

    /// Sets how many arrays and objects may lie in each other. Above some 100 the stack of a thread
    /// may be too small for the types of some events.
    #[must_use]
    pub const fn depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Sets how many events may come in one `sync`.
    #[must_use]
    pub const fn events(mut self, count: usize) -> Self {
        self.events = count;
        self
    }

    /// Sets how many objects may be in a message.
    #[must_use]
    pub const fn objects(mut self, count: usize) -> Self {
        self.objects = count;
        self
    }

    /// Reads a message from a format's reader, within these limits: what
    /// [`Codec::decode`](crate::Codec::decode) is made of.
    ///
    /// The reader has to describe itself what it reads, as those of JSON, MessagePack and CBOR do.
    /// Beyond what its format brings, this refuses what nests too deep, types of value that JSON
    /// does not have (bytes where none are asked for, extensions), numbers that are not finite or
    /// would not be in the `f32` that asks for them, and keys and names of variants that are not text;
    /// it reads numbers and booleans that are keys from their text, as JSON writes them; and it
    /// allocates for what has arrived, not for what a length promises.
    ///
    /// Where serde holds a number back to ask for its type later (in an enum with a `tag`, in an
    /// untagged one, under `flatten`), it becomes an infinite `f32` without a word: an event that can be
    /// read and not be sent, which [`EventLimits::check`](crate::EventLimits::check) finds.
    ///
    /// Where another crate of the program has turned on `serde_json/arbitrary_precision`, numbers
    /// are what they are without it. An object whose first key is the one that `serde_json` then
    /// has for numbers is read as the number, or refused, in every format. An object with the key
    /// that `serde_json/raw_value` has for JSON in a text (`$serde_json::private::RawValue`) is
    /// always refused, at any place: `serde_json` would read that text without these limits.
    pub fn read<'de, E, D>(self, deserializer: D) -> Result<Message<E>, D::Error>
    where
        E: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let objects = Cell::new(self.objects);
        let room = Room { depth: self.depth, objects: &objects };
        let bounded = Bounded { inner: deserializer, room, key: false };
        bounded.deserialize_seq(MessageVisitor::new(self.events))
    }

    /// Reads one item of a message apart from the others; `objects` are left for it and for the items after it.
    #[cfg(feature = "json")]
    pub(crate) fn item<'de, T, D>(
        self,
        deserializer: D,
        objects: &Cell<usize>,
    ) -> Result<T, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let room = Room { depth: self.depth.saturating_sub(1), objects };
        T::deserialize(Bounded { inner: deserializer, room, key: false })
    }
}

/// A message that is read without a codec is held to the default limits.
impl<'de, E: Deserialize<'de>> Deserialize<'de> for Message<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Limits::default().read(deserializer)
    }
}

/// No more than so many items are made room for before they have arrived.
const MAX_HINT: usize = 64;

/// What may still come.
#[derive(Clone, Copy)]
struct Room<'c> {
    /// How many more levels may be entered from here.
    depth: usize,
    /// How many more objects the message may have.
    objects: &'c Cell<usize>,
}

/// Something of serde's, within limits: a deserializer, a seed, or access to parts.
struct Bounded<'c, T> {
    inner: T,
    room: Room<'c>,
    /// Whether this reads a key of a map.
    key: bool,
}

/// A visitor, and what the user's type asked for.
struct Asking<'c, V> {
    visitor: V,
    room: Room<'c>,
    asked: Asked,
    /// Whether what comes is a key of an object.
    key: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whatever comes.
    Any,
    /// A type that no rule is about.
    Known,
    /// Nothing: what comes is skipped.
    Ignored,
    Bytes,
    Newtype,
    Option,
    /// The name of a field or a variant. Types that serde derives would take its number, too.
    Name,
    Enum,
    /// A float of 32 bits.
    Single,
    /// A float of 64 bits.
    Double,
    /// The key of a map that is not text to the user's type.
    Key(Key),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Bool,
    Signed,
    Unsigned,
    Single,
    Double,
}

impl<'c, T> Bounded<'c, T> {
    fn asking<V>(&self, visitor: V, asked: Asked) -> Asking<'c, V> {
        Asking { visitor, room: self.room, asked, key: self.key }
    }

    fn asking_for_key<V>(&self, visitor: V, key: Key) -> Asking<'c, V> {
        let asked = match key {
            _ if self.key => Asked::Key(key),
            Key::Single => Asked::Single,
            Key::Double => Asked::Double,
            Key::Bool | Key::Signed | Key::Unsigned => Asked::Known,
        };
        self.asking(visitor, asked)
    }
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.asking(visitor, Asked::Known);
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! forward_keys {
    ($($method:ident $key:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.asking_for_key(visitor, Key::$key);
            // A reader that is asked for a number may not look for a text.
            if self.key { self.inner.deserialize_any(visitor) } else { self.inner.$method(visitor) }
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking(visitor, Asked::Any);
        self.inner.deserialize_any(visitor)
    }

    forward! {
        deserialize_char deserialize_str deserialize_string
        deserialize_map
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking(visitor, Asked::Ignored);
        self.inner.deserialize_ignored_any(visitor)
    }

    forward_keys! {
        deserialize_bool Bool
        deserialize_i8 Signed deserialize_i16 Signed deserialize_i32 Signed
        deserialize_i64 Signed deserialize_i128 Signed
        deserialize_u8 Unsigned deserialize_u16 Unsigned deserialize_u32 Unsigned
        deserialize_u64 Unsigned deserialize_u128 Unsigned
        deserialize_f64 Double
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking_for_key(visitor, Key::Single);
        if self.key {
            return self.inner.deserialize_any(visitor);
        }
        // Events have doubles, also where a type asks for less, and the reader of a binary format may
        // refuse one that is asked for 32 bits. Those of texts round a number once instead of twice.
        if self.inner.is_human_readable() {
            self.inner.deserialize_f32(visitor)
        } else {
            self.inner.deserialize_f64(visitor)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if self.key {
            // A key is there.
            return visitor.visit_some(self);
        }
        let visitor = self.asking(visitor, Asked::Option);
        self.inner.deserialize_option(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking(visitor, Asked::Name);
        self.inner.deserialize_identifier(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking(visitor, Asked::Bytes);
        if self.inner.is_human_readable() {
            self.inner.deserialize_bytes(visitor)
        } else {
            // Nodes with JSON send an array, which the reader of a binary format may refuse.
            self.inner.deserialize_any(visitor)
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.asking(visitor, Asked::Bytes);
        if self.inner.is_human_readable() {
            self.inner.deserialize_byte_buf(visitor)
        } else {
            // Nodes with JSON send an array, which the reader of a binary format may refuse.
            self.inner.deserialize_any(visitor)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        // Nothing is `null`, also where the format has another form for a unit.
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if self.key {
            // The type around a key does not change how the key is read.
            return visitor.visit_newtype_struct(self);
        }
        let visitor = self.asking(visitor, Asked::Newtype);
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    /// As any value, and so the next: readers differ in what they take for items, bytes or less.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // Readers differ in what else they take for an enum: numbers of variants, arrays.
        let visitor = self.asking(visitor, Asked::Enum);
        self.inner.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl Room<'_> {
    /// One level further in.
    fn enter<E: de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom("arrays and objects nest too deep")),
        }
    }

    /// Into an object.
    fn enter_object<E: de::Error>(self) -> Result<Self, E> {
        match self.objects.get().checked_sub(1) {
            Some(left) => self.objects.set(left),
            None => return Err(E::custom("the message has too many objects")),
        }
        self.enter()
    }
}

impl<V> Asking<'_, V> {
    /// Refuses everything but text where text has to come.
    fn refuse_where_a_text_is_due<E: de::Error>(&self) -> Result<(), E> {
        match self.asked {
            _ if self.key => Err(E::custom("a key of an object is no text")),
            Asked::Name | Asked::Enum => {
                Err(E::custom("the name of a field or variant is no text"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a key by which `serde_json` would read what follows in a way of its own. Not where
    /// it is skipped: the reader of JSON does not show what it skips.
    #[inline]
    fn refuse_a_reserved_key<E: de::Error>(&self, text: &str) -> Result<(), E> {
        if self.key && text == RAW_VALUE && self.asked != Asked::Ignored {
            return Err(E::custom(format_args!(
                "serde_json keeps the key `{RAW_VALUE}` for itself: give it another name"
            )));
        }
        Ok(())
    }

    /// Refuses a number that is not finite, or would not be in the type that asks for it.
    #[inline]
    fn refuse_what_is_infinite<E: de::Error>(&self, number: f64) -> Result<(), E> {
        if !number.is_finite() {
            return Err(E::custom("a number is not finite"));
        }
        if self.asked == Asked::Single && is_beyond_single(number) {
            return Err(E::custom(BEYOND_SINGLE));
        }
        Ok(())
    }
}

/// Whether the number is finite, and infinite as an `f32`. Slightly more than [`f32::MAX`] is not:
/// it is rounded down, as the shortest text of [`f32::MAX`] is.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the question is what is left of it")]
fn is_beyond_single(number: f64) -> bool {
    number.is_finite() && !(number as f32).is_finite()
}

const BEYOND_SINGLE: &str = "a number is out of the range of a float of 32 bits";

macro_rules! visit {
    ($($method:ident $type:ty)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.refuse_where_a_text_is_due()?;
            self.visitor.$method(value)
        }
    )*};
}

macro_rules! visit_text {
    ($($method:ident $type:ty)*) => {$(
        fn $method<E: de::Error>(self, text: $type) -> Result<V::Value, E> {
            self.refuse_a_reserved_key(&text)?;
            match self.asked {
                Asked::Key(key) => key.visit(&text, self.visitor),
                Asked::Enum => self.visitor.visit_enum(StrDeserializer::new(&text)),
                _ => self.visitor.$method(text),
            }
        }
    )*};
}

macro_rules! visit_bytes {
    ($($method:ident $type:ty)*) => {$(
        fn $method<E: de::Error>(self, bytes: $type) -> Result<V::Value, E> {
            match self.asked {
                Asked::Bytes => self.visitor.$method(bytes),
                _ => Err(E::invalid_type(de::Unexpected::Bytes(&bytes), &self.visitor)),
            }
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Asking<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    visit! {
        visit_bool bool
        visit_i8 i8 visit_i16 i16 visit_i32 i32 visit_i64 i64 visit_i128 i128
        visit_u8 u8 visit_u16 u16 visit_u32 u32 visit_u64 u64 visit_u128 u128
        visit_char char
    }

    fn visit_f32<E: de::Error>(self, number: f32) -> Result<V::Value, E> {
        self.refuse_where_a_text_is_due()?;
        self.refuse_what_is_infinite(number.into())?;
        self.visitor.visit_f32(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<V::Value, E> {
        self.refuse_where_a_text_is_due()?;
        self.refuse_what_is_infinite(number)?;
        self.visitor.visit_f64(number)
    }

    visit_text! { visit_str &str visit_borrowed_str &'de str visit_string String }

    visit_bytes! { visit_bytes &[u8] visit_borrowed_bytes &'de [u8] visit_byte_buf Vec<u8> }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.refuse_where_a_text_is_due()?;
        match self.asked {
            Asked::Option => self.visitor.visit_none(),
            _ => self.visitor.visit_unit(),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Bounded { inner, room: self.room, key: self.key })
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.refuse_where_a_text_is_due()?;
        self.visitor.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        if self.asked != Asked::Newtype {
            // How readers show types of value that are not JSON's.
            return Err(de::Error::custom("an extension of the format is no value"));
        }
        self.visitor.visit_newtype_struct(Bounded { inner, room: self.room, key: self.key })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.refuse_where_a_text_is_due()?;
        let room = self.room.enter()?;
        self.visitor.visit_seq(Bounded { inner: items, room, key: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        if self.key {
            self.refuse_where_a_text_is_due()?;
        }
        // The reader of JSON shows a number as a map only where it does not know what is asked for.
        if precise::IS_ON && matches!(self.asked, Asked::Any | Asked::Enum) {
            return match Shown::look(entries)? {
                Shown::Number(Number::Unsigned(number)) => self.visit_u64(number),
                Shown::Number(Number::Negative(number)) => self.visit_i64(number),
                Shown::Number(Number::Float(number)) => self.visit_f64(number),
                Shown::Object(entries) => self.visit_object(entries),
            };
        }
        self.visit_object(entries)
    }
}

impl<V> Asking<'_, V> {
    fn visit_object<'de, A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error>
    where
        V: Visitor<'de>,
    {
        let room = self.room.enter_object()?;
        let entries = Bounded { inner: entries, room, key: false };
        match self.asked {
            Asked::Enum => self.visitor.visit_enum(MapAccessDeserializer::new(entries)),
            _ => self.visitor.visit_map(entries),
        }
    }
}

impl Key {
    /// Reads a key that is not text to the user's type. Canonical spellings only, or two keys of a
    /// peer's could become one.
    fn visit<'de, V: Visitor<'de>, E: de::Error>(
        self,
        text: &str,
        visitor: V,
    ) -> Result<V::Value, E> {
        let is_canonical = |value: &dyn fmt::Display| value.to_string() == text;
        let wrong = |visitor: &V| E::invalid_value(de::Unexpected::Str(text), visitor);
        match self {
            Self::Bool => match text {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => Err(wrong(&visitor)),
            },
            Self::Signed | Self::Unsigned => {
                if let Some(number) = text.parse::<u64>().ok().filter(|n| is_canonical(n)) {
                    visitor.visit_u64(number)
                } else if let Some(number) = text.parse::<i64>().ok().filter(|n| is_canonical(n)) {
                    visitor.visit_i64(number)
                } else if let Some(number) = text.parse::<u128>().ok().filter(|n| is_canonical(n)) {
                    visitor.visit_u128(number)
                } else if let Some(number) = text.parse::<i128>().ok().filter(|n| is_canonical(n)) {
                    visitor.visit_i128(number)
                } else {
                    Err(wrong(&visitor))
                }
            }
            Self::Single | Self::Double => match text.parse::<f64>() {
                Ok(number) if self == Self::Single && is_beyond_single(number) => {
                    Err(E::custom(BEYOND_SINGLE))
                }
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => Err(wrong(&visitor)),
            },
        }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Bounded { inner, room: self.room, key: self.key })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Bounded { inner: seed, room: self.room, key: false })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(MAX_HINT))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Bounded { inner: seed, room: self.room, key: true })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Bounded { inner: seed, room: self.room, key: false })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(MAX_HINT))
    }
}
