//! Names of nodes and of events.

use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::number::{Counter, MAX_SAFE_INTEGER, Timestamp};
use crate::shown::deceives;

/// The name of a node, unique among all nodes that ever exchange events: `userId:clientId:tabId`,
/// with any number of parts.
///
/// 1 to [`NodeId::MAX_BYTES`] bytes, without white space, control characters, invisible characters
/// or characters above U+D7FF: within these, Rust's order of bytes and JavaScript's order of UTF-16
/// code units agree, and the order of node ids is part of the order of events. Nor does one end
/// in what stands for the counter in the text of an [`EventId`] (`!a1`, `!b10`).
///
/// ```
/// # use logux_codecs::NodeId;
/// let node: NodeId = "10:uImkcF4z:tab1".parse().unwrap();
/// assert_eq!(node.user_id(), Some("10"));
/// assert!("two words".parse::<NodeId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(
    // Two steps to the text, for a log has many names: each takes the room of one pointer.
    Arc<Box<str>>,
);

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
    /// The text ends as that of an [`EventId`] with a counter does: `!a1`, `!b10`.
    #[error("a node id must not end like the counter of an event id")]
    Counter,
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
        if let Some(character) = text.chars().find(|&c| is_refused(c)) {
            return Err(InvalidNodeId::Character(character));
        }
        match split_counter(text) {
            Some(_) => Err(InvalidNodeId::Counter),
            None => Ok(Self(Arc::new(text.into()))),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user: the part before the first colon, if there is a colon.
    pub fn user_id(&self) -> Option<&str> {
        self.0.split_once(':').map(|(user, _)| user)
    }

    /// The user and the client, `10:uuid` of `10:uuid:tab1`: the whole id if it has fewer than three
    /// parts. All tabs of one client have the same.
    ///
    /// ```
    /// # use logux_codecs::NodeId;
    /// let [tab, other, server]: [NodeId; 3] =
    ///     ["10:uuid:tab1", "10:uuid", "server"].map(|id| id.parse().unwrap());
    /// assert_eq!(tab.client_id(), other.client_id());
    /// assert_eq!(server.client_id(), "server");
    /// ```
    pub fn client_id(&self) -> &str {
        match self.0.match_indices(':').nth(1) {
            Some((end, _)) => &self.0[..end],
            None => &self.0,
        }
    }

    /// The tab: all after the second colon, if there are two.
    pub fn tab_id(&self) -> Option<&str> {
        self.0.splitn(3, ':').nth(2)
    }
}

fn is_refused(c: char) -> bool {
    c.is_whitespace() || deceives(c) || c > '\u{D7FF}'
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
/// # The same id in both protocols
/// Protocol 7 names an event by a time and a node, protocol 5 by a time, a node and a counter of
/// the events of one millisecond. An id is that of protocol 5; a node that speaks 7 makes ids with
/// the counter 0. Each id has one text in each protocol, and no text is that of two ids:
///
/// | | counter 0 | counter `k` above 0 |
/// |---|---|---|
/// | protocol 5 | `<ms> <node> 0` | `<ms> <node> <k>` |
/// | protocol 7 | `<t> <node>` | `<t> <node>!<l><k>` |
///
/// with `ms` the time in milliseconds, `t` the same in base 64, and `l` the letter that counts the
/// digits of `k`: `a` for one, `b` for two. So texts of protocol 7 sort as the ids do, and a node of
/// protocol 7 sees just a node id that it does not know. That no [`NodeId`] ends like that keeps
/// the ids apart.
///
/// [`Display`](fmt::Display), [`FromStr`] and serde have the text of protocol 7,
/// [`to_protocol_5`](Self::to_protocol_5) that of 5.
///
/// The order of ids is by time, then by node, then by counter, as in the original's `isFirstOlder`
/// for two events of the same time.
///
/// ```
/// # use logux_codecs::EventId;
/// let id: EventId = "OzcVoWD 10:uuid".parse().unwrap();
/// assert_eq!(id.time().value(), 1_786_312_345_678);
/// assert_eq!(id.to_string(), "OzcVoWD 10:uuid");
///
/// let id = EventId::from_protocol_5("1786312345678 10:uuid 12").unwrap();
/// assert_eq!(id.to_string(), "OzcVoWD 10:uuid!b12");
/// assert_eq!("OzcVoWD 10:uuid!b12".parse(), Ok(id));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    time: Timestamp,
    node: NodeId,
    counter: Counter,
}

