//! A peer that was refused too often is not asked for its credentials for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_transports::rt::Instant;

use super::login::Login;

/// How many addresses and users are remembered; above that, nobody new is until some are forgotten.
const MAX_KNOWN: usize = 10_000;

/// All users behind one address, such as a proxy's, share this multiple of one user's allowance.
const USERS: u32 = 10;

/// How often a peer may be refused before it is refused without being asked for its credentials:
/// [`SyncOptions::bruteforce`](crate::SyncOptions::bruteforce).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusalLimit {
    /// How many refusals: 3.
    pub refusals: u32,
    /// Within which time: 3 seconds.
    pub within: Duration,
}

impl RefusalLimit {
    /// So many refusals within a time.
    pub const fn new(refusals: u32, within: Duration) -> Self {
        Self { refusals, within }
    }
}

impl Default for RefusalLimit {
    fn default() -> Self {
        Self::new(3, Duration::from_secs(3))
    }
}

/// Counts refusals: of each user at each address, and of each address.
#[derive(Debug)]
pub(super) struct Refusals {
    limit: RefusalLimit,
    refused: Mutex<HashMap<Key, Refused>>,
}

type Key = (Option<IpAddr>, Option<String>);

#[derive(Debug)]
struct Refused {
    count: u32,
    since: Instant,
}

impl Refusals {
    pub(super) fn new(limit: RefusalLimit) -> Self {
        Self { limit, refused: Mutex::default() }
    }

    /// Whether to ask about a peer. Counts the attempt of its user as a refusal until it is
    /// [taken back](Self::forgive), so that guesses made at once are counted, too.
    pub(super) fn attempt(&self, login: &Login) -> bool {
        let (user, address) = keys(login);
        let mut refused = self.refused();
        let limit = self.limit.refusals.saturating_mul(USERS);
        let blocked = address.is_some_and(|address| self.count(&refused, &address) >= limit)
            || self.count(&refused, &user) >= self.limit.refusals;
        if !blocked {
            self.note(&mut refused, user);
        }
        !blocked
    }

    /// The peer was refused: its address counts, too.
    pub(super) fn refuse(&self, login: &Login) {
        if let (_, Some(address)) = keys(login) {
            self.note(&mut self.refused(), address);
        }
    }

    /// The peer was let in.
    pub(super) fn forgive(&self, login: &Login) {
        if let Some(refused) = self.refused().get_mut(&keys(login).0) {
            refused.count = refused.count.saturating_sub(1);
        }
    }

    fn count(&self, refused: &HashMap<Key, Refused>, key: &Key) -> u32 {
        let recent = refused.get(key).filter(|refused| refused.since.elapsed() < self.limit.within);
        recent.map_or(0, |refused| refused.count)
    }

    fn note(&self, refused: &mut HashMap<Key, Refused>, key: Key) {
        if refused.len() >= MAX_KNOWN {
            refused.retain(|_, refused| refused.since.elapsed() < self.limit.within);
        }
        if refused.len() >= MAX_KNOWN && !refused.contains_key(&key) {
            return;
        }
        let new = || Refused { count: 0, since: Instant::now() };
        let entry = refused.entry(key).or_insert_with(new);
        if entry.count == 0 || entry.since.elapsed() >= self.limit.within {
            *entry = new();
        }
        entry.count += 1;
    }

    /// No method panics half-way, so a poisoned lock still guards a whole map.
    fn refused(&self) -> MutexGuard<'_, HashMap<Key, Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user at the address, and the address, if the transport knows one.
fn keys(login: &Login) -> (Key, Option<Key>) {
    let address = login.link.address.map(|address| match address.ip() {
        // One customer has all addresses of a network.
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    });
    let user = login.node_id.user_id().unwrap_or(login.node_id.as_str()).to_owned();
    ((address, Some(user)), address.map(|address| (Some(address), None)))
}
