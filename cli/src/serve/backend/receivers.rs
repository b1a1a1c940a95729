//! To whom an event goes, and what else there is to say of it, in the words of the protocol.

use logux_sync::app::Route;
use logux_sync::{Draft, EventId, NodeId, Timestamp, Value};
use serde::{Deserialize, Deserializer};

/// To whom an event goes. Each name may be one or several, and a user's may be a number.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Receivers {
    #[serde(alias = "channel", deserialize_with = "names")]
    channels: Vec<String>,
    #[serde(alias = "user", deserialize_with = "names")]
    users: Vec<String>,
    #[serde(alias = "client", deserialize_with = "names")]
    clients: Vec<String>,
    #[serde(alias = "node", deserialize_with = "names")]
    nodes: Vec<String>,
    #[serde(deserialize_with = "names")]
    exclude_clients: Vec<String>,
}

/// What is said of an event that is to be added. Other keys are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    id: Option<String>,
    time: Option<u64>,
    #[serde(deserialize_with = "names")]
    reasons: Vec<String>,
    #[serde(flatten)]
    pub(super) receivers: Receivers,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
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

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Option::<Names>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Names::One(name)) => vec![name.into_text()],
        Some(Names::Several(names)) => names.into_iter().map(Name::into_text).collect(),
    })
}

impl Receivers {
    pub(super) fn extend(&mut self, other: Self) {
        self.channels.extend(other.channels);
        self.users.extend(other.users);
        self.clients.extend(other.clients);
        self.nodes.extend(other.nodes);
        self.exclude_clients.extend(other.exclude_clients);
    }

    pub(super) fn add_client(&mut self, client: &str) {
        self.clients.push(client.to_owned());
    }

    pub(super) fn is_nobody(&self) -> bool {
        let Self { channels, users, clients, nodes, .. } = self;
        [channels, users, clients, nodes].into_iter().all(Vec::is_empty)
    }

    /// The same for an app.
    pub(super) fn route(&self) -> Result<Route, String> {
        let mut route = Route::nobody();
        route = self.channels.iter().fold(route, Route::channel);
        route = self.users.iter().fold(route, Route::user);
        route = self.clients.iter().fold(route, Route::client);
        for node in &self.nodes {
            let node: NodeId =
                node.parse().map_err(|_| format!("{node:?} is no name of a node"))?;
            route = route.node(&node);
        }
        Ok(self.exclude_clients.iter().fold(route, Route::except_client))
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
        Ok((reasons.into_iter().fold(draft, Draft::reason), receivers.route()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn receivers_are_one_or_several_and_nobody_else() {
        let read = |value: Value| {
            serde_json::from_value::<Receivers>(value).map_err(drop)?.route().map_err(drop)
        };
        let expected = Route::from(["a", "b"]).user("38").client("38:x").except_client("1:y");
        let all = json!({
            "channels": ["a", "b"], "user": 38, "clients": "38:x", "excludeClients": ["1:y"], "other": {},
        });
        assert_eq!(read(all), Ok(expected));
        assert_eq!(read(json!({ "channels": null })), Ok(Route::nobody()));
        for wrong in [json!({ "channels": {} }), json!({ "users": [[]] }), json!({ "nodes": "" })] {
            assert_eq!(read(wrong.clone()), Err(()), "{wrong}");
        }
    }
}
