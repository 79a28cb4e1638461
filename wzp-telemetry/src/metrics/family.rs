//! A family of metrics: name, type, help, labels and source in one place.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use wzp_untrusted::text;

use super::histogram::{Exemplar, HistogramReading};

/// One series: a value for each label of the family, and the number.
pub type Series = (Vec<String>, f64);

/// One histogram: a value for each label of the family, and what it holds.
pub type HistogramSeries = (Vec<String>, HistogramReading);

/// Where the numbers of some families come from.
pub trait Source: Send + Sync + 'static {
    /// What one scrape reads once and several families show.
    type Scrape<'a>;

    /// Reads it. May block; never called from an async task.
    fn scrape(&self) -> Self::Scrape<'_>;
}

/// One family and where its series come from.
pub struct Family<S: Source> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    values: Values<S>,
}

enum Values<S: Source> {
    Gauge(fn(&S::Scrape<'_>) -> Vec<Series>),
    Counter(fn(&S::Scrape<'_>) -> Vec<Series>),
    Histogram(fn(&S::Scrape<'_>) -> Vec<HistogramSeries>),
}

/// Name, type and labels of a family.
pub type Description = (&'static str, &'static str, &'static [&'static str]);

/// The last observation with a trace in each bucket of a histogram, by the
/// family's name and the values of its labels. `MetricFamily` has no place for
/// them.
pub(super) type Exemplars = HashMap<(String, Vec<String>), Vec<Option<Exemplar>>>;

/// The series of a family without labels.
pub fn single(value: f64) -> Vec<Series> {
    vec![(Vec::new(), value)]
}

impl<S: Source> Family<S> {
    /// What goes up and down.
    pub const fn gauge(
        name: &'static str,
        help: &'static str,
        series: fn(&S::Scrape<'_>) -> Vec<Series>,
    ) -> Self {
        Self { name, help, labels: &[], values: Values::Gauge(series) }
    }

    /// What only grows while the program runs. The name ends in `_total`.
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        series: fn(&S::Scrape<'_>) -> Vec<Series>,
    ) -> Self {
        Self { name, help, labels: &[], values: Values::Counter(series) }
    }

    /// Observations by size.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        series: fn(&S::Scrape<'_>) -> Vec<HistogramSeries>,
    ) -> Self {
        Self { name, help, labels: &[], values: Values::Histogram(series) }
    }

    /// With these labels; each series then has a value for each.
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// Name, type and labels.
    pub fn description(&self) -> Description {
        let kind = match self.values {
            Values::Gauge(_) => "gauge",
            Values::Counter(_) => "counter",
            Values::Histogram(_) => "histogram",
        };
        (self.name, kind, self.labels)
    }

    pub(super) fn desc(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        Desc::new(self.name.into(), self.help.into(), labels, HashMap::new())
    }

    pub(super) fn collect(
        &self,
        scrape: &S::Scrape<'_>,
        exemplars: &mut Exemplars,
    ) -> MetricFamily {
        let (kind, metrics) = match self.values {
            Values::Gauge(series) => {
                let metrics = series(scrape).into_iter().map(|(labels, value)| {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    self.metric(labels, |metric| metric.set_gauge(gauge))
                });
                (MetricType::GAUGE, metrics.collect())
            }
            Values::Counter(series) => {
                let metrics = series(scrape).into_iter().map(|(labels, value)| {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    self.metric(labels, |metric| metric.set_counter(counter))
                });
                (MetricType::COUNTER, metrics.collect())
            }
            Values::Histogram(series) => {
                let metrics = series(scrape).into_iter().map(|(labels, mut reading)| {
                    if !reading.exemplars.is_empty() {
                        let traced = std::mem::take(&mut reading.exemplars);
                        exemplars.insert((self.name.to_owned(), labels.clone()), traced);
                    }
                    self.metric(labels, |metric| metric.set_histogram(buckets(&reading)))
                });
                (MetricType::HISTOGRAM, metrics.collect())
            }
        };
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    }

    fn metric(&self, labels: Vec<String>, set_value: impl FnOnce(&mut Metric)) -> Metric {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            // The text formats escape three characters and no more.
            let plain = text::is_plain(&value);
            pair.set_value(if plain { value } else { text::line(&value).to_string() });
            pair
        });
        let mut metric = Metric::default();
        metric.set_label(pairs.collect());
        set_value(&mut metric);
        metric
    }
}

/// All buckets but +Inf, which the count stands for.
fn buckets(reading: &HistogramReading) -> Histogram {
    let buckets = reading.bounds.iter().zip(&reading.counts).map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(reading.counts.last().copied().unwrap_or(0));
    histogram.set_sample_sum(reading.sum);
    histogram
}
