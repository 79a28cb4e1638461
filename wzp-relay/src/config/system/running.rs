//! The relay that already runs with the state directory: what it has open is in use, and
//! that is no mistake of the settings.

use hyper::Method;

use crate::admin::lists::Status;
use crate::admin::socket::{Occupant, ask, occupant};
use crate::config::{Config, RelaySection};

/// The relay, if there is one.
pub(super) enum Running {
    Nobody,
    /// Its process and its settings, as far as it tells them.
    Relay {
        pid: Option<u32>,
        settings: Option<Box<Config>>,
    },
}

impl Running {
    /// Asks at the admin socket.
    pub(super) async fn find(relay: &RelaySection) -> Self {
        let socket = relay.admin_socket();
        if occupant(&socket).ok() != Some(Occupant::Relay) {
            return Self::Nobody;
        }
        let status = ask::<Status>(&socket, Method::GET, "/status", &()).await;
        let settings = ask::<Config>(&socket, Method::GET, "/config", &()).await;
        let Ok(mut settings) = settings else {
            return Self::Relay { pid: status.ok().map(|status| status.pid), settings: None };
        };
        let pid = status.ok().map(|status| {
            // Port 0 is one by now.
            if let Ok(listen) = status.listen.parse() {
                settings.relay.listen = listen;
            }
            status.pid
        });
        Self::Relay { pid, settings: Some(Box::new(settings)) }
    }

    /// Whether it is so in that relay, if that is known.
    pub(super) fn has(&self, is_so: impl FnOnce(&Config) -> bool) -> Option<bool> {
        match self {
            Self::Nobody => Some(false),
            Self::Relay { settings, .. } => settings.as_deref().map(is_so),
        }
    }

    /// What a check beside it means; `busy` are the keys of what it has.
    pub(super) fn note(&self, busy: &[&str]) -> Option<String> {
        let Self::Relay { pid, .. } = self else { return None };
        let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let has = match busy {
            [] => String::new(),
            keys => format!("; it has what these name, so that was not tried: {}", keys.join(", ")),
        };
        Some(format!(
            "a relay runs with this state directory{process}, and another could start only \
             after it{has}"
        ))
    }
}
