//! Keys of maps: texts, as in JSON, whatever the key's type is in Rust.

use std::fmt;

use serde::Serialize;
use serde::ser::{Error as _, Impossible, Serializer};

use super::MessagePackError;
use super::write::{Failure, Writer};

/// Writes a key, spelled as `serde_json` spells it; refuses what has no text.
pub(super) struct KeyWriter<'a> {
    writer: Writer<'a>,
}

impl<'a> KeyWriter<'a> {
    pub(super) const fn new(writer: Writer<'a>) -> Self {
        Self { writer }
    }
}

macro_rules! display {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, value: $type) -> Result<(), Failure> {
            self.writer.collect_str(&value)
        }
    )*};
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) $result:ty)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$result, Failure> {
            Err(MessagePackError::Key.into())
        }
    )*};
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Impossible<(), Failure>;
    type SerializeTuple = Impossible<(), Failure>;
    type SerializeTupleStruct = Impossible<(), Failure>;
    type SerializeTupleVariant = Impossible<(), Failure>;
    type SerializeMap = Impossible<(), Failure>;
    type SerializeStruct = Impossible<(), Failure>;
    type SerializeStructVariant = Impossible<(), Failure>;

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Failure> {
        self.writer.serialize_str(text)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), Failure> {
        self.writer.collect_str(text)
    }

    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.writer.serialize_char(value)
    }

    display! {
        serialize_bool bool
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, value: f32) -> Result<(), Failure> {
        float(self.writer, value, value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Failure> {
        float(self.writer, value, value.is_finite())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.writer.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Failure> {
        Err(MessagePackError::Key.into())
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

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// In `serde_json`'s own spelling, which is not that of [`fmt::Display`]: `1.0`.
fn float<T: Serialize>(writer: Writer<'_>, value: T, is_finite: bool) -> Result<(), Failure> {
    if !is_finite {
        return Err(MessagePackError::Key.into());
    }
    writer.text(|frame| serde_json::to_writer(frame, &value).map_err(Failure::custom))
}
