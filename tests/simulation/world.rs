//! The nodes, what happens to them, and the checks.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::codecs::{Message, Protocol};
use logux_sync::{
    Added, ClientSync, Clock, Codec, Entry, EventId, Limits, Log, NodeId, Reconnect, RunningServer,
    Server, Session, State, Store, SyncOptions, Timestamp,
};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::any_codec::AnyCodec;

use crate::network::{Network, Tap};
use crate::store::{Broken, Disk, SlowStore, is_private};

pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) events: u64,
    pub(crate) frames: u64,
    pub(crate) cuts: u64,
    /// A hash of all that was sent, and when.
    pub(crate) trace: u64,
}

/// Which node dials which.
const SHAPES: [&[(usize, usize)]; 5] = [
    // A client and a server; two clients; a chain; a longer chain; a ring, where all dial and listen.
    &[(1, 0)],
    &[(1, 0), (2, 0)],
    &[(1, 0), (2, 1)],
    &[(1, 0), (2, 1), (3, 2)],
    &[(1, 0), (2, 1), (0, 2)],
];

/// What a seed switches on, each with a chance of its own.
#[derive(Clone, Debug, Default)]
struct Features {
    codec: AnyCodec,
    /// `auth` that takes up to so many milliseconds.
    auth: Option<u64>,
    /// Filters and maps that take up to so many milliseconds.
    callbacks: Option<u64>,
    /// Events that no filter lets through until this is true.
    private: Option<Arc<AtomicBool>>,
    fix_time: bool,
    /// Clocks that are never set.
    steady: bool,
    /// Processes that come back with an empty log.
    replaced: bool,
    /// What is wrong with the stores.
    broken: Option<Broken>,
}

impl Features {
    fn draw(random: &mut Rng) -> Self {
        let callbacks = random.bool().then(|| [0, 3, 300][random.usize(..3)]);
        Self {
            codec: AnyCodec::default(),
            auth: random.bool().then(|| [0, 50, 2_000][random.usize(..3)]),
            callbacks,
            private: (callbacks.is_some() && random.bool()).then(Arc::default),
            fix_time: random.u8(..3) == 0,
            steady: random.bool(),
            replaced: random.u8(..4) == 0,
            broken: None,
        }
    }

    fn options(&self, random: &mut Rng) -> SyncOptions<u64> {
        let mut options = SyncOptions::new()
            .timeout(Duration::from_secs(15))
            .ping(Duration::from_secs(10))
            .batch(random.usize(1..40))
            .window(random.usize(1..=MAX_WINDOW))
            .fix_time(self.fix_time);
        if let Some(max) = self.auth {
            let wait = waits(max, random.u64(..));
            options = options.auth(move |_| {
                let wait = wait();
                async move {
                    wait.await;
                    true
                }
            });
        }
        if let Some(max) = self.callbacks {
            let [filter, map, out, out_map] = [(); 4].map(|()| waits(max, random.u64(..)));
            let open = self.private.clone();
            options = options
                .in_filter(move |_, _| {
                    let wait = filter();
                    async move {
                        wait.await;
                        Ok(true)
                    }
                })
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
                        Ok(open || !is_private(entry.event))
                    }
                });
        }
        options
    }
}

const MAX_WINDOW: usize = 4;

/// Waits of up to so many milliseconds, drawn from a seed.
fn waits(max: u64, seed: u64) -> impl Fn() -> Sleep + Send + Sync + Clone {
    let random = Arc::new(Mutex::new(Rng::with_seed(seed)));
    move || sleep(Duration::from_millis(random.lock().unwrap().u64(..=max)))
}

