//! The one registry of a process.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{Exemplars, Family, Source};

/// Everything that a process exports.
#[derive(Default)]
pub struct Registry {
    inner: prometheus::Registry,
    /// Those of the gathering that goes on.
    exemplars: Arc<Mutex<Exemplars>>,
}

/// What one scrape brought.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By name. Families without a series are left out.
    pub(super) families: Vec<MetricFamily>,
    pub(super) exemplars: Exemplars,
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds families that show what `source` reads, once per scrape for all.
    ///
    /// # Errors
    /// A name is no name of a metric, or is taken.
    pub fn register<S: Source>(
        &self,
        source: S,
        families: impl IntoIterator<Item = &'static Family<S>>,
    ) -> prometheus::Result<()> {
        let families: Vec<_> = families.into_iter().collect();
        let descriptions = families.iter().map(|family| family.desc()).collect::<Result<_, _>>()?;
        let exemplars = self.exemplars.clone();
        self.inner.register(Box::new(Families { source, families, descriptions, exemplars }))
    }

    /// Reads all sources. May block. One at a time, or exemplars get lost:
    /// [`super::Scrapes`] sees to that.
    pub(super) fn gather(&self) -> Reading {
        let families = self.inner.gather();
        let mut exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        Reading { families, exemplars: std::mem::take(&mut exemplars) }
    }
}

/// Some families and their source, as the registry wants to see them.
struct Families<S: Source> {
    source: S,
    families: Vec<&'static Family<S>>,
    descriptions: Vec<Desc>,
    exemplars: Arc<Mutex<Exemplars>>,
}

impl<S: Source> Collector for Families<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let scrape = self.source.scrape();
        let mut exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        self.families.iter().map(|family| family.collect(&scrape, &mut exemplars)).collect()
    }
}
