//! What every peer can be sent: checked when an event enters a log, so that no event is found to be
//! too large, too deep or unreadable when it is on its way to a peer.

use std::any::Any;

use serde::Serialize;
use serde_json::Value;

use crate::codec::Event;
use crate::measure::Measure;
use crate::message::Extra;

/// How large an event may be, whatever codec carries it: measured in compact JSON, its *canonical*
/// form, before anything is written.
///
/// An event within the default limits, with its meta, is read by every node with default
/// [`Limits`](crate::Limits), in every codec of this crate. `LoguxBinary` alone carries less of the
/// meta in its binary frames: neither the application's own keys nor the minor number of the event's
/// subprotocol, as nodes in JavaScript have it.
///
/// ```
/// use logux_codecs::{EventLimits, Extra, Unfit};
///
/// #[derive(serde::Serialize)]
/// #[serde(tag = "type")]
/// enum Counter {
///     #[serde(rename = "counter/inc")]
///     Increase { by: f64 },
/// }
///
/// let limits = EventLimits::for_javascript();
/// let json = r#"{"type":"counter/inc","by":1.0}"#;
/// let size = limits.check(&Counter::Increase { by: 1.0 }, &Extra::new());
/// assert_eq!(size, Ok(json.len() + "{}".len() + EventLimits::META));
///
/// let endless = Counter::Increase { by: f64::INFINITY };
/// assert_eq!(limits.check(&endless, &Extra::new()), Err(Unfit::NotFinite));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLimits {
    /// How many bytes of compact JSON the event and its meta may take together: 256 KiB.
    pub bytes: usize,
    /// How many arrays and objects may lie in each other, those of the event itself: 62. The message
    /// around them is one level, and the meta around the application's own meta another, so the 64
    /// levels of [`Limits::depth`](crate::Limits::depth) hold both.
    pub depth: usize,
    /// How many objects the event and the application's own meta may have together: 50,000.
    pub objects: usize,
    /// Whether the event is for nodes in JavaScript, too: they take only objects with a text under
    /// `type`, round integers outside ±(2^53 - 1), make 0 of -0.0, and do not read the key
    /// `__proto__` in every codec. Off.
    pub javascript: bool,
}

/// Why an event cannot be sent to every peer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The event and its meta are too large.
    #[error(
        "the event and its meta have more than {limit} bytes as JSON: send a part of it, or a \
         reference to it"
    )]
    TooLarge {
        /// [`EventLimits::bytes`].
        limit: usize,
    },
    /// Arrays and objects lie too deep in each other.
    #[error("arrays and objects nest more than {limit} levels deep: flatten them")]
    TooDeep {
        /// [`EventLimits::depth`].
        limit: usize,
    },
    /// The event and its meta have too many objects.
    #[error("the event and its meta have more than {limit} objects: send it in parts")]
    TooManyObjects {
        /// [`EventLimits::objects`].
        limit: usize,
    },
    /// A number is infinite or not a number, which JSON does not have.
    #[error("a number is not finite: write it as a text or leave it out")]
    NotFinite,
    /// A key of a map is not a text.
    #[error("a key of a map is not a text: make the keys texts")]
    Key,
    /// An object has the key more than once, which no reader takes: a map that serde flattens into
    /// its struct, or puts behind a `tag`, has the name of another field. Behind three tags of enums within
    /// each other, and in a struct whose [`Serialize`] is written by hand, it may not be found.
    #[error("an object has the key {0:?} more than once: rename one of them")]
    DuplicateKey(String),
    /// A key is one that `serde_json` keeps for itself: an object of that key, or a type of its own
    /// (`RawValue`), would be read as something else.
    #[error(
        "serde_json keeps the key `{0}` for itself: give it another name, or the value another \
         type than `RawValue`"
    )]
    ReservedKey(&'static str),
    /// An integer is of a type of 128 bits, or has more than 64 bits.
    #[error("an integer has 128 bits: write it as a text")]
    WideInteger,
    /// An option holds something that is written as `null` (`Some(None)`, `Some(())`), and would be
    /// read as `None`.
    #[error(
        "an option holds something that is written as null, and would be read as none: make one \
         option of two, or give what it holds a value"
    )]
    Nothing,
    /// An integer is outside ±(2^53 - 1), and JavaScript would round it.
    #[error("JavaScript cannot hold the integer {0}: write it as a text")]
    UnsafeInteger(i128),
    /// A number is -0.0, and JavaScript would write it as 0.
    #[error("JavaScript writes -0.0 as 0: write 0, or a text")]
    NegativeZero,
    /// A key is `__proto__`, which readers in JavaScript refuse or take for something else.
    #[error("JavaScript nodes do not read the key `__proto__`: give it another name")]
    Prototype,
    /// This is wrong in the application's own meta of the event.
    #[error("in the meta of the event: {0}")]
    Meta(Box<Self>),
    /// The event is not what JavaScript nodes call an action.
    #[error("the event is not an object with a text under `type`, as JavaScript nodes need it")]
    NotAnAction,
    /// The event's own [`Serialize`] failed, with this text.
    #[error("the event cannot be written: {0}")]
    Serialize(String),
}

