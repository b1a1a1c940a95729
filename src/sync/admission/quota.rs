//! A client that was let in sends no more than its quota in the long run, nor do all clients of its user.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_codecs::NodeId;
use logux_transports::rt::Instant;

/// So many accounts are kept in any case.
const MANY: usize = 1_000;

/// How much a client may send: [`SyncOptions::quota`](crate::SyncOptions::quota).
///
/// A quota comes back evenly, and what was not used of it is kept for up to the [`burst`](Self::burst). A
/// client that has used up its quota is not read until enough of it has come back: that slows it down, and
/// costs no more than one message's frame. A client that has waited for all of its
/// [`patience`](Self::patience) is told so, and its connection ends. A message is taken whole once the quota is not overdrawn, whatever its size, so the wait
/// after a large one is longer.
///
/// ```
/// use logux_sync::{Quota, SyncOptions, Value};
///
/// let options = SyncOptions::<Value>::new().quota(Quota::default().events(100).bytes(100 << 10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// How many events one node may send per second: 1,000.
    pub events: u64,
    /// How many bytes one node may send per second, those of all frames: 1 MiB.
    pub bytes: u64,
    /// What a node may send in so much time, it may also send at once: 10 seconds.
    pub burst: Duration,
    /// How many times as much all nodes of a user at one address may send together: 4.
    pub user_factor: u64,
    /// How long a client may be slowed down without a pause of a second before its connection ends: 1 minute.
    pub patience: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            events: 1_000,
            bytes: 1 << 20,
            burst: Duration::from_secs(10),
            user_factor: 4,
            patience: Duration::from_secs(60),
        }
    }
}

impl Quota {
    /// Sets how many events one node may send per second: at least 1. `u64::MAX` sets no limit.
    #[must_use]
    pub const fn events(mut self, per_second: u64) -> Self {
        self.events = per_second;
        self
    }

    /// Sets how many bytes one node may send per second: at least 1. `u64::MAX` sets no limit.
    #[must_use]
    pub const fn bytes(mut self, per_second: u64) -> Self {
        self.bytes = per_second;
        self
    }

    /// Sets how much time's worth may be sent at once.
    #[must_use]
    pub const fn burst(mut self, burst: Duration) -> Self {
        self.burst = burst;
        self
    }

    /// Sets how many times as much all nodes of a user at one address may send together: at least 1. The user
    /// is the text before the first colon of a node's name; a node without a colon has no user, and its own
    /// quota only. A name for many people, as `anonymous`, is one user at each address; a network of IPv6 is one
    /// address.
    #[must_use]
    pub const fn user_factor(mut self, factor: u64) -> Self {
        self.user_factor = factor;
        self
    }

    /// Sets how long a client may be slowed down without a pause before its connection ends.
    ///
    /// Shorter than the peer's own `timeout` (70 seconds, for JavaScript nodes 20), or a peer that is slowed
    /// down for so long gives up by itself, and is not told why.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// What is taken from a quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// The accounts of all nodes and users that are here or have sent something of late.
#[derive(Debug)]
pub(super) struct Accounts {
    quota: Quota,
    /// Times are counted from here.
    start: Instant,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    accounts: HashMap<Owner, Arc<Account>>,
    /// Where there are so many, those that nobody needs are closed.
    sweep_at: usize,
}

/// Whose account it is, with the node that it is at: where a server has several logs, each may have users of
/// its own. A node and a user may have the same name.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Owner {
    /// At this node, this one.
    Node(NodeId, NodeId),
    User(NodeId, Box<str>, Option<IpAddr>),
}

/// What was sent by one node, or by all nodes of one user.
#[derive(Debug)]
struct Account {
    /// How much may be sent per second.
    events: u64,
    bytes: u64,
    spent: Mutex<Spent>,
}

/// When all that was spent will have come back. Until a burst before that, the account is overdrawn.
#[derive(Debug, Default)]
struct Spent {
    events: Duration,
    bytes: Duration,
}

/// The accounts that a connection's peer pays from.
#[derive(Debug)]
pub(crate) struct Payer {
    all: Arc<Accounts>,
    own: [Option<Arc<Account>>; 2],
}

