//! Congestion control for voice: CUBIC (RFC 9438) between a floor and a ceiling; for
//! clients as quinn has it.
//!
//! Voice does not grow to fill a path and cannot wait: what the window holds
//! back is dropped a moment later. On a path that loses packets for other
//! reasons than congestion CUBIC shrinks to two packets in flight, which is less
//! than a room says in one round trip. Senders answer congestion where it
//! helps: by the profile of their codec.
//!
//! A window that nobody fills says nothing of the path, and must not grow (RFC 9002
//! section 7.8). quinn-proto takes a sender for one that fills it unless it asked for one
//! packet more than it had, which the relay does not. A window that has grown so would be
//! there when the path stalls: megabytes of voice would go into it, nothing would make
//! way in the relay, and all of it would come when nobody waits for it any more. So the
//! window follows what is in flight.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::congestion::{
    Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig,
};
use quinn_proto::{Connection, RttEstimator};

/// Bytes that may be in flight whatever was lost: a room with 14 talkers at 24
/// kbit/s over a path of 400 ms.
const FLOOR: u64 = 32 * 1024;

/// The window is at most so many times what has been in flight lately: a room may get
/// so much louder within a round trip without that anything waits, and the window
/// doubles with each that fills it (RFC 9002 section 7.3.1).
const HEADROOM: u64 = 2;

/// What is in flight is looked at over this time, and the one before.
const LATELY: Duration = Duration::from_secs(1);

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
            used: Used::new(now),
        })
    }
}

/// How many bytes have been in flight, as of each acknowledgement: before it came. What
/// goes out while none comes does not count, or a path that stalls would make room for
/// more and more.
#[derive(Clone, Copy, Debug)]
struct Used {
    since: Instant,
    before: u64,
    now: u64,
    /// Of the acknowledgement that is being taken.
    acknowledged: u64,
}

impl Used {
    const fn new(now: Instant) -> Self {
        Self { since: now, before: 0, now: 0, acknowledged: 0 }
    }

    /// A packet of an acknowledgement was in flight until now.
    fn acknowledge(&mut self, bytes: u64) {
        self.acknowledged = self.acknowledged.saturating_add(bytes);
    }

    /// The acknowledgement leaves so many bytes in flight.
    fn end(&mut self, now: Instant, in_flight: u64) {
        if now.saturating_duration_since(self.since) >= LATELY {
            *self = Self { before: self.now, acknowledged: self.acknowledged, ..Self::new(now) };
        }
        let in_flight = in_flight.saturating_add(std::mem::take(&mut self.acknowledged));
        self.now = self.now.max(in_flight);
    }

    /// What the window may come to for that.
    fn ceiling(&self) -> u64 {
        self.before.max(self.now).saturating_mul(HEADROOM)
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

    /// That of a client's connection, whose controller this is, if [`NotingConfig`] made
    /// it.
    pub fn of_client(controller: Box<dyn Controller>) -> Option<Arc<Self>> {
        controller.into_any().downcast::<Noting>().ok().map(|noting| noting.acknowledged)
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

/// CUBIC, whose window is never taken for less than the floor, nor for more than is
/// used.
#[derive(Clone)]
struct Voice {
    cubic: Cubic,
    used: Used,
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
        self.used.acknowledge(bytes);
        let is_unused = self.cubic.window() > self.used.ceiling();
        self.cubic.on_ack(now, sent, bytes, app_limited || is_unused, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.used.end(now, in_flight);
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
        let most = self.used.ceiling().max(self.initial_window());
        self.cubic.window().min(most).max(FLOOR)
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

/// Makes the controllers of a client's connections: quinn's own, which note what is
/// acknowledged.
#[derive(Debug, Default)]
pub struct NotingConfig(Arc<CubicConfig>);

impl ControllerFactory for NotingConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Noting {
            cubic: Cubic::new(self.0.clone(), now, current_mtu),
            acknowledged: Arc::new(Acknowledged::new(now)),
        })
    }
}

#[derive(Clone)]
struct Noting {
    cubic: Cubic,
    acknowledged: Arc<Acknowledged>,
}

impl Controller for Noting {
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
        self.cubic.window()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Acknowledgements: the time in ms, what each takes out of flight and leaves there,
    /// and the ceiling after it.
    #[test]
    fn the_ceiling_is_twice_what_was_in_flight_lately() {
        let start = Instant::now();
        let mut used = Used::new(start);
        assert_eq!(used.ceiling(), 0);
        for (ms, acknowledged, left, ceiling) in [
            (10, 1_000, 0, 2_000),
            (20, 2_000, 3_000, 10_000),
            (500, 100, 100, 10_000),
            (1_009, 100, 100, 10_000),
            // The first second is the one before, then it is forgotten.
            (1_100, 100, 400, 10_000),
            (2_200, 100, 100, 1_000),
            // A stall: what was sent into it came at once in the end.
            (9_000, 60_000, 4_000, 128_000),
            (9_020, 100, 0, 128_000),
            (10_020, 100, 0, 128_000),
            (11_020, 100, 0, 200),
            // The largest that can be.
            (11_030, u64::MAX, u64::MAX, u64::MAX),
        ] {
            used.acknowledge(acknowledged / 2);
            used.acknowledge(acknowledged - acknowledged / 2);
            used.end(start + Duration::from_millis(ms), left);
            assert_eq!(used.ceiling(), ceiling, "at {ms} ms");
        }
    }
}
