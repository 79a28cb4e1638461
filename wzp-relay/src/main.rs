//! The relay daemon: command line, configuration, run.

// These panic where nothing can be printed: `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;
use tokio::runtime::Runtime;
use tracing::{Level, warn};
use wzp_relay::admin::ctl;
use wzp_relay::admin::serve::{PARTS, Start, serve};
use wzp_relay::build_info;
use wzp_relay::cli::{AuditCommand, Cli, Command};
use wzp_relay::config::{Config, Flags, Loaded, StateDir};
use wzp_relay::doctor;
use wzp_relay::output::{self, Output};
use wzp_relay::paths::{ADMIN_SOCKET, AUDIT_FILE};
use wzp_relay::privileges::{self, Privileged};
use wzp_relay::words::counted;
use wzp_telemetry::audit::{self, Verified};
use wzp_telemetry::log::target;
use wzp_telemetry::{log, panics, trace};
use wzp_untrusted::text;

fn main() -> ExitCode {
    let pages = wzp_pages::answer(std::env::args_os(), Cli::command);
    let outcome = match pages {
        Some(written) => written.context("cannot write the pages"),
        None => run(Cli::read()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = format!("wzp-relay: {}", text::lines(&format!("{error:#}")));
            output::tell(Level::ERROR, &told);
            ctl::exit_code(&error).into()
        }
    }
}

fn run(Cli { command, flags }: Cli) -> Result<()> {
    match command {
        None => relay(flags),
        // It has to work with a configuration that does not.
        Some(Command::Config(command)) => command.run(&flags, &mut Output::new()),
        Some(Command::Doctor(options)) => doctor::run(flags, options, &mut Output::new()),
        Some(Command::Ctl { command }) => {
            let socket = admin_socket(&flags)?;
            runtime()?.block_on(ctl::run(&socket, command))
        }
        Some(Command::Audit(AuditCommand::Verify { mut files })) => {
            if files.is_empty() {
                let config = Config::load(&flags)?;
                let own = || config.relay.state_dir.join(AUDIT_FILE);
                files.push(config.audit.file.unwrap_or_else(own));
            }
            verify(&files, &mut Output::new())
        }
    }
}

/// Where the relay is that the command line means.
fn admin_socket(flags: &Flags) -> Result<PathBuf> {
    let StateDir { path, problem } = StateDir::find(flags)
        .context("it cannot be told which relay is meant; give its --state-dir")?;
    if let Some(problem) = problem {
        let told = format!("wzp-relay: warning: {}", text::lines(&problem.to_string()));
        output::tell(Level::WARN, &told);
    }
    Ok(path.join(ADMIN_SOCKET))
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn relay(flags: Flags) -> Result<()> {
    let loaded = Loaded::new(&flags)?;
    let exposure = loaded.exposure();
    let Loaded { config, warnings, .. } = loaded;
    privileges::keep_files_private();
    // Before there is any other thread.
    let privileged = Privileged::split().context("cannot start a thread")?;
    // Media has threads of its own; this runtime only carries the control plane.
    let runtime = runtime()?;
    let sender = trace::Sender {
        name: "wzp-relay",
        version: build_info::VERSION,
        instance: instance_id(&config),
    };
    let trace = {
        // It sends in this runtime.
        let _entered = runtime.enter();
        trace::start(&config.tracing, &sender)?
    };
    let log = log::start(&config.logging, trace.layer().into_iter().collect())?;
    let panics = panics::watch(PARTS).context("cannot start a thread")?;
    for warning in warnings.into_iter().chain(exposure) {
        warn!(target: target::RELAY, "{warning}");
    }
    let outcome = runtime.block_on(serve(Start { flags, config, log, trace, privileged, panics }));
    // A file system that does not answer keeps nobody from the end.
    runtime.shutdown_timeout(LAST_FILES);
    outcome
}

/// Two relays have no state directory and no port in common.
fn instance_id(config: &Config) -> String {
    let state_dir = &config.relay.state_dir;
    let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.clone());
    trace::instance_id(&[&state_dir.to_string_lossy(), &config.relay.listen.to_string()])
}

/// What reads or writes files when the relay ends has this long.
const LAST_FILES: Duration = Duration::from_secs(1);

/// Says that an audit log is intact, or fails with its first bad line.
fn verify(files: &[PathBuf], out: &mut impl Write) -> Result<()> {
    let found = audit::verify_in_order(files)?;
    if files.len() > 1 {
        for (file, Verified { records, .. }) in files.iter().zip(&found) {
            writeln!(out, "{}: {}", file.display(), counted(*records, "record"))?;
        }
    }
    let mut filled = found.iter().filter(|file| file.records > 0);
    let Some(oldest) = filled.next() else {
        writeln!(out, "no records")?;
        return Ok(());
    };
    let newest = filled.next_back().unwrap_or(oldest);
    let records: u64 = found.iter().map(|file| file.records).sum();
    let (first, last) = (text::line(&oldest.first), text::line(&newest.last));
    writeln!(out, "{}, from {first} to {last}, chain intact", counted(records, "record"))?;
    if oldest.begins_chain() {
        writeln!(out, "begins the chain")?;
    } else {
        let previous = text::line(&oldest.previous);
        writeln!(out, "continues {previous}, the last hash of an older file")?;
    }
    writeln!(out, "last hash {}", newest.last_hash)?;
    Ok(out.flush()?)
}
