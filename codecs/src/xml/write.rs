//! serde's data as elements. The tags are constants, so they are written as bytes at once; nothing
//! is allocated but the frame itself.

use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::NAMESPACE;
use super::text::{Needs, needs, write_escapes, write_references};

/// Why something cannot be written.
#[derive(Debug)]
pub(super) struct WriteError(pub(super) String);

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

impl ser::Error for WriteError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Result<T> = std::result::Result<T, WriteError>;

/// Writes one value as one element.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    place: Place,
}

/// Where a value stands, which tells the attributes of its element.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Item,
    /// A member of a map, with a key that is known.
    Member(&'static str),
    /// A member whose attributes are already written, from this place on: the name of the element,
    /// which is known only now, has to be put before them.
    Pending(usize),
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, place: Place::Root }
    }

    /// Writes `<name` and the attributes that the place asks for.
    fn open(&mut self, name: &str) {
        match self.place {
            Place::Item => {
                self.out.push(b'<');
                self.out.extend_from_slice(name.as_bytes());
            }
            Place::Root => {
                self.out.push(b'<');
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b" xmlns=\"");
                self.out.extend_from_slice(NAMESPACE.as_bytes());
                self.out.push(b'"');
            }
            Place::Member(key) => {
                self.out.push(b'<');
                self.out.extend_from_slice(name.as_bytes());
                write_key(key, self.out);
            }
            Place::Pending(start) => {
                let end = self.out.len();
                let shift = 1 + name.len();
                self.out.resize(end + shift, 0);
                self.out.copy_within(start..end, start + shift);
                self.out[start] = b'<';
                self.out[start + 1..start + shift].copy_from_slice(name.as_bytes());
            }
        }
    }

    fn container(mut self, name: &'static str, close: &'static str) -> Container<'a> {
        self.open(name);
        self.out.push(b'>');
        Container { out: self.out, close, key: None }
    }

    /// What a variant of an enum holds lies in a map under the variant's name.
    fn variant(mut self, variant: &'static str) -> Self {
        self.open("map");
        self.out.push(b'>');
        Writer { out: self.out, place: Place::Member(variant) }
    }

    /// A number as JSON has it.
    fn number<T: Serialize>(mut self, number: &T) -> Result<()> {
        self.open("number");
        self.out.push(b'>');
        write_number(number, self.out)?;
        self.out.extend_from_slice(b"</number>");
        Ok(())
    }
}

fn write_number<T: Serialize>(number: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, number).map_err(|error| WriteError(error.to_string()))
}

/// Writes the attributes that tell a member's key.
fn write_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b" key=\"");
    match needs(key) {
        Needs::Nothing => out.extend_from_slice(key.as_bytes()),
        Needs::References => write_references(key, out),
        Needs::Escapes => {
            write_escapes(key, out);
            out.extend_from_slice(b"\" escaped-key=\"true");
        }
    }
    out.push(b'"');
}

