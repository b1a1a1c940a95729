//! Places for peers that were not let in: few, so that such peers cost little, and fairly shared, so that
//! none of them keeps the others out.
//!
//! Hidden from the documentation: it is shared by this library's crates and may change in any release.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rt::AbortHandle;

/// The places. Clones share them.
///
/// Where all are taken, a newcomer gets the place of a peer of the network that holds most of them: the
/// one that came first, for it has had the most time. Peers whose address is not known count as one network.
#[derive(Clone, Debug, Default)]
pub struct Strangers(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// In the order in which they came.
    peers: BTreeMap<u64, Peer>,
    networks: HashMap<Option<IpAddr>, usize>,
    last: u64,
}

#[derive(Debug)]
struct Peer {
    network: Option<IpAddr>,
    /// This node makes it wait.
    is_asked_about: bool,
    task: Option<AbortHandle>,
}

/// A peer's place, given up when this is dropped.
#[derive(Debug)]
#[must_use = "a place is given up when it is dropped"]
pub struct Stranger {
    strangers: Strangers,
    number: u64,
}

/// How a peer's place is taken from it.
#[derive(Debug)]
#[must_use = "a peer whose task is not known keeps its connection when its place is taken"]
pub struct Eviction {
    strangers: Strangers,
    number: u64,
}

impl Strangers {
    /// A place among at most `max`. `None` where all are taken by peers that this node makes wait, none of
    /// whose networks holds more than the newcomer's.
    pub fn enter(&self, network: Option<IpAddr>, max: usize) -> Option<(Stranger, Eviction)> {
        let mut taken = self.lock();
        while taken.peers.len() >= max {
            let number = taken.whose_place(network)?;
            if let Some(task) = taken.remove(number).and_then(|peer| peer.task) {
                task.abort();
            }
        }
        taken.last += 1;
        let number = taken.last;
        *taken.networks.entry(network).or_default() += 1;
        taken.peers.insert(number, Peer { network, is_asked_about: false, task: None });
        drop(taken);
        let strangers = self.clone();
        Some((Stranger { strangers, number }, Eviction { strangers: self.clone(), number }))
    }

    /// How many places are taken.
    pub fn count(&self) -> usize {
        self.lock().peers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn held_by(&self, network: Option<IpAddr>) -> usize {
        self.networks.get(&network).copied().unwrap_or_default()
    }

    /// Whose place a newcomer of a network gets.
    fn whose_place(&self, newcomer: Option<IpAddr>) -> Option<u64> {
        let rank = |(number, peer): &(&u64, &Peer)| {
            (self.held_by(peer.network), !peer.is_asked_about, Reverse(**number))
        };
        let (number, peer) = self.peers.iter().max_by_key(rank)?;
        // A peer that waits for this node leaves soon, one way or the other. To take its place for the
        // sake of one like it would let nobody in at all where many come at once.
        let is_kept = peer.is_asked_about && self.held_by(peer.network) <= self.held_by(newcomer);
        (!is_kept).then_some(*number)
    }

    fn remove(&mut self, number: u64) -> Option<Peer> {
        let peer = self.peers.remove(&number)?;
        if let Some(count) = self.networks.get_mut(&peer.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&peer.network);
            }
        }
        Some(peer)
    }
}

impl Stranger {
    /// Whether the peer has said what it wants, and waits for this node.
    pub fn set_asked_about(&self, is_asked_about: bool) {
        if let Some(peer) = self.strangers.lock().peers.get_mut(&self.number) {
            peer.is_asked_about = is_asked_about;
        }
    }
}

impl Eviction {
    /// The peer is served by a task, which is aborted if its place is taken.
    pub fn aborts(self, task: AbortHandle) {
        if let Some(peer) = self.strangers.lock().peers.get_mut(&self.number) {
            peer.task = Some(task);
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(strangers: &Strangers, network: u8, max: usize) -> Option<(Stranger, Eviction)> {
        strangers.enter(Some(IpAddr::from([10, 0, 0, network])), max)
    }

    /// Who holds places, by the numbers in which they came.
    fn holders(strangers: &Strangers) -> Vec<u64> {
        strangers.lock().peers.keys().copied().collect()
    }

    #[test]
    fn a_newcomer_gets_the_place_of_the_network_that_holds_most() {
        let strangers = Strangers::default();
        let places: Vec<_> = [1, 2, 2, 2, 3, 3]
            .into_iter()
            .map(|number| enter(&strangers, number, 6).unwrap().0)
            .collect();
        let fourth = enter(&strangers, 4, 6).unwrap();
        assert_eq!(holders(&strangers), [1, 3, 4, 5, 6, 7]);
        let again = enter(&strangers, 2, 6).unwrap();
        assert_eq!(holders(&strangers), [1, 4, 5, 6, 7, 8]);
        drop(places);
        assert_eq!(holders(&strangers), [7, 8]);
        drop((fourth, again));
        assert_eq!(strangers.count(), 0);
        assert!(strangers.lock().networks.is_empty());
    }

    #[test]
    fn a_peer_that_is_asked_about_keeps_its_place_from_its_like() {
        let strangers = Strangers::default();
        let (one, _) = enter(&strangers, 1, 3).unwrap();
        let (two, _) = enter(&strangers, 2, 3).unwrap();
        one.set_asked_about(true);
        let (three, _) = enter(&strangers, 3, 3).unwrap();
        let (four, _) = enter(&strangers, 4, 3).unwrap();
        assert_eq!(holders(&strangers), [1, 3, 4]);
        three.set_asked_about(true);
        four.set_asked_about(true);
        assert!(enter(&strangers, 1, 3).is_none());
        drop(two);
        // But not from others, where its network holds more.
        let (again, _) = enter(&strangers, 1, 4).unwrap();
        again.set_asked_about(true);
        let (five, _) = enter(&strangers, 5, 4).unwrap();
        assert_eq!(holders(&strangers), [3, 4, 5, 6]);
        drop((one, three, four, again, five));
        assert_eq!(strangers.count(), 0);
    }

    #[tokio::test]
    async fn the_task_of_a_peer_whose_place_is_taken_ends() {
        let strangers = Strangers::default();
        let (stranger, eviction) = enter(&strangers, 1, 1).unwrap();
        let task = tokio::spawn(async move {
            let _stranger = stranger;
            std::future::pending::<()>().await;
        });
        eviction.aborts(task.abort_handle());
        let (_newcomer, _) = enter(&strangers, 1, 1).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(strangers.count(), 1);
    }
}
