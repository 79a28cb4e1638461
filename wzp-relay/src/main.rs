//! The relay daemon: command line, configuration, run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use wzp_relay::admin::ctl;
use wzp_relay::admin::serve::{AUDIT_FILE, PARTS, Start, serve};
use wzp_relay::config::{AuditCommand, Cli, Command, Config, RelaySection};
use wzp_telemetry::audit::{self, Verified};
use wzp_telemetry::{log, panics, trace};

fn main() -> ExitCode {
    match run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wzp-relay: {error:#}");
            ctl::exit_code(&error).into()
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    // It has to work with a configuration that does not.
    if let Some(Command::Config(command)) = &cli.command {
        return command.run(&cli, &mut std::io::stdout().lock());
    }
    if let Some(Command::Ctl { command }) = cli.command.clone() {
        let runtime = runtime()?;
        return runtime.block_on(ctl::run(&admin_socket(&cli), command));
    }
    let config = Config::load(&cli)?;
    match cli.command.clone() {
        Some(Command::Audit(AuditCommand::Verify { mut files })) => {
            if files.is_empty() {
                let own = || config.relay.state_dir.join(AUDIT_FILE);
                files.push(config.audit.file.unwrap_or_else(own));
            }
            verify(&files)
        }
        Some(Command::Config(_) | Command::Ctl { .. }) | None => relay(cli, config),
    }
}

/// Where the relay is that the command line means. A configuration that is wrong
/// by now does not keep anybody from a relay that runs.
fn admin_socket(cli: &Cli) -> PathBuf {
    let relay = Config::load(cli).map(|config| config.relay).unwrap_or_else(|error| {
        eprintln!("wzp-relay: warning: {error}");
        let mut relay = RelaySection::default();
        if let Some(folder) = &cli.state_dir {
            relay.state_dir.clone_from(folder);
        }
        relay
    });
    relay.admin_socket()
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn relay(cli: Cli, config: Config) -> Result<()> {
    // Media has threads of its own; this runtime only carries the control plane.
    let runtime = runtime()?;
    let sender = trace::Sender {
        name: "wzp-relay",
        version: env!("CARGO_PKG_VERSION"),
        instance: config.relay.listen.to_string(),
    };
    let trace = {
        // It sends in this runtime.
        let _entered = runtime.enter();
        trace::start(&config.tracing, &sender)?
    };
    let log = log::start(&config.logging, trace.layer().into_iter().collect())?;
    let panics = panics::watch(PARTS).context("cannot start a thread")?;
    runtime.block_on(serve(Start { cli, config, log, trace, panics }))
}

/// Says that an audit log is intact, or fails with its first bad line.
fn verify(files: &[PathBuf]) -> Result<()> {
    let found = audit::verify_in_order(files)?;
    if files.len() > 1 {
        for (file, Verified { records, .. }) in files.iter().zip(&found) {
            println!("{}: {records} records", file.display());
        }
    }
    let mut filled = found.iter().filter(|file| file.records > 0);
    let Some(oldest) = filled.next() else {
        println!("no records");
        return Ok(());
    };
    let newest = filled.next_back().unwrap_or(oldest);
    let records: u64 = found.iter().map(|file| file.records).sum();
    println!("{records} records, from {} to {}, chain intact", oldest.first, newest.last);
    if oldest.begins_chain() {
        println!("begins the chain");
    } else {
        println!("continues {}, the last hash of an older file", oldest.previous);
    }
    println!("last hash {}", newest.last_hash);
    Ok(())
}
