//! What events may cost, and whether they cost more.

use std::collections::BTreeMap;
use std::fmt;

/// What events may cost, as it was recorded: a workload and what is counted of it, and how much of that there is
/// per event.
///
/// As a text it is a line for each: the workload, what is counted and how much, with spaces between them. Lines that
/// begin with `#` are for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    per_event: BTreeMap<(String, String), f64>,
}

/// What a measured value says about its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it was, or so little from it that it may be noise.
    Holds,
    /// More than that: the gate is red.
    Worse,
    /// Less than that: the limit is to be lowered, so that the gain is kept.
    Better,
    /// There is no limit yet: the gate is red, for it guards nothing.
    Unknown,
}

/// How far a value may be from what was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// This part of what was recorded.
    pub part: f64,
    /// And so much per event, for what hardly ever happens.
    pub per_event: f64,
}

/// How much there may be per event in the end. Once it is reached it holds, whatever else is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// So much.
    pub at_most: f64,
    /// What is noise of that.
    pub noise: f64,
}

impl Goal {
    /// Whether a value is within it.
    pub fn is_reached(self, per_event: f64) -> bool {
        per_event <= self.at_most + self.noise
    }

    /// Whether it was reached by what was recorded, and is no longer.
    pub fn is_given_up(self, recorded: Option<f64>, per_event: f64) -> bool {
        recorded.is_some_and(|recorded| self.is_reached(recorded)) && !self.is_reached(per_event)
    }
}

impl Limits {
    /// Reads the text of [`Limits`]. An error names the line that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let (Some(workload), Some(counted), Some(Ok(per_event)), None) =
                (words.next(), words.next(), words.next().map(str::parse), words.next())
            else {
                return Err(format!("not a workload, what is counted, and a number: {line:?}"));
            };
            limits.record(workload, counted, per_event);
        }
        Ok(limits)
    }

    /// Puts a value in the place of what was recorded.
    pub fn record(&mut self, workload: &str, counted: &str, per_event: f64) {
        self.per_event.insert((workload.to_owned(), counted.to_owned()), per_event);
    }

    /// What was recorded.
    pub fn of(&self, workload: &str, counted: &str) -> Option<f64> {
        self.per_event.get(&(workload.to_owned(), counted.to_owned())).copied()
    }

    /// Leaves out workloads of other names.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.per_event.retain(|(workload, _), _| is_kept(workload));
    }

    /// The workloads, each once.
    pub fn workloads(&self) -> Vec<&str> {
        let mut workloads: Vec<_> = self.per_event.keys().map(|(name, _)| name.as_str()).collect();
        workloads.dedup();
        workloads
    }

    /// Compares a value with what was recorded.
    pub fn judge(
        &self,
        workload: &str,
        counted: &str,
        per_event: f64,
        tolerance: Tolerance,
    ) -> Verdict {
        let Some(recorded) = self.of(workload, counted) else { return Verdict::Unknown };
        let margin = recorded.abs() * tolerance.part + tolerance.per_event;
        if per_event > recorded + margin {
            Verdict::Worse
        } else if per_event < recorded - margin {
            Verdict::Better
        } else {
            Verdict::Holds
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((workload, counted), per_event) in &self.per_event {
            writeln!(f, "{workload:32} {counted:16} {per_event:>12.4}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { part: 0.05, per_event: 0.001 };

    fn judge(recorded: f64, measured: f64) -> Verdict {
        let mut limits = Limits::default();
        limits.record("live", "instructions", recorded);
        limits.judge("live", "instructions", measured, TOLERANCE)
    }

    #[test]
    fn what_is_a_fifth_worse_is_red_and_noise_is_not() {
        assert_eq!(judge(1000.0, 1200.0), Verdict::Worse);
        assert_eq!(judge(1000.0, 1049.0), Verdict::Holds);
        assert_eq!(judge(1000.0, 951.0), Verdict::Holds);
        assert_eq!(judge(1000.0, 900.0), Verdict::Better);
    }

    #[test]
    fn of_what_never_happened_a_little_is_noise() {
        assert_eq!(judge(0.0, 0.0009), Verdict::Holds);
        assert_eq!(judge(0.0, 0.01), Verdict::Worse);
    }

    #[test]
    fn what_was_not_recorded_is_not_let_through() {
        let limits = Limits::default();
        assert_eq!(limits.judge("live", "frames", 0.0, TOLERANCE), Verdict::Unknown);
    }

    #[test]
    fn a_goal_that_was_reached_is_not_given_up() {
        let goal = Goal { at_most: 0.05, noise: 0.001 };
        assert!(goal.is_given_up(Some(0.05), 0.06));
        assert!(!goal.is_given_up(Some(0.05), 0.0505));
        assert!(!goal.is_given_up(Some(0.2), 0.06), "it is not reached yet");
        assert!(!goal.is_given_up(None, 0.06), "nothing was recorded");
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let mut limits = Limits::default();
        limits.record("live/json", "frames", 0.0012);
        limits.record("live/json", "instructions", 2817.25);
        limits.record("codec/xml", "instructions", 901.5);
        let text = format!("# For people.\n\n{limits}");
        assert_eq!(Limits::parse(&text), Ok(limits.clone()));
        assert_eq!(limits.workloads(), ["codec/xml", "live/json"]);
        limits.retain(|workload| workload == "codec/xml");
        assert_eq!(limits.of("live/json", "frames"), None);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for line in ["live", "live frames", "live frames few", "live frames 1 2"] {
            let error = Limits::parse(line).unwrap_err();
            assert!(error.contains(line), "{error}");
        }
    }
}
