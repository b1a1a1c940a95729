//! The command line.

use std::path::PathBuf;

/// What `--help` prints.
pub(super) const HELP: &str = "\
Measures codecs over transports, and makes a page of it.

Usage: cargo bench --bench NAME [-- [OPTIONS] [PART OF AN ID]...]

An id is codec/transport/workload. Without a part of one, all are measured.

Options:
      --quick          measures each combination for 6 seconds instead of 15
      --picture FILE   also writes all plots as one picture (SVG)
      --list           only tells the ids
      --test           only runs each once, and measures nothing
      --help           prints this";

/// What a command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) task: Task,
    pub(super) quick: bool,
    pub(super) picture: Option<PathBuf>,
    /// Parts of ids: one of them is in an id that is meant.
    pub(super) filters: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Task {
    /// As criterion does where nobody said `--bench`: tests run benches, too.
    #[default]
    Once,
    Measure,
    List,
    Help,
    /// Runs one combination in a process of its own, and prints what memory that took.
    Footprint(String),
}

/// The option by which a bench calls itself for [`Task::Footprint`].
pub(super) const FOOTPRINT: &str = "--footprint-of";

impl Options {
    /// An error says which argument is wrong.
    pub(super) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        let mut only = None;
        while let Some(argument) = arguments.next() {
            let mut value =
                |what| arguments.next().ok_or_else(|| format!("{argument} needs {what} after it"));
            match argument.as_str() {
                // Cargo says so for `cargo bench`.
                "--bench" => options.task = Task::Measure,
                "--quick" => options.quick = true,
                "--picture" => options.picture = Some(value("a file")?.into()),
                "--list" => only = Some(Task::List),
                "--test" => only = Some(Task::Once),
                "--help" | "-h" => only = Some(Task::Help),
                FOOTPRINT => only = Some(Task::Footprint(value("a combination")?)),
                _ if argument.starts_with('-') => {
                    return Err(format!("there is no option {argument}: see --help"));
                }
                _ => options.filters.push(argument),
            }
        }
        options.task = only.unwrap_or(options.task);
        Ok(options)
    }

    /// Whether an id is meant.
    pub(super) fn means(&self, id: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| id.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn cargo_bench_measures_and_a_test_run_does_not() {
        assert_eq!(parse("--bench").unwrap().task, Task::Measure);
        assert_eq!(parse("").unwrap().task, Task::Once);
        for line in ["--test --bench", "--bench --test"] {
            assert_eq!(parse(line).unwrap().task, Task::Once);
        }
        assert_eq!(parse("--list --bench").unwrap().task, Task::List);
        assert_eq!(parse("--help --bench").unwrap().task, Task::Help);
        let footprint = Task::Footprint("json/memory".to_owned());
        assert_eq!(parse("--footprint-of json/memory").unwrap().task, footprint);
    }

    #[test]
    fn options_and_parts_of_ids_come_in_any_order() {
        let options = parse("xml/ --quick --picture a.svg json/memory --bench").unwrap();
        let expected = Options {
            task: Task::Measure,
            quick: true,
            picture: Some("a.svg".into()),
            filters: vec!["xml/".to_owned(), "json/memory".to_owned()],
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn an_unknown_option_is_named() {
        let error = parse("--bench --quik").unwrap_err();
        assert_eq!(error, "there is no option --quik: see --help");
        assert_eq!(parse("--picture").unwrap_err(), "--picture needs a file after it");
    }

    #[test]
    fn an_id_is_meant_if_a_part_of_it_was_named() {
        let options = parse("xml/ json/memory/one-way").unwrap();
        assert!(options.means("xml/memory/catch-up"));
        assert!(options.means("json/memory/one-way"));
        assert!(!options.means("json/memory/catch-up"));
        assert!(parse("").unwrap().means("json/memory/catch-up"));
    }
}