/// Why a text is no [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEventId {
    /// The part before the space is not a time, or written in more digits than needed, or too large.
    #[error("an event id starts with a time")]
    Time,
    /// The node id is missing.
    #[error("an event id has a node id after its time")]
    NoNode,
    /// The node id is wrong.
    #[error("an event id has a node id after its time")]
    Node(#[from] InvalidNodeId),
    /// The counter is missing or wrong (protocol 5).
    #[error("an event id ends with a counter")]
    Counter,
}

impl EventId {
    /// The id of a node's first event in a millisecond; the only one, in protocol 7.
    pub const fn new(time: Timestamp, node: NodeId) -> Self {
        Self { time, node, counter: Counter::ZERO }
    }

    /// The id of a later event in the same millisecond, as nodes of protocol 5 make them.
    pub const fn with_counter(time: Timestamp, node: NodeId, counter: Counter) -> Self {
        Self { time, node, counter }
    }

    /// When the event was created, by the clock of its node, moved on where that clock stood still.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The node that created the event.
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// How many events the node had created before in the same millisecond (protocol 5), or 0.
    pub const fn counter(&self) -> Counter {
        self.counter
    }

    /// The text of protocol 5, for events that name others: `logux/processed` of `@logux/client`
    /// 0.23 is one.
    pub fn to_protocol_5(&self) -> String {
        format!("{} {} {}", self.time, self.node, self.counter)
    }

    /// Reads the text of protocol 5.
    pub fn from_protocol_5(text: &str) -> Result<Self, InvalidEventId> {
        let (time, rest) = text.split_once(' ').ok_or(InvalidEventId::NoNode)?;
        let (node, counter) = rest.split_once(' ').ok_or(InvalidEventId::Counter)?;
        let time = parse_decimal(time).and_then(Timestamp::new).ok_or(InvalidEventId::Time)?;
        let counter =
            parse_decimal(counter).and_then(Counter::new).ok_or(InvalidEventId::Counter)?;
        Ok(Self { time, node: NodeId::new(node)?, counter })
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_counter = || self.counter.cmp(&other.counter);
        self.time.cmp(&other.time).then_with(|| self.node.cmp(&other.node)).then_with(by_counter)
    }
}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Digits::new(self.time).as_str())?;
        write_author(f, &self.node, self.counter)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (time, author) = text.split_once(' ').ok_or(InvalidEventId::NoNode)?;
        let time = parse_digits(time).ok_or(InvalidEventId::Time)?;
        let (node, counter) = parse_author(author)?;
        Ok(Self { time, node, counter })
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

/// Writes what stands after the time in protocol 7.
#[inline]
pub(crate) fn write_author(
    f: &mut impl fmt::Write,
    node: &NodeId,
    counter: Counter,
) -> fmt::Result {
    f.write_str(node.as_str())?;
    if let Some(tens) = counter.value().checked_ilog10() {
        // At most 16 digits: the letter exists.
        let letter = char::from(b'a' + u8::try_from(tens).unwrap_or(25));
        write!(f, "!{letter}{counter}")?;
    }
    Ok(())
}

/// Reads what [`write_author`] writes.
pub(crate) fn parse_author(text: &str) -> Result<(NodeId, Counter), InvalidNodeId> {
    let (node, counter) = split_counter(text).unwrap_or((text, Counter::ZERO));
    Ok((NodeId::new(node)?, counter))
}

/// Splits `<node>!<l><k>`, if a text ends like that.
fn split_counter(text: &str) -> Option<(&str, Counter)> {
    let (node, counter) = text.rsplit_once('!')?;
    let (letter, digits) = counter.split_at_checked(1)?;
    let counted = usize::from(letter.as_bytes()[0].checked_sub(b'a')?) + 1 == digits.len();
    let counter = parse_decimal(digits).and_then(Counter::new)?;
    (counted && counter != Counter::ZERO).then_some((node, counter))
}

