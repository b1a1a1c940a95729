//! Numbers and names, as people read them.

use std::fmt::Write;

use super::Figure;
use crate::estimate::Estimate;

/// Three digits, or all of those before the point.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Where a value could lie, too, if that is not a point.
pub(super) fn interval(estimate: &Estimate) -> Option<String> {
    let [low, high] = [estimate.low, estimate.high].map(number);
    (low != high).then(|| format!("[{low}, {high}]"))
}

/// A text inside HTML and SVG, in attributes, too: names are a user's own.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no other control characters.
            char if char.is_control() && !matches!(char, '\n' | '\t') => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// The medians of all figures, a row for each combination.
pub(super) fn markdown(figures: &[Figure]) -> String {
    let Some(first) = figures.first() else { return String::new() };
    let mut table = String::from("| codec/transport |");
    for figure in figures {
        for series in &figure.series {
            _ = write!(table, " {}: {series}, {} |", figure.title.to_lowercase(), figure.unit);
        }
    }
    table.push_str("\n|---|");
    figures.iter().flat_map(|figure| &figure.series).for_each(|_| table.push_str("--:|"));
    for (index, row) in first.rows.iter().enumerate() {
        _ = write!(table, "\n| {} |", row.name.replace('|', "\\|"));
        for value in figures.iter().flat_map(|figure| &figure.rows[index].values) {
            let value = value.map_or_else(|| "–".to_owned(), |value| number(value.median));
            _ = write!(table, " {value} |");
        }
    }
    table.push('\n');
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{estimate, report};

    #[test]
    fn numbers_have_three_digits_or_all_before_the_point() {
        let values = [0.0, 0.034, 1.0, 9.994, 9.996, 12.34, 99.94, 99.96, 1187.4];
        let numbers = ["0", "0.03", "1.00", "9.99", "10.0", "12.3", "99.9", "100", "1187"];
        assert_eq!(values.map(number), numbers);
    }

    #[test]
    fn an_interval_that_is_a_point_is_left_out() {
        assert_eq!(interval(&estimate(100.0)).as_deref(), Some("[90.0, 120]"));
        let counted = Estimate { low: 7.0, high: 7.0, ..estimate(7.0) };
        assert_eq!(interval(&counted), None);
    }

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(
            escape("<a href=\"x\">&'\u{1b}"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}"
        );
        assert_eq!(escape("größe 本"), "größe 本");
    }

    #[test]
    fn the_table_has_a_column_for_each_series_of_each_figure() {
        let table = markdown(&report().figures);
        let lines: Vec<&str> = table.lines().collect();
        let columns = lines[1].matches("--:").count();
        assert_eq!((lines.len(), columns), (4, 4));
        assert_eq!(lines[2], "| json/a\\|b | 1200 | 640 | 1200 | 640 |");
        assert_eq!(lines[3], "| xml/<b>\"&' | 3.50 | – | 3.50 | – |");
    }
}
