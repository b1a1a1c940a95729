//! What XML 1.0 cannot hold, or would change, and how it is written and read all the same.

use std::borrow::Cow;

use super::error::XmlFault;

/// No character of XML 1.0, written as an escape of JSON.
pub(super) const ILLEGAL: u8 = 1;
/// Parsers read it as a line feed.
pub(super) const CARRIAGE_RETURN: u8 = 1 << 1;
/// Parsers read it as a space in attributes.
pub(super) const TAB_OR_LINE: u8 = 1 << 2;
/// `&`, `<`, `>`.
pub(super) const MARKUP: u8 = 1 << 3;
pub(super) const QUOTE: u8 = 1 << 4;
/// `]`: `]]>` may not stand in text.
pub(super) const BRACKET: u8 = 1 << 5;
/// The first byte of U+FFFE and U+FFFF, and of others.
const SUSPECT: u8 = 1 << 6;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        classes[byte] = ILLEGAL;
        byte += 1;
    }
    classes[b'\r' as usize] = CARRIAGE_RETURN;
    classes[b'\t' as usize] = TAB_OR_LINE;
    classes[b'\n' as usize] = TAB_OR_LINE;
    classes[b'&' as usize] = MARKUP;
    classes[b'<' as usize] = MARKUP;
    classes[b'>' as usize] = MARKUP;
    classes[b'"' as usize] = QUOTE;
    classes[b']' as usize] = BRACKET;
    classes[0xEF] = SUSPECT;
    classes
};

/// Whether the byte is of no class: what it is part of means itself wherever it stands.
#[inline]
pub(super) fn stands_for_itself(byte: u8) -> bool {
    CLASSES[usize::from(byte)] == 0
}

/// All classes of characters that the text has some of.
#[inline]
pub(super) fn classify(text: &str) -> u8 {
    let classes = text.bytes().fold(0, |all, byte| all | CLASSES[usize::from(byte)]);
    if classes & SUSPECT == 0 { classes } else { look_closer(text, classes) }
}

#[cold]
fn look_closer(text: &str, classes: u8) -> u8 {
    let illegal = text.contains(|c| !is_legal(c));
    (classes & !SUSPECT) | if illegal { ILLEGAL } else { 0 }
}

/// Source: XML 1.0, 2.2, `Char`.
fn is_legal(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\u{FFFE}' | '\u{FFFF}' => false,
        _ => character >= ' ',
    }
}

