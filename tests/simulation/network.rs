//! A network in virtual time: every frame takes a while, every connection may end at any frame.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use logux_sync::transports::{Format, FrameReceiver, FrameSender, Link, LinkInfo};
use logux_sync::{Listener, NodeId, Transport};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// Frames that wait in a direction before a sender has to.
const CAPACITY: usize = 8;

pub(crate) type SimulatedLink = Link<Sender, Receiver>;

/// Is told each frame that is sent: the number of the connection, from whom to whom, and the frame.
pub(crate) type Tap = Arc<dyn Fn(u64, &NodeId, &NodeId, &[u8]) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Network {
    shared: Arc<Mutex<Shared>>,
    tap: Tap,
}

struct Shared {
    random: Rng,
    listeners: HashMap<NodeId, mpsc::Sender<SimulatedLink>>,
    connections: Vec<Connection>,
    faulty: bool,
    /// A plan for the next connection.
    cuts_first_after: Option<u32>,
    max_delay: Duration,
    opened: u64,
    pub(crate) cuts: u64,
}

#[derive(Clone)]
struct Connection {
    nodes: [NodeId; 2],
    health: Arc<Watch>,
}

/// The health of a connection. Not tokio's `watch`: that one wakes in a random order.
struct Watch {
    health: Mutex<Health>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Whole,
    /// Frames vanish, and nobody is told.
    Silent,
    Cut,
}

impl Watch {
    fn get(&self) -> Health {
        *self.health.lock().unwrap()
    }

    fn set(&self, health: Health) {
        *self.health.lock().unwrap() = health;
        self.changed.notify_waiters();
    }

    async fn cut(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.get() == Health::Cut {
                return;
            }
            changed.await;
        }
    }
}

impl Network {
    pub(crate) fn new(seed: u64, max_delay: Duration, tap: Tap) -> Self {
        let shared = Shared {
            random: Rng::with_seed(seed),
            listeners: HashMap::new(),
            connections: Vec::new(),
            faulty: true,
            cuts_first_after: None,
            max_delay,
            opened: 0,
            cuts: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), tap }
    }

    pub(crate) fn transport(&self, from: &NodeId, to: &NodeId) -> SimulatedTransport {
        SimulatedTransport { network: self.clone(), from: from.clone(), to: to.clone() }
    }

    pub(crate) fn listener(&self, node: &NodeId) -> SimulatedListener {
        let (dial, dialled) = mpsc::channel(4);
        self.shared.lock().unwrap().listeners.insert(node.clone(), dial);
        SimulatedListener { dialled }
    }

    /// Cuts, or silences, each open connection of a node.
    pub(crate) fn disturb(&self, node: &NodeId, silent: bool) {
        let mut shared = self.shared.lock().unwrap();
        let shared = &mut *shared;
        for connection in shared.connections.iter().filter(|c| c.nodes.contains(node)) {
            shared.cuts += u64::from(connection.health.get() == Health::Whole);
            connection.health.set(if silent { Health::Silent } else { Health::Cut });
        }
    }

    /// The next connection is cut after so many frames, in both directions together.
    pub(crate) fn cut_first_after(&self, frames: u32) {
        self.shared.lock().unwrap().cuts_first_after = Some(frames);
    }

    /// From now on nothing goes wrong; what is silent is cut in the end by the nodes themselves.
    pub(crate) fn heal(&self) {
        self.shared.lock().unwrap().faulty = false;
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.shared.lock().unwrap().cuts
    }
}

pub(crate) struct SimulatedTransport {
    network: Network,
    from: NodeId,
    to: NodeId,
}

pub(crate) struct SimulatedListener {
    dialled: mpsc::Receiver<SimulatedLink>,
}

impl Transport for SimulatedTransport {
    type Sender = Sender;
    type Receiver = Receiver;

