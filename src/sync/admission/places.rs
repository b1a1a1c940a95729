//! How many peers a server serves at once, and whose connection ends for the sake of another's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{NodeId, ProtocolError};
use logux_transports::strangers::Stranger;

use crate::sync::error::no_place;

/// So many connections that gave up their places may be saying goodbye. Beyond that the oldest is cut.
const MAX_LEAVING: usize = 1_000;

/// Ends a session: in order, so that its peer is told why, or at once.
pub(crate) type Displace = Box<dyn Fn(Displaced) + Send>;

/// How a session that gives up its place ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Displaced {
    InOrder,
    AtOnce,
}

/// A server's places for peers that were let in. Clones share them.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

struct Taken {
    max: usize,
    /// By the numbers in which they came.
    sessions: BTreeMap<u64, Session>,
    /// Who holds which of them: nodes, users, and networks with all their users.
    nodes: Holdings<Node>,
    users: Holdings<User>,
    networks: Holdings<Network>,
    /// Those that gave up their places and have not ended.
    leaving: BTreeMap<u64, Displace>,
    last: u64,
}

struct Session {
    holder: Holder,
    displace: Displace,
}

/// The sessions of each holder.
struct Holdings<K>(HashMap<K, BTreeSet<u64>>);

/// The peer that takes a place.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// Where its name is proved.
    node: Option<Node>,
    user: User,
    network: Network,
}

/// A node, after the name of the log that it has to do with: each log may have users of its own.
type Node = (NodeId, NodeId);

/// Whose connections are counted together first: those of a user at one network, where the name is proved. A
/// relay, and a node without a user, is counted by itself.
type User = (Box<str>, Network);

/// Where a peer is. All whose address is unknown are in one network.
type Network = Option<IpAddr>;

/// A connection's place in a server, first among strangers. Dropping it gives it up.
pub(crate) struct Place {
    places: Places,
    stranger: Option<Stranger>,
    number: Option<u64>,
}

impl Holder {
    /// A peer whose name nobody has proved.
    pub(super) fn unknown(network: Network) -> Self {
        Self { node: None, user: ("".into(), network), network }
    }

    /// A peer that `auth` has let in to a log under its name; `is_relay` if it speaks for others.
    pub(super) fn known(log: &NodeId, node: &NodeId, network: Network, is_relay: bool) -> Self {
        let user = node.user_id().filter(|_| !is_relay).unwrap_or(node.as_str());
        Self { node: Some((log.clone(), node.clone())), user: (user.into(), network), network }
    }
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            max,
            sessions: BTreeMap::new(),
            nodes: Holdings::default(),
            users: Holdings::default(),
            networks: Holdings::default(),
            leaving: BTreeMap::new(),
            last: 0,
        })))
    }

    /// The place of a connection whose peer was not let in yet.
    pub(crate) fn of(&self, stranger: Stranger) -> Place {
        Place { places: self.clone(), stranger: Some(stranger), number: None }
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Makes room where there is none. `false` if nobody has to give up a place for this newcomer.
    fn make_room(&mut self, newcomer: &Holder) -> bool {
        if self.sessions.len() < self.max {
            return true;
        }
        let Holder { node, user, network } = newcomer;
        // An older connection of the same node is probably dead, and nobody knows yet.
        let same = node.as_ref().and_then(|node| self.nodes.oldest_of(node));
        let number = same
            .or_else(|| self.users.of_largest(user))
            .or_else(|| self.networks.of_largest(network));
        let Some(session) = number.and_then(|number| self.remove(number)) else { return false };
        (session.displace)(Displaced::InOrder);
        self.leaving.extend(number.map(|number| (number, session.displace)));
        if self.leaving.len() > MAX_LEAVING
            && let Some((_, displace)) = self.leaving.pop_first()
        {
            displace(Displaced::AtOnce);
        }
        true
    }

    fn insert(&mut self, holder: Holder, displace: Displace) -> u64 {
        self.last += 1;
        let number = self.last;
        if let Some(node) = &holder.node {
            self.nodes.insert(node, number);
        }
        self.users.insert(&holder.user, number);
        self.networks.insert(&holder.network, number);
        self.sessions.insert(number, Session { holder, displace });
        number
    }

    fn remove(&mut self, number: u64) -> Option<Session> {
        let session = self.sessions.remove(&number)?;
        if let Some(node) = &session.holder.node {
            self.nodes.remove(node, number);
        }
        self.users.remove(&session.holder.user, number);
        self.networks.remove(&session.holder.network, number);
        Some(session)
    }
}

