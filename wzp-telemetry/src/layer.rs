//! What shows or keeps what the program tells of, for the log and for traces.

use tracing_subscriber::{Layer, Registry};

/// A part of the program's subscriber.
pub type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;
