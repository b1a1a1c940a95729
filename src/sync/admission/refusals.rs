//! A peer that was refused too often is not asked for its credentials for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_transports::rt::Instant;
use tokio::sync::Notify;

use super::login::Login;

/// How many addresses and users are remembered; above that, nobody new is until some are forgotten.
const MAX_KNOWN: usize = 10_000;

/// All users of one network, such as a proxy's address, share this multiple of one user's allowance.
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

/// Counts refusals: of each user at each network, and of each network.
#[derive(Debug)]
pub(super) struct Refusals {
    limit: RefusalLimit,
    refused: Mutex<HashMap<Key, Refused>>,
    /// Tells that an attempt is over.
    over: Notify,
}

type Key = (Option<IpAddr>, Option<String>);

#[derive(Debug)]
struct Refused {
    count: u32,
    since: Instant,
    /// Attempts whose answer is not there yet.
    under_way: u32,
}

/// An attempt that is under way. It counts for nothing if it is dropped without an answer.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    refusals: &'a Refusals,
    user: Key,
    network: Option<Key>,
}

impl Refusals {
    pub(super) fn new(limit: RefusalLimit) -> Self {
        Self { limit, refused: Mutex::default(), over: Notify::new() }
    }

    /// Whether to ask about a peer: `None` if its user was refused too often. No more attempts of a user
    /// are under way than may be refused, so that guesses made at once are counted, too; one above that
    /// waits for another to be over.
    pub(super) async fn attempt(&self, login: &Login) -> Option<Attempt<'_>> {
        let (user, network) = keys(login);
        loop {
            let mut over = pin!(self.over.notified());
            over.as_mut().enable();
            match self.begin(&user, network.as_ref()) {
                Begin::Blocked => return None,
                Begin::Asked => return Some(Attempt { refusals: self, user, network }),
                Begin::Full => over.await,
            }
        }
    }

    fn begin(&self, user: &Key, network: Option<&Key>) -> Begin {
        let mut refused = self.refused();
        let limit = self.limit.refusals.saturating_mul(USERS);
        let count = self.count(&refused, user);
        let of_network = network.map_or(0, |network| self.count(&refused, network));
        if of_network >= limit || count >= self.limit.refusals {
            return Begin::Blocked;
        }
        let under_way = refused.get(user).map_or(0, |refused| refused.under_way);
        if count + under_way >= self.limit.refusals {
            return Begin::Full;
        }
        if let Some(entry) = self.entry(&mut refused, user) {
            entry.under_way += 1;
        }
        Begin::Asked
    }

    fn count(&self, refused: &HashMap<Key, Refused>, key: &Key) -> u32 {
        let recent = refused.get(key).filter(|refused| refused.since.elapsed() < self.limit.within);
        recent.map_or(0, |refused| refused.count)
    }

    fn note(&self, refused: &mut HashMap<Key, Refused>, key: &Key) {
        if let Some(entry) = self.entry(refused, key) {
            if entry.count == 0 || entry.since.elapsed() >= self.limit.within {
                (entry.count, entry.since) = (0, Instant::now());
            }
            entry.count += 1;
        }
    }

    /// `None` where too many are remembered.
    fn entry<'m>(
        &self,
        refused: &'m mut HashMap<Key, Refused>,
        key: &Key,
    ) -> Option<&'m mut Refused> {
        if refused.len() >= MAX_KNOWN {
            refused.retain(|_, refused| {
                refused.under_way > 0 || refused.since.elapsed() < self.limit.within
            });
        }
        if refused.len() >= MAX_KNOWN && !refused.contains_key(key) {
            return None;
        }
        let new = || Refused { count: 0, since: Instant::now(), under_way: 0 };
        Some(refused.entry(key.clone()).or_insert_with(new))
    }

    /// No method panics half-way, so a poisoned lock still guards a whole map.
    fn refused(&self) -> MutexGuard<'_, HashMap<Key, Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Begin {
    Asked,
    /// As many are under way as may be.
    Full,
    Blocked,
}

impl Attempt<'_> {
    /// The peer was refused: its network counts, too.
    pub(super) fn refuse(self) {
        let mut refused = self.refusals.refused();
        self.refusals.note(&mut refused, &self.user);
        if let Some(network) = &self.network {
            self.refusals.note(&mut refused, network);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut refused = self.refusals.refused();
        if let Some(entry) = refused.get_mut(&self.user) {
            entry.under_way = entry.under_way.saturating_sub(1);
            if entry.under_way == 0 && entry.count == 0 {
                refused.remove(&self.user);
            }
        }
        drop(refused);
        self.refusals.over.notify_waiters();
    }
}

/// The user at the network, and the network, if the transport knows an address.
fn keys(login: &Login) -> (Key, Option<Key>) {
    let network = login.link.network();
    let user = login.node_id.user_id().unwrap_or(login.node_id.as_str()).to_owned();
    ((network, Some(user)), network.map(|network| (Some(network), None)))
}
