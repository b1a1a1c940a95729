//! The usual spelling of a `sync`, as nodes write it, read faster than any other. Whatever deviates from it is
//! read in the usual way, which also says what is wrong.

use std::cell::Cell;
use std::ops::RangeInclusive;

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::id::parse_digits;
use crate::limits::Limits;
use crate::message::{Sync, WireId, WireMeta};
use crate::number::{Added, Counter, MAX_SAFE_INTEGER};
use crate::rare::Rare;

/// About how many bytes a short event and its meta have.
const SHORT: usize = 48;

/// 2^53 has so many digits.
const MAX_DIGITS: usize = 16;

/// No more than so many events are made room for before they have arrived.
const MAX_HINT: usize = 64;

/// Deeper than that `serde_json` itself does not read, and it counts the message as a level.
const DEPTHS: RangeInclusive<usize> = 2..=120;

/// A `sync` without white space between its items, whose events are objects. `None` if it is anything else.
pub(super) fn sync<E: DeserializeOwned>(json: &str, limits: Limits) -> Option<Sync<E>> {
    if !DEPTHS.contains(&limits.depth) {
        return None;
    }
    let mut rest = Rest { json, place: 0 };
    rest.text(r#"["sync","#)?;
    let added = Added::new(rest.integer()?.try_into().ok()?)?;
    let hint = (json.len() / SHORT).min(MAX_HINT).min(limits.events);
    let mut entries = Vec::with_capacity(hint);
    let objects = Cell::new(limits.objects);
    while rest.text("]").is_none() {
        if entries.len() == limits.events {
            return None;
        }
        rest.text(",")?;
        let event = rest.object(limits, &objects)?;
        rest.text(",")?;
        entries.push((event, meta(&mut rest, limits, &objects)?));
    }
    let is_whole = rest.place == json.len() && !entries.is_empty();
    is_whole.then_some(Sync { added, entries })
}

fn meta(rest: &mut Rest<'_>, limits: Limits, objects: &Cell<usize>) -> Option<WireMeta> {
    let place = rest.place;
    if let Some(meta) = usual_meta(rest) {
        objects.set(objects.get().checked_sub(1)?);
        return Some(meta);
    }
    rest.place = place;
    rest.object(limits, objects)
}

/// A meta that has an id without a node, a time, and nothing else.
fn usual_meta(rest: &mut Rest<'_>) -> Option<WireMeta> {
    rest.text(r#"{"id":"#)?;
    let id = if rest.text("\"").is_some() {
        WireId::Absolute { time: parse_digits(rest.plain_text()?)?, author: None }
    } else {
        WireId::Shifted { shift: rest.integer()?, node: None, counter: Counter::ZERO }
    };
    rest.text(r#","time":"#)?;
    let time = rest.integer()?;
    rest.text("}")?;
    Some(WireMeta { id, time, subprotocol: None, extra: Rare::default() })
}

/// What is left to be read.
struct Rest<'j> {
    json: &'j str,
    place: usize,
}

impl<'j> Rest<'j> {
    fn bytes(&self) -> &'j [u8] {
        &self.json.as_bytes()[self.place..]
    }

    /// Exactly this.
    #[inline]
    fn text(&mut self, text: &str) -> Option<()> {
        self.bytes().starts_with(text.as_bytes()).then(|| self.place += text.len())
    }

    /// Up to a quote, and that; nothing of it is escaped.
    #[inline]
    fn plain_text(&mut self) -> Option<&'j str> {
        let length = self.bytes().iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let text = &self.json[self.place..self.place + length];
        self.place += length;
        self.text("\"")?;
        Some(text)
    }

    /// An integer in the range of the protocol.
    #[inline]
    fn integer(&mut self) -> Option<i64> {
        let is_negative = self.text("-").is_some();
        let bytes = self.bytes();
        let (mut number, mut digits) = (0, 0);
        while let Some(digit) = bytes.get(digits).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            // More digits than those of 2^53 are out of range, and more could not be counted.
            if digits == MAX_DIGITS {
                return None;
            }
            number = 10 * number + u64::from(digit);
            digits += 1;
        }
        if digits == 0 || (bytes[0] == b'0' && (digits > 1 || is_negative)) {
            return None;
        }
        // `1.0` and `1e3` are integers, too, and are read by serde.
        if number > MAX_SAFE_INTEGER || matches!(bytes.get(digits), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.place += digits;
        Some(if is_negative { -number.cast_signed() } else { number.cast_signed() })
    }

    /// An object, by serde.
    fn object<T: DeserializeOwned>(&mut self, limits: Limits, objects: &Cell<usize>) -> Option<T> {
        let json = self.json.get(self.place..)?;
        if !json.starts_with('{') {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_str(json);
        let value = limits.item(&mut reader, objects).ok()?;
        // Nothing else tells how far the reader has come: behind the brace that closes the object.
        self.place += reader.into_iter::<IgnoredAny>().byte_offset();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::message::Message;

    const FRAMES: [&str; 4] = [
        r#"["sync",3,{"type":"a"},{"id":"OzcVoWD","time":-5},{"type":"b"},{"id":"OzcVoWE","time":0}]"#,
        r#"["sync",12,{"type":"a","n":[{"b":"}\""}]},{"id":7,"time":7},{},{"id":[1,"10:a",0],"time":1}]"#,
        r#"["sync",1,{"type":"\u00e9\\"},{"id":"OzcVoWD 10:a:b","time":9007199254740991}]"#,
        r#"["sync",2,{"a":{}},{"id":"-","time":0,"subprotocol":[1,2],"x":{"y":null}}]"#,
    ];

    fn in_the_usual_way(json: &str, limits: Limits) -> serde_json::Result<Message<Value>> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let message = limits.read(&mut reader)?;
        reader.end()?;
        Ok(message)
    }

    /// What is read is what is read in the usual way.
    fn agrees(json: &str, limits: Limits) -> bool {
        let plain = sync::<Value>(json, limits);
        if let Some(sync) = &plain {
            let usual = in_the_usual_way(json, limits);
            assert_eq!(usual.ok(), Some(Message::Sync(sync.clone())), "{json}");
        }
        plain.is_some()
    }

    #[test]
    fn what_nodes_write_is_read() {
        for frame in FRAMES {
            assert!(agrees(frame, Limits::default()), "{frame}");
        }
    }

    #[test]
    fn what_is_read_is_what_serde_reads_whatever_is_changed() {
        const OTHERS: &[u8] = br#" {}[]",:-0159.eE\utx"#;

        let (mut state, mut read) = (0x5EED_u64, 0);
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % limit
        };
        for round in 0..20_000 {
            let mut bytes = FRAMES[round % FRAMES.len()].as_bytes().to_vec();
            for _ in 0..=below(2) {
                let (place, other) = (below(bytes.len()), OTHERS[below(OTHERS.len())]);
                match below(3) {
                    0 => bytes[place] = other,
                    1 => bytes.insert(place, other),
                    _ => drop(bytes.remove(place)),
                }
            }
            read += u32::from(agrees(std::str::from_utf8(&bytes).unwrap(), Limits::default()));
        }
        assert!(read > 1000, "only {read} were read");
    }

    #[test]
    fn the_limits_are_those_of_the_usual_way() {
        for limits in (0..9).flat_map(|limit| {
            let limits = Limits::default();
            [limits.events(limit), limits.objects(limit), limits.depth(limit)]
        }) {
            for frame in FRAMES {
                let is_read = agrees(frame, limits);
                assert_eq!(is_read, in_the_usual_way(frame, limits).is_ok(), "{limits:?} {frame}");
            }
        }
    }

    #[test]
    fn no_more_levels_are_read_than_in_the_usual_way() {
        for levels in 1..140 {
            let nest = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
            let frame = format!(r#"["sync",1,{nest},{{"id":"-","time":0}}]"#);
            for depth in [0, 1, 2, levels, levels + 1, 119, 120, 126, 127, 128, 129, 1000] {
                agrees(&frame, Limits::default().depth(depth));
            }
        }
    }
}
