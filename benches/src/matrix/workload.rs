//! What the two nodes do, and the proof that all has arrived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use logux_sync::{
    Added, ClientSync, Codec, Entry, EventId, Listener, Log, MemoryStore, RunningServer, Server,
    Session, State, Transport,
};

use super::process;
use super::wire::Wire;
use crate::counter::Counter;

/// What is measured: see [`Matrix`](crate::Matrix).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    OneWay,
    BothWays,
    Confirmation,
    CatchUp,
    Footprint,
}

/// What a run took, set-up and proof left out.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) took: Duration,
    /// Of all threads.
    pub(super) cpu: Option<Duration>,
    /// Both ways: those of the wire, or of the frames if the wire counts none.
    pub(super) bytes: u64,
    /// Of each event, in [`Workload::Confirmation`].
    pub(super) latencies: Vec<Duration>,
    /// By how many bytes the process grew beyond what it had once the nodes were connected, at most.
    pub(super) growth: Option<u64>,
}

/// What no run takes, unless an event was lost.
const LIMIT: Duration = Duration::from_secs(60);

/// A client and a server, each with its log, on one connection.
struct Nodes {
    near: Log<Counter>,
    far: Log<Counter>,
    client: Session,
    server: RunningServer,
}

impl Workload {
    pub(super) const ALL: [Self; 5] =
        [Self::OneWay, Self::BothWays, Self::Confirmation, Self::CatchUp, Self::Footprint];

    /// The last part of an id.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneWay => "one-way",
            Self::BothWays => "both-ways",
            Self::Confirmation => "confirmation",
            Self::CatchUp => "catch-up",
            Self::Footprint => "footprint",
        }
    }

    /// How many events travel.
    pub(super) fn events(self) -> u64 {
        let (by_client, by_server) = self.events_by();
        by_client + by_server
    }

    /// How many the client makes, and how many the server.
    fn events_by(self) -> (u64, u64) {
        match self {
            Self::OneWay => (20_000, 0),
            Self::BothWays => (10_000, 10_000),
            Self::Confirmation => (1000, 0),
            Self::CatchUp => (0, 10_000),
            Self::Footprint => (100_000, 0),
        }
    }

    /// The one function for all codecs and transports.
    ///
    /// # Panics
    /// Where an event is missing afterwards, is there twice or out of order, or is not what was added;
    /// where that takes more than a minute.
    pub(super) async fn run<C: Codec>(
        self,
        codec: &C,
        transport: impl Transport,
        listener: impl Listener,
        wire: &Wire,
    ) -> Run {
        let run = self.run_without_end(codec, transport, listener, wire);
        tokio::time::timeout(LIMIT, run).await.expect("the events are here within a minute")
    }

    async fn run_without_end<C: Codec>(
        self,
        codec: &C,
        transport: impl Transport,
        listener: impl Listener,
        wire: &Wire,
    ) -> Run {
        let (by_client, by_server) = self.events_by();
        let (near, far) = (log("client").await, log("server").await);
        let mut latencies = Vec::new();
        if self == Self::CatchUp {
            far.add_batch((0..by_server).map(event)).await.expect("added");
        }
        let mut start = Start::now();
        let server = Server::new(&far, codec.clone(), listener).start();
        let client = ClientSync::new(&near, codec.clone(), transport).start();
        let nodes = Nodes { near, far, client, server };
        let (mut bytes_before, mut resident) = (0, None);
        if self != Self::CatchUp {
            nodes.in_step().await;
            bytes_before = nodes.bytes(wire);
            if self == Self::Footprint {
                resident = process::resident();
            }
            start = Start::now();
        }
        match self {
            Self::OneWay | Self::Footprint => add(&nodes.near, by_client).await,
            Self::BothWays => {
                tokio::join!(add(&nodes.near, by_client), add(&nodes.far, by_server));
            }
            Self::Confirmation => {
                for value in 0..by_client {
                    let start = Instant::now();
                    nodes.near.add(event(value)).await.expect("added");
                    nodes.client.wait_for(State::Synchronized).await.unwrap();
                    latencies.push(start.elapsed());
                }
            }
            Self::CatchUp => {}
        }
        nodes.in_step().await;
        let (took, cpu) = start.elapsed();
        let growth =
            resident.and_then(|before| Some(process::resident()?.most.saturating_sub(before.now)));
        let bytes = nodes.bytes(wire) - bytes_before;
        nodes.prove(by_client, by_server).await;
        Run { took, cpu, bytes, latencies, growth }
    }
}

/// When something began, by the clock and by what this process had run.
struct Start {
    time: Instant,
    cpu: Option<Duration>,
}

impl Start {
    fn now() -> Self {
        Self { cpu: process::cpu_time(), time: Instant::now() }
    }

    fn elapsed(&self) -> (Duration, Option<Duration>) {
        let took = self.time.elapsed();
        (took, self.cpu.and_then(|before| process::cpu_time()?.checked_sub(before)))
    }
}

impl Nodes {
    /// Waits until each node knows that the other has all its events.
    async fn in_step(&self) {
        self.client.wait_for(State::Synchronized).await.unwrap();
        let session = loop {
            match self.server.sessions().pop() {
                Some(session) => break session,
                // The client was quicker than the server's list.
                None => tokio::task::yield_now().await,
            }
        };
        session.wait_for(State::Synchronized).await.unwrap();
    }

    fn bytes(&self, wire: &Wire) -> u64 {
        wire.bytes().unwrap_or_else(|| {
            let diagnostics = self.client.diagnostics();
            diagnostics.bytes_sent + diagnostics.bytes_received
        })
    }

    /// Closes the connection, and compares the logs with each other and with what was added.
    async fn prove(self, by_client: u64, by_server: u64) {
        self.client.close().await.expect("closed");
        self.server.shutdown(Duration::from_secs(5)).await;
        let (near, far) = (entries(&self.near).await, entries(&self.far).await);
        for (node, count) in [(&self.near, by_client), (&self.far, by_server)] {
            let (here, there) = (made_by(node, &near), made_by(node, &far));
            assert!(here == there, "the logs differ");
            assert!(here.is_sorted_by(|(a, _), (b, _)| a < b), "events are out of order or twice");
            let added = (0..count).map(event);
            assert!(
                here.iter().map(|(_, event)| (*event).clone()).eq(added),
                "events are missing or changed"
            );
        }
    }
}

async fn log(node: &str) -> Log<Counter> {
    Log::open(node.parse().expect("a node id"), MemoryStore::new()).await.expect("a log")
}

fn event(value: u64) -> Counter {
    Counter::Inc { value }
}

/// Adds events as most programs do: one by one.
async fn add(log: &Log<Counter>, count: u64) {
    for value in 0..count {
        log.add(event(value)).await.expect("added");
        // A store in memory never waits: let the sessions run, where they have no thread of their own.
        tokio::task::consume_budget().await;
    }
}

async fn entries(log: &Log<Counter>) -> Vec<Arc<Entry<Counter>>> {
    log.entries_after(Added::ZERO, usize::MAX).await.expect("read")
}

/// The events that a node has made, in the order in which they came to a log.
fn made_by<'a>(
    node: &Log<Counter>,
    entries: &'a [Arc<Entry<Counter>>],
) -> Vec<(&'a EventId, &'a Counter)> {
    let own = entries.iter().filter(|entry| entry.meta.id.node() == node.node_id());
    own.map(|entry| (&entry.meta.id, &entry.event)).collect()
}
