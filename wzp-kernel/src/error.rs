//! What can go wrong, in sentences for the operator.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Why the kernel does not count.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs in order on an interface's both ways came with Linux 6.6.
    #[error("counting in the kernel needs Linux 6.6 or later; this is {found}")]
    OldKernel {
        /// The version of this kernel.
        found: String,
    },

    /// The process is not allowed.
    #[error(
        "counting in the kernel needs the capabilities CAP_BPF and CAP_NET_ADMIN, and this \
         process lacks {missing}. Start the relay as root, or give them with \
         AmbientCapabilities=CAP_BPF CAP_NET_ADMIN in its systemd unit, or with \
         setcap cap_bpf,cap_net_admin+ep on its file"
    )]
    Capabilities {
        /// The names of the missing ones.
        missing: String,
    },

    /// The process has the capabilities and may not all the same.
    #[error(
        "this process has CAP_BPF and CAP_NET_ADMIN, and the kernel forbids it to load programs \
         all the same: a seccomp filter, a security module, kernel lockdown, or a container whose \
         root is not the machine's"
    )]
    Forbidden(#[source] io::Error),

    /// Nothing to count on.
    #[error("counting in the kernel needs the names of the interfaces: give --interface")]
    NoInterface,

    /// Each frame would be counted twice.
    #[error(
        "interface {upper} is on top of {lower}: each frame would be counted twice. Name one of \
         them"
    )]
    Stacked {
        /// The one below.
        lower: String,
        /// The one on top: a bond, a bridge, a VLAN.
        upper: String,
    },

    /// More than the maps are made for.
    #[error("{wanted} flows are more than the kernel's table may have: at most {most}")]
    Capacity {
        /// What was asked for.
        wanted: u32,
        /// What there may be.
        most: u32,
    },

    /// The kernel refuses the programs or their maps.
    #[error("the kernel does not take the programs")]
    Load(#[source] EbpfError),

    /// No memory, no descriptors.
    #[error("the system does not give what counting in the kernel takes")]
    System(#[source] io::Error),

    /// There is no such interface.
    #[error("there is no interface {interface}")]
    NoSuchInterface {
        /// The name.
        interface: String,
    },

    /// The interface carries no Ethernet frames.
    #[error("interface {interface} carries no Ethernet frames (its type is {kind})")]
    NotEthernet {
        /// The name.
        interface: String,
        /// ARPHRD_ number.
        kind: String,
    },

    /// Somebody's generic XDP program is there.
    #[error(
        "another program uses generic XDP on interface {interface}; behind it frames lack their \
         Ethernet header, and could not be counted. Remove it, or attach it in driver mode"
    )]
    GenericXdp {
        /// The name.
        interface: String,
    },

    /// The interface refuses a program.
    #[error("{hook} cannot be used on interface {interface}")]
    Attach {
        /// The name.
        interface: String,
        /// The hook's name.
        hook: &'static str,
        /// Why.
        source: ProgramError,
    },

    /// The kernel attached a program in a way that outlives the process.
    #[error(
        "the kernel would keep {hook} on interface {interface} after the relay is gone; it was \
         detached"
    )]
    Outlives {
        /// The name.
        interface: String,
        /// The hook's name.
        hook: &'static str,
    },

    /// The blocklist cannot be changed.
    #[error("the blocklist in the kernel cannot be changed; it takes at most 16,384 addresses")]
    Blocklist(#[source] MapError),

    /// The kernel does not count.
    #[error("the kernel does not count, so it cannot drop: start the relay with --interface")]
    NotRunning,
}

impl From<ProgramError> for Error {
    fn from(error: ProgramError) -> Self {
        Self::Load(error.into())
    }
}

/// The system's error in an error of the library.
pub(super) fn system_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
