//! Who else is in the room, as the relay tells it.

use std::collections::BTreeMap;

use wzp_proto::control::{MAX_NAME_BYTES, Member, RoomChanged, sender_id};
use wzp_untrusted::text;

/// The other members, by sender id.
#[derive(Debug)]
pub(crate) struct Members {
    /// This client's, which the relay speaks of as of any other.
    own_id: u16,
    present: BTreeMap<u16, Member>,
}

/// The relay described a member that cannot be. The text is for a protocol error.
pub(crate) type Impossible = String;

/// What became of another member.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// It left.
    Left(u16, Member),
    /// It came.
    Joined(u16),
    /// It was muted, or is so no longer.
    Muted(u16, bool),
}

impl Members {
    /// Those who were there before.
    pub(crate) fn new(own_id: u16, listed: &[Member]) -> Result<Self, Impossible> {
        let mut members = Self { own_id, present: BTreeMap::new() };
        for member in listed {
            members.insert(member.clone())?;
        }
        Ok(members)
    }

    /// How many others there are.
    pub(crate) fn count(&self) -> usize {
        self.present.len()
    }

    /// Sender ids and names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        self.present.iter().map(|(id, member)| (*id, member.name.as_str()))
    }

    /// The sender's display name; empty if it has none or is unknown.
    pub(crate) fn name(&self, id: u16) -> &str {
        self.present.get(&id).map_or("", |member| &member.name)
    }

    /// Takes a change over; what is new in it, in the order of the protocol.
    pub(crate) fn change(&mut self, change: RoomChanged) -> Result<Vec<Event>, Impossible> {
        let RoomChanged { left, joined, muted, unmuted, .. } = change;
        let mut events = Vec::new();
        for id in left {
            let gone = sender_id(id).and_then(|id| self.present.remove_entry(&id));
            events.extend(gone.map(|(id, member)| Event::Left(id, member)));
        }
        for member in joined {
            events.extend(self.insert(member)?.map(Event::Joined));
        }
        for (ids, muted) in [(muted, true), (unmuted, false)] {
            events.extend(ids.into_iter().filter_map(|id| self.mute(id, muted)));
        }
        Ok(events)
    }

    fn mute(&mut self, id: u32, muted: bool) -> Option<Event> {
        let id = sender_id(id)?;
        let member = self.present.get_mut(&id)?;
        let before = std::mem::replace(&mut member.muted, muted);
        (before != muted).then_some(Event::Muted(id, muted))
    }

    /// The sender id, unless it is this client's own.
    fn insert(&mut self, member: Member) -> Result<Option<u16>, Impossible> {
        let id = sender_id(member.sender_id)
            .ok_or_else(|| format!("a member with sender id {}", member.sender_id))?;
        if member.name.len() > MAX_NAME_BYTES {
            return Err(format!("a member's name of {} bytes", member.name.len()));
        }
        if id == self.own_id {
            return Ok(None);
        }
        self.present.insert(id, member);
        Ok(Some(id))
    }
}

/// A member as people read it: the name, and the number that makes it unique.
pub(crate) fn describe(id: u16, name: &str) -> String {
    if name.is_empty() { format!("member {id}") } else { format!("{} ({id})", text::name(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(sender_id: u32, name: &str) -> Member {
        Member { sender_id, name: name.into(), muted: false }
    }

    fn room() -> Members {
        Members::new(7, &[member(1, "Ann"), member(2, "")]).unwrap()
    }

    #[test]
    fn changes_are_applied_in_order_and_what_is_new_is_told() {
        let ann = || Event::Left(1, member(1, "Ann"));
        let none = RoomChanged::default;
        let cases = [
            (
                "another joins",
                RoomChanged { joined: vec![member(3, "Bob")], ..none() },
                vec![Event::Joined(3)],
            ),
            (
                "itself",
                RoomChanged { joined: vec![member(7, "I")], muted: vec![7], ..none() },
                vec![],
            ),
            ("another leaves", RoomChanged { left: vec![1], ..none() }, vec![ann()]),
            (
                "who is not here",
                RoomChanged { left: vec![9, 0], muted: vec![9, 70_000], ..none() },
                { vec![] },
            ),
            (
                "muted twice, and not muted",
                RoomChanged { muted: vec![2, 2], unmuted: vec![1], ..none() },
                vec![Event::Muted(2, true)],
            ),
            (
                "all at once",
                RoomChanged {
                    room_version: 6,
                    left: vec![1],
                    joined: vec![member(3, "Bob"), member(1, "Eve")],
                    muted: vec![3],
                    unmuted: vec![3],
                },
                vec![ann(), Event::Joined(3), Event::Joined(1), Event::Muted(3, true), {
                    Event::Muted(3, false)
                }],
            ),
        ];
        for (name, change, expected) in cases {
            assert_eq!(room().change(change), Ok(expected), "{name}");
        }
        let mut room = room();
        room.change(RoomChanged { joined: vec![member(3, "Bob")], left: vec![1], ..none() })
            .unwrap();
        assert_eq!((room.count(), room.name(3)), (2, "Bob"));
        assert_eq!(room.iter().collect::<Vec<_>>(), [(2, ""), (3, "Bob")]);
    }

    #[test]
    fn names_are_shown_and_not_obeyed() {
        assert_eq!(describe(7, "Zoë\u{202e}\u{1b}[2J\n"), r"Zoë\u{202e}\u{1b}[2J\u{a} (7)");
        assert_eq!(describe(7, ""), "member 7");
    }

    #[test]
    fn members_that_cannot_be_are_refused() {
        let cases = [member(0, "x"), member(65_536, "x"), member(4, &"n".repeat(129))];
        for impossible in cases {
            let joined = vec![impossible.clone()];
            let change = RoomChanged { joined, ..RoomChanged::default() };
            assert!(room().change(change).is_err(), "{impossible:?}");
            assert!(Members::new(7, &[impossible]).is_err());
        }
    }
}