macro_rules! numbers {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, number: $type) -> Result<()> {
            self.number(&number)
        }
    )*};
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Container<'a>;
    type SerializeTuple = Container<'a>;
    type SerializeTupleStruct = Container<'a>;
    type SerializeTupleVariant = Container<'a>;
    type SerializeMap = Container<'a>;
    type SerializeStruct = Container<'a>;
    type SerializeStructVariant = Container<'a>;

    numbers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
    }

    fn serialize_f32(self, number: f32) -> Result<()> {
        // As in JSON, which has no such numbers.
        if number.is_finite() { self.number(&number) } else { self.serialize_unit() }
    }

    fn serialize_f64(self, number: f64) -> Result<()> {
        if number.is_finite() { self.number(&number) } else { self.serialize_unit() }
    }

    fn serialize_bool(mut self, value: bool) -> Result<()> {
        self.open("boolean");
        let rest: &[u8] = if value { b">true</boolean>" } else { b">false</boolean>" };
        self.out.extend_from_slice(rest);
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<()> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, text: &str) -> Result<()> {
        self.open("string");
        match needs(text) {
            Needs::Nothing => {
                self.out.push(b'>');
                self.out.extend_from_slice(text.as_bytes());
            }
            Needs::References => {
                self.out.push(b'>');
                write_references(text, self.out);
            }
            Needs::Escapes => {
                self.out.extend_from_slice(b" escaped=\"true\">");
                write_escapes(text, self.out);
            }
        }
        self.out.extend_from_slice(b"</string>");
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(mut self, value: &T) -> Result<()> {
        use std::io::Write as _;

        // Most texts need nothing, and are written where they belong.
        let start = self.out.len();
        self.open("string");
        self.out.push(b'>');
        let text = self.out.len();
        write!(self.out, "{value}").map_err(|error| WriteError(error.to_string()))?;
        let plain =
            std::str::from_utf8(&self.out[text..]).map(|text| needs(text) == Needs::Nothing);
        if plain == Ok(true) {
            self.out.extend_from_slice(b"</string>");
            return Ok(());
        }
        // The attributes of a member that waited for its name are in what is taken back.
        let place = match self.place {
            Place::Pending(pending) => {
                let key = self.out[pending + "<string".len()..text - 1].to_vec();
                self.out.truncate(pending);
                self.out.extend_from_slice(&key);
                Place::Pending(pending)
            }
            place => {
                self.out.truncate(start);
                place
            }
        };
        Writer { out: self.out, place }.serialize_str(&value.to_string())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<()> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(mut self) -> Result<()> {
        self.open("null");
        self.out.extend_from_slice(b"/>");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let inner = self.variant(variant);
        value.serialize(Writer { out: &mut *inner.out, place: inner.place })?;
        inner.out.extend_from_slice(b"</map>");
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Container<'a>> {
        Ok(self.container("array", "</array>"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Container<'a>> {
        Ok(self.container("array", "</array>"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Container<'a>> {
        Ok(self.container("array", "</array>"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Container<'a>> {
        Ok(self.variant(variant).container("array", "</array></map>"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Container<'a>> {
        Ok(self.container("map", "</map>"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Container<'a>> {
        Ok(self.container("map", "</map>"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Container<'a>> {
        Ok(self.variant(variant).container("map", "</map></map>"))
    }
}

/// An element that holds others.
pub(super) struct Container<'a> {
    out: &'a mut Vec<u8>,
    close: &'static str,
    /// Where the attributes of a member begin whose value comes next.
    key: Option<usize>,
}

impl Container<'_> {
    fn write<T: Serialize + ?Sized>(&mut self, place: Place, value: &T) -> Result<()> {
        value.serialize(Writer { out: self.out, place })
    }

    #[expect(clippy::unnecessary_wraps, reason = "serde's traits ask for it")]
    fn close(self) -> Result<()> {
        self.out.extend_from_slice(self.close.as_bytes());
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident $method:ident)*) => {$(
        impl ser::$trait for Container<'_> {
            type Ok = ();
            type Error = WriteError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.write(Place::Item, value)
            }

            fn end(self) -> Result<()> {
                self.close()
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
        impl ser::$trait for Container<'_> {
            type Ok = ();
            type Error = WriteError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<()> {
                self.write(Place::Member(key), value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Container<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(self.out.len());
        key.serialize(KeyWriter { out: self.out })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match self.key.take() {
            Some(start) => self.write(Place::Pending(start), value),
            None => Err(ser::Error::custom("a value of a map comes before its key")),
        }
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

/// Writes a key. Keys are texts; what is none is written as JSON writes it as a key.
struct KeyWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl KeyWriter<'_> {
    fn number<T: Serialize>(self, number: &T) -> Result<()> {
        self.out.extend_from_slice(b" key=\"");
        write_number(number, self.out)?;
        self.out.push(b'"');
        Ok(())
    }
}

fn no_key<T>() -> Result<T> {
    Err(ser::Error::custom("the key of a map has to be a text, or a number or boolean"))
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Impossible<(), WriteError>;
    type SerializeTuple = Impossible<(), WriteError>;
    type SerializeTupleStruct = Impossible<(), WriteError>;
    type SerializeTupleVariant = Impossible<(), WriteError>;
    type SerializeMap = Impossible<(), WriteError>;
    type SerializeStruct = Impossible<(), WriteError>;
    type SerializeStructVariant = Impossible<(), WriteError>;

    numbers! {
        serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64 serialize_i128 i128
        serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64 serialize_u128 u128
        serialize_bool bool
    }

    fn serialize_f32(self, number: f32) -> Result<()> {
        if number.is_finite() { self.number(&number) } else { no_key() }
    }

    fn serialize_f64(self, number: f64) -> Result<()> {
        if number.is_finite() { self.number(&number) } else { no_key() }
    }

    fn serialize_char(self, c: char) -> Result<()> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        write_key(text, self.out);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<()> {
        no_key()
    }

    fn serialize_none(self) -> Result<()> {
        no_key()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        no_key()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        no_key()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<()> {
        no_key()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        no_key()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        no_key()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct> {
        no_key()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        no_key()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap> {
        no_key()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct> {
        no_key()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        no_key()
    }
}
