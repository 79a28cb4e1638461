//! The rule as a classic-BPF filter, which needs no privileges. It gives the
//! socket's place in the group: when a socket is closed, the kernel moves the
//! last one into its place. Those that shards only send by are bound later, and
//! so come after all places that it gives.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use wzp_common::steering::{LONG_HEADER, LONG_HEADER_ID, SHORT_HEADER_ID};

/// Makes the kernel choose among `shards` sockets, in the order in which they
/// were bound. Attached to one socket it holds for the whole group.
pub(super) fn attach(socket: &impl AsFd, shards: usize) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const RETURN_A: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // Offsets count from the UDP payload. A packet that is too short for a
    // load ends the program with 0: shard 0, where it is refused as any other.
    let mut program = [
        op(LOAD_BYTE, 0, 0, 0),
        op(JUMP_IF_SET, LONG_HEADER.into(), 0, 2),
        op(LOAD_BYTE, LONG_HEADER_ID, 0, 0),
        op((libc::BPF_JMP | libc::BPF_JA) as u16, 1, 0, 0),
        op(LOAD_BYTE, SHORT_HEADER_ID, 0, 0),
        op(MODULO, shards as u32, 0, 0),
        op(RETURN_A, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the option takes a sock_fprog of this size; the kernel copies the
    // program it points to, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
