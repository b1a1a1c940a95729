//! Two logs in step: what a program does with them, and the proof that all has arrived.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use logux_benches::Counter;
use logux_sync::{
    Added, ClientSync, Clock, Codec, Listener, Log, MemoryStore, Page, RunningServer, Server,
    Session, State, Timestamp, Transport,
};

/// What the program does.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// The client adds, 100 events in a call, until all are confirmed.
    Batches,
    /// The client adds, an event in a call, until all are confirmed.
    OneByOne,
    /// The client adds each event when the one before is confirmed.
    Confirmations,
    /// A new client asks a server for all that it has.
    CatchUp,
}

impl Work {
    /// # Panics
    /// Where an event is missing afterwards, is there twice or out of order, or is not what was added.
    pub(crate) async fn run<C: Codec>(
        self,
        codec: C,
        (transport, listener): (impl Transport, impl Listener),
        events: u64,
    ) {
        let (near, far) = (log("client").await, log("server").await);
        if let Self::CatchUp = self {
            add_batches(&far, events).await;
        }
        let server = Server::new(&far, codec.clone(), listener).start();
        let client = ClientSync::new(&near, codec, transport).start();
        in_step(&client, &server).await;
        match self {
            Self::Batches => add_batches(&near, events).await,
            Self::OneByOne => add_one_by_one(&near, events).await,
            Self::Confirmations => {
                for value in 0..events {
                    near.add(Counter::Inc { value }).await.expect("added");
                    client.wait_for(State::Synchronized).await.expect("in step");
                }
            }
            Self::CatchUp => {}
        }
        in_step(&client, &server).await;
        has_all(&near, events).await;
        has_all(&far, events).await;
        client.close().await.expect("closed");
        server.shutdown(Duration::from_secs(60)).await;
    }
}

/// A log whose clock is read as the system's is, and always shows the same: what travels has the same
/// length in each run.
pub(crate) async fn log(node: &str) -> Log<Counter> {
    let clock = Clock::new(|| {
        black_box(SystemTime::now());
        start()
    });
    let store = Arc::new(MemoryStore::new());
    Log::open_with(node.parse().expect("a node id"), store, clock).await.expect("a log")
}

/// What the clock shows.
pub(crate) fn start() -> Timestamp {
    Timestamp::new(1_790_000_000_000).expect("a time")
}

pub(crate) async fn add_batches(log: &Log<Counter>, events: u64) {
    for first in (0..events).step_by(100) {
        let batch = first..events.min(first + 100);
        log.add_batch(batch.map(|value| Counter::Inc { value })).await.expect("added");
        // A store in memory never waits: let the sessions run.
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn add_one_by_one(log: &Log<Counter>, events: u64) {
    for value in 0..events {
        log.add(Counter::Inc { value }).await.expect("added");
        tokio::task::consume_budget().await;
    }
}

/// Every event, once, in order. In pages, so that it takes no memory that grows.
pub(crate) async fn has_all(log: &Log<Counter>, events: u64) {
    let (mut after, mut value) = (Added::ZERO, 0);
    loop {
        let entries = log.entries_after(after, Page::new(100)).await.expect("read");
        let Some(last) = entries.last() else { break };
        after = last.meta.added;
        for entry in &entries {
            assert_eq!(entry.event, Counter::Inc { value }, "events are missing or out of order");
            value += 1;
        }
    }
    assert_eq!(value, events, "events are missing, or come twice");
}

/// Waits until each node knows that the other has all its events.
async fn in_step(client: &Session, server: &RunningServer) {
    client.wait_for(State::Synchronized).await.expect("in step");
    let session = loop {
        match server.sessions().pop() {
            Some(session) => break session,
            // The client was quicker than the server's list.
            None => tokio::task::yield_now().await,
        }
    };
    session.wait_for(State::Synchronized).await.expect("in step");
}
