//! The kernel programs, built from `wzp-ebpf` by `cargo xtask build-ebpf` and
//! committed: building the relay takes a stable compiler only.

/// Puts bytes where the ELF parser can read words.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../ebpf/wzp.o"));

/// The object.
pub static OBJECT: &[u8] = &ALIGNED.0;

/// XDP programs receive frames before the rest of the kernel does.
pub const XDP_INGRESS: &str = "wzp_xdp_ingress";
/// TCX programs receive them behind the driver.
pub const TCX_INGRESS: &str = "wzp_tcx_ingress";
/// And on their way out.
pub const TCX_EGRESS: &str = "wzp_tcx_egress";

/// All programs.
pub const PROGRAMS: [&str; 3] = [XDP_INGRESS, TCX_INGRESS, TCX_EGRESS];

pub(super) const FLOWS: &str = "WZP_FLOWS";
pub(super) const SLOTS: &str = "WZP_SLOTS";
pub(super) const REASONS: &str = "WZP_REASONS";
pub(super) const BLOCKED: &str = "WZP_BLOCKED";
pub(super) const BLOCK_COUNT: &str = "WZP_BLOCK_COUNT";
pub(super) const LOGS: &str = "AYA_LOGS";
pub(super) const PORT: &str = "WZP_PORT";
