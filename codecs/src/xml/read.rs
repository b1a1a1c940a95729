//! Elements as serde's data.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::NAMESPACE;
use super::text::{is_character, is_xml, unescape};

/// Why a text cannot be read.
#[derive(Debug)]
pub(super) struct ReadError(pub(super) String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Result<T> = std::result::Result<T, ReadError>;

fn wrong<T>(message: &str) -> Result<T> {
    Err(ReadError(message.to_owned()))
}

/// Reads elements one after the other. Nothing of the text is copied but what is escaped in it.
pub(super) struct Reader<'de> {
    text: &'de str,
    xml: quick_xml::Reader<&'de [u8]>,
}

/// The beginning of an element.
struct Element<'de> {
    kind: Kind,
    key: Option<Cow<'de, str>>,
    escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// An element whose beginning was read, and the reader of the rest.
pub(super) struct Value<'a, 'de> {
    reader: &'a mut Reader<'de>,
    element: Element<'de>,
}

impl<'de> Reader<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        let mut xml = quick_xml::Reader::from_str(text);
        let config = xml.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        Self { text, xml }
    }

    /// How far the text was read, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.xml.buffer_position()
    }

    /// The one element that is not in another one.
    pub(super) fn root(&mut self) -> Result<Value<'_, 'de>> {
        if !is_xml(self.text) {
            return wrong("a character is none of XML's");
        }
        let mut is_first = true;
        loop {
            match self.event()? {
                Event::Start(start) => {
                    let (element, has_namespace) = self.element(&start)?;
                    if !has_namespace {
                        return wrong("the root element is not in the namespace of the vocabulary");
                    }
                    if element.key.is_some() {
                        return wrong("only a member of a map has a key");
                    }
                    return Ok(Value { reader: self, element });
                }
                Event::Decl(declaration) if is_first => check_declaration(&declaration)?,
                event => pass_over(&event)?,
            }
            is_first = false;
        }
    }

    /// Checks that nothing follows the root element.
    pub(super) fn end(&mut self) -> Result<()> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                event => pass_over(&event)?,
            }
        }
    }

    fn event(&mut self) -> Result<Event<'de>> {
        self.xml.read_event().map_err(|error| ReadError(error.to_string()))
    }

    /// The next element within one, or its end.
    fn next(&mut self) -> Result<Option<Element<'de>>> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Some(self.element(&start)?.0)),
                Event::End(_) => return Ok(None),
                event => pass_over(&event)?,
            }
        }
    }

    /// The text within an element, to its end.
    fn text(&mut self) -> Result<Cow<'de, str>> {
        let mut text = Cow::Borrowed("");
        loop {
            let part = match self.event()? {
                Event::Text(part) => part.xml10_content(),
                Event::CData(part) => part.xml10_content(),
                Event::GeneralRef(reference) => resolve(&reference)?,
                Event::Comment(_) => continue,
                Event::End(_) => return Ok(text),
                Event::Start(_) => return wrong("an element is where a text should be"),
                event => {
                    pass_over(&event)?;
                    continue;
                }
            };
            if text.is_empty() {
                text = part;
            } else {
                text.to_mut().push_str(&part);
            }
        }
    }

    /// Reads the name and the attributes; tells whether they name the vocabulary.
    fn element(&self, start: &BytesStart<'_>) -> Result<(Element<'de>, bool)> {
        let name = start.name();
        let kind = match name.as_ref() {
            "map" => Kind::Map,
            "array" => Kind::Array,
            "string" => Kind::String,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "null" => Kind::Null,
            _ => {
                return wrong("an element is none of map, array, string, number, boolean and null");
            }
        };
        let (mut key, mut escaped, mut escaped_key) = (None, None, None);
        let mut has_namespace = false;
        for attribute in self.attributes(start)? {
            let attribute = attribute.map_err(|error| ReadError(error.to_string()))?;
            let twice = match attribute.key.as_ref() {
                "key" => key.replace(attribute_text(attribute.value)?).is_some(),
                "escaped" => escaped.replace(boolean(&attribute.value)?).is_some(),
                "escaped-key" => escaped_key.replace(boolean(&attribute.value)?).is_some(),
                "xmlns" if attribute.value == NAMESPACE => {
                    std::mem::replace(&mut has_namespace, true)
                }
                "xmlns" => return wrong("an element is of another namespace"),
                _ => {
                    return wrong(
                        "an attribute is none of key, escaped, escaped-key and the namespace",
                    );
                }
            };
            if twice {
                return wrong("an attribute comes twice");
            }
        }
        if escaped_key.unwrap_or_default() {
            let plain = key.take().and_then(unescape);
            key = Some(plain.ok_or_else(|| ReadError("a key has a wrong escape".to_owned()))?);
        }
        Ok((Element { kind, key, escaped: escaped.unwrap_or_default() }, has_namespace))
    }

    /// The attributes of an element that was just read. Those of the event would not outlive it.
    fn attributes(&self, start: &BytesStart<'_>) -> Result<Attributes<'de>> {
        let content: &str = start;
        if content.len() == start.name().as_ref().len() {
            return Ok(Attributes::new("", 0));
        }
        let read = usize::try_from(self.position()).ok().and_then(|end| self.text.get(..end));
        // Behind the attributes stands `>` or `/>`.
        let tag = read.and_then(|read| read.strip_suffix('>'));
        let tag = tag
            .map(|tag| tag.strip_suffix('/').filter(|tag| tag.ends_with(content)).unwrap_or(tag));
        let within =
            tag.and_then(|tag| tag.len().checked_sub(content.len()).and_then(|at| tag.get(at..)));
        let Some(within) = within else { return wrong("a tag is not where it was read") };
        let mut attributes = Attributes::new(within, start.name().as_ref().len());
        // At most four pass, and those are compared when they are read.
        attributes.with_checks(false);
        Ok(attributes)
    }
}

