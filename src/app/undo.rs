//! Why an event is taken back.

use std::fmt;

use serde_json::Map;

use crate::Value;

/// Why an event was not done: its client takes back what it showed of it, and its promise fails.
///
/// The client gets `{ type: 'logux/undo', id, reason, action }` and what [`with`](Self::with) adds. By `?`, any error
/// becomes an undo with the reason `error`; its text goes to this program's log, and to the client in
/// [development](super::App::development) only.
///
/// ```
/// use logux_sync::app::Undo;
///
/// fn check(amount: u64) -> Result<(), Undo> {
///     if amount > 100 {
///         return Err(Undo::new("tooMuch").with("limit", 100));
///     }
///     std::fs::read_to_string("/nowhere")?;
///     Ok(())
/// }
/// # assert!(check(1).is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    reason: String,
    extra: Map<String, Value>,
    /// For the program's log.
    cause: Option<String>,
}

impl Undo {
    /// With a reason of the application's own.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), extra: Map::new(), cause: None }
    }

    /// The client may not do that: `denied`.
    pub fn denied() -> Self {
        Self::new("denied")
    }

    /// What it is about is not there: `notFound`.
    pub fn not_found() -> Self {
        Self::new("notFound")
    }

    /// Something failed: `error`. `cause` is for the program's log.
    pub fn error(cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new("error") }
    }

    /// The same, with something for the program's log.
    pub(super) fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// Adds a key to what the client gets. The keys `type`, `id`, `reason` and `action` stay what they are.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// The reason, as the client gets it.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What the program's log says.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The event that tells the client. Without `action` where that is `None`.
    pub(super) fn to_event(&self, id: &str, action: Option<&Value>) -> Value {
        let mut event = self.extra.clone();
        event.insert("type".to_owned(), "logux/undo".into());
        event.insert("id".to_owned(), id.into());
        event.insert("reason".to_owned(), self.reason.as_str().into());
        match action {
            Some(action) => event.insert("action".to_owned(), action.clone()),
            None => event.remove("action"),
        };
        Value::Object(event)
    }
}

/// For the program's log: the reason, and the cause if there is one.
impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl<E: std::error::Error> From<E> for Undo {
    fn from(error: E) -> Self {
        Self::error(crate::sync::with_causes(&error))
    }
}
