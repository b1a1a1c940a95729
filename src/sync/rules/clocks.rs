//! How far the clocks of both sides differ, and what becomes of that when the own one is set.

use logux_codecs::{Added, Connected};

use super::input_output::{Jump, Now, Output, Role};
use super::phase::Phase;
use super::relative::moved;
use super::rules::Rules;
use crate::sync::error::{Error, Misbehaviour};

/// No clock is off by more than a hundred years, in milliseconds.
const MAX_TIME_FIX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// So many settings of a clock are told apart on one connection.
const MAX_SETTINGS: usize = 16;

/// By how many milliseconds this node's clock is ahead of the peer's.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeFix {
    now: i64,
    /// What it was for the events of this log up to a position, in the order of positions: these were made
    /// before the clock was set, and have its old time.
    before: Vec<(Added, i64)>,
}

impl TimeFix {
    pub(super) const fn new(now: i64) -> Self {
        Self { now, before: Vec::new() }
    }

    pub(crate) const fn now(&self) -> i64 {
        self.now
    }

    /// What it is for the event at this position of the log.
    pub(super) fn at(&self, added: Added) -> i64 {
        let before = self.before.iter().find(|(up_to, _)| added <= *up_to);
        before.map_or(self.now, |(_, fix)| *fix)
    }

    /// The clock was set, when the log ended here.
    pub(super) fn clock_was_set(&mut self, by: i64, log_end: Added) {
        if self.before.last().is_none_or(|(up_to, _)| *up_to < log_end) {
            self.before.push((log_end, self.now));
        }
        if self.before.len() > MAX_SETTINGS {
            self.before.remove(0);
        }
        self.now = self.now.saturating_add(by);
    }
}

impl<E> Rules<E> {
    /// How far the own clock is ahead of the peer's, in milliseconds. Source: Logux protocol 7,
    /// time fix.
    pub(super) fn time_fix(
        &mut self,
        now: Now,
        connected: &Connected,
    ) -> Result<i64, Misbehaviour> {
        let Connected { node_id, start, end, .. } = connected;
        if end < start {
            return Err(Misbehaviour::TimeOutOfRange);
        }
        let Some(asked) = self.answered(now) else { return Ok(0) };
        if !self.config.fix_time {
            return Ok(0);
        }
        // By the clock that cannot be set. Where the peer says that it took longer than all took,
        // its clock was set.
        let passed = i64::try_from(now.elapsed.saturating_sub(asked.elapsed).as_millis())
            .unwrap_or(i64::MAX);
        let round_trip = passed.saturating_sub(end.since(*start)).max(0);
        let fix = asked.clock.since(*start).saturating_add(round_trip / 2);
        if fix.unsigned_abs() > MAX_TIME_FIX {
            return Err(Misbehaviour::TimeOutOfRange);
        }
        // No better measurement than the last one: times stay where they are.
        match &self.config.time_fix {
            Some((node, last))
                if node == node_id && last.abs_diff(fix) <= round_trip.unsigned_abs() =>
            {
                Ok(*last)
            }
            _ => Ok(fix),
        }
    }

    /// The clock on the wall jumped, and with it all differences from it. After a sleep of the machine the
    /// clocks are as they were, but the peer may be gone.
    pub(super) fn jumped(&mut self, now: Now, jump: Jump) {
        let Jump { set, slept } = jump;
        // An acceptor fixes no times. Its clock is measured by its peer, which learns only by another
        // `connected` that it was set.
        if self.config.role == Role::Acceptor {
            return;
        }
        if self.config.fix_time {
            match set {
                Some(0) => {}
                Some(by) => self.clock_was_set(by),
                None => {
                    // Only another `connected` can tell.
                    self.hang_up(Some(Error::ClockJumped));
                    return;
                }
            }
        }
        if slept {
            self.has_slept(now);
        }
    }

    fn clock_was_set(&mut self, by: i64) {
        if let Some((_, last)) = &mut self.config.time_fix {
            *last = last.saturating_add(by);
        }
        match &mut self.phase {
            Phase::Opening => {
                // As if it had been set before `connect` was sent.
                if let Some(asked) = &mut self.asked {
                    asked.clock = moved(asked.clock, by);
                }
            }
            Phase::Checking(candidate) => {
                candidate.time_fix = candidate.time_fix.saturating_add(by);
            }
            Phase::Live(live) => {
                live.relative.time_fix.clock_was_set(by, self.log_end);
                self.outputs.push_back(Output::Fix(live.relative.clone()));
            }
            Phase::Over => {}
        }
    }
}
