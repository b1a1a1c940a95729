//! How far two logs are in step, and which logs these are.

use std::fmt;

use logux_codecs::Added;

/// How far two logs are in step, as one of them knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// The peer has confirmed all events of this log up to here that it may have (the original's
    /// `lastSent`). Where the peer dialled, the last position that it confirmed itself.
    pub sent: Added,
    /// This log has all events of the peer's log up to here (the original's `lastReceived`).
    pub received: Added,
    /// Events do not go back to the peer that they came from, but for those up to here: the peer
    /// has lost them since.
    pub return_up_to: Added,
    /// Which log of the peer's these are about; `None` for a peer that does not tell, as JavaScript
    /// nodes do not.
    pub epoch: Option<Epoch>,
}

/// The identity of a log. Nodes tell each other theirs, in their headers; a node whose log was
/// replaced, by an empty one or by a copy of an older one, is known by it, and all is sent again.
///
/// Who restores a store from a copy gives it a new epoch.
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
