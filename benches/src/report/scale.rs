//! From values to places on an axis.

use std::iter::successors;

use super::{Figure, Marks};

/// An axis that begins and ends at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero, a mark at each step.
    Linear { step: f64, steps: u32 },
    /// From one of 1, 2 or 5 times a power of ten to another.
    Logarithmic { low: f64, high: f64 },
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
        let power = power(high / 5.0);
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
            return Self::Logarithmic { low: 1.0, high: 10.0 };
        }
        // What took no time that could be measured is at the very left.
        let low = low.max(high / 1e6);
        let low = round(low).rfind(|round| *round <= low * ABOUT).unwrap_or(low);
        let end = high.max(low * 1.1);
        let high = round(end).find(|round| *round * ABOUT >= end).unwrap_or(end);
        Self::Logarithmic { low, high }
    }

    /// Where a value is, from 0 for the begin to 1 for the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { step, steps } => value / (step * f64::from(steps)),
            Self::Logarithmic { .. } if value <= 0.0 => 0.0,
            Self::Logarithmic { low, high } => (value / low).log10() / (high / low).log10(),
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
                let powers = successors(Some(power(low)), |tick| Some(tick * 10.0));
                let inside = powers
                    .skip_while(|tick| *tick * ABOUT < low)
                    .take_while(|tick| *tick <= high * ABOUT);
                let ticks: Vec<f64> = inside.collect();
                if ticks.len() < 2 { vec![low, high] } else { ticks }
            }
        }
    }
}

/// What is only by rounding below or above a value is none of both.
const ABOUT: f64 = 1.0 + 1e-9;

/// The power of ten that is below.
fn power(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// 1, 2 and 5 times the powers of ten near a value, from below it to above it.
fn round(value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let power = power(value);
    [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0].into_iter().map(move |factor| factor * power)
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
    fn a_logarithmic_axis_has_room_for_all_and_names_powers_of_ten() {
        for (low, high, begin, end, ticks) in [
            (38.0, 2400.0, 20.0, 5000.0, &[100.0, 1000.0][..]),
            (45.0, 1260.0, 20.0, 2000.0, &[100.0, 1000.0]),
            (10.0, 100.0, 10.0, 100.0, &[10.0, 100.0]),
            (10.0, 10.0, 10.0, 20.0, &[10.0, 20.0]),
            (0.21, 0.3, 0.2, 0.5, &[0.2, 0.5]),
            (f64::INFINITY, 0.0, 1.0, 10.0, &[1.0, 10.0]),
        ] {
            let scale = Scale::logarithmic(low, high);
            let Scale::Logarithmic { low: begins, high: ends } = scale else { unreachable!() };
            assert!(close(&[begins, ends], &[begin, end]), "{low} to {high}: {scale:?}");
            assert!(close(&scale.ticks(), ticks), "{low} to {high}: {:?}", scale.ticks());
        }
        assert!(close(&Scale::logarithmic(0.0, 1000.0).ticks()[..2], &[0.001, 0.01]));
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
