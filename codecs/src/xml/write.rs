//! serde's data model as elements, in the shapes in which `serde_json` writes it as JSON.
//!
//! Tags are constants here, and are copied into the frame as they are: an event of the XML library's
//! writer would be made for each, and its escaping knows nothing of the characters that XML cannot
//! hold. Nothing is kept back or allocated on the way.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

use super::characters::{CARRIAGE_RETURN, ILLEGAL, MARKUP, classify, push_escaped, push_plain};
use super::displayed::push_displayed;
use super::error::XmlFault;
use super::key::{KeyAttributes, push_key};
use super::number::push_number;
use super::tag::NAMESPACE;
use crate::apart;
use crate::key::KeyWriter;
use crate::precise::{self, Number};

/// Writes one value.
pub(super) struct Writer<'f> {
    frame: &'f mut Vec<u8>,
    place: Place,
}

/// Where a value stands, which says what its tag carries besides its name.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Item,
    Field(&'static str),
    /// In a map, whose key was written before the value, and with it the name of the tag, was
    /// known: the attributes stand from this byte to the end of the frame.
    Entry(usize),
}

impl<'f> Writer<'f> {
    /// Writes an element with the namespace.
    pub(super) fn root(frame: &'f mut Vec<u8>) -> Self {
        Self { frame, place: Place::Root }
    }

    /// Writes an element in an array.
    pub(super) fn item(frame: &'f mut Vec<u8>) -> Self {
        Self { frame, place: Place::Item }
    }

    /// Begins the tag: its name, and the attributes that its place asks for.
    #[inline]
    fn tag(&mut self, open: &'static str) {
        let open = open.as_bytes();
        match self.place {
            Place::Item => self.frame.extend_from_slice(open),
            Place::Field(key) => {
                self.frame.extend_from_slice(open);
                push_key(self.frame, key);
            }
            Place::Entry(start) => {
                let end = self.frame.len();
                self.frame.extend_from_slice(open);
                self.frame.copy_within(start..end, start + open.len());
                self.frame[start..start + open.len()].copy_from_slice(open);
            }
            Place::Root => {
                self.frame.extend_from_slice(open);
                self.frame.extend_from_slice(b" xmlns=\"");
                self.frame.extend_from_slice(NAMESPACE.as_bytes());
                self.frame.push(b'"');
            }
        }
    }

    fn number<N: Serialize>(mut self, number: N) -> Result<(), XmlFault> {
        self.tag("<number");
        self.frame.push(b'>');
        push_number(self.frame, number)?;
        self.frame.extend_from_slice(b"</number>");
        Ok(())
    }

    fn array(mut self) -> Parts<'f> {
        self.tag("<array");
        self.frame.push(b'>');
        Parts { start: self.frame.len(), frame: self.frame, kind: Kind::Array }
    }

    fn map(mut self) -> Parts<'f> {
        self.tag("<map");
        self.frame.push(b'>');
        Parts { start: self.frame.len(), frame: self.frame, kind: Kind::Map }
    }

    /// The map around what a variant holds; what is returned writes that.
    fn variant(mut self, variant: &'static str) -> Self {
        self.tag("<map");
        self.frame.push(b'>');
        Self { frame: self.frame, place: Place::Field(variant) }
    }
}

/// Appends what comes after the tag's other attributes.
fn push_string(frame: &mut Vec<u8>, text: &str) {
    let classes = classify(text);
    if text.is_empty() {
        frame.extend_from_slice(b"/>");
    } else if classes & (ILLEGAL | CARRIAGE_RETURN) != 0 {
        frame.extend_from_slice(b" escaped=\"true\">");
        push_escaped(frame, text);
        frame.extend_from_slice(b"</string>");
    } else {
        frame.push(b'>');
        if classes & MARKUP == 0 {
            frame.extend_from_slice(text.as_bytes());
        } else {
            push_plain(frame, text, MARKUP);
        }
        frame.extend_from_slice(b"</string>");
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty)*) => {$(
        #[inline]
        fn $method(self, number: $type) -> Result<(), XmlFault> {
            self.number(number)
        }
    )*};
}

impl<'f> Serializer for Writer<'f> {
    type Ok = ();
    type Error = XmlFault;
    type SerializeSeq = Parts<'f>;
    type SerializeTuple = Parts<'f>;
    type SerializeTupleStruct = Parts<'f>;
    type SerializeTupleVariant = Parts<'f>;
    type SerializeMap = Parts<'f>;
    type SerializeStruct = Parts<'f>;
    type SerializeStructVariant = Parts<'f>;