/// What the checks know.
struct Checks {
    stores: BTreeMap<NodeId, Arc<Disk>>,
    /// By connection and sender: what was sent over it.
    sent: HashMap<(u64, NodeId), HashSet<EventId>>,
    /// By connection and sender: how many `sync` wait for their `synced`.
    waiting: HashMap<(u64, NodeId), usize>,
    features: Features,
    /// Whether a log was replaced: what was known of it is void.
    replaced: bool,
    /// How far each check has come: what was true of a position stays true.
    checked: HashMap<(Check, NodeId, NodeId), u64>,
    violations: Vec<String>,
    frames: u64,
    trace: DefaultHasher,
    start: Instant,
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    Confirmed,
    SentOver(u64),
    CursorSent,
    CursorReceived,
}

struct Node {
    id: NodeId,
    disk: Arc<Disk>,
    max_store_delay: Duration,
    clock_offset: Arc<AtomicI64>,
    features: Features,
    dials: Option<NodeId>,
    accepts: bool,
    running: Option<Running>,
}

struct Running {
    store: Arc<SlowStore>,
    log: Log<u64>,
    server: Option<RunningServer>,
    client: Option<Session>,
}

/// What happens to the nodes.
#[derive(Clone, Copy)]
pub(crate) enum Script {
    /// Whatever the seed draws.
    Anything,
    /// The same, on stores that are broken.
    OnBroken(Broken),
    /// A client and a server that both add, and a first connection that is cut after so many
    /// frames.
    CutAfter(u32),
}

