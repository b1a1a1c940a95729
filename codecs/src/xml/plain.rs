//! The spelling that our writer uses, and Saxon's does for the most part: no prefix, one space before
//! `key`, nothing that needs a second look.
//!
//! It is read here without an event of the XML library for each tag and each text, which takes a
//! third of the time. All else is left to the library: each function gives what it read and its
//! length, or nothing.

use std::borrow::Cow;

use super::characters::stands_for_itself;
use super::tag::{Kind, Tag};

/// A start tag, where the namespace is the default one.
#[inline]
pub(super) fn tag(rest: &str) -> Option<(Tag<'_>, usize)> {
    let bytes = rest.as_bytes();
    let (kind, name) = match bytes.get(1..4)? {
        b"str" => (Kind::String, "string"),
        b"num" => (Kind::Number, "number"),
        b"map" => (Kind::Map, "map"),
        b"arr" => (Kind::Array, "array"),
        b"boo" => (Kind::Boolean, "boolean"),
        b"nul" => (Kind::Null, "null"),
        _ => return None,
    };
    if bytes[0] != b'<' || !bytes[1..].starts_with(name.as_bytes()) {
        return None;
    }
    let mut end = 1 + name.len();
    let mut key = None;
    if let Some(value) = bytes[end..].strip_prefix(b" key=\"") {
        let length = value.iter().position(|byte| !stands_for_itself(*byte))?;
        if value[length] != b'"' {
            return None;
        }
        let start = end + " key=\"".len();
        key = Some(Cow::Borrowed(rest.get(start..start + length)?));
        end = start + length + 1;
    }
    let (empty, length) = match bytes.get(end..)? {
        [b'>', ..] => (false, end + 1),
        [b'/', b'>', ..] => (true, end + 2),
        _ => return None,
    };
    Some((Tag { kind, name, escaped: false, empty, key }, length))
}

/// The text of an element, and its end tag.
#[inline]
pub(super) fn text<'de>(rest: &'de str, name: &str) -> Option<(&'de str, usize)> {
    // A quote stands for itself here, but not in a key.
    let is_plain = |byte: &u8| stands_for_itself(*byte) || matches!(byte, b'"' | b'\t' | b'\n');
    let length = rest.as_bytes().iter().position(|byte| !is_plain(byte))?;
    let text = rest.get(..length)?;
    let end = end(rest.get(length..)?, name)?;
    Some((text, length + end))
}

/// An end tag.
#[inline]
pub(super) fn end(rest: &str, name: &str) -> Option<usize> {
    let after = rest.as_bytes().strip_prefix(b"</")?.strip_prefix(name.as_bytes())?;
    if after.first() == Some(&b'>') { Some(name.len() + 3) } else { None }
}
