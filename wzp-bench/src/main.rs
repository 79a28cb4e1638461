//! `cargo xtask bench`: what things cost, always against something else in the
//! same run. `cargo xtask` builds the programs that are measured, and this one,
//! and starts it.

mod contestant;
mod cpus;
mod experiment;
mod generator;
mod measure;
mod metric;
mod outcome;
mod place;
mod plot;
mod programs;
mod reading;
mod report;
mod scenario;
mod server;
mod summary;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command as ProcessCommand, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use wzp_testbed::binaries::{profile_directory, target_directory};
use wzp_testbed::bound;

use contestant::Contestant;
use cpus::Split;
use experiment::{Experiment, Name};
use measure::Bench;
use metric::US_PER_FRAME;
use outcome::{Outcome, Row};
use place::{Kind, Place};
use programs::Programs;
use scenario::Scenario;

/// What things cost, always against something else in the same run.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
enum Command {
    /// Forwarding: the relay, a naive relay and any other, under the same load.
    Forward(Options),
    /// Become a program that ends with this one's parent.
    #[command(name = bound::COMMAND, hide = true)]
    Bound {
        /// The process to end with.
        parent: i32,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// What `cargo xtask bench forward` takes.
///
/// Servers and load generator are processes of their own, on CPUs of their own.
/// Each round measures every server in every scenario once, so that what
/// disturbs the machine disturbs all. The table, every figure as JSON and a
/// plot go to target/bench.
#[derive(Debug, clap::Args)]
struct Options {
    /// What is asked.
    #[arg(long, value_enum, default_value_t)]
    experiment: Name,

    /// Only this scenario, in place of the experiment's; may be given several
    /// times.
    #[arg(long = "scenario", value_name = "NAME", value_parser = Scenario::named)]
    scenarios: Vec<Scenario>,

    /// How often each server is measured in each scenario.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each time.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Any other relay that speaks the protocol: one command, in which {listen}
    /// stands for the address to listen on. It need not print anything.
    #[arg(long, value_name = "CMD", value_parser = peer)]
    peer: Option<String>,

    /// The relay once more, with these arguments; may be given several times.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    relay_args: Vec<String>,

    /// How servers and load generator are joined; without it veth if network
    /// namespaces can be made (root can), else loopback.
    #[arg(long, value_enum, value_name = "KIND")]
    network: Option<Kind>,
}

fn peer(text: &str) -> Result<String, String> {
    if text.contains("{listen}") {
        return Ok(text.to_owned());
    }
    Err("it has no {listen}, which stands for the address to listen on".to_owned())
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Forward(options) => forward(&options),
        Command::Bound { parent, command } => bound::exec(parent, &command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn forward(options: &Options) -> Result<()> {
    let mut experiment = Experiment::named(options.experiment);
    if !options.scenarios.is_empty() {
        experiment.scenarios.clone_from(&options.scenarios);
    }
    let further = options.relay_args.iter().map(|arguments| Contestant::relay_with(arguments));
    let peers = options.peer.iter().map(|command| Contestant::peer(command));
    experiment.contestants.extend(further.chain(peers));

    let place = Place::new(options.network)?;
    ensure!(
        !experiment.needs_veth() || place.kind() == Kind::Veth,
        "experiment {} needs network namespaces, which root can make",
        experiment.name
    );
    let cpus = Split::new(experiment.all_cpus)?;
    if !cpus.is_shared() {
        place.receive_on(&cpus.generator)?;
    }
    let bench = Bench {
        programs: programs(),
        place,
        cpus,
        warm_up: experiment.warm_up,
        seconds: options.seconds,
        burner: experiment.burner,
    };
    let circumstances = circumstances(&bench);
    println!("\n{}", experiment.question);
    for (name, value) in &circumstances {
        println!("  {name}: {value}");
    }
    let (rows, failures) = rounds(&bench, &experiment, options.rounds);
    let outcome = Outcome {
        experiment,
        rows,
        circumstances,
        rounds: options.rounds,
        seconds: options.seconds,
        failures,
    };
    let folder = target_directory().join("bench");
    save(&outcome, &folder)?;
    ensure!(outcome.failures.is_empty(), "{} runs brought nothing", outcome.failures.len());
    Ok(())
}

/// Those that `cargo xtask bench` has built beside this one.
fn programs() -> Programs {
    let release = profile_directory();
    Programs {
        relay: release.join("wzp-relay"),
        naive: release.join("examples/naive_relay"),
        client: release.join("wzp-client"),
    }
}

/// Every contestant in every scenario, so often; and what brought nothing.
fn rounds(bench: &Bench, experiment: &Experiment, rounds: u32) -> (Vec<Row>, Vec<String>) {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for scenario in &experiment.scenarios {
        for contestant in &experiment.contestants {
            let scenario = sized(bench, contestant, scenario).unwrap_or_else(|error| {
                failures.push(format!("{}, {}: {error:#}", scenario.name, contestant.name));
                scenario.clone()
            });
            let contestant = contestant.name.clone();
            rows.push(Row { scenario, contestant, runs: BTreeMap::new() });
        }
    }
    for round in 1..=rounds {
        for (row, contestant) in rows.iter_mut().zip(experiment.contestants.iter().cycle()) {
            let place = format!("round {round}, {}, {}", row.scenario.name, row.contestant);
            match bench.measure(contestant, &row.scenario) {
                Ok(run) => {
                    let compared = &experiment.compared;
                    let value = (compared.of)(&run).unwrap_or(f64::NAN);
                    println!("{place}: {} {value:.*}", compared.title, compared.digits);
                    row.runs.insert(round, run);
                }
                Err(error) => {
                    println!("{place}: {error:#}");
                    failures.push(format!("{place}: {error:#}"));
                }
            }
        }
    }
    (rows, failures)
}

/// The scenario as large as it has to be for this contestant.
fn sized(bench: &Bench, contestant: &Contestant, scenario: &Scenario) -> Result<Scenario> {
    if scenario.load_share.is_none() {
        return Ok(scenario.clone());
    }
    let run = bench.measure(contestant, scenario)?;
    let cost = (US_PER_FRAME.of)(&run).context("it forwarded nothing")?;
    let scenario = scenario.sized(cost);
    println!("{}: {} rooms for {}", contestant.name, scenario.rooms, scenario.name);
    Ok(scenario)
}

/// What a reader must know to make sense of the figures. The machine is first.
fn circumstances(bench: &Bench) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([':', ' ', '\t']);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let pinning = if bench.cpus.is_shared() {
        format!("both sides on all CPUs, {:?}", bench.cpus.server)
    } else {
        let Split { server, generator } = &bench.cpus;
        format!("server on {server:?}, load generator and its end of the network on {generator:?}")
    };
    let mut facts = vec![
        ("machine", format!("{cpus} CPUs, {model}, Linux {}", kernel.trim())),
        ("pinning", pinning),
        ("network", bench.place.kind().to_string()),
    ];
    if bench.burner {
        facts.push(("beside the server", "a program that never sleeps on each CPU".to_owned()));
    }
    let mut git = ProcessCommand::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(output) = git.output().ok().filter(|output| output.status.success()) {
        facts.push(("commit", String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    facts
}

fn save(outcome: &Outcome, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let table = report::markdown(outcome);
    println!("\n{table}");
    let json = serde_json::to_string_pretty(&report::json(outcome))?;
    for (ending, content) in [("md", table), ("json", json), ("svg", plot::svg(outcome))] {
        let path = folder.join(outcome.experiment.name).with_extension(ending);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}
