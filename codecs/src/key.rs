//! Keys of maps: texts, as in JSON, whatever the key's type is in Rust.

use std::fmt;

use serde::ser::{Error, Impossible, Serialize, Serializer};

/// A place in a frame where one key goes, in a format whose keys are texts.
pub(crate) trait KeySink: Sized {
    /// Why nothing could be written.
    type Error: Error;

    /// Writes a text.
    fn text(self, text: &str) -> Result<(), Self::Error>;

    /// Writes a text that is known only by how it is shown.
    fn displayed<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), Self::Error>;

    /// Writes a finite number as `serde_json` spells it: a float is `1.0`, where
    /// [`Display`](fmt::Display) has `1`.
    fn number<N: Serialize>(self, number: N) -> Result<(), Self::Error>;

    /// Writes a boolean.
    fn boolean(self, value: bool) -> Result<(), Self::Error> {
        self.text(if value { "true" } else { "false" })
    }

    /// The error for a key that has no text.
    fn no_text() -> Self::Error;
}

/// Writes a key into a [`KeySink`], spelled as `serde_json` spells it; refuses what has no text.
pub(crate) struct KeyWriter<S>(pub(crate) S);

impl<S: KeySink> KeyWriter<S> {
    fn finite<N: Serialize>(self, number: N, is_finite: bool) -> Result<(), S::Error> {
        if is_finite { self.0.number(number) } else { Err(S::no_text()) }
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, number: $type) -> Result<(), S::Error> {
            self.0.number(number)
        }
    )*};
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) $result:ty)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$result, S::Error> {
            Err(S::no_text())
        }
    )*};
}

impl<S: KeySink> Serializer for KeyWriter<S> {
    type Ok = ();
    type Error = S::Error;
    type SerializeSeq = Impossible<(), S::Error>;
    type SerializeTuple = Impossible<(), S::Error>;
    type SerializeTupleStruct = Impossible<(), S::Error>;
    type SerializeTupleVariant = Impossible<(), S::Error>;
    type SerializeMap = Impossible<(), S::Error>;
    type SerializeStruct = Impossible<(), S::Error>;
    type SerializeStructVariant = Impossible<(), S::Error>;

    #[inline]
    fn serialize_str(self, key: &str) -> Result<(), S::Error> {
        self.0.text(key)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, key: &T) -> Result<(), S::Error> {
        self.0.displayed(key)
    }

    fn serialize_char(self, key: char) -> Result<(), S::Error> {
        self.0.text(key.encode_utf8(&mut [0; 4]))
    }

    fn serialize_bool(self, key: bool) -> Result<(), S::Error> {
        self.0.boolean(key)
    }

    numbers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, number: f32) -> Result<(), S::Error> {
        self.finite(number, number.is_finite())
    }

    fn serialize_f64(self, number: f64) -> Result<(), S::Error> {
        self.finite(number, number.is_finite())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), S::Error> {
        self.0.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        key: &T,
    ) -> Result<(), S::Error> {
        key.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<(), S::Error> {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), S::Error> {
        Err(S::no_text())
    }

    refuse! {
        serialize_bytes(&[u8]) ()
        serialize_none() ()
        serialize_unit() ()
        serialize_unit_struct(&'static str) ()
        serialize_seq(Option<usize>) Self::SerializeSeq
        serialize_tuple(usize) Self::SerializeTuple
        serialize_tuple_struct(&'static str, usize) Self::SerializeTupleStruct
        serialize_tuple_variant(&'static str, u32, &'static str, usize) Self::SerializeTupleVariant
        serialize_map(Option<usize>) Self::SerializeMap
        serialize_struct(&'static str, usize) Self::SerializeStruct
        serialize_struct_variant(&'static str, u32, &'static str, usize) Self::SerializeStructVariant
    }
}
