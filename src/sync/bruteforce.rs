//! Who was refused too often is not asked for credentials for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::options::Login;

/// How many addresses and users are remembered; above that, nobody new is until some are forgotten.
const MAX_KNOWN: usize = 10_000;

/// So many times what one user may is what all users of one address may together: behind a proxy
/// they share it.
const USERS: u32 = 10;

/// Counts refusals: of each user at each address, and of each address.
#[derive(Debug)]
pub(crate) struct Bruteforce {
    attempts: u32,
    within: Duration,
    refused: Mutex<HashMap<Key, Refused>>,
}

type Key = (Option<IpAddr>, Option<String>);

#[derive(Debug)]
struct Refused {
    count: u32,
    since: Instant,
}

impl Bruteforce {
    pub(crate) fn new(attempts: u32, within: Duration) -> Self {
        Self { attempts, within, refused: Mutex::default() }
    }

    /// Whether to refuse without asking.
    pub(crate) fn is_blocked(&self, login: &Login) -> bool {
        let refused = self.refused();
        keys(login).into_iter().zip([1, USERS]).any(|(key, share)| {
            refused.get(&key).is_some_and(|refused| {
                refused.since.elapsed() < self.within
                    && refused.count >= self.attempts.saturating_mul(share)
            })
        })
    }

    /// Notes a refusal.
    pub(crate) fn refuse(&self, login: &Login) {
        let mut refused = self.refused();
        if refused.len() >= MAX_KNOWN {
            refused.retain(|_, refused| refused.since.elapsed() < self.within);
        }
        for key in keys(login) {
            if refused.len() >= MAX_KNOWN && !refused.contains_key(&key) {
                continue;
            }
            let now = Instant::now();
            let entry = refused.entry(key).or_insert(Refused { count: 0, since: now });
            if entry.since.elapsed() >= self.within {
                *entry = Refused { count: 0, since: now };
            }
            entry.count += 1;
        }
    }

    /// No method panics half-way, so a poisoned lock still guards a whole map.
    fn refused(&self) -> MutexGuard<'_, HashMap<Key, Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user at the address, and the address; without one, only the user.
fn keys(login: &Login) -> Vec<Key> {
    let address = login.peer.address.map(|address| match address.ip() {
        // One customer has all addresses of a network.
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    });
    let user = login.node_id.user_id().unwrap_or(login.node_id.as_str()).to_owned();
    let mut keys = vec![(address, Some(user))];
    keys.extend(address.map(|address| (Some(address), None)));
    keys
}
