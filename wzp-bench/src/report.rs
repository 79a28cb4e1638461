//! The outcome as Markdown for people and as JSON for programs.

use serde_json::{Map, Value, json};

use super::metric::Metric;
use super::outcome::{Outcome, Row};
use super::summary::Spread;

/// Markdown: what was asked, the table, how to read it.
pub(crate) fn markdown(outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    let mut text = format!("# {}\n\n", experiment.question);
    text += &format!(
        "Medians of {} interleaved rounds of {} s; in brackets the least and the most.\n\n",
        outcome.rounds, outcome.seconds
    );
    for (name, value) in &outcome.circumstances {
        text += &format!("* {name}: {value}\n");
    }
    text.push('\n');
    text += &table(outcome);
    text += "\nThe ratio is median to median, in brackets the median of each round's own ratio. \
             Added latency is from a talker's send to a listener's receive, both in the load \
             generator, with the network between them.\n";
    let remarks = outcome.rows.iter().flat_map(|row| {
        let place = format!("{}, {}", row.scenario.name, row.contestant);
        row.remarks().into_iter().map(move |remark| format!("* {place}: {remark}\n"))
    });
    let remarks: String = remarks.collect();
    if !remarks.is_empty() {
        text += &format!("\n(!) What limited or disturbed the runs:\n\n{remarks}");
    }
    if !outcome.failures.is_empty() {
        text += "\nRuns that brought nothing:\n\n";
        text.extend(outcome.failures.iter().map(|failure| format!("* {failure}\n")));
    }
    text
}

fn table(outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    let ratio = format!("{} : {}", short(&experiment.compared), outcome.base_name());
    let mut heads = vec!["scenario", "rooms x members (talkers)", "server"];
    heads.extend([experiment.compared.title, &ratio]);
    heads.extend(experiment.columns.iter().map(|metric| metric.title));
    let mut text = line(heads.iter().map(ToString::to_string));
    text += &line(heads.iter().enumerate().map(|(at, _)| match at {
        0..3 => "---".to_owned(),
        _ => "---:".to_owned(),
    }));
    for row in &outcome.rows {
        let mark = if row.remarks().is_empty() { "" } else { " (!)" };
        let mut cells =
            vec![row.scenario.name.to_owned(), row.scenario.shape(), row.contestant.clone() + mark];
        cells.push(cell(row, &experiment.compared));
        cells.push(match (outcome.ratio(row), outcome.base_of(row)) {
            (Some(ratio), _) => format!("{:.2} ({:.2})", ratio.of_medians, ratio.by_round),
            (None, None) => "1".to_owned(),
            (None, Some(_)) => "-".to_owned(),
        });
        cells.extend(experiment.columns.iter().map(|metric| cell(row, metric)));
        text += &line(cells.into_iter());
    }
    text
}

/// A title without its unit.
fn short(metric: &Metric) -> &str {
    metric.title.split(',').next().unwrap_or(metric.title)
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(row: &Row, metric: &Metric) -> String {
    let digits = metric.digits;
    match row.spread(metric) {
        None => "-".to_owned(),
        Some(Spread { median, min, max }) => {
            let shown = |value: f64| format!("{value:.digits$}");
            if shown(min) == shown(max) {
                shown(median)
            } else {
                format!("{} ({}-{})", shown(median), shown(min), shown(max))
            }
        }
    }
}

/// JSON: the same and every run.
pub(crate) fn json(outcome: &Outcome) -> Value {
    let experiment = &outcome.experiment;
    let metrics: Vec<_> = [&experiment.compared].into_iter().chain(&experiment.columns).collect();
    let rows = outcome.rows.iter().map(|row| {
        let figures = metrics
            .iter()
            .filter_map(|metric| Some((metric.key.to_owned(), json!(row.spread(metric)?))));
        json!({
            "scenario": row.scenario,
            "server": row.contestant,
            "figures": figures.collect::<Map<_, _>>(),
            "ratio": outcome.ratio(row),
            "remarks": row.remarks(),
            "runs": row.runs,
        })
    });
    let circumstances = outcome.circumstances.iter();
    json!({
        "experiment": experiment.name,
        "question": experiment.question,
        "circumstances": circumstances
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<Map<_, _>>(),
        "rounds": outcome.rounds,
        "seconds": outcome.seconds,
        "compared": experiment.compared.key,
        "base": outcome.base_name(),
        "titles": metrics
            .iter()
            .map(|metric| (metric.key.to_owned(), json!(metric.title)))
            .collect::<Map<_, _>>(),
        "rows": rows.collect::<Vec<_>>(),
        "failures": outcome.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::example;
    use super::*;

    #[test]
    fn the_table_has_medians_spreads_ratios_and_marks() {
        let text = markdown(&example());
        for part in [
            "| server | server CPU, µs/frame | server CPU : naive | server CPU, % |",
            "| calls | 20 x 5 (5) | naive (!) | 15.00 (10.00-20.00) | 1 |",
            "| calls | 20 x 5 (5) | relay | 5.00 (4.00-6.00) | 0.33 (0.35) |",
            "* calls, naive: in 1 of 2 rounds the server was the limit",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("brought nothing"));
        let mut outcome = example();
        outcome.failures.push("round 1, calls, relay: it ended".to_owned());
        assert!(markdown(&outcome).contains("* round 1, calls, relay: it ended"));
    }

    #[test]
    fn the_json_has_figures_by_key() {
        let json = json(&example());
        assert_eq!(json["rows"][1]["figures"]["us_per_frame"]["median"], 5.0);
        assert_eq!(json["rows"][1]["runs"]["2"]["load"]["frames_received"], 1000);
        assert_eq!(json["titles"]["us_per_frame"], "server CPU, µs/frame");
        assert!(json["rows"][0]["ratio"].is_null());
    }
}
