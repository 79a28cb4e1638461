//! What the relay has the Linux kernel do, and what it asks of it.
//!
//! Counting: which peer sent and was sent how many packets, at no cost to the threads that
//! forward. One thread owns the [`Kernel`] and tells it when sessions open, move and close;
//! anyone may have a [`Reader`]. What is counted where, what it costs and what it needs is
//! in `docs/kernel-accounting.md`. The object and the state machine of the slots are public
//! for tests.
//!
//! * [`steering`]: which of the shards' sockets gets a packet
//! * [`addresses`]: which interface has which address
//! * [`queues`]: what became of packets behind the sockets
//!
//! Never: write to the kernel's counters, attach to an interface that was not named, leave
//! anything attached, or stand in the way of a packet.

pub mod addresses;
mod attach;
mod error;
mod forecast;
mod interfaces;
mod load;
mod memory;
mod netlink;
pub mod object;
mod privilege;
pub mod queues;
mod reader;
pub mod slots;
pub mod steering;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};
use wzp_common::flow::FlowKey;
use wzp_telemetry::log::target;

pub use attach::sentence;
pub use attach::{Hook, InterfaceStatus};
pub use error::Error;
pub use forecast::{Forecast, forecast};
pub use interfaces::Interfaces;
use load::{Blocklist, Loaded, load};
pub use privilege::{has_bpf, missing_capabilities};
pub use reader::{Reader, Statistics};
use reader::{Running as RunningReader, Shared};
use slots::Slots;
pub use slots::{Closed, SlotStatistics, Totals};

/// Whether the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does not.
    Off,
    /// It does if it can; if not, that is told once and in the metrics.
    #[default]
    Auto,
    /// The relay does not start if it cannot.
    Require,
}

/// How the kernel shall count.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether.
    pub mode: Mode,
    /// On which interfaces; none is chosen by itself.
    pub interfaces: Vec<String>,
    /// The relay's UDP port.
    pub port: u16,
    /// Sessions that can be counted at a time, from 1 to
    /// [`wzp_common::flow::MAX_CAPACITY`]. Each takes 0.33 KiB of the kernel's
    /// memory.
    pub capacity: u32,
    /// Whether the programs tell the log about each packet. Costs more than
    /// the counting.
    pub trace: bool,
}

/// The kernel's side of the relay. Owned by one thread. Detaches when dropped,
/// as far as it still has its [`Interfaces`].
pub struct Kernel {
    shared: Arc<Shared>,
    running: Option<Running>,
    interfaces: Option<Interfaces>,
}

