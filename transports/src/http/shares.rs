//! Places for connections that are in use, shared among networks, so that no network keeps the others out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::rt::AbortHandle;

/// So many idle connections are looked at for a newcomer.
const MAX_LOOKS: usize = 64;

/// The places. Clones share them.
///
/// Where all are taken, a newcomer gets the place of the connection that has been idle for longest, which loses
/// nothing by that, of those whose networks hold more places than its own. Where there is none, it gets the
/// newest place of the network that holds most, if that is at least two more than its own network holds: else two
/// networks would take each other's places in turn. Otherwise it waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    /// Tells one newcomer that a place is free, in the order in which they came.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    last: u64,
    /// The connections, in the order in which they came.
    networks: HashMap<IpAddr, BTreeMap<u64, Held>>,
    /// Those that are idle, longest first.
    idle: BTreeMap<u64, (IpAddr, u64)>,
    /// How many places each network holds.
    sizes: BTreeSet<(usize, IpAddr)>,
}

#[derive(Debug)]
struct Held {
    task: AbortHandle,
    /// Since when it is idle, in the order of all that happens.
    idle: Option<u64>,
}

/// A connection's place, given up when this is dropped.
#[derive(Debug)]
#[must_use = "a place is given up when it is dropped"]
pub(super) struct Share {
    shares: Shares,
    network: Option<IpAddr>,
    number: u64,
}

/// A request that is being answered.
#[derive(Debug)]
#[must_use = "the connection is idle when it is dropped"]
pub(super) struct InFlight<'a>(&'a Share);

impl Share {
    /// Notes that the connection is not idle. It has one request at a time.
    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.shares.lock().set_idle(self.network, self.number, false);
        InFlight(self)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let Share { shares, network, number } = self.0;
        shares.lock().set_idle(*network, *number, true);
    }
}

impl Shares {
    /// Waits for a place among at most `max`, for a connection that a task serves. The task is aborted if the
    /// place is taken from it. Without a network it never is: that is for connections of a proxy, which
    /// stands for many clients.
    ///
    /// Nothing is taken where this is dropped before it is ready.
    pub(super) async fn take(
        &self,
        network: Option<IpAddr>,
        task: &AbortHandle,
        max: usize,
    ) -> Share {
        loop {
            if let Some(share) = self.try_take(network, task, max) {
                return share;
            }
            self.0.freed.notified().await;
        }
    }

