use std::fmt;

use serde_json::Value;

use crate::shown::shown;

/// An error that one node tells the other, with the original's name and wording.
///
/// Source: Logux protocol 7, `error`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// `wrong-protocol`: the protocol versions do not meet. Fatal.
    WrongProtocol {
        /// The lowest version that the sender of the error speaks.
        supported: u32,
        /// The version that the other node asked for.
        used: u32,
    },
    /// `wrong-subprotocol`: the application's versions do not meet. Fatal.
    WrongSubprotocol {
        /// What the sender of the error takes: a version or a requirement such as `>= 3.1`.
        supported: Value,
        /// What the other node said that it has.
        used: Value,
    },
    /// `wrong-credentials`: authentication failed. Fatal.
    WrongCredentials,
    /// `wrong-format`: a message did not have the shape that its type asks for. Holds the start of
    /// the bad text.
    WrongFormat(String),
    /// `unknown-message`: a message of a type that the sender of the error does not know.
    UnknownMessage(String),
    /// `missed-auth`: a message that is only allowed after authentication. Holds its start.
    MissedAuth(String),
    /// `timeout`: no answer within so many milliseconds.
    Timeout(u64),
    /// `bruteforce`: too many wrong attempts to authenticate.
    Bruteforce,
    /// An error that the protocol does not list, an application's own.
    Other {
        /// Its type.
        kind: String,
        /// What came with it, `null` if nothing did.
        options: Value,
    },
}

impl ProtocolError {
    /// Whether connecting again cannot help; a client stops reconnecting then.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::WrongProtocol { .. } | Self::WrongSubprotocol { .. } | Self::WrongCredentials
        )
    }

    /// The protocol's name for the error.
    pub fn kind(&self) -> &str {
        match self {
            Self::WrongProtocol { .. } => "wrong-protocol",
            Self::WrongSubprotocol { .. } => "wrong-subprotocol",
            Self::WrongCredentials => "wrong-credentials",
            Self::WrongFormat(_) => "wrong-format",
            Self::UnknownMessage(_) => "unknown-message",
            Self::MissedAuth(_) => "missed-auth",
            Self::Timeout(_) => "timeout",
            Self::Bruteforce => "bruteforce",
            Self::Other { kind, .. } => kind,
        }
    }

    /// What goes with the error on the wire; `null` for nothing.
    pub fn options(&self) -> Value {
        match self {
            Self::WrongProtocol { supported, used } => {
                serde_json::json!({ "supported": supported, "used": used })
            }
            Self::WrongSubprotocol { supported, used } => {
                serde_json::json!({ "supported": supported, "used": used })
            }
            Self::WrongFormat(text) | Self::UnknownMessage(text) | Self::MissedAuth(text) => {
                text.as_str().into()
            }
            Self::Timeout(milliseconds) => (*milliseconds).into(),
            Self::WrongCredentials | Self::Bruteforce => Value::Null,
            Self::Other { options, .. } => options.clone(),
        }
    }

    /// The error of the given name. Options that do not fit their error make it [`Self::Other`]:
    /// the peer's complaint is never lost because it is badly written.
    pub fn from_wire(kind: &str, options: Value) -> Self {
        let number = |key: &str| options.get(key)?.as_u64().and_then(|n| u32::try_from(n).ok());
        let text = || options.as_str().map(ToOwned::to_owned);
        let known = match kind {
            "wrong-protocol" => number("supported")
                .zip(number("used"))
                .map(|(supported, used)| Self::WrongProtocol { supported, used }),
            "wrong-subprotocol" => {
                options.get("supported").zip(options.get("used")).map(|(supported, used)| {
                    Self::WrongSubprotocol { supported: supported.clone(), used: used.clone() }
                })
            }
            "wrong-credentials" => Some(Self::WrongCredentials),
            "wrong-format" => Some(Self::WrongFormat(text().unwrap_or_default())),
            "unknown-message" => text().map(Self::UnknownMessage),
            "missed-auth" => Some(Self::MissedAuth(text().unwrap_or_default())),
            "timeout" => options.as_u64().map(Self::Timeout),
            "bruteforce" => Some(Self::Bruteforce),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { kind: kind.to_owned(), options })
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongProtocol { supported, used } => write!(
                f,
                "Logux supports protocols only from version {supported}, but you use {used}"
            ),
            Self::WrongSubprotocol { supported, used } => write!(
                f,
                "Only {} application subprotocols are supported, but you use {}",
                plain(supported),
                plain(used)
            ),
            Self::WrongCredentials => f.write_str("Wrong credentials"),
            Self::WrongFormat(text) => write!(f, "Wrong message format in {}", shown(text)),
            Self::UnknownMessage(kind) => {
                write!(f, "Unknown message `{}` type", shown(kind))
            }
            Self::MissedAuth(text) => {
                write!(f, "Not authenticated yet, but got {}", shown(text))
            }
            Self::Timeout(milliseconds) => write!(f, "A timeout was reached ({milliseconds} ms)"),
            Self::Bruteforce => f.write_str("Too many wrong authentication attempts"),
            Self::Other { kind, options: Value::String(text) } => {
                write!(f, "{}: {}", shown(kind), shown(text))
            }
            Self::Other { kind, .. } => f.write_str(&shown(kind)),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        other => shown(&other.to_string()),
    }
}
