//! To whom an event goes, and what else there is to say of it, in the words of the protocol.

use logux_sync::app::Route;
use logux_sync::{Draft, EventId, NodeId, Timestamp, Value};
use serde::{Deserialize, Deserializer};

/// To whom an event goes. Each name may be one or several, and a user's may be a number.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Receivers {
    channel: Names,
    channels: Names,
    user: Names,
    users: Names,
    client: Names,
    clients: Names,
    node: Names,
    nodes: Names,
    exclude_clients: Names,
}

/// What is said of an event that is to be added. Other keys are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    id: Option<String>,
    time: Option<u64>,
    reasons: Names,
    #[serde(flatten)]
    pub(super) receivers: Receivers,
}

/// One name, or several.
#[derive(Debug, Default)]
struct Names(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a name has to be a text or a whole number, or a list of these")]
enum Written {
    None(()),
    One(Name),
    Several(Vec<Name>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::None(()) => Vec::new(),
            Written::One(name) => vec![name.into_text()],
            Written::Several(names) => names.into_iter().map(Name::into_text).collect(),
        }))
    }
}

impl Receivers {
    pub(super) fn add_client(&mut self, client: &str) {
        self.clients.0.push(client.to_owned());
    }

    pub(super) fn is_nobody(&self) -> bool {
        let Self { channel, channels, user, users, client, clients, node, nodes, .. } = self;
        let all = [channel, channels, user, users, client, clients, node, nodes];
        all.into_iter().all(|names| names.0.is_empty())
    }

    /// The same for an app.
    pub(super) fn add_to(&self, route: Route) -> Result<Route, String> {
        let Self { channel, channels, user, users, client, clients, node, nodes, .. } = self;
        let mut route = route;
        route = channel.0.iter().chain(&channels.0).fold(route, Route::channel);
        route = user.0.iter().chain(&users.0).fold(route, Route::user);
        route = client.0.iter().chain(&clients.0).fold(route, Route::client);
        for node in node.0.iter().chain(&nodes.0) {
            let node: NodeId =
                node.parse().map_err(|_| format!("{node:?} is no name of a node"))?;
            route = route.node(&node);
        }
        route = self.exclude_clients.0.iter().fold(route, Route::except_client);
        route.check().map_err(|undo| undo.to_string())?;
        Ok(route)
    }
}

impl Meta {
    /// The event that it is said of, and where that goes.
    pub(super) fn draft(self, action: Value) -> Result<(Draft<Value>, Route), String> {
        let Self { id, time, reasons, receivers } = self;
        let mut draft = Draft::new(action);
        if let Some(id) = id {
            let parsed = EventId::from_protocol_5(&id).ok().or_else(|| id.parse().ok());
            draft = draft.id(parsed.ok_or_else(|| format!("{id:?} is no id of an event"))?);
        }
        if let Some(time) = time {
            let parsed = Timestamp::new(time);
            draft = draft.time(parsed.ok_or_else(|| format!("{time} is no time in milliseconds"))?);
        }
        Ok((reasons.0.into_iter().fold(draft, Draft::reason), receivers.add_to(Route::nobody())?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn receivers_are_one_or_several_and_nobody_else() {
        let read = |value: Value| {
            serde_json::from_value::<Receivers>(value)
                .map_err(drop)?
                .add_to(Route::nobody())
                .map_err(drop)
        };
        let expected = Route::from(["a", "b"]).user("38").client("38:x").except_client("1:y");
        let all = json!({
            "channel": "a", "channels": ["b"], "user": 38, "clients": "38:x", "excludeClients": ["1:y"], "other": {},
        });
        assert_eq!(read(all), Ok(expected));
        assert_eq!(read(json!({ "channels": null })), Ok(Route::nobody()));
        for wrong in [json!({ "channels": {} }), json!({ "users": [[]] }), json!({ "nodes": "" })] {
            assert_eq!(read(wrong.clone()), Err(()), "{wrong}");
        }
    }
}
