//! OpenMetrics 1.0 text.
//!
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::family::place;
use super::registry::Reading;
use crate::metrics::Exemplar;

/// Units that names end in, as the specification wants them.
const UNITS: [&str; 4] = ["seconds", "bytes", "ratio", "percent"];

/// All families in the OpenMetrics text format.
pub(super) fn encode(reading: &Reading) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(&mut text, reading);
    text
}

fn write_all(text: &mut String, reading: &Reading) -> fmt::Result {
    for family in &reading.families {
        write_family(text, family, reading)?;
    }
    text.write_str("# EOF\n")
}

fn write_family(text: &mut String, family: &MetricFamily, reading: &Reading) -> fmt::Result {
    let full = family.name();
    // The family of a counter has no suffix, its sample must have one. A counter
    // without it would get another name here than in the older format, and
    // queries would miss it: it keeps its name and loses its type.
    let (name, kind) = match (family.get_field_type(), full.strip_suffix("_total")) {
        (MetricType::COUNTER, Some(stem)) => (stem, "counter"),
        (MetricType::COUNTER, None) => (full, "unknown"),
        (MetricType::HISTOGRAM, _) => (full, "histogram"),
        _ => (full, "gauge"),
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    let unit =
        UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|stem| stem.ends_with('_')));
    if let Some(unit) = unit {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    writeln!(text, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::HISTOGRAM => write_histogram(text, full, metric, reading)?,
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                write_sample(text, full, "", metric, None, value)?;
                text.push('\n');
                if kind == "counter" {
                    let began = reading.besides.began.get(&place(full, metric));
                    write_created(text, name, metric, *began.unwrap_or(&reading.began))?;
                }
            }
            _ => {
                write_sample(text, full, "", metric, None, metric.get_gauge().get_value())?;
                text.push('\n');
            }
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    metric: &Metric,
    reading: &Reading,
) -> fmt::Result {
    let histogram = metric.get_histogram();
    let exemplars = reading.besides.exemplars.get(&place(name, metric));
    let bounded = histogram.get_bucket().iter();
    let buckets = bounded
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .chain([(f64::INFINITY, histogram.get_sample_count())]);
    for (place, (bound, count)) in buckets.enumerate() {
        write_sample(text, name, "_bucket", metric, Some(bound), count as f64)?;
        if let Some(exemplar) = exemplars.and_then(|table| table.get(place)?.as_ref()) {
            write_exemplar(text, exemplar)?;
        }
        text.push('\n');
    }
    let count = histogram.get_sample_count() as f64;
    write_sample(text, name, "_count", metric, None, count)?;
    text.push('\n');
    write_sample(text, name, "_sum", metric, None, histogram.get_sample_sum())?;
    text.push('\n');
    write_created(text, name, metric, reading.began)
}

/// When a count began, by which a reader tells one that was reset from one that went
/// on.
fn write_created(text: &mut String, name: &str, metric: &Metric, began: SystemTime) -> fmt::Result {
    write!(text, "{name}_created")?;
    write_labels(text, metric.get_label(), None)?;
    writeln!(text, " {}", Timestamp(began))
}

fn write_sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    write!(text, "{name}{suffix}")?;
    write_labels(text, metric.get_label(), bound)?;
    write!(text, " {}", Number(value))
}

fn write_labels(text: &mut String, labels: &[LabelPair], bound: Option<f64>) -> fmt::Result {
    if labels.is_empty() && bound.is_none() {
        return Ok(());
    }
    let mut separator = '{';
    for pair in labels {
        write!(text, "{separator}{}=\"{}\"", pair.name(), Escaped(pair.value()))?;
        separator = ',';
    }
    match bound {
        // Bounds are floats, also whole ones: 1.0.
        Some(bound) if bound.is_finite() => write!(text, "{separator}le=\"{bound:?}\"}}"),
        Some(_) => write!(text, "{separator}le=\"+Inf\"}}"),
        None => text.write_char('}'),
    }
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) -> fmt::Result {
    text.write_str(" # {trace_id=\"")?;
    exemplar.trace_id.iter().try_for_each(|byte| write!(text, "{byte:02x}"))?;
    write!(text, "\"}} {} {}", Number(exemplar.value), Timestamp(exemplar.at))
}

/// Seconds since 1970.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock before 1970 is set wrong; what happened then is still of use.
        let at = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(out, "{}.{:03}", at.as_secs(), at.subsec_millis())
    }
}

/// As the text formats write it.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => out.write_str("+Inf"),
            f64::NEG_INFINITY => out.write_str("-Inf"),
            value => write!(out, "{value}"),
        }
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '"' => out.write_str("\\\""),
            other => out.write_char(other),
        })
    }
}
