//! The keys of maps: always text, as JSON writes them.

use std::fmt;

use serde::ser::{Error as _, Impossible, Serialize, Serializer};

use super::error::XmlFault;
use super::write::{push_key, push_number, push_shown};

/// Writes a key as the attributes of a member.
pub(super) struct KeyWriter<'f>(pub(super) &'f mut Vec<u8>);

impl KeyWriter<'_> {
    fn number<N: Serialize>(self, number: N) -> Result<(), XmlFault> {
        self.0.extend_from_slice(b" key=\"");
        push_number(self.0, number)?;
        self.0.push(b'"');
        Ok(())
    }
}

fn no_text<T>() -> Result<T, XmlFault> {
    Err(XmlFault::custom("the key of a map has to be a text, a number or a boolean"))
}

macro_rules! numbers {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, number: $type) -> Result<(), XmlFault> {
            self.number(number)
        }
    )*};
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = XmlFault;
    type SerializeSeq = Impossible<(), XmlFault>;
    type SerializeTuple = Impossible<(), XmlFault>;
    type SerializeTupleStruct = Impossible<(), XmlFault>;
    type SerializeTupleVariant = Impossible<(), XmlFault>;
    type SerializeMap = Impossible<(), XmlFault>;
    type SerializeStruct = Impossible<(), XmlFault>;
    type SerializeStructVariant = Impossible<(), XmlFault>;

    numbers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, number: f32) -> Result<(), XmlFault> {
        if number.is_finite() { self.number(number) } else { no_text() }
    }

    fn serialize_f64(self, number: f64) -> Result<(), XmlFault> {
        if number.is_finite() { self.number(number) } else { no_text() }
    }

    fn serialize_bool(self, value: bool) -> Result<(), XmlFault> {
        self.serialize_str(if value { "true" } else { "false" })
    }

    fn serialize_char(self, character: char) -> Result<(), XmlFault> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, key: &str) -> Result<(), XmlFault> {
        push_key(self.0, key);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, key: &T) -> Result<(), XmlFault> {
        push_shown(self.0, key, push_key)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), XmlFault> {
        self.serialize_str(variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<(), XmlFault> {
        key.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        key: &T,
    ) -> Result<(), XmlFault> {
        key.serialize(self)
    }

    fn serialize_bytes(self, _bytes: &[u8]) -> Result<(), XmlFault> {
        no_text()
    }

    fn serialize_none(self) -> Result<(), XmlFault> {
        no_text()
    }

    fn serialize_unit(self) -> Result<(), XmlFault> {
        no_text()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), XmlFault> {
        no_text()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), XmlFault> {
        no_text()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, XmlFault> {
        no_text()
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, XmlFault> {
        no_text()
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, XmlFault> {
        no_text()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, XmlFault> {
        no_text()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, XmlFault> {
        no_text()
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStruct, XmlFault> {
        no_text()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, XmlFault> {
        no_text()
    }
}
