//! On what it was measured.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

use serde::Serialize;

/// What the system tells of itself. Absolute numbers are of this machine only.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: Option<String>,
    pub(crate) cores: usize,
    pub(crate) system: String,
    /// The compiler that is called now, which is the one that made this unless somebody changed it.
    pub(crate) rust: Option<String>,
    /// Of the folder in which the bench runs.
    pub(crate) commit: Option<String>,
    /// Of today, in UTC.
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let system = format!("{} {}", std::env::consts::OS, kernel.trim());
        Self {
            cpu: fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(model),
            cores: available_parallelism().map_or(1, Into::into),
            system: system.trim().to_owned(),
            rust: answer("rustc", &["--version"])
                .and_then(|version| Some(version.split(' ').nth(1)?.to_owned())),
            commit: answer(
                "git",
                &["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            ),
            date: date(SystemTime::now()),
        }
    }

    /// In one line.
    pub(crate) fn name(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("an unknown processor");
        let mut name = format!("{cpu}, {} cores, {}", self.cores, self.system);
        if let Some(rust) = &self.rust {
            name = format!("{name}, Rust {rust}");
        }
        if let Some(commit) = &self.commit {
            name = format!("{name}, commit {commit}");
        }
        format!("{name}, {}", self.date)
    }
}

/// The processor's name in what Linux tells of it.
fn model(cpu_info: &str) -> Option<String> {
    let line = cpu_info.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.split_once(':')?.1.replace("(R)", "").replace("(TM)", "");
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The line that a program prints, if it is there and knows one.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

/// Year, month and day.
fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut days = since.as_secs() / (24 * 60 * 60);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), day);
        }
    }

    #[test]
    fn a_processor_is_named_without_decoration() {
        let info = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)  Processor\nflags\t: fpu\n";
        assert_eq!(model(info).as_deref(), Some("Intel Xeon Processor"));
        assert_eq!(model("processor: 0\n"), None);
    }

    #[test]
    fn a_program_that_is_missing_or_fails_has_no_answer() {
        assert_eq!(answer("no-such-program-of-anybody", &[]), None);
        assert_eq!(answer("rustc", &["--no-such-option"]), None);
    }

    #[test]
    fn what_is_not_known_is_left_out_of_the_name() {
        let mut machine = crate::report::tests::report().machine;
        assert_eq!(machine.name(), "Chip <3>, 2 cores, Linux, 2026-08-01");
        machine.rust = Some("1.95.0".to_owned());
        machine.commit = Some("12ab".to_owned());
        let name = "Chip <3>, 2 cores, Linux, Rust 1.95.0, commit 12ab, 2026-08-01";
        assert_eq!(machine.name(), name);
    }
}
