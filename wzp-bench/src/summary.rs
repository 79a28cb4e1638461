//! Medians, spreads and ratios over the rounds of a benchmark.

use std::collections::BTreeMap;

use serde::Serialize;

/// Values by the round that brought them.
pub(crate) type ByRound = BTreeMap<u32, f64>;

/// The middle and both ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the rounds had less.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The most.
    pub(crate) max: f64,
}

/// One contestant's figure divided by another's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// Median divided by median.
    pub(crate) of_medians: f64,
    /// The median of each round's own ratio: what disturbs a whole round
    /// disturbs both sides.
    pub(crate) by_round: f64,
}

impl Spread {
    /// Of the values; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

impl Ratio {
    /// `values` to `base`, over the rounds that both have.
    pub(crate) fn of(values: &ByRound, base: &ByRound) -> Option<Self> {
        let both: Vec<_> = values
            .iter()
            .filter_map(|(round, value)| Some((*value, *base.get(round)?)))
            .filter(|(_, base)| *base > 0.0)
            .collect();
        let value = Spread::of(both.iter().map(|(value, _)| *value))?.median;
        let base = Spread::of(both.iter().map(|(_, base)| *base))?.median;
        let by_round = Spread::of(both.iter().map(|(value, base)| value / base))?.median;
        Some(Self { of_medians: value / base, by_round })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_round(values: &[f64]) -> ByRound {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[f64::NAN, 2.0]), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_disturbed_round_shows_in_one_ratio_only() {
        // The machine was slow in the third round, for both.
        let ratio = Ratio::of(&by_round(&[1.0, 2.0, 6.0]), &by_round(&[4.0, 4.0, 12.0])).unwrap();
        assert_eq!(ratio, Ratio { of_medians: 0.5, by_round: 0.5 });
        let ratio = Ratio::of(&by_round(&[1.0, 3.0, 8.0]), &by_round(&[2.0, 4.0, 10.0])).unwrap();
        assert_eq!(ratio, Ratio { of_medians: 0.75, by_round: 0.75 });
        let ratio = Ratio::of(&by_round(&[1.0, 5.0, 2.0]), &by_round(&[1.0, 10.0, 20.0])).unwrap();
        assert_eq!(ratio, Ratio { of_medians: 0.2, by_round: 0.5 });
    }

    #[test]
    fn rounds_without_a_partner_do_not_count() {
        let values = ByRound::from([(0, 1.0), (2, 3.0)]);
        let base = ByRound::from([(1, 5.0), (2, 6.0)]);
        assert_eq!(Ratio::of(&values, &base).unwrap().by_round, 0.5);
        assert_eq!(Ratio::of(&values, &ByRound::new()), None);
        assert_eq!(Ratio::of(&values, &ByRound::from([(0, 0.0)])), None);
    }
}
