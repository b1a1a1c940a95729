//! Figures as SVG.

use std::fmt::Write;

use super::scale::Scale;
use super::text::{escape, interval, number};
use super::{Figure, Marks};
use crate::estimate::Estimate;

/// Of all plots, in light and dark. The colours of the series differ for all kinds of colour vision,
/// and so does something else: the order of bars, the shape of dots.
pub(super) const STYLE: &str = "\
:root{--paper:#fff;--ink:#1b1f24;--quiet:#57606a;--line:#d8dee4;\
--first:#0072b2;--second:#d55e00;--third:#b8609a}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--quiet:#9da7b3;--line:#373e47;\
--first:#56b4e9;--second:#f28c38;--third:#dba3c6}}
svg text{font:11px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--ink);\
stroke:var(--paper);stroke-width:3;paint-order:stroke}
svg text.title{font-size:13px;font-weight:600}
svg text.quiet{fill:var(--quiet)}
.paper{fill:var(--paper)}
.grid{stroke:var(--line)}
.halo{stroke:var(--paper);stroke-width:3}
.interval{stroke:var(--ink);stroke-width:1.5}
.s0{fill:var(--first)}.s1{fill:var(--second)}.s2{fill:var(--third)}
";

/// Of a line of text.
pub(super) const LINE: f64 = 15.0;

/// The height of a bar, at most.
const BAR: f64 = 9.0;

/// A letter's, about; wide enough for most.
const LETTER: f64 = 6.3;

/// The part of a picture in which the values of a figure are.
pub(super) struct Panel<'a> {
    pub(super) figure: &'a Figure,
    scale: Scale,
    /// Where the axis begins and how long it is.
    pub(super) left: f64,
    pub(super) width: f64,
    /// Where the marks of the first row are, and those of the next.
    pub(super) top: f64,
    pub(super) step: f64,
    /// What the marks of a row take.
    pub(super) height: f64,
}

/// One figure by itself, as wide as a phone, with the names of the rows above their marks.
pub(super) fn plot(figure: &Figure) -> String {
    let legend = LINE * count(figure.series.len());
    let height = match figure.marks {
        Marks::Bars => BAR * count(figure.series.len()),
        Marks::Dots => 14.0,
    };
    let mut panel = Panel::new(figure, 10.0, 328.0, legend + 6.0 + LINE);
    (panel.height, panel.step) = (height, height + LINE + 8.0);
    let bottom = panel.bottom();
    let mut svg = String::new();
    let (key, total) = (escape(figure.key), bottom + LINE + 6.0);
    _ = write!(
        svg,
        "<svg viewBox=\"0 0 360 {total:.0}\" role=\"img\" aria-labelledby=\"{key}-title {key}-about\">\
         <title id=\"{key}-title\">{}, in {}</title><desc id=\"{key}-about\">{}</desc>",
        escape(figure.title),
        escape(figure.unit),
        escape(&summary(figure)),
    );
    panel.legend(&mut svg, 0.0);
    panel.axis(&mut svg, legend + 6.0);
    for (index, row) in figure.rows.iter().enumerate() {
        let base = panel.row(index) - 4.0;
        _ = write!(svg, "<text x=\"10\" y=\"{base:.1}\">{}</text>", escape(&row.name));
    }
    panel.marks(&mut svg);
    svg.push_str("</svg>");
    svg
}

/// For those who do not see the plot: its ends. The table beside it has the rest.
fn summary(figure: &Figure) -> String {
    let mut summary = format!("{} Each value is in the table beside it.", figure.about);
    for (index, series) in figure.series.iter().enumerate() {
        let values = figure.rows.iter().filter_map(|row| Some((&row.name, row.values[index]?)));
        let by_median =
            |a: &(&String, Estimate), b: &(&String, Estimate)| a.1.median.total_cmp(&b.1.median);
        let ends = (values.clone().min_by(by_median), values.max_by(by_median));
        if let (Some((lowest, low)), Some((highest, high))) = ends {
            _ = write!(
                summary,
                " {series}: from {} {unit} ({lowest}) to {} {unit} ({highest}).",
                number(low.median),
                number(high.median),
                unit = figure.unit,
            );
        }
    }
    summary
}

