//! A family of metrics: name, type, help, labels and source in one place.

use std::collections::HashMap;
use std::time::SystemTime;

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use wzp_untrusted::text;

use crate::metrics::{Exemplar, HistogramReading};

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
    note: &'static str,
    source: &'static str,
    labels: &'static [&'static str],
    values: Values<S>,
    began: Option<Began<S>>,
}

/// When the count of a series with these values of its labels began.
type Began<S> = fn(&<S as Source>::Scrape<'_>, &[String]) -> Option<SystemTime>;

enum Values<S: Source> {
    Gauge(fn(&S::Scrape<'_>) -> Vec<Series>),
    Counter(fn(&S::Scrape<'_>) -> Vec<Series>),
    Histogram(fn(&S::Scrape<'_>) -> Vec<HistogramSeries>),
}

/// What pages say of a family.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name of its series.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// The line that every scrape brings: plain text.
    pub help: &'static str,
    /// What else there is to know, as Markdown; may be empty.
    pub note: &'static str,
    /// What counts it, as Markdown.
    pub source: &'static str,
}

impl Description {
    /// The line of a table: name, type, labels, meaning, source.
    pub fn row(&self) -> String {
        let Self { name, kind, help, note, source, .. } = self;
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        let note = if note.is_empty() { String::new() } else { format!(". {note}") };
        format!("| `{name}` | {kind} | {} | {help}{note} | {source} |\n", labels.join(", "))
    }
}

/// What `MetricFamily` has no place for.
#[derive(Debug, Default)]
pub(super) struct Besides {
    /// The last observation with a trace in each bucket of a histogram.
    pub(super) exemplars: HashMap<Place, Vec<Option<Exemplar>>>,
    /// When the count of a series began that began later than the program.
    pub(super) began: HashMap<Place, SystemTime>,
}

/// A series: the family's name and the values of its labels as they are shown.
pub(super) type Place = (String, Vec<String>);

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
        Self::new(name, help, Values::Gauge(series))
    }

    /// What only grows while the program runs. The name ends in `_total`.
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        series: fn(&S::Scrape<'_>) -> Vec<Series>,
    ) -> Self {
        Self::new(name, help, Values::Counter(series))
    }

    /// Observations by size.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        series: fn(&S::Scrape<'_>) -> Vec<HistogramSeries>,
    ) -> Self {
        Self::new(name, help, Values::Histogram(series))
    }

    const fn new(name: &'static str, help: &'static str, values: Values<S>) -> Self {
        Self { name, help, note: "", source: "", labels: &[], values, began: None }
    }

    /// What else pages say of it behind its help, as Markdown.
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// What counts it, as pages say it.
    pub const fn from(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// With these labels; each series then has a value for each.
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// For series that do not begin with the program: when the count of one with these
    /// values of its labels began.
    pub const fn began(
        mut self,
        began: fn(&S::Scrape<'_>, &[String]) -> Option<SystemTime>,
    ) -> Self {
        self.began = Some(began);
        self
    }

    /// All that is declared of it.
    pub fn description(&self) -> Description {
        let kind = match self.values {
            Values::Gauge(_) => "gauge",
            Values::Counter(_) => "counter",
            Values::Histogram(_) => "histogram",
        };
        Description {
            name: self.name,
            kind,
            labels: self.labels,
            help: self.help,
            note: self.note,
            source: self.source,
        }
    }

    pub(super) fn desc(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        Desc::new(self.name.into(), self.help.into(), labels, HashMap::new())
    }

    pub(super) fn collect(&self, scrape: &S::Scrape<'_>, besides: &mut Besides) -> MetricFamily {
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
                    let began = self.began.and_then(|began| began(scrape, &labels));
                    let metric = self.metric(labels, |metric| metric.set_counter(counter));
                    besides.began.extend(began.map(|began| (place(self.name, &metric), began)));
                    metric
                });
                (MetricType::COUNTER, metrics.collect())
            }
            Values::Histogram(series) => {
                let metrics = series(scrape).into_iter().map(|(labels, mut reading)| {
                    let traced = std::mem::take(&mut reading.exemplars);
                    let metric =
                        self.metric(labels, |metric| metric.set_histogram(buckets(&reading)));
                    if !traced.is_empty() {
                        besides.exemplars.insert(place(self.name, &metric), traced);
                    }
                    metric
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

/// What the series is found by.
pub(super) fn place(family: &str, metric: &Metric) -> Place {
    let values = metric.get_label().iter().map(|pair| pair.value().to_owned());
    (family.to_owned(), values.collect())
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
