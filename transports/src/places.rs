//! How many links there are, and how many of them each network has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::link::network;

/// All places. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Shared>);

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
pub(crate) struct Place {
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    places: Places,
    address: Option<IpAddr>,
}

/// The address has as many links as it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooMany;

impl Places {
    /// A place for a link from an address, whose network may have so many; links whose address is not
    /// known are not limited.
    pub(crate) fn take(
        &self,
        address: Option<IpAddr>,
        max_per_address: usize,
    ) -> Result<Place, TooMany> {
        let address = address.map(network);
        let mut taken = self.lock();
        if let Some(address) = address {
            if taken.addresses.get(&address).copied().unwrap_or_default() >= max_per_address {
                return Err(TooMany);
            }
            *taken.addresses.entry(address).or_default() += 1;
        }
        taken.links += 1;
        Ok(Place { _held: Arc::new(Held { places: self.clone(), address }) })
    }

    /// Waits until no place is taken.
    #[cfg(feature = "long-poll")]
    pub(crate) async fn empty(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_an_address_without_links() {
        let places = Places::default();
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        assert!(places.take(address, 0).is_err());
        assert!(places.lock().addresses.is_empty());
        let place = places.take(address, 1).unwrap();
        assert!(places.take(address, 1).is_err());
        let clone = place.clone();
        drop(place);
        assert!(places.take(address, 1).is_err());
        drop(clone);
        assert!(places.lock().addresses.is_empty());
    }
}
