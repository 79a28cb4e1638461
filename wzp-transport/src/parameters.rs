//! QUIC transport parameters fit for voice. quinn's defaults are made for
//! downloads: a mebibyte of queued datagrams would be minutes of stale voice.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    AckFrequencyConfig, IdleTimeout, ServerConfig, TimeSource, TransportConfig, VarInt,
};

use crate::congestion::{NotingConfig, VoiceConfig};

/// A peer that is silent for this long is gone (RFC 9000 section 10.1).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a connection takes a round trip for until it has measured one (RFC 9002
/// section 6.2.2). quinn does not say otherwise whether it has.
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// A client that has heard nothing for so long speaks up. That is longer than
/// relays let pass between two Pings, which keep a session alive by themselves,
/// and leaves QUIC time for five probes (RFC 9002 section 6.2) before
/// [`IDLE_TIMEOUT`] if it is lost. Relays never do it: it would cost them one
/// packet per idle session and interval.
pub const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// UDP payload that every path carries (RFC 9000 section 14). Voice frames are
/// a tenth of it, so looking for more would cost probes and gain nothing.
const MTU: u16 = 1200;

/// Room for media received and not yet read, in bytes: about two seconds of
/// five talkers. Older frames are dropped for newer ones.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Media accepted and not yet sent, in bytes and each frame's bookkeeping: two
/// packets' worth, a third of a second of one talker. What it cannot hold, the
/// relay keeps where it can count what it drops.
const SEND_BUFFER: usize = 2 * MTU as usize;

/// Handshake messages that came out of order, in bytes for each of the three
/// packet number spaces: what RFC 9000 section 7.5 demands at least. A peer can
/// have it held before anybody knows who it is.
const CRYPTO_BUFFER: usize = 4096;
/// Packets that a client may receive without acknowledging at once: it does
/// so with its next packet, or after its `max_ack_delay` of 25 ms (RFC 9000
/// section 18.2). By default it is every second packet, and a listener in a
/// large room would send as many as it hears talkers. Clients without the
/// extension (draft-ietf-quic-ack-frequency) go on so.
///
/// Clients do not ask the same of relays: at 50 packets a second those 25 ms
/// are over first, and a packet of the handshake that was lost would be
/// missed later.
pub const PACKETS_PER_ACK: u32 = 64;

/// Control messages in flight to a client, in bytes: the longest message twice.
const CLIENT_STREAM_WINDOW: u32 = 128 * 1024;

/// What both sides have in common.
fn common(idle_timeout: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(idle_timeout).unwrap_or(IdleTimeout::from(VarInt::MAX));
    config
        .max_idle_timeout(Some(idle))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(MTU)
        .mtu_discovery_config(None)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .crypto_buffer_size(CRYPTO_BUFFER)
        .datagram_receive_buffer_size(Some(RECEIVE_BUFFER))
        .datagram_send_buffer_size(SEND_BUFFER);
    config
}

/// For a client: keeps the session alive and accepts no streams.
pub fn client() -> TransportConfig {
    let mut config = common(IDLE_TIMEOUT);
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .congestion_controller_factory(Arc::new(NotingConfig::default()));
    config
}

/// Control messages from a client that a relay has not read, in bytes. A client
/// can fill it and say nothing else, so it is short: what is more than one
/// message waits at the client. The longest message takes four round trips.
pub const CONTROL_WINDOW: u32 = 4096;

/// What a client may send, in bytes, while its first packet waits for a decision, and
/// all such clients of one shard: its first flight, twice.
const WAITING: u64 = 4 * MTU as u64;
const ALL_WAITING: u64 = 256 * 1024;

/// The clock by which Retry tokens expire, 15 seconds after they were made: one that goes
/// on evenly. If the machine's clock were set by more in between, whoever answers a Retry
/// would be refused.
#[derive(Debug)]
struct Evenly {
    start: (Instant, SystemTime),
}

impl TimeSource for Evenly {
    fn now(&self) -> SystemTime {
        let (start, wall) = self.start;
        wall.checked_add(start.elapsed()).unwrap_or(wall)
    }
}

/// A relay's side of all connections.
pub fn server(crypto: Arc<QuicServerConfig>, idle_timeout: Duration) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(crypto);
    config
        .incoming_buffer_size(WAITING)
        .incoming_buffer_size_total(ALL_WAITING)
        .time_source(Arc::new(Evenly { start: (Instant::now(), SystemTime::now()) }))
        .transport_config(Arc::new(relay(idle_timeout)));
    config
}

/// For a relay: one control stream per client.
fn relay(idle_timeout: Duration) -> TransportConfig {
    /// Fifty packets in flight before the first acknowledgement. Voice does not
    /// grow to fill a path, so there is nothing to probe for, and a listener
    /// in a large room gets as much every 20 ms.
    const INITIAL_WINDOW: u64 = 64 * 1024;
    /// Control messages written and not yet acknowledged; the rest waits where
    /// it is limited by `limits.outbox_bytes`.
    const STREAM_SEND_WINDOW: u64 = 64 * 1024;
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK));
    let mut config = common(idle_timeout);
    config
        .ack_frequency_config(Some(acknowledgements))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(CONTROL_WINDOW))
        .receive_window(VarInt::from_u32(CONTROL_WINDOW))
        .send_window(STREAM_SEND_WINDOW)
        .congestion_controller_factory(Arc::new(VoiceConfig::new(INITIAL_WINDOW)));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire_by_a_clock_that_nobody_sets() {
        // The machine's clock may be set to any other time meanwhile.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let start = Instant::now();
        let clock = Evenly { start: (start, wall) };
        for _ in 0..10 {
            let (before, told, after) = (start.elapsed(), clock.now(), start.elapsed());
            assert!((wall + before..=wall + after).contains(&told), "{told:?}");
        }
    }
}
