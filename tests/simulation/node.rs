//! A node: its disk, its clock, and the process that runs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use logux_sync::{
    ClientSync, Clock, Delivery, Entry, Log, LogOptions, NodeId, Reconnect, RunningServer, Server,
    Session, State, Store, Timestamp,
};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::checks::{Adding, Checks};
use crate::event::Number;
use crate::features::Features;
use crate::network::Network;
use crate::store::{Disk, SlowStore};

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: Arc<Disk>,
    max_store_delay: Duration,
    pub(crate) time: NodeTime,
    /// By how many milliseconds its clock is wrong for now.
    jump: i64,
    /// When it made its last events while its clock was right.
    last_right: Option<Timestamp>,
    /// The latest that its clock has said to the process that runs.
    latest: Timestamp,
    /// The time in the last id that it gave, as far as it must know it.
    last_id: Timestamp,
    pub(crate) features: Features,
    pub(crate) dials: Option<NodeId>,
    pub(crate) accepts: bool,
    pub(crate) running: Option<Running>,
}

pub(crate) struct Running {
    pub(crate) store: Arc<SlowStore>,
    pub(crate) log: Log<Number>,
    pub(crate) server: Option<RunningServer>,
    pub(crate) client: Option<Session>,
    consuming: Option<AbortHandle>,
}

/// Nothing goes on in a process that is dead.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(consuming) = &self.consuming {
            consuming.abort();
        }
    }
}

/// Takes all events, each at least once; now and then it fails, or acknowledges two in the other order.
async fn consume(log: Log<Number>, disk: Arc<Disk>, max_ms: u64, mut random: Rng) {
    let mut consumer = log.consumer("audit").await.unwrap().max_waiting(8);
    disk.mirror.lock().unwrap().consumer_began(consumer.position());
    let mut late = None;
    loop {
        let delivery = consumer.next().await.unwrap();
        disk.mirror.lock().unwrap().delivered(&delivery);
        sleep(Duration::from_millis(random.u64(..=max_ms))).await;
        match random.u8(..8) {
            // It comes again.
            0 => drop(delivery),
            1 if late.is_none() => late = Some(delivery),
            _ => {
                let position = delivery.meta.added;
                delivery.ack().await.unwrap();
                disk.mirror.lock().unwrap().acknowledged.insert(position.value());
                if let Some(late) = late.take() {
                    let position = Delivery::entry(&late).meta.added;
                    late.ack().await.unwrap();
                    disk.mirror.lock().unwrap().acknowledged.insert(position.value());
                }
            }
        }
    }
}

/// The time of day at a node.
#[derive(Clone)]
pub(crate) struct NodeTime {
    start: Instant,
    offset: Arc<AtomicI64>,
}

