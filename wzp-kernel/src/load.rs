//! Programs and maps into the kernel. Raises no limit and no privilege.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::Program;
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use rustix::io::Errno;
use wzp_common::flow::{FlowKey, MAX_CAPACITY, UNATTRIBUTED, mapped};

use super::error::{Error, system_error};
use super::memory::SlotMemory;
use super::slots::FlowMap;
use super::{Options, object, privilege};

/// What is in the kernel after loading.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) flows: KernelFlows,
    pub(super) memory: Arc<SlotMemory>,
    pub(super) reasons: PerCpuArray<MapData, u64>,
    pub(super) blocklist: Blocklist,
    /// Instructions that the verifier went through, by program.
    pub(super) instructions: Vec<(&'static str, u32)>,
    pub(super) logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

/// The most that the kernel programs can log: what each frame was counted as.
const LOG_EVERYTHING: u8 = aya_log::Level::Trace as u8;
/// Nothing: the verifier removes the statements.
const LOG_NOTHING: u8 = 0;
/// The least memory for a log that nothing is written to: a page.
const NO_LOG_BYTES: u32 = 4096;

pub(super) fn load(options: &Options) -> Result<Loaded, Error> {
    if !(1..=MAX_CAPACITY).contains(&options.capacity) {
        return Err(Error::Capacity { wanted: options.capacity, most: MAX_CAPACITY });
    }
    privilege::check()?;
    let slots = options.capacity + UNATTRIBUTED + 1;
    let port = options.port.to_be();
    let level = if options.trace { LOG_EVERYTHING } else { LOG_NOTHING };
    let mut loader = EbpfLoader::new();
    loader
        .override_global(object::PORT, &port, true)
        .override_global(aya_log::LEVEL, &level, true)
        // A session that moves has two keys for a while.
        .map_max_entries(object::FLOWS, 2 * options.capacity)
        .map_max_entries(object::SLOTS, slots);
    if !options.trace {
        loader.map_max_entries(object::LOGS, NO_LOG_BYTES);
    }
    let mut ebpf = loader.load(object::OBJECT).map_err(load_error)?;
    let instructions = load_programs(&mut ebpf).map_err(|error| load_error(error.into()))?;
    let taken = |error| Error::Load(EbpfError::MapError(error));
    let flows = HashMap::try_from(take(&mut ebpf, object::FLOWS)?).map_err(taken)?;
    let reasons = PerCpuArray::try_from(take(&mut ebpf, object::REASONS)?).map_err(taken)?;
    let blocklist = Blocklist {
        addresses: HashMap::try_from(take(&mut ebpf, object::BLOCKED)?).map_err(taken)?,
        count: Array::try_from(take(&mut ebpf, object::BLOCK_COUNT)?).map_err(taken)?,
        blocked: std::collections::HashSet::new(),
    };
    let Map::Array(array) = take(&mut ebpf, object::SLOTS)? else {
        return Err(Error::System(io::ErrorKind::InvalidData.into()));
    };
    let memory = SlotMemory::map(array.fd(), slots).map_err(Error::System)?;
    let logger = options.trace.then(|| EbpfLogger::init(&mut ebpf)).transpose().ok().flatten();
    Ok(Loaded {
        ebpf,
        flows: KernelFlows(flows),
        memory: Arc::new(memory),
        reasons,
        blocklist,
        instructions,
        logger,
    })
}

fn load_programs(ebpf: &mut Ebpf) -> Result<Vec<(&'static str, u32)>, aya::programs::ProgramError> {
    let mut instructions = Vec::new();
    for name in object::PROGRAMS {
        let program = ebpf.program_mut(name).ok_or(aya::programs::ProgramError::NotLoaded)?;
        match program {
            Program::Xdp(program) => program.load()?,
            Program::SchedClassifier(program) => program.load()?,
            _ => return Err(aya::programs::ProgramError::UnexpectedProgramType),
        }
        instructions.push((name, program.info()?.verified_instruction_count().unwrap_or(0)));
    }
    Ok(instructions)
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    let missing = || MapError::InvalidName { name: name.to_owned() };
    ebpf.take_map(name).ok_or_else(|| Error::Load(missing().into()))
}

/// EPERM to somebody who has the capabilities needs another explanation.
fn load_error(error: EbpfError) -> Error {
    match system_error(&error).and_then(Errno::from_io_error) {
        Some(Errno::PERM) => Error::Forbidden(Errno::PERM.into()),
        _ => Error::Load(error),
    }
}

/// The kernel's map of keys. Nobody else writes to it.
#[derive(Debug)]
pub(super) struct KernelFlows(HashMap<MapData, [u64; 3], u32>);

impl FlowMap for KernelFlows {
    fn insert(&mut self, key: &FlowKey, slot: u32) -> io::Result<()> {
        self.0.insert(key.to_words(), slot, 0).map_err(io::Error::other)
    }

    fn remove(&mut self, key: &FlowKey) -> io::Result<()> {
        self.0.remove(&key.to_words()).map_err(io::Error::other)
    }
}

/// Addresses whose packets for the relay's port are dropped.
pub(super) struct Blocklist {
    addresses: HashMap<MapData, [u16; 8], u8>,
    count: Array<MapData, u32>,
    /// Mapped into IPv6.
    blocked: std::collections::HashSet<[u16; 8]>,
}

impl Blocklist {
    pub(super) fn block(&mut self, ip: IpAddr) -> Result<(), Error> {
        let address = mapped(ip);
        self.addresses.insert(address, 1, 0).map_err(Error::Blocklist)?;
        self.blocked.insert(address);
        self.publish()
    }

    pub(super) fn unblock(&mut self, ip: IpAddr) -> Result<(), Error> {
        let address = mapped(ip);
        if self.blocked.remove(&address) {
            self.addresses.remove(&address).map_err(Error::Blocklist)?;
        }
        self.publish()
    }

    /// In order.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let address = |segments: &[u16; 8]| {
            IpAddr::from(Ipv6Addr::from(segments.map(u16::from_be))).to_canonical()
        };
        let mut addresses: Vec<_> = self.blocked.iter().map(address).collect();
        addresses.sort_unstable();
        addresses
    }

    pub(super) fn len(&self) -> usize {
        self.blocked.len()
    }

    /// The programs look at the list only if there is something in it.
    fn publish(&mut self) -> Result<(), Error> {
        let count = u32::try_from(self.blocked.len()).unwrap_or(u32::MAX);
        self.count.set(0, count, 0).map_err(Error::Blocklist)
    }
}
