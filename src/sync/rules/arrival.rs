//! What is made of one event of a frame.

use logux_codecs::{Unfit, Value, shown};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

/// An event as it arrived.
#[derive(Debug)]
pub(crate) enum Arrival<E> {
    /// It is read, and measured in bytes.
    Event(E, usize),
    /// This program cannot read it.
    Unread(Box<Unread>),
    /// It could not be sent to every peer.
    Unfit(Box<Unfit>),
}

/// An event that cannot be read, as it came, and why.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) event: Value,
    pub(crate) reason: String,
}

/// Reads the event, or fails.
impl<'de, E: Deserialize<'de>> Deserialize<'de> for Arrival<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        E::deserialize(deserializer).map(|event| Self::Event(event, 0))
    }
}

/// Reads any value, and the event from that if it can: one event that cannot be read does not spoil the
/// frame. Slower, so only for frames that failed.
#[derive(Debug)]
pub(crate) struct Patient<E>(pub(crate) Arrival<E>);

impl<'de, E: DeserializeOwned> Deserialize<'de> for Patient<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Value::deserialize(deserializer)?;
        Ok(Self(match E::deserialize(&event) {
            Ok(event) => Arrival::Event(event, 0),
            Err(error) => {
                // It may quote all of the event.
                let reason = shown(&error.to_string());
                Arrival::Unread(Box::new(Unread { event, reason }))
            }
        }))
    }
}
