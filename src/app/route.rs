//! To whom an event goes.

use std::collections::HashSet;

use super::shared::shown;
use super::undo::Undo;
use crate::{Draft, Meta, NodeId, Value};

/// To whom an event goes, besides the log: whoever is subscribed to one of the channels, and directly named users,
/// clients and nodes. The connection that an event came from does not get it back.
///
/// A text is a channel, and so is each of several.
///
/// Routes are [indexes](Draft::index) of the event in the log, so that what they lead to is found without a look at
/// all events: `channel:`, `user:`, `client:`, `node:` and `not-client:`, each followed by a name.
///
/// ```
/// use logux_sync::app::Route;
///
/// let route = Route::from("users/10").user("10").except_client("10:laptop");
/// # let _ = (route, Route::from(["a", "b"]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route(Vec<String>);

impl Route {
    /// To nobody: the event is only in the log.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// To those that are subscribed to this channel.
    #[must_use]
    pub fn channel(self, name: impl AsRef<str>) -> Self {
        self.and(channel(name.as_ref()))
    }

    /// To all clients of a user.
    #[must_use]
    pub fn user(self, id: impl AsRef<str>) -> Self {
        self.and(format!("user:{}", id.as_ref()))
    }

    /// To a client, whichever its tab is: `user:client`.
    #[must_use]
    pub fn client(self, id: impl AsRef<str>) -> Self {
        self.and(client(id.as_ref()))
    }

    /// To one node, if it is connected.
    #[must_use]
    pub fn node(self, id: &NodeId) -> Self {
        self.and(format!("node:{id}"))
    }

    /// Not to this client, `user:client`, whatever else the route says.
    #[must_use]
    pub fn except_client(self, id: impl AsRef<str>) -> Self {
        self.and(format!("{EXCEPT}{}", id.as_ref()))
    }

    fn and(mut self, index: String) -> Self {
        self.0.push(index);
        self
    }

    /// There, too.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether a log can have it: at most 10,000 receivers, each of a name of at most 1,000 bytes.
    pub fn check(&self) -> Result<(), Undo> {
        if self.0.len() > MAX_RECEIVERS {
            let (count, at_most) = (self.0.len(), MAX_RECEIVERS);
            return Err(Undo::error(format!(
                "the event goes to {count} receivers, of which it may have {at_most}; let them subscribe to one channel"
            )));
        }
        let name = |index: &str| index.split_once(':').map_or(0, |(_, name)| name.len());
        match self.0.iter().find(|index| name(index) > MAX_NAME) {
            Some(long) => Err(Undo::error(format!(
                "a receiver of the event, {:?}..., has a name of more than {MAX_NAME} bytes",
                shown(long)
            ))),
            None => Ok(()),
        }
    }

    /// The same and to this client, which it left out perhaps.
    pub(super) fn also_to_author(mut self, client: &str) -> Self {
        let except = format!("{EXCEPT}{client}");
        self.0.retain(|index| *index != except);
        self.client(client)
    }

    /// The draft of an event that goes there: for [`Log::add`](crate::Log::add), where no handler is to be asked.
    pub fn draft(self, event: impl Into<Draft<Value>>) -> Draft<Value> {
        let mut known = HashSet::new();
        let each = self.0.iter().filter(|index| known.insert(index.as_str()));
        each.fold(event.into(), Draft::index)
    }

    /// Where an event of the log went.
    pub(super) fn of_meta(meta: &Meta) -> Self {
        Self(meta.indexes.iter().filter(|index| is_route(index)).cloned().collect())
    }
}

/// To so many an event may go.
const MAX_RECEIVERS: usize = 10_000;

/// The name of a channel or of a receiver has so many bytes at most.
pub(super) const MAX_NAME: usize = 1_000;

const EXCEPT: &str = "not-client:";

fn is_route(index: &str) -> bool {
    ["channel:", "user:", "client:", "node:", EXCEPT].iter().any(|kind| index.starts_with(kind))
}

/// The index of the events of a channel.
pub(super) fn channel(name: &str) -> String {
    format!("channel:{name}")
}

/// The channel of an index.
pub(super) fn channel_of(index: &str) -> Option<&str> {
    index.strip_prefix("channel:")
}

/// The index of the events for a client.
pub(super) fn client(id: &str) -> String {
    format!("client:{id}")
}

/// The first client that an event goes to directly.
pub(super) fn client_of(meta: &Meta) -> Option<&str> {
    meta.indexes.iter().find_map(|index| index.strip_prefix("client:"))
}

/// Whether an event does not go to a client, whatever else is said.
pub(super) fn leaves_out(meta: &Meta, client: &str) -> bool {
    meta.indexes.iter().filter_map(|index| index.strip_prefix(EXCEPT)).any(|other| other == client)
}

/// The indexes of the events that go to a node directly.
pub(super) fn direct(node: &NodeId) -> Vec<String> {
    let user = node.user_id().map(|user| format!("user:{user}"));
    [format!("node:{node}"), client(node.client_id())].into_iter().chain(user).collect()
}

impl From<&str> for Route {
    fn from(name: &str) -> Self {
        Self::nobody().channel(name)
    }
}

impl From<String> for Route {
    fn from(name: String) -> Self {
        Self::nobody().channel(name)
    }
}

impl From<Vec<String>> for Route {
    fn from(names: Vec<String>) -> Self {
        names.into_iter().fold(Self::nobody(), Self::channel)
    }
}

impl<const N: usize> From<[&str; N]> for Route {
    fn from(names: [&str; N]) -> Self {
        names.into_iter().fold(Self::nobody(), Self::channel)
    }
}

impl<const N: usize> From<[String; N]> for Route {
    fn from(names: [String; N]) -> Self {
        names.into_iter().fold(Self::nobody(), Self::channel)
    }
}