/// What may stand between elements: white space and comments.
fn pass_over(event: &Event<'_>) -> Result<()> {
    match event {
        Event::Comment(_) => Ok(()),
        Event::Text(text) if is_white_space(text) => Ok(()),
        Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
            wrong("a text is where an element should be")
        }
        Event::Start(_) | Event::Empty(_) => wrong("an element follows the message"),
        Event::End(_) => wrong("an element ends that did not begin"),
        Event::Decl(_) => wrong("an XML declaration stands only at the beginning"),
        Event::PI(_) => wrong("processing instructions are not taken"),
        Event::DocType(_) => wrong("document types are not taken"),
        Event::Eof => wrong("the text ends too early"),
    }
}

fn check_declaration(declaration: &BytesDecl<'_>) -> Result<()> {
    let version = declaration.version().map_err(|error| ReadError(error.to_string()))?;
    if version != "1.0" {
        return wrong("the XML is of another version than 1.0");
    }
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(_) => wrong("the XML says that it is not UTF-8"),
    }
}

fn is_white_space(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// The character that a reference stands for.
fn resolve<'de>(reference: &quick_xml::events::BytesRef<'_>) -> Result<Cow<'de, str>> {
    let name: &str = reference;
    Ok(Cow::Borrowed(match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => {
            let character =
                reference.resolve_char_ref().map_err(|error| ReadError(error.to_string()))?;
            return match character {
                Some(character) if is_character(character) => Ok(character.to_string().into()),
                Some(_) => wrong("a reference is to no character of XML"),
                None => wrong("an entity is none of lt, gt, amp, apos and quot"),
            };
        }
    }))
}

