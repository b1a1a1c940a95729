//! Events of other versions of a program, passed on as they came.

use std::borrow::Cow;
use std::fmt;

use logux_codecs::Value;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An event as it came, and the typed view of it where this program can read it: for a node between
/// programs of other versions.
///
/// A log of plain `E` keeps and sends what `E` says: fields that `E` does not have are lost on the way,
/// and an event of a type that it does not know is [set aside](crate::Log::set_aside) and not passed on. A
/// log of `Open<E>` passes on what came, in every codec, and filters see both the event and its view.
///
/// ```
/// use logux_sync::{Log, MemoryStore, Open};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(tag = "type")]
/// enum Todo {
///     #[serde(rename = "todo/add")]
///     Add { text: String },
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = Log::<Open<Todo>>::open("server".parse()?, MemoryStore::new()).await?;
/// let entry = log.add(Open::new(Todo::Add { text: "typed".into() })).await?;
/// assert!(matches!(entry.event.event(), Some(Todo::Add { .. })));
///
/// // What a newer client sends.
/// let newer = r#"{"type":"todo/star","n":7}"#;
/// let open: Open<Todo> = serde_json::from_str(newer)?;
/// assert!(open.event().is_none());
/// assert_eq!(open.value()["n"], 7);
/// assert_eq!(serde_json::to_string(&open)?, r#"{"n":7,"type":"todo/star"}"#);
/// # Ok(())
/// # }
/// ```
///
/// # When the type of events changes
/// What an older or a newer program makes of an event whose type it does not have in this form (each cell
/// is a test in `tests/sessions/schemas.rs`):
///
/// | the writer has | the reader, with plain `E` | with `Open<E>` |
/// |---|---|---|
/// | a variant that the reader does not have | sets it aside, until a version can read it | no view; passes it on |
/// | … and the reader has `#[serde(other)]` | takes it as that variant; what it was **is lost**, here and for all whom it is sent to | the view is that variant; passes on what came |
/// | a field that the reader does not have | takes the rest; the field **is lost** for all whom it is sent to | the view lacks it; passes it on |
/// | not a field that the reader requires | sets it aside | no view; passes it on |
/// | not a field that has `#[serde(default)]` | takes the default; sends it as if it were said | the view has the default; passes on what came |
/// | a field under another name, with `#[serde(alias)]` for it | takes it; sends it under the new name | the view has it; passes on the old name |
/// | a field of another type | sets it aside | no view; passes it on |
pub struct Open<E>(Form<E>);

#[derive(Clone)]
enum Form<E> {
    /// Made by this program.
    Made(E),
    /// Read from elsewhere.
    Came { value: Value, event: Option<E> },
}

impl<E> Open<E> {
    /// An event of this program's own.
    pub const fn new(event: E) -> Self {
        Self(Form::Made(event))
    }

    /// The typed view; `None` where this program cannot read the event.
    pub const fn event(&self) -> Option<&E> {
        match &self.0 {
            Form::Made(event) => Some(event),
            Form::Came { event, .. } => event.as_ref(),
        }
    }

    /// The typed view itself, or the event as it came.
    pub fn into_event(self) -> Result<E, Value> {
        match self.0 {
            Form::Made(event) | Form::Came { event: Some(event), .. } => Ok(event),
            Form::Came { value, event: None } => Err(value),
        }
    }
}

impl<E: Serialize> Open<E> {
    /// The event as it came, or as it will be sent. `null` for an event that cannot be written, which no
    /// log takes.
    pub fn value(&self) -> Cow<'_, Value> {
        match &self.0 {
            Form::Made(event) => Cow::Owned(serde_json::to_value(event).unwrap_or_default()),
            Form::Came { value, .. } => Cow::Borrowed(value),
        }
    }
}

impl<E: DeserializeOwned> From<Value> for Form<E> {
    fn from(value: Value) -> Self {
        let event = E::deserialize(&value).ok();
        Self::Came { value, event }
    }
}

impl<E> From<E> for Open<E> {
    fn from(event: E) -> Self {
        Self::new(event)
    }
}

impl<E: Serialize> Serialize for Open<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Made(event) => event.serialize(serializer),
            Form::Came { value, .. } => value.serialize(serializer),
        }
    }
}

impl<'de, E: DeserializeOwned> Deserialize<'de> for Open<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(value.into()))
    }
}

impl<E: Serialize> Open<E> {
    /// The event as it is read from its JSON; `None` for one that cannot be written.
    fn read_back(&self) -> Option<Cow<'_, Value>> {
        match &self.0 {
            // Not by `to_value`, which makes a number of an `f32` that is written otherwise.
            Form::Made(event) => {
                let json = serde_json::to_vec(event).ok()?;
                Some(Cow::Owned(serde_json::from_slice(&json).ok()?))
            }
            Form::Came { value, .. } => Some(Cow::Borrowed(value)),
        }
    }
}

impl<E: Serialize> PartialEq for Open<E> {
    /// Two events are equal whose JSON reads the same, whichever was made here. One that cannot be written
    /// equals nothing, not even itself.
    fn eq(&self, other: &Self) -> bool {
        self.read_back().zip(other.read_back()).is_some_and(|(one, other)| one == other)
    }
}

impl<E: Clone> Clone for Open<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: fmt::Debug> fmt::Debug for Open<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Made(event) | Form::Came { event: Some(event), .. } => event.fmt(f),
            Form::Came { value, event: None } => value.fmt(f),
        }
    }
}
