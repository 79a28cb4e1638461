//! The kernel programs, built from `wzp-ebpf` by `cargo xtask build-ebpf` and
//! committed: building the relay takes a stable compiler only.

/// Puts bytes where the ELF parser can read words.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// The bytes of an object in the byte order of this machine, which is its kernel's.
#[cfg(target_endian = "little")]
macro_rules! object {
    ($name:literal) => {
        &Aligned(*include_bytes!(concat!("../ebpf/bpfel/", $name)))
    };
}
#[cfg(target_endian = "big")]
macro_rules! object {
    ($name:literal) => {
        &Aligned(*include_bytes!(concat!("../ebpf/bpfeb/", $name)))
    };
}

static ALIGNED: &Aligned<[u8]> = object!("wzp.o");
static ALIGNED_STEER: &Aligned<[u8]> = object!("steer.o");
static ALIGNED_EMPTY: &Aligned<[u8]> = object!("empty.o");

/// The object with the programs that count.
pub static OBJECT: &[u8] = &ALIGNED.0;
/// The object with the program that steers.
pub static STEER_OBJECT: &[u8] = &ALIGNED_STEER.0;
/// The object with a program that does nothing: the benchmark's zero.
pub static EMPTY_OBJECT: &[u8] = &ALIGNED_EMPTY.0;

/// XDP programs receive frames before the rest of the kernel does.
pub const XDP_INGRESS: &str = "wzp_xdp_ingress";
/// TCX programs receive them behind the driver.
pub const TCX_INGRESS: &str = "wzp_tcx_ingress";
/// And on their way out.
pub const TCX_EGRESS: &str = "wzp_tcx_egress";

/// Programs on a group of sockets choose the one that gets a packet.
pub const STEER: &str = "wzp_steer";

/// All programs that count.
pub const PROGRAMS: [&str; 3] = [XDP_INGRESS, TCX_INGRESS, TCX_EGRESS];

pub(super) const FLOWS: &str = "WZP_FLOWS";
pub(super) const SLOTS: &str = "WZP_SLOTS";
pub(super) const REASONS: &str = "WZP_REASONS";
pub(super) const BLOCKED: &str = "WZP_BLOCKED";
pub(super) const BLOCK_COUNT: &str = "WZP_BLOCK_COUNT";
pub(super) const LOGS: &str = "AYA_LOGS";
pub(super) const PORT: &str = "WZP_PORT";

/// The sockets to choose from, by shard.
pub const SOCKETS: &str = "WZP_SOCKETS";
/// Their number.
pub const SHARDS: &str = "WZP_SHARDS";
