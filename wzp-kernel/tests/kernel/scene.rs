//! A relay's machine and a peer's, and the kernel's side of the relay.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use aya::programs::links::FdLink;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use wzp_common::reason::{Direction, Reason};
use wzp_kernel::object::EMPTY_OBJECT;
use wzp_kernel::{InterfaceStatus, Kernel, Mode, Options, Statistics};
use wzp_testbed::netns::{Family, Host, Namespace, Network};

pub(crate) const PORT: u16 = 4433;
pub(crate) const INTERFACE: &str = "eth0";
/// Longer than any packet takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes before the payload of a datagram.
pub(crate) fn header_len(family: Family) -> u64 {
    match family {
        Family::V4 => 14 + 20 + 8,
        Family::V6 => 14 + 40 + 8,
    }
}

pub(crate) fn options() -> Options {
    Options {
        mode: Mode::Require,
        interfaces: vec![INTERFACE.to_owned()],
        port: PORT,
        capacity: 100,
        trace: false,
    }
}

/// A relay's machine and a peer's, and the kernel's side of the relay.
pub(crate) struct Scene {
    pub(crate) network: Network,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with_mtu(1500)
    }

    pub(crate) fn with_mtu(mtu: u16) -> Self {
        Self { network: Network::with_mtu(&["relay", "peer"], mtu).unwrap() }
    }

    pub(crate) fn relay(&self) -> &Host {
        &self.network.hosts()[0]
    }

    pub(crate) fn peer(&self) -> &Host {
        &self.network.hosts()[1]
    }

    pub(crate) fn start(&self) -> Kernel {
        self.relay().namespace.run(|| Kernel::start(&options())).unwrap()
    }

    /// Another XDP program is there already: it has to be TCX.
    pub(crate) fn occupy_xdp(&self) -> Occupied {
        self.relay().namespace.run(|| Occupied::new(XdpMode::Driver))
    }

    pub(crate) fn relay_socket(&self, family: Family) -> UdpSocket {
        socket(self.relay(), (self.relay().address(family), PORT).into())
    }

    pub(crate) fn peer_socket(&self, family: Family) -> UdpSocket {
        socket(self.peer(), (self.peer().address(family), 0).into())
    }
}

pub(crate) fn socket(host: &Host, address: SocketAddr) -> UdpSocket {
    let socket = host.namespace.run(|| UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An XDP program that does nothing, in the place of ours.
pub(crate) struct Occupied {
    _link: FdLink,
    _ebpf: Ebpf,
}

impl Occupied {
    pub(crate) fn new(mode: XdpMode) -> Self {
        let mut ebpf = EbpfLoader::new().load(EMPTY_OBJECT).unwrap();
        let program: &mut Xdp = ebpf.program_mut("empty_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        let id = program.attach(INTERFACE, mode).unwrap();
        let link = program.take_link(id).unwrap().try_into().unwrap();
        Self { _link: link, _ebpf: ebpf }
    }
}

/// Sends datagrams of these lengths one by one; all must arrive.
pub(crate) fn send(from: &UdpSocket, to: &UdpSocket, lengths: &[usize]) {
    for length in lengths {
        from.send_to(&vec![7; *length], to.local_addr().unwrap()).unwrap();
        receive(to, *length);
    }
}

/// Sends one buffer of datagrams of `segment` bytes and a shorter last one.
pub(crate) fn send_joined(from: &UdpSocket, to: &UdpSocket, bytes: usize, segment: usize) {
    let contents = vec![7; bytes];
    let segment_size = i32::try_from(segment).unwrap().to_ne_bytes();
    set_option(from, libc::SOL_UDP, libc::UDP_SEGMENT, &segment_size);
    from.send_to(&contents, to.local_addr().unwrap()).unwrap();
    set_option(from, libc::SOL_UDP, libc::UDP_SEGMENT, &0i32.to_ne_bytes());
    for chunk in contents.chunks(segment) {
        receive(to, chunk.len());
    }
}

pub(crate) fn receive(socket: &UdpSocket, length: usize) {
    let mut buffer = [0; 65536];
    let received = socket.recv(&mut buffer).expect("the datagram arrives");
    assert_eq!(received, length);
}

pub(crate) fn status(kernel: &Kernel) -> InterfaceStatus {
    kernel.reader().statistics().interfaces[0].clone()
}

pub(crate) fn reason(statistics: &Statistics, direction: Direction, reason: Reason) -> u64 {
    let mut all = statistics.reasons.iter();
    all.find(|(way, why, _)| (*way, *why) == (direction, reason)).unwrap().2
}
pub(crate) fn set_option(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: &[u8]) {
    let length = libc::socklen_t::try_from(value.len()).unwrap();
    // SAFETY: the kernel reads as many bytes as it is told are there.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// How many programs are on the interface, in and out.
pub(crate) fn programs(namespace: &Namespace, interface: &str) -> (usize, usize) {
    let output = namespace.command("ip").args(["link", "show", interface]).output().unwrap();
    let xdp = usize::from(String::from_utf8_lossy(&output.stdout).contains("xdp"));
    let tcx = |way| namespace.run(|| SchedClassifier::query_tcx(interface, way)).unwrap().1.len();
    (xdp + tcx(TcAttachType::Ingress), tcx(TcAttachType::Egress))
}

pub(crate) fn ip(namespace: &Namespace, arguments: &str) {
    let mut command: Command = namespace.command("ip");
    assert!(command.args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
}
