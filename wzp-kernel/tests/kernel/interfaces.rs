//! Which interfaces the programs are on, and what they say where they cannot be
//! or have no room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use aya::EbpfLoader;
use aya::programs::{Program, SchedClassifier, TcAttachType};
use wzp_kernel::object::{EMPTY_OBJECT, TCX_EGRESS, TCX_INGRESS};
use wzp_kernel::{Error, Hook, Kernel, Mode, Options, Reader};
use wzp_testbed::netns::Namespace;
use wzp_testbed::skip;

use crate::scene::{INTERFACE, Scene, options, programs};

#[test]
fn an_interface_that_comes_back_is_counted_again() {
    if !skip::have_namespaces("an_interface_that_comes_back_is_counted_again") {
        return;
    }
    let namespace = Namespace::new("flapping").unwrap();
    let ip = |arguments: &str| {
        let mut command = namespace.command("ip");
        assert!(command.args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
    };
    let check = |kernel: &mut Kernel| {
        namespace.run(|| kernel.check(Instant::now()));
        kernel.reader().statistics().interfaces[0].clone()
    };
    let options = Options { mode: Mode::Auto, ..options() };
    // It need not be there at the start.
    let mut kernel = namespace.run(|| Kernel::start(&options)).unwrap();
    let status = check(&mut kernel);
    assert_eq!((status.index, status.rx, status.tx), (None, Hook::None, Hook::None));
    assert!(!kernel.is_counting() && status.error.is_some());
    let mut seen = HashMap::new();
    for attached in 1..=3 {
        ip("link add eth0 type veth peer name eth1");
        ip("link set eth0 up");
        ip("link set eth1 up");
        let status = check(&mut kernel);
        assert_eq!((status.rx, status.tx), (Hook::XdpDriver, Hook::TcxEgress));
        assert_eq!((status.attached, status.error.clone()), (attached, None));
        assert!(kernel.is_counting());
        assert_eq!(programs(&namespace, INTERFACE), (1, 1));
        *seen.entry(status.index.unwrap()).or_insert(0) += 1;
        // Nothing happens while nothing happens.
        assert_eq!(check(&mut kernel), status);
        ip("link delete eth0");
        let status = check(&mut kernel);
        assert_eq!((status.index, status.rx, status.tx), (None, Hook::None, Hook::None));
        assert!(!kernel.is_counting());
    }
    // Between two looks: another interface of the same name.
    ip("link add eth0 type veth peer name eth1");
    let old = check(&mut kernel);
    ip("link delete eth0");
    ip("link add eth0 type veth peer name eth1");
    let new = check(&mut kernel);
    assert_ne!(old.index, new.index);
    assert_eq!(
        (new.rx, new.attached, programs(&namespace, INTERFACE)),
        (Hook::XdpDriver, 5, (1, 1))
    );
    drop(kernel);
    assert_eq!(programs(&namespace, INTERFACE), (0, 0));
}

/// Frames that somebody else drops on their way out have not left.
#[test]
fn our_program_is_the_last_on_the_way_out_and_the_first_on_the_way_in() {
    if !skip::have_namespaces("our_program_is_the_last_on_the_way_out_and_the_first_on_the_way_in")
    {
        return;
    }
    let scene = Scene::new();
    let occupied = scene.occupy_xdp();
    let mut others = EbpfLoader::new().load(EMPTY_OBJECT).unwrap();
    let Program::SchedClassifier(other) = others.program_mut("empty_tcx").unwrap() else {
        panic!("not a classifier")
    };
    other.load().unwrap();
    scene.relay().namespace.run(|| {
        other.attach(INTERFACE, TcAttachType::Egress).unwrap();
        other.attach(INTERFACE, TcAttachType::Ingress).unwrap();
    });
    let _kernel = scene.start();
    let names = |way| {
        let (_, programs) =
            scene.relay().namespace.run(|| SchedClassifier::query_tcx(INTERFACE, way)).unwrap();
        programs.iter().map(|info| info.name_as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(TcAttachType::Egress), ["empty_tcx", TCX_EGRESS]);
    assert_eq!(names(TcAttachType::Ingress), [TCX_INGRESS, "empty_tcx"]);
    drop(occupied);
}

#[test]
fn interfaces_that_cannot_be_are_told() {
    if !skip::have_namespaces("interfaces_that_cannot_be_are_told") {
        return;
    }
    let scene = Scene::new();
    let start = |options: &Options| scene.relay().namespace.run(|| Kernel::start(options)).err();
    let named = |name: &str| Options { interfaces: vec![name.to_owned()], ..options() };
    let nowhere = Options { interfaces: Vec::new(), ..options() };
    assert!(matches!(start(&nowhere), Some(Error::NoInterface)));
    let missing = start(&named("eth7"));
    assert!(matches!(&missing, Some(Error::NoSuchInterface { interface }) if interface == "eth7"));
    let large = Options { capacity: 100_001, ..options() };
    assert!(matches!(start(&large), Some(Error::Capacity { wanted: 100_001, most: 100_000 })));
    // The same mistakes are no reason not to start if counting is optional.
    let auto = Options { mode: Mode::Auto, ..nowhere };
    let mut kernel = scene.relay().namespace.run(|| Kernel::start(&auto)).unwrap();
    let statistics = kernel.reader().statistics();
    assert!(statistics.failure.unwrap().contains("--interface"));
    assert_eq!((statistics.load_failures, kernel.is_counting()), (1, false));
    kernel.open(1, "192.0.2.1:1".parse().unwrap(), Instant::now());
    assert_eq!(kernel.reader().session(1), None);
    assert!(matches!(kernel.block("192.0.2.1".parse().unwrap()), Err(Error::NotRunning)));
}

/// Interfaces on top of each other are told by the system only to processes
/// that see the namespace's own /sys, hence the child.
#[test]
fn a_bridge_and_its_port_would_count_twice() {
    if !skip::have_namespaces("a_bridge_and_its_port_would_count_twice") {
        return;
    }
    let namespace = Namespace::new("stacked").unwrap();
    for arguments in [
        "link add eth0 type veth peer name eth1",
        "link add br0 type bridge",
        "link set eth0 master br0",
    ] {
        let mut command = namespace.command("ip");
        assert!(command.args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
    }
    let output = crate::process::child(&namespace, "br0,eth0", &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("interface br0 is on top of eth0"), "{text}");
}

/// The largest table: it loads, and all of it can be used.
#[test]
fn a_hundred_thousand_sessions_have_a_slot_each() {
    if !skip::have_namespaces("a_hundred_thousand_sessions_have_a_slot_each") {
        return;
    }
    let namespace = Namespace::new("large").unwrap();
    let interfaces = vec!["lo".to_owned()];
    let options = Options { interfaces, capacity: 100_000, ..options() };
    let mut kernel = namespace.run(|| Kernel::start(&options)).unwrap();
    let now = Instant::now();
    let peer = |number: u32| (std::net::Ipv4Addr::from(0x0a00_0000 + number), 5000).into();
    for number in 0..100_001 {
        kernel.open(number.into(), peer(number), now);
    }
    // All move at once: two keys each.
    for number in 0..100_001 {
        kernel.moved(number.into(), peer(number + 0x0100_0000), now);
    }
    let slots = kernel.reader().statistics().slots;
    assert_eq!((slots.used, slots.full, slots.map_errors), (100_000, 1, 0));
}

#[test]
fn a_full_blocklist_says_so_and_what_it_has_stays() {
    if !skip::have_namespaces("a_full_blocklist_says_so_and_what_it_has_stays") {
        return;
    }
    const MOST: u32 = 16_384;
    let namespace = Namespace::new("blocklist").unwrap();
    let options = Options { interfaces: vec!["lo".to_owned()], ..options() };
    let mut kernel = namespace.run(|| Kernel::start(&options)).unwrap();
    let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number));
    let blocked = |kernel: &Kernel| kernel.reader().statistics().blocked_addresses;
    for number in 0..MOST {
        kernel.block(address(number)).unwrap();
    }
    let error = kernel.block(address(MOST)).unwrap_err();
    assert!(matches!(error, Error::Blocklist(_)) && error.to_string().contains("16,384"));
    // One that is there may be blocked again.
    kernel.block(address(7)).unwrap();
    assert_eq!(blocked(&kernel), MOST as usize);
    kernel.unblock(address(7)).unwrap();
    kernel.block(address(MOST)).unwrap();
    assert_eq!(blocked(&kernel), MOST as usize);
}
const _: () = {
    const fn may_be_sent<T: Send>() {}
    const fn may_be_shared<T: Clone + Send + Sync>() {}
    may_be_sent::<Kernel>();
    may_be_shared::<Reader>();
};
