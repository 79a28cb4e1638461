//! Packets and bytes.

use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::Deserialize;

/// So many packets, and bytes of whatever they are counted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Count {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Count {
    /// The same packets with so many more bytes each.
    pub(crate) fn with_headers(self, bytes: u64) -> Self {
        Self { bytes: self.bytes + self.packets * bytes, ..self }
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// Panics where it would be less than nothing: counters do not go back.
impl Sub for Count {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let difference = |a: u64, b: u64| a.checked_sub(b).expect("the smaller from the larger");
        Self {
            packets: difference(self.packets, other.packets),
            bytes: difference(self.bytes, other.bytes),
        }
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}
