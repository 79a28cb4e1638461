//! Programs on interfaces: which hook, and whether the interface is still the
//! one it was.
//!
//! On the way in: XDP in the driver if it can, else TCX. Never generic XDP,
//! which sees joined frames and cannot tell how many. On the way out: TCX,
//! behind all others.
//!
//! Every attachment is a file descriptor: it ends with the process, however
//! the process ends.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use wzp_telemetry::log::target;

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use tracing::{info, warn};

use super::error::{Error, system_error};
use super::object::{TCX_EGRESS, TCX_INGRESS, XDP_INGRESS};

/// Where an interface's frames are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Nowhere.
    #[default]
    None,
    /// On the way in, in the driver.
    XdpDriver,
    /// On the way in, behind the driver.
    TcxIngress,
    /// On the way out.
    TcxEgress,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Self; 4] = [Self::None, Self::XdpDriver, Self::TcxIngress, Self::TcxEgress];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::XdpDriver => "xdp-driver",
            Self::TcxIngress => "tcx-ingress",
            Self::TcxEgress => "tcx-egress",
        }
    }
}

/// How it is with an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index; `None` while there is no such interface.
    pub index: Option<u32>,
    /// What counts frames on their way in.
    pub rx: Hook,
    /// What counts frames on their way out.
    pub tx: Hook,
    /// Why the driver's own hook is not in use, if so.
    pub rx_fallback: Option<String>,
    /// How often the programs were attached: more than once if the interface
    /// went and came back.
    pub attached: u64,
    /// How often they could not be.
    pub failures: u64,
    /// Why they are not attached, if so.
    pub error: Option<String>,
}

impl InterfaceStatus {
    /// Whether frames are counted both ways.
    pub fn is_counting(&self) -> bool {
        self.rx != Hook::None && self.tx != Hook::None
    }
}

/// The interfaces that were named, and the programs on them.
pub(super) struct Attachments {
    interfaces: Vec<Interface>,
    /// Asks for names in the network namespace where the relay started.
    socket: UnixDatagram,
}

struct Interface {
    status: InterfaceStatus,
    /// Dropping them detaches.
    links: Vec<FdLink>,
}

impl Attachments {
    /// Nothing is attached yet: [`Self::check`] does that.
    ///
    /// # Errors
    /// There is no interface, or one on top of another.
    pub(super) fn new(names: &[String]) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::NoInterface);
        }
        let socket = UnixDatagram::unbound().map_err(Error::System)?;
        let mut interfaces: Vec<Interface> = Vec::new();
        for name in names {
            let name = own_name(&socket, name);
            if interfaces.iter().any(|known| known.status.name == name) {
                continue;
            }
            for other in &interfaces {
                let other = &other.status.name;
                stacked(name, other).and_then(|()| stacked(other, name))?;
            }
            let status = InterfaceStatus { name: name.to_owned(), ..InterfaceStatus::default() };
            interfaces.push(Interface { status, links: Vec::new() });
        }
        Ok(Self { interfaces, socket })
    }

    /// Whether all interfaces are there, and of a kind that can be counted on.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn are_there(&self) -> Result<(), Error> {
        self.interfaces.iter().try_for_each(
            |Interface { status: InterfaceStatus { name, .. }, .. }| {
                let missing = |_| Error::NoSuchInterface { interface: name.clone() };
                name_to_index(&self.socket, name).map_err(missing)?;
                is_ethernet(name)
            },
        )
    }

    /// Attaches the programs where they are not, and forgets interfaces that
    /// are gone. Gives the first error; the status has all of them.
    ///
    /// # Errors
    /// An interface is missing or refuses a program.
    pub(super) fn check(&mut self, ebpf: &mut Ebpf) -> Result<(), Error> {
        let mut result = Ok(());
        for interface in &mut self.interfaces {
            let index = name_to_index(&self.socket, &interface.status.name).ok();
            if index == interface.status.index && interface.status.is_counting() {
                continue;
            }
            if let Err(error) = interface.attach(ebpf, index) {
                result = result.and(Err(error));
            }
        }
        result
    }

    pub(super) fn status(&self) -> impl Iterator<Item = &InterfaceStatus> {
        self.interfaces.iter().map(|interface| &interface.status)
    }
}

