//! How many rounds there are, and how long they will take.

use std::time::Duration;

/// Below that an interval says nothing.
const LEAST_ROUNDS: usize = 5;

/// Rounds of steps, until a time is spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// For all.
    pub(super) time: Duration,
    /// What is measured in a round.
    pub(super) steps: usize,
}

impl Schedule {
    /// How many rounds will have been made when the time is spent, by what the steps took so far.
    pub(super) fn rounds(&self, elapsed: Duration, steps: usize) -> usize {
        let round = step(elapsed, steps) * count(self.steps);
        if round.is_zero() {
            return LEAST_ROUNDS;
        }
        // To the nearest: half a round too long as often as half a round too short.
        let rounds = (self.time.as_nanos() + round.as_nanos() / 2) / round.as_nanos();
        usize::try_from(rounds).unwrap_or(usize::MAX).max(LEAST_ROUNDS)
    }

    /// How long all that is left will take. Before the first step that is only what is planned.
    pub(super) fn left(&self, elapsed: Duration, steps: usize) -> Duration {
        if steps == 0 {
            return self.time;
        }
        let all = self.rounds(elapsed, steps).saturating_mul(self.steps);
        step(elapsed, steps).saturating_mul(count(all.saturating_sub(steps)))
    }

    /// Whether there is another round after that many.
    pub(super) fn goes_on(&self, elapsed: Duration, rounds: usize) -> bool {
        rounds < self.rounds(elapsed, rounds * self.steps)
    }
}

/// The mean of what steps took.
fn step(elapsed: Duration, steps: usize) -> Duration {
    elapsed / count(steps.max(1))
}

fn count(steps: usize) -> u32 {
    u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Steps that each take so long: when it ends, after how many rounds.
    fn run(schedule: Schedule, step: impl Fn(usize) -> Duration) -> (Duration, usize) {
        let (mut elapsed, mut rounds, mut steps) = (Duration::ZERO, 0, 0);
        while schedule.goes_on(elapsed, rounds) {
            for _ in 0..schedule.steps {
                elapsed += step(steps);
                steps += 1;
            }
            rounds += 1;
        }
        (elapsed, rounds)
    }

    #[test]
    fn rounds_end_when_the_time_is_spent() {
        let schedule = Schedule { time: 60 * SECOND, steps: 9 };
        let (took, rounds) = run(schedule, |_| SECOND / 5);
        assert_eq!(rounds, 33);
        assert!(took.abs_diff(60 * SECOND) <= SECOND, "{took:?}");
        // Of 31.7 rounds.
        assert_eq!(run(schedule, |_| SECOND * 21 / 100).1, 32);
    }

    #[test]
    fn there_are_five_rounds_however_slow_they_are() {
        let schedule = Schedule { time: 60 * SECOND, steps: 9 };
        assert_eq!(run(schedule, |_| 10 * SECOND), (450 * SECOND, 5));
    }

    #[test]
    fn the_time_that_is_left_comes_true_where_steps_are_alike() {
        let schedule = Schedule { time: 60 * SECOND, steps: 9 };
        let step = SECOND / 5;
        let (took, _) = run(schedule, |_| step);
        for steps in 1..=200 {
            let elapsed = step * steps;
            let end = elapsed + schedule.left(elapsed, steps as usize);
            assert!(end.abs_diff(took) < SECOND / 100, "{steps}: {end:?}");
        }
    }

    #[test]
    fn a_slow_first_round_is_made_good_for() {
        // The first round counts bytes, too.
        let schedule = Schedule { time: 60 * SECOND, steps: 9 };
        let (took, _) = run(schedule, |step| if step < 9 { SECOND } else { SECOND / 5 });
        assert!(took.abs_diff(60 * SECOND) <= 2 * SECOND, "{took:?}");
    }

    #[test]
    fn before_the_first_step_what_is_planned_is_left() {
        let schedule = Schedule { time: 60 * SECOND, steps: 9 };
        assert_eq!(schedule.left(Duration::ZERO, 0), 60 * SECOND);
        assert_eq!(schedule.left(600 * SECOND, 45), Duration::ZERO);
    }
}
