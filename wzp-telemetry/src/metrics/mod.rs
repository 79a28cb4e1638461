//! Families of metrics, declared once, and the forms in which they are shown.

mod histogram;

pub use histogram::{Histogram, HistogramReading};
