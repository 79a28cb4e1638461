//! The one registry of a process.

use std::sync::Arc;
use std::time::SystemTime;

use crate::lock::Mutex;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{Besides, Family, Source};

/// Everything that a process exports.
pub struct Registry {
    inner: prometheus::Registry,
    /// Of the gathering that goes on.
    besides: Arc<Mutex<Besides>>,
    made: SystemTime,
}

/// What one scrape brought.
#[derive(Debug)]
pub(super) struct Reading {
    /// By name. Families without a series are left out.
    pub(super) families: Vec<MetricFamily>,
    pub(super) besides: Besides,
    /// When the counts began of which nothing else is known.
    pub(super) began: SystemTime,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty one, of which all counts begin now unless their family says otherwise.
    pub fn new() -> Self {
        Self {
            inner: prometheus::Registry::default(),
            besides: Arc::default(),
            made: SystemTime::now(),
        }
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
        let besides = self.besides.clone();
        self.inner.register(Box::new(Families { source, families, descriptions, besides }))
    }

    /// Reads all sources. May block. One at a time, or what is besides gets lost:
    /// [`super::Scrapes`] sees to that.
    pub(super) fn gather(&self) -> Reading {
        let families = self.inner.gather();
        let mut besides = self.besides.lock();
        Reading { families, besides: std::mem::take(&mut besides), began: self.made }
    }
}

/// Some families and their source, as the registry wants to see them.
struct Families<S: Source> {
    source: S,
    families: Vec<&'static Family<S>>,
    descriptions: Vec<Desc>,
    besides: Arc<Mutex<Besides>>,
}

impl<S: Source> Collector for Families<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let scrape = self.source.scrape();
        let mut besides = self.besides.lock();
        self.families.iter().map(|family| family.collect(&scrape, &mut besides)).collect()
    }
}
