//! Attacks a relay of its own, in network namespaces of its own, and measures what
//! that costs two honest calls beside it. `cargo xtask attack` builds and starts it;
//! docs/security.md has what it printed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use wzp_attack::attack::{ALL, Attack};
use wzp_attack::{row, trial};

/// Attacks a relay of its own, beside two honest calls of two, and prints a line of
/// a table for each attack. Needs root, for network namespaces.
#[derive(Debug, Parser)]
struct Options {
    /// Only these attacks; all unless given. --list names them.
    #[arg(value_name = "NAME", value_parser = named)]
    attacks: Vec<&'static Attack>,

    /// How long each attack goes on.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// Name the attacks and what each sends, and attack nobody.
    #[arg(long)]
    list: bool,
}

fn named(name: &str) -> Result<&'static Attack, String> {
    ALL.iter().find(|attack| attack.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|attack| attack.name).collect();
        format!("there is {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wzp-attack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.list {
        ALL.iter().for_each(|attack| println!("{:<14} {}", attack.name, attack.sends));
        return Ok(());
    }
    let chosen: Vec<_> =
        if options.attacks.is_empty() { ALL.iter().collect() } else { options.attacks.clone() };
    println!("{}", row::HEAD);
    let mut harmed = Vec::new();
    for attack in chosen {
        let outcome = trial::run(attack, Duration::from_secs(options.seconds.into()))?;
        println!("{}", row::of(attack, &outcome));
        if outcome.has_harmed() {
            harmed.push(attack.name);
        }
    }
    ensure!(harmed.is_empty(), "others were harmed by {}", harmed.join(", "));
    Ok(())
}
