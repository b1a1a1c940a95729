//! Writes straight into the frame.
//!
//! Same bytes as rmp-serde's serializer, with structs as maps and in the form for humans, except
//! where that would let an event mean something else than in JSON: keys of maps are texts, bytes
//! are arrays of numbers, floats of 32 bits are the doubles that JSON has for them, numbers that are
//! not finite and structs without fields are nil, and there are no extensions.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::error::{Failure, MessagePackError};
use crate::apart;
use crate::key::{KeySink, KeyWriter};
use crate::precise::{self, Number};

/// Writes one value at the end of a frame.
pub(super) struct Writer<'a> {
    frame: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(frame: &'a mut Vec<u8>) -> Self {
        Self { frame }
    }

    /// Writes a text as it comes: it grows in the frame itself, and its length is written before it
    /// once that is known.
    fn grown_text(
        self,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let start = self.frame.len();
        header(self.frame, Shape::Text, 0)?;
        append(self.frame)?;
        // The header of the empty text has one byte.
        let length = self.frame.len() - start - 1;
        correct_header(self.frame, start, Shape::Text, (0, length))
    }

    /// Writes the number that a text spells.
    fn number_in(self, text: &str) -> Result<(), Failure> {
        match Number::read(text) {
            Some(Number::Unsigned(number)) => self.serialize_u64(number),
            Some(Number::Negative(number)) => self.serialize_i64(number),
            Some(Number::Float(number)) => self.serialize_f64(number),
            None => Err(ser::Error::custom("a number is out of range")),
        }
    }

    fn array(self, said: usize) -> Result<Items<'a>, Failure> {
        Items::start(self.frame, Shape::Array, said)
    }

    fn map(self, said: usize) -> Result<Items<'a>, Failure> {
        Items::start(self.frame, Shape::Map, said)
    }

    /// Starts the map of one entry, from its name to its value, that a variant is.
    fn variant(self, name: &str) -> Result<Self, Failure> {
        header(self.frame, Shape::Map, 1)?;
        Writer::new(self.frame).serialize_str(name)?;
        Ok(self)
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Items<'a>;
    type SerializeStructVariant = Items<'a>;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Failure> {
        self.frame.push(0xc2 + u8::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Failure> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Failure> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Failure> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Failure> {
        if let Ok(value) = u64::try_from(value) {
            return self.serialize_u64(value);
        }
        if value >= -32 {
            // The byte of a small negative number is its marker.
            self.frame.extend_from_slice(&value.to_be_bytes()[7..]);
        } else if let Ok(value) = i8::try_from(value) {
            self.frame.extend_from_slice(&[0xd0, value.to_be_bytes()[0]]);
        } else if let Ok(value) = i16::try_from(value) {
            put_2(self.frame, 0xd1, value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            put_4(self.frame, 0xd2, value.to_be_bytes());
        } else {
            put_8(self.frame, 0xd3, value.to_be_bytes());
        }
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Failure> {
        if let Ok(value) = i64::try_from(value) {
            return self.serialize_i64(value);
        }
        self.serialize_u64(u64::try_from(value).map_err(|_| MessagePackError::Integer)?)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Failure> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Failure> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Failure> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Failure> {
        if let Ok(value) = u8::try_from(value) {
            if value < 0x80 {
                self.frame.push(value);
            } else {
                self.frame.extend_from_slice(&[0xcc, value]);
            }
        } else if let Ok(value) = u16::try_from(value) {
            put_2(self.frame, 0xcd, value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            put_4(self.frame, 0xce, value.to_be_bytes());
        } else {
            put_8(self.frame, 0xcf, value.to_be_bytes());
        }
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Failure> {
        self.serialize_u64(u64::try_from(value).map_err(|_| MessagePackError::Integer)?)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Failure> {
        self.serialize_f64(as_double(value))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Failure> {
        if !value.is_finite() {
            // The protocol's numbers are those of JSON, which has no others.
            return self.serialize_unit();
        }
        put_8(self.frame, 0xcb, value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Failure> {
        header(self.frame, Shape::Text, text.len())?;
        self.frame.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), Failure> {
        struct Text<'a>(&'a mut Vec<u8>);

        impl fmt::Write for Text<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0.extend_from_slice(part.as_bytes());
                Ok(())
            }
        }

        self.grown_text(|frame| {
            fmt::write(&mut Text(frame), format_args!("{text}")).map_err(ser::Error::custom)
        })
    }

    /// An array of numbers, as in JSON: a node whose event does not ask for bytes would not read
    /// MessagePack's own.
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        header(self.frame, Shape::Array, bytes.len())?;
        bytes.iter().try_for_each(|byte| Writer::new(self.frame).serialize_u8(*byte))
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Failure> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Failure> {
        self.frame.push(0xc0);
        Ok(())
    }

    /// `null` in JSON; rmp-serde writes an empty array, which JSON would not read back.
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Failure> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.serialize_str(variant)
    }

    /// Whatever its name: rmp-serde makes an extension of one, and the protocol has none.
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        value.serialize(self.variant(variant)?)
    }

    #[inline]
    fn serialize_seq(self, said: Option<usize>) -> Result<Items<'a>, Failure> {
        self.array(said.unwrap_or(0))
    }

    #[inline]
    fn serialize_tuple(self, said: usize) -> Result<Items<'a>, Failure> {
        self.array(said)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        said: usize,
    ) -> Result<Items<'a>, Failure> {
        self.array(said)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        said: usize,
    ) -> Result<Items<'a>, Failure> {
        self.variant(variant)?.array(said)
    }

    #[inline]
    fn serialize_map(self, said: Option<usize>) -> Result<Items<'a>, Failure> {
        self.map(said.unwrap_or(0))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, said: usize) -> Result<Items<'a>, Failure> {
        if precise::IS_ON && name == precise::NAME {
            let start = self.frame.len();
            return Ok(Items { frame: self.frame, shape: Shape::Number, start, said, written: 0 });
        }
        self.map(said)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        said: usize,
    ) -> Result<Items<'a>, Failure> {
        self.variant(variant)?.map(said)
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// The number that JSON has for the `f32`: `0.1`, for a relay that knows doubles only must not make
/// 0.10000000149011612 of it.
fn as_double(single: f32) -> f64 {
    /// More bytes than the text of an `f32` has.
    const MAX: usize = 32;

    #[expect(clippy::cast_possible_truncation, reason = "the question is what is left of it")]
    let is_the_same = |double: &f64| (*double as f32).to_bits() == single.to_bits();
    // The text that `serde_json` writes: where two of the shortest are as near, others choose another.
    let mut text = [0; MAX];
    let mut rest = text.as_mut_slice();
    let written = serde_json::to_writer(&mut rest, &single).ok();
    let length = MAX - rest.len();
    let text = written.and_then(|()| str::from_utf8(&text[..length]).ok());
    let double = text.and_then(|text| text.parse().ok());
    double.filter(is_the_same).unwrap_or(single.into())
}

