//! Why a frame is in no flow.
//!
//! Each frame that crosses a hook is counted in exactly one place: a slot
//! (slot 0 if its tuple is unknown) or one of these reasons. The sum over
//! slots and reasons is what the hook saw, and tests hold it against the
//! interface's own counters.

/// Why a frame is in no flow.
///
/// The first three are frames that are certainly not the relay's: they say that
/// the hook sees traffic, and a relay whose port is set wrongly shows as
/// [`Reason::OtherPort`] alone. The others may have been for the relay: an
/// operator wants to know when they grow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Neither IPv4 nor IPv6: ARP, spanning tree and so on.
    NotIp = 0,
    /// IP, but not UDP. ESP counts here, whatever is inside.
    NotUdp = 1,
    /// UDP, but not the relay's port on the relay's side.
    OtherPort = 2,
    /// An IP fragment, first or later. QUIC forbids them (RFC 9000 section 14);
    /// only the first has ports, so none is counted in a flow.
    Fragment = 3,
    /// More than [`crate::frame::MAX_VLAN_TAGS`] VLAN tags.
    VlanDepth = 4,
    /// More than [`crate::frame::MAX_EXTENSION_HEADERS`] IPv6 extension
    /// headers.
    ExtHeader = 5,
    /// An IP version or header length that cannot be.
    BadHeader = 6,
    /// The frame ends before its headers do.
    Short = 7,
    /// For the relay's port, from a blocked address: dropped. The only frames
    /// that are.
    Blocked = 8,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::NotIp,
        Self::NotUdp,
        Self::OtherPort,
        Self::Fragment,
        Self::VlanDepth,
        Self::ExtHeader,
        Self::BadHeader,
        Self::Short,
        Self::Blocked,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NotUdp => "not_udp",
            Self::OtherPort => "other_port",
            Self::Fragment => "fragment",
            Self::VlanDepth => "vlan_depth",
            Self::ExtHeader => "ext_header",
            Self::BadHeader => "bad_header",
            Self::Short => "short",
            Self::Blocked => "blocked",
        }
    }
}

/// Which way a frame goes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the relay: the remote address is the source.
    Rx = 0,
    /// From the relay: the remote address is the destination.
    Tx = 1,
}

impl Direction {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Tx => "tx",
        }
    }
}

/// The number of counters in the map of reasons.
pub const REASON_COUNTERS: u32 = 2 * Reason::ALL.len() as u32;

/// Where the map of reasons counts this one.
pub const fn reason_index(direction: Direction, reason: Reason) -> u32 {
    direction as u32 * Reason::ALL.len() as u32 + reason as u32
}

const _: () = {
    let mut number = 0;
    while number < Reason::ALL.len() {
        assert!(Reason::ALL[number] as usize == number);
        number += 1;
    }
};
