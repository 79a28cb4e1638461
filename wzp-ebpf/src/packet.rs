//! What the parser reads from: frames at the two kinds of hooks.

use core::ffi::{c_long, c_void};
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use wzp_common::frame::{Cursor, Datagram, parse, parse_plain, parse_tagged, parse_untagged};
use wzp_common::reason::{Direction, Reason};
use wzp_common::size::{Size, SkbLength};

use crate::maps::WZP_PORT;

/// A frame at a hook.
pub trait Packet: EbpfContext {
    /// The first bytes, which the program may read by itself.
    fn head(&self) -> Head;

    /// Has the kernel copy `len` bytes from `offset`, wherever they are; gives 0
    /// if it has.
    ///
    /// # Safety
    /// As many bytes can be written at `to`.
    unsafe fn copy(&self, offset: u32, to: *mut c_void, len: u32) -> c_long;

    /// What the frame counts for.
    fn size(&self, datagram: &Datagram) -> Size;
}

/// The flow of a frame without tags, options and extension headers whose
/// headers lie in one piece; [`Reason::Short`] for any other.
#[inline(always)]
pub fn plain<P: Packet>(packet: &P, direction: Direction) -> Result<Datagram, Reason> {
    parse_plain(&packet.head(), direction, WZP_PORT.load())
}

/// The flow of any frame. What lies at no constant offset, or in another piece
/// than the first bytes, takes a call to the kernel for each read.
#[inline(always)]
pub fn any<P: Packet>(packet: &P, direction: Direction) -> Result<Datagram, Reason> {
    let (head, copied, port) = (packet.head(), Copied(packet), WZP_PORT.load());
    match parse_tagged(&head, direction, port) {
        Err(Reason::Short) => {}
        datagram => return datagram,
    }
    match parse_untagged(&head, &copied, direction, port) {
        Err(Reason::Short) => parse(&copied, direction, port),
        datagram => datagram,
    }
}

/// The part of a frame that lies in one piece.
pub struct Head {
    start: usize,
    end: usize,
}

impl Cursor for Head {
    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        let from = self.start + offset;
        if from + 2 * N > self.end {
            return None;
        }
        // SAFETY: the bytes are before the end, which the verifier checks too.
        // Frames start at even addresses, and all offsets are even.
        Some(unsafe { *(from as *const [u16; N]) })
    }
}

/// A frame of which each read is a copy.
struct Copied<'a, P>(&'a P);

impl<P: Packet> Cursor for Copied<'_, P> {
    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        let mut words = MaybeUninit::<[u16; N]>::uninit();
        // SAFETY: the buffer has as many bytes as the call is told.
        let result = unsafe { self.0.copy(offset as u32, words.as_mut_ptr().cast(), 2 * N as u32) };
        // SAFETY: the kernel says that it has written all of it.
        (result == 0).then(|| unsafe { words.assume_init() })
    }
}

impl Packet for XdpContext {
    #[inline(always)]
    fn head(&self) -> Head {
        Head { start: self.data(), end: self.data_end() }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut c_void, len: u32) -> c_long {
        // SAFETY: the caller's, and the context is the one the kernel gave.
        unsafe { bpf_xdp_load_bytes(self.ctx, offset, to, len) }
    }

    #[inline(always)]
    fn size(&self, datagram: &Datagram) -> Size {
        // Native XDP sees frames before any are joined.
        // SAFETY: the context is the one the kernel gave.
        let len = unsafe { bpf_xdp_get_buff_len(self.ctx) };
        Size::of_frame(len, datagram.tag_len)
    }
}

impl Packet for TcContext {
    #[inline(always)]
    fn head(&self) -> Head {
        Head { start: self.data(), end: self.data_end() }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut c_void, len: u32) -> c_long {
        // SAFETY: the caller's, and the context is the one the kernel gave.
        unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), offset, to, len) }
    }

    #[inline(always)]
    fn size(&self, datagram: &Datagram) -> Size {
        let skb = self.skb.skb;
        // SAFETY: the context is the one the kernel gave; it has these fields
        // since Linux 5.7.
        let length = unsafe {
            SkbLength { len: (*skb).len, gso_segs: (*skb).gso_segs, gso_size: (*skb).gso_size }
        };
        Size::of_skb(length, datagram.header_len, datagram.tag_len)
    }
}
