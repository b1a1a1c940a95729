//! Messages of events that are written already.

use serde::Serialize;

use crate::apart::Items;
use crate::id::Digits;
use crate::message::{WireId, WireMeta};
use crate::number::Counter;

/// The inside of an array.
pub(super) struct Array<'f> {
    frame: &'f mut Vec<u8>,
    is_empty: bool,
}

impl<'f> Array<'f> {
    pub(super) fn open(frame: &'f mut Vec<u8>) -> Self {
        frame.push(b'[');
        Self { frame, is_empty: true }
    }

    pub(super) fn close(self) {
        self.frame.push(b']');
    }

    #[inline]
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.frame.push(b',');
        }
    }
}

impl Items for Array<'_> {
    type Error = serde_json::Error;

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> serde_json::Result<()> {
        self.comma();
        serde_json::to_writer(&mut *self.frame, item)
    }

    #[inline]
    fn written(&mut self, item: &[u8]) -> serde_json::Result<()> {
        self.comma();
        self.frame.extend_from_slice(item);
        Ok(())
    }

    /// The usual meta at once: nothing in it is escaped.
    #[inline]
    fn meta(&mut self, meta: &WireMeta) -> serde_json::Result<()> {
        let mut text = Text::default();
        if meta.subprotocol.is_some() || !meta.extra.is_empty() {
            return self.item(meta);
        }
        match &meta.id {
            WireId::Absolute { time, author: None } => {
                text.push(br#"{"id":""#);
                text.push(Digits::new(*time).as_bytes());
                text.push(br#"","time":"#);
            }
            WireId::Shifted { shift, node: None, counter: Counter::ZERO } => {
                text.push(br#"{"id":"#);
                text.integer(*shift);
                text.push(br#","time":"#);
            }
            _ => return self.item(meta),
        }
        text.integer(meta.time);
        text.push(b"}");
        self.written(text.as_bytes())
    }
}

/// A short text that needs no heap. What is longer than all that is written here would be cut.
struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }
}

impl Text {
    #[inline]
    fn push(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text);
            self.length += text.len();
        }
    }

    #[inline]
    fn integer(&mut self, number: i64) {
        // The longest has 19 digits.
        let (mut digits, mut start, mut rest) = ([0; 20], 20, number.unsigned_abs());
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.push(b"-");
        }
        self.push(&digits[start..]);
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