struct Running {
    port: u16,
    blocklist: Blocklist,
    logger: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads and attaches the programs. With [`Mode::Off`], or where it cannot
    /// be done with [`Mode::Auto`], the result does nothing and says why.
    ///
    /// # Errors
    /// [`Mode::Require`], and the programs cannot be loaded, or not attached to
    /// one of the interfaces.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let outcome = match options.mode {
            Mode::Off => return Ok(Self::idle(options.mode, None)),
            Mode::Auto => Self::load(options),
            Mode::Require => {
                return Self::load(options).and_then(|mut kernel| {
                    kernel.check_interfaces()?;
                    Ok(kernel)
                });
            }
        };
        match outcome {
            Ok(mut kernel) => {
                // The log and the status have the errors; the next check tries
                // again.
                let _ = kernel.check_interfaces();
                Ok(kernel)
            }
            Err(error) => {
                let failure = sentence(&error);
                warn!(target: target::KERNEL, "the kernel does not count packets: {failure}");
                Ok(Self::idle(options.mode, Some(failure)))
            }
        }
    }

    /// Whether [`Self::start`] could have the kernel count: it loads the programs and lets
    /// them go. Attaches nothing.
    ///
    /// # Errors
    /// They cannot be loaded, or an interface is missing.
    pub fn try_load(options: &Options) -> Result<(), Error> {
        attach::Attachments::new(&options.interfaces)?.are_there()?;
        load(options).map(drop)
    }

    /// The same whatever the interfaces.
    ///
    /// # Errors
    /// The programs cannot be loaded.
    pub fn try_programs(options: &Options) -> Result<(), Error> {
        load(options).map(drop)
    }

    fn load(options: &Options) -> Result<Self, Error> {
        let attachments = attach::Attachments::new(&options.interfaces)?;
        let Loaded { ebpf, flows, memory, reasons, blocklist, instructions, logger } =
            load(options)?;
        if let Some(capability) = privilege::slow_without() {
            info!(target: target::KERNEL, "with {capability} the programs in the kernel would be twice as fast");
        }
        let slots = Slots::new(flows, memory, options.capacity);
        let running = RunningReader::new(slots, reasons, instructions);
        let shared = Arc::new(Shared::new(options.mode, None, Some(running)));
        let running = Running { port: options.port, blocklist, logger };
        let interfaces = Interfaces::new(ebpf, attachments, shared.clone());
        Ok(Self { shared, running: Some(running), interfaces: Some(interfaces) })
    }

    fn idle(mode: Mode, failure: Option<String>) -> Self {
        let shared = Arc::new(Shared::new(mode, failure, None));
        Self { shared, running: None, interfaces: None }
    }

    /// The interfaces, for a thread that may attach programs to them. Without
    /// them no call of the kernel's needs a capability.
    pub fn take_interfaces(&mut self) -> Option<Interfaces> {
        self.interfaces.take()
    }

    /// Whether all packets of the relay are counted: the programs are loaded
    /// and on every interface.
    pub fn is_counting(&self) -> bool {
        self.shared.running().is_some_and(reader::Running::is_counting)
    }

    /// A handle for those who want to know the numbers.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// A session's handshake is done.
    pub fn open(&mut self, session: u64, remote: SocketAddr, now: Instant) {
        self.with_key(remote, |slots, key| _ = slots.open(session, key, now));
    }

    /// A session's peer has another address.
    pub fn moved(&mut self, session: u64, remote: SocketAddr, now: Instant) {
        self.with_key(remote, |slots, key| slots.moved(session, key, now));
    }

    /// A session is over. One of the next calls of [`Self::check`] gives its
    /// totals.
    pub fn close(&mut self, session: u64, now: Instant) {
        if let Some(running) = self.shared.running() {
            running.slots().close(session, now);
        }
    }

    /// What has to be done about once a second: gives sessions that are over,
    /// and attaches the programs to interfaces that have come back, as long as it
    /// has them.
    pub fn check(&mut self, now: Instant) -> Vec<Closed> {
        // The log and the status have the errors.
        let _ = self.check_interfaces();
        if let Some(logger) = self.running.as_mut().and_then(|running| running.logger.as_mut()) {
            logger.flush();
        }
        self.shared.running().map(|running| running.slots().tick(now)).unwrap_or_default()
    }

    /// Drops packets for the relay's port from this address before they reach
    /// its socket, from the next one on. Packets to it are not touched.
    ///
    /// # Errors
    /// The kernel does not count, or the list is full.
    pub fn block(&mut self, ip: IpAddr) -> Result<(), Error> {
        self.change_blocklist(|list| list.block(ip))
    }

    /// Ends that.
    ///
    /// # Errors
    /// The kernel does not count.
    pub fn unblock(&mut self, ip: IpAddr) -> Result<(), Error> {
        self.change_blocklist(|list| list.unblock(ip))
    }

    /// The addresses that are blocked, in order.
    pub fn blocked(&self) -> Vec<IpAddr> {
        self.running.as_ref().map(|running| running.blocklist.addresses()).unwrap_or_default()
    }

    fn change_blocklist(
        &mut self,
        change: impl FnOnce(&mut Blocklist) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let running = self.running.as_mut().ok_or(Error::NotRunning)?;
        change(&mut running.blocklist)?;
        if let Some(shared) = self.shared.running() {
            shared.set_blocked(running.blocklist.len());
        }
        Ok(())
    }

    fn check_interfaces(&mut self) -> Result<(), Error> {
        self.interfaces.as_mut().map_or(Ok(()), Interfaces::check)
    }

    fn with_key(&self, remote: SocketAddr, then: impl FnOnce(&mut reader::KernelSlots, FlowKey)) {
        if let (Some(shared), Some(running)) = (self.shared.running(), &self.running) {
            then(&mut shared.slots(), FlowKey::new(remote, running.port));
        }
    }
}
