//! Who is in which room, who talks, and which thread does it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::options::LoadOptions;

/// One session's place in the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Of all sessions, from 0.
    pub(crate) number: u64,
    /// From 0.
    pub(crate) room: u32,
    /// Of the room, from 0; the first ones talk.
    pub(crate) member: u32,
    pub(crate) talks: bool,
}

impl LoadOptions {
    /// The place of that session. Rooms fill up one after the other.
    pub(crate) fn seat(&self, number: u64) -> Seat {
        let members = u64::from(self.members);
        let (room, member) = ((number / members) as u32, (number % members) as u32);
        Seat { number, room, member, talks: member < self.talkers() }
    }

    /// The sessions of that thread.
    pub(crate) fn seats(&self, thread: usize) -> impl Iterator<Item = Seat> {
        (thread as u64..self.sessions()).step_by(self.threads).map(|number| self.seat(number))
    }

    /// The room's name.
    pub(crate) fn room(&self, seat: Seat) -> String {
        format!("{}-{}", self.room_prefix, seat.room)
    }

    /// Where that session's socket is bound to if the relay is at `relay`.
    pub(crate) fn source(&self, seat: Seat, relay: SocketAddr) -> SocketAddr {
        let count = self.sources.len() as u64;
        let any: IpAddr = match relay {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let place = seat.number.checked_rem(count).unwrap_or(0) as usize;
        (self.sources.get(place).copied().unwrap_or(any), 0).into()
    }
}