/// Source: XML 1.0, 2.3, `S`.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Appends text that XML can hold: runs of what stands for itself, references in between. `classes`
/// are those that cannot stand for themselves here.
pub(super) fn push_plain(out: &mut Vec<u8>, text: &str, classes: u8) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (place, byte) in bytes.iter().enumerate() {
        if CLASSES[usize::from(*byte)] & classes == 0 {
            continue;
        }
        let reference: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\t' => b"&#9;",
            b'\n' => b"&#10;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..place]);
        out.extend_from_slice(reference);
        done = place + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Appends text that XML cannot hold: with escapes of JSON, for an element or an attribute that is
/// marked so.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut done = 0;
    for (place, character) in text.char_indices() {
        let mut code = *b"\\u0000";
        let written: &[u8] = match character {
            '&' => b"&amp;",
            '<' => b"&lt;",
            '>' => b"&gt;",
            '"' => b"\\&quot;",
            '\\' => b"\\\\",
            '\u{8}' => b"\\b",
            '\t' => b"\\t",
            '\n' => b"\\n",
            '\u{c}' => b"\\f",
            '\r' => b"\\r",
            _ if is_legal(character) => continue,
            _ => {
                let scalar = u32::from(character);
                for (digit, shift) in code[2..].iter_mut().zip([12, 8, 4, 0]) {
                    *digit = HEX[(scalar >> shift & 0xF) as usize];
                }
                &code
            }
        };
        out.extend_from_slice(&bytes[done..place]);
        out.extend_from_slice(written);
        done = place + character.len_utf8();
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Character data as it is meant: legal, and each line end a line feed (XML 1.0, 2.11).
pub(super) fn character_data(raw: &str, is_cdata: bool) -> Result<Cow<'_, str>, XmlFault> {
    let classes = classify(raw);
    if classes & (ILLEGAL | CARRIAGE_RETURN | BRACKET) == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    if classes & ILLEGAL != 0 {
        return Err(XmlFault::rule("the text has a character that XML cannot hold"));
    }
    if classes & BRACKET != 0 && !is_cdata && raw.contains("]]>") {
        return Err(XmlFault::rule("`]]>` stands in the text"));
    }
    if classes & CARRIAGE_RETURN == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    Ok(Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n")))
}

/// The value of an attribute as it is meant, from what stands between its quotes (XML 1.0, 3.3.3).
pub(super) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, XmlFault> {
    let classes = classify(raw);
    if classes & (ILLEGAL | CARRIAGE_RETURN | TAB_OR_LINE | MARKUP) == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    if classes & ILLEGAL != 0 {
        return Err(XmlFault::rule("an attribute has a character that XML cannot hold"));
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(place) = rest.find(['&', '<', '\t', '\n', '\r']) {
        value.push_str(&rest[..place]);
        rest = &rest[place..];
        if let Some(reference) = rest.strip_prefix('&') {
            let (name, after) = reference
                .split_once(';')
                .ok_or_else(|| XmlFault::rule("a reference in an attribute does not end"))?;
            value.push(resolve(name)?);
            rest = after;
        } else if rest.starts_with('<') {
            return Err(XmlFault::rule("`<` stands in an attribute"));
        } else {
            value.push(' ');
            rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        }
    }
    value.push_str(rest);
    Ok(Cow::Owned(value))
}

/// What `&name;` stands for.
pub(super) fn resolve(name: &str) -> Result<char, XmlFault> {
    let wrong = || XmlFault::rule("a reference to a character that XML cannot hold");
    let (digits, radix) = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hex), _) => (hex, 16),
            (None, Some(decimal)) => (decimal, 10),
            (None, None) => return Err(XmlFault::rule("a reference to an unknown entity")),
        },
    };
    // The standard library would take a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let scalar = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
    char::from_u32(scalar).filter(|c| is_legal(*c)).ok_or_else(wrong)
}

/// Text that is marked as escaped, without the escapes of JSON.
pub(super) fn unescape(text: Cow<'_, str>) -> Result<Cow<'_, str>, XmlFault> {
    if !text.contains('\\') {
        return Ok(text);
    }
    let wrong = || XmlFault::rule("escaped text has an escape that JSON does not have");
    let mut plain = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut after = escape.chars();
        plain.push(match after.next().ok_or_else(wrong)? {
            same @ ('"' | '\\' | '/') => same,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => code_point(&mut after)?,
            _ => return Err(wrong()),
        });
        rest = after.as_str();
    }
    plain.push_str(rest);
    Ok(Cow::Owned(plain))
}

/// What follows `\u`: four digits, or two times four for what lies above U+FFFF.
fn code_point(after: &mut std::str::Chars<'_>) -> Result<char, XmlFault> {
    fn unit(after: &mut std::str::Chars<'_>) -> Option<u16> {
        let digits = after.as_str().get(..4)?;
        *after = after.as_str()[4..].chars();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
    }

    let first =
        unit(after).ok_or_else(|| XmlFault::rule("escaped text has `\\u` without four digits"))?;
    if let Some(character) = char::from_u32(first.into()) {
        return Ok(character);
    }
    let mut later = after.clone();
    let pair = if later.by_ref().take(2).eq(['\\', 'u']) { unit(&mut later) } else { None };
    let character = pair.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    if character.is_some() {
        *after = later;
    }
    // Half of a pair, as a text of JavaScript can hold it, is what it is in the other codecs.
    Ok(character.unwrap_or(char::REPLACEMENT_CHARACTER))
}
