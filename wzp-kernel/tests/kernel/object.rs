//! The committed object: programs, maps, constants and licence.

use aya_obj::{EbpfSectionKind, Object, ProgramSection};
use object::{Object as _, ObjectSection as _};
use wzp_common::flow::{FlowKey, FlowSlot};
use wzp_common::reason::REASON_COUNTERS;
use wzp_kernel::object::{OBJECT, TCX_EGRESS, TCX_INGRESS, XDP_INGRESS};

fn parse() -> Object {
    Object::parse(OBJECT).unwrap()
}

#[test]
fn the_programs_are_of_their_types() {
    let object = parse();
    assert_eq!(object.programs.len(), 3);
    let frags =
        |section: &ProgramSection| matches!(section, ProgramSection::Xdp { frags: true, .. });
    assert!(frags(&object.programs[XDP_INGRESS].section));
    for name in [TCX_INGRESS, TCX_EGRESS] {
        let section = &object.programs[name].section;
        assert!(matches!(section, ProgramSection::SchedClassifier), "{name}");
    }
    // The kernel cuts longer names.
    assert!(object.programs.keys().all(|name| name.len() <= 15));
}

#[test]
fn the_maps_are_what_the_relay_expects() {
    const HASH: u32 = 1;
    const ARRAY: u32 = 2;
    const PER_CPU_ARRAY: u32 = 6;
    const RING_BUFFER: u32 = 27;
    const MMAPABLE: u32 = 1 << 10;
    let object = parse();
    let (key, slot) = (size_of::<FlowKey>() as u32, size_of::<FlowSlot>() as u32);
    let expected = [
        ("WZP_FLOWS", (HASH, key, 4, 0)),
        ("WZP_SLOTS", (ARRAY, 4, slot, MMAPABLE)),
        ("WZP_REASONS", (PER_CPU_ARRAY, 4, 8, 0)),
        ("WZP_BLOCKED", (HASH, 16, 1, 0)),
        ("WZP_BLOCK_COUNT", (ARRAY, 4, 4, 0)),
        ("AYA_LOGS", (RING_BUFFER, 0, 0, 0)),
    ];
    for (name, expected) in expected {
        let map = &object.maps[name];
        let found = (map.map_type(), map.key_size(), map.value_size(), map.map_flags());
        assert_eq!(found, expected, "{name}");
        assert!(name.len() <= 15, "{name}");
    }
    assert_eq!(object.maps["WZP_REASONS"].max_entries(), REASON_COUNTERS);
    let others =
        object.maps.iter().filter(|(_, map)| map.section_kind() != EbpfSectionKind::Rodata);
    assert_eq!(others.count(), expected.len());
}

#[test]
fn the_globals_are_constants() {
    let file = object::File::parse(OBJECT).unwrap();
    for name in ["WZP_PORT", "AYA_LOG_LEVEL"] {
        let symbol = file.symbol_by_name(name).unwrap();
        let section = object::ObjectSymbol::section_index(&symbol).unwrap();
        assert_eq!(file.section_by_index(section).unwrap().name(), Ok(".rodata"), "{name}");
    }
    // Variables would be shared between processors without protection.
    for name in [".data", ".bss"] {
        assert!(file.section_by_name(name).is_none(), "{name}");
    }
}

#[test]
fn the_licence_is_compatible_and_types_are_there() {
    let file = object::File::parse(OBJECT).unwrap();
    let license = file.section_by_name("license").unwrap();
    assert_eq!(license.data(), Ok(&b"Dual MIT/GPL\0"[..]));
    assert!(file.section_by_name(".BTF").is_some());
    assert!(file.section_by_name(".debug_info").is_none());
}

/// The objects of each byte order: little, then big.
const ORDERS: [(&[u8], &[u8]); 3] = [
    (include_bytes!("../../ebpf/bpfel/wzp.o"), include_bytes!("../../ebpf/bpfeb/wzp.o")),
    (include_bytes!("../../ebpf/bpfel/steer.o"), include_bytes!("../../ebpf/bpfeb/steer.o")),
    (include_bytes!("../../ebpf/bpfel/empty.o"), include_bytes!("../../ebpf/bpfeb/empty.o")),
];

#[test]
fn nothing_tells_where_it_was_built() {
    for object in ORDERS.into_iter().flat_map(|(little, big)| [little, big]) {
        let text = String::from_utf8_lossy(object);
        for path in ["/home/", "/root/", "/rustlib/", "registry", env!("CARGO_MANIFEST_DIR")] {
            assert!(!text.contains(path), "{path}");
        }
    }
}

#[test]
fn there_is_one_of_each_byte_order() {
    for (little, big) in ORDERS {
        let [little, big] = [little, big].map(|bytes| object::File::parse(bytes).unwrap());
        assert!(little.is_little_endian() && !big.is_little_endian());
        // Programs, maps and constants.
        let symbols = |file: &object::File<'_>| {
            let mut names: Vec<_> = file
                .symbols()
                .filter(object::ObjectSymbol::is_global)
                .map(|symbol| object::ObjectSymbol::name(&symbol).unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(symbols(&little), symbols(&big));
    }
    let native = if cfg!(target_endian = "little") { ORDERS[0].0 } else { ORDERS[0].1 };
    assert_eq!(OBJECT, native);
}

/// What the programs share with nobody: each frame passes through once.
#[test]
fn the_programs_call_no_clock_and_change_no_map() {
    /// bpf_map_update_elem, bpf_map_delete_elem, bpf_ktime_get_ns and
    /// bpf_perf_event_output (linux/bpf.h).
    const FORBIDDEN: [i32; 4] = [2, 3, 5, 25];
    const CALL: u8 = 0x85;
    for function in parse().functions.values() {
        for instruction in &function.instructions {
            let is_helper = instruction.code == CALL && instruction.src_reg() == 0;
            assert!(!(is_helper && FORBIDDEN.contains(&instruction.imm)), "{}", function.name);
        }
    }
}
