//! When the write-ahead log is moved into the database.

use std::time::{Duration, Instant};

/// It is moved once it has so many bytes: when there is nothing else to do, and in any case. What cannot be moved
/// because somebody reads it, is moved later.
const LONG_IF_IDLE: u64 = 8 << 20;
const LONG: u64 = 64 << 20;

/// Readers that take turns never leave it to the writer, which then cannot begin it anew. When it is that long,
/// this program's readers have to wait. Another program may read for as long as it likes.
const FAR_TOO_LONG: u64 = 256 << 20;

/// What did not help is tried again once the log is longer by so much, or after so long.
const LONGER_BY: u64 = 1 << 20;
const LONGER_BY_IF_READERS_WAIT: u64 = 16 << 20;
const PAUSE: Duration = Duration::from_secs(5);

/// What is to be done about the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Move what nobody reads.
    Move,
    /// Move all of it, while no reader of this program reads.
    Empty,
}

/// What was done since the log was short.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    moved: Option<Attempt>,
    emptied: Option<Attempt>,
    is_told: bool,
}

#[derive(Debug)]
struct Attempt {
    when: Instant,
    length: u64,
}

impl Checkpoints {
    /// What to do where the log has so many bytes. Each step is answered once, and counts as done.
    pub(super) fn step(&mut self, length: u64, is_idle: bool, now: Instant) -> Step {
        if length <= LONG_IF_IDLE {
            *self = Self::default();
            return Step::Nothing;
        }
        if length > FAR_TOO_LONG && !self.is_told {
            self.is_told = true;
            tracing::warn!(
                bytes = length,
                "the write-ahead log is very long; look whether another program has been reading the log for long"
            );
        }
        if length > LONG && is_due(&mut self.emptied, length, LONGER_BY_IF_READERS_WAIT, now) {
            return Step::Empty;
        }
        let is_long = is_idle || length > LONG;
        if is_long && is_due(&mut self.moved, length, LONGER_BY, now) {
            return Step::Move;
        }
        Step::Nothing
    }
}

fn is_due(last: &mut Option<Attempt>, length: u64, longer_by: u64, now: Instant) -> bool {
    let is_due = last.as_ref().is_none_or(|last| {
        length >= last.length + longer_by || now.saturating_duration_since(last.when) >= PAUSE
    });
    if is_due {
        *last = Some(Attempt { when: now, length });
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_log_is_moved_once_it_is_long_and_readers_wait_only_where_it_is_far_longer() {
        let (mut checkpoints, now) = (Checkpoints::default(), Instant::now());
        let mut step = |mib: u64, is_idle| checkpoints.step(mib * MIB, is_idle, now);
        assert_eq!(step(8, true), Step::Nothing);
        assert_eq!(step(9, false), Step::Nothing);
        assert_eq!(step(9, true), Step::Move);
        // Without success.
        assert_eq!(step(9, true), Step::Nothing);
        assert_eq!(step(10, true), Step::Move);
        assert_eq!(step(64, false), Step::Nothing);
        assert_eq!(step(65, false), Step::Empty);
        // With success.
        assert_eq!(step(1, false), Step::Nothing);
        assert_eq!(step(66, false), Step::Empty);
    }

    #[test]
    fn what_another_program_does_not_allow_is_tried_again_but_not_at_each_commit() {
        let (mut checkpoints, now) = (Checkpoints::default(), Instant::now());
        let mut steps = Vec::new();
        // Each 64 KiB.
        for commit in 1_025..1_025 + 512 {
            steps.push(checkpoints.step(commit * (MIB / 16), false, now));
        }
        let count = |step| steps.iter().filter(|one| **one == step).count();
        assert_eq!((count(Step::Empty), count(Step::Move)), (2, 32));
        let later = now + PAUSE;
        let length = 97 * MIB;
        assert_eq!(checkpoints.step(length, false, later), Step::Empty);
        assert_eq!(checkpoints.step(length, false, later), Step::Move);
        assert_eq!(checkpoints.step(length, false, later), Step::Nothing);
    }
}
