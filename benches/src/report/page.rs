//! The page: it stands alone, in light and dark, for eyes and for screen readers, also on a phone.

use std::fmt::Write;

use super::plot::{STYLE, plot};
use super::text::{escape, interval, number};
use super::{Figure, Report};
use crate::estimate::Estimate;

const PAGE_STYLE: &str = "\
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:66rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}
h2{font-size:1.2rem;margin:2.5rem 0 0}
p{max-width:44rem}
.quiet{color:var(--quiet)}
.beside{display:grid;grid-template-columns:minmax(0,1fr);gap:1rem;align-items:start}
@media (min-width:56rem){.beside{grid-template-columns:minmax(0,28rem) minmax(0,1fr)}}
svg{display:block;width:100%;max-width:32rem;height:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--quiet);padding:.25rem .5rem}
th,td{padding:.2rem .5rem;border-bottom:1px solid var(--line);text-align:right}
td{white-space:nowrap}
@media (max-width:30rem){th,td{padding:.2rem .3rem}}
th:first-child{text-align:left;font-weight:500}
thead th{font-weight:600;vertical-align:bottom}
td span{display:block;font-size:.75rem;color:var(--quiet)}
a{color:var(--first)}
code{font-size:.9em}
";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p>{}. <span class=\"quiet\">Absolute numbers are of this machine only: compare rows, which were \
         measured in turn.</span></p>\n",
        escape(&report.machine.name()),
    );
    for figure in &report.figures {
        section(&mut page, figure);
    }
    let Report { rounds, seconds, .. } = report;
    _ = write!(
        page,
        "<section>\n<h2>How it was measured</h2>\n\
         <p>By <code>{}</code>, in {rounds} rounds and {seconds} seconds. A round runs each workload of each \
         combination once, one after the other, so that a machine that becomes slower does so for all. \
         Both nodes, and the network between them, which is loopback, are in one process with two threads. \
         After each run the logs of both nodes are compared: an event that is missing, changed, out of order \
         or there twice ends the bench.</p>\n\
         <p>A value is the median of all rounds, a latency a percentile of all events. In brackets, and as a \
         line across a mark, stands the interval in which it lies in nine of ten resamplings of the rounds. \
         The numbers are also <a href=\"numbers.json\">JSON for programs</a>.</p>\n\
         </section>\n</main>\n</body>\n</html>\n",
        escape(&report.command),
    );
    page
}

/// A plot, and all its values as a table beside it.
fn section(page: &mut String, figure: &Figure) {
    let (key, title) = (escape(figure.key), escape(figure.title));
    let unit = escape(figure.unit);
    _ = write!(
        page,
        "<section aria-labelledby=\"{key}\">\n<h2 id=\"{key}\">{title}</h2>\n<p>{}</p>\n\
         <div class=\"beside\">\n{}\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{title}, as a table\">\n<table>\n\
         <caption>{title}, in {unit}; 90 % intervals; {}</caption>\n\
         <thead><tr><th scope=\"col\">codec/<wbr>transport</th>",
        escape(figure.about),
        plot(figure),
        measurements(figure),
    );
    for series in &figure.series {
        _ = write!(page, "<th scope=\"col\">{}</th>", escape(series));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &figure.rows {
        // A phone has room for two short lines rather than for a long one.
        let name = escape(&row.name).replace('/', "/<wbr>");
        _ = write!(page, "<tr><th scope=\"row\">{name}</th>");
        for value in &row.values {
            _ = write!(page, "<td>{}</td>", value.as_ref().map_or_else(not_measured, cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n</div>\n</section>\n");
}

/// Of how many measurements each value is.
fn measurements(figure: &Figure) -> String {
    let counts = figure.estimates().map(|estimate| estimate.count);
    match (counts.clone().min(), counts.max()) {
        (Some(1), Some(1)) => "one measurement each".to_owned(),
        (Some(least), Some(most)) if least < most => format!("{least} or more measurements each"),
        (least, _) => format!("{} measurements each", least.unwrap_or(0)),
    }
}

/// A value, behind which its interval stands back.
fn cell(estimate: &Estimate) -> String {
    let value = number(estimate.median);
    match interval(estimate) {
        Some(interval) => format!("{value} <span>{interval}</span>"),
        None => value,
    }
}

fn not_measured() -> String {
    "not measured".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn each_figure_has_a_plot_with_a_text_and_a_table() {
        let page = page(&report());
        for (part, count) in [
            ("<svg ", 2),
            ("role=\"img\" aria-labelledby=", 2),
            ("<table>", 2),
            ("<caption>", 2),
            // Two names and three columns in each table.
            ("scope=\"row\"", 4),
            ("scope=\"col\"", 6),
            ("<td>not measured</td>", 2),
            ("<td>1200 <span>[1080, 1440]</span></td>", 2),
        ] {
            assert_eq!(page.matches(part).count(), count, "{part}");
        }
    }

    #[test]
    fn a_table_tells_how_often_its_values_were_measured() {
        let mut figure = report().figures.remove(0);
        assert_eq!(measurements(&figure), "12 measurements each");
        figure.rows[0].values[0].as_mut().unwrap().count = 13;
        assert_eq!(measurements(&figure), "12 or more measurements each");
        figure
            .rows
            .iter_mut()
            .flat_map(|row| row.values.iter_mut().flatten())
            .for_each(|it| it.count = 1);
        assert_eq!(measurements(&figure), "one measurement each");
    }

    #[test]
    fn names_of_users_are_text() {
        let page = page(&report());
        for hostile in ["<b>\"", "a <matrix>", "Chip <3>", "&& true", "<ways>", "<good>"] {
            assert!(!page.contains(hostile), "{hostile}");
        }
        assert!(page.contains("<title>a &lt;matrix&gt;</title>"));
    }

    #[test]
    fn it_needs_nothing_from_elsewhere() {
        let page = page(&report());
        assert!(
            !["http", "src=", "url(", "@import", "<script", "<link"]
                .iter()
                .any(|it| page.contains(it))
        );
        assert!(page.contains("prefers-color-scheme:dark"));
        assert!(page.contains("width=device-width"));
    }

    #[test]
    fn identifiers_are_there_once() {
        let page = page(&report());
        let mut ids: Vec<&str> =
            page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), count), (6, 6));
    }
}
