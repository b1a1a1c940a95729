//! What is told while it is measured: rows as soon as they are there, and how long it goes on.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use crate::report::{Figure, Row, number};

/// How often a status is a line where lines stay.
const SELDOM: Duration = Duration::from_secs(5);

/// What was printed so far.
#[derive(Debug)]
pub(super) struct Progress {
    /// A status takes the place of the one before it.
    is_terminal: bool,
    said: Instant,
    /// How long the longest name is.
    width: usize,
}

impl Progress {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let width = width.max(HEAD.len());
        Self { is_terminal: io::stdout().is_terminal(), said: Instant::now(), width }
    }

    /// What is measured now, and how long all will take from now on.
    pub(super) fn status(&mut self, what: &str, left: Duration) {
        let status = format!("{what}, {} left", time(left));
        if self.is_terminal {
            print(&format!("\r\u{1b}[2K{status}"));
        } else if self.said.elapsed() >= SELDOM {
            self.line(&status);
        }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, line: &str) {
        let begin = if self.is_terminal { "\r\u{1b}[2K" } else { "" };
        print(&format!("{begin}{line}\n"));
        self.said = Instant::now();
    }

    /// The head of a table.
    pub(super) fn head(&mut self, figures: &[Figure]) {
        let head = head(figures, self.width);
        self.line(&head);
    }

    /// The figures of one combination.
    pub(super) fn row(&mut self, figures: &[Figure]) {
        let row = row(figures, self.width);
        self.line(&row);
    }
}

/// Who closed the other end of a pipe does not want to read: measure all the same.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

const HEAD: &str = "codec/transport";

/// For the widest `±` of a figure.
const SPREAD: usize = 5;

fn head(figures: &[Figure], width: usize) -> String {
    let mut titles = format!("{:width$}", "");
    let mut series = format!("{HEAD:width$}");
    for figure in figures {
        let mut names = String::new();
        for name in &figure.series {
            _ = write!(names, " {name:>width$}", width = column(name));
        }
        let group = names.chars().count() + SPREAD;
        let name = figure.title.to_lowercase();
        let mut title = format!("{name}, {}", figure.unit);
        if title.chars().count() > group {
            title = name;
        }
        _ = write!(titles, "  {title:group$}");
        _ = write!(series, "  {names}{:>SPREAD$}", "±");
    }
    format!("{}\n{series}", titles.trim_end())
}

fn row(figures: &[Figure], width: usize) -> String {
    let name = figures.iter().flat_map(|figure| &figure.rows).next();
    let mut line = format!("{:width$}", name.map_or("", |row| &row.name));
    for figure in figures {
        line += "  ";
        for (name, value) in
            figure.series.iter().zip(figure.rows.iter().flat_map(|row| &row.values))
        {
            let value = value.map_or_else(|| "–".to_owned(), |value| number(value.median));
            _ = write!(line, " {value:>width$}", width = column(name));
        }
        _ = write!(line, "{:>SPREAD$}", figure.rows.iter().find_map(spread).unwrap_or_default());
    }
    line.trim_end().to_owned()
}

fn column(series: &str) -> usize {
    series.chars().count().max(5)
}

/// How far the most doubtful value could lie elsewhere.
fn spread(row: &Row) -> Option<String> {
    let spreads = row.values.iter().flatten().map(|value| 100.0 * value.spread());
    let widest = spreads.max_by(f64::total_cmp).filter(|widest| *widest > 0.0)?;
    Some(format!("{:.0}%", widest.max(1.0)))
}

/// In seconds, and minutes if there are some.
pub(super) fn time(time: Duration) -> String {
    let seconds = (time + Duration::from_millis(500)).as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Estimate;
    use crate::report::Marks;

    fn figure(series: &[&'static str], values: &[Option<(f64, f64)>]) -> Figure {
        let value =
            |(median, half)| Estimate { median, low: median - half, high: median + half, count: 5 };
        Figure {
            key: "key",
            title: "Speed",
            unit: "k/s",
            about: "",
            marks: Marks::Bars,
            series: series.to_vec(),
            rows: vec![Row {
                name: "json/memory".to_owned(),
                values: values.iter().map(|it| it.map(value)).collect(),
            }],
        }
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let figures = [
            figure(&["one way", "back"], &[Some((1200.0, 24.0)), Some((10.0, 1.0))]),
            figure(&["bytes"], &[None]),
            figure(&["bytes"], &[Some((61.25, 0.0))]),
        ];
        let head = head(&figures, 16);
        assert_eq!(
            head,
            "                  speed, k/s           speed, k/s   speed, k/s\n\
             codec/transport    one way  back    ±   bytes    ±   bytes    ±"
        );
        let row = row(&figures, 16);
        assert_eq!(row, "json/memory           1200  10.0  10%       –         61.2");
    }

    #[test]
    fn times_are_whole_seconds_and_minutes() {
        let times =
            [0, 1400, 1500, 59_600, 125_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(times, ["0 s", "1 s", "2 s", "1 min 0 s", "2 min 5 s"]);
    }
}
