//! The outcome as a picture: a panel of bars for each figure, SVG.

use std::fmt::Write;

use super::metric::Metric;
use super::outcome::Outcome;
use super::summary::Spread;

/// The first contestant is what the others are compared with: grey.
const COLOURS: [&str; 6] = ["#94a3b8", "#2563eb", "#059669", "#d97706", "#9333ea", "#dc2626"];

const PANEL: (f64, f64) = (470.0, 290.0);
/// Between a panel's edge and its axes: left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (58.0, 44.0, 14.0, 34.0);
const PANELS_ABREAST: usize = 2;
const HEADER: f64 = 92.0;
const FOOTER: f64 = 30.0;

/// One figure: the contestants' values in each scenario.
struct Panel<'a> {
    metric: &'a Metric,
    values: Vec<Vec<Option<Spread>>>,
}

/// The outcome as an SVG picture.
pub(crate) fn svg(outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    let scenarios: Vec<_> = experiment.scenarios.iter().map(|scenario| scenario.name).collect();
    let contestants: Vec<_> =
        experiment.contestants.iter().map(|contestant| contestant.name.as_str()).collect();
    let panels: Vec<_> = experiment
        .plotted
        .iter()
        .map(|metric| {
            let spreads: Vec<_> = outcome.rows.iter().map(|row| row.spread(metric)).collect();
            Panel { metric, values: spreads.chunks(contestants.len()).map(<[_]>::to_vec).collect() }
        })
        .collect();

    let abreast = panels.len().min(PANELS_ABREAST);
    let lines = panels.len().div_ceil(PANELS_ABREAST);
    let width = PANEL.0 * number(abreast.max(1)) + 20.0;
    let height = HEADER + PANEL.1 * number(lines) + FOOTER;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut text = |x: f64, y: f64, attributes: &str, content: &str| {
        let content = escaped(content);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>");
    };
    text(20.0, 32.0, "font-size=\"18\" font-weight=\"bold\" fill=\"#0f172a\"", experiment.question);
    let note = format!(
        "medians of {} rounds of {} s, whiskers from the least to the most",
        outcome.rounds, outcome.seconds
    );
    text(20.0, 52.0, "font-size=\"12\" fill=\"#64748b\"", &note);
    let machine = outcome.circumstances.first().map_or("", |(_, value)| value);
    text(20.0, height - 12.0, "font-size=\"11\" fill=\"#64748b\"", machine);
    legend(&mut svg, &contestants);
    for (at, panel) in panels.iter().enumerate() {
        let x = 10.0 + PANEL.0 * number(at % PANELS_ABREAST);
        let y = HEADER + PANEL.1 * number(at / PANELS_ABREAST);
        let _ = writeln!(svg, "<g transform=\"translate({x:.1} {y:.1})\">");
        panel.draw(&mut svg, &scenarios);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String, contestants: &[&str]) {
    let mut x = 20.0;
    for (name, colour) in contestants.iter().zip(COLOURS.iter().cycle()) {
        let name = escaped(name);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"66\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"76\" font-size=\"12\" fill=\"#0f172a\">{name}</text>",
            x + 18.0
        );
        x += 18.0 + 6.8 * number(name.chars().count()) + 22.0;
    }
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, scenarios: &[&str]) {
        let (left, top) = (MARGIN.0, MARGIN.1);
        let (right, bottom) = (PANEL.0 - MARGIN.2, PANEL.1 - MARGIN.3);
        let most = self.values.iter().flatten().flatten().map(|spread| spread.max);
        let (step, end) = axis(most.fold(0.0, f64::max));
        let y_of = |value: f64| bottom - (bottom - top) * (value / end).clamp(0.0, 1.0);

        let title = escaped(self.metric.title);
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"22\" font-size=\"13\" font-weight=\"bold\" \
             fill=\"#0f172a\">{title}</text>"
        );
        let mut value = 0.0;
        while value <= end * 1.001 {
            let y = y_of(value);
            let colour = if value == 0.0 { "#475569" } else { "#e2e8f0" };
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
                 stroke=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\" \
                 fill=\"#64748b\">{}</text>",
                left - 6.0,
                y + 4.0,
                label(value, step)
            );
            value += step;
        }
        let group = (right - left) / number(scenarios.len().max(1));
        for (at, (scenario, values)) in scenarios.iter().zip(&self.values).enumerate() {
            let start = left + group * number(at);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"middle\" \
                 fill=\"#0f172a\">{}</text>",
                start + group / 2.0,
                bottom + 18.0,
                escaped(scenario)
            );
            self.bars(svg, values, start, group, &y_of);
        }
    }

    /// The bars of one scenario, between `start` and `start + group`.
    fn bars(
        &self,
        svg: &mut String,
        values: &[Option<Spread>],
        start: f64,
        group: f64,
        y_of: &dyn Fn(f64) -> f64,
    ) {
        const WIDEST: f64 = 46.0;
        let slot = (group * 0.84 / number(values.len().max(1))).min(WIDEST);
        let start = start + (group - slot * number(values.len())) / 2.0;
        let size = if slot < 34.0 { 9 } else { 11 };
        for (at, (spread, colour)) in values.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let Some(Spread { median, min, max }) = *spread else { continue };
            let (x, width) = (start + slot * number(at) + slot * 0.07, slot * 0.86);
            let (y, low, high, zero) = (y_of(median), y_of(min), y_of(max), y_of(0.0));
            let middle = x + width / 2.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"1.5\" \
                 fill=\"{colour}\"/>\
                 <path d=\"M{middle:.1} {low:.1}V{high:.1}M{:.1} {high:.1}h6M{:.1} {low:.1}h6\" \
                 stroke=\"#0f172a\" stroke-opacity=\"0.7\" fill=\"none\"/>\
                 <text x=\"{middle:.1}\" y=\"{:.1}\" font-size=\"{size}\" \
                 text-anchor=\"middle\" fill=\"#0f172a\">{median:.*}</text>",
                zero - y,
                middle - 3.0,
                middle - 3.0,
                high - 5.0,
                self.digits(median),
            );
        }
    }

    /// Fewer digits for large numbers: they stand above narrow bars.
    fn digits(&self, value: f64) -> usize {
        let shown = if value >= 100.0 { 0 } else { 2 };
        self.metric.digits.min(if (10.0..100.0).contains(&value) { 1 } else { shown })
    }
}

