//! Which of the relay's sockets gets a packet: that of the shard which the
//! packet's connection id names. The kernel asks once for each packet, or once
//! for several that it has merged.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use core::num::NonZeroU32;

use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::btf_maps::ReusePortSockArray;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::{btf_map, sk_reuseport};
use aya_ebpf::programs::SkReuseportContext;
use aya_ebpf::{EbpfContext, Global};
use wzp_common::steering::{LONG_HEADER_ID, MAX_SHARDS, SHORT_HEADER_ID, shard_of};

/// How many shards there are. Written before the program is loaded and frozen
/// then: the verifier knows it as a constant.
#[unsafe(no_mangle)]
pub static WZP_SHARDS: Global<u32> = Global::new(0);

/// The socket of each shard. A socket that is closed leaves by itself, and the
/// others stay where they are. The relay sets the size when it loads.
#[btf_map]
pub static WZP_SOCKETS: ReusePortSockArray<{ MAX_SHARDS as usize }> = ReusePortSockArray::new();

/// Never drops. Where the shard's socket is gone, the kernel chooses another by
/// the addresses.
#[sk_reuseport]
pub fn wzp_steer(context: SkReuseportContext) -> u32 {
    if let Some(shard) = shard(&context) {
        // Nothing is to be done here if its socket is gone.
        let _ = WZP_SOCKETS.select_reuseport(&context, shard);
    }
    SK_PASS
}

#[inline(always)]
fn shard(context: &SkReuseportContext) -> Option<u32> {
    let shards = NonZeroU32::new(WZP_SHARDS.load())?;
    let shard = match Head::of(context) {
        Some(head) => shard_of(|offset| head.byte(offset), shards),
        None => shard_of(|offset| copy(context, offset), shards),
    };
    // A packet that is too short for its id is no QUIC: shard 0 refuses it as
    // any other.
    Some(shard.unwrap_or(0))
}

/// The packet begins with its UDP header.
const UDP_HEADER: u32 = 8;

/// The bytes that the rule may ask for, read in place.
struct Head {
    form: u8,
    short: u8,
    long: u8,
}

impl Head {
    /// `None` if they do not all lie in the packet's first piece.
    #[inline(always)]
    fn of(context: &SkReuseportContext) -> Option<Self> {
        let start = context.data();
        if start + (UDP_HEADER + LONG_HEADER_ID + 1) as usize > context.data_end() {
            return None;
        }
        // SAFETY: the last of the bytes is before the end, which the verifier
        // checks too.
        let byte =
            |offset: u32| unsafe { *((start + (UDP_HEADER + offset) as usize) as *const u8) };
        Some(Self { form: byte(0), short: byte(SHORT_HEADER_ID), long: byte(LONG_HEADER_ID) })
    }

    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        match offset {
            0 => Some(self.form),
            SHORT_HEADER_ID => Some(self.short),
            LONG_HEADER_ID => Some(self.long),
            _ => None,
        }
    }
}

/// A byte of the payload, wherever it lies: network cards may put it into
/// another piece than the headers.
#[inline(always)]
fn copy(context: &SkReuseportContext, offset: u32) -> Option<u8> {
    let mut byte = MaybeUninit::<u8>::uninit();
    // SAFETY: the context is the one the kernel gave; the buffer has as many
    // bytes as the call is told.
    let result = unsafe {
        bpf_skb_load_bytes(context.as_ptr(), UDP_HEADER + offset, byte.as_mut_ptr().cast(), 1)
    };
    // SAFETY: the kernel says that it has written it.
    (result == 0).then(|| unsafe { byte.assume_init() })
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No function that panics survives optimisation: the verifier would refuse
    // the loop.
    loop {}
}
