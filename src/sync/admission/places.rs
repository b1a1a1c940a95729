//! How many peers a server serves at once, and which user's connection ends for the sake of another user's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logux_codecs::{NodeId, ProtocolError};
use logux_transports::strangers::Stranger;

use crate::sync::error::too_many_connections;

/// Ends a session whose place is taken.
pub(crate) type Displace = Box<dyn Fn() + Send>;

/// A server's places for peers that were let in. Clones share them.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

struct Taken {
    max: usize,
    /// The sessions of each holder, in the order in which they came.
    holders: HashMap<Holder, BTreeMap<u64, Displace>>,
    count: usize,
    last: u64,
}

/// Whose connections are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A user, at all addresses and in all logs.
    User(Box<str>),
    /// A network. Peers whose address is unknown count as one network.
    Network(Option<IpAddr>),
}

/// A connection's place in a server, first among strangers. Dropping it gives it up.
pub(crate) struct Place {
    places: Places,
    stranger: Option<Stranger>,
    held: Option<(Holder, u64)>,
}

impl Holder {
    /// The holder of a peer's connection. Without `auth` the peer's name proves nothing.
    pub(super) fn new(node: &NodeId, network: Option<IpAddr>, is_proved: bool) -> Self {
        let user = node.user_id().filter(|_| is_proved);
        user.map_or(Self::Network(network), |user| Self::User(user.into()))
    }
}

impl Places {
    pub(crate) fn new(max: usize) -> Self {
        let taken = Taken { max, holders: HashMap::new(), count: 0, last: 0 };
        Self(Arc::new(Mutex::new(taken)))
    }

    /// The place of a connection whose peer was not let in yet.
    pub(crate) fn of(&self, stranger: Stranger) -> Place {
        Place { places: self.clone(), stranger: Some(stranger), held: None }
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Makes room where there is none: the holder of most places loses its oldest. It must hold at least two
    /// more than the newcomer's holder, or both would take the same place from each other again and again.
    fn make_room(&mut self, newcomer: &Holder) -> bool {
        if self.count < self.max {
            return true;
        }
        let own = self.held_by(newcomer);
        let rank =
            |sessions: &BTreeMap<_, _>| (sessions.len(), Reverse(sessions.keys().next().copied()));
        let most = self.holders.iter().max_by_key(|(_, sessions)| rank(sessions));
        let Some((holder, sessions)) = most.filter(|(_, sessions)| sessions.len() > own + 1) else {
            return false;
        };
        let Some(oldest) = sessions.keys().next().copied() else { return false };
        if let Some(displace) = self.remove(&holder.clone(), oldest) {
            displace();
        }
        true
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.holders.get(holder).map_or(0, BTreeMap::len)
    }

    fn remove(&mut self, holder: &Holder, number: u64) -> Option<Displace> {
        let sessions = self.holders.get_mut(holder)?;
        let displace = sessions.remove(&number)?;
        self.count -= 1;
        if sessions.is_empty() {
            self.holders.remove(holder);
        }
        Some(displace)
    }
}

impl Place {
    /// Tells whether the peer has introduced itself and waits for this node.
    pub(crate) fn set_asked_about(&self, is_asked_about: bool) {
        if let Some(stranger) = &self.stranger {
            stranger.set_asked_about(is_asked_about);
        }
    }

    /// Takes a place among the peers that were let in. The refusal to send, if there is none for this holder.
    pub(crate) fn let_in(
        &mut self,
        holder: Holder,
        displace: Displace,
    ) -> Result<(), ProtocolError> {
        let mut taken = self.places.lock();
        if !taken.make_room(&holder) {
            return Err(too_many_connections());
        }
        taken.count += 1;
        taken.last += 1;
        let number = taken.last;
        taken.holders.entry(holder.clone()).or_default().insert(number, displace);
        drop(taken);
        self.held = Some((holder, number));
        self.stranger = None;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((holder, number)) = self.held.take() {
            // `None` where the place was taken from this connection.
            self.places.lock().remove(&holder, number);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("held", &self.held).finish_non_exhaustive()
    }
}
