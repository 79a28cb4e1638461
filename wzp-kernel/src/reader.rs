//! The numbers, for those who do not own the [`super::Kernel`].

use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use wzp_common::reason::{Direction, Reason, reason_index};
use wzp_telemetry::lock::{Mutex, MutexGuard};

use super::Mode;
use super::attach::InterfaceStatus;
use super::load::KernelFlows;
use super::memory::SlotMemory;
use super::slots::{SlotReader, SlotStatistics, Slots, Totals};

/// A handle to the numbers: cheap to clone, for any thread.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// Everything but the sessions.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// What was asked for.
    pub mode: Mode,
    /// Whether all packets are counted.
    pub counting: bool,
    /// Why the programs are not loaded, if so.
    pub failure: Option<String>,
    /// How often loading them failed: 0 or 1.
    pub load_failures: u64,
    /// Interfaces and what counts there.
    pub interfaces: Vec<InterfaceStatus>,
    /// Frames of the relay's port, of known sessions or not.
    pub counted: Totals,
    /// Those of sessions, open or over.
    pub attributed: Totals,
    /// Those of no known session. With `attributed` that makes `counted`, if
    /// no packet comes while they are read.
    pub unattributed: Totals,
    /// Frames that are in no slot.
    pub reasons: Vec<(Direction, Reason, u64)>,
    /// How the slots are used.
    pub slots: SlotStatistics,
    /// Instructions that the verifier went through, by program.
    pub instructions: Vec<(&'static str, u32)>,
    /// Addresses that are blocked.
    pub blocked_addresses: usize,
}

pub(super) type KernelSlots = Slots<KernelFlows, Arc<SlotMemory>>;

pub(super) struct Shared {
    mode: Mode,
    failure: Option<String>,
    running: Option<Running>,
}

pub(super) struct Running {
    slots: Mutex<KernelSlots>,
    reasons: PerCpuArray<MapData, u64>,
    instructions: Vec<(&'static str, u32)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    interfaces: Vec<InterfaceStatus>,
    blocked: usize,
}

impl State {
    fn is_counting(&self) -> bool {
        self.interfaces.iter().all(InterfaceStatus::is_counting)
    }
}

impl SlotReader for Arc<SlotMemory> {
    fn read(&self, slot: u32) -> Totals {
        (**self).read(slot)
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Gives each session that has a slot and what is counted for it, in no
    /// order. The owner of the kernel waits meanwhile: 10,000 sessions take
    /// less than a millisecond.
    pub fn sessions(&self, mut each: impl FnMut(u64, Totals)) {
        if let Some(running) = self.shared.running() {
            running.slots().live().for_each(|(session, totals)| each(session, totals));
        }
    }

    /// What is counted for this session. `None`: it has no slot.
    pub fn session(&self, session: u64) -> Option<Totals> {
        self.shared.running()?.slots().totals(session)
    }

    /// Everything but the sessions. Takes one system call for each reason.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.shared;
        let statistics = Statistics {
            mode: shared.mode,
            failure: shared.failure.clone(),
            load_failures: u64::from(shared.failure.is_some()),
            ..Statistics::default()
        };
        let Some(running) = shared.running() else { return statistics };
        let state = running.state.lock();
        let slots = running.slots();
        Statistics {
            counting: state.is_counting(),
            interfaces: state.interfaces.clone(),
            counted: slots.counted(),
            attributed: slots.attributed(),
            unattributed: slots.unattributed(),
            reasons: running.reasons(),
            slots: slots.statistics(),
            instructions: running.instructions.clone(),
            blocked_addresses: state.blocked,
            ..statistics
        }
    }
}

impl Shared {
    pub(super) fn new(mode: Mode, failure: Option<String>, running: Option<Running>) -> Self {
        Self { mode, failure, running }
    }

    pub(super) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }
}

impl Running {
    pub(super) fn new(
        slots: KernelSlots,
        reasons: PerCpuArray<MapData, u64>,
        instructions: Vec<(&'static str, u32)>,
    ) -> Self {
        Self { slots: Mutex::new(slots), reasons, instructions, state: Mutex::default() }
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, KernelSlots> {
        self.slots.lock()
    }

    /// Whether the programs are on every interface.
    pub(super) fn is_counting(&self) -> bool {
        self.state.lock().is_counting()
    }

    pub(super) fn set_interfaces<'a>(&self, status: impl Iterator<Item = &'a InterfaceStatus>) {
        self.state.lock().interfaces = status.cloned().collect();
    }

    pub(super) fn set_blocked(&self, addresses: usize) {
        self.state.lock().blocked = addresses;
    }

    fn reasons(&self) -> Vec<(Direction, Reason, u64)> {
        let both = [Direction::Rx, Direction::Tx];
        let all = both.into_iter().flat_map(|way| Reason::ALL.map(|reason| (way, reason)));
        all.map(|(way, reason)| {
            // The index is in the map; there is nothing else to fail.
            let cpus = self.reasons.get(&reason_index(way, reason), 0);
            (way, reason, cpus.map_or(0, |cpus| cpus.iter().sum()))
        })
        .collect()
    }
}
