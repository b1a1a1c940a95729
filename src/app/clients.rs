//! Who is connected, and what each of them is subscribed to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_codecs::Added;
use logux_transports::rt::timeout;
use tokio::sync::Notify;

use super::handler::Filter;
use super::route;
use crate::{Entry, Headers, NodeId, Peer, SessionHandle, Value};

/// Answers of so many events are looked after for a client that does not confirm them, at most; the others go by their
/// age.
const MAX_ANSWERS: usize = 10_000;

/// The clients that are connected: each has one connection.
#[derive(Debug, Default)]
pub(super) struct Clients {
    connected: Mutex<HashMap<String, Connected>>,
    /// Rings when another one is there.
    more: Notify,
}

#[derive(Debug)]
struct Connected {
    seat: Seat,
    /// By the name of the channel and then by what the client said that it wants of it.
    subscriptions: HashMap<String, HashMap<String, Option<Filter>>>,
    /// What it has left while it is being subscribed again, by channel and wish; `None` afterwards.
    has_left: Option<HashSet<(String, String)>>,
    /// Where answers are that it has not confirmed yet.
    answers: BTreeSet<Added>,
    /// Up to here it is noted that it has what went to it directly.
    noted: Added,
}

/// A client as it is connected now.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) client: String,
    pub(super) node: NodeId,
    /// Tells the connections of the client apart.
    pub(super) number: u64,
    pub(super) session: SessionHandle,
    pub(super) headers: Arc<Headers>,
}

/// What a client was subscribed to when its connection ended: the names of the channels.
pub(super) type Left = Vec<String>;

/// What came of a wish to subscribe.
#[derive(Debug)]
pub(super) enum Subscribed {
    /// It is subscribed.
    Done(Before),
    /// The client has too many subscriptions.
    TooMany,
}

/// What there was before for the same wish.
#[derive(Debug)]
pub(super) enum Before {
    Nothing,
    Same(Option<Filter>),
}

/// A client wants all of a channel.
pub(super) const ALL: &str = "{}";

/// There is no such connection any more.
#[derive(Debug)]
pub(super) struct Gone;

/// What is known of a connection, unless it has ended or a later one took its place.
fn of_seat<'a>(
    connected: &'a mut HashMap<String, Connected>,
    seat: &Seat,
) -> Result<&'a mut Connected, Gone> {
    let now = connected.get_mut(&seat.client).filter(|now| now.seat.number == seat.number);
    now.ok_or(Gone)
}

impl Connected {
    fn subscription_count(&self) -> usize {
        self.subscriptions.values().map(HashMap::len).sum()
    }

    fn subscribe(&mut self, channel: &str, wanted: &str, filter: Option<Filter>) -> Subscribed {
        let filters = self.subscriptions.entry(channel.to_owned()).or_default();
        let before = filters.insert(wanted.to_owned(), filter);
        Subscribed::Done(before.map_or(Before::Nothing, Before::Same))
    }
}

impl Clients {
    /// A client is let in. Answers its seat, and its older connection if it has one.
    pub(super) fn enter(
        &self,
        node: &NodeId,
        session: SessionHandle,
        headers: Arc<Headers>,
        number: u64,
    ) -> (Seat, Option<(Seat, Left)>) {
        let client = node.client_id().to_owned();
        let seat = Seat { client: client.clone(), node: node.clone(), number, session, headers };
        let connected = Connected {
            seat: seat.clone(),
            subscriptions: HashMap::new(),
            has_left: Some(HashSet::new()),
            answers: BTreeSet::new(),
            noted: Added::ZERO,
        };
        let before = self.connected().insert(client, connected);
        self.more.notify_waiters();
        (seat, before.map(|before| (before.seat, before.subscriptions.into_keys().collect())))
    }

