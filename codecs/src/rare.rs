//! What few events have, and what takes next to nothing where it is missing.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::Extra;

/// A list or a map that is mostly empty, and then takes the room of a pointer: a log holds many events, and
/// few of them have reasons, indexes or keys of the application's own.
///
/// Read and changed as what it holds; whatever may change it makes room first.
///
/// ```
/// use logux_codecs::Rare;
///
/// let mut reasons: Rare<Vec<String>> = Rare::default();
/// assert!(reasons.is_empty());
/// reasons.push("tab1".to_owned());
/// assert_eq!(reasons, ["tab1"]);
/// ```
#[derive(Clone)]
pub struct Rare<T>(Option<Box<T>>);

/// What a [`Rare`] can hold.
pub trait MostlyEmpty: Default + 'static {
    /// An empty one that is there for ever.
    fn nothing() -> &'static Self;

    /// Whether nothing is in it.
    fn has_nothing(&self) -> bool;
}

impl MostlyEmpty for Vec<String> {
    fn nothing() -> &'static Self {
        static NOTHING: Vec<String> = Vec::new();
        &NOTHING
    }

    fn has_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl MostlyEmpty for Extra {
    fn nothing() -> &'static Self {
        static NOTHING: LazyLock<Extra> = LazyLock::new(Extra::new);
        &NOTHING
    }

    fn has_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<T: MostlyEmpty> Rare<T> {
    /// Whether there is nothing in it.
    pub fn has_nothing(&self) -> bool {
        self.0.as_deref().is_none_or(T::has_nothing)
    }

    /// What it holds, by itself.
    pub fn into_inner(self) -> T {
        self.0.map_or_else(T::default, |value| *value)
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: MostlyEmpty> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((!value.has_nothing()).then(|| Box::new(value)))
    }
}

impl<T: MostlyEmpty> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::nothing())
    }
}

impl<T: MostlyEmpty> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: MostlyEmpty + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<'a> IntoIterator for &'a Rare<Vec<String>> {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: MostlyEmpty + PartialEq> PartialEq<T> for Rare<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

impl<Text> PartialEq<[Text]> for Rare<Vec<String>>
where
    String: PartialEq<Text>,
{
    fn eq(&self, texts: &[Text]) -> bool {
        **self == *texts
    }
}

impl<Text, const COUNT: usize> PartialEq<[Text; COUNT]> for Rare<Vec<String>>
where
    String: PartialEq<Text>,
{
    fn eq(&self, texts: &[Text; COUNT]) -> bool {
        **self == *texts
    }
}

impl<T: MostlyEmpty + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: MostlyEmpty + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: MostlyEmpty + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}