#[expect(clippy::too_many_lines, reason = "one life of one world, from its start to its end")]
pub(crate) async fn run(script: Script, seed: u64, verbose: bool) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let (shape, max_store_delay, max_delay) = match script {
        Script::Anything | Script::OnBroken(_) => (
            SHAPES[random.usize(..SHAPES.len())],
            [0, 0, 5, 500][random.usize(..4)],
            [1, 20, 1_000, 10_000][random.usize(..4)],
        ),
        Script::CutAfter(_) => (SHAPES[0], 2, 5),
    };
    let mut features = match script {
        Script::Anything => Features::draw(&mut random),
        Script::OnBroken(broken) => {
            Features { broken: Some(broken), ..Features::draw(&mut random) }
        }
        Script::CutAfter(_) => Features::default(),
    };
    features.codec = AnyCodec::of(seed);
    let max_store_delay = Duration::from_millis(max_store_delay);
    let max_delay = Duration::from_millis(max_delay);
    let names = ["server", "10:a", "11:b:tab", "12:c"];
    let count = shape.iter().map(|(client, _)| client + 1).max().unwrap();
    let ids: Vec<NodeId> = names[..count].iter().map(|name| name.parse().unwrap()).collect();

    if verbose {
        println!("{shape:?}, {features:?}");
    }
    let start = Instant::now();
    let checks = Arc::new(Mutex::new(Checks {
        stores: BTreeMap::new(),
        sent: HashMap::new(),
        waiting: HashMap::new(),
        features: features.clone(),
        replaced: false,
        checked: HashMap::new(),
        violations: Vec::new(),
        frames: 0,
        trace: DefaultHasher::new(),
        start,
        verbose,
    }));
    let tap: Tap = {
        let checks = Arc::clone(&checks);
        Arc::new(move |link, from, to, frame| checks.lock().unwrap().frame(link, from, to, frame))
    };
    let network = Network::new(random.u64(..), max_delay, tap);
    if let Script::CutAfter(frames) = script {
        network.cut_first_after(frames);
    }

    let mut nodes: Vec<Node> = ids
        .iter()
        .enumerate()
        .map(|(index, _)| Node::new(index, &ids, shape, max_store_delay, &features, &mut random))
        .collect();
    for node in &mut nodes {
        checks.lock().unwrap().stores.insert(node.id.clone(), Arc::clone(&node.disk));
        node.start(&network, start, &mut random).await;
    }

    let events = match script {
        Script::Anything | Script::OnBroken(_) => {
            live(&mut nodes, &network, &checks, start, &mut random).await
        }
        Script::CutAfter(_) => add_on_both(&nodes).await,
    };
    network.heal();
    if let Some(open) = &features.private {
        open.store(true, Ordering::Relaxed);
    }
    let settled = timeout(Duration::from_secs(60 * 60), async {
        while !are_settled(&nodes, events, features.fix_time).await {
            for node in &nodes {
                node.reevaluate().await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
    let settled = settled.await.is_ok();
    let wrong_times = match &*nodes {
        [server, client] if features.fix_time && features.steady && !features.replaced => {
            wrong_times(server, client, max_delay).await
        }
        _ => Vec::new(),
    };
    let mut checks = checks.lock().unwrap();
    checks.violations.extend(wrong_times);
    if !settled {
        let states: Vec<_> = nodes.iter().map(Node::state).collect();
        checks.violate(format!("the nodes do not come to rest: {states:?}"));
    }
    checks.stores_agree_with_cursors();
    checks.order_of_each_origin_is_kept();
    let stores = std::mem::take(&mut checks.stores);
    for store in stores.values() {
        let mut mirror = store.mirror.lock().unwrap();
        checks.violations.append(&mut mirror.violations);
        if mirror.entries.len() as u64 != events {
            let held = mirror.entries.len();
            checks.violations.push(format!("a log holds {held} of {events} events"));
        }
    }
    Outcome {
        violations: std::mem::take(&mut checks.violations),
        events,
        frames: checks.frames,
        cuts: network.cuts(),
        trace: checks.trace.finish(),
    }
}

/// Both sides add, a little at a time; answers how many events were added.
async fn add_on_both(nodes: &[Node]) -> u64 {
    let mut events = 0;
    for _ in 0..20 {
        for node in nodes {
            node.add_batch(events + 1..events + 4).await;
            events += 3;
        }
        sleep(Duration::from_millis(3)).await;
    }
    events
}

/// Lets things happen; answers how many events were added.
async fn live(
    nodes: &mut [Node],
    network: &Network,
    checks: &Mutex<Checks>,
    start: Instant,
    random: &mut Rng,
) -> u64 {
    let mut events = 0;
    for _ in 0..random.usize(10..80) {
        let index = random.usize(..nodes.len());
        match random.u8(..100) {
            0..40 => {
                for _ in 0..random.u64(1..8) {
                    events += 1;
                    nodes[index].add(events).await;
                }
            }
            40..48 => {
                let batch = random.u64(1..100);
                nodes[index].add_batch(events + 1..events + 1 + batch).await;
                events += batch;
            }
            48..78 => sleep(Duration::from_millis(random.u64(..3_000))).await,
            78..86 => network.disturb(&nodes[index].id, false),
            86..90 => network.disturb(&nodes[index].id, true),
            90..95 if !nodes[index].features.steady => {
                let step = random.i64(-3_600_000..3_600_000);
                nodes[index].clock_offset.fetch_add(step, Ordering::Relaxed);
            }
            _ => {
                // A process dies at once, and another takes its place.
                network.disturb(&nodes[index].id, false);
                if let Some(running) = nodes[index].running.take() {
                    running.store.kill();
                }
                sleep(Duration::from_millis(random.u64(..2_000))).await;
                if nodes[index].features.replaced && random.bool() {
                    checks.lock().unwrap().replace_log(nodes, index, random.u64(..));
                }
                nodes[index].start(network, start, random).await;
            }
        }
        checks.lock().unwrap().stores_agree_with_cursors();
    }
    events
}

/// With fixed times the order of creation is the same only where clocks agree.
async fn are_settled(nodes: &[Node], events: u64, fix_time: bool) -> bool {
    let mut first = None;
    for node in nodes {
        let Some(running) = &node.running else { return false };
        let session = running.client.as_ref();
        if session.is_some_and(|session| session.state() != State::Synchronized)
            || running.log.last_added().value() != events
        {
            return false;
        }
        let entries = running.log.entries_created_after(None, usize::MAX).await.unwrap();
        let place = |entry: &Arc<Entry<u64>>| {
            let time = if fix_time { Timestamp::ZERO } else { entry.meta.time };
            (entry.meta.id.clone(), time, entry.event)
        };
        let mut ids: Vec<_> = entries.iter().map(place).collect();
        if fix_time {
            ids.sort();
        }
        if *first.get_or_insert_with(|| ids.clone()) != ids {
            return false;
        }
    }
    true
}

/// Each event's time is by the clock of the log that holds it, as exactly as the delays allow.
async fn wrong_times(server: &Node, client: &Node, max_delay: Duration) -> Vec<String> {
    let offset = |node: &Node| node.clock_offset.load(Ordering::Relaxed);
    let expected = offset(client) - offset(server);
    let tolerance = 1_000 + 4 * u64::try_from(max_delay.as_millis()).unwrap();
    let (Some(server), Some(client)) = (&server.running, &client.running) else { panic!() };
    let mut wrong = Vec::new();
    for here in client.log.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
        let there = server.log.by_id(&here.meta.id).await.unwrap();
        let difference = there.map(|there| here.meta.time.since(there.meta.time));
        if difference.is_some_and(|found| found.abs_diff(expected) > tolerance) {
            wrong.push(format!(
                "{:?} ms between the times of {}, not {expected}",
                difference, here.meta.id
            ));
        }
    }
    wrong
}

impl Node {
    fn new(
        index: usize,
        ids: &[NodeId],
        shape: &[(usize, usize)],
        max_store_delay: Duration,
        features: &Features,
        random: &mut Rng,
    ) -> Self {
        let dials = shape.iter().find(|(client, _)| *client == index);
        Self {
            id: ids[index].clone(),
            disk: Arc::new(Disk::new(random.u64(..))),
            max_store_delay,
            clock_offset: Arc::new(AtomicI64::new(random.i64(-600_000..600_000))),
            features: features.clone(),
            dials: dials.map(|&(_, to)| ids[to].clone()),
            accepts: shape.iter().any(|&(_, to)| to == index),
            running: None,
        }
    }

    /// Asks the filters again, once nothing is private any more.
    async fn reevaluate(&self) {
        let Some(running) = self.running.as_ref().filter(|_| self.features.private.is_some())
        else {
            return;
        };
        if let Some(client) = &running.client {
            client.reevaluate().await;
        }
        for session in running.server.iter().flat_map(RunningServer::sessions) {
            session.reevaluate().await;
        }
    }

    async fn start(&mut self, network: &Network, start: Instant, random: &mut Rng) {
        let offset = Arc::clone(&self.clock_offset);
        let clock = Clock::new(move || {
            // A time as good as any, plus what passed.
            let passed = i64::try_from(start.elapsed().as_millis()).unwrap();
            let now = 1_790_000_000_000 + passed + offset.load(Ordering::Relaxed);
            Timestamp::new(now.cast_unsigned()).unwrap()
        });
        let broken = self.features.broken;
        let store = SlowStore::new(&self.disk, random.u64(..), self.max_store_delay, broken);
        let store = Arc::new(store);
        let dyn_store = Arc::clone(&store) as Arc<dyn Store<u64>>;
        let log = Log::open_with(self.id.clone(), dyn_store, clock).await.unwrap();
        let options = self.features.options(random);
        let server = self.accepts.then(|| {
            Server::new(&log, self.features.codec, network.listener(&self.id))
                .options(options.clone())
                .start()
        });
        let client = self.dials.as_ref().map(|to| {
            let transport = network.transport(&self.id, to);
            let transport = Reconnect::new(transport)
                .first_delay(Duration::from_millis(100))
                .min_delay(Duration::ZERO)
                .max_delay(Duration::from_secs(5))
                .seed(random.u64(..));
            ClientSync::new(&log, self.features.codec, transport).options(options).start()
        });
        self.running = Some(Running { store, log, server, client });
    }

    async fn add(&self, event: u64) {
        if let Some(running) = &self.running {
            running.log.add(event).await.unwrap();
        }
    }

    async fn add_batch(&self, events: std::ops::Range<u64>) {
        if let Some(running) = &self.running {
            running.log.add_batch(events).await.unwrap();
        }
    }

    fn state(&self) -> (NodeId, usize, Option<State>, Option<usize>) {
        let running = self.running.as_ref();
        (
            self.id.clone(),
            self.disk.mirror.lock().unwrap().entries.len(),
            running.and_then(|running| running.client.as_ref()).map(|session| session.state()),
            running.and_then(|running| running.server.as_ref()).map(RunningServer::connections),
        )
    }
}

impl Checks {
    fn violate(&mut self, what: impl std::fmt::Display) {
        let at = self.start.elapsed().as_millis();
        self.violations.push(format!("at {at} ms: {what}"));
    }

    /// Looks at a frame in the moment in which it is sent.
    fn frame(&mut self, link: u64, from: &NodeId, to: &NodeId, frame: &[u8]) {
        self.frames += 1;
        let at = self.start.elapsed().as_millis();
        (link, from, to, frame, at).hash(&mut self.trace);
        if self.verbose {
            let text = String::from_utf8_lossy(&frame[..frame.len().min(100)]);
            println!("{at:>8} ms  #{link} {from} -> {to}  {text}");
        }
        let message: Message<u64> = self.features.codec.decode(frame, Limits::default()).unwrap();
        match message {
            Message::Sync(sync) => {
                let waiting = self.waiting.entry((link, from.clone())).or_default();
                *waiting += 1;
                if *waiting > MAX_WINDOW {
                    self.violate(format!("more than {MAX_WINDOW} messages wait for {to}"));
                }
                for (event, meta) in &sync.entries {
                    let open = self.features.private.as_ref();
                    if is_private(*event) && open.is_some_and(|open| !open.load(Ordering::Relaxed))
                    {
                        self.violate(format!("{from} sends {to} the private event {event}"));
                    }
                    let base_time = Timestamp::ZERO;
                    let id = Protocol::V7.event_id(meta.id.clone(), from, base_time).unwrap();
                    if !self.replaced && self.came_from(from, &id) == Some(to.clone()) {
                        self.violate(format!("{from} sends {id} back to {to}"));
                    }
                    let sent = self.sent.entry((link, from.clone())).or_default();
                    if !sent.insert(id.clone()) && !self.replaced {
                        self.violate(format!("{from} sends {id} to {to} twice"));
                    }
                }
                self.all_was_sent(link, from, to, sync.added.value(), "sync");
            }
            // I1: what is confirmed is stored.
            Message::Synced(added) => {
                let waiting = self.waiting.entry((link, to.clone())).or_default();
                *waiting = waiting.saturating_sub(1);
                for (id, _) in self.unchecked(Check::Confirmed, to, from, added.value()) {
                    if !self.has(from, &id) {
                        self.violate(format!("{from} confirms {added}, but does not have {id}"));
                    }
                }
            }
            // I2: what these carry was sent.
            Message::Ready(added) => self.all_was_sent(link, from, to, added.value(), "ready"),
            Message::Ping(added) => self.all_was_sent(link, from, to, added.value(), "ping"),
            Message::Pong(added) => self.all_was_sent(link, from, to, added.value(), "pong"),
            Message::Error(error) => self.violate(format!("{from} complains: {error}")),
            _ => {}
        }
    }

    /// Everything up to a position is at the peer, or on its way on this connection.
    fn all_was_sent(&mut self, link: u64, from: &NodeId, to: &NodeId, added: u64, kind: &str) {
        if self.replaced {
            // What a peer claims to have may be of the log before; it will say so itself.
            return;
        }
        for (id, source) in self.unchecked(Check::SentOver(link), from, to, added) {
            let sent = self.sent.get(&(link, from.clone())).is_some_and(|sent| sent.contains(&id));
            if source.as_ref() != Some(to) && !sent && !self.has(to, &id) {
                self.violate(format!("{from} sends {kind} {added} to {to}, but not {id}"));
            }
        }
    }

    /// I2 at rest: a cursor passes only what is there.
    fn stores_agree_with_cursors(&mut self) {
        if self.replaced {
            // A peer is not known to have another log before it says so.
            return;
        }
        let mut cursors = Vec::new();
        for (node, store) in &self.stores {
            let mirror = store.mirror.lock().unwrap();
            cursors.extend(mirror.cursors.iter().map(|(peer, c)| (node.clone(), peer.clone(), *c)));
        }
        for (node, peer, cursors) in cursors {
            for (id, _) in self.unchecked(Check::CursorSent, &node, &peer, cursors.sent.value()) {
                if !self.has(&peer, &id) {
                    self.violate(format!("{node} believes that {peer} has {id}"));
                }
            }
            let received = cursors.received.value();
            for (id, _) in self.unchecked(Check::CursorReceived, &peer, &node, received) {
                if !self.has(&node, &id) {
                    self.violate(format!("{node} believes to have {id} of {peer}"));
                }
            }
        }
    }

    /// I3: in every log, the events of a node stand in the order in which it made them.
    ///
    /// Not so for what was private, nor for what came back to a node that had forgotten it.
    fn order_of_each_origin_is_kept(&mut self) {
        if self.replaced {
            return;
        }
        let mut wrong = Vec::new();
        for (node, store) in &self.stores {
            let mut last: HashMap<NodeId, Timestamp> = HashMap::new();
            let mirror = store.mirror.lock().unwrap();
            let private =
                |id: &EventId| self.features.private.is_some() && mirror.private.contains(id);
            for (id, _) in mirror.entries.iter().filter(|(id, _)| !private(id)) {
                let before = last.insert(id.node().clone(), id.time());
                if before.is_some_and(|before| before >= id.time()) {
                    wrong.push(format!("in the log of {node}, {id} comes too late"));
                }
            }
        }
        for what in wrong {
            self.violate(what);
        }
    }

    /// The events of a log up to a position that this check has not seen.
    fn unchecked(
        &mut self,
        check: Check,
        log: &NodeId,
        other: &NodeId,
        added: u64,
    ) -> Vec<(EventId, Option<NodeId>)> {
        let from = self.checked.entry((check, log.clone(), other.clone())).or_default();
        let start = usize_of(*from);
        *from = added.max(*from);
        let mirror = self.stores[log].mirror.lock().unwrap();
        let end = usize_of(added).min(mirror.entries.len());
        let held = mirror.entries.get(start..end).unwrap_or_default().iter();
        let private = |id: &EventId| self.features.private.is_some() && mirror.private.contains(id);
        held.filter(|(id, _)| !private(id)).cloned().collect()
    }

    /// Puts an empty log in the place of a node's, if nothing is lost by that.
    fn replace_log(&mut self, nodes: &mut [Node], index: usize, epoch: u64) {
        let id = nodes[index].id.clone();
        let held: Vec<EventId> =
            self.stores[&id].mirror.lock().unwrap().ids.keys().cloned().collect();
        let elsewhere = |event: &EventId| {
            self.stores.keys().any(|other| *other != id && self.has(other, event))
        };
        if !held.iter().all(elsewhere) {
            return;
        }
        let disk = Arc::new(Disk::new(epoch));
        nodes[index].disk = Arc::clone(&disk);
        let violations = std::mem::take(&mut self.stores[&id].mirror.lock().unwrap().violations);
        self.violations.extend(violations);
        self.stores.insert(id.clone(), disk);
        for store in self.stores.values() {
            store.may_reset.store(true, Ordering::Relaxed);
        }
        self.checked.retain(|(_, log, other), _| *log != id && *other != id);
        self.replaced = true;
        // A node that forgets what ids it gave needs a clock that was not set back.
        nodes[index].clock_offset.fetch_add(7_200_000, Ordering::Relaxed);
    }

    fn has(&self, node: &NodeId, id: &EventId) -> bool {
        self.stores[node].mirror.lock().unwrap().ids.contains_key(id)
    }

    fn came_from(&self, node: &NodeId, id: &EventId) -> Option<NodeId> {
        self.stores[node].mirror.lock().unwrap().ids.get(id).cloned().flatten()
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
