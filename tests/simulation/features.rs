//! What a seed switches on.

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::{Access, EventLimits, NodeId, Quota, SyncOptions};
use tokio::time::sleep;

use crate::any_codec::AnyCodec;
use crate::event::Number;
use crate::store::Broken;

/// How many messages may wait for their confirmation, at most.
pub(crate) const MAX_WINDOW: usize = 4;

/// So much time's worth of its quota a client may send at once.
pub(crate) const BURST: Duration = Duration::from_secs(2);

/// Each has a chance of its own.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Features {
    pub(crate) codec: AnyCodec,
    /// `auth` that takes up to so many milliseconds.
    pub(crate) auth: Option<u64>,
    /// Filters and maps that take up to so many milliseconds.
    pub(crate) callbacks: Option<u64>,
    /// Events that no filter lets through until this is true.
    pub(crate) private: Option<Arc<AtomicBool>>,
    pub(crate) fix_time: bool,
    /// Clocks that are never set.
    pub(crate) steady: bool,
    /// Clocks that are wrong by days for a while.
    pub(crate) wild: bool,
    /// Processes that come back with an empty log.
    pub(crate) replaced: bool,
    /// The nodes that are dialled take events of any author, but for the hostile peer's.
    pub(crate) relay: bool,
    /// The nodes that are dialled have a filter that fails on some events of the nodes that dialled.
    pub(crate) fussy: bool,
    /// All that nodes are sent fails in their filters while this is true.
    pub(crate) outage: Option<Arc<AtomicBool>>,
    /// Callbacks that never answer while there is some of this left, which each such answer takes one of.
    pub(crate) hangs: Option<Arc<AtomicU32>>,
    /// Each process begins with credentials that are not right any more.
    pub(crate) stale: bool,
    /// The nodes that are dialled take credentials for so many seconds.
    pub(crate) expires: Option<u64>,
    /// The nodes that are dialled take so many events per second of each client.
    pub(crate) quota: Option<u64>,
    /// Each node has a consumer, which takes up to so many milliseconds for an event.
    pub(crate) consumes: Option<u64>,
    /// A client that means harm.
    pub(crate) hostile: Option<NodeId>,
    /// What is wrong with the stores.
    pub(crate) broken: Option<Broken>,
}

impl Features {
    /// `is_star`: whether each client is of one and the same server.
    pub(crate) fn draw(random: &mut Rng, is_star: bool, max_delay: Duration) -> Self {
        // These came later, and leave the worlds of the other seeds as they were.
        let mut apart = random.clone().fork();
        let hangs = (apart.u8(..6) == 0).then(|| Arc::new(AtomicU32::new(apart.u32(1..20))));
        let stale = apart.u8(..6) == 0;
        let expires = (apart.u8(..6) == 0).then(|| apart.u64(60..600));
        let quota = (apart.u8(..6) == 0).then(|| [2, 10, 50][apart.usize(..3)]);
        let consumes = (apart.u8(..3) == 0).then(|| [0, 20, 1_000][apart.usize(..3)]);
        let callbacks = random.bool().then(|| [0, 3, 300][random.usize(..3)]);
        let callbacks = callbacks.or(hangs.is_some().then_some(0));
        let wild = random.u8(..8) == 0;
        // In a chain most events are those of others.
        let relay = random.u8(..4) == 0;
        let names = ["66:evil", "10", "10:ab", "server:10"];
        let name = names[random.usize(..names.len())];
        let features = Self {
            codec: AnyCodec::default(),
            auth: random.bool().then(|| [0, 50, 2_000][random.usize(..3)]),
            callbacks,
            private: (callbacks.is_some() && random.bool()).then(Arc::default),
            fix_time: random.u8(..3) == 0,
            steady: random.bool() && !wild,
            wild,
            replaced: random.u8(..4) == 0,
            relay: if is_star { relay } else { !relay },
            // To find out what is refused takes many rounds.
            fussy: random.u8(..6) == 0 && max_delay <= Duration::from_secs(1),
            outage: (random.u8(..6) == 0).then(Arc::default),
            hostile: (random.u8(..4) == 0).then(|| name.parse().unwrap()),
            hangs,
            stale: false,
            expires,
            quota,
            consumes,
            broken: None,
        };
        // A peer that means harm has no credentials.
        Self { stale: stale && features.hostile.is_none(), ..features }
    }

    /// Nothing hangs any more.
    pub(crate) fn heal(&self) {
        if let Some(hangs) = &self.hangs {
            hangs.store(0, Ordering::Relaxed);
        }
    }

    /// Whether nodes may fail to take any event for a while.
    pub(crate) const fn may_fail(&self) -> bool {
        self.outage.is_some() || self.hangs.is_some()
    }

    /// Whether a node may tell another of this error.
    pub(crate) fn may_complain(&self, kind: &str) -> bool {
        match kind {
            "callback-failed" => self.fussy || self.may_fail(),
            "credentials-expired" => self.expires.is_some(),
            "quota-exceeded" => self.quota.is_some(),
            _ => false,
        }
    }

