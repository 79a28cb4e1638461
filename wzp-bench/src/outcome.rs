//! What an experiment brought: a row for each contestant in each scenario.

use std::collections::BTreeMap;

use super::experiment::{Base, Experiment};
use super::measure::Run;
use super::metric::Metric;
use super::scenario::Scenario;
use super::summary::{ByRound, Ratio, Spread};

/// One contestant in one scenario.
pub(crate) struct Row {
    /// The scenario, as large as it was.
    pub(crate) scenario: Scenario,
    /// The contestant's name.
    pub(crate) contestant: String,
    /// Its runs by round.
    pub(crate) runs: BTreeMap<u32, Run>,
}

/// All of it, and under which circumstances.
pub(crate) struct Outcome {
    /// What was asked.
    pub(crate) experiment: Experiment,
    /// Scenario by scenario, each contestant in order.
    pub(crate) rows: Vec<Row>,
    /// Circumstances, each with its name.
    pub(crate) circumstances: Vec<(&'static str, String)>,
    /// How often each contestant was measured in each scenario.
    pub(crate) rounds: u32,
    /// Seconds of measured time of each run.
    pub(crate) seconds: u32,
    /// Runs that brought nothing, each a sentence.
    pub(crate) failures: Vec<String>,
}

impl Row {
    /// A figure in each round.
    pub(crate) fn by_round(&self, metric: &Metric) -> ByRound {
        self.runs.iter().filter_map(|(round, run)| Some((*round, (metric.of)(run)?))).collect()
    }

    /// A figure over the rounds.
    pub(crate) fn spread(&self, metric: &Metric) -> Option<Spread> {
        Spread::of(self.by_round(metric).into_values())
    }

    /// One sentence for each kind of remark: in how many rounds, and the first.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for remark in self.runs.values().flat_map(|run| &run.remarks) {
            kinds.entry(remark.kind).or_default().push(&remark.text);
        }
        let rounds = self.runs.len();
        let sentence = |texts: Vec<&str>| match texts.len() {
            all if all == rounds => texts[0].to_owned(),
            some => format!("in {some} of {rounds} rounds {}", texts[0]),
        };
        kinds.into_values().map(sentence).collect()
    }
}

impl Outcome {
    /// The row that this one is compared with, if it is another.
    pub(crate) fn base_of(&self, row: &Row) -> Option<&Row> {
        let (first_scenario, first_contestant) =
            (self.experiment.scenarios.first()?.name, &self.experiment.contestants.first()?.name);
        let (scenario, contestant) = match self.experiment.base {
            Base::Contestant => (row.scenario.name, first_contestant),
            Base::Scenario => (first_scenario, &row.contestant),
        };
        let is_base =
            |other: &&Row| other.scenario.name == scenario && other.contestant == *contestant;
        self.rows.iter().find(is_base).filter(|base| !std::ptr::eq(*base, row))
    }

    /// The row's figure divided by that of its base.
    pub(crate) fn ratio(&self, row: &Row) -> Option<Ratio> {
        let metric = &self.experiment.compared;
        Ratio::of(&row.by_round(metric), &self.base_of(row)?.by_round(metric))
    }

    /// What the bases are called.
    pub(crate) fn base_name(&self) -> &str {
        match self.experiment.base {
            Base::Contestant => &self.experiment.contestants[0].name,
            Base::Scenario => self.experiment.scenarios[0].name,
        }
    }
}

/// Two rounds of `calls`, naive and relay: 10 and 20 µs a frame against 4 and
/// 6, the second with a remark.
#[cfg(test)]
pub(super) fn example() -> Outcome {
    use super::experiment::Name;
    use super::measure::Remark;
    let mut experiment = Experiment::named(Name::Forward);
    experiment.scenarios.truncate(1);
    let run = |us: f64, limited: bool| {
        let mut run = Run { server_cpu_s: us / 1e3, ..Run::default() };
        run.load.frames_received = 1000;
        let text = "the server was the limit".to_owned();
        run.remarks.extend(limited.then_some(Remark { kind: "server", text }));
        run
    };
    let row = |contestant: &str, first, second| Row {
        scenario: experiment.scenarios[0].clone(),
        contestant: contestant.to_owned(),
        runs: BTreeMap::from([(1, first), (2, second)]),
    };
    let rows = vec![
        row("naive", run(10.0, false), run(20.0, true)),
        row("relay", run(4.0, false), run(6.0, false)),
    ];
    let circumstances = vec![("machine", "2 CPUs <of some kind>".to_owned())];
    Outcome { experiment, rows, circumstances, rounds: 2, seconds: 1, failures: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_with_the_first_contestant_or_scenario() {
        let mut outcome = example();
        assert!(outcome.ratio(&outcome.rows[0]).is_none());
        let ratio = outcome.ratio(&outcome.rows[1]).unwrap();
        assert!((ratio.of_medians - 5.0 / 15.0).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.by_round - 0.35).abs() < 1e-9, "{ratio:?}");
        outcome.experiment.base = Base::Scenario;
        assert!(outcome.base_of(&outcome.rows[1]).is_none());
    }

    #[test]
    fn remarks_of_a_kind_are_one_sentence() {
        let outcome = example();
        assert_eq!(outcome.rows[0].remarks(), ["in 1 of 2 rounds the server was the limit"]);
        assert!(outcome.rows[1].remarks().is_empty());
    }
}
