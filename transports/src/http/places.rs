//! How many links there are, and how many of them each network has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::link::network;

/// All places. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    /// Tells that the last link has ended.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    links: usize,
    addresses: HashMap<IpAddr, usize>,
}

/// A link's place among those of its address; given up when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Place {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    places: Places,
    address: Option<IpAddr>,
}

/// The address has as many links as it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMany;

impl Places {
    /// A place for a link from an address, whose network may have so many; links whose address is not
    /// known are not limited.
    pub(super) fn take(
        &self,
        address: Option<IpAddr>,
        max_per_address: usize,
    ) -> Result<Place, TooMany> {
        let address = address.map(network);
        let mut taken = self.lock();
        if let Some(address) = address {
            let links = taken.addresses.entry(address).or_default();
            if *links >= max_per_address {
                return Err(TooMany);
            }
            *links += 1;
        }
        taken.links += 1;
        Ok(Place { _held: Arc::new(Held { places: self.clone(), address }) })
    }

    /// Waits until no place is taken.
    pub(super) async fn empty(&self) {
        loop {
            let empty = self.0.empty.notified();
            if self.lock().links == 0 {
                return;
            }
            empty.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while the lock is held.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.links -= 1;
        let was_last = taken.links == 0;
        if let Some(address) = self.address
            && let Some(links) = taken.addresses.get_mut(&address)
        {
            *links -= 1;
            if *links == 0 {
                taken.addresses.remove(&address);
            }
        }
        drop(taken);
        if was_last {
            self.places.0.empty.notify_waiters();
        }
    }
}
