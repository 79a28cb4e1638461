//! Families of metrics, declared once, and the forms in which they are shown.
//!
//! A program declares its families as a constant list of [`Family`] over a
//! [`Source`] of its own and registers both. Nothing here is on a packet path:
//! numbers are read when somebody asks.

#[cfg(feature = "metrics")]
mod exposition;
mod histogram;

#[cfg(feature = "metrics")]
pub use exposition::{
    Abort, Description, Family, Format, HistogramSeries, Open, Refusal, Registry, ScrapeError,
    Scrapes, Series, Source, Traffic, common, single,
};
pub use histogram::{Exemplar, Histogram, HistogramReading};
