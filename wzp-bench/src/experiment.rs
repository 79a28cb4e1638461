//! Experiments: which contestants meet in which scenarios, and what of it
//! answers the question.

use std::time::Duration;

use super::contestant::Contestant;
use super::metric::{
    CPU_PER_JOIN, DELIVERED, DROPPED, FRAMES_PER_PACKET, GENERATOR_US_PER_FRAME, JOIN_P99,
    JOINS_PER_SECOND, LOST, MACHINE_US_PER_FRAME, MEMORY, MEMORY_PER_SESSION, Metric, OVERFLOWS,
    P50, P99, SERVER_LOAD, US_PER_FRAME,
};
use super::scenario::{self, Scenario};

/// The experiments, by the question that they answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// The relay against the naive one, in the four scenarios.
    #[default]
    Forward,
    /// How much frames of one instant in one packet save.
    Bundling,
    /// What it costs that the kernel counts.
    Ebpf,
    /// Two shards against one at the same load.
    Shards,
    /// The cost of a frame as rooms grow in number.
    Rooms,
    /// The cost of a frame as rooms grow.
    Members,
    /// The cost of a frame as sessions grow in number.
    Sessions,
    /// Latency when the server is busy for 30 % of a CPU.
    Latency,
    /// Another program wants the server's CPUs all the time.
    Starved,
    /// Memory of sessions that are silent.
    Idle,
    /// Everybody joins at once.
    Joins,
    /// What it costs that those who join hear of each other.
    Together,
    /// Whether reading the metrics delays frames.
    Scrape,
    /// A room of 50 who all talk, frames bundled.
    Room50,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The first contestant's in the same scenario.
    Contestant,
    /// The same contestant's in the first scenario.
    Scenario,
}

/// A question and how it is answered.
pub(crate) struct Experiment {
    /// The name of its files.
    pub(crate) name: &'static str,
    /// What is asked.
    pub(crate) question: &'static str,
    /// Who takes part.
    pub(crate) contestants: Vec<Contestant>,
    /// Under which loads.
    pub(crate) scenarios: Vec<Scenario>,
    /// The figure that is compared.
    pub(crate) compared: Metric,
    /// With what it is compared.
    pub(crate) base: Base,
    /// The further figures of the table.
    pub(crate) columns: Vec<Metric>,
    /// The figures of the plot.
    pub(crate) plotted: Vec<Metric>,
    /// Whether both sides may use all CPUs.
    pub(crate) all_cpus: bool,
    /// Whether another program wants the server's CPUs.
    pub(crate) burner: bool,
    /// Seconds of talking before the measured time.
    pub(crate) warm_up: u32,
}

impl Experiment {
    /// The experiment of that name.
    pub(crate) fn named(name: Name) -> Self {
        match name {
            Name::Forward => forward(),
            Name::Bundling => bundling(),
            Name::Ebpf => ebpf(),
            Name::Shards => shards(),
            Name::Rooms => rooms(),
            Name::Members => members(),
            Name::Sessions => sessions(),
            Name::Latency => latency(),
            Name::Starved => starved(),
            Name::Idle => idle(),
            Name::Joins => joins(),
            Name::Together => together(),
            Name::Scrape => scrape(),
            Name::Room50 => room50(),
        }
    }

    /// Whether the network must have an interface of its own.
    pub(crate) fn needs_veth(&self) -> bool {
        self.contestants.iter().any(|contestant| contestant.kernel_counts)
    }
}

fn relay() -> Contestant {
    Contestant::relay("relay", &[])
}

fn relay_bundling(window: &str) -> Contestant {
    Contestant::relay(&format!("relay, window {window}"), &["--bundle-window", window])
}

fn forward() -> Experiment {
    use scenario::{CALLS, HALL, LOAD, MEETINGS};
    Experiment {
        name: "forward",
        question: "What does it cost to forward a frame?",
        contestants: vec![Contestant::naive(), relay()],
        scenarios: vec![CALLS, MEETINGS, HALL, LOAD],
        compared: US_PER_FRAME,
        base: Base::Contestant,
        columns: vec![
            SERVER_LOAD,
            DELIVERED,
            P50,
            P99,
            FRAMES_PER_PACKET,
            MEMORY_PER_SESSION,
            MACHINE_US_PER_FRAME,
            GENERATOR_US_PER_FRAME,
        ],
        plotted: vec![US_PER_FRAME, DELIVERED, P50, P99, MEMORY_PER_SESSION, FRAMES_PER_PACKET],
        all_cpus: false,
        burner: false,
        warm_up: 2,
    }
}

fn room50() -> Experiment {
    Experiment {
        name: "room50",
        question: "What does a frame cost in a room of 50 who all talk?",
        contestants: vec![Contestant::naive(), relay_bundling("5ms")],
        scenarios: vec![scenario::ROOM50],
        ..forward()
    }
}

fn bundling() -> Experiment {
    let windows = ["0ms", "2ms", "5ms"].map(relay_bundling);
    Experiment {
        name: "bundling",
        question: "What does it save to send frames of one instant in one packet?",
        contestants: [Contestant::naive()].into_iter().chain(windows).collect(),
        scenarios: vec![scenario::CALLS, scenario::MEETINGS],
        ..forward()
    }
}