impl<'a> Panel<'a> {
    pub(super) fn new(figure: &'a Figure, left: f64, width: f64, top: f64) -> Self {
        Self { figure, scale: Scale::of(figure), left, width, top, step: 26.0, height: 20.0 }
    }

    /// Where the marks of a row begin.
    pub(super) fn row(&self, index: usize) -> f64 {
        self.top + self.step * count(index)
    }

    /// Where the axis is.
    pub(super) fn bottom(&self) -> f64 {
        self.row(self.figure.rows.len()) - self.step + self.height + 6.0
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.width * self.scale.place(value)
    }

    /// The names of the series, each with its mark, one below the other.
    pub(super) fn legend(&self, svg: &mut String, top: f64) {
        for (index, series) in self.figure.series.iter().enumerate() {
            let y = top + LINE * count(index) + LINE / 2.0;
            let x = self.left + 5.0;
            match self.figure.marks {
                Marks::Bars => rectangle(svg, index, [x - 5.0, y - 4.0, 10.0, 8.0]),
                Marks::Dots => dot(svg, index, x, y),
            }
            let (x, y) = (x + 10.0, y + 4.0);
            _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(series));
        }
    }

    /// Lines at round values, of which every one is named, or every second and so on, as there is room.
    pub(super) fn axis(&self, svg: &mut String, top: f64) {
        let bottom = self.bottom();
        let ticks: Vec<_> =
            self.scale.ticks().into_iter().map(|tick| (self.x(tick), label(tick))).collect();
        let half = |label: &str| LETTER * count(label.len()) / 2.0;
        let has_room = |every: &usize| {
            let named: Vec<_> = ticks.iter().step_by(*every).collect();
            named.windows(2).all(|pair| {
                let [(x, label), (next, next_label)] = pair else { return true };
                x + half(label) + LETTER <= next - half(next_label)
            })
        };
        let every = (1..ticks.len()).find(has_room).unwrap_or(ticks.len().max(1));
        for (index, (x, label)) in ticks.iter().enumerate() {
            _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            );
            if index % every == 0 {
                let y = bottom + LINE - 2.0;
                _ = write!(
                    svg,
                    "<text class=\"quiet\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>"
                );
            }
        }
    }

    /// The values and their intervals.
    pub(super) fn marks(&self, svg: &mut String) {
        for (index, row) in self.figure.rows.iter().enumerate() {
            let top = self.row(index);
            for (series, estimate) in row.values.iter().enumerate() {
                let Some(estimate) = estimate else { continue };
                let name = self.figure.series[series];
                let [low, x, high] =
                    [estimate.low, estimate.median, estimate.high].map(|value| self.x(value));
                _ = write!(
                    svg,
                    "<g><title>{}, {}: {} {} {}</title>",
                    escape(&row.name),
                    escape(name),
                    number(estimate.median),
                    escape(self.figure.unit),
                    interval(estimate).unwrap_or_default(),
                );
                match self.figure.marks {
                    Marks::Bars => {
                        let each = (self.height / count(row.values.len())).min(BAR);
                        let unused = self.height - each * count(row.values.len());
                        let top = top + unused / 2.0 + each * count(series);
                        let bar = [self.left, top + 0.5, (x - self.left).max(1.0), each - 1.0];
                        rectangle(svg, series, bar);
                        whisker(svg, low, high, top + each / 2.0);
                    }
                    Marks::Dots => {
                        let y = top + self.height / 2.0;
                        whisker(svg, low, high, y);
                        dot(svg, series, x, y);
                    }
                }
                svg.push_str("</g>");
            }
        }
    }
}

