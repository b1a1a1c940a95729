//! What was measured, as a page, a picture, a table and numbers for programs.
//!
//! A [`Figure`] is plain data. Nothing here knows what it is about: page, picture and table are made
//! from the same figures.

mod machine;
mod page;
mod picture;
mod plot;
mod scale;
mod text;

use std::path::Path;
use std::{fs, io};

use serde::Serialize;

use crate::estimate::Estimate;
pub(crate) use machine::Machine;
pub(crate) use text::number;

/// All of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) title: String,
    /// By which command.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// How often each combination was measured, and how long all took.
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) figures: Vec<Figure>,
}

/// One plot, and the table beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// What it shows, and which way is better.
    pub(crate) about: &'static str,
    pub(crate) marks: Marks,
    /// The names of the values of a row.
    pub(crate) series: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Marks {
    /// From zero.
    Bars,
    /// On a logarithmic scale, for values that are far apart.
    Dots,
}

/// The values of a combination, in the order of the series.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<Estimate>>,
}

impl Report {
    /// Writes the page, and the numbers beside it.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("index.html"), page::page(self))?;
        let mut numbers = serde_json::to_vec_pretty(self)?;
        numbers.push(b'\n');
        fs::write(folder.join("numbers.json"), numbers)
    }

    /// Writes all plots as one picture.
    pub(crate) fn write_picture(&self, file: &Path) -> io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, picture::picture(self))
    }

    /// The medians of all figures in one table.
    pub(crate) fn markdown(&self) -> String {
        text::markdown(&self.figures)
    }
}

impl Figure {
    /// All that was measured of it.
    fn estimates(&self) -> impl Iterator<Item = &Estimate> + Clone {
        self.rows.iter().flat_map(|row| row.values.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn estimate(median: f64) -> Estimate {
        Estimate { median, low: median * 0.9, high: median * 1.2, count: 12 }
    }

    /// Names as hostile as a user's own can be, and a value that is missing.
    pub(super) fn report() -> Report {
        let row = |name: &str, values: [Option<f64>; 2]| Row {
            name: name.to_owned(),
            values: values.map(|value| value.map(estimate)).to_vec(),
        };
        let figure = |key, marks| Figure {
            key,
            title: "Speed",
            unit: "k/s",
            about: "More is better & <good>.",
            marks,
            series: vec!["one way", "both <ways>"],
            rows: vec![
                row("json/a|b", [Some(1200.0), Some(640.0)]),
                row("xml/<b>\"&'", [Some(3.5), None]),
            ],
        };
        Report {
            title: "a <matrix>".to_owned(),
            command: "cargo bench && true".to_owned(),
            machine: Machine {
                cpu: Some("Chip <3>".to_owned()),
                cores: 2,
                system: "Linux".to_owned(),
                rust: None,
                commit: None,
                date: "2026-08-01".to_owned(),
            },
            rounds: 12,
            seconds: 34,
            figures: vec![figure("bars", Marks::Bars), figure("dots", Marks::Dots)],
        }
    }

    #[test]
    fn the_numbers_are_json_that_has_them_all() {
        let report = serde_json::to_value(report()).unwrap();
        let row = &report["figures"][0]["rows"][1];
        assert_eq!(row["name"], "xml/<b>\"&'");
        assert_eq!(row["values"][0]["median"], 3.5);
        assert_eq!(row["values"][0]["count"], 12);
        assert!(row["values"][1].is_null());
        assert_eq!(report["figures"][1]["marks"], "dots");
        assert_eq!(report["machine"]["cores"], 2);
    }

    #[test]
    fn page_and_numbers_are_files_of_one_folder() {
        let folder = std::env::temp_dir().join(format!("logux-report-{:016x}", fastrand::u64(..)));
        report().write(&folder).unwrap();
        report().write_picture(&folder.join("pictures/all.svg")).unwrap();
        let picture = fs::read_to_string(folder.join("pictures/all.svg")).unwrap();
        let page = fs::read_to_string(folder.join("index.html")).unwrap();
        let numbers = fs::read(folder.join("numbers.json")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(page.starts_with("<!doctype html>"));
        assert!(picture.starts_with("<svg "));
        assert!(serde_json::from_slice::<serde_json::Value>(&numbers).unwrap().is_object());
    }
}
