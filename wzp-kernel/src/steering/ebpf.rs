//! The rule as an eBPF program, which finds the socket in a map by the shard's
//! number: whatever becomes of the others, each shard gets its own packets.

use std::net::UdpSocket;

use aya::maps::{MapError, ReusePortSockArray};
use aya::programs::{ProgramError, SkReuseport};
use aya::{EbpfError, EbpfLoader};
use thiserror::Error;

use crate::{has_bpf, object};

/// Why the program cannot be used.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// The process is not allowed.
    #[error("eBPF programs need the capability CAP_BPF, which this process lacks")]
    Capability,
    /// The kernel does not have it.
    #[error("the kernel does not take the eBPF program")]
    Refused(#[from] EbpfError),
}

/// Loads the program and makes it the group's. The kernel keeps it until the
/// last of the sockets is closed, however the process ends.
pub(super) fn attach(sockets: &[UdpSocket]) -> Result<(), Error> {
    if !has_bpf() {
        return Err(Error::Capability);
    }
    Ok(load(sockets)?)
}

fn load(sockets: &[UdpSocket]) -> Result<(), EbpfError> {
    let shards = sockets.len() as u32;
    let mut ebpf = EbpfLoader::new()
        .override_global(object::SHARDS, &shards, true)
        .map_max_entries(object::SOCKETS, shards)
        .load(object::STEER_OBJECT)?;
    let map = ebpf.map_mut(object::SOCKETS);
    let map = map.ok_or_else(|| MapError::InvalidName { name: object::SOCKETS.to_owned() })?;
    let mut places = ReusePortSockArray::try_from(map)?;
    for (shard, socket) in (0..).zip(sockets) {
        places.set(shard, socket, 0)?;
    }
    let program = ebpf.program_mut(object::STEER).ok_or(ProgramError::NotLoaded)?;
    let program: &mut SkReuseport = program.try_into()?;
    program.load()?;
    program.attach(&sockets[0])?;
    Ok(())
}
