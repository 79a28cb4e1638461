//! The command-line voice client: joins a room on a WZP relay, sends a file, a
//! tone or a microphone, records or plays what it hears, and tells how it went.
//!
//! One loop does everything that belongs to the call (`call`), on one thread,
//! whatever becomes of its sessions with relays (`session`, `reconnect`). What may
//! block has a thread or a task of its own behind a bounded queue: the disk
//! (`recorder`), a file or a pipe (`feed`), the sound card (`live`) and a relay
//! that does not read (`outbox`).
//!
//! `wzp-client load` is another program in the same file: many silent clients
//! at once, to find out what a relay can carry (crate `wzp-load`).

mod call;
mod capture;
mod cli;
mod command;
mod exit;
mod feed;
#[cfg_attr(not(feature = "live"), path = "live_absent.rs")]
mod live;
mod members;
mod notices;
mod outbox;
mod pace;
#[cfg(test)]
mod page;
mod playout;
mod progress;
mod pulse;
mod reconnect;
mod recorder;
mod sending;
mod session;
mod summary;

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;
use wzp_command::terminal::{self, Stderr, Terminal};
use wzp_load::LoadFailure;
use wzp_untrusted::text;

use crate::cli::Options;
use crate::command::Cli;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    if let Some(written) = wzp_pages::answer(std::env::args_os(), Cli::command) {
        return match written {
            Ok(()) => Exit::Done.into(),
            Err(error) => {
                eprintln!("wzp-client: cannot write the pages: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            return match answer.print() {
                _ if answer.use_stderr() => Exit::Usage.into(),
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => not_printed(&error),
                _ => Exit::Done.into(),
            };
        }
    };
    match cli {
        Cli::Call(options) => {
            start_logs(options.verbose);
            let terminal = Terminal::new(options.quiet);
            conclude(terminal, run(&options, terminal), Failure::exit)
        }
        Cli::Load(options) => {
            start_logs(0);
            let terminal = Terminal::new(options.json);
            conclude(terminal, wzp_load::run(*options, terminal), LoadFailure::exit)
        }
    }
}

fn conclude<E: Display>(
    terminal: Terminal,
    outcome: Result<(), E>,
    exit: impl Fn(&E) -> Exit,
) -> ExitCode {
    match (outcome, terminal::refused()) {
        (Ok(()), None) => Exit::Done.into(),
        (Ok(()), Some(error)) => not_printed(error),
        (Err(failure), _) => {
            terminal.error(&failure);
            exit(&failure).into()
        }
    }
}

fn not_printed(error: &io::Error) -> ExitCode {
    let text = format!("cannot write to standard output: {error}; what was to be printed is lost");
    Terminal::new(true).error(text);
    Exit::Local.into()
}

fn run(options: &Options, terminal: Terminal) -> Result<(), Failure> {
    if options.trust.insecure {
        terminal.warning(
            "--insecure accepts any relay, so whoever is in between can listen; \
             use --pin with the fingerprint the relay prints when it starts",
        );
    }
    // One thread: a call needs no second core, and quinn sends fewer packets
    // when its tasks do not race each other (quinn issue 1433).
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::System { what: "start the event loop", source })?
        .block_on(call::run(options, terminal))
}

fn start_logs(verbose: u8) {
    let level = match verbose {
        // What quinn's socket and a sound file's reader complain about is told by the
        // call if it matters.
        0 => "warn,quinn_udp=error,symphonia=off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // One line each, whatever the relay says.
    let fields = debug_fn(|line, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(line, "{}", text::line(&value)),
            name => write!(line, "{name}={}", text::line(&value)),
        }
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .fmt_fields(fields.delimited(" "))
        .with_writer(|| Stderr)
        .init();
}
