//! JSON: an array of families, each with name, type, help and metrics. What is
//! no number in JSON (infinity, not a number) is a string, as in the text.

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde_json::{Map, Value, json};

use super::openmetrics::Number;

/// All families as one JSON object.
pub(super) fn encode(families: &[MetricFamily]) -> Result<String, String> {
    let families = families.iter().map(|family| {
        let kind = family.get_field_type();
        let metrics = family.get_metric().iter().map(|metric| of_metric(kind, metric));
        json!({
            "name": family.name(),
            "type": match kind {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
            "help": family.help(),
            "metrics": metrics.collect::<Value>(),
        })
    });
    let text = wzp_untrusted::json::to_string(&families.collect::<Value>());
    text.map(|text| text + "\n").map_err(|error| error.to_string())
}

fn of_metric(kind: MetricType, metric: &Metric) -> Value {
    let pairs = metric.get_label().iter();
    let labels: Map<_, _> =
        pairs.map(|pair| (pair.name().to_owned(), pair.value().into())).collect();
    match kind {
        MetricType::COUNTER => {
            json!({ "labels": labels, "value": number(metric.get_counter().get_value()) })
        }
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let buckets = histogram.get_bucket().iter().map(|bucket| {
                json!({
                    "le": number(bucket.upper_bound()),
                    "count": bucket.cumulative_count(),
                })
            });
            json!({
                "labels": labels,
                "buckets": buckets.collect::<Value>(),
                "count": histogram.get_sample_count(),
                "sum": number(histogram.get_sample_sum()),
            })
        }
        _ => json!({ "labels": labels, "value": number(metric.get_gauge().get_value()) }),
    }
}

/// Whole numbers without a fraction, as long as they are exact.
fn number(value: f64) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::from(value as i64);
    }
    if value.is_finite() { Value::from(value) } else { Value::from(Number(value).to_string()) }
}
