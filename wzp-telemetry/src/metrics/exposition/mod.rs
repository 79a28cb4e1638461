//! The registry of a process, what every program has in it, and the forms in which all of
//! it is shown.

mod family;
mod format;
mod json;
mod openmetrics;
mod process;
mod registry;
mod runtime;
mod scrapes;
mod traffic;

pub use family::{Description, Family, HistogramSeries, Series, Source, single};
pub use format::Format;
pub use registry::Registry;
pub use scrapes::{ScrapeError, Scrapes, common};
pub use traffic::{Abort, Open, Refusal, Traffic};
