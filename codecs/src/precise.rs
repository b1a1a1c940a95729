//! `serde_json/arbitrary_precision`, which any other crate of the program can turn on for all.
//!
//! A number is then a text to `serde_json`. It writes one as a struct of a private name with the
//! text in a field of that name, and shows one that it reads as a map of that form, which are
//! numbers to its own code only. Here they are made numbers again, so that an event is the same in
//! every codec, and the same as without the feature: an integer of 64 bits, or a double.
//!
//! An object that a peer sends in that form is the number that it spells, or an error, in every
//! codec, as `serde_json` has it. Without the feature it is an object like others, which
//! [`EventLimits`](crate::EventLimits) does not let into a log.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::{self, Serialize};

use crate::key::{KeySink, KeyWriter};
pub(crate) use crate::reserved::NUMBER as NAME;

/// Whether the feature is on: its numbers hold a text, the others are copied. Known to the compiler,
/// so that nothing is left of this module where it is off.
pub(crate) const IS_ON: bool = std::mem::needs_drop::<serde_json::Number>();

/// A number as it is without the feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    /// Reads a number as JSON has it, if a double holds it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Unsigned(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Negative(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Float(number))
            }
        }

        // A space would be read over.
        if !text.ends_with(|last: char| last.is_ascii_digit())
            || text.starts_with(char::is_whitespace)
        {
            return None;
        }
        // Asked for a float, the feature's own text is not made.
        let mut reader = serde_json::Deserializer::from_str(text);
        let number = reader.deserialize_f64(NumberVisitor).ok()?;
        reader.end().ok().map(|()| number)
    }
}

/// What a reader shows as a map.
pub(crate) enum Shown<'de, A> {
    Number(Number),
    Object(Object<'de, A>),
}

/// An object whose first key was looked at; it is read as if it had not been.
pub(crate) struct Object<'de, A> {
    first: Option<Cow<'de, str>>,
    is_empty: bool,
    entries: A,
}

impl<'de, A: MapAccess<'de>> Shown<'de, A> {
    /// Looks at the first key.
    pub(crate) fn look(mut entries: A) -> Result<Self, A::Error> {
        let first = entries.next_key_seed(Text)?;
        if first.as_deref() != Some(NAME) {
            return Ok(Self::Object(Object { is_empty: first.is_none(), first, entries }));
        }
        let number = Number::read(&entries.next_value_seed(Text)?)
            .ok_or_else(|| de::Error::custom("a number is not one, or out of range"))?;
        match entries.next_key_seed(Text)? {
            None => Ok(Self::Number(number)),
            Some(_) => Err(de::Error::custom("a number has more than its text")),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Object<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        match self.first.take() {
            Some(Cow::Borrowed(key)) => {
                seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
            }
            Some(Cow::Owned(key)) => seed.deserialize(StringDeserializer::new(key)).map(Some),
            None if self.is_empty => Ok(None),
            None => self.entries.next_key_seed(seed),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.size_hint().map(|hint| hint + usize::from(self.first.is_some()))
    }
}

/// A text, borrowed where it can be.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

/// Gives the text of a number, which is the field of the struct of the private name, to `write`.
pub(crate) fn write_number<T, E>(
    field: &T,
    write: impl FnOnce(&str) -> Result<(), E>,
) -> Result<(), E>
where
    T: Serialize + ?Sized,
    E: ser::Error,
{
    field.serialize(KeyWriter(NumberText(write, PhantomData)))
}

/// Takes the text of a number; of a key it has that it is a text and nothing else.
struct NumberText<F, E>(F, PhantomData<E>);

impl<F: FnOnce(&str) -> Result<(), E>, E: ser::Error> KeySink for NumberText<F, E> {
    type Error = E;

    fn text(self, text: &str) -> Result<(), E> {
        (self.0)(text)
    }

    fn displayed<T: fmt::Display + ?Sized>(self, text: &T) -> Result<(), E> {
        (self.0)(&text.to_string())
    }

    fn number<N: Serialize>(self, _: N) -> Result<(), E> {
        Err(Self::no_text())
    }

    fn no_text() -> E {
        E::custom("a number that is held as text is not one")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_compiler_knows_whether_the_feature_is_on() {
        let number: Value = serde_json::from_str("1.00").unwrap();
        let text = number.to_string();
        assert_eq!(IS_ON, text == "1.00", "{text}");
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (text, number) in [
            ("0", Number::Unsigned(0)),
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("-9223372036854775808", Number::Negative(i64::MIN)),
            ("18446744073709551616", Number::Float(18_446_744_073_709_551_616.0)),
            ("-0", Number::Float(-0.0)),
            ("1.00", Number::Float(1.0)),
            ("1E+2", Number::Float(100.0)),
        ] {
            assert_eq!(Number::read(text), Some(number), "{text}");
        }
        for text in
            ["", "-", "+1", "01", ".5", "1.", "1e999", "NaN", " 1", "1 ", "1,2", "zzz", "\"1\""]
        {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }
}
