//! `wzp-relay ctl drain`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use hyper::Method;
use serde_json::Value;

use crate::admin::api::DrainOrder;
use crate::admin::lists::Status;
use crate::admin::socket::{AskError, ask};

/// How often --wait looks.
const LOOK: Duration = Duration::from_millis(200);

/// How to drain.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// How long sessions may go on, for example 10m; without it relay.drain_timeout
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// The relay ends when nobody is left; without it, it stays and can be taken
    /// back with undrain
    #[arg(long)]
    exit: bool,

    /// Return when nobody is left, not at once
    #[arg(long)]
    wait: bool,
}

/// Has the relay drain.
///
/// # Errors
/// An [`AskError`], or with `--wait` that somebody took the drain back.
pub async fn drain(socket: &Path, options: Options) -> Result<()> {
    let timeout_seconds = options.timeout.map(|timeout| timeout.as_secs_f64());
    let order = DrainOrder { timeout_seconds, exit: options.exit };
    ask::<Value>(socket, Method::PUT, "/drain", &order).await?;
    if !options.wait {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK).await;
        match ask::<Status>(socket, Method::GET, "/status", &()).await {
            Ok(Status { drain: None, .. }) => bail!("somebody took the drain back"),
            Ok(Status { sessions: 0, .. }) => return Ok(()),
            // It has ended, as it was told to by this or by a signal.
            Err(AskError::Absent { .. } | AskError::Broken(_)) => return Ok(()),
            Ok(_) => {}
            Err(refused) => return Err(refused.into()),
        }
    }
}
