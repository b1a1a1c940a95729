//! A clock in the hand of a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use logux_sync::{Clock, Log, MemoryStore, Timestamp, Value};
use tokio::time::Instant;

/// What it shows first, in milliseconds since 1970.
pub(crate) const START: u64 = 1_800_000_000_000;

/// A clock that goes with the paused time, and can be set.
#[derive(Clone)]
pub(crate) struct Hand {
    start: Instant,
    pub(crate) ahead: Arc<AtomicI64>,
}

impl Hand {
    pub(crate) fn new(ahead: i64) -> Self {
        Self { start: Instant::now(), ahead: Arc::new(AtomicI64::new(ahead)) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap();
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::new(START).unwrap().shifted(passed + ahead).unwrap()
    }

    pub(crate) fn clock(&self) -> Clock {
        let hand = self.clone();
        Clock::new(move || hand.now())
    }
}

pub(crate) async fn log_at(node: &str, hand: &Hand) -> Log<Value> {
    let store = Arc::new(MemoryStore::new());
    Log::open_with(node.parse().unwrap(), store, hand.clock()).await.unwrap()
}