impl KeySink for Writer<'_> {
    type Error = Failure;

    #[inline]
    fn text(self, text: &str) -> Result<(), Failure> {
        self.serialize_str(text)
    }

    fn displayed<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), Failure> {
        self.collect_str(text)
    }

    fn number<N: Serialize>(self, number: N) -> Result<(), Failure> {
        self.grown_text(|frame| serde_json::to_writer(frame, &number).map_err(ser::Error::custom))
    }

    #[cold]
    fn no_text() -> Failure {
        MessagePackError::Key.into()
    }
}

/// A marker and a number in one go: the room in the frame is checked once.
macro_rules! put {
    ($($name:ident $($byte:ident)*;)*) => {$(
        #[inline]
        fn $name(frame: &mut Vec<u8>, marker: u8, [$($byte),*]: [u8; 0 $(+ { let $byte = 1; $byte })*]) {
            frame.extend_from_slice(&[marker, $($byte),*]);
        }
    )*};
}

put! {
    put_2 a b;
    put_4 a b c d;
    put_8 a b c d e f g h;
}

/// An array or a map that is being written.
///
/// Its header says how many items there are before they are written. Where that turns out to be
/// wrong, for nobody knew (a map that is flattened into another), the header is written again.
pub(super) struct Items<'a> {
    frame: &'a mut Vec<u8>,
    shape: Shape,
    start: usize,
    said: usize,
    written: usize,
}

