//! All plots side by side, as one file to be shown elsewhere.

use std::fmt::Write;

use super::plot::{LINE, Panel, STYLE, count};
use super::text::escape;
use super::{Figure, Marks, Report};

/// As wide as a column of text on a screen.
const WIDTH: f64 = 920.0;
const GAP: f64 = 34.0;

/// With the names of the combinations once, at the left.
pub(super) fn picture(report: &Report) -> String {
    let figures = &report.figures;
    let rows = figures.first().map_or(&[][..], |figure| &figure.rows);
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let names = (7.0 * count(longest)).clamp(60.0, WIDTH / 3.0);
    let width = (WIDTH - names - 12.0) / count(figures.len().max(1));
    let series = figures.iter().map(|figure| figure.series.len()).max().unwrap_or(0);
    let legend = 2.0 * LINE + 14.0;
    let top = legend + LINE * count(series) + 10.0;

    let mut panels = String::new();
    let mut bottom = top;
    for (index, figure) in figures.iter().enumerate() {
        let left = names + 22.0 + width * count(index);
        let panel = Panel::new(figure, left, width - GAP, top);
        bottom = panel.bottom();
        _ = write!(
            panels,
            "<text class=\"title\" x=\"{left:.1}\" y=\"24\">{}</text>\
             <text class=\"quiet\" x=\"{left:.1}\" y=\"39\">{}</text>",
            escape(figure.title),
            escape(&unit(figure)),
        );
        panel.legend(&mut panels, legend);
        panel.axis(&mut panels, top - 4.0);
        panel.marks(&mut panels);
        if index == 0 {
            for (index, row) in rows.iter().enumerate() {
                let y = panel.row(index) + panel.height / 2.0 + 4.0;
                _ = write!(panels, "<text x=\"12\" y=\"{y:.1}\">{}</text>", escape(&row.name));
            }
        }
    }
    let foot = bottom + 2.0 * LINE + 12.0;
    let height = foot + 14.0;
    let about = format!("{}. Bars across marks are 90 % intervals.", report.machine.name());
    let about = escape(&about);
    let title = escape(&report.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         width=\"{WIDTH:.0}\" height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title about\">\
         <title id=\"title\">{title}</title><desc id=\"about\">{about}</desc>\
         <style>{STYLE}</style>\
         <rect class=\"paper\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" rx=\"8\"/>\
         {panels}<text class=\"quiet\" x=\"12\" y=\"{foot:.1}\">{about}</text></svg>\n"
    )
}

/// With a word where the axis does not begin at zero.
fn unit(figure: &Figure) -> String {
    match figure.marks {
        Marks::Bars => figure.unit.to_owned(),
        Marks::Dots => format!("{}, logarithmic", figure.unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn it_has_all_figures_names_once_and_the_machine() {
        let picture = picture(&report());
        assert_eq!(picture.matches("class=\"title\"").count(), 2);
        assert_eq!(picture.matches(">json/a|b<").count(), 1);
        assert_eq!(picture.matches("<path class").count(), 5);
        assert_eq!(picture.matches(">k/s<").count(), 1);
        assert_eq!(picture.matches(">k/s, logarithmic<").count(), 1);
        assert!(picture.contains("Chip &lt;3&gt;, 2 cores, Linux"));
        assert!(picture.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn it_needs_nothing_from_elsewhere_and_is_well_formed() {
        let picture = picture(&report());
        let addresses = picture.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !["http", "url(", "@import", "href", "<script"].iter().any(|it| addresses.contains(it))
        );
        let mut open = Vec::new();
        for tag in picture.split('<').skip(1) {
            let name = tag.split([' ', '>', '/']).find(|name| !name.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.split('>').next().unwrap().ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
