//! All combinations in turn, and what is told meanwhile.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::combination::Combination;
use super::progress::{self, Progress};
use super::samples::figures;
use super::schedule::Schedule;
use crate::report::{Figure, Machine, Report};

/// How long a combination is measured.
const TIME: Duration = Duration::from_secs(15);
const QUICK_TIME: Duration = Duration::from_secs(6);

/// Measures until the time is spent.
pub(super) fn measure(
    combinations: &mut [Combination<'_>],
    runtime: &Runtime,
    is_quick: bool,
    command: String,
) -> Report {
    let machine = Machine::this();
    let time = if is_quick { QUICK_TIME } else { TIME };
    let count = u32::try_from(combinations.len()).unwrap_or(u32::MAX);
    let schedule = Schedule { time: time.saturating_mul(count), steps: combinations.len() };
    let mut progress = Progress::new(combinations.iter().map(|it| it.name.as_str()));
    progress.line(&machine.name());

    let start = Instant::now();
    let (mut rounds, mut steps) = (0, 0);
    while schedule.goes_on(start.elapsed(), rounds) {
        rounds += 1;
        // Each time the intervals have become narrower by a third.
        let is_told = rounds.is_power_of_two();
        if is_told {
            let elapsed = start.elapsed();
            let left = progress::time(schedule.left(elapsed, steps));
            let all = schedule.rounds(elapsed, steps);
            progress.line(&match rounds {
                1 => format!("\nround 1, {left} left"),
                _ => format!("\nround {rounds} of {all}, {left} left"),
            });
            progress.head(&all_figures(combinations));
        }
        for combination in &mut *combinations {
            let mut told = |what: &str| {
                let left = schedule.left(start.elapsed(), steps);
                progress.status(&format!("round {rounds}: {what}"), left);
            };
            if rounds == 1 {
                told(&format!("{}, counting bytes", combination.name));
                combination.count_bytes(runtime);
            }
            combination.round(runtime, rounds, told);
            steps += 1;
            if is_told {
                progress.row(&figures(&[(&*combination.name, &combination.samples)]));
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    progress.line(&format!("\nall {rounds} rounds"));
    progress.head(&all_figures(combinations));
    for combination in &*combinations {
        progress.row(&figures(&[(&*combination.name, &combination.samples)]));
    }
    Report {
        title: "logux-sync: each codec over each transport".to_owned(),
        command,
        machine,
        rounds,
        seconds,
        figures: all_figures(combinations),
    }
}

fn all_figures(combinations: &[Combination<'_>]) -> Vec<Figure> {
    let all: Vec<_> = combinations.iter().map(|it| (&*it.name, &it.samples)).collect();
    figures(&all)
}