/// An attribute's text: white space in it is spaces, if it is not written as references.
fn attribute_text(raw: Cow<'_, str>) -> Result<Cow<'_, str>> {
    if !raw.bytes().any(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r')) {
        return Ok(raw);
    }
    let spaced = raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ");
    let mut text = String::with_capacity(spaced.len());
    let mut rest = spaced.as_str();
    while let Some((before, reference)) = rest.split_once('&') {
        text.push_str(before);
        let Some((name, after)) = reference.split_once(';') else {
            return wrong("a reference does not end");
        };
        text.push_str(&resolve(&quick_xml::events::BytesRef::new(name))?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text.into())
}

fn boolean(text: &str) -> Result<bool> {
    match text.trim_matches([' ', '\t', '\n', '\r']) {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => wrong("a boolean is neither true nor false"),
    }
}

/// A number, in the grammar of JSON.
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

fn number(text: &str) -> Result<Number> {
    let Some(is_integer) = check_number(text.as_bytes()) else {
        return wrong("a number is not one of JSON");
    };
    if is_integer {
        if let Ok(number) = text.parse() {
            return Ok(Number::Unsigned(number));
        }
        // Minus zero is a float, as JSON readers have it.
        if let Ok(number @ ..0) = text.parse() {
            return Ok(Number::Signed(number));
        }
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Number::Float(number)),
        _ => wrong("a number is out of range"),
    }
}

/// Whether a text is a number of JSON, and then whether it is an integer. RFC 8259, section 6.
fn check_number(text: &[u8]) -> Option<bool> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return None;
    }
    let mut rest = &text[whole..];
    let is_integer = rest.is_empty();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return None;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-"));
        let exponent = unsigned.unwrap_or(exponent);
        let length = digits(exponent);
        if length == 0 {
            return None;
        }
        rest = &exponent[length..];
    }
    rest.is_empty().then_some(is_integer)
}

impl<'de> Value<'_, 'de> {
    /// The text of a string.
    fn string(self) -> Result<Cow<'de, str>> {
        let text = self.reader.text()?;
        if self.element.escaped {
            return unescape(text).ok_or_else(|| ReadError("a text has a wrong escape".to_owned()));
        }
        Ok(text)
    }

    /// The text of a number or boolean.
    fn word(self) -> Result<Cow<'de, str>> {
        let text = self.reader.text()?;
        Ok(match text {
            Cow::Borrowed(text) => text.trim_matches([' ', '\t', '\n', '\r']).into(),
            Cow::Owned(text) => text.trim_matches([' ', '\t', '\n', '\r']).to_owned().into(),
        })
    }

    /// Reads the end of `null`.
    fn nothing(self) -> Result<()> {
        match self.reader.next()? {
            None => Ok(()),
            Some(_) => wrong("there is something in null"),
        }
    }
}

