//! Start tags: the element's name, and its attributes.

use std::borrow::Cow;

use super::characters::{attribute_value, is_space, trim, unescape};
use super::error::XmlFault;

/// Source: XPath and XQuery Functions 3.1, 17.4.
pub(super) const NAMESPACE: &str = "http://www.w3.org/2005/xpath-functions";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// A start tag that was read; what lies in the element has not been.
#[derive(Debug)]
pub(super) struct Tag<'de> {
    pub(super) kind: Kind,
    /// As it is written, with the prefix: the end tag has to repeat it.
    pub(super) name: &'de str,
    /// Whether the text has escapes of JSON.
    pub(super) escaped: bool,
    /// Whether the tag is the whole element.
    pub(super) empty: bool,
    /// The element's name in the map that it lies in.
    pub(super) key: Option<Cow<'de, str>>,
}

/// How the frame calls the namespace. Declared on the root; a declaration further in may repeat
/// what holds there, and so changes nothing.
#[derive(Debug, Default)]
pub(super) struct Namespace<'de> {
    is_default: bool,
    prefix: Option<&'de str>,
}

/// None of the vocabulary's elements has use for more: three, and the namespace.
const MAX_ATTRIBUTES: usize = 4;

impl<'de> Tag<'de> {
    /// Reads a tag, from `<` to `>`.
    pub(super) fn read(
        tag: &'de str,
        namespace: &mut Namespace<'de>,
        is_root: bool,
    ) -> Result<Self, XmlFault> {
        let broken = || XmlFault::rule("a tag is broken");
        let inside = tag.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let inside = inside.ok_or_else(broken)?;
        let (inside, empty) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let (name, attributes) = match inside.bytes().position(is_space) {
            Some(end) => inside.split_at(end),
            None => (inside, ""),
        };
        let attributes = Attributes::read(attributes, namespace, is_root)?;
        let kind = namespace.kind_of(name)?;
        if attributes.escaped.is_some() && kind != Kind::String {
            return Err(XmlFault::rule("`escaped` stands at an element that is no string"));
        }
        let key = match (attributes.key, attributes.escaped_key) {
            (Some(key), Some(true)) => Some(unescape(key)?),
            (None, Some(_)) => return Err(XmlFault::rule("`escaped-key` stands without a key")),
            (key, _) => key,
        };
        Ok(Self { kind, name, escaped: attributes.escaped.unwrap_or(false), empty, key })
    }
}

impl<'de> Namespace<'de> {
    /// Whether names without a prefix are of the namespace.
    pub(super) fn is_default(&self) -> bool {
        self.is_default
    }

    fn kind_of(&self, name: &str) -> Result<Kind, XmlFault> {
        let local = match name.split_once(':') {
            None if self.is_default => name,
            Some((prefix, local)) if self.prefix == Some(prefix) => local,
            _ => {
                return Err(XmlFault::rule(concat!(
                    "an element is not in the namespace ",
                    "`http://www.w3.org/2005/xpath-functions`"
                )));
            }
        };
        Ok(match local {
            "map" => Kind::Map,
            "array" => Kind::Array,
            "string" => Kind::String,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "null" => Kind::Null,
            _ => return Err(XmlFault::rule("the vocabulary has no such element")),
        })
    }

    fn declare(
        &mut self,
        prefix: Option<&'de str>,
        value: &str,
        is_root: bool,
    ) -> Result<(), XmlFault> {
        if value != NAMESPACE {
            return Err(XmlFault::rule("a namespace is not that of the vocabulary"));
        }
        let is_known = match prefix {
            None => self.is_default,
            Some(_) => self.prefix == prefix,
        };
        // The parser of a start tag knows no element around it: the root is where nothing is known.
        match (is_root, is_known, prefix) {
            (true, true, _) => Err(XmlFault::rule("an attribute stands twice at an element")),
            (true, false, None) => {
                self.is_default = true;
                Ok(())
            }
            (true, false, Some(prefix)) if self.prefix.is_none() && is_prefix(prefix) => {
                self.prefix = Some(prefix);
                Ok(())
            }
            (true, false, Some(_)) => Err(XmlFault::rule("the namespace has a second prefix")),
            (false, true, _) => Ok(()),
            (false, false, _) => {
                Err(XmlFault::rule("the namespace is declared anew within the message"))
            }
        }
    }
}

/// Source: Namespaces in XML 1.0, 3 and 4; of the letters above ASCII all are taken.
fn is_prefix(prefix: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_later = |c: char| is_letter(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    prefix.starts_with(is_letter)
        && prefix.chars().all(is_later)
        && prefix != "xmlns"
        && prefix != "xml"
}

#[derive(Default)]
struct Attributes<'de> {
    key: Option<Cow<'de, str>>,
    escaped: Option<bool>,
    escaped_key: Option<bool>,
}

impl<'de> Attributes<'de> {
    fn read(
        mut rest: &'de str,
        namespace: &mut Namespace<'de>,
        is_root: bool,
    ) -> Result<Self, XmlFault> {
        let mut attributes = Self::default();
        let mut count = 0;
        let mut declared_default = false;
        let mut declared_prefix = None;
        loop {
            let Some((name, value, after)) = next_attribute(rest)? else { return Ok(attributes) };
            rest = after;
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(XmlFault::rule("an element has too many attributes"));
            }
            let value = attribute_value(value)?;
            let is_second = match name {
                "key" => attributes.key.replace(value).is_some(),
                "escaped" => attributes.escaped.replace(boolean(&value)?).is_some(),
                "escaped-key" => attributes.escaped_key.replace(boolean(&value)?).is_some(),
                "xmlns" => {
                    namespace.declare(None, &value, is_root)?;
                    std::mem::replace(&mut declared_default, true)
                }
                _ => {
                    let prefix = name
                        .strip_prefix("xmlns:")
                        .ok_or_else(|| XmlFault::rule("the vocabulary has no such attribute"))?;
                    namespace.declare(Some(prefix), &value, is_root)?;
                    declared_prefix.replace(prefix).is_some()
                }
            };
            if is_second {
                return Err(XmlFault::rule("an attribute stands twice at an element"));
            }
        }
    }
}

/// The name of the first attribute, what stands between its quotes, and what comes after.
pub(super) fn next_attribute(text: &str) -> Result<Option<(&str, &str, &str)>, XmlFault> {
    let broken = || XmlFault::rule("an attribute is broken");
    let bytes = text.as_bytes();
    let start = bytes.iter().take_while(|byte| is_space(**byte)).count();
    if start == bytes.len() {
        return Ok(None);
    }
    if start == 0 {
        return Err(XmlFault::rule("attributes stand without a space between them"));
    }
    let (name, rest) = text[start..].split_once('=').ok_or_else(broken)?;
    let name = trim(name);
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
    let quote = match rest.bytes().next() {
        Some(b'"') => '"',
        Some(b'\'') => '\'',
        _ => return Err(broken()),
    };
    let (value, after) = rest[1..].split_once(quote).ok_or_else(broken)?;
    Ok(Some((name, value, after)))
}

/// Source: XML Schema 1.1, 3.3.2.
pub(super) fn boolean(text: &str) -> Result<bool, XmlFault> {
    match trim(text) {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(XmlFault::rule("the boolean is neither `true` nor `false`")),
    }
}
