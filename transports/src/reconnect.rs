use std::io;
use std::time::Duration;

use fastrand::Rng;

use crate::link::{Format, Link, Transport};

/// A transport that dials again after each loss, until it is told to stop.
///
/// The wait before an attempt is drawn from zero up to a bound that doubles with each attempt
/// (exponential back-off, full jitter), so that the clients of a server that comes back do not all
/// come at once. The attempts count from the last time that the two logs were equal, not from
/// the last time that a connection opened: a server that accepts and then fails is spared, too.
///
/// Errors after which trying again cannot help (wrong credentials, wrong protocol) end the
/// session, and with it the dialling.
///
/// ```
/// # use std::time::Duration;
/// # use logux_transports::{Memory, Reconnect};
/// # let (transport, _listener) = Memory::listen();
/// let transport = Reconnect::new(transport)
///     .min_delay(Duration::from_millis(500))
///     .max_delay(Duration::from_secs(30))
///     .attempts(20);
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect<T> {
    transport: T,
    min_delay: Duration,
    max_delay: Duration,
    attempts: u32,
    failed: u32,
    random: Rng,
}

impl<T> Reconnect<T> {
    /// Wraps a transport: the first wait is at most 1 second, no wait is longer than a minute, and
    /// the attempts do not end.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            min_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            attempts: u32::MAX,
            failed: 0,
            random: Rng::new(),
        }
    }

    /// The bound of the first wait; it doubles with each further attempt. Zero dials again at once, always.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// The bound above which no wait is drawn.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How often to dial again in a row without the logs having become equal.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Draws the waits from a seed, for tests that are to run the same way twice.
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = Rng::with_seed(seed);
        self
    }

    /// The wait before the next attempt, when `failed` attempts in a row did not help.
    fn delay(&mut self) -> Duration {
        let doubled = self.min_delay.saturating_mul(2_u32.saturating_pow(self.failed.min(31)));
        doubled.min(self.max_delay).mul_f64(self.random.f64())
    }
}

impl<T: Transport> Transport for Reconnect<T> {
    type Sender = T::Sender;
    type Receiver = T::Receiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<T::Sender, T::Receiver>> {
        self.transport.open(format, max_frame).await
    }

    async fn retry(&mut self, synchronized: bool) -> bool {
        if synchronized {
            self.failed = 0;
        }
        if self.failed >= self.attempts {
            return false;
        }
        tokio::time::sleep(self.delay()).await;
        // Not before: who is told that the network is back does not wait, and that costs no attempt.
        self.failed += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_the_bound_and_start_over_after_a_synchronization() {
        let mut transport =
            Reconnect::new(Memory::listen().0).max_delay(Duration::from_secs(60)).seed(1);
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..200 {
            assert!(transport.retry(true).await);
            for longest in &mut longest {
                let start = tokio::time::Instant::now();
                assert!(transport.retry(false).await);
                *longest = (*longest).max(start.elapsed());
            }
        }
        for (index, longest) in longest.iter().enumerate() {
            let bound = Duration::from_secs((2 << index).min(60)) + Duration::from_millis(1);
            assert!(*longest <= bound && *longest > bound / 2, "{index}: {longest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end() {
        let mut transport = Reconnect::new(Memory::listen().0).attempts(2);
        let answers = [
            transport.retry(false).await,
            transport.retry(false).await,
            transport.retry(false).await,
        ];
        assert_eq!(answers, [true, true, false]);
        assert!(transport.retry(true).await, "a synchronization gives all attempts back");
    }
}
