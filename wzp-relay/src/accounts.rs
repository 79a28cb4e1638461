//! Who the kernel's counts belong to: takes the shards' flow events to the
//! [`Kernel`], and what the kernel counted to the rooms.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_telemetry::panics::attempt;

use wzp_kernel::{Closed, Error, Kernel, Reader, Totals};
use wzp_sfu::count::rooms::RoomCount;
use wzp_sfu::ids::SessionId;
use wzp_sfu::shard::event::Event;

/// How often sessions that are over are read a last time and interfaces are
/// looked after.
const TICK: Duration = Duration::from_secs(1);

/// The kernel's counts and their owners. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    ledger: Arc<Mutex<Ledger>>,
    reader: Reader,
    /// Whether rooms are counted by the kernel, for the life of the process: a
    /// counter that changed its source would jump.
    counts_rooms: bool,
}

/// One session's packets, as the kernel counts them. Totals since its
/// handshake; bytes from the Ethernet header on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The session, as in the log.
    #[serde(rename = "session_id")]
    pub session: String,
    /// The peer's address and port.
    pub peer: String,
    /// Its room; empty before it has joined.
    pub room: String,
    /// Packets from the peer.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets to the peer.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

struct Ledger {
    kernel: Kernel,
    owners: HashMap<u64, Owner>,
    opened: u64,
}

/// Whose packets a session's are.
struct Owner {
    remote: SocketAddr,
    seat: Option<Seat>,
    /// How many sessions were opened before.
    order: u64,
}

/// The room a session's packets count for, and how many already do.
struct Seat {
    name: Arc<str>,
    room: Arc<RoomCount>,
    booked: Totals,
}

impl Seat {
    fn book(&mut self, totals: Totals) {
        let new = totals.since(self.booked);
        self.room.wire_packets.add(new.tx_packets);
        self.room.wire_bytes.add(new.tx_bytes);
        self.booked = totals;
    }
}

impl Accounts {
    /// Starts the thread that looks after `kernel`. Flow events go into the
    /// sender; the thread ends when all senders are gone.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(kernel: Kernel) -> std::io::Result<(Self, Sender<Event>)> {
        let reader = kernel.reader();
        let counts_rooms = kernel.is_counting();
        let ledger = Arc::new(Mutex::new(Ledger { kernel, owners: HashMap::new(), opened: 0 }));
        let (sender, events) = channel();
        let accounts = Self { ledger, reader, counts_rooms };
        let keeper = accounts.clone();
        thread::Builder::new().name("accounts".into()).spawn(move || keeper.keep(&events))?;
        Ok((accounts, sender))
    }

    /// Whether rooms are counted by the kernel and not by the shards.
    pub fn counts_rooms(&self) -> bool {
        self.counts_rooms
    }

    /// The kernel's numbers.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Brings the rooms' counts up to what the kernel has counted by now.
    pub fn settle(&self) {
        let mut ledger = self.ledger();
        let owners = &mut ledger.owners;
        self.reader.sessions(|session, totals| {
            if let Some(seat) = owners.get_mut(&session).and_then(|owner| owner.seat.as_mut()) {
                seat.book(totals);
            }
        });
    }

    /// All sessions that have a slot, the oldest first.
    pub fn flows(&self) -> Vec<Flow> {
        let ledger = self.ledger();
        let mut flows = Vec::new();
        self.reader.sessions(|session, totals| {
            let Some(owner) = ledger.owners.get(&session) else { return };
            let room = owner.seat.as_ref().map_or("", |seat| &seat.name);
            let flow = Flow {
                session: SessionId(session).to_string(),
                peer: owner.remote.to_string(),
                room: room.to_owned(),
                rx_packets: totals.rx_packets,
                rx_bytes: totals.rx_bytes,
                tx_packets: totals.tx_packets,
                tx_bytes: totals.tx_bytes,
            };
            flows.push((owner.order, flow));
        });
        flows.sort_unstable_by_key(|(order, _)| *order);
        flows.into_iter().map(|(_, flow)| flow).collect()
    }

    /// Who is connected, the oldest first: the session, the peer, and the room's
    /// name once it is in one.
    pub fn peers(&self) -> Vec<(SessionId, SocketAddr, Option<Arc<str>>)> {
        let ledger = self.ledger();
        let mut owners: Vec<_> = ledger.owners.iter().collect();
        owners.sort_unstable_by_key(|(_, owner)| owner.order);
        let peer = |(session, owner): (&u64, &Owner)| {
            (SessionId(*session), owner.remote, owner.seat.as_ref().map(|seat| seat.name.clone()))
        };
        owners.into_iter().map(peer).collect()
    }

    /// Has the kernel drop packets from `ip`, or take them again.
    ///
    /// # Errors
    /// The kernel does not count, or the list is full.
    pub fn set_blocked(&self, ip: IpAddr, blocked: bool) -> Result<(), Error> {
        let kernel = &mut self.ledger().kernel;
        if blocked { kernel.block(ip) } else { kernel.unblock(ip) }
    }

    /// The addresses that are blocked, in order.
    pub fn blocked(&self) -> Vec<IpAddr> {
        self.ledger().kernel.blocked()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change leaves the ledger whole, so a panic elsewhere is no harm.
        self.ledger.lock()
    }

    fn keep(&self, events: &Receiver<Event>) {
        // An event that cannot be booked must not cost those after it.
        while !attempt(|| self.book(events)) {}
    }

    /// Returns when nobody has events any more.
    fn book(&self, events: &Receiver<Event>) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            match events.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    let now = Instant::now();
                    let mut ledger = self.ledger();
                    ledger.apply(event, now);
                    // More at once while the lock is held, but not for ever.
                    events.try_iter().take(1000).for_each(|event| ledger.apply(event, now));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if next_tick <= Instant::now() {
                self.ledger().tick(Instant::now());
                next_tick = Instant::now() + TICK;
            }
        }
    }
}

impl Ledger {
    fn apply(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected { session, peer } => {
                let owner = Owner { remote: peer, seat: None, order: self.opened };
                self.owners.insert(session.0, owner);
                self.opened += 1;
                self.kernel.open(session.0, peer, now);
            }
            Event::Joined { session, room: name, counts: room, .. } => {
                if let Some(owner) = self.owners.get_mut(&session.0) {
                    owner.seat = Some(Seat { name, room, booked: Totals::default() });
                }
            }
            Event::Moved { session, peer, .. } => {
                if let Some(owner) = self.owners.get_mut(&session.0) {
                    owner.remote = peer;
                }
                self.kernel.moved(session.0, peer, now);
            }
            Event::Forgotten { session } => {
                // Without a slot there is no last reading to wait for.
                if self.kernel.reader().session(session.0).is_none() {
                    self.owners.remove(&session.0);
                }
                self.kernel.close(session.0, now);
            }
            // It goes on sending until QUIC has forgotten it.
            Event::TurnedAway { .. }
            | Event::Muted { .. }
            | Event::Refused { .. }
            | Event::Ended { .. } => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        for Closed { session, totals } in self.kernel.check(now) {
            if let Some(mut seat) = self.owners.remove(&session).and_then(|owner| owner.seat) {
                seat.book(totals);
            }
        }
    }
}
