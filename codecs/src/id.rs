//! Names of nodes and of events.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::number::{MAX_SAFE_INTEGER, Timestamp};

/// The name of a node, unique among all nodes that ever exchange events: `userId:clientId:tabId`,
/// with any number of parts.
///
/// 1 to [`NodeId::MAX_BYTES`] bytes, without white space, control characters, invisible characters
/// or characters above U+D7FF: within these, Rust's order of bytes and JavaScript's order of UTF-16 code units agree,
/// and the order of node ids is part of the order of events.
///
/// ```
/// # use logux_codecs::NodeId;
/// let node: NodeId = "10:uImkcF4z:tab1".parse().unwrap();
/// assert_eq!(node.user_id(), Some("10"));
/// assert!("two words".parse::<NodeId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

/// Why a text is no [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNodeId {
    /// The text is empty.
    #[error("a node id must not be empty")]
    Empty,
    /// The text has more than [`NodeId::MAX_BYTES`] bytes.
    #[error("a node id has at most {} bytes", NodeId::MAX_BYTES)]
    TooLong,
    /// The text has white space, a control or invisible character or one above U+D7FF.
    #[error("a node id must not contain the character {0:?}")]
    Character(char),
}

impl NodeId {
    /// How long a node id may be, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks a text and takes it as a node id.
    pub fn new(text: &str) -> Result<Self, InvalidNodeId> {
        if text.is_empty() {
            return Err(InvalidNodeId::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidNodeId::TooLong);
        }
        match text.chars().find(|&c| is_refused(c)) {
            Some(character) => Err(InvalidNodeId::Character(character)),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first colon, if there is a colon.
    pub fn user_id(&self) -> Option<&str> {
        self.0.split_once(':').map(|(user, _)| user)
    }
}

fn is_refused(c: char) -> bool {
    let invisible =
        matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}');
    c.is_whitespace() || c.is_control() || invisible || c > '\u{D7FF}'
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, InvalidNodeId> {
        Self::new(text)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

/// The name of an event: the same on all nodes, for ever.
///
/// Its text is `<t> <nodeId>`, with `t` the time of creation in milliseconds in base 64 (Logux
/// protocol 7). The order of ids is by time, then by node, as in the original's `isFirstOlder` for
/// two events of the same time.
///
/// ```
/// # use logux_codecs::EventId;
/// let id: EventId = "OzcVoWD 10:uuid".parse().unwrap();
/// assert_eq!(id.time().value(), 1_786_312_345_678);
/// assert_eq!(id.to_string(), "OzcVoWD 10:uuid");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    time: Timestamp,
    node: NodeId,
}

/// Why a text is no [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEventId {
    /// The part before the space is no number in base 64, or has leading zeros, or is too large.
    #[error("an event id starts with a time in base 64")]
    Time,
    /// The node id is missing.
    #[error("an event id ends with a space and a node id")]
    NoNode,
    /// The node id is wrong.
    #[error("an event id ends with a node id")]
    Node(#[from] InvalidNodeId),
}

impl EventId {
    /// Puts an id together.
    pub const fn new(time: Timestamp, node: NodeId) -> Self {
        Self { time, node }
    }

    /// When the event was created, by the clock of its node, moved on where that clock stood still.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The node that created the event.
    pub const fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.time.cmp(&other.time).then_with(|| self.node.cmp(&other.node))
    }
}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Digits::new(self.time).as_str(), self.node)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (time, node) = text.split_once(' ').ok_or(InvalidEventId::NoNode)?;
        let time = parse_digits(time).ok_or(InvalidEventId::Time)?;
        Ok(Self { time, node: NodeId::new(node)? })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Base 64 of protocol 7, in ASCII order so that texts sort as numbers do.
const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// 54 bits are 9 digits.
const MAX_DIGITS: usize = 9;

/// A number written in base 64, most significant digit first, no padding.
pub(crate) struct Digits {
    digits: [u8; MAX_DIGITS],
    start: usize,
}

impl Digits {
    pub(crate) fn new(time: Timestamp) -> Self {
        let mut digits = [ALPHABET[0]; MAX_DIGITS];
        let mut start = MAX_DIGITS;
        let mut rest = time.value();
        loop {
            start -= 1;
            digits[start] = ALPHABET[(rest % 64) as usize];
            rest /= 64;
            if rest == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Cannot fail: every byte is from the alphabet, which is ASCII.
        std::str::from_utf8(&self.digits[self.start..]).unwrap_or_default()
    }
}

/// Reads what [`Digits`] writes. One number has one spelling, or one event could have two ids.
pub(crate) fn parse_digits(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_DIGITS || (bytes.len() > 1 && bytes[0] == ALPHABET[0])
    {
        return None;
    }
    let mut number = 0_u64;
    for byte in bytes {
        number = number * 64 + u64::from(digit(*byte)?);
    }
    (number <= MAX_SAFE_INTEGER).then(|| Timestamp::new(number))?
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(0),
        b'0'..=b'9' => Some(byte - b'0' + 1),
        b'A'..=b'Z' => Some(byte - b'A' + 11),
        b'_' => Some(37),
        b'a'..=b'z' => Some(byte - b'a' + 38),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_what_all_nodes_order_alike_and_a_person_can_see() {
        for text in ["a", "10:uuid:tab", "é", "\u{D7FF}", "__proto__", "server", &"x".repeat(256)]
        {
            assert_eq!(NodeId::new(text).map(|node| node.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "a b",
            "a\tb",
            "a\nb",
            "\0",
            "\u{1b}[2J",
            "\u{202E}a",
            "\u{200B}",
            "\u{FFFD}",
            "\u{1F600}",
        ] {
            assert!(matches!(NodeId::new(text), Err(InvalidNodeId::Character(_))), "{text:?}");
        }
        assert_eq!(NodeId::new(""), Err(InvalidNodeId::Empty));
        assert_eq!(NodeId::new(&"x".repeat(257)), Err(InvalidNodeId::TooLong));
    }

    #[test]
    fn digits_read_back_and_sort_as_their_numbers() {
        let numbers = [0, 1, 63, 64, 4095, 4096, 1_786_312_345_678, MAX_SAFE_INTEGER];
        let mut last = String::new();
        for number in numbers {
            let time = Timestamp::new(number).unwrap();
            let digits = Digits::new(time);
            assert_eq!(parse_digits(digits.as_str()), Some(time));
            let padded = format!("{:->9}", digits.as_str());
            assert!(padded > last);
            last = padded;
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        for text in ["", "-0", "--", "zzzzzzzzz", "0000000000", "a b", "é", "=", "zz zz"] {
            assert_eq!(parse_digits(text), None, "{text:?}");
        }
        assert_eq!(parse_digits("-"), Some(Timestamp::ZERO));
    }
}
