//! The protocol's numbers. On the wire each is a JavaScript number, so each is an integer that a
//! double holds exactly.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The largest integer that every Logux node can hold: JavaScript's `Number.MAX_SAFE_INTEGER`.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A position in one node's log: the first event that a log stores has 1, the next 2.
///
/// 0 stands before the first event. Positions are local to a log; the same event has another
/// position in another log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Added(u64);

/// A moment in milliseconds since 1970-01-01 UTC, by the clock of the node that took it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// How many events came before one in the same millisecond: see [`EventId`](crate::EventId).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(u64);

macro_rules! safe_integer {
    ($name:ident) => {
        impl $name {
            /// The smallest value, 0.
            pub const ZERO: Self = Self(0);

            /// The largest value, [`MAX_SAFE_INTEGER`].
            pub const MAX: Self = Self(MAX_SAFE_INTEGER);

            /// Takes a number up to [`MAX_SAFE_INTEGER`]; `None` above.
            pub const fn new(number: u64) -> Option<Self> {
                if number <= MAX_SAFE_INTEGER { Some(Self(number)) } else { None }
            }

            /// The plain number.
            pub const fn value(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Integer(number) = Integer::deserialize(deserializer)?;
                u64::try_from(number)
                    .map(Self)
                    .map_err(|_| de::Error::custom("expected a number that is not negative"))
            }
        }
    };
}

safe_integer!(Added);
safe_integer!(Timestamp);
safe_integer!(Counter);

impl Added {
    /// The position `count` events later.
    ///
    /// A log that adds a million events a second reaches the end of the numbers after 285 years;
    /// the positions stop there instead of starting over.
    pub const fn plus(self, count: u64) -> Self {
        let sum = self.0.saturating_add(count);
        Self(if sum <= MAX_SAFE_INTEGER { sum } else { MAX_SAFE_INTEGER })
    }
}

impl Timestamp {
    /// This moment moved by `milliseconds`; `None` where the result is before 1970 or not exact.
    pub fn shifted(self, milliseconds: i64) -> Option<Self> {
        self.0.checked_add_signed(milliseconds).and_then(Self::new)
    }

    /// How many milliseconds this moment is after `base`; negative where it is before.
    pub const fn since(self, base: Self) -> i64 {
        // Both are below 2^53, so neither cast nor difference can wrap.
        self.0.cast_signed() - base.0.cast_signed()
    }
}

/// An integer in ±[`MAX_SAFE_INTEGER`], also where an encoder wrote it as a float (`5.0`).
#[derive(Clone, Copy)]
pub(crate) struct Integer(pub(crate) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;

        impl Visitor<'_> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer that a double holds exactly")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Integer, E> {
                i64::try_from(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
                    .and_then(|number| self.visit_i64(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Integer, E> {
                if number.unsigned_abs() <= MAX_SAFE_INTEGER {
                    Ok(Integer(number))
                } else {
                    Err(E::invalid_value(de::Unexpected::Signed(number), &self))
                }
            }

            #[expect(clippy::cast_possible_truncation, reason = "only exact integers below 2^53")]
            #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Integer, E> {
                if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64 {
                    Ok(Integer(number as i64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }

        deserializer.deserialize_any(IntegerVisitor)
    }
}
