use std::io;
use std::time::Duration;

use fastrand::Rng;

use crate::link::{Format, Link, Transport};
use crate::rt;

/// A transport that dials again after each loss, until it is told to stop.
///
/// The wait before an attempt is drawn between a floor, [`min_delay`](Self::min_delay), and a bound,
/// which is [`first_delay`](Self::first_delay) at first and doubles with each attempt up to
/// [`max_delay`](Self::max_delay) (exponential back-off with jitter). So the clients of a server that
/// comes back do not all come at once, and no client dials in a tight loop.
///
/// The attempts count from the last link that got somewhere, not from the last one that opened: the
/// two logs were equal once, and the link did not end in a refusal or a fault of either side. So a
/// server that accepts and then fails is spared, too, also if it fails only after the logs were equal.
///
/// Errors after which trying again cannot help (wrong credentials, wrong protocol, an address or a
/// certificate that is wrong: see [`Transport::open`]) end the session, and with it the dialling.
///
/// ```
/// # use std::time::Duration;
/// # use logux_transports::{Memory, Reconnect};
/// # let (transport, _listener) = Memory::listen();
/// let transport = Reconnect::new(transport)
///     .first_delay(Duration::from_millis(500))
///     .max_delay(Duration::from_secs(30))
///     .attempts(20);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a transport does nothing until a link is opened by it"]
pub struct Reconnect<T> {
    transport: T,
    first_delay: Duration,
    max_delay: Duration,
    min_delay: Duration,
    attempts: u32,
    failed: u32,
    random: Rng,
}

impl<T> Reconnect<T> {
    /// Wraps a transport: the first wait is between 100 milliseconds and 1 second, no wait is longer
    /// than 1 minute, and the attempts do not end.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            min_delay: Duration::from_millis(100),
            attempts: u32::MAX,
            failed: 0,
            random: Rng::with_seed(rt::random_u64()),
        }
    }

    /// The bound of the first wait, 1 second by default. It doubles with each further attempt.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The bound that no bound grows above, 1 minute by default.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// The floor below which no wait is drawn, 100 milliseconds by default. A bound below the floor
    /// counts as the floor: the wait is then exactly this long. With zero, and a bound of zero, a
    /// transport that fails at once is dialled in a tight loop.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// How often to dial again in a row without a link that got somewhere: without limit by default.
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
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(self.failed.min(31)));
        let above_floor = doubled.min(self.max_delay).saturating_sub(self.min_delay);
        self.min_delay + above_floor.mul_f64(self.random.f64())
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

    async fn retry(&mut self, progressed: bool) -> bool {
        if progressed {
            self.failed = 0;
        }
        if self.failed >= self.attempts {
            return false;
        }
        rt::sleep(self.delay()).await;
        // Count after the wait: `reconnect_now` ends the wait and must not use up an attempt.
        self.failed += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_the_bound_and_start_over_after_progress() {
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
    async fn no_wait_is_below_the_floor() {
        let floor = Duration::from_millis(700);
        let mut transport = Reconnect::new(Memory::listen().0).min_delay(floor).seed(1);
        let mut shortest = Duration::MAX;
        for _ in 0..200 {
            let start = rt::Instant::now();
            assert!(transport.retry(true).await);
            shortest = shortest.min(start.elapsed());
        }
        assert!(shortest >= floor && shortest < floor.mul_f64(1.1), "{shortest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_settings_never_dials_in_a_tight_loop() {
        let mut transport = Reconnect::new(Memory::listen().0);
        for _ in 0..200 {
            let start = rt::Instant::now();
            assert!(transport.retry(true).await);
            assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_below_the_floor_counts_as_the_floor() {
        let floor = Duration::from_secs(3);
        let transport = Reconnect::new(Memory::listen().0).min_delay(floor);
        let bounds = [
            transport.clone().first_delay(Duration::ZERO).max_delay(Duration::ZERO),
            transport.clone().max_delay(Duration::from_secs(2)),
            transport,
        ];
        for mut transport in bounds {
            let start = rt::Instant::now();
            assert!(transport.retry(false).await);
            assert_eq!(start.elapsed(), floor);
        }
    }

    #[test]
    fn two_clients_draw_different_waits() {
        let waits = || {
            let mut transport = Reconnect::new(Memory::listen().0);
            std::array::from_fn::<_, 8, _>(|_| transport.delay())
        };
        assert_ne!(waits(), waits());
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
        assert!(transport.retry(true).await, "progress gives all attempts back");
    }
}
