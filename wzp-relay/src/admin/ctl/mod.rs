//! `wzp-relay ctl`: what operators can do with a running relay. It asks over the
//! admin socket and prints the answer.

pub mod drain;
mod events;
pub mod flows;
mod live;
mod rooms;
mod sessions;
mod status;
mod table;
pub mod top;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde::Serialize;
use serde_json::Value;
use wzp_untrusted::{json, text};

use super::api::{BlockOrder, KickOrder, LogOrder};
use super::reload::Reloaded;
use super::socket::{AskError, ask};
use crate::output::Output;

/// The end of `--help`.
pub const HELP: &str = "\
The relay is found by its state directory: give --state-dir or --config as the \
relay got them. Only the relay's own user and root may ask.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no relay answers, 4 the relay refused.";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show how the relay is, on one screen
    Status(Form),
    /// List who is connected
    Sessions(Form),
    /// List the rooms that have members
    Rooms(Form),
    /// Show the busiest sessions, as the kernel counts their packets
    Flows(flows::Options),
    /// Show how the sessions fare: loss both ways, round trip, jitter, rates
    Top(top::Options),
    /// Follow what happens: joins, leaves, drops, changes, one line of JSON each
    Events,
    /// End a session
    Kick {
        /// The session's id, as `sessions` and the log show it
        session: String,
        /// A sentence for the client
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Drop packets from an address before they reach the relay
    Block {
        /// IPv4 or IPv6
        ip: IpAddr,
        /// End its sessions at once; without it they end for want of packets
        #[arg(long)]
        kick: bool,
    },
    /// Take packets from a blocked address again
    Unblock {
        /// IPv4 or IPv6
        ip: IpAddr,
    },
    /// Take nobody in any more and tell everyone to leave
    Drain(drain::Options),
    /// Take people in again
    Undrain,
    /// Set what is logged until the relay ends or logging.level is changed
    LogLevel {
        /// As in RUST_LOG, for example info or info,wzp::session=debug
        filter: String,
    },
    /// Read configuration, certificate and keys again, like SIGHUP, and hear whether it worked
    Reload,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Form {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what the command says with the relay behind `socket`.
///
/// # Errors
/// An [`AskError`], or what was printed could not be.
pub async fn run(socket: &Path, command: Command) -> Result<()> {
    let change = async |method, path: &str| -> Result<()> {
        ask::<Value>(socket, method, path, &()).await?;
        Ok(())
    };
    match command {
        Command::Status(form) => show(socket, "/status", form, status::screen).await,
        Command::Sessions(form) => {
            show(socket, "/sessions", form, |rows: &Vec<_>| sessions::list(rows)).await
        }
        Command::Rooms(form) => {
            show(socket, "/rooms", form, |rows: &Vec<_>| rooms::list(rows)).await
        }
        Command::Flows(options) => flows::show(socket, options).await,
        Command::Top(options) => top::show(socket, options).await,
        Command::Events => events::follow(socket).await,
        Command::Kick { session, reason } => {
            let path = format!("/sessions/{session}");
            ask::<Value>(socket, Method::DELETE, &path, &KickOrder { reason }).await?;
            Ok(())
        }
        Command::Block { ip, kick } => {
            let path = format!("/block/{ip}");
            ask::<Value>(socket, Method::PUT, &path, &BlockOrder { kick }).await?;
            Ok(())
        }
        Command::Unblock { ip } => change(Method::DELETE, &format!("/block/{ip}")).await,
        Command::Drain(options) => drain::drain(socket, options).await,
        Command::Undrain => change(Method::DELETE, "/drain").await,
        Command::LogLevel { filter } => {
            ask::<Value>(socket, Method::PUT, "/log-level", &LogOrder { filter }).await?;
            Ok(())
        }
        Command::Reload => {
            let reloaded: Reloaded = ask(socket, Method::POST, "/reload", &()).await?;
            print(&told(&reloaded))
        }
    }
}

/// What became of a reload, a line each.
fn told(Reloaded { changes, waiting, keys }: &Reloaded) -> String {
    let mut lines = changes.clone();
    lines.extend(waiting.clone());
    if keys.old_key_id != keys.new_key_id {
        lines.push(format!("new fingerprint {}", keys.new_key_id));
    }
    lines.extend(keys.token_keys_added.iter().map(|key| format!("new key for tokens: {key}")));
    lines.extend(keys.token_keys_removed.iter().map(|key| format!("no key for tokens now: {key}")));
    if lines.is_empty() {
        lines.push("nothing is different".to_owned());
    }
    lines.iter().map(|told| format!("{}\n", text::line(told))).collect()
}

/// The exit code that stands for this failure.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(AskError::Absent { .. } | AskError::Late(_)) => 3,
        Some(AskError::Refused(_)) => 4,
        Some(AskError::Broken(_)) | None => 1,
    }
}

async fn show<T: serde::de::DeserializeOwned + Serialize>(
    socket: &Path,
    path: &str,
    form: Form,
    text: fn(&T) -> String,
) -> Result<()> {
    let answer: T = ask(socket, Method::GET, path, &()).await?;
    match form.json {
        true => print(&format!("{}\n", json::to_string(&answer)?)),
        false => print(&text(&answer)),
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = Output::new();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
