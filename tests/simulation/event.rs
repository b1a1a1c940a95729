//! The events of the simulated program: numbers, of which it cannot read the large ones.

use serde::{Deserialize, Deserializer, Serialize, de};

/// Events from here on are of a later version of the program.
pub(crate) const UNREADABLE: u64 = 1 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if number >= UNREADABLE {
            return Err(de::Error::custom("large numbers are not known yet"));
        }
        Ok(Self(number))
    }
}

impl Number {
    /// Whether the filters may hold it back.
    pub(crate) const fn is_private(self) -> bool {
        self.0.is_multiple_of(5)
    }

    /// Whether a filter that cannot cope with everything fails on it.
    pub(crate) const fn is_poison(self) -> bool {
        self.0 % 89 == 88
    }
}
