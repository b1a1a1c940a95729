//! How much faster one thing is than another, on a machine whose speed is not steady.

use std::fmt;
use std::time::Duration;

use crate::estimate::Estimate;

/// How many rounds a ratio is taken of.
pub const ROUNDS: usize = 21;

/// How long a side of a round takes, about.
const ROUND: Duration = Duration::from_millis(120);

/// A median, and the interval in which it lies in nine of ten resamplings.
#[derive(Clone, Copy, Debug)]
pub struct Ratio(Estimate);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { median, low, high, .. } = self.0;
        write!(f, "{median:6.2}  [{low:.2}, {high:.2}]")
    }
}

impl Ratio {
    /// Of the ratios that were measured in rounds, each side by side.
    ///
    /// # Panics
    /// Where there are none.
    pub fn of_rounds(ratios: &[f64]) -> Self {
        Self(Estimate::of(ratios).expect("there are rounds"))
    }
}

/// Events per second of the first by events per second of the second, in turn.
///
/// # Panics
/// Where a run does more things than a `u32` counts.
pub fn of(first: impl Fn(u64) -> Duration, second: impl Fn(u64) -> Duration) -> Ratio {
    let (first_count, second_count) = (count_for(&first), count_for(&second));
    let rate = |count: u64, took: Duration| {
        f64::from(u32::try_from(count).expect("a small count")) / took.as_secs_f64()
    };
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let first = rate(first_count, first(first_count));
            first / rate(second_count, second(second_count))
        })
        .collect();
    Ratio::of_rounds(&ratios)
}

/// How many events fill a round.
fn count_for(run: &impl Fn(u64) -> Duration) -> u64 {
    let mut count = 1000;
    loop {
        let took = run(count);
        if took > ROUND || count > 10_000_000 {
            return count;
        }
        count *= 2;
    }
}
