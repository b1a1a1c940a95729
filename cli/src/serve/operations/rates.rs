//! How many events were added in each of the last seconds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logux_sync::{Log, Value};
use tokio::time::{MissedTickBehavior, interval};

/// So many seconds are kept.
const SECONDS: usize = 300;

/// How many events were added in each of the last seconds, the oldest first.
#[derive(Clone, Default)]
pub(super) struct Rates(Arc<Mutex<VecDeque<u64>>>);

impl Rates {
    /// Counts as long as the program runs.
    pub(super) fn of(log: &Log<Value>) -> Self {
        let rates = Self::default();
        let (counting, log) = (rates.clone(), log.clone());
        tokio::spawn(async move {
            let mut seconds = interval(Duration::from_secs(1));
            seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut before = log.last_added().value();
            loop {
                seconds.tick().await;
                let now = log.last_added().value();
                let mut rates = counting.lock();
                if rates.len() == SECONDS {
                    rates.pop_front();
                }
                rates.push_back(now - before);
                before = now;
            }
        });
        rates
    }

    pub(super) fn seconds(&self) -> Vec<u64> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
