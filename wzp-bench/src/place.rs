//! Where both sides meet: two network namespaces, or the machine's loopback.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use wzp_testbed::netns::{Namespace, Network};

/// The hosts' places in the network.
const SERVER: u8 = 0;
const GENERATOR: u8 = 1;

/// How the sides are to be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A namespace each and a veth pair from each to a bridge.
    Veth,
    /// 127.0.0.1, the same interface for both.
    Loopback,
}

/// A network with a place for each side.
#[derive(Debug)]
pub(crate) struct Place(Option<Network>);

impl Place {
    /// The network that was asked for; veth where nothing was and that can be
    /// made.
    ///
    /// # Errors
    /// Namespaces were asked for and cannot be made.
    pub(crate) fn new(asked: Option<Kind>) -> Result<Self> {
        let veth = || Network::new(&["server", "load"]).map(|network| Self(Some(network)));
        match asked {
            Some(Kind::Loopback) => Ok(Self(None)),
            Some(Kind::Veth) => veth().context("network namespaces cannot be made"),
            None => veth().or_else(|error| {
                println!("note: loopback takes the place of network namespaces: {error:#}");
                Ok(Self(None))
            }),
        }
    }

    /// Has the generator's CPUs do what another machine would: process what the
    /// server has sent. Otherwise the server pays for it, since the kernel
    /// delivers on the CPU that sends.
    ///
    /// # Errors
    /// The kernel does not do receive packet steering.
    pub(crate) fn receive_on(&self, generator: &BTreeSet<usize>) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |network| network.process_on(SERVER, generator))
    }

    /// What it is.
    pub(crate) const fn kind(&self) -> Kind {
        if self.0.is_some() { Kind::Veth } else { Kind::Loopback }
    }

    /// The server's namespace, if it has one.
    pub(crate) fn server(&self) -> Option<&Namespace> {
        self.0.as_ref().map(|network| &network.hosts()[usize::from(SERVER)].namespace)
    }

    /// The load generator's namespace, if it has one.
    pub(crate) fn generator(&self) -> Option<&Namespace> {
        self.0.as_ref().map(|network| &network.hosts()[usize::from(GENERATOR)].namespace)
    }

    /// Where the server listens: its address, a free port.
    pub(crate) fn listen(&self) -> SocketAddr {
        let host = self
            .0
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, |network| network.hosts()[usize::from(SERVER)].v4);
        SocketAddr::new(IpAddr::V4(host), 0)
    }

    /// The same with a port that is free now, for those who cannot say which
    /// they have got.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn listen_on_a_port(&self) -> Result<SocketAddr> {
        let free = || UdpSocket::bind(self.listen())?.local_addr();
        match self.server() {
            Some(namespace) => namespace.run(free),
            None => free(),
        }
        .context("no free UDP port")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Veth => "two network namespaces, a veth pair from each to a bridge",
            Self::Loopback => "loopback",
        })
    }
}