fn visit_text<'de, V: Visitor<'de>>(text: Cow<'de, str>, visitor: V) -> Result<V::Value> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

macro_rules! large_integers {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            if self.element.kind != Kind::Number {
                return self.deserialize_any(visitor);
            }
            let text = self.word()?;
            match (check_number(text.as_bytes()), text.parse()) {
                (Some(true), Ok(number)) => visitor.$visit(number),
                _ => Err(de::Error::invalid_value(Unexpected::Str(&text), &visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.element.kind {
            Kind::Null => {
                self.nothing()?;
                visitor.visit_unit()
            }
            Kind::Boolean => visitor.visit_bool(boolean(&self.word()?)?),
            Kind::Number => match number(&self.word()?)? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Float(number) => visitor.visit_f64(number),
            },
            Kind::String => visit_text(self.string()?, visitor),
            Kind::Array => {
                let mut items = Items { reader: self.reader, ended: false };
                let value = visitor.visit_seq(&mut items)?;
                if !items.ended && items.next()?.is_some() {
                    return wrong("an array has too many items");
                }
                Ok(value)
            }
            Kind::Map => {
                let mut members = Members::new(self.reader);
                let value = visitor.visit_map(&mut members)?;
                if !members.ended && members.next()?.is_some() {
                    return wrong("a map has too many members");
                }
                Ok(value)
            }
        }
    }

    large_integers! { deserialize_i128 visit_i128 deserialize_u128 visit_u128 }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.element.kind == Kind::Null {
            self.nothing()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.element.kind {
            Kind::String => visitor.visit_enum(self.string()?.into_deserializer()),
            Kind::Map => {
                let mut members = Members::new(self.reader);
                let Some((variant, element)) = members.next()? else {
                    return wrong("a variant of an enum has no name");
                };
                let content = Value { reader: members.reader, element };
                let value = visitor.visit_enum(Variant { variant, content })?;
                match members.next()? {
                    None => Ok(value),
                    Some(_) => wrong("a variant of an enum has too many names"),
                }
            }
            _ => wrong("a variant of an enum is neither a string nor a map"),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The items of an array.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    ended: bool,
}

impl<'de> Items<'_, 'de> {
    fn next(&mut self) -> Result<Option<Element<'de>>> {
        if self.ended {
            return Ok(None);
        }
        let element = self.reader.next()?;
        self.ended = element.is_none();
        match element {
            Some(Element { key: Some(_), .. }) => wrong("only a member of a map has a key"),
            element => Ok(element),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        match self.next()? {
            Some(element) => seed.deserialize(Value { reader: self.reader, element }).map(Some),
            None => Ok(None),
        }
    }
}

/// The members of a map.
struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    seen: Seen<'de>,
    /// The member whose key was given out.
    member: Option<Element<'de>>,
    ended: bool,
}

impl<'a, 'de> Members<'a, 'de> {
    const fn new(reader: &'a mut Reader<'de>) -> Self {
        Self { reader, seen: Seen::new(), member: None, ended: false }
    }

    fn next(&mut self) -> Result<Option<(Cow<'de, str>, Element<'de>)>> {
        if self.ended {
            return Ok(None);
        }
        let Some(mut element) = self.reader.next()? else {
            self.ended = true;
            return Ok(None);
        };
        let Some(key) = element.key.take() else { return wrong("a member of a map has no key") };
        if !self.seen.insert(key.clone()) {
            return wrong("a key comes twice in a map");
        }
        Ok(Some((key, element)))
    }
}

/// The keys of a map so far. Most maps are small, and their keys are parts of the text.
struct Seen<'de> {
    first: [&'de str; FEW],
    count: usize,
    others: Option<HashSet<Cow<'de, str>>>,
}

const FEW: usize = 8;

impl<'de> Seen<'de> {
    const fn new() -> Self {
        Self { first: [""; FEW], count: 0, others: None }
    }

    /// Answers whether the key is new.
    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        if self.first[..self.count].contains(&key.as_ref()) {
            return false;
        }
        match key {
            Cow::Borrowed(key) if self.count < FEW && self.others.is_none() => {
                self.first[self.count] = key;
                self.count += 1;
                true
            }
            key => self.others.get_or_insert_default().insert(key),
        }
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let Some((key, element)) = self.next()? else { return Ok(None) };
        self.member = Some(element);
        match key {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(StringDeserializer::new(key)),
        }
        .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        match self.member.take() {
            Some(element) => seed.deserialize(Value { reader: self.reader, element }),
            None => wrong("a value is asked for before its key"),
        }
    }
}

/// A variant of an enum, and what it holds.
struct Variant<'a, 'de> {
    variant: Cow<'de, str>,
    content: Value<'a, 'de>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = ReadError;
    type Variant = Value<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant)> {
        let variant =
            seed.deserialize(IntoDeserializer::<ReadError>::into_deserializer(self.variant))?;
        Ok((variant, self.content))
    }
}

impl<'de> VariantAccess<'de> for Value<'_, 'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<()> {
        match self.element.kind {
            Kind::Null => self.nothing(),
            _ => wrong("a variant of an enum holds something where nothing should be"),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }
}