/// The interface's name: ip(8) shows `eth0@if5` for one whose other end, or whose lower
/// interface, is elsewhere. The kernel takes such names, too, so one that there is counts.
pub(super) fn own_name<'a>(socket: &UnixDatagram, shown: &'a str) -> &'a str {
    match shown.split_once('@') {
        Some((own, _)) if name_to_index(socket, shown).is_err() => own,
        _ => shown,
    }
}

impl Interface {
    fn attach(&mut self, ebpf: &mut Ebpf, index: Option<u32>) -> Result<(), Error> {
        let was_counting = self.status.is_counting();
        // The kernel has detached from an interface that is gone.
        self.links.clear();
        let status = &mut self.status;
        (status.index, status.rx, status.tx) = (index, Hook::None, Hook::None);
        let outcome = match index {
            Some(index) => hook_up(ebpf, &self.status.name, index),
            None => Err(Error::NoSuchInterface { interface: self.status.name.clone() }),
        };
        let status = &mut self.status;
        match outcome {
            Ok(hooked) => {
                status.rx = hooked.rx;
                status.tx = Hook::TcxEgress;
                status.rx_fallback = hooked.rx_fallback;
                status.attached += 1;
                status.error = None;
                self.links = hooked.links;
                info!(target: target::KERNEL,
                    interface = status.name,
                    index,
                    rx = status.rx.name(),
                    tx = status.tx.name(),
                    fallback = status.rx_fallback,
                    "the kernel counts this interface's packets"
                );
                Ok(())
            }
            Err(error) => {
                let sentence = sentence(&error);
                // Once, not once a second.
                if was_counting || status.error.as_ref() != Some(&sentence) {
                    status.failures += 1;
                    warn!(target: target::KERNEL,
                        interface = status.name,
                        "the kernel does not count this interface's packets: {sentence}"
                    );
                }
                status.error = Some(sentence);
                Err(error)
            }
        }
    }
}

struct Hooked {
    rx: Hook,
    rx_fallback: Option<String>,
    links: Vec<FdLink>,
}

fn hook_up(ebpf: &mut Ebpf, name: &str, index: u32) -> Result<Hooked, Error> {
    is_ethernet(name)?;
    let (rx, rx_fallback, ingress) = match xdp(ebpf, name, index)? {
        Ok(link) => (Hook::XdpDriver, None, link),
        Err(reason) => (Hook::TcxIngress, Some(reason), tcx(ebpf, name, Hook::TcxIngress)?),
    };
    let egress = tcx(ebpf, name, Hook::TcxEgress)?;
    Ok(Hooked { rx, rx_fallback, links: vec![ingress, egress] })
}

/// The driver's hook, or why it cannot be had. Drivers give all kinds of
/// numbers for that: EOPNOTSUPP without XDP, ERANGE for the MTU, EBUSY for
/// another program, ENOMEM for lack of queues.
///
/// EEXIST means another's generic XDP. Behind that, TCX does not help: the
/// kernel copies each frame and forgets how long its Ethernet header is, so
/// programs there start to read at the IP header (seen on Linux 6.18).
fn xdp(ebpf: &mut Ebpf, name: &str, index: u32) -> Result<Result<FdLink, String>, Error> {
    let error = |source| attach_error(name, Hook::XdpDriver, source);
    let program: &mut Xdp = program(ebpf, XDP_INGRESS)?;
    let link = match program.attach_to_if_index(index, XdpMode::Driver) {
        Ok(id) => program.take_link(id).map_err(error)?,
        Err(refused) => {
            let number = system_error(&refused).and_then(Errno::from_io_error);
            return match number {
                Some(Errno::PERM | Errno::NODEV) => Err(error(refused)),
                Some(Errno::EXIST) => Err(Error::GenericXdp { interface: name.to_owned() }),
                Some(number) => Ok(Err(io::Error::from(number).to_string())),
                None => Ok(Err(refused.to_string())),
            };
        }
    };
    // When the driver gives EINVAL the library tries an older way.
    Ok(descriptor(link, name, Hook::XdpDriver)
        .map_err(|_| io::Error::from(Errno::INVAL).to_string()))
}

