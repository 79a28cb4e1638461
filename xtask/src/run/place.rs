//! Where the demonstration takes place: in network namespaces, where the kernel
//! counts, or else on the loopback interface. Never on an interface of the
//! machine's own.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};

use wzp_testbed::netns::{Host, Namespace, Network};

/// The relay's side and the clients' side.
#[derive(Debug)]
pub(super) struct Place {
    network: Option<Network>,
}

impl Place {
    /// Namespaces if this user may make them. Says what it is, and what is lost
    /// without them.
    pub(super) fn choose() -> Self {
        match Network::new(&["relay", "clients"]) {
            Ok(network) => {
                let [relay, clients] = network.hosts() else { unreachable!("two labels") };
                println!(
                    "\nThe relay is in the network namespace {}, its clients are in {}.",
                    relay.namespace.name(),
                    clients.namespace.name()
                );
                Self { network: Some(network) }
            }
            Err(error) => {
                println!(
                    "\nAll talk over loopback and the relay counts by itself, without packets on \
                     the wire and the list of flows: the kernel would count in network \
                     namespaces, which root can make ({error:#})."
                );
                Self { network: None }
            }
        }
    }

    fn host(&self, number: usize) -> Option<&Host> {
        self.network.as_ref().map(|network| &network.hosts()[number])
    }

    /// Where the relay runs; the machine itself if `None`.
    pub(super) fn relay(&self) -> Option<&Namespace> {
        self.host(0).map(|host| &host.namespace)
    }

    /// Where the clients run; the machine itself if `None`.
    pub(super) fn clients(&self) -> Option<&Namespace> {
        self.host(1).map(|host| &host.namespace)
    }

    /// What the relay listens on, with a free port, and what clients connect to.
    pub(super) fn listen(&self) -> SocketAddr {
        (self.host(0).map_or(Ipv4Addr::LOCALHOST, |host| host.v4), 0).into()
    }

    /// How the relay is told to have the kernel count.
    pub(super) fn counting(&self) -> Vec<OsString> {
        let arguments = ["--ebpf", "auto", "--interface", "eth0"];
        self.relay().map_or(Vec::new(), |_| arguments.map(Into::into).into())
    }
}