impl<'a> Items<'a> {
    #[inline]
    fn start(frame: &'a mut Vec<u8>, shape: Shape, said: usize) -> Result<Self, Failure> {
        let start = frame.len();
        header(frame, shape, said)?;
        Ok(Self { frame, shape, start, said, written: 0 })
    }

    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Failure> {
        self.written += 1;
        item.serialize(Writer::new(self.frame))
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Failure> {
        self.written += 1;
        if precise::IS_ON && matches!(self.shape, Shape::Number) {
            return precise::write_number(value, |text| Writer::new(self.frame).number_in(text));
        }
        Writer::new(self.frame).serialize_str(key)?;
        value.serialize(Writer::new(self.frame))
    }

    #[inline]
    fn finish(self) -> Result<(), Failure> {
        if self.written == self.said || matches!(self.shape, Shape::Number) {
            return Ok(());
        }
        correct_header(self.frame, self.start, self.shape, (self.said, self.written))
    }
}

/// Writes an array of so many items.
pub(super) fn array(
    frame: &mut Vec<u8>,
    count: usize,
    write: impl FnOnce(&mut Items<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut items = Items::start(frame, Shape::Array, count)?;
    write(&mut items)?;
    items.finish()
}

impl apart::Items for Items<'_> {
    type Error = Failure;

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Failure> {
        Items::item(self, item)
    }

    fn written(&mut self, item: &[u8]) -> Result<(), Failure> {
        self.written += 1;
        self.frame.extend_from_slice(item);
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for Items<'_> {
            type Ok = ();
            type Error = Failure;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Failure> {
                self.item(item)
            }

            #[inline]
            fn end(self) -> Result<(), Failure> {
                self.finish()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl $trait for Items<'_> {
            type Ok = ();
            type Error = Failure;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Failure> {
                self.field(key, value)
            }

            #[inline]
            fn end(self) -> Result<(), Failure> {
                self.finish()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Failure;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.written += 1;
        key.serialize(KeyWriter(Writer::new(self.frame)))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        value.serialize(Writer::new(self.frame))
    }

    #[inline]
    fn end(self) -> Result<(), Failure> {
        self.finish()
    }
}

/// What has a length, which is written before it.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Array,
    Map,
    /// Nothing but the number in it: see `precise`.
    Number,
}

/// Writes what stands before so many bytes or items.
#[expect(clippy::inline_always, reason = "the shape is known at each call, and most are short")]
#[inline(always)]
fn header(frame: &mut Vec<u8>, shape: Shape, length: usize) -> Result<(), Failure> {
    match (shape, length) {
        (Shape::Text, 0..=0x1f) => frame.push(0xa0 | length.to_le_bytes()[0]),
        (Shape::Array, 0..=0xf) => frame.push(0x90 | length.to_le_bytes()[0]),
        (Shape::Map, 0..=0xf) => frame.push(0x80 | length.to_le_bytes()[0]),
        _ => long_header(frame, shape, length)?,
    }
    Ok(())
}

#[inline(never)]
fn long_header(frame: &mut Vec<u8>, shape: Shape, length: usize) -> Result<(), Failure> {
    let length = u32::try_from(length).map_err(|_| MessagePackError::Length)?;
    // The marker before a length of two bytes; the next one stands before a length of four.
    let marker = match shape {
        Shape::Text => 0xda,
        Shape::Array => 0xdc,
        Shape::Map => 0xde,
        Shape::Number => return Ok(()),
    };
    match (shape, length.to_be_bytes()) {
        // Arrays and maps have no length of one byte.
        (Shape::Text, [0, 0, 0, d]) => frame.extend_from_slice(&[marker - 1, d]),
        (_, [0, 0, c, d]) => frame.extend_from_slice(&[marker, c, d]),
        (_, length) => put_4(frame, marker + 1, length),
    }
    Ok(())
}

/// Writes the header at `start`, which says `said`, again, and moves what follows where the new one
/// is longer or shorter.
fn correct_header(
    frame: &mut Vec<u8>,
    start: usize,
    shape: Shape,
    (said, written): (usize, usize),
) -> Result<(), Failure> {
    // Both at the end of the frame first, where there is room for them.
    let end = frame.len();
    header(frame, shape, said)?;
    let wrong = frame.len() - end;
    frame.truncate(end);
    header(frame, shape, written)?;
    let right = frame.len() - end;
    if right == wrong {
        frame.copy_within(end.., start);
        frame.truncate(end);
    } else {
        frame[start + wrong..].rotate_right(right);
        frame.drain(start..start + wrong);
    }
    Ok(())
}