    async fn open(&mut self, _: Format, _: usize) -> io::Result<SimulatedLink> {
        let (near, far, dial) = {
            let mut shared = self.network.shared.lock().unwrap();
            let shared = &mut *shared;
            shared.opened += 1;
            shared.connections.retain(|c| Arc::strong_count(&c.health) > 1);
            let health =
                Arc::new(Watch { health: Mutex::new(Health::Whole), changed: Notify::new() });
            let cut_after = match shared.cuts_first_after.take() {
                Some(frames) => Some(frames),
                None => shared.faulty.then(|| shared.random.u32(1..200)),
            };
            let left = Arc::new(Mutex::new(cut_after));
            let end = |frames, sender, peer: &NodeId, own: &NodeId, seed| Link {
                sender: Sender {
                    frames: sender,
                    health: Arc::clone(&health),
                    random: Rng::with_seed(seed),
                    max_delay: shared.max_delay,
                    deliver_at: Instant::now(),
                    number: shared.opened,
                    own: own.clone(),
                    peer: peer.clone(),
                    left: Arc::clone(&left),
                    network: self.network.clone(),
                },
                receiver: Receiver { frames, waiting: None, health: Arc::clone(&health) },
                info: LinkInfo::default(),
            };
            let (to_far, from_near) = mpsc::channel(CAPACITY);
            let (to_near, from_far) = mpsc::channel(CAPACITY);
            let near = end(from_far, to_far, &self.to, &self.from, shared.random.u64(..));
            let far = end(from_near, to_near, &self.from, &self.to, shared.random.u64(..));
            shared
                .connections
                .push(Connection { nodes: [self.from.clone(), self.to.clone()], health });
            (near, far, shared.listeners.get(&self.to).cloned())
        };
        sleep(Duration::from_millis(10)).await;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        dial.ok_or_else(refused)?.send(far).await.map_err(|_| refused())?;
        Ok(near)
    }
}

impl Listener for SimulatedListener {
    type Sender = Sender;
    type Receiver = Receiver;

    async fn accept(&mut self, _: &[Format], _: usize) -> io::Result<SimulatedLink> {
        match self.dialled.recv().await {
            Some(link) => Ok(link),
            // Another process took over the name.
            None => std::future::pending().await,
        }
    }
}

pub(crate) struct Sender {
    frames: mpsc::Sender<(Instant, Bytes)>,
    health: Arc<Watch>,
    random: Rng,
    max_delay: Duration,
    deliver_at: Instant,
    number: u64,
    own: NodeId,
    peer: NodeId,
    /// Frames, in both directions, until the connection is cut.
    left: Arc<Mutex<Option<u32>>>,
    network: Network,
}

impl Sender {
    fn is_the_last_frame(&self) -> bool {
        let mut left = self.left.lock().unwrap();
        let Some(frames) = *left else { return false };
        *left = frames.checked_sub(1).filter(|&frames| frames > 0);
        let mut shared = self.network.shared.lock().unwrap();
        let last = left.is_none() && shared.faulty;
        shared.cuts += u64::from(last);
        last
    }
}

impl FrameSender for Sender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        if self.health.get() == Health::Cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        (self.network.tap)(self.number, &self.own, &self.peer, &frame);
        if self.is_the_last_frame() {
            self.health.set(Health::Cut);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let delay = self.max_delay.mul_f64(self.random.f64().powi(3));
        self.deliver_at = self.deliver_at.max(Instant::now() + delay);
        tokio::select! {
            biased;
            () = self.health.cut() => Err(io::ErrorKind::ConnectionReset.into()),
            sent = self.frames.send((self.deliver_at, frame)) => {
                sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    async fn close(self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Receiver {
    frames: mpsc::Receiver<(Instant, Bytes)>,
    waiting: Option<(Instant, Bytes)>,
    health: Arc<Watch>,
}

impl Receiver {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.waiting.is_none() {
                self.waiting = Some(self.frames.recv().await?);
            }
            let at = self.waiting.as_ref()?.0;
            sleep_until(at).await;
            let (_, frame) = self.waiting.take()?;
            if self.health.get() != Health::Silent {
                return Some(frame);
            }
        }
    }
}

impl FrameReceiver for Receiver {
    async fn receive(&mut self, _: usize) -> io::Result<Option<Bytes>> {
        let health = Arc::clone(&self.health);
        tokio::select! {
            biased;
            () = health.cut() => Err(io::ErrorKind::ConnectionReset.into()),
            frame = self.next() => Ok(frame),
        }
    }
}
