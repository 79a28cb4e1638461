//! A relay on a free port of 127.0.0.1, and clients for it: what the tests use
//! that need no network of their own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::binaries;
use crate::client::Launch as ClientLaunch;
use crate::http::{self, Response};
use crate::relay::{Launch, Relay, temporary_state};
use tempfile::TempDir;

/// A running relay.
#[derive(Debug)]
pub struct Loopback {
    relay: Relay<'static>,
    folder: TempDir,
}

impl Loopback {
    /// Starts a relay with these further arguments.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn new(arguments: &[&str]) -> Self {
        Self::in_environment(arguments, &[])
    }

    /// The same with these variables in the relay's environment.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn in_environment(arguments: &[&str], variables: &[(&str, &Path)]) -> Self {
        let folder = temporary_state().expect("a temporary directory");
        let mut command = launch(folder.path(), arguments).command();
        command.envs(variables.iter().copied());
        let relay = Relay::from_command(command, None).expect("a relay that is ready");
        Self { relay, folder }
    }

    /// A folder that lasts as long as the relay.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the relay keeps its identity and its admin socket.
    pub fn state_dir(&self) -> PathBuf {
        state_dir(self.folder())
    }

    /// Asks the relay's admin socket, without content.
    ///
    /// # Panics
    /// Nobody answers.
    pub fn ask_admin(&self, method: &str, path: &str) -> Response {
        let socket = self.state_dir().join("admin.sock");
        http::ask_admin(&socket, method, path).expect("an answer of the admin socket")
    }

    /// How to start a client of that name for that room.
    pub fn client(&self, room: &str, name: &str) -> ClientLaunch<'static> {
        ClientLaunch {
            program: binaries::client(),
            namespace: None,
            relay: self.relay.listen(),
            pin: self.relay.fingerprint().to_owned(),
            room: room.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The relay.
    pub fn relay(&self) -> &Relay<'static> {
        &self.relay
    }

    /// Waits for the relay's end, once it has been told.
    ///
    /// # Panics
    /// It does not end, or not with status 0.
    pub fn wait(mut self) {
        self.relay.wait().expect("a relay that ends well");
    }

    /// Stops the relay.
    ///
    /// # Panics
    /// It does not end, or not with status 0.
    pub fn stop(self) {
        self.relay.stop().expect("a relay that ends well");
    }
}

/// How to start a relay there that keeps its identity in `folder`.
pub fn launch(folder: &Path, arguments: &[&str]) -> Launch<'static> {
    Launch {
        program: binaries::relay(),
        namespace: None,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        state_dir: state_dir(folder),
        arguments: arguments.iter().map(Into::into).collect(),
    }
}

fn state_dir(folder: &Path) -> PathBuf {
    folder.join("state")
}
