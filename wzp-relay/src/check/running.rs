//! The relay that already runs with the state directory: what it has open is in use, and
//! that is no mistake of the settings.

use hyper::Method;

use crate::admin::lists::{CountedInterface, Status};
use crate::admin::socket::{AskError, Occupant, ask, occupant};
use crate::config::{Config, RelaySection};

/// That relay, as far as it tells.
#[derive(Debug)]
pub(crate) struct Running {
    /// The process id of the relay that runs.
    pub(crate) pid: Option<u32>,
    /// Whether it says anything at all.
    pub(crate) answers: bool,
    /// Where it has the kernel count.
    pub(crate) interfaces: Vec<CountedInterface>,
    settings: Option<Box<Config>>,
}

impl Running {
    /// Asks at the admin socket; `None`: there is none.
    pub(super) async fn find(relay: &RelaySection) -> Option<Self> {
        let socket = relay.admin_socket();
        let Ok(Occupant::Relay(pid)) = occupant(&socket) else { return None };
        let status = ask::<Status>(&socket, Method::GET, "/status", &()).await;
        let mut running = Self {
            pid,
            answers: !matches!(status, Err(AskError::Late(_))),
            interfaces: Vec::new(),
            settings: None,
        };
        if running.answers {
            let settings = ask::<Config>(&socket, Method::GET, "/config", &()).await;
            running.settings = settings.ok().map(Box::new);
        }
        if let Ok(status) = status {
            // One of another container calls itself something else.
            running.pid = pid.or(Some(status.pid));
            running.interfaces = status.interfaces;
            // Port 0 is one by now.
            if let (Some(settings), Ok(listen)) = (&mut running.settings, status.listen.parse()) {
                settings.relay.listen = listen;
            }
        }
        Some(running)
    }

    /// Whether it is so in that relay, if that is known.
    pub(super) fn has(&self, is_so: impl FnOnce(&Config) -> bool) -> Option<bool> {
        self.settings.as_deref().map(is_so)
    }

    /// What a check beside it means; `busy` are the keys of what it has.
    pub(super) fn note(&self, busy: &[&str]) -> String {
        let process = self.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let hangs = if self.answers { "" } else { ", which does not answer," };
        let has = match busy {
            [] => String::new(),
            keys => format!("; it has what these name, so that was not tried: {}", keys.join(", ")),
        };
        format!(
            "a relay{hangs} runs with this state directory{process}, and another could start \
             only after it{has}"
        )
    }
}
