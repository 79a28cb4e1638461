//! Congestion control for voice: CUBIC (RFC 9438) with a floor.
//!
//! Voice does not grow to fill a path and cannot wait: what the window holds
//! back is dropped a moment later. On a path that loses packets for other
//! reasons than congestion CUBIC shrinks to two packets in flight, which is less
//! than a room says in one round trip. Senders answer congestion where it
//! helps: by the profile of their codec.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::{Connection, RttEstimator};

/// Bytes that may be in flight whatever was lost: a room with 14 talkers at 24
/// kbit/s over a path of 400 ms.
const FLOOR: u64 = 32 * 1024;

/// Makes the controllers of a relay's connections.
#[derive(Debug)]
pub struct VoiceConfig {
    cubic: Arc<CubicConfig>,
}

impl VoiceConfig {
    /// Starts with a window of that many bytes.
    pub fn new(initial_window: u64) -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(initial_window);
        Self { cubic: Arc::new(cubic) }
    }
}

impl ControllerFactory for VoiceConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Voice {
            cubic: Cubic::new(self.cubic.clone(), now, current_mtu),
            acknowledged: Arc::new(Acknowledged::new(now)),
        })
    }
}

/// How far a peer has acknowledged what it was sent. The connection's thread
/// writes it with each acknowledgement, one plain store.
#[derive(Debug)]
pub struct Acknowledged {
    start: Instant,
    /// When the newest packet of those that were acknowledged was sent, in
    /// nanoseconds from `start`.
    newest: AtomicU64,
}

impl Acknowledged {
    /// Nothing yet, as of `start`.
    pub fn new(start: Instant) -> Self {
        Self { start, newest: AtomicU64::new(0) }
    }

    /// That of a connection's present path, if [`VoiceConfig`] made its
    /// controller. A path with another IP address has another.
    pub fn of(connection: &Connection) -> Option<Arc<Self>> {
        let controller = connection.congestion_state().clone_box().into_any();
        controller.downcast::<Voice>().ok().map(|voice| voice.acknowledged)
    }

    /// When the newest packet of those that were acknowledged was sent; the
    /// path's beginning if none was.
    pub fn newest(&self) -> Instant {
        let since = Duration::from_nanos(self.newest.load(Ordering::Relaxed));
        self.start.checked_add(since).unwrap_or(self.start)
    }

    /// A packet that was sent at that time has arrived.
    pub fn note(&self, sent: Instant) {
        let nanoseconds = sent.saturating_duration_since(self.start).as_nanos();
        // Of 584 years.
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        // Packets are acknowledged in any order.
        if nanoseconds > self.newest.load(Ordering::Relaxed) {
            self.newest.store(nanoseconds, Ordering::Relaxed);
        }
    }
}

/// CUBIC, whose window is never taken for less than the floor.
#[derive(Clone)]
struct Voice {
    cubic: Cubic,
    /// A clone goes on with it: it is the same peer at another port.
    acknowledged: Arc<Acknowledged>,
}

impl Controller for Voice {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.acknowledged.note(sent);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().max(FLOOR)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