    fn try_take(&self, network: Option<IpAddr>, task: &AbortHandle, max: usize) -> Option<Share> {
        let mut taken = self.lock();
        while taken.count >= max {
            taken.evict_for(network)?;
        }
        taken.last += 1;
        let number = taken.last;
        taken.add(network, number, task.clone());
        drop(taken);
        Some(Share { shares: self.clone(), network, number })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while the lock is held.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn held_by(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    /// Cuts a connection that is idle, or one of the network that holds most, for the sake of a newcomer's
    /// network.
    fn evict_for(&mut self, newcomer: Option<IpAddr>) -> Option<()> {
        let (most, largest) = *self.sizes.last()?;
        let own = newcomer.map_or(0, |network| self.held_by(network));
        let mut idle = self.idle.values().take(MAX_LOOKS).copied();
        let (network, number) = if let Some(idle) = idle.find(|(of, _)| self.held_by(*of) > own) {
            idle
        } else {
            if most < own + 2 {
                return None;
            }
            (largest, *self.networks.get(&largest)?.last_key_value()?.0)
        };
        self.networks.get(&network)?.get(&number)?.task.abort();
        self.remove(Some(network), number).then_some(())
    }

    /// Those of a proxy are never cut, so it does not matter whether they are idle.
    fn set_idle(&mut self, network: Option<IpAddr>, number: u64, is_idle: bool) {
        let Some(network) = network else { return };
        let held = self.networks.get_mut(&network).and_then(|held| held.get_mut(&number));
        let Some(held) = held else { return };
        if let Some(since) = held.idle.take() {
            self.idle.remove(&since);
        }
        if is_idle {
            self.last += 1;
            held.idle = Some(self.last);
            self.idle.insert(self.last, (network, number));
        }
    }

    fn add(&mut self, network: Option<IpAddr>, number: u64, task: AbortHandle) {
        self.count += 1;
        if let Some(network) = network {
            let held = self.networks.entry(network).or_default();
            self.sizes.remove(&(held.len(), network));
            held.insert(number, Held { task, idle: None });
            self.sizes.insert((held.len(), network));
        }
    }

    /// `false` where the place was taken from the connection before.
    fn remove(&mut self, network: Option<IpAddr>, number: u64) -> bool {
        if let Some(network) = network {
            let Some(held) = self.networks.get_mut(&network) else { return false };
            let size = held.len();
            let Some(removed) = held.remove(&number) else { return false };
            if let Some(since) = removed.idle {
                self.idle.remove(&since);
            }
            self.sizes.remove(&(size, network));
            if held.is_empty() {
                self.networks.remove(&network);
            } else {
                self.sizes.insert((size - 1, network));
            }
        }
        self.count -= 1;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let is_freed = self.shares.lock().remove(self.network, self.number);
        if is_freed {
            self.shares.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;
    use tokio::task::JoinHandle;

    use super::*;

    fn network(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// A connection that lasts until it is cut.
    fn connection() -> (JoinHandle<()>, AbortHandle) {
        let task = tokio::spawn(pending());
        let handle = task.abort_handle();
        (task, handle)
    }

    /// A place for a connection of a network, if there is one now.
    fn take(
        shares: &Shares,
        network: Option<IpAddr>,
        max: usize,
    ) -> Option<(JoinHandle<()>, Share)> {
        let (task, handle) = connection();
        let share = shares.take(network, &handle, max).now_or_never()?;
        Some((task, share))
    }

    fn sizes(shares: &Shares) -> Vec<(usize, IpAddr)> {
        shares.lock().sizes.iter().copied().collect()
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_newest_place_of_the_network_that_holds_most() {
        let shares = Shares::default();
        let mut held: Vec<_> =
            [1, 2, 2, 2].map(|number| take(&shares, Some(network(number)), 4).unwrap()).into();
        held.push(take(&shares, Some(network(3)), 4).unwrap());
        let (newest, share) = held.remove(3);
        assert!(newest.await.unwrap_err().is_cancelled());
        // Its place is another's by now.
        drop(share);
        assert_eq!(shares.lock().count, 4);
        // Nobody holds two more than they do.
        for number in [1, 2, 3] {
            assert!(take(&shares, Some(network(number)), 4).is_none(), "{number}");
        }
        assert!(take(&shares, Some(network(4)), 4).is_some());
        drop(held);
        assert_eq!(sizes(&shares), []);
        assert_eq!(shares.lock().count, 0);
        assert!(shares.lock().networks.is_empty());
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_place_that_is_idle_for_longest() {
        let shares = Shares::default();
        // As many networks as there are places.
        let held: Vec<_> =
            (1..=4).map(|number| take(&shares, Some(network(number)), 4).unwrap()).collect();
        assert!(take(&shares, Some(network(5)), 4).is_none());
        for place in [2, 0, 1, 2] {
            drop(held[place].1.in_flight());
        }
        let answering = held[0].1.in_flight();
        let first = take(&shares, Some(network(5)), 4).unwrap();
        assert!(take(&shares, Some(network(5)), 4).is_none(), "it holds as many as the others");
        let second = take(&shares, Some(network(6)), 4).unwrap();
        assert!(take(&shares, Some(network(7)), 4).is_none(), "none is idle");
        drop((first, second));
        drop(answering);
        let cut: Vec<_> = held.iter().map(|(task, _)| task.is_finished()).collect();
        tokio::task::yield_now().await;
        let cut_by_now: Vec<_> = held.iter().map(|(task, _)| task.is_finished()).collect();
        assert_eq!((cut, cut_by_now), (vec![false; 4], vec![false, true, true, false]));
        drop(held);
        let taken = shares.lock();
        assert_eq!((taken.count, taken.idle.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_a_place_is_free() {
        let shares = Shares::default();
        let first = take(&shares, Some(network(1)), 2).unwrap();
        let second = take(&shares, Some(network(1)), 2).unwrap();
        let (_task, handle) = connection();
        let mut waiting: Vec<_> = std::iter::repeat_with(|| {
            let (shares, handle) = (shares.clone(), handle.clone());
            Box::pin(async move { shares.take(Some(network(1)), &handle, 2).await })
        })
        .take(3)
        .collect();
        for waits in &mut waiting {
            assert!(waits.now_or_never().is_none());
        }
        // One that has left does not keep what it is told from the others.
        drop(first);
        drop(waiting.remove(0));
        drop(second);
        let mut shares_of_two = Vec::new();
        for waits in waiting {
            shares_of_two.push(waits.await);
        }
        assert_eq!(shares.lock().count, 2);
    }

    #[tokio::test]
    async fn a_proxy_keeps_its_places() {
        let shares = Shares::default();
        let proxys: Vec<_> = (0..3).map(|_| take(&shares, None, 3).unwrap()).collect();
        assert!(take(&shares, Some(network(1)), 3).is_none());
        assert!(take(&shares, None, 3).is_none());
        drop(proxys);
        let _three: Vec<_> = (0..3).map(|_| take(&shares, Some(network(1)), 3).unwrap()).collect();
        let _proxy = take(&shares, None, 3).unwrap();
        let held = sizes(&shares);
        assert_eq!(held, [(2, network(1))]);
    }
}