fn ebpf() -> Experiment {
    Experiment {
        name: "ebpf",
        question: "What does it cost that the kernel counts each flow's packets?",
        contestants: vec![
            Contestant::relay("relay, shards count", &["--ebpf", "off"]),
            Contestant::relay("relay, kernel counts", &[]).counted_by_the_kernel(),
        ],
        scenarios: vec![scenario::CALLS],
        columns: vec![MACHINE_US_PER_FRAME, GENERATOR_US_PER_FRAME, SERVER_LOAD, DELIVERED, P99],
        plotted: vec![US_PER_FRAME, MACHINE_US_PER_FRAME],
        ..forward()
    }
}

fn shards() -> Experiment {
    Experiment {
        name: "shards",
        question: "What does a frame cost with two shards instead of one, at the same load?",
        contestants: vec![
            Contestant::relay("relay, 1 shard", &["--shards", "1"]),
            Contestant::relay("relay, 2 shards", &["--shards", "2"]),
        ],
        scenarios: vec![scenario::CALLS, scenario::HALL],
        all_cpus: true,
        ..forward()
    }
}

fn rooms() -> Experiment {
    Experiment {
        name: "rooms",
        question: "Does a frame cost more when there are more rooms?",
        contestants: vec![relay()],
        scenarios: vec![scenario::CALLS, scenario::SPARSE],
        base: Base::Scenario,
        ..forward()
    }
}

fn members() -> Experiment {
    use scenario::{MEMBERS_2, MEMBERS_5, MEMBERS_21, MEMBERS_101};
    Experiment {
        name: "members",
        question: "Does a frame cost more when rooms are larger?",
        scenarios: vec![MEMBERS_2, MEMBERS_5, MEMBERS_21, MEMBERS_101],
        ..rooms()
    }
}

fn sessions() -> Experiment {
    use scenario::{ACTIVE_2000, CALLS, CALLS_CROWDED, CALLS_OF_400};
    Experiment {
        name: "sessions",
        question: "Does a frame cost more when there are more sessions?",
        scenarios: vec![CALLS, CALLS_OF_400, CALLS_CROWDED, ACTIVE_2000],
        ..rooms()
    }
}

fn latency() -> Experiment {
    Experiment {
        name: "latency",
        question: "How long is a frame on its way when the server is busy for 30 % of a CPU?",
        contestants: vec![Contestant::naive(), relay(), relay_bundling("0ms")],
        scenarios: vec![scenario::CALLS_30, scenario::CALLS_45],
        compared: P99,
        columns: vec![P50, SERVER_LOAD, US_PER_FRAME, DELIVERED, FRAMES_PER_PACKET],
        plotted: vec![P50, P99],
        ..forward()
    }
}

fn starved() -> Experiment {
    Experiment {
        name: "starved",
        question: "What happens when another program wants the server's CPUs all the time?",
        scenarios: vec![scenario::CALLS, scenario::LOAD],
        compared: DELIVERED,
        columns: vec![P50, P99, LOST, DROPPED, OVERFLOWS, SERVER_LOAD, US_PER_FRAME],
        plotted: vec![DELIVERED, P50, P99],
        burner: true,
        // All frames that the server dropped are then in the measured time.
        warm_up: 0,
        ..forward()
    }
}

fn idle() -> Experiment {
    Experiment {
        name: "idle",
        question: "How much memory does a silent session take?",
        scenarios: vec![scenario::IDLE_1000, scenario::IDLE_10000],
        compared: MEMORY_PER_SESSION,
        columns: vec![MEMORY, SERVER_LOAD, JOINS_PER_SECOND],
        plotted: vec![MEMORY_PER_SESSION, SERVER_LOAD],
        ..forward()
    }
}

fn joins() -> Experiment {
    Experiment {
        name: "joins",
        question: "How fast can 2,000 join?",
        scenarios: vec![scenario::STORM],
        compared: CPU_PER_JOIN,
        columns: vec![JOINS_PER_SECOND, JOIN_P99, MEMORY_PER_SESSION],
        plotted: vec![CPU_PER_JOIN, JOINS_PER_SECOND, JOIN_P99],
        ..forward()
    }
}

fn together() -> Experiment {
    Experiment {
        name: "together",
        question: "What does it cost that 1,000 join one room, and not each its own?",
        contestants: vec![relay()],
        scenarios: vec![scenario::ALONE_1000, scenario::TOGETHER_1000],
        base: Base::Scenario,
        ..joins()
    }
}

fn scrape() -> Experiment {
    Experiment {
        name: "scrape",
        question: "Does reading the metrics once a second delay frames?",
        contestants: vec![
            relay(),
            Contestant::relay("relay, scraped each second", &[]).scraped(Duration::from_secs(1)),
        ],
        scenarios: vec![scenario::CALLS, scenario::CALLS_CROWDED],
        compared: P99,
        columns: vec![P50, SERVER_LOAD, US_PER_FRAME, DELIVERED],
        plotted: vec![P50, P99],
        ..forward()
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_experiment_compares_something_with_something() {
        for name in Name::value_variants() {
            let experiment = Experiment::named(*name);
            let sides = match experiment.base {
                Base::Contestant => experiment.contestants.len(),
                Base::Scenario => experiment.scenarios.len(),
            };
            assert!(sides >= 2, "{}", experiment.name);
            assert_eq!(name.to_possible_value().unwrap().get_name(), experiment.name);
            for scenario in &experiment.scenarios {
                assert!(scenario::ALL.contains(scenario), "{}", scenario.name);
            }
        }
    }
}
