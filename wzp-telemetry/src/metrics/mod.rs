//! Families of metrics, declared once, and the forms in which they are shown.
//!
//! A program declares its families as a constant list of [`Family`] over a
//! [`Source`] of its own and registers both. Nothing here is on a packet path:
//! numbers are read when somebody asks.

mod family;
mod format;
mod histogram;
mod json;
mod openmetrics;
mod process;
mod registry;
mod runtime;
mod scrapes;

pub use family::{Description, Family, HistogramSeries, Series, Source, single};
pub use format::Format;
pub use histogram::{Exemplar, Histogram, HistogramReading};
pub use registry::Registry;
pub use scrapes::{ScrapeError, Scrapes, common};