impl Accounts {
    pub(super) fn new(quota: Quota) -> Self {
        let Quota { events, bytes, user_factor, .. } = quota;
        // As the methods say.
        let (events, bytes, user_factor) = (events.max(1), bytes.max(1), user_factor.max(1));
        let quota = Quota { events, bytes, user_factor, ..quota };
        let open = Open { accounts: HashMap::new(), sweep_at: MANY };
        Self { quota, start: Instant::now(), open: Mutex::new(open) }
    }

    /// Opens the accounts that a node of a network has at another, or finds them as they were left.
    pub(super) fn open(
        self: &Arc<Self>,
        at: &NodeId,
        node: &NodeId,
        network: Option<IpAddr>,
    ) -> Payer {
        let mut open = lock(&self.open);
        let Open { accounts, sweep_at } = &mut *open;
        if accounts.len() >= *sweep_at {
            // One that is in use is held by a payer, too. What others have spent soon comes back.
            let now = self.start.elapsed();
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_full(now));
            *sweep_at = MANY.max(2 * accounts.len());
        }
        let mut account = |owner, factor| {
            let new = || Arc::new(Account::new(&self.quota, factor));
            Arc::clone(accounts.entry(owner).or_insert_with(new))
        };
        let user = node.user_id().map(|user| Owner::User(at.clone(), user.into(), network));
        let user = user.map(|user| account(user, self.quota.user_factor));
        let node = account(Owner::Node(at.clone(), node.clone()), 1);
        Payer { all: Arc::clone(self), own: [Some(node), user] }
    }
}

impl Payer {
    pub(crate) fn quota(&self) -> Quota {
        self.all.quota
    }

    /// Pays for a message, and answers how long it has to wait: until no account is overdrawn by what was
    /// paid before. So the messages of a user go on in the order in which they came, whichever connections
    /// they come over.
    pub(crate) fn pay(&self, cost: Cost) -> Duration {
        let now = self.all.start.elapsed();
        let back = self.own.iter().flatten().map(|account| account.pay(cost, now)).max();
        back.unwrap_or_default().saturating_sub(self.all.quota.burst).saturating_sub(now)
    }

    /// Takes back what was paid for a message that still waits.
    pub(crate) fn take_back(&self, cost: Cost) {
        self.own.iter().flatten().for_each(|account| account.take_back(cost));
    }
}

impl Account {
    fn new(quota: &Quota, factor: u64) -> Self {
        let rate = |per_second: u64| per_second.saturating_mul(factor);
        Self { events: rate(quota.events), bytes: rate(quota.bytes), spent: Mutex::default() }
    }

    /// Answers when all that was spent before will have come back.
    fn pay(&self, cost: Cost, now: Duration) -> Duration {
        let mut spent = lock(&self.spent);
        let before = spent.events.max(spent.bytes);
        spent.events = spent.events.max(now).saturating_add(time(cost.events, self.events));
        spent.bytes = spent.bytes.max(now).saturating_add(time(cost.bytes, self.bytes));
        before
    }

    fn take_back(&self, cost: Cost) {
        let mut spent = lock(&self.spent);
        spent.events = spent.events.saturating_sub(time(cost.events, self.events));
        spent.bytes = spent.bytes.saturating_sub(time(cost.bytes, self.bytes));
    }

    fn is_full(&self, now: Duration) -> bool {
        let spent = lock(&self.spent);
        spent.events.max(spent.bytes) <= now
    }
}

/// How long it takes until so much has come back.
fn time(amount: u64, per_second: u64) -> Duration {
    let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(per_second);
    // More is longer than any clock goes on.
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Nothing panics while a lock is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_nodes_that_are_gone_are_closed() {
        let accounts = Arc::new(Accounts::new(Quota::default()));
        let open =
            |name: &str| accounts.open(&"server".parse().unwrap(), &name.parse().unwrap(), None);
        let own = |payer: &Payer| Arc::clone(payer.own[0].as_ref().unwrap());
        let (here, owes) = (open("here"), open("owes"));
        owes.pay(Cost { events: u64::MAX, bytes: 0 });
        let account_that_owes = Arc::downgrade(&own(&owes));
        drop(owes);
        for n in 0..20 * MANY {
            open(&format!("10:{n}")).pay(Cost { events: 0, bytes: 1 });
        }
        let count = lock(&accounts.open).accounts.len();
        assert!(count <= 2 * MANY, "{count}");
        assert!(Arc::ptr_eq(&own(&open("here")), &own(&here)));
        assert!(account_that_owes.upgrade().is_some(), "it is remembered");
    }
}