impl Default for EventLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl EventLimits {
    /// How many bytes [`check`](Self::check) counts for the id, the time and the subprotocol of an
    /// event, and the commas around it: what the longest of them take in either protocol. An id has
    /// at most 20 + 514 + 16 bytes and some punctuation, for each byte of a
    /// [`NodeId`](crate::NodeId) can be a quote that is escaped.
    pub const META: usize = 640;

    /// How many bytes of compact JSON are left for a `sync` around its events: its type, its
    /// position, and what a format writes once for each message (the namespace of XML).
    const ENVELOPE: usize = 1024;

    const DEFAULT: Self = Self { bytes: 256 << 10, depth: 62, objects: 50_000, javascript: false };

    /// The default limits, and what JavaScript nodes ask for.
    pub const fn for_javascript() -> Self {
        Self { javascript: true, ..Self::DEFAULT }
    }

    /// Sets how many bytes of compact JSON the event and its meta may take, of which
    /// [`META`](Self::META) are counted for each event.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets how many arrays and objects may lie in each other.
    #[must_use]
    pub const fn depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Sets how many objects the event and the application's own meta may have.
    #[must_use]
    pub const fn objects(mut self, count: usize) -> Self {
        self.objects = count;
        self
    }

    /// The canonical size of an event in bytes, or why it cannot be sent to every peer.
    ///
    /// The size is exactly what the event and `extra` take as compact JSON, and
    /// [`META`](Self::META). Allocates nothing for an event that fits, and stops at the limit of
    /// bytes: an event far above it costs no more than one that reaches it.
    pub fn check<E: Serialize + ?Sized>(&self, event: &E, extra: &Extra) -> Result<usize, Unfit> {
        self.measured(extra, |measure| measure.event(event))
    }

    /// The same of an event in a log, which is looked through in less time where it is a [`Value`].
    pub fn check_event<E: Event>(&self, event: &E, extra: &Extra) -> Result<usize, Unfit> {
        match (event as &dyn Any).downcast_ref::<Value>() {
            Some(value) => self.measured(extra, |measure| measure.value_event(value)),
            None => self.check(event, extra),
        }
    }

    #[inline]
    fn measured(
        &self,
        extra: &Extra,
        event: impl FnOnce(&mut Measure) -> Result<(), Unfit>,
    ) -> Result<usize, Unfit> {
        let mut measure = Measure::new(*self);
        event(&mut measure)?;
        measure.extra(extra)?;
        measure.skip(Self::META)?;
        Ok(measure.size())
    }

    /// The length in bytes of the longest frame that one event within these limits needs, its meta
    /// and the message around it included, in a codec of that
    /// [`EXPANSION`](crate::Codec::EXPANSION).
    ///
    /// Several events in one message need as much as one of their sizes' sum.
    pub const fn frame(&self, expansion: usize) -> usize {
        self.bytes.saturating_add(Self::ENVELOPE).saturating_mul(expansion)
    }
}