    /// A connection has ended. Answers what it was subscribed to, unless a later one took its place.
    pub(super) fn leave(&self, seat: &Seat) -> Left {
        let mut connected = self.connected();
        match connected.get(&seat.client) {
            Some(now) if now.seat.number == seat.number => {
                let left = connected.remove(&seat.client);
                left.map(|left| left.subscriptions.into_keys().collect()).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn get(&self, client: &str) -> Option<Seat> {
        Some(self.connected().get(client)?.seat.clone())
    }

    /// Waits until a client is connected, so long at most.
    pub(super) async fn wait_for(&self, client: &str, at_most: Duration) -> Option<Seat> {
        let waiting = async {
            loop {
                let mut more = std::pin::pin!(self.more.notified());
                // From here on nothing is missed.
                more.as_mut().enable();
                if let Some(seat) = self.get(client) {
                    return seat;
                }
                more.await;
            }
        };
        timeout(at_most, waiting).await.ok()
    }

    /// Subscribes a client to a channel.
    pub(super) fn subscribe(
        &self,
        seat: &Seat,
        channel: &str,
        wanted: &str,
        filter: Option<Filter>,
        at_most: usize,
    ) -> Result<Subscribed, Gone> {
        let mut connected = self.connected();
        let now = of_seat(&mut connected, seat)?;
        let is_known =
            now.subscriptions.get(channel).is_some_and(|filters| filters.contains_key(wanted));
        if now.subscription_count() >= at_most && !is_known {
            return Ok(Subscribed::TooMany);
        }
        Ok(now.subscribe(channel, wanted, filter))
    }

    /// The same for a client that is here again, unless it has left the channel meanwhile.
    pub(super) fn subscribe_again(
        &self,
        seat: &Seat,
        channel: &str,
        wanted: &str,
        filter: Option<Filter>,
        at_most: usize,
    ) -> Result<(), Gone> {
        let mut connected = self.connected();
        let now = of_seat(&mut connected, seat)?;
        let wish = (channel.to_owned(), wanted.to_owned());
        let has_left = now.has_left.as_ref().is_some_and(|left| left.contains(&wish));
        if has_left || now.subscription_count() >= at_most {
            return Err(Gone);
        }
        now.subscribe(channel, wanted, filter);
        Ok(())
    }

    /// A client is subscribed again to all that it was told so of.
    pub(super) fn is_restored(&self, seat: &Seat) {
        let mut connected = self.connected();
        if let Ok(now) = of_seat(&mut connected, seat) {
            now.has_left = None;
        }
    }

    /// Subscribes a client to all of a channel, unless it is subscribed to it. Answers whether that is new.
    pub(super) fn subscribe_to_all(&self, seat: &Seat, channel: &str) -> Result<bool, Gone> {
        let mut connected = self.connected();
        let subscriptions = &mut of_seat(&mut connected, seat)?.subscriptions;
        let is_new = !subscriptions.contains_key(channel);
        if is_new {
            let all = HashMap::from([(ALL.to_owned(), None)]);
            subscriptions.insert(channel.to_owned(), all);
        }
        Ok(is_new)
    }

    /// A subscription is as it was before.
    pub(super) fn put_back(
        &self,
        client: &str,
        channel: &str,
        wanted: &str,
        filter: Option<Filter>,
    ) {
        if let Some(now) = self.connected().get_mut(client) {
            let filters = now.subscriptions.entry(channel.to_owned()).or_default();
            filters.insert(wanted.to_owned(), filter);
        }
    }

    /// Ends one of the ways in which a client is subscribed to a channel. Answers its session if that was the last
    /// one.
    pub(super) fn unsubscribe(
        &self,
        client: &str,
        channel: &str,
        wanted: &str,
    ) -> Option<SessionHandle> {
        let mut connected = self.connected();
        let now = connected.get_mut(client)?;
        if let Some(left) = &mut now.has_left
            && left.len() < MAX_ANSWERS
        {
            left.insert((channel.to_owned(), wanted.to_owned()));
        }
        let filters = now.subscriptions.get_mut(channel)?;
        filters.remove(wanted)?;
        if !filters.is_empty() {
            return None;
        }
        now.subscriptions.remove(channel);
        Some(now.seat.session.clone())
    }

    /// Whether an event is for a peer, which may have it by one of its indexes.
    pub(super) fn is_for(&self, entry: &Entry<Value>, peer: &Peer) -> bool {
        let (node, meta) = (&peer.node_id, &entry.meta);
        if route::leaves_out(meta, node.client_id()) {
            return false;
        }
        let direct = route::direct(node);
        if meta.indexes.iter().any(|index| direct.contains(index)) {
            return true;
        }
        let channels = meta.indexes.iter().filter_map(|index| route::channel_of(index));
        let filters: Vec<Option<Filter>> = {
            let connected = self.connected();
            let now = connected.get(node.client_id()).filter(|now| now.seat.node == *node);
            let of = |channel| now.and_then(|now| now.subscriptions.get(channel));
            channels.filter_map(of).flat_map(HashMap::values).cloned().collect()
        };
        filters.iter().any(|filter| filter.as_ref().is_none_or(|filter| filter.lets_through(entry)))
    }

    /// An answer for a client is in the log.
    pub(super) fn answered(&self, client: &str, added: Added) {
        if let Some(now) = self.connected().get_mut(client)
            && now.answers.len() < MAX_ANSWERS
        {
            now.answers.insert(added);
        }
    }

    /// Whether a client has so many answers that it did not confirm that it gets no more to keep.
    pub(super) fn is_full_of_answers(&self, client: &str) -> bool {
        self.connected().get(client).is_some_and(|now| now.answers.len() >= MAX_ANSWERS)
    }

    /// The answers that their clients have confirmed since this was asked last.
    pub(super) fn take_confirmed(&self) -> Vec<Added> {
        let mut confirmed = Vec::new();
        for now in self.connected().values_mut().filter(|now| !now.answers.is_empty()) {
            let synced = now.seat.session.diagnostics().synced;
            let rest = now.answers.split_off(&synced.plus(1));
            confirmed.extend(std::mem::replace(&mut now.answers, rest));
        }
        confirmed
    }

    /// The clients that have more of what went to them directly than is noted, and up to where they have it.
    pub(super) fn take_progress(&self) -> Vec<(NodeId, Added)> {
        let mut progress = Vec::new();
        for (client, now) in &mut *self.connected() {
            let synced = now.seat.session.diagnostics().synced;
            if synced > now.noted
                && let Ok(client) = client.parse()
            {
                now.noted = synced;
                progress.push((client, synced));
            }
        }
        progress
    }

    /// Nothing panics while the lock is held.
    fn connected(&self) -> MutexGuard<'_, HashMap<String, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