fn rectangle(svg: &mut String, series: usize, [x, y, width, height]: [f64; 4]) {
    _ = write!(
        svg,
        "<rect class=\"s{series}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    );
}

/// A circle, a square or a diamond.
fn dot(svg: &mut String, series: usize, x: f64, y: f64) {
    let shape = match series {
        0 => "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
        1 => "M-4-4h8v8h-8z",
        _ => "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    };
    _ = write!(
        svg,
        "<path class=\"s{series}\" transform=\"translate({x:.1} {y:.1})\" d=\"{shape}\"/>"
    );
}

/// From the lower end of an interval to its upper end, if that can be seen.
fn whisker(svg: &mut String, low: f64, high: f64, y: f64) {
    if high - low < 0.5 {
        return;
    }
    for class in ["halo", "interval"] {
        _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
    }
}

/// A round number, without what was lost by rounding.
fn label(tick: f64) -> String {
    let label = format!("{tick:.6}");
    label.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Of rows, series and letters.
pub(super) fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    /// All that stands in such an attribute.
    fn attributes(svg: &str, name: &str) -> Vec<f64> {
        let begin = format!(" {name}=\"");
        svg.split(&begin)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn each_value_that_was_measured_is_drawn_once() {
        let figures = report().figures;
        let [bars, dots] = [&figures[0], &figures[1]].map(plot);
        // Two of the legend, three values.
        assert_eq!((bars.matches("<rect").count(), dots.matches("<path").count()), (5, 5));
        for (svg, series) in [(&bars, "s0"), (&dots, "s0")] {
            assert_eq!(svg.matches(&format!("class=\"{series}\"")).count(), 3);
        }
        assert!(bars.contains("xml/&lt;b&gt;&quot;&amp;&#39;, one way: 3.50 k/s [3.15, 4.20]<"));
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let svg = plot(&report().figures[0]);
        // The axis goes to 1,500, for the interval ends at 1,440.
        let widths = &attributes(&svg, "width")[2..];
        let expected = [1200.0, 640.0, 3.5].map(|value: f64| (328.0 * value / 1500.0).max(1.0));
        for (width, expected) in widths.iter().zip(expected) {
            assert!((width - expected).abs() < 0.06, "{width} instead of {expected}");
        }
    }

    #[test]
    fn nothing_is_outside_the_picture() {
        for figure in &report().figures {
            let svg = plot(figure);
            let size = svg.split("viewBox=\"0 0 360 ").nth(1).unwrap();
            let height: f64 = size.split('"').next().unwrap().parse().unwrap();
            for (names, end) in [(["x", "x1", "x2"], 360.0), (["y", "y1", "y2"], height)] {
                for place in names.iter().flat_map(|name| attributes(&svg, name)) {
                    assert!((0.0..=end).contains(&place), "{place} of {end}");
                }
            }
        }
    }

    #[test]
    fn who_does_not_see_it_is_told_the_ends() {
        let summary = summary(&report().figures[0]);
        let ends = "one way: from 3.50 k/s (xml/<b>\"&') to 1200 k/s (json/a|b).";
        assert!(summary.contains(ends), "{summary}");
        assert!(summary.contains("both <ways>: from 640 k/s (json/a|b) to 640 k/s"), "{summary}");
    }

    #[test]
    fn labels_of_an_axis_are_short_and_do_not_touch() {
        assert_eq!(
            [0.0, 0.02, 10.0, 1500.0, 0.1 + 0.2].map(label),
            ["0", "0.02", "10", "1500", "0.3"]
        );
        let figures = report().figures;
        let panel = Panel::new(&figures[0], 0.0, 60.0, 0.0);
        let mut svg = String::new();
        panel.axis(&mut svg, 0.0);
        // 0, 500, 1000, 1500: every second has room.
        assert_eq!((svg.matches("<line").count(), svg.matches("<text").count()), (4, 2), "{svg}");
        assert!(svg.contains(">0<") && svg.contains(">1000<"), "{svg}");
    }
}
