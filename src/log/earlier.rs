//! Which events of this node's name were made before its process started.

use logux_codecs::Timestamp;
use logux_transports::rt::Instant;

/// Tells the events that this node made before it lost its log from those of another node of its name, by
/// the times in their ids.
#[derive(Debug)]
pub(super) struct Earlier {
    opened: Instant,
    /// Ids up to here may have been given before.
    up_to: Timestamp,
}

impl Earlier {
    /// The log was opened just now; `up_to` is the time then, or that of a later id that it has.
    pub(super) fn new(up_to: Timestamp) -> Self {
        Self { opened: Instant::now(), up_to }
    }

    /// Whether an event that comes back may have been made before the log was opened. Those of one log come
    /// in their order.
    ///
    /// Ids run ahead of the clock while many events are made at once, and then have no gap: what follows an
    /// earlier id at once is earlier itself.
    pub(super) fn may_hold(&mut self, time: Timestamp, now: Timestamp) -> bool {
        // A clock that was behind when the log was opened may have been corrected since.
        let passed = i64::try_from(self.opened.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.up_to = self.up_to.max(now.shifted(-passed).unwrap_or_default());
        let follows = self.up_to.shifted(1).is_none_or(|next| time <= next);
        if follows {
            self.up_to = self.up_to.max(time);
        }
        follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_gap_to_what_is_earlier_is_earlier() {
        let time = |number| Timestamp::new(number).unwrap();
        let mut earlier = Earlier::new(time(1_000));
        let now = time(1_000);
        assert!(earlier.may_hold(time(5), now));
        for id in 1_001..1_050 {
            assert!(earlier.may_hold(time(id), now), "{id}");
        }
        for id in [1_051, 2_000] {
            assert!(!earlier.may_hold(time(id), now), "{id}");
        }
        assert!(earlier.may_hold(time(1_050), now));
        // The clock was corrected.
        assert!(earlier.may_hold(time(50_000), time(60_000)));
    }
}