    /// Waits of up to so many milliseconds, drawn from a seed, and now and then for ever.
    fn waits(&self, max: u64, seed: u64) -> impl Fn() -> Wait + Send + Sync + Clone + use<> {
        let random = Arc::new(Mutex::new(Rng::with_seed(seed)));
        let hangs = self.hangs.clone();
        move || {
            let mut random = random.lock().unwrap();
            let time = Duration::from_millis(random.u64(..=max));
            let takes_one = |hangs: &Arc<AtomicU32>| {
                let one_less = |left: u32| left.checked_sub(1);
                random.u8(..16) == 0
                    && hangs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            };
            if hangs.as_ref().is_some_and(takes_one) {
                return Box::pin(pending());
            }
            Box::pin(sleep(time))
        }
    }

    /// Small ones, where there is somebody to break them.
    pub(crate) fn event_limits(&self) -> EventLimits {
        let limits = EventLimits::default();
        if self.hostile.is_some() { limits.bytes(EventLimits::META + 100) } else { limits }
    }

    /// The options of a node, which may dial a node and may be dialled.
    pub(crate) fn options(&self, dials: Option<&NodeId>, random: &mut Rng) -> SyncOptions<Number> {
        let mut options = SyncOptions::<Number>::new()
            .timeout(Duration::from_secs(15))
            .ping(Duration::from_secs(10))
            .batch(random.usize(1..40))
            .window(random.usize(1..=MAX_WINDOW))
            .fix_time(self.fix_time)
            .callback_timeout(Duration::from_secs(5));
        if self.stale {
            let is_first = AtomicBool::new(true);
            options = options.credentials_with(move || {
                let token = if is_first.swap(false, Ordering::Relaxed) { "old" } else { "new" };
                async move { Ok(token.into()) }
            });
        }
        if let Some(events) = self.quota {
            let quota = Quota::default().events(events).burst(BURST);
            options = options.quota(quota.patience(Duration::from_secs(20)));
        }
        let expires_or_costs = self.expires.is_some() || self.quota.is_some();
        if self.auth.is_some() || self.relay || self.stale || expires_or_costs {
            let wait = self.auth.map(|max| self.waits(max, random.u64(..)));
            let (relay, hostile) = (self.relay, self.hostile.clone());
            let (stale, expires, dials) = (self.stale, self.expires, dials.cloned());
            // A user who comes and goes while `auth` takes its time is stopped for a while, and the
            // hostile peer may be of the same user as another.
            if hostile.is_some() || stale {
                options = options.bruteforce(None);
            }
            options = options.auth(move |login| {
                let wait = wait.as_ref().map(|wait| wait());
                let relay = relay && Some(&login.node_id) != hostile.as_ref();
                let has_dialled = Some(&login.node_id) != dials.as_ref();
                async move {
                    if let Some(wait) = wait {
                        wait.await;
                    }
                    if stale && has_dialled && !login.token_is("new") {
                        return Access::nobody();
                    }
                    let access = if relay { Access::relay() } else { true.into() };
                    let expires = expires.filter(|_| has_dialled).map(Duration::from_secs);
                    match expires {
                        Some(time) => access.expires_in(time),
                        None => access,
                    }
                }
            });
        }
        if self.fussy || self.callbacks.is_some() || self.outage.is_some() {
            let wait = self.callbacks.map(|max| self.waits(max, random.u64(..)));
            let (fussy, dials) = (self.fussy, dials.cloned());
            let outage = self.outage.clone();
            options = options.in_filter(move |entry, peer| {
                let wait = wait.as_ref().map(|wait| wait());
                let has_dialled = Some(&peer.node_id) != dials.as_ref();
                let fails = fussy && has_dialled && entry.event.is_poison();
                let is_out = outage.as_ref().is_some_and(|outage| outage.load(Ordering::Relaxed));
                async move {
                    if let Some(wait) = wait {
                        wait.await;
                    }
                    if is_out {
                        return Err("the database is away".into());
                    }
                    if fails { Err("it cannot cope with that".into()) } else { Ok(true) }
                }
            });
        }
        if let Some(max) = self.callbacks {
            let [map, out, out_map] = [(); 3].map(|()| self.waits(max, random.u64(..)));
            let open = self.private.clone();
            options = options
                .in_map(move |entry, _| {
                    let wait = map();
                    async move {
                        wait.await;
                        Ok(entry)
                    }
                })
                .out_map(move |entry, _| {
                    let wait = out_map();
                    async move {
                        wait.await;
                        Ok(entry)
                    }
                })
                .out_filter(move |entry, _| {
                    let (wait, open) = (out(), open.clone());
                    async move {
                        wait.await;
                        let open = open.is_none_or(|open| open.load(Ordering::Relaxed));
                        Ok(open || !entry.event.is_private())
                    }
                });
        }
        options
    }
}

/// What a callback waits for.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;