impl<K> Default for Holdings<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Holdings<K> {
    /// The oldest session of the holder of most. That must hold at least two more than the newcomer's, or both
    /// would take the same place from each other again and again.
    fn of_largest(&self, newcomer: &K) -> Option<u64> {
        let own = self.0.get(newcomer).map_or(0, BTreeSet::len);
        let rank = |sessions: &&BTreeSet<u64>| (sessions.len(), Reverse(sessions.first().copied()));
        let largest = self.0.values().max_by_key(rank)?;
        if largest.len() > own + 1 { largest.first().copied() } else { None }
    }

    fn oldest_of(&self, holder: &K) -> Option<u64> {
        self.0.get(holder)?.first().copied()
    }

    fn insert(&mut self, holder: &K, number: u64) {
        self.0.entry(holder.clone()).or_default().insert(number);
    }

    fn remove(&mut self, holder: &K, number: u64) {
        if let Some(sessions) = self.0.get_mut(holder) {
            sessions.remove(&number);
            if sessions.is_empty() {
                self.0.remove(holder);
            }
        }
    }
}

impl Place {
    /// Tells whether the peer has introduced itself and waits for this node.
    pub(crate) fn set_asked_about(&self, is_asked_about: bool) {
        if let Some(stranger) = &self.stranger {
            stranger.set_asked_about(is_asked_about);
        }
    }

    /// Takes a place among the peers that were let in. The refusal to send, if there is none for this one.
    pub(crate) fn let_in(
        &mut self,
        holder: Holder,
        displace: Displace,
    ) -> Result<(), ProtocolError> {
        let mut taken = self.places.lock();
        if !taken.make_room(&holder) {
            return Err(no_place());
        }
        self.number = Some(taken.insert(holder, displace));
        drop(taken);
        self.stranger = None;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            let mut taken = self.places.lock();
            // In one of both.
            taken.leaving.remove(&number);
            let session = taken.remove(number);
            drop((taken, session));
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Places without strangers, and how sessions ended, by number.
    struct Full {
        taken: Taken,
        ended: Receiver<(u64, Displaced)>,
        tell: std::sync::mpsc::Sender<(u64, Displaced)>,
    }

    impl Full {
        fn new(max: usize) -> Self {
            let (tell, ended) = channel();
            let Places(taken) = Places::new(max);
            let taken = Arc::into_inner(taken).unwrap().into_inner().unwrap();
            Self { taken, ended, tell }
        }

        /// Answers the number of the session that gave up its place, if one did; an error for a refusal.
        fn enter(&mut self, name: &str, network: u8) -> Result<Option<u64>, ()> {
            let network = Some(IpAddr::from([10, 0, 0, network]));
            let log = "server".parse().unwrap();
            let holder = Holder::known(&log, &name.parse().unwrap(), network, false);
            if !self.taken.make_room(&holder) {
                return Err(());
            }
            let (number, tell) = (self.taken.last + 1, self.tell.clone());
            self.taken.insert(holder, Box::new(move |how| tell.send((number, how)).unwrap()));
            Ok(self.ended.try_iter().find(|(_, how)| *how == Displaced::InOrder).map(|one| one.0))
        }
    }

    #[test]
    fn a_network_of_many_users_gives_places_to_others() {
        let mut places = Full::new(4);
        for (name, network) in [("1:a", 1), ("2:a", 1), ("3:a", 1), ("4:a", 2)] {
            assert_eq!(places.enter(name, network), Ok(None));
        }
        assert_eq!(places.enter("5:a", 1), Err(()));
        assert_eq!(places.enter("5:a", 3), Ok(Some(1)));
        assert_eq!(places.enter("6:a", 3), Err(()));
        assert_eq!(places.taken.sessions.len(), 4);
    }

    /// Such as `anonymous`: it is not the user that counts, but the user at a network.
    #[test]
    fn many_people_of_one_name_do_not_pay_for_each_other() {
        let mut places = Full::new(5);
        for (name, network) in [("x:1", 1), ("x:2", 2), ("x:3", 2), ("x:4", 2), ("x:5", 3)] {
            assert_eq!(places.enter(name, network), Ok(None));
        }
        assert_eq!(places.enter("x:6", 4), Ok(Some(2)));
        assert_eq!(places.enter("1:a", 5), Ok(Some(3)));
        assert_eq!(places.enter("2:a", 6), Err(()));
    }

    #[test]
    fn not_many_say_goodbye_at_once() {
        let mut places = Full::new(2);
        for number in 0..3 * MAX_LEAVING {
            places.enter("1:a", u8::try_from(number % 200).unwrap()).unwrap();
        }
        assert_eq!(places.taken.leaving.len(), MAX_LEAVING);
        assert_eq!(places.taken.sessions.len(), 2);
    }
}
