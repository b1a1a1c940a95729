//! What many measurements say about one number.

use std::ops::Range;

/// How often measurements are drawn anew to see how far a median could lie elsewhere.
const MEDIANS: usize = 2000;

/// The same for percentiles, of which each takes a walk through all events.
const PERCENTILES: usize = 500;

/// A median or another percentile, and the interval in which it lies in nine of ten resamplings.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "matrix", derive(serde::Serialize))]
pub struct Estimate {
    /// What was measured.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// Of how many measurements.
    pub count: usize,
}

impl Estimate {
    /// The median of what was measured. `None` if nothing was.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mut random = fastrand::Rng::with_seed(1);
        let draw = |_| values.iter().map(|_| values[random.usize(..values.len())]).collect();
        let resampled = (0..MEDIANS).map(draw).map(median).collect();
        Some(Self::new(median(values.to_vec()), resampled, values.len()))
    }

    /// The value below which that share of all measurements lies, in `0.0..=1.0`.
    ///
    /// Measurements of one round resemble each other, so it is rounds that are resampled.
    pub fn of_percentile(rounds: &[Vec<f64>], share: f64) -> Option<Self> {
        let mut values: Vec<(f64, usize)> = rounds
            .iter()
            .enumerate()
            .flat_map(|(round, values)| values.iter().map(move |value| (*value, round)))
            .collect();
        values.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let &(highest, _) = values.first()?;
        // From above, which is a short way for the percentiles of a tail.
        let percentile = |weights: &[usize]| {
            let total: usize =
                weights.iter().zip(rounds).map(|(weight, values)| weight * values.len()).sum();
            let below = rank(share, total);
            let mut rest = total;
            values
                .iter()
                .find(|(_, round)| {
                    rest -= weights[*round];
                    rest < below
                })
                .map_or(highest, |(value, _)| *value)
        };
        let mut random = fastrand::Rng::with_seed(1);
        let draw = |_| {
            let mut weights = vec![0; rounds.len()];
            for _ in rounds {
                weights[random.usize(..rounds.len())] += 1;
            }
            weights
        };
        let resampled = (0..PERCENTILES).map(draw).map(|weights| percentile(&weights)).collect();
        Some(Self::new(percentile(&vec![1; rounds.len()]), resampled, values.len()))
    }

    /// Half of the interval, beside the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / 2.0 / self.median }
    }

    fn new(median: f64, mut resampled: Vec<f64>, count: usize) -> Self {
        resampled.sort_by(f64::total_cmp);
        let Range { start, end } = resampled.len() / 20..resampled.len() - resampled.len() / 20;
        Self { median, low: resampled[start], high: resampled[end - 1], count }
    }
}

/// How many of `count` values are not above the percentile: the nearest rank, at least one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^52, and shares not negative"
)]
fn rank(share: f64, count: usize) -> usize {
    ((share * count as f64).ceil() as usize).clamp(1, count.max(1))
}

/// The one in the middle, or the mean of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers up to 1,000, in rounds of 100, in which each round has some of all.
    fn thousand() -> Vec<Vec<f64>> {
        (0..10).map(|round| (0..100).map(|n| f64::from(n * 10 + round + 1)).collect()).collect()
    }

    #[test]
    fn nothing_measured_is_no_estimate() {
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of_percentile(&[], 0.5), None);
        assert_eq!(Estimate::of_percentile(&[vec![], vec![]], 0.5), None);
    }

    #[test]
    fn a_median_is_in_the_middle_whatever_the_order() {
        let median = |values: &[f64]| Estimate::of(values).unwrap().median.to_bits();
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 9.0, 1.0, 2.0]), 3.0_f64.to_bits());
    }

    #[test]
    fn equal_measurements_leave_no_doubt() {
        let estimate = Estimate { median: 7.0, low: 7.0, high: 7.0, count: 4 };
        assert_eq!(Estimate::of(&[7.0; 4]), Some(estimate));
        assert_eq!(Estimate::of_percentile(&[vec![7.0; 2], vec![7.0; 2]], 0.999), Some(estimate));
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let percentile = |share| Estimate::of_percentile(&thousand(), share).unwrap().median;
        let shares = [0.0, 0.5, 0.99, 0.999, 1.0].map(percentile);
        assert_eq!(shares.map(f64::to_bits), [1.0, 500.0, 990.0, 999.0, 1000.0].map(f64::to_bits));
        // Below 99.9 % of ten values there is none.
        let ten = Estimate::of_percentile(&[(1..=10).map(f64::from).collect()], 0.999).unwrap();
        assert_eq!(ten.median.to_bits(), 10.0_f64.to_bits());
    }

    #[test]
    fn an_interval_holds_nine_of_ten_medians() {
        let mut random = fastrand::Rng::with_seed(7);
        let holds = (0..100)
            .filter(|_| {
                let values: Vec<f64> = (0..31).map(|_| random.f64()).collect();
                let estimate = Estimate::of(&values).unwrap();
                assert!(estimate.low <= estimate.median && estimate.median <= estimate.high);
                estimate.low <= 0.5 && 0.5 <= estimate.high
            })
            .count();
        assert!((82..=97).contains(&holds), "{holds} of 100 intervals hold the true median");
    }

    #[test]
    fn more_measurements_make_the_interval_narrower() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut of = |count| {
            let values: Vec<f64> = (0..count).map(|_| 1.0 + random.f64()).collect();
            Estimate::of(&values).unwrap().spread()
        };
        assert!(of(400) < of(10) / 2.0);
    }

    #[test]
    fn rounds_are_resampled_whole() {
        // Each round has one value only: what is in doubt is the share of slow rounds.
        let alike = [vec![1.0; 100], vec![2.0; 100], vec![3.0; 100]];
        let estimate = Estimate::of_percentile(&alike, 0.5).unwrap();
        let interval = [estimate.low, estimate.median, estimate.high];
        assert_eq!(interval.map(f64::to_bits), [1.0, 2.0, 3.0].map(f64::to_bits));
    }
}