/// The distance of the axis's lines, and its end, which `most` may reach:
/// labels have room above it.
fn axis(most: f64) -> (f64, f64) {
    let aim = if most > 0.0 { most } else { 1.0 };
    let power = 10f64.powf((aim / 5.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| step * 5.0 >= aim).unwrap_or(steps[4]);
    (step, (aim / step).ceil() * step)
}

fn label(value: f64, step: f64) -> String {
    let digits = [1.0, 0.1, 0.01].iter().position(|unit| (step / unit).fract().abs() < 1e-6);
    format!("{value:.*}", digits.unwrap_or(3))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[allow(clippy::cast_precision_loss)] // A handful.
const fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::super::outcome::example;
    use super::*;

    #[test]
    fn each_figure_has_a_panel_and_each_row_a_bar() {
        let svg = svg(&example());
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        assert_eq!(svg.matches("<g ").count(), 6);
        for part in [">15.0<", ">5.00<", ">calls<", ">naive<", "2 CPUs &lt;of some kind&gt;"] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn axes_end_at_or_above_the_highest_value() {
        let cases = [
            (0.0, (0.2, 1.0)),
            (9.0, (2.0, 10.0)),
            (100.0, (20.0, 100.0)),
            (23.0, (5.0, 25.0)),
            (0.031, (0.01, 0.04)),
        ];
        for (most, expected) in cases {
            let (step, end) = axis(most);
            let same = |a: f64, b: f64| (a - b).abs() < 1e-9;
            assert!(same(step, expected.0) && same(end, expected.1), "{most}: {step} {end}");
        }
    }

    #[test]
    fn labels_have_the_digits_that_tell_the_lines_apart() {
        assert_eq!(label(50.0, 25.0), "50");
        assert_eq!(label(2.5, 2.5), "2.5");
        assert_eq!(label(0.02, 0.01), "0.02");
    }
}