fn tcx(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<FdLink, Error> {
    let error = |source| attach_error(name, hook, source);
    let (program_name, way) = match hook {
        Hook::TcxEgress => (TCX_EGRESS, TcAttachType::Egress),
        Hook::TcxIngress | Hook::XdpDriver | Hook::None => (TCX_INGRESS, TcAttachType::Ingress),
    };
    let order = match way {
        // What others drop on the way out has not left.
        TcAttachType::Egress => LinkOrder::last(),
        // What others drop on the way in has arrived.
        TcAttachType::Ingress | TcAttachType::Custom(_) => LinkOrder::first(),
    };
    let program: &mut SchedClassifier = program(ebpf, program_name)?;
    let id =
        program.attach_with_options(name, way, TcAttachOptions::TcxOrder(order)).map_err(error)?;
    descriptor(program.take_link(id).map_err(error)?, name, hook)
}

/// The link as a descriptor, which ends with the process.
///
/// # Errors
/// It is of the older kind, which would stay; it was detached.
fn descriptor<L>(link: L, interface: &str, hook: Hook) -> Result<FdLink, Error>
where
    L: Debug + TryInto<FdLink>,
{
    let outlives = || Error::Outlives { interface: interface.to_owned(), hook: hook.name() };
    // The library does not tell which it is, and a conversion that fails would
    // forget to detach; dropping the link detaches.
    if !format!("{link:?}").contains("FdLink") {
        return Err(outlives());
    }
    link.try_into().map_err(|_| outlives())
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    Ok(program.try_into()?)
}

fn attach_error(interface: &str, hook: Hook, source: ProgramError) -> Error {
    let number = system_error(&source).and_then(Errno::from_io_error);
    let interface = interface.to_owned();
    match number {
        Some(Errno::NODEV) => Error::NoSuchInterface { interface },
        _ => Error::Attach { interface, hook: hook.name(), source },
    }
}

/// The programs look for an Ethernet header. Says nothing where the system does
/// not tell.
pub(super) fn is_ethernet(name: &str) -> Result<(), Error> {
    /// ARPHRD_ETHER, and ARPHRD_LOOPBACK, which has the header too.
    const ETHERNET: [&str; 2] = ["1", "772"];
    let kind = fs::read_to_string(format!("/sys/class/net/{name}/type")).unwrap_or_default();
    let kind = kind.trim();
    if kind.is_empty() || ETHERNET.contains(&kind) {
        return Ok(());
    }
    Err(Error::NotEthernet { interface: name.to_owned(), kind: kind.to_owned() })
}

fn stacked(upper: &str, lower: &str) -> Result<(), Error> {
    if fs::exists(format!("/sys/class/net/{upper}/lower_{lower}")).unwrap_or(false) {
        return Err(Error::Stacked { lower: lower.to_owned(), upper: upper.to_owned() });
    }
    Ok(())
}

/// An error and its causes.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aya::EbpfLoader;
    use aya::programs::tc::{NlOptions, qdisc_add_clsact};
    use wzp_testbed::netns::Namespace;
    use wzp_testbed::skip;

    use super::super::object::OBJECT;
    use super::*;

    const INTERFACE: &str = "eth0";

    #[test]
    fn a_name_is_taken_as_ip_shows_it() {
        let (socket, _) = UnixDatagram::pair().unwrap();
        assert_eq!(own_name(&socket, "lo"), "lo");
        assert_eq!(own_name(&socket, "lo@if5"), "lo");
        assert_eq!(own_name(&socket, "no-such@eth1"), "no-such");
        assert_eq!(own_name(&socket, "no-such"), "no-such");
    }

    /// The programs, loaded, and a place to attach them to.
    fn scene() -> (Namespace, Ebpf) {
        let namespace = Namespace::new("attach").unwrap();
        ip(&namespace, "link add eth0 type veth peer name eth1");
        let mut ebpf = EbpfLoader::new().load(OBJECT).unwrap();
        program::<Xdp>(&mut ebpf, XDP_INGRESS).unwrap().load().unwrap();
        program::<SchedClassifier>(&mut ebpf, TCX_INGRESS).unwrap().load().unwrap();
        (namespace, ebpf)
    }

    fn ip(namespace: &Namespace, arguments: &str) -> String {
        let output = namespace.command("ip").args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes every `BPF_LINK_CREATE` of this thread fail with EINVAL, as with a
    /// driver that gives it; the thread cannot take that back.
    fn refuse_links() {
        const LINK_CREATE: u32 = 28;
        const EINVAL: u32 = libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32;
        let statement = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let word = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        let unless = |k, skip| libc::sock_filter {
            jf: skip,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
        };
        // struct seccomp_data (linux/seccomp.h): the call's number is at 0, its
        // first argument at 16, least significant half first.
        let mut filter = [
            word(0),
            unless(libc::SYS_bpf as u32, 3),
            word(16),
            unless(LINK_CREATE, 1),
            statement(libc::BPF_RET | libc::BPF_K, EINVAL),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which has as many statements
        // as it says.
        let result = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn xdp_that_would_stay_is_detached_and_counts_as_refused() {
        if !skip::have_namespaces("xdp_that_would_stay_is_detached_and_counts_as_refused") {
            return;
        }
        let (namespace, mut ebpf) = scene();
        let index = namespace.run(|| {
            let socket = UnixDatagram::unbound().unwrap();
            name_to_index(&socket, INTERFACE).unwrap()
        });
        let reason = namespace.run(|| {
            refuse_links();
            // That the library does attach all the same is what this is about.
            let program: &mut Xdp = program(&mut ebpf, XDP_INGRESS).unwrap();
            let id = program.attach_to_if_index(index, XdpMode::Driver).unwrap();
            assert!(ip(&namespace, "link show eth0").contains("xdp"));
            program.detach(id).unwrap();
            xdp(&mut ebpf, INTERFACE, index).unwrap().map(|_| ()).unwrap_err()
        });
        assert!(reason.contains("Invalid argument"), "{reason}");
        assert!(!ip(&namespace, "link show eth0").contains("xdp"));
    }

    #[test]
    fn classifier_that_would_stay_is_detached_and_told() {
        if !skip::have_namespaces("classifier_that_would_stay_is_detached_and_told") {
            return;
        }
        let (namespace, mut ebpf) = scene();
        let filters = || {
            let mut command = namespace.command("tc");
            let output = command.args(["filter", "show", "dev", INTERFACE, "ingress"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let error = namespace.run(|| {
            qdisc_add_clsact(INTERFACE).unwrap();
            let program: &mut SchedClassifier = program(&mut ebpf, TCX_INGRESS).unwrap();
            let older = TcAttachOptions::Netlink(NlOptions::default());
            let id = program.attach_with_options(INTERFACE, TcAttachType::Ingress, older).unwrap();
            assert!(filters().contains("bpf"), "{}", filters());
            let link = program.take_link(id).unwrap();
            descriptor(link, INTERFACE, Hook::TcxIngress).unwrap_err()
        });
        assert!(matches!(error, Error::Outlives { hook: "tcx-ingress", .. }), "{error}");
        assert_eq!(filters(), "");
    }
}
