//! Scrapes: each gathers the registry once and writes it in the form wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::{Encoder, TextEncoder};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinError;

use super::family::{Description, Family, Source, single};
use super::format::Format;
use super::process::{self, Process};
use super::registry::{Reading, Registry};
use super::runtime::{self, Runtime};
use super::traffic::{self, Traffic};
use super::{json, openmetrics};
use crate::flight::SingleFlight;
use crate::gzip::gzip;

/// The registry of a process and who reads it.
pub struct Scrapes {
    registry: Arc<Registry>,
    gathered: SingleFlight<Gathered>,
    last: Arc<Last>,
}

/// Why there are no metrics.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// A source panicked; the message is on standard error.
    #[error("a source of metrics failed: {0}")]
    Panicked(#[from] JoinError),
    /// A family cannot be written.
    #[error("{0}")]
    Encoding(String),
}

/// What one scrape brought, and the forms it was asked for in, each made once.
struct Gathered {
    reading: Reading,
    bodies: [SingleFlight<Result<Bytes, String>>; Format::ALL.len()],
    compressed: [SingleFlight<Bytes>; Format::ALL.len()],
}

impl Gathered {
    fn new(reading: Reading) -> Self {
        let bodies = Format::ALL.map(|_| SingleFlight::once());
        Self { reading, bodies, compressed: Format::ALL.map(|_| SingleFlight::once()) }
    }

    async fn body(self: &Arc<Self>, format: Format) -> Result<Bytes, ScrapeError> {
        let reads = self.clone();
        let body = self.bodies[format as usize].get(move || reads.encode(format)).await?;
        (*body).clone().map_err(ScrapeError::Encoding)
    }

    fn encode(&self, format: Format) -> Result<Bytes, String> {
        match format {
            Format::Prometheus => {
                let mut text = Vec::new();
                match TextEncoder::new().encode(&self.reading.families, &mut text) {
                    Ok(()) => Ok(text.into()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Format::OpenMetrics => Ok(openmetrics::encode(&self.reading).into()),
            Format::Json => json::encode(&self.reading.families).map(Bytes::from),
        }
    }
}

impl Scrapes {
    /// Of this registry, to which the families that every program has are
    /// added: [`common`].
    ///
    /// # Errors
    /// One of these is there already.
    pub fn new(
        registry: Registry,
        runtime: Handle,
        traffic: Arc<Traffic>,
    ) -> prometheus::Result<Self> {
        let last = Arc::new(Last::default());
        registry.register(Process::new(), process::FAMILIES)?;
        registry.register(Runtime::new(runtime), runtime::FAMILIES)?;
        registry.register(traffic, traffic::FAMILIES)?;
        registry.register(last.clone(), FAMILIES)?;
        Ok(Self { registry: Arc::new(registry), gathered: SingleFlight::default(), last })
    }

    /// All families in one form, with `compressed` as gzip. Who asks while another
    /// does shares what that one gathers.
    ///
    /// # Errors
    /// See [`ScrapeError`].
    pub async fn body(&self, format: Format, compressed: bool) -> Result<Bytes, ScrapeError> {
        let (registry, last) = (self.registry.clone(), self.last.clone());
        let gather = move || {
            let began = Instant::now();
            let reading = registry.gather();
            last.gatherings.fetch_add(1, Ordering::Relaxed);
            last.store(&last.nanos, began.elapsed().as_nanos());
            Gathered::new(reading)
        };
        let gathered = self.gathered.get(gather).await?;
        let body = gathered.body(format).await?;
        self.last.store(&self.last.bytes, body.len() as u128);
        if !compressed {
            return Ok(body);
        }
        let compressed = gathered.compressed[format as usize].get(move || gzip(&body)).await?;
        Ok((*compressed).clone())
    }
}

/// The families that every program has.
pub fn common() -> impl Iterator<Item = Description> {
    process::FAMILIES
        .iter()
        .map(Family::description)
        .chain(runtime::FAMILIES.iter().map(Family::description))
        .chain(traffic::FAMILIES.iter().map(Family::description))
        .chain(FAMILIES.iter().map(Family::description))
}

/// What scrapes tell of themselves.
#[derive(Default)]
struct Last {
    gatherings: AtomicU64,
    nanos: AtomicU64,
    bytes: AtomicU64,
}

impl Last {
    fn store(&self, number: &AtomicU64, value: u128) {
        number.store(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Source for Arc<Last> {
    type Scrape<'a> = &'a Last;

    fn scrape(&self) -> &Last {
        self
    }
}

const FAMILIES: &[Family<Arc<Last>>] = &[
    Family::<Arc<Last>>::counter(
        "wzp_scrapes_total",
        "Times that all metrics were read; those who ask at the same time share one",
        |last| single(last.gatherings.load(Ordering::Relaxed) as f64),
    )
    .from("scrapes"),
    Family::<Arc<Last>>::gauge(
        "wzp_scrape_duration_seconds",
        "How long reading all metrics took the last time",
        |last| single(Duration::from_nanos(last.nanos.load(Ordering::Relaxed)).as_secs_f64()),
    )
    .from("scrapes"),
    Family::<Arc<Last>>::gauge(
        "wzp_scrape_size_bytes",
        "Size of the last answer with metrics, before compression",
        |last| single(last.bytes.load(Ordering::Relaxed) as f64),
    )
    .from("scrapes"),
];
