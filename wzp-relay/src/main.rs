//! The relay daemon: command line, configuration, run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tracing::warn;
use wzp_relay::admin::serve::{AUDIT_FILE, PARTS, Start, serve};
use wzp_relay::admin::{ctl, socket};
use wzp_relay::config::{AuditCommand, Cli, Command, Config, Loaded, StateDir};
use wzp_relay::privileges::{self, Privileged};
use wzp_telemetry::audit::{self, Verified};
use wzp_telemetry::{log, panics, trace};
use wzp_untrusted::text;

fn main() -> ExitCode {
    match run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wzp-relay: {}", text::lines(&format!("{error:#}")));
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
        let socket = admin_socket(&cli)?;
        return runtime()?.block_on(ctl::run(&socket, command));
    }
    if let Some(Command::Audit(AuditCommand::Verify { mut files })) = cli.command.clone() {
        if files.is_empty() {
            let config = Config::load(&cli)?;
            let own = || config.relay.state_dir.join(AUDIT_FILE);
            files.push(config.audit.file.unwrap_or_else(own));
        }
        return verify(&files);
    }
    relay(cli)
}

/// Where the relay is that the command line means.
fn admin_socket(cli: &Cli) -> Result<PathBuf> {
    let StateDir { path, problem } = StateDir::find(cli)
        .context("it cannot be told which relay is meant; give its --state-dir")?;
    if let Some(problem) = problem {
        eprintln!("wzp-relay: warning: {}", text::lines(&problem.to_string()));
    }
    Ok(path.join(socket::FILE))
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn relay(cli: Cli) -> Result<()> {
    let Loaded { config, warnings, .. } = Loaded::new(&cli)?;
    privileges::keep_files_private();
    // Before there is any other thread.
    let privileged = Privileged::split().context("cannot start a thread")?;
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
    for warning in warnings {
        warn!("{warning}");
    }
    let outcome = runtime.block_on(serve(Start { cli, config, log, trace, privileged, panics }));
    // A file system that does not answer keeps nobody from the end.
    runtime.shutdown_timeout(LAST_FILES);
    outcome
}

/// What reads or writes files when the relay ends has this long.
const LAST_FILES: Duration = Duration::from_secs(1);

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
    let (first, last) = (text::line(&oldest.first), text::line(&newest.last));
    println!("{records} records, from {first} to {last}, chain intact");
    if oldest.begins_chain() {
        println!("begins the chain");
    } else {
        let previous = text::line(&oldest.previous);
        println!("continues {previous}, the last hash of an older file");
    }
    println!("last hash {}", newest.last_hash);
    Ok(())
}