impl NodeTime {
    pub(crate) fn now(&self) -> Timestamp {
        // A time as good as any, plus what passed.
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap();
        let now = 1_790_000_000_000 + passed + self.offset();
        Timestamp::new(now.cast_unsigned()).unwrap()
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    pub(crate) fn step(&self, milliseconds: i64) {
        self.offset.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Node {
    pub(crate) fn new(
        index: usize,
        ids: &[NodeId],
        shape: &[(usize, usize)],
        max_store_delay: Duration,
        features: &Features,
        start: Instant,
        random: &mut Rng,
    ) -> Self {
        let dials = shape.iter().find(|(client, _)| *client == index);
        let disk = Arc::new(Disk::new(random.u64(..), features.hostile.clone()));
        let offset = Arc::new(AtomicI64::new(random.i64(-600_000..600_000)));
        let mut node = Self {
            id: ids[index].clone(),
            disk,
            max_store_delay,
            time: NodeTime { start, offset },
            jump: 0,
            last_right: None,
            latest: Timestamp::ZERO,
            last_id: Timestamp::ZERO,
            features: features.clone(),
            dials: dials.map(|&(_, to)| ids[to].clone()),
            accepts: shape.iter().any(|&(_, to)| to == index),
            running: None,
        };
        if features.wild && random.bool() {
            node.set_clock(random);
        }
        node
    }

    /// Asks the filters again, once nothing is private any more.
    pub(crate) async fn reevaluate(&self) {
        let Some(running) = self.running.as_ref().filter(|_| self.features.private.is_some())
        else {
            return;
        };
        if let Some(client) = &running.client {
            client.reevaluate().await;
        }
        for session in running.server.iter().flat_map(|server| server.sessions()) {
            session.reevaluate().await;
        }
    }

    pub(crate) async fn start(&mut self, network: &Network, random: &mut Rng) {
        let time = self.time.clone();
        self.latest = time.now();
        if self.features.wild || self.features.replaced {
            // It does not go on from the far future, nor from what it has lost.
            self.last_id = Timestamp::ZERO;
        }
        let broken = self.features.broken;
        let store = SlowStore::new(&self.disk, random.u64(..), self.max_store_delay, broken);
        let store = Arc::new(store);
        let dyn_store = Arc::clone(&store) as Arc<dyn Store<Number>>;
        let log_options = LogOptions::new()
            .clock(Clock::new(move || time.now()))
            .event_limits(self.features.event_limits());
        let log = Log::open_with(self.id.clone(), dyn_store, log_options).await.unwrap();
        let options = self.features.options(self.dials.as_ref(), random);
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
        let consuming = self.features.consumes.map(|max| {
            let random = random.clone().fork();
            tokio::spawn(consume(log.clone(), Arc::clone(&self.disk), max, random)).abort_handle()
        });
        self.running = Some(Running { store, log, server, client, consuming });
    }

    /// Sets the clock, by up to an hour; or, where clocks are wild, by days, and the next time back.
    pub(crate) fn set_clock(&mut self, random: &mut Rng) {
        self.latest = self.latest.max(self.time.now());
        if !self.features.wild {
            self.time.step(random.i64(-3_600_000..3_600_000));
        } else if self.jump == 0 {
            self.jump = random.i64(2..400) * 24 * 3_600_000 + random.i64(0..3_600_000);
            self.time.step(self.jump);
        } else {
            self.correct_clock();
            if let Some(last) = self.last_right.filter(|_| !self.features.replaced) {
                // To a moment in which the node has made events.
                self.time.step(last.since(self.time.now()) - random.i64(0..20));
            }
        }
    }

    /// Whether its clock is wrong by days.
    pub(crate) const fn is_wrong(&self) -> bool {
        self.jump != 0
    }

    /// Its clock is not wrong any more.
    pub(crate) fn correct_clock(&mut self) {
        self.time.step(-std::mem::take(&mut self.jump));
    }

    pub(crate) async fn add(&mut self, number: u64, checks: &Mutex<Checks>) {
        let Some(running) = &self.running else { return };
        let from = self.time.now();
        let entry = running.log.add(Number(number)).await.unwrap();
        self.added(from, number, &[entry], checks);
    }

    pub(crate) async fn add_batch(
        &mut self,
        numbers: std::ops::Range<u64>,
        checks: &Mutex<Checks>,
    ) {
        let Some(running) = &self.running else { return };
        let (from, first) = (self.time.now(), numbers.start);
        let entries = running.log.add_batch(numbers.map(Number)).await.unwrap();
        self.added(from, first, &entries, checks);
    }

    fn added(
        &mut self,
        from: Timestamp,
        first: u64,
        entries: &[Arc<Entry<Number>>],
        checks: &Mutex<Checks>,
    ) {
        let now = self.time.now();
        self.latest = self.latest.max(now);
        if self.jump == 0 {
            self.last_right = Some(from);
        }
        let mut checks = checks.lock().unwrap();
        let id = |entry: &Arc<Entry<Number>>| entry.meta.id.time();
        for (place, (entry, number)) in entries.iter().zip(first..).enumerate() {
            let is_passed = entries[place..].iter().any(|later| id(later) < id(entry));
            checks.added(&Adding {
                node: &self.id,
                entry,
                number: Number(number),
                during: from..=now,
                latest: self.latest,
                last_id: self.last_id,
                is_wild: self.jump != 0,
                is_late: self.features.wild && is_passed,
            });
        }
        self.last_id = entries.iter().map(id).max().unwrap_or(self.last_id);
    }

    pub(crate) fn state(&self) -> (NodeId, usize, Option<State>, Option<usize>) {
        let running = self.running.as_ref();
        (
            self.id.clone(),
            self.disk.mirror.lock().unwrap().entries.len(),
            running.and_then(|running| running.client.as_ref()).map(|session| session.state()),
            running.and_then(|running| running.server.as_ref()).map(|server| server.connections()),
        )
    }
}
