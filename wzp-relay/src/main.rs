//! The relay daemon: command line, configuration, run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use tokio::runtime::Runtime;
use wzp_relay::admin::ctl;
use wzp_relay::admin::serve::{AUDIT_FILE, Start, serve};
use wzp_relay::config::{AuditCommand, Cli, Command, Config};
use wzp_telemetry::audit::{self, Verified};
use wzp_telemetry::{log, trace};

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
    let config = Config::load(&cli)?;
    // Media has threads of its own; this runtime only carries the control plane.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command.clone() {
        Some(Command::Ctl { command }) => {
            runtime.block_on(ctl::run(&config.relay.admin_socket(), command))
        }
        Some(Command::Audit(AuditCommand::Verify { file })) => {
            let own = || config.relay.state_dir.join(AUDIT_FILE);
            verify(&file.or(config.audit.file.clone()).unwrap_or_else(own))
        }
        Some(Command::Config(_)) | None => relay(&runtime, cli, config),
    }
}

fn relay(runtime: &Runtime, cli: Cli, config: Config) -> Result<()> {
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
    runtime.block_on(serve(Start { cli, config, log, trace }))
}

/// Says that an audit log is intact, or fails with its first bad line.
fn verify(path: &Path) -> Result<()> {
    let Verified { records, first, last, previous, last_hash } = audit::verify(path)?;
    if records == 0 {
        println!("no records");
        return Ok(());
    }
    println!("{records} records, from {first} to {last}, chain intact");
    println!("continues {previous}");
    println!("last hash {last_hash}");
    Ok(())
}
