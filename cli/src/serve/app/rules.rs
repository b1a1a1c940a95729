//! The channels and the types of events that the configuration names.

use std::collections::HashMap;

use logux_sync::Value;
use logux_sync::app::{Client, Context, Path, Route, Undo};
use serde::Deserialize;

/// The longest name of a channel that one can subscribe to, in bytes.
const MAX_NAME: usize = 1_000;

/// What the parameters of a channel's name stand for.
pub(super) type Parameters = Path<HashMap<String, String>>;

/// A channel, or all of a pattern: whoever may subscribe to it is sent the events of the log that went there, and then
/// each that is added.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ChannelRule {
    /// `notes/:list`.
    pub(super) name: String,
    /// Who may subscribe; the back end says so where nothing does.
    pub(super) allow: Option<Vec<Allowed>>,
}

/// Events of a type, or of all of a pattern: who may add them, and to which channels they go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EventRule {
    /// `notes/add`, or `notes/*`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Who may add them; the back end says so where nothing does.
    pub(super) allow: Option<Vec<Allowed>>,
    #[serde(default)]
    channels: Vec<Template>,
}

/// Somebody who may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Allowed {
    /// `*`: whoever may connect.
    Everyone,
    /// `anna`.
    User(String),
    /// `:list`: the user who is called as the parameter of the channel, or as the event has it under that name.
    UserOf(String),
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // No user has a colon in its name.
        match text.strip_prefix(':').unwrap_or(&text) {
            "" => Err("allow has an empty name; to allow nobody, write allow = []".to_owned()),
            name if name.contains(':') => Err(format!(
                "allow has {text:?}, and no user has a colon in its name: write the user alone, without its client"
            )),
            name if name.len() < text.len() => Ok(Self::UserOf(name.to_owned())),
            "*" => Ok(Self::Everyone),
            user => Ok(Self::User(user.to_owned())),
        }
    }
}

/// The name of a channel with fields of an event in it: `notes/:list`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Template(Vec<Part>);

/// What is between two slashes: a text, and the name of the field whose value is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    text: String,
    field: Option<String>,
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| match part.split_once(':') {
            None => Some(Part { text: part.to_owned(), field: None }),
            Some((_, field)) if field.is_empty() || field.contains(':') => None,
            Some((text, field)) => {
                Some(Part { text: text.to_owned(), field: Some(field.to_owned()) })
            }
        };
        let parts = text.split('/').map(part).collect::<Option<Vec<_>>>();
        let is_name = !text.is_empty() && !text.contains('*');
        parts.filter(|_| is_name).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no channel: write it as notes/:list, where an event has the name of the list under `list`"
            )
        })
    }
}

impl Template {
    /// The channel of an event.
    fn fill(&self, event: &Value) -> Result<String, Undo> {
        let fill = |Part { text, field }: &Part| {
            let Some(field) = field else { return Ok(text.clone()) };
            let value = value_of(event, field).ok_or_else(|| {
                let what = "a text without a slash, or a whole number";
                Undo::new("wrongFormat").with("field", field.as_str()).with("needs", what)
            })?;
            Ok(format!("{text}{value}"))
        };
        let name = self.0.iter().map(fill).collect::<Result<Vec<_>, Undo>>()?.join("/");
        if name.len() > MAX_NAME {
            let needs = format!("the name of a channel has at most {MAX_NAME} bytes");
            return Err(Undo::new("wrongFormat").with("needs", needs));
        }
        Ok(name)
    }
}

/// What an event has under a name, where that can be a part of a channel's name.
fn value_of(event: &Value, field: &str) -> Option<String> {
    match event.get(field)? {
        Value::String(text) if !text.is_empty() && !text.contains('/') => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn is_allowed(
    allow: Option<&[Allowed]>,
    client: &Client,
    value_of: impl Fn(&str) -> Option<String>,
) -> bool {
    allow.unwrap_or_default().iter().any(|allowed| match allowed {
        Allowed::Everyone => true,
        Allowed::User(user) => client.is_of(user),
        Allowed::UserOf(name) => value_of(name).is_some_and(|user| client.is_of(user)),
    })
}

impl ChannelRule {
    /// What is wrong with it, if something is.
    pub(in crate::serve) fn check(&self, has_backend: bool) -> Result<(), String> {
        let Self { name, allow } = self;
        let Some(allow) = allow else { return needs_allow(name, has_backend) };
        let is_parameter = |wanted: &str| {
            let mut parts = name.split('/').filter_map(|part| part.split_once(':'));
            parts.any(|(_, parameter)| parameter == wanted)
        };
        for allowed in allow {
            if let Allowed::UserOf(parameter) = allowed
                && !is_parameter(parameter)
            {
                return Err(format!(
                    "the channel {name:?} allows \":{parameter}\", and has no parameter of that name"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn allows(&self, client: &Client, parameters: &HashMap<String, String>) -> bool {
        is_allowed(self.allow.as_deref(), client, |name| parameters.get(name).cloned())
    }
}

impl EventRule {
    /// What is wrong with it, if something is.
    pub(in crate::serve) fn check(&self, has_backend: bool) -> Result<(), String> {
        match &self.allow {
            None => needs_allow(&self.kind, has_backend),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn allows(&self, client: &Client, context: &Context) -> bool {
        is_allowed(self.allow.as_deref(), client, |name| value_of(context.event(), name))
    }

    pub(super) fn route(&self, context: &Context) -> Result<Route, Undo> {
        let channels = self.channels.iter().map(|template| template.fill(context.event()));
        Ok(channels.collect::<Result<Vec<_>, _>>()?.into())
    }
}

fn needs_allow(of: &str, has_backend: bool) -> Result<(), String> {
    if has_backend {
        return Ok(());
    }
    Err(format!(
        "{of:?} does not say who may: write allow = [\"*\"] for everyone who may connect, or names of users"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_takes_what_an_event_has_and_crosses_no_slash() {
        let filled = |template: &str, event: Value| {
            Template::try_from(template.to_owned()).expect(template).fill(&event).ok()
        };
        for (template, event, expected) in [
            ("all", json!({}), Some("all")),
            ("notes/:list", json!({ "list": "home" }), Some("notes/home")),
            ("notes/:list", json!({ "list": 7 }), Some("notes/7")),
            ("to/:x", json!({ "x": "x".repeat(1_000) }), None),
            (":a/v:b", json!({ "a": "x", "b": -1 }), Some("x/v-1")),
            ("/:a", json!({ "a": "x" }), Some("/x")),
            ("notes/:list", json!({}), None),
            ("notes/:list", json!({ "list": "" }), None),
            ("notes/:list", json!({ "list": "home/secret" }), None),
            ("notes/:list", json!({ "list": 1.5 }), None),
            ("notes/:list", json!({ "list": ["home"] }), None),
            ("notes/:list", json!({ "list": null }), None),
        ] {
            assert_eq!(filled(template, event.clone()).as_deref(), expected, "{template} {event}");
        }
        for wrong in ["", "notes/:", "notes/:a:b", "notes/*"] {
            assert!(Template::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