/// A number in decimal digits. One number has one spelling, or one event could have two ids.
fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
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
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// An id as text, where there is no heap: longer than any id is.
pub(crate) struct IdText {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl IdText {
    /// The time, a space, the node, and `!`, a letter and the 16 digits of the largest counter.
    const MAX_BYTES: usize = MAX_DIGITS + 1 + NodeId::MAX_BYTES + 18;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; Self::MAX_BYTES], len: 0 }
    }

    /// Writes one id, in place: it is too large to move for nothing.
    pub(crate) fn set(&mut self, time: Timestamp, node: &NodeId, counter: Counter) -> fmt::Result {
        self.len = 0;
        self.write_str(Digits::new(time).as_str())?;
        self.write_str(" ")?;
        write_author(self, node, counter)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Cannot fail: it is made of whole texts.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for IdText {
    #[inline]
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len + part.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
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
    for &byte in bytes {
        let digit = DIGITS[usize::from(byte)];
        if digit == NO_DIGIT {
            return None;
        }
        number = number * 64 + u64::from(digit);
    }
    (number <= MAX_SAFE_INTEGER).then(|| Timestamp::new(number))?
}

/// What each byte is worth as a digit; [`NO_DIGIT`] for one that is none.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0_u8;
    while (value as usize) < ALPHABET.len() {
        digits[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

const NO_DIGIT: u8 = u8::MAX;

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
    fn the_longest_id_fits() {
        let node = NodeId::new(&"x".repeat(NodeId::MAX_BYTES)).unwrap();
        let time = Timestamp::new(MAX_SAFE_INTEGER).unwrap();
        for number in [0, 1, 9, 10, 99, 100, MAX_SAFE_INTEGER] {
            let counter = Counter::new(number).unwrap();
            let mut text = IdText::new();
            text.set(time, &node, counter).unwrap();
            assert_eq!(
                text.as_str(),
                EventId::with_counter(time, node.clone(), counter).to_string()
            );
            assert_eq!(text.as_str().len() == IdText::MAX_BYTES, number == MAX_SAFE_INTEGER);
        }
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

    #[test]
    fn each_id_has_one_text_in_each_protocol_and_sorts_as_its_text_does() {
        let nodes = ["a", "a:b", "a!", "a!b", "a!a", "a!a0", "a!b1", "a!q1", "é"];
        let counters = [0, 1, 2, 9, 10, 11, 99, 100, 12_345, MAX_SAFE_INTEGER];
        let times = [0, 1, 63, 64, 1_786_312_345_678, MAX_SAFE_INTEGER];
        let mut texts = std::collections::HashSet::new();
        for (node, time, counter) in nodes
            .iter()
            .flat_map(|node| times.iter().map(move |time| (node, time)))
            .flat_map(|(node, time)| counters.iter().map(move |counter| (node, time, counter)))
        {
            let time = Timestamp::new(*time).unwrap();
            let counter = Counter::new(*counter).unwrap();
            let id = EventId::with_counter(time, node.parse().unwrap(), counter);
            let (text, text_5) = (id.to_string(), id.to_protocol_5());
            assert_eq!(text.parse(), Ok(id.clone()), "{text}");
            assert_eq!(EventId::from_protocol_5(&text_5), Ok(id), "{text_5}");
            assert!(texts.insert(text.clone()), "{text} stands for two ids");
        }
        let texts: Vec<String> = counters
            .iter()
            .map(|&counter| {
                EventId::with_counter(
                    Timestamp::ZERO,
                    "a:b".parse().unwrap(),
                    Counter::new(counter).unwrap(),
                )
                .to_string()
            })
            .chain(["- a:b:c".to_owned()])
            .collect();
        assert!(texts.is_sorted(), "{texts:?}");
    }

    #[test]
    fn no_node_id_looks_like_the_counter_of_an_event() {
        for text in ["a!a1", "!a1", "a!b10", "a!p9007199254740991"] {
            assert_eq!(NodeId::new(text), Err(InvalidNodeId::Counter), "{text}");
        }
        for text in ["- a!a1!a1", "- !a1"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
        for text in
            ["1 a", "1 a 01", "01 a 0", "1 a 0 0", "1 a +1", "1 a ", "-1 a 0", "1 a!a1 0", ""]
        {
            assert!(EventId::from_protocol_5(text).is_err(), "{text}");
        }
    }
}
