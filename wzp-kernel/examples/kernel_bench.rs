//! What counting in the kernel costs: nanoseconds per frame and program, less
//! those of a program that does nothing, and the time to read the counters of
//! ten thousand sessions. Prints Markdown. Needs root; attaches to the loopback
//! of a network namespace of its own.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::maps::{Array, HashMap};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use wzp_common::builder::{C_TAG, Frame, PORT, v4, v6};
use wzp_common::flow::{FlowKey, mapped};
use wzp_kernel::object::{EMPTY_OBJECT, OBJECT, PROGRAMS, TCX_EGRESS, XDP_INGRESS};
use wzp_kernel::{Kernel, Mode, Options};

/// Frames for one figure.
const REPEAT: u32 = 1_000_000;
/// Figures, of which the smallest counts: the others were disturbed.
const ROUNDS: usize = 15;
/// Known flows.
const FLOWS: u32 = 10_000;

fn main() -> Result<()> {
    programs()?;
    reads()
}

/// A frame, and what has to be so for it to be an example of something.
struct Case {
    name: &'static str,
    frame: Frame,
    blocklist: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, frame| Case { name, frame, blocklist: false };
    let mut unknown = v4();
    unknown.source.set_port(1);
    let mut tagged = v4();
    tagged.tags = vec![C_TAG];
    let mut options = v4();
    options.option_words = 2;
    let mut extension = v6();
    extension.extensions = vec![(60, 0)];
    let mut other_port = v4();
    other_port.destination.set_port(PORT + 1);
    let mut tcp = v4();
    tcp.protocol = 6;
    let mut arp = v4();
    arp.ether_type = Some(0x0806);
    vec![
        case("known flow, IPv4", v4()),
        case("known flow, IPv6", v6()),
        Case { blocklist: true, ..case("known flow, with a blocklist", v4()) },
        case("unknown flow", unknown),
        case("known flow, one VLAN tag", tagged),
        case("known flow, IPv4 options", options),
        case("known flow, IPv6 extension header", extension),
        case("other port", other_port),
        case("TCP", tcp),
        case("ARP", arp),
    ]
}

fn programs() -> Result<()> {
    let mut empty = EbpfLoader::new().load(EMPTY_OBJECT)?;
    let row = |cells: &[&dyn Display]| {
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        println!("| {} |", cells.join(" | "));
    };
    row(&[&"program", &"frame", &"ns", &"ns less the empty program's"]);
    row(&[&"---", &"---", &"---:", &"---:"]);
    for name in PROGRAMS {
        let (nothing, inbound) = match name {
            XDP_INGRESS => ("empty_xdp", true),
            TCX_EGRESS => ("empty_tcx", false),
            _ => ("empty_tcx", true),
        };
        load(&mut empty, nothing)?;
        let zero = run(&empty, nothing, &v4().build())?;
        row(&[&name, &"(empty program)", &zero, &0]);
        for case in cases() {
            let mut ebpf = EbpfLoader::new()
                .override_global("WZP_PORT", &PORT.to_be(), true)
                .override_global("AYA_LOG_LEVEL", &0u8, true)
                .map_max_entries("WZP_FLOWS", 2 * FLOWS)
                .map_max_entries("WZP_SLOTS", FLOWS + 1)
                .load(OBJECT)?;
            fill(&mut ebpf, case.blocklist)?;
            load(&mut ebpf, name)?;
            let frame = if inbound { case.frame } else { case.frame.reversed() };
            let nanoseconds = run(&ebpf, name, &frame.build())?;
            row(&[&name, &case.name, &nanoseconds, &nanoseconds.saturating_sub(zero)]);
        }
    }
    Ok(())
}

fn fill(ebpf: &mut Ebpf, blocklist: bool) -> Result<()> {
    let map = ebpf.map_mut("WZP_FLOWS").context("no flows")?;
    let mut flows: HashMap<_, [u64; 3], u32> = map.try_into()?;
    for slot in 1..=FLOWS {
        let peer = match slot {
            1 => v4().source,
            2 => v6().source,
            _ => peer(slot),
        };
        flows.insert(FlowKey::new(peer, PORT).to_words(), slot, 0)?;
    }
    if blocklist {
        let map = ebpf.map_mut("WZP_BLOCKED").context("no blocklist")?;
        let mut blocked: HashMap<_, [u16; 8], u8> = map.try_into()?;
        blocked.insert(mapped(Ipv4Addr::new(203, 0, 113, 1).into()), 1, 0)?;
        let map = ebpf.map_mut("WZP_BLOCK_COUNT").context("no blocklist")?;
        let mut count: Array<_, u32> = map.try_into()?;
        count.set(0, 1, 0)?;
    }
    Ok(())
}

fn peer(number: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + number), 5000).into()
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    match ebpf.program_mut(name).context("no such program")? {
        Program::Xdp(program) if program.fd().is_err() => program.load()?,
        Program::SchedClassifier(program) if program.fd().is_err() => program.load()?,
        _ => {}
    }
    Ok(())
}

fn run(ebpf: &Ebpf, name: &str, frame: &[u8]) -> Result<u128> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let options =
            TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..TestRunOptions::default() };
        let result = match ebpf.program(name).context("no such program")? {
            Program::Xdp(program) => program.test_run(options)?,
            Program::SchedClassifier(program) => program.test_run(options)?,
            _ => bail!("{name} has a type that is not expected"),
        };
        best = best.min(result.duration);
    }
    Ok(best.as_nanos())
}

fn reads() -> Result<()> {
    let namespace = wzp_testbed::netns::Namespace::new("bench")?;
    let options = Options {
        mode: Mode::Require,
        interfaces: vec!["lo".to_owned()],
        port: PORT,
        capacity: FLOWS,
        trace: false,
    };
    let mut kernel = namespace.run(|| Kernel::start(&options))?;
    let now = Instant::now();
    let start = Instant::now();
    for session in 1..=FLOWS {
        kernel.open(session.into(), peer(session), now);
    }
    let opened = start.elapsed() / FLOWS;
    let reader = kernel.reader();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let (mut sessions, mut bytes) = (0, 0u64);
        reader.sessions(|_, totals| {
            sessions += 1;
            bytes += totals.rx_bytes + totals.tx_bytes;
        });
        best = best.min(start.elapsed());
        anyhow::ensure!((sessions, bytes) == (FLOWS, 0), "{sessions} sessions, {bytes} bytes");
    }
    let start = Instant::now();
    let statistics = reader.statistics();
    let all = start.elapsed();
    println!("\n{FLOWS} sessions: all counters read in {best:?}; statistics in {all:?}; ");
    println!("each opened in {opened:?}.\n\nInstructions verified:\n");
    for (program, instructions) in statistics.instructions {
        println!("* {program}: {instructions}");
    }
    Ok(())
}
