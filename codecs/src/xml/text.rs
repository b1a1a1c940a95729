//! Characters: what XML has to escape, and what it cannot hold.
//!
//! What XML cannot hold is written as JSON would, and marked `escaped="true"` (`escaped-key="true"`
//! for a key). A carriage return is among it, for XML readers make it a line feed.

use std::borrow::Cow;

/// What has to be done about a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    Nothing,
    /// Some characters stand for themselves only as references.
    References,
    /// Some characters need JSON's escapes.
    Escapes,
}

const PLAIN: u8 = 0;
/// Has to be a reference.
const REFERENCE: u8 = 1;
/// Has to be escaped.
const ESCAPE: u8 = 2;
/// May begin U+FFFE or U+FFFF, which are no characters of XML.
const MAYBE: u8 = 3;

/// Of each byte. Tabs and line feeds are references, so that an attribute keeps them, too.
const CLASSES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        classes[byte] = ESCAPE;
        byte += 1;
    }
    classes[b'\t' as usize] = REFERENCE;
    classes[b'\n' as usize] = REFERENCE;
    classes[b'<' as usize] = REFERENCE;
    classes[b'>' as usize] = REFERENCE;
    classes[b'&' as usize] = REFERENCE;
    classes[b'"' as usize] = REFERENCE;
    classes[0xEF] = MAYBE;
    classes
};

pub(super) fn needs(text: &str) -> Needs {
    let mut needs = Needs::Nothing;
    for (index, byte) in text.bytes().enumerate() {
        match CLASSES[byte as usize] {
            PLAIN => {}
            REFERENCE => needs = Needs::References,
            ESCAPE => return Needs::Escapes,
            _ if is_no_character(&text.as_bytes()[index..]) => return Needs::Escapes,
            _ => {}
        }
    }
    needs
}

/// Whether U+FFFE or U+FFFF is next.
fn is_no_character(bytes: &[u8]) -> bool {
    matches!(bytes, [0xEF, 0xBF, 0xBE | 0xBF, ..])
}

/// Whether XML has the character at all.
pub(super) fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Whether XML has all characters of a text.
pub(super) fn is_xml(text: &str) -> bool {
    // Without a branch for each byte, so that many are looked at together.
    let may_be_none = |byte: u8| matches!(byte, 0..=8 | 0xB | 0xC | 0xE..=0x1F | 0xEF);
    let is_doubtful = text.bytes().fold(false, |doubtful, byte| doubtful | may_be_none(byte));
    !is_doubtful || text.chars().all(is_character)
}

/// Writes a text, all of whose special characters are to be references.
pub(super) fn write_references(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if CLASSES[*byte as usize] == REFERENCE {
            out.extend_from_slice(&bytes[start..index]);
            out.extend_from_slice(reference(*byte));
            start = index + 1;
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

const fn reference(byte: u8) -> &'static [u8] {
    match byte {
        b'\t' => b"&#9;",
        b'\n' => b"&#10;",
        b'<' => b"&lt;",
        b'>' => b"&gt;",
        b'&' => b"&amp;",
        _ => b"&quot;",
    }
}

/// Writes a text with JSON's escapes, and references.
pub(super) fn write_escapes(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";

    for c in text.chars() {
        match c {
            '\\' => out.extend_from_slice(b"\\\\"),
            '"' => out.extend_from_slice(b"\\&quot;"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '<' | '>' | '&' => out.extend_from_slice(reference(c as u8)),
            c if is_character(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            // Below U+10000, as all that are no characters of XML.
            c => {
                let digit = |shift: u32| HEX[((c as u32 >> shift) & 0xF) as usize];
                out.extend_from_slice(b"\\u");
                out.extend([digit(12), digit(8), digit(4), digit(0)]);
            }
        }
    }
}

/// Reads JSON's escapes; `None` where there is one that JSON does not have.
pub(super) fn unescape(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut characters = escape.chars();
        plain.push(match characters.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = unit(&mut characters)?;
                if (0xD800..0xDC00).contains(&first) {
                    let after = characters.as_str().strip_prefix("\\u")?;
                    characters = after.chars();
                    let second = unit(&mut characters)?;
                    char::decode_utf16([first, second]).next()?.ok()?
                } else {
                    char::from_u32(first.into())?
                }
            }
            _ => return None,
        });
        rest = characters.as_str();
    }
    plain.push_str(rest);
    Some(plain.into())
}

/// Four hexadecimal digits.
fn unit(characters: &mut std::str::Chars<'_>) -> Option<u16> {
    (0..4).try_fold(0, |unit, _| {
        let digit = characters.next()?.to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