    numbers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, number: f32) -> Result<(), XmlFault> {
        if number.is_finite() { self.number(number) } else { self.serialize_unit() }
    }

    fn serialize_f64(self, number: f64) -> Result<(), XmlFault> {
        if number.is_finite() { self.number(number) } else { self.serialize_unit() }
    }

    fn serialize_bool(mut self, value: bool) -> Result<(), XmlFault> {
        self.tag("<boolean");
        let rest: &[u8] = if value { b">true</boolean>" } else { b">false</boolean>" };
        self.frame.extend_from_slice(rest);
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), XmlFault> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(mut self, text: &str) -> Result<(), XmlFault> {
        self.tag("<string");
        push_string(self.frame, text);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(mut self, text: &T) -> Result<(), XmlFault> {
        self.tag("<string");
        push_displayed(self.frame, text, push_string)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), XmlFault> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), XmlFault> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), XmlFault> {
        value.serialize(self)
    }

    fn serialize_unit(mut self) -> Result<(), XmlFault> {
        self.tag("<null");
        self.frame.extend_from_slice(b"/>");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), XmlFault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), XmlFault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), XmlFault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), XmlFault> {
        let Writer { frame, place } = self.variant(variant);
        value.serialize(Writer { frame: &mut *frame, place })?;
        frame.extend_from_slice(b"</map>");
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts<'f>, XmlFault> {
        Ok(self.array())
    }

    fn serialize_tuple(self, _len: usize) -> Result<Parts<'f>, XmlFault> {
        Ok(self.array())
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Parts<'f>, XmlFault> {
        Ok(self.array())
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts<'f>, XmlFault> {
        Ok(Parts { kind: Kind::ArrayInVariant, ..self.variant(variant).array() })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Parts<'f>, XmlFault> {
        Ok(self.map())
    }

    fn serialize_struct(mut self, name: &'static str, _len: usize) -> Result<Parts<'f>, XmlFault> {
        if precise::IS_ON && name == precise::NAME {
            self.tag("<number");
            self.frame.push(b'>');
            return Ok(Parts { start: self.frame.len(), frame: self.frame, kind: Kind::Number });
        }
        Ok(self.map())
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts<'f>, XmlFault> {
        Ok(Parts { kind: Kind::MapInVariant, ..self.variant(variant).map() })
    }
}

/// Writes the items of an array or the members of a map.
pub(super) struct Parts<'f> {
    frame: &'f mut Vec<u8>,
    /// Where what lies in the element begins; in a map, later, where a member's attributes do.
    start: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Array,
    Map,
    ArrayInVariant,
    MapInVariant,
    /// A number that is held as text: see `precise`.
    Number,
}

impl Parts<'_> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, place: Place, value: &T) -> Result<(), XmlFault> {
        value.serialize(Writer { frame: &mut *self.frame, place })
    }

    #[inline]
    fn close(self) {
        let end: &[u8] = match self.kind {
            Kind::Array => b"</array>",
            Kind::Map => b"</map>",
            Kind::ArrayInVariant => b"</array></map>",
            Kind::MapInVariant => b"</map></map>",
            Kind::Number => b"</number>",
        };
        self.frame.extend_from_slice(end);
    }
}

/// Writes an array with the namespace.
pub(super) fn array(
    frame: &mut Vec<u8>,
    write: impl FnOnce(&mut Parts<'_>) -> Result<(), XmlFault>,
) -> Result<(), XmlFault> {
    let mut items = Writer::root(frame).array();
    write(&mut items)?;
    items.close();
    Ok(())
}

impl apart::Items for Parts<'_> {
    type Error = XmlFault;

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), XmlFault> {
        self.part(Place::Item, item)
    }

    fn written(&mut self, item: &[u8]) -> Result<(), XmlFault> {
        self.frame.extend_from_slice(item);
        Ok(())
    }
}

/// Appends the number that a text spells, as without the feature.
fn push_number_in(frame: &mut Vec<u8>, text: &str) -> Result<(), XmlFault> {
    match Number::read(text) {
        Some(Number::Unsigned(number)) => push_number(frame, number),
        Some(Number::Negative(number)) => push_number(frame, number),
        Some(Number::Float(number)) => push_number(frame, number),
        None => Err(ser::Error::custom("a number is out of range")),
    }
}

impl ser::SerializeSeq for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlFault> {
        self.part(Place::Item, value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlFault> {
        self.part(Place::Item, value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlFault> {
        self.part(Place::Item, value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleVariant for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlFault> {
        self.part(Place::Item, value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), XmlFault> {
        self.start = self.frame.len();
        key.serialize(KeyWriter(KeyAttributes(&mut *self.frame)))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), XmlFault> {
        self.part(Place::Entry(self.start), value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), XmlFault> {
        if precise::IS_ON && matches!(self.kind, Kind::Number) {
            return precise::write_number(value, |text| push_number_in(self.frame, text));
        }
        self.part(Place::Field(key), value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Parts<'_> {
    type Ok = ();
    type Error = XmlFault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), XmlFault> {
        self.part(Place::Field(key), value)
    }

    fn end(self) -> Result<(), XmlFault> {
        self.close();
        Ok(())
    }
}
