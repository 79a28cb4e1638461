//! The program that chooses the socket: what the verifier says to it, and what
//! privileges it takes. Where it sends which packet is tested beside the code
//! that attaches it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use aya::EbpfLoader;
use aya::programs::SkReuseport;
use aya_obj::programs::SkReuseportAttachType;
use aya_obj::{EbpfSectionKind, Object, ProgramSection};
use socket2::{Domain, Socket, Type};
use wzp_common::steering::MAX_SHARDS;
use wzp_kernel::object::{SHARDS, SOCKETS, STEER, STEER_OBJECT};
use wzp_kernel::steering;
use wzp_testbed::netns::Namespace;
use wzp_testbed::skip;

use crate::harness::may_load;
use crate::process::only;

#[test]
fn the_object_has_one_program_and_one_map() {
    const REUSEPORT_SOCKARRAY: u32 = 20;
    let object = Object::parse(STEER_OBJECT).unwrap();
    assert_eq!(object.programs.keys().collect::<Vec<_>>(), [STEER]);
    assert!(matches!(
        object.programs[STEER].section,
        ProgramSection::SkReuseport { attach_type: SkReuseportAttachType::Select }
    ));
    let maps = object.maps.iter().filter(|(_, map)| map.section_kind() != EbpfSectionKind::Rodata);
    let maps: Vec<_> = maps.collect();
    let [(name, map)] = maps[..] else { panic!("{} maps", maps.len()) };
    assert_eq!(name, SOCKETS);
    let found = (map.map_type(), map.key_size(), map.value_size(), map.max_entries());
    assert_eq!(found, (REUSEPORT_SOCKARRAY, 4, 4, MAX_SHARDS));
    let text = String::from_utf8_lossy(STEER_OBJECT);
    for path in ["/home/", "/root/", "/rustlib/", "registry", env!("CARGO_MANIFEST_DIR")] {
        assert!(!text.contains(path), "{path}");
    }
}

#[test]
fn the_verifier_takes_the_program_for_any_number_of_shards() {
    if !may_load("the_verifier_takes_the_program_for_any_number_of_shards") {
        return;
    }
    // With 0, which the relay never asks for, it has to be harmless.
    for shards in [0, 1, 2, 3, 255, MAX_SHARDS] {
        let mut ebpf = EbpfLoader::new()
            .override_global(SHARDS, &shards, true)
            .map_max_entries(SOCKETS, shards.max(1))
            .load(STEER_OBJECT)
            .unwrap();
        let program: &mut SkReuseport = ebpf.program_mut(STEER).unwrap().try_into().unwrap();
        program.load().unwrap();
        let instructions = program.info().unwrap().verified_instruction_count().unwrap();
        println!("{shards} shards: {instructions} instructions");
        assert!(instructions < 200, "{shards} shards: {instructions}");
    }
}

/// Says what steers. A process of its own, not a test: it runs only where the
/// variable is set.
#[test]
fn child_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
    println!("steered by {}", steering::start(&sharing_a_port(), true).name());
}

fn sharing_a_port() -> [UdpSocket; 2] {
    let open = |address: SocketAddr| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        UdpSocket::from(socket)
    };
    let one = open((Ipv4Addr::LOCALHOST, 0).into());
    let other = open(one.local_addr().unwrap());
    [one, other]
}

const CHILD: &str = "WZP_TEST_STEERING";

#[test]
fn one_capability_is_enough_and_without_it_the_filter_steers() {
    if !skip::have_namespaces("one_capability_is_enough_and_without_it_the_filter_steers") {
        return;
    }
    let lacks = "CAP_BPF, which this process lacks";
    for (capability, steered) in
        [("+bpf", "ebpf"), ("+net_admin", "classic"), ("+chown", "classic")]
    {
        let namespace = Namespace::new("steering").unwrap();
        let bounding = format!("--bounding-set=-all,{capability}");
        let wrapper = ["setpriv", &bounding, "--inh-caps=-all", "--"];
        let mut command = only(&namespace, "steering::child_process", &wrapper);
        let output = command.env(CHILD, "1").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("steered by {steered}\n")), "{capability}: {text}");
        // One line says so, and why.
        let said: Vec<_> = text.lines().filter(|line| line.contains("steers packets")).collect();
        let [said] = said[..] else { panic!("{capability}: {text}") };
        assert_eq!(said.contains(lacks), steered == "classic", "{capability}: {text}");
    }
}
