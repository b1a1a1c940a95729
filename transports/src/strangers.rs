//! Places for peers that were not let in: few, so that such peers cost little, and fairly shared, so that
//! none of them keeps the others out.
//!
//! Hidden from the documentation: it is shared by this library's crates and may change in any release.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rt::{AbortHandle, Instant};

/// How long a peer keeps its place from its like. Without this, a storm of honest peers would take the
/// places of those that are nearly let in, for ever.
const FIRST_STEPS: Duration = Duration::from_secs(1);

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
    came: Instant,
    /// This node makes it wait.
    is_asked_about: bool,
    task: Option<AbortHandle>,
}

/// A peer's place, given up when this is dropped, as it is when the peer is let in.
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
    /// A place among at most `max`. `None` where all are taken by peers that this node makes wait or that
    /// came within the last second, none of whose networks holds more than the newcomer's.
    pub fn enter(&self, network: Option<IpAddr>, max: usize) -> Option<(Stranger, Eviction)> {
        let mut taken = self.lock();
        let now = Instant::now();
        while taken.peers.len() >= max {
            let number = taken.whose_place(network, now)?;
            taken.evict(number);
        }
        taken.last += 1;
        let number = taken.last;
        *taken.networks.entry(network).or_default() += 1;
        let peer = Peer { network, came: now, is_asked_about: false, task: None };
        taken.peers.insert(number, peer);
        drop(taken);
        let strangers = self.clone();
        Some((Stranger { strangers, number }, Eviction { strangers: self.clone(), number }))
    }

    /// How many places are taken.
    pub fn count(&self) -> usize {
        self.lock().peers.len()
    }

    /// Takes a place from the network that holds most, for the sake of something else than a newcomer.
    /// `false` where no place is taken.
    pub fn evict(&self) -> bool {
        let mut taken = self.lock();
        let last = taken.next(Instant::now());
        last.inspect(|number| taken.evict(*number)).is_some()
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
    fn whose_place(&self, newcomer: Option<IpAddr>, now: Instant) -> Option<u64> {
        let number = self.next(now)?;
        let peer = self.peers.get(&number)?;
        // Such a peer leaves soon, one way or the other. To take its place for the sake of one like it
        // would let nobody in at all where many come at once.
        let is_kept = peer.is_kept(now) && self.held_by(peer.network) <= self.held_by(newcomer);
        (!is_kept).then_some(number)
    }

    /// Which peer loses its place next.
    fn next(&self, now: Instant) -> Option<u64> {
        let rank = |(number, peer): &(&u64, &Peer)| {
            (self.held_by(peer.network), !peer.is_kept(now), Reverse(**number))
        };
        self.peers.iter().max_by_key(rank).map(|(number, _)| *number)
    }

    fn evict(&mut self, number: u64) {
        if let Some(task) = self.remove(number).and_then(|peer| peer.task) {
            task.abort();
        }
    }

    fn set_network(&mut self, number: u64, network: Option<IpAddr>) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let before = std::mem::replace(&mut peer.network, network);
        self.leave(before);
        *self.networks.entry(network).or_default() += 1;
    }

    fn remove(&mut self, number: u64) -> Option<Peer> {
        let peer = self.peers.remove(&number)?;
        self.leave(peer.network);
        Some(peer)
    }

    fn leave(&mut self, network: Option<IpAddr>) {
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

impl Peer {
    /// Whether it keeps its place from its like.
    fn is_kept(&self, now: Instant) -> bool {
        self.is_asked_about || now.saturating_duration_since(self.came) < FIRST_STEPS
    }
}

impl Stranger {
    /// The network that the peer is of, where it was told later.
    pub fn set_network(&self, network: Option<IpAddr>) {
        self.strangers.lock().set_network(self.number, network);
    }

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
    use tokio::time::advance;

    use super::*;

    fn enter(strangers: &Strangers, network: u8, max: usize) -> Option<(Stranger, Eviction)> {
        strangers.enter(Some(IpAddr::from([10, 0, 0, network])), max)
    }

    /// Who holds places, by the numbers in which they came.
    fn holders(strangers: &Strangers) -> Vec<u64> {
        strangers.lock().peers.keys().copied().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_place_of_the_network_that_holds_most() {
        let strangers = Strangers::default();
        let places: Vec<_> = [1, 2, 2, 2, 3, 3]
            .into_iter()
            .map(|number| enter(&strangers, number, 6).unwrap().0)
            .collect();
        advance(FIRST_STEPS).await;
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

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_asked_about_keeps_its_place_from_its_like() {
        let strangers = Strangers::default();
        let (one, _) = enter(&strangers, 1, 3).unwrap();
        let (two, _) = enter(&strangers, 2, 3).unwrap();
        one.set_asked_about(true);
        let (three, _) = enter(&strangers, 3, 3).unwrap();
        advance(FIRST_STEPS).await;
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

    #[tokio::test(start_paused = true)]
    async fn the_task_of_a_peer_whose_place_is_taken_ends() {
        let strangers = Strangers::default();
        let (stranger, eviction) = enter(&strangers, 1, 1).unwrap();
        let task = tokio::spawn(async move {
            let _stranger = stranger;
            std::future::pending::<()>().await;
        });
        eviction.aborts(task.abort_handle());
        advance(FIRST_STEPS).await;
        let (_newcomer, _) = enter(&strangers, 1, 1).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(strangers.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_just_came_keeps_its_place_from_its_like() {
        let strangers = Strangers::default();
        let (one, _) = enter(&strangers, 1, 2).unwrap();
        let (two, _) = enter(&strangers, 2, 2).unwrap();
        let moment = Duration::from_millis(1);
        advance(FIRST_STEPS.saturating_sub(moment)).await;
        assert!(enter(&strangers, 1, 2).is_none());
        // A network that holds nothing holds less.
        let (three, _) = enter(&strangers, 3, 2).unwrap();
        assert_eq!(holders(&strangers), [2, 3]);
        advance(moment).await;
        let (four, _) = enter(&strangers, 2, 2).unwrap();
        assert_eq!(holders(&strangers), [3, 4]);
        drop((one, two, three, four));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_counts_for_the_network_that_was_told_last() {
        let strangers = Strangers::default();
        let proxy = Some(IpAddr::from([10, 0, 0, 9]));
        let (one, _) = strangers.enter(proxy, 4).unwrap();
        let (two, _) = strangers.enter(proxy, 4).unwrap();
        let (three, _) = enter(&strangers, 1, 4).unwrap();
        two.set_network(Some(IpAddr::from([10, 0, 0, 1])));
        assert!(strangers.evict());
        assert_eq!(holders(&strangers), [1, 3]);
        // Its place is gone.
        two.set_network(proxy);
        drop((one, two, three));
        assert!(strangers.lock().networks.is_empty());
        assert!(!strangers.evict());
    }
}
