//! The programs in the kernel without an interface, and frames to run them on.

use std::net::{IpAddr, SocketAddr};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions};
use wzp_common::builder::PORT;
use wzp_common::flow::{FlowKey, UNATTRIBUTED, mapped};
use wzp_common::reason::{Direction, Reason, reason_index};
use wzp_kernel::Totals;
use wzp_kernel::object::{OBJECT, PROGRAMS, TCX_EGRESS, TCX_INGRESS, XDP_INGRESS};
use wzp_testbed::skip;

/// Whether this process may load programs.
pub(crate) fn may_load(test: &str) -> bool {
    skip::have_namespaces(test)
}

/// What programs return.
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const TCX_NEXT: u32 = u32::MAX;
pub(crate) const TCX_DROP: u32 = 2;

/// The program of each way in, and what it returns for pass and drop.
pub(crate) const INGRESS: [(&str, u32, u32); 2] =
    [(XDP_INGRESS, XDP_PASS, XDP_DROP), (TCX_INGRESS, TCX_NEXT, TCX_DROP)];

/// Each program, its direction and what it returns to pass.
pub(crate) const ALL: [(&str, Direction, u32); 3] = [
    (XDP_INGRESS, Direction::Rx, XDP_PASS),
    (TCX_INGRESS, Direction::Rx, TCX_NEXT),
    (TCX_EGRESS, Direction::Tx, TCX_NEXT),
];

/// A slot as the map has it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Slot([u64; 16]);

// SAFETY: an array of numbers, whatever they are.
unsafe impl Pod for Slot {}

/// The programs in the kernel.
pub(crate) struct Programs(Ebpf);

impl Programs {
    /// With a table of ten flows.
    pub(crate) fn load() -> Self {
        Self::with_globals(PORT, 0)
    }

    pub(crate) fn with_globals(port: u16, log_level: u8) -> Self {
        let mut ebpf = EbpfLoader::new()
            .override_global("WZP_PORT", &port.to_be(), true)
            .override_global("AYA_LOG_LEVEL", &log_level, true)
            .map_max_entries("WZP_FLOWS", 20)
            .map_max_entries("WZP_SLOTS", 11)
            .load(OBJECT)
            .unwrap();
        for name in PROGRAMS {
            match ebpf.program_mut(name).unwrap() {
                Program::Xdp(program) => program.load().unwrap(),
                Program::SchedClassifier(program) => program.load().unwrap(),
                other => panic!("{name} is a program of type {:?}", other.prog_type()),
            }
        }
        Self(ebpf)
    }

    pub(crate) fn flow(&mut self, remote: SocketAddr, slot: u32) {
        let map = self.0.map_mut("WZP_FLOWS").unwrap();
        let mut flows: HashMap<_, [u64; 3], u32> = map.try_into().unwrap();
        flows.insert(FlowKey::new(remote, PORT).to_words(), slot, 0).unwrap();
    }

    pub(crate) fn block(&mut self, ip: IpAddr) {
        let map = self.0.map_mut("WZP_BLOCKED").unwrap();
        let mut blocked: HashMap<_, [u16; 8], u8> = map.try_into().unwrap();
        blocked.insert(mapped(ip), 1, 0).unwrap();
        let map = self.0.map_mut("WZP_BLOCK_COUNT").unwrap();
        let mut count: Array<_, u32> = map.try_into().unwrap();
        count.set(0, 1, 0).unwrap();
    }

    /// Runs a program on a frame; gives what it returns.
    pub(crate) fn run(&self, program: &str, frame: &[u8]) -> u32 {
        self.run_with(program, frame, None, 1)
    }

    /// The same, many times, with what the kernel knows about the frame.
    pub(crate) fn run_with(
        &self,
        program: &str,
        frame: &[u8],
        context: Option<&[u8]>,
        repeat: u32,
    ) -> u32 {
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: context,
            repeat,
            ..TestRunOptions::default()
        };
        let result = match self.0.program(program).unwrap() {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => panic!("{program} is a program of type {:?}", other.prog_type()),
        };
        result.unwrap().return_value
    }

    pub(crate) fn slot(&self, slot: u32) -> Totals {
        let slots: Array<&MapData, Slot> = self.0.map("WZP_SLOTS").unwrap().try_into().unwrap();
        let Slot(words) = slots.get(&slot, 0).unwrap();
        Totals {
            rx_packets: words[0],
            rx_bytes: words[1],
            tx_packets: words[8],
            tx_bytes: words[9],
        }
    }

    pub(crate) fn unattributed(&self) -> Totals {
        self.slot(UNATTRIBUTED)
    }

    pub(crate) fn reason(&self, direction: Direction, reason: Reason) -> u64 {
        let map = self.0.map("WZP_REASONS").unwrap();
        let reasons: PerCpuArray<&MapData, u64> = map.try_into().unwrap();
        reasons.get(&reason_index(direction, reason), 0).unwrap().iter().sum()
    }

    /// Every frame that was counted anywhere.
    pub(crate) fn everything(&self) -> u64 {
        let slots = (0..11).map(|slot| self.slot(slot));
        let in_slots: u64 = slots.map(|totals| totals.rx_packets + totals.tx_packets).sum();
        let both = [Direction::Rx, Direction::Tx];
        let reasons = both.into_iter().flat_map(|way| Reason::ALL.map(|why| self.reason(way, why)));
        in_slots + reasons.sum::<u64>()
    }

    pub(crate) fn instructions(&self, program: &str) -> u32 {
        let info = self.0.program(program).unwrap().info().unwrap();
        info.verified_instruction_count().unwrap()
    }
}

/// So many packets and bytes in this direction.
pub(crate) fn totals(direction: Direction, packets: u64, bytes: u64) -> Totals {
    match direction {
        Direction::Rx => Totals { rx_packets: packets, rx_bytes: bytes, ..Totals::default() },
        Direction::Tx => Totals { tx_packets: packets, tx_bytes: bytes, ..Totals::default() },
    }
}

/// The kernel's `struct __sk_buff` with these fields (linux/bpf.h).
pub(crate) fn skb(gso_segs: u32, gso_size: u32) -> [u8; 192] {
    let mut context = [0; 192];
    context[164..168].copy_from_slice(&gso_segs.to_ne_bytes());
    context[176..180].copy_from_slice(&gso_size.to_ne_bytes());
    context
}
