//! Who may connect: the limits that hold for the whole relay. Asked when a
//! connection begins, joins and ends; never per packet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;
use crate::metrics::reason::RefuseReason;

/// The relay's books on connections and sessions, shared by all shards.
#[derive(Debug)]
pub struct Admission {
    sessions_max: AtomicU32,
    handshakes_max: AtomicU32,
    per_address_max: AtomicU32,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    sessions: u32,
    handshakes: u32,
    closing: u32,
    by_source: HashMap<u128, u32>,
}

/// What a connection counts as. Giving it up, in whatever way, takes it off
/// the books.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    source: u128,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Session,
    /// Over, but QUIC still answers its last packets (RFC 9000 section 10.2).
    /// How long is up to the peer, so it still counts for its address.
    Closing,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// Sessions in rooms.
    pub sessions: u32,
    /// Connections that have not joined.
    pub handshakes: u32,
    /// Connections that are over and not yet forgotten.
    pub closing: u32,
    /// Addresses (IPv6: /64) that any of them comes from.
    pub sources: usize,
}

impl Admission {
    /// With the limits of the configuration.
    pub fn new(limits: &Limits) -> Arc<Self> {
        let admission = Arc::new(Self {
            sessions_max: AtomicU32::default(),
            handshakes_max: AtomicU32::default(),
            per_address_max: AtomicU32::default(),
            books: Mutex::default(),
        });
        admission.set_limits(limits);
        admission
    }

    /// Takes on other limits. Nobody who is there has to go.
    pub fn set_limits(&self, limits: &Limits) {
        self.sessions_max.store(limits.sessions, Ordering::Relaxed);
        self.handshakes_max.store(limits.handshakes, Ordering::Relaxed);
        self.per_address_max.store(limits.sessions_per_address, Ordering::Relaxed);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change leaves the books whole, so a panic elsewhere is no harm.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on a connection, or says which limit forbids it.
    ///
    /// # Errors
    /// [`RefuseReason::Handshakes`] or [`RefuseReason::Address`].
    pub fn connection(self: &Arc<Self>, from: IpAddr) -> Result<Permit, RefuseReason> {
        let source = source_of(from);
        let mut books = self.books();
        if books.handshakes >= self.handshakes_max.load(Ordering::Relaxed) {
            return Err(RefuseReason::Handshakes);
        }
        let count = books.by_source.entry(source).or_default();
        if *count >= self.per_address_max.load(Ordering::Relaxed) {
            return Err(RefuseReason::Address);
        }
        *count += 1;
        books.handshakes += 1;
        Ok(Permit { admission: self.clone(), source, stage: Stage::Handshake })
    }

    /// Whether a client must first prove that it owns its address: there are so
    /// many connections on their way, or so many from that address, that
    /// somebody may be using addresses that are not his.
    pub fn is_crowded(&self, from: IpAddr) -> bool {
        let books = self.books();
        let from_there = books.by_source.get(&source_of(from)).copied().unwrap_or(0);
        books.handshakes > self.handshakes_max.load(Ordering::Relaxed) / 2
            || from_there > self.per_address_max.load(Ordering::Relaxed) / 2
    }

    /// Most sessions at a time.
    pub fn most_sessions(&self) -> u32 {
        self.sessions_max.load(Ordering::Relaxed)
    }

    /// Everyone on the books now.
    pub fn population(&self) -> Population {
        let books = self.books();
        Population {
            sessions: books.sessions,
            handshakes: books.handshakes,
            closing: books.closing,
            sources: books.by_source.len(),
        }
    }
}

impl Permit {
    /// Turns a connection into a session, unless the relay is full.
    pub fn join(&mut self) -> bool {
        let full =
            self.admission.books().sessions >= self.admission.sessions_max.load(Ordering::Relaxed);
        if !full {
            self.enter(Stage::Session);
        }
        !full
    }

    /// The connection is over; it counts for nothing but its address.
    pub fn close(&mut self) {
        self.enter(Stage::Closing);
    }

    fn enter(&mut self, stage: Stage) {
        let mut books = self.admission.books();
        *books.count(self.stage) -= 1;
        *books.count(stage) += 1;
        self.stage = stage;
    }
}

impl Books {
    fn count(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Handshake => &mut self.handshakes,
            Stage::Session => &mut self.sessions,
            Stage::Closing => &mut self.closing,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut books = self.admission.books();
        *books.count(self.stage) -= 1;
        if let Entry::Occupied(mut count) = books.by_source.entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// One subscriber: an IPv4 address, or the /64 that an IPv6 host has to itself.
fn source_of(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(sessions: u32, per_address: u32, handshakes: u32) -> Arc<Admission> {
        Admission::new(&Limits {
            sessions,
            sessions_per_address: per_address,
            handshakes,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_limit_refuses_with_its_own_reason_and_gives_the_place_back() {
        let admission = admission(1, 2, 3);
        let a = admission.connection(ip("10.0.0.1")).unwrap();
        let mut b = admission.connection(ip("::ffff:10.0.0.1")).unwrap();
        assert_eq!(admission.connection(ip("10.0.0.1")).unwrap_err(), RefuseReason::Address);
        let mut c = admission.connection(ip("10.0.0.2")).unwrap();
        assert!(admission.is_crowded(ip("10.9.9.9")));
        assert_eq!(admission.connection(ip("10.0.0.3")).unwrap_err(), RefuseReason::Handshakes);
        assert!(b.join() && !c.join());
        assert_eq!(
            admission.population(),
            Population { sessions: 1, handshakes: 2, closing: 0, sources: 2 }
        );
        b.close();
        assert!(c.join());
        assert_eq!(
            admission.population(),
            Population { sessions: 1, handshakes: 1, closing: 1, sources: 2 }
        );
        assert_eq!(admission.connection(ip("10.0.0.1")).unwrap_err(), RefuseReason::Address);
        drop(b);
        assert!(admission.connection(ip("10.0.0.1")).is_ok());
        drop((a, c));
        assert_eq!(
            admission.population(),
            Population { sessions: 0, handshakes: 0, closing: 0, sources: 0 }
        );
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let admission = admission(9, 1, 9);
        let _first = admission.connection(ip("2001:db8::1")).unwrap();
        assert!(admission.connection(ip("2001:db8::ffff:2")).is_err());
        assert!(admission.connection(ip("2001:db8:0:1::1")).is_ok());
    }
}
