//! How far two logs are in step, and which logs these are.

use std::fmt;

use logux_codecs::Added;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How far two logs are in step, as one of them knows it.
///
/// By serde, as a store may keep it, it is an object whose keys are the fields' names; those that are
/// missing are zero or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursors {
    /// The peer has confirmed all events of this log up to here that it may have (the original's
    /// `lastSent`). Where the peer dialled, the last position that it confirmed itself.
    pub sent: Added,
    /// This log has all events of the peer's log up to here (the original's `lastReceived`).
    pub received: Added,
    /// Events are not echoed to their source, except up to this position: that peer has lost its log.
    pub return_up_to: Added,
    /// Which log of the peer's these are about; `None` for a peer that does not tell, as JavaScript
    /// nodes do not.
    pub epoch: Option<Epoch>,
}

/// The identity of a log. Nodes tell each other theirs, in their headers; a node whose log was
/// replaced, by an empty one or by a copy of an older one, is known by it, and all is sent again.
///
/// A store that is restored from a copy needs a new epoch:
/// [`LogOptions::restored`](crate::LogOptions::restored). By serde, it is its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new one, unlike all others.
    pub fn random() -> Self {
        Self(logux_transports::rt::random_u64())
    }

    /// One that a store has kept as a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| valid).map(Self)
    }

    /// The plain number, for stores to keep.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("an epoch is 16 hexadecimal digits"))
    }
}
