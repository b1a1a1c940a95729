//! The keys of maps: attributes of the member.

use std::fmt;

use serde::ser::{Error as _, Serialize};

use super::characters::{
    CARRIAGE_RETURN, ILLEGAL, MARKUP, QUOTE, TAB_OR_LINE, classify, push_escaped, push_plain,
};
use super::displayed::push_displayed;
use super::error::XmlFault;
use super::number::push_number;
use crate::key::KeySink;

/// Takes a key as the attributes of a member, at the end of the frame.
pub(super) struct KeyAttributes<'f>(pub(super) &'f mut Vec<u8>);

impl KeySink for KeyAttributes<'_> {
    type Error = XmlFault;

    #[inline]
    fn text(self, key: &str) -> Result<(), XmlFault> {
        push_key(self.0, key);
        Ok(())
    }

    fn displayed<T: fmt::Display + ?Sized>(self, key: &T) -> Result<(), XmlFault> {
        push_displayed(self.0, key, push_key)
    }

    fn number<N: Serialize>(self, number: N) -> Result<(), XmlFault> {
        self.0.extend_from_slice(b" key=\"");
        push_number(self.0, number)?;
        self.0.push(b'"');
        Ok(())
    }

    #[cold]
    fn no_text() -> XmlFault {
        XmlFault::custom("the key of a map has to be a text, a number or a boolean")
    }
}

/// Appends the attributes of a member.
#[inline]
pub(super) fn push_key(frame: &mut Vec<u8>, key: &str) {
    let classes = classify(key);
    if classes & (ILLEGAL | CARRIAGE_RETURN) != 0 {
        frame.extend_from_slice(b" escaped-key=\"true\" key=\"");
        push_escaped(frame, key);
    } else {
        frame.extend_from_slice(b" key=\"");
        if classes & IN_KEY == 0 {
            frame.extend_from_slice(key.as_bytes());
        } else {
            push_plain(frame, key, IN_KEY);
        }
    }
    frame.push(b'"');
}

/// What cannot stand for itself in the attribute.
const IN_KEY: u8 = MARKUP | QUOTE | TAB_OR_LINE;
