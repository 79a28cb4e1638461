//! The relay daemon: command line, configuration, run.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::Method;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder};
use tracing_subscriber::EnvFilter;
use wzp_relay::admin::flows::show;
use wzp_relay::admin::serve::serve;
use wzp_relay::admin::socket::ask;
use wzp_relay::config::{AuditCommand, Cli, Command, Config};
use wzp_telemetry::audit::{self, Verified};

fn main() -> ExitCode {
    let cli = Cli::read();
    // A thread of its own writes, and what stderr does not take in time is
    // dropped and counted: a log that is stuck must not stop the media.
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let log_lines_dropped = writer.error_counter();
    // Strangers can make quinn-proto warn once per packet.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,quinn_proto=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = run(&cli, log_lines_dropped);
    drop(guard);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wzp-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, log_lines_dropped: ErrorCounter) -> anyhow::Result<()> {
    if let Some(Command::Config(command)) = &cli.command {
        return command.run(cli, &mut std::io::stdout().lock());
    }
    let config = Config::load(cli)?;
    // Media has threads of its own; this runtime only carries the control plane.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = config.relay.admin_socket();
    let block =
        |method, ip| async move { ask(&socket, method, &format!("/block/{ip}")).await.map(|_| ()) };
    match cli.command.clone() {
        Some(Command::Flows(options)) => {
            runtime.block_on(show(&config.relay.admin_socket(), options))
        }
        Some(Command::Block { ip }) => runtime.block_on(block(Method::PUT, ip)),
        Some(Command::Unblock { ip }) => runtime.block_on(block(Method::DELETE, ip)),
        Some(Command::Audit(AuditCommand::Verify { file })) => {
            verify(&file.unwrap_or_else(|| config.relay.state_dir.join("audit.log")))
        }
        Some(Command::Config(_)) | None => runtime
            .block_on(serve(config, Arc::new(move || log_lines_dropped.dropped_lines() as u64))),
    }
}

/// Says that an audit log is intact, or fails with its first bad line.
fn verify(path: &Path) -> anyhow::Result<()> {
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
