//! One timer for all that a connection does at a certain time.

use std::future::pending;
use std::pin::Pin;

use logux_transports::rt::{Instant, Sleep, sleep_until};

/// A timer that is only set anew for an earlier time.
///
/// The deadline of a peer's silence moves on with each message. A timer that followed it would be taken out of the
/// runtime's timers and put back each time; this one ends at the earlier time, and is then set to the later one.
#[derive(Default)]
pub(super) struct Timer(Option<Running>);

struct Running {
    set_to: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    /// Waits for a time, or for ever where there is none. Cancel-safe.
    pub(super) async fn until(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return pending().await };
        loop {
            if self.0.as_ref().is_none_or(|running| at < running.set_to) {
                self.0 = None;
            }
            let running = self
                .0
                .get_or_insert_with(|| Running { set_to: at, sleep: Box::pin(sleep_until(at)) });
            let set_to = running.set_to;
            running.sleep.as_mut().await;
            self.0 = None;
            if at <= set_to {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_the_time_whatever_it_was_set_to_before() {
        for earlier in [None, Some(1), Some(3), Some(5)] {
            let (mut timer, start) = (Timer::default(), Instant::now());
            if let Some(seconds) = earlier {
                assert!(timer.until(Some(start + seconds * SECOND)).now_or_never().is_none());
            }
            timer.until(Some(start + 3 * SECOND)).await;
            let late = start.elapsed().saturating_sub(3 * SECOND);
            assert!(start.elapsed() >= 3 * SECOND && late <= SECOND / 100, "{earlier:?}: {late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_over_ends_it_at_once_and_none_never_does() {
        let (mut timer, start) = (Timer::default(), Instant::now());
        tokio::time::advance(SECOND).await;
        assert!(timer.until(Some(start)).now_or_never().is_some());
        assert!(timer.until(None).now_or_never().is_none());
    }
}
