//! Which socket of the group gets a packet: the one of the shard that the
//! destination connection id names (`wzp_common::steering`). The kernel decides,
//! by an eBPF program where that is allowed, else by a classic-BPF filter; both
//! choose the same.

mod classic;
mod ebpf;

use std::net::UdpSocket;

use tracing::{info, warn};

use crate::sentence;
use wzp_telemetry::log::target;

/// What steers packets to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The eBPF program.
    Ebpf,
    /// The classic-BPF filter.
    Classic,
    /// Nothing: shards have to hand packets on.
    None,
}

impl Steering {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Ebpf, Self::Classic, Self::None];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Classic => "classic",
            Self::None => "none",
        }
    }
}

/// Has the kernel steer packets between the sockets of a group, the first for
/// shard 0 and so on, for as long as they are open. `ebpf`: whether that may be
/// an eBPF program.
pub fn start(sockets: &[UdpSocket], ebpf: bool) -> Steering {
    let Some(first) = sockets.first() else { return Steering::None };
    // For one shard the filter does all there is to do: it names no other socket.
    let ebpf = ebpf && sockets.len() > 1;
    let refused = match ebpf.then(|| ebpf::attach(sockets)) {
        Some(Ok(())) => {
            info!(target: target::NET, "an eBPF program steers packets to shards");
            return Steering::Ebpf;
        }
        Some(Err(error)) => Some(sentence(&error)),
        None => None,
    };
    match classic::attach(first, sockets.len()) {
        Ok(()) => {
            info!(target: target::NET, no_ebpf = refused, "a classic BPF filter steers packets to shards");
            Steering::Classic
        }
        Err(error) => {
            // Shards hand on what is not theirs: slower, but nothing is lost.
            warn!(target: target::NET, %error, "the kernel cannot steer packets to shards; they do it themselves");
            Steering::None
        }
    }
}

#[cfg(test)]
mod tests {
    use wzp_testbed::skip;

    use super::*;

    #[test]
    fn sockets_that_share_no_port_are_refused_with_a_reason() {
        if !skip::have_namespaces("sockets_that_share_no_port_are_refused_with_a_reason") {
            return;
        }
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let error = sentence(&ebpf::attach(&sockets).unwrap_err());
        assert!(error.contains("Invalid argument"), "{error}");
        assert_eq!(start(&sockets, true), Steering::None);
    }
}
