//! From values to places on an axis.

use super::{Figure, Marks};

/// An axis that begins and ends at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero, a mark at each step.
    Linear { step: f64, steps: u32 },
    /// From one power of ten to another, as exponents.
    Logarithmic { low: i32, high: i32 },
}

impl Scale {
    /// One on which all of a figure has room, with its intervals.
    pub(super) fn of(figure: &Figure) -> Self {
        let (low, high) =
            figure.estimates().fold((f64::INFINITY, 0.0_f64), |(low, high), estimate| {
                (low.min(estimate.low), high.max(estimate.high))
            });
        match figure.marks {
            Marks::Bars => Self::linear(high),
            Marks::Dots => Self::logarithmic(low, high),
        }
    }

    /// At most five steps of 1, 2 or 5 times a power of ten.
    fn linear(high: f64) -> Self {
        if high <= 0.0 {
            return Self::Linear { step: 1.0, steps: 1 };
        }
        let power = 10_f64.powf((high / 5.0).log10().floor());
        let steps = |step: f64| (1..=5).find(|steps| f64::from(*steps) * step >= high);
        [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find_map(|step| Some(Self::Linear { step, steps: steps(step)? }))
            // Where rounding took a little of the last.
            .unwrap_or(Self::Linear { step: 20.0 * power, steps: 5 })
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        if high <= 0.0 {
            return Self::Logarithmic { low: 0, high: 1 };
        }
        // What takes no time that could be measured is at the very left.
        let low = exponent(low.max(high / 1e6), f64::floor);
        Self::Logarithmic { low, high: exponent(high, f64::ceil).max(low + 1) }
    }

    /// Where a value is, from 0 for the begin to 1 for the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { step, steps } => value / (step * f64::from(steps)),
            Self::Logarithmic { .. } if value <= 0.0 => 0.0,
            Self::Logarithmic { low, high } => {
                (value.log10() - f64::from(low)) / f64::from(high - low)
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// The values that the axis names.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { step, steps } => {
                (0..=steps).map(|index| f64::from(index) * step).collect()
            }
            Self::Logarithmic { low, high } => {
                (low..=high).map(|exponent| 10_f64.powi(exponent)).collect()
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "exponents of f64 are below 400")]
fn exponent(value: f64, round: fn(f64) -> f64) -> i32 {
    round(value.log10()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs())
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_at_most_five_round_steps() {
        for (high, ticks) in [
            (1474.0, &[0.0, 500.0, 1000.0, 1500.0][..]),
            (1000.0, &[0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]),
            (1001.0, &[0.0, 500.0, 1000.0, 1500.0]),
            (0.07, &[0.0, 0.02, 0.04, 0.06, 0.08]),
            (0.0, &[0.0, 1.0]),
        ] {
            let scale = Scale::linear(high);
            assert!(close(&scale.ticks(), ticks), "{high}: {:?}", scale.ticks());
        }
        for exponent in -6..9 {
            for high in 1..100 {
                let high = f64::from(high) * 10_f64.powi(exponent);
                let ticks = Scale::linear(high).ticks();
                let last = *ticks.last().unwrap();
                assert!((2..=6).contains(&ticks.len()), "{high}: {ticks:?}");
                assert!(last >= high && last <= 2.0 * high * (1.0 + 1e-9), "{high}: {ticks:?}");
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_goes_from_power_to_power() {
        let ticks = |low, high| Scale::logarithmic(low, high).ticks();
        assert!(close(&ticks(38.0, 2400.0), &[10.0, 100.0, 1000.0, 10_000.0]));
        assert!(close(&ticks(10.0, 100.0), &[10.0, 100.0]));
        assert!(close(&ticks(10.0, 10.0), &[10.0, 100.0]));
        assert!(close(&ticks(0.2, 0.3), &[0.1, 1.0]));
        assert!(close(&ticks(f64::INFINITY, 0.0), &[1.0, 10.0]));
        assert_eq!(ticks(0.0, 10.0).len(), 7);
    }

    #[test]
    fn places_go_from_zero_to_one_and_not_beyond() {
        let places = |scale: &Scale, values: [f64; 5]| values.map(|value| scale.place(value));
        let linear = places(&Scale::linear(1000.0), [0.0, 250.0, 500.0, 1000.0, 2000.0]);
        assert!(close(&linear, &[0.0, 0.25, 0.5, 1.0, 1.0]), "{linear:?}");
        let logarithmic = Scale::logarithmic(10.0, 1000.0);
        let logarithmic = places(&logarithmic, [0.0, 1.0, 10.0, 100.0, 1e9]);
        assert!(close(&logarithmic, &[0.0, 0.0, 0.0, 0.5, 1.0]), "{logarithmic:?}");
    }
}
