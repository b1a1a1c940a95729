//! Which events a command is about, and how one is shown.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use logux_sync::{Added, Entry, Meta, Value};
use serde_json::json;

use crate::failure::Failure;
use crate::{output, times};

/// Where events are read from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    /// The address of a running server.
    Server(String),
}

impl Source {
    #[expect(clippy::unnecessary_wraps, reason = "clap wants a result")]
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let is_address = ["ws:", "wss:", "http:", "https:"].iter().any(|it| text.starts_with(it));
        Ok(if is_address { Self::Server(text.to_owned()) } else { Self::File(text.into()) })
    }
}

/// From where on events are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// What is added from now on.
    Now,
    Start,
    /// After this position of the log.
    Position(Added),
    /// Made at this time or later, in milliseconds since 1970.
    Moment(u64),
}

impl Since {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "start" => Ok(Self::Start),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                let position = text.parse().ok().and_then(Added::new);
                position.map(Self::Position).ok_or_else(|| format!("{text} is not a position"))
            }
            _ => times::moment(text).map(Self::Moment),
        }
    }
}

/// Which events are meant, beside where they are in the log.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Of these types; all, if there are none.
    pub(crate) types: Vec<String>,
    /// Of this user.
    pub(crate) by: Option<String>,
    /// Made at this time or later.
    pub(crate) from: Option<u64>,
    /// With this text anywhere in their JSON, in small letters.
    pub(crate) text: Option<String>,
}

impl Selection {
    pub(crate) fn takes(&self, entry: &Entry<Value>) -> bool {
        let Self { types, by, from, text } = self;
        (types.is_empty()
            || type_of(&entry.event).is_some_and(|name| types.iter().any(|it| it == name)))
            && by.as_deref().is_none_or(|by| entry.meta.id.node().user_id() == Some(by))
            && from.is_none_or(|from| entry.meta.time.value() >= from)
            && text
                .as_deref()
                .is_none_or(|text| entry.event.to_string().to_lowercase().contains(text))
    }
}

fn type_of(event: &Value) -> Option<&str> {
    event.get("type").and_then(Value::as_str)
}

/// Prints an event: as a line of JSON for a program, or for a person when, who, of what type, and the rest. Its
/// position is told only where it is that of the log that was asked for.
pub(crate) fn print(
    entry: &Entry<Value>,
    json: bool,
    position: Option<Added>,
) -> Result<(), Failure> {
    if json { output::data(&as_json(entry, position)) } else { output::line(&as_text(entry)) }
}

fn as_json(entry: &Entry<Value>, position: Option<Added>) -> String {
    let Meta { id, time, .. } = &entry.meta;
    let mut shown = json!({
        "id": id.to_string(),
        "time": time.value(),
        "node": id.node().as_str(),
        "event": entry.event,
    });
    if let Some(position) = position {
        shown["position"] = position.value().into();
    }
    shown.to_string()
}

fn as_text(entry: &Entry<Value>) -> String {
    const DIM: Style = Style::new().dimmed();
    const TYPE: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
    let Meta { id, time, .. } = &entry.meta;
    let node = id.node();
    let who = node.user_id().unwrap_or(node.as_str());
    let mut rest = entry.event.clone();
    let name = rest.as_object_mut().and_then(|event| event.remove("type"));
    let name = match &name {
        Some(Value::String(name)) => printable(name),
        _ => "-".to_owned(),
    };
    let rest = match &rest {
        Value::Object(keys) if keys.is_empty() => String::new(),
        rest => format!(" {}", printable(&rest.to_string())),
    };
    let (when, who) = (times::shown(time.value()), printable(who));
    format!("{DIM}{when}{DIM:#}  {who}  {TYPE}{name}{TYPE:#}{rest}")
}

/// A text of somebody else's, with what a terminal would obey, or a reader be deceived by, as escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, char| {
        if char.is_control() || is_invisible(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
        shown
    })
}

/// Characters that show nothing and change how others are shown: those of the direction of writing, and the like.
const fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
    )
}
