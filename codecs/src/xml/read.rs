//! Elements as serde's data model, in the shapes in which `serde_json` reads JSON.

use std::borrow::Cow;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::elements::Elements;
use super::error::XmlFault;
use super::keys::Keys;
use super::number::{Number, float};
use super::tag::{Kind, Tag, boolean};

/// Reads the one element of a frame.
pub(super) struct Root<'r, 'de>(pub(super) &'r mut Elements<'de>);

/// Reads an element whose tag has been read.
struct Element<'r, 'de> {
    elements: &'r mut Elements<'de>,
    tag: Tag<'de>,
}

/// All that a message asks of its root; `Limits::read` asks for an array.
impl<'de> Deserializer<'de> for Root<'_, 'de> {
    type Error = XmlFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        let tag = self.0.root()?;
        Element { elements: self.0, tag }.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

fn visit_text<'de, V: Visitor<'de>>(text: Cow<'de, str>, visitor: V) -> Result<V::Value, XmlFault> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

impl<'de> Element<'_, 'de> {
    fn visit_number<V: Visitor<'de>>(
        self,
        visitor: V,
        wide: impl FnOnce(&str, V) -> Result<V::Value, XmlFault>,
    ) -> Result<V::Value, XmlFault> {
        let text = self.elements.text(&self.tag)?;
        match Number::read(&text)? {
            Number::Unsigned(number) => visitor.visit_u64(number),
            Number::Negative(number) => visitor.visit_i64(number),
            Number::Float(number) => visitor.visit_f64(number),
            Number::Wide(digits) => wide(digits, visitor),
        }
    }

    fn visit_array<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        let mut items = Items { elements: self.elements, done: self.tag.empty };
        let value = visitor.visit_seq(&mut items)?;
        if items.done || items.elements.item()?.is_none() {
            Ok(value)
        } else {
            Err(XmlFault::rule("an array has too many items"))
        }
    }

    fn visit_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        let keys = self.elements.keys();
        let mut members =
            Members { elements: self.elements, keys, value: None, done: self.tag.empty };
        let value = visitor.visit_map(&mut members)?;
        members.end()?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for Element<'_, 'de> {
    type Error = XmlFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        match self.tag.kind {
            Kind::Map => self.visit_map(visitor),
            Kind::Array => self.visit_array(visitor),
            Kind::String => visit_text(self.elements.text(&self.tag)?, visitor),
            Kind::Number => {
                self.visit_number(visitor, |digits, visitor| visitor.visit_f64(float(digits)?))
            }
            Kind::Boolean => visitor.visit_bool(boolean(&self.elements.text(&self.tag)?)?),
            Kind::Null => {
                self.elements.null(&self.tag)?;
                visitor.visit_unit()
            }
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        if self.tag.kind != Kind::Number {
            return self.deserialize_any(visitor);
        }
        self.visit_number(visitor, |digits, visitor| match digits.parse() {
            Ok(number) => visitor.visit_i128(number),
            Err(_) => Err(XmlFault::rule("the number is out of range")),
        })
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        if self.tag.kind != Kind::Number {
            return self.deserialize_any(visitor);
        }
        self.visit_number(visitor, |digits, visitor| match digits.parse() {
            Ok(number) => visitor.visit_u128(number),
            Err(_) => Err(XmlFault::rule("the number is out of range")),
        })
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        if self.tag.kind != Kind::String {
            return self.deserialize_any(visitor);
        }
        match self.elements.text(&self.tag)? {
            Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        if self.tag.kind == Kind::Null {
            self.elements.null(&self.tag)?;
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, XmlFault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XmlFault> {
        match self.tag.kind {
            Kind::String => visitor.visit_enum(Key(self.elements.text(&self.tag)?)),
            Kind::Map => {
                let keys = self.elements.keys();
                let mut members =
                    Members { elements: self.elements, keys, value: None, done: self.tag.empty };
                let value = visitor.visit_enum(Variant(&mut members))?;
                members.end()?;
                Ok(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        self.elements.skip(self.tag)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Items<'r, 'de> {
    elements: &'r mut Elements<'de>,
    done: bool,
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = XmlFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, XmlFault> {
        if self.done {
            return Ok(None);
        }
        let Some(tag) = self.elements.item()? else {
            self.done = true;
            return Ok(None);
        };
        seed.deserialize(Element { elements: self.elements, tag }).map(Some)
    }
}

struct Members<'r, 'de> {
    elements: &'r mut Elements<'de>,
    keys: Keys<'de>,
    /// The tag of the member whose key was given out.
    value: Option<Tag<'de>>,
    done: bool,
}

impl<'de> Members<'_, 'de> {
    fn next(&mut self) -> Result<Option<Cow<'de, str>>, XmlFault> {
        if self.done {
            return Ok(None);
        }
        if let Some(unread) = self.value.take() {
            self.elements.skip(unread)?;
        }
        if let Some((key, tag)) = self.elements.member(&mut self.keys)? {
            self.value = Some(tag);
            Ok(Some(key))
        } else {
            self.done = true;
            Ok(None)
        }
    }

    fn value(&mut self) -> Result<Element<'_, 'de>, XmlFault> {
        let tag = self.value.take();
        let tag = tag.ok_or_else(|| XmlFault::rule("a value is asked for before its key"))?;
        Ok(Element { elements: self.elements, tag })
    }

    fn end(&mut self) -> Result<(), XmlFault> {
        if self.next()?.is_none() { Ok(()) } else { Err(XmlFault::rule("a map has too many keys")) }
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = XmlFault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, XmlFault> {
        match self.next()? {
            Some(key) => seed.deserialize(Key(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, XmlFault> {
        seed.deserialize(self.value()?)
    }
}

/// An enum as a map of one member: the variant, and what it holds.
struct Variant<'m, 'r, 'de>(&'m mut Members<'r, 'de>);

impl<'de> EnumAccess<'de> for Variant<'_, '_, 'de> {
    type Error = XmlFault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), XmlFault> {
        let variant = self.0.next()?;
        let variant = variant.ok_or_else(|| XmlFault::rule("a map names no variant"))?;
        Ok((seed.deserialize(Key(variant))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_, 'de> {
    type Error = XmlFault;

    fn unit_variant(self) -> Result<(), XmlFault> {
        de::Deserialize::deserialize(self.0.value()?)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, XmlFault> {
        seed.deserialize(self.0.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, XmlFault> {
        self.0.value()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XmlFault> {
        self.0.value()?.deserialize_any(visitor)
    }
}

/// A key, or the name of a variant that holds nothing.
///
/// Where a number or a boolean is asked for, `Limits` reads it from the text.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = XmlFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        visit_text(self.0, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, XmlFault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, XmlFault> {
        visitor.visit_enum(self)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, XmlFault> {
        self.deserialize_bytes(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Key<'de> {
    type Error = XmlFault;
    type Variant = Unit;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Unit), XmlFault> {
        Ok((seed.deserialize(self)?, Unit))
    }
}

/// What lies in a variant that is written as its name alone: nothing.
struct Unit;

impl<'de> VariantAccess<'de> for Unit {
    type Error = XmlFault;

    fn unit_variant(self) -> Result<(), XmlFault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, XmlFault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"newtype variant"))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, XmlFault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"tuple variant"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, XmlFault> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"struct variant"))
    }
}
