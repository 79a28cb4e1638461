//! Who else is in the room, as the relay tells it.

use std::collections::BTreeMap;

use wzp_proto::control::{
    MAX_NAME_BYTES, Member, MemberJoined, MemberLeft, MemberMuted, Welcome, sender_id,
};
use wzp_untrusted::text;

/// The other members, by sender id.
#[derive(Debug)]
pub(crate) struct Members {
    /// What Welcome already took into account.
    welcome_version: u64,
    present: BTreeMap<u16, Member>,
}

/// The relay described a member that cannot be. The text is for a protocol error.
pub(crate) type Impossible = String;

impl Members {
    /// Those who were there before.
    pub(crate) fn new(welcome: &Welcome) -> Result<Self, Impossible> {
        let mut members = Self { welcome_version: welcome.room_version, present: BTreeMap::new() };
        members.extend(&welcome.members)?;
        Ok(members)
    }

    /// A further part of those who were there before.
    pub(crate) fn extend(&mut self, part: &[Member]) -> Result<(), Impossible> {
        part.iter().try_for_each(|member| self.insert(member.clone()).map(|_| ()))
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

    /// Somebody came; `None` if that was known from Welcome.
    pub(crate) fn joined(&mut self, message: MemberJoined) -> Result<Option<u16>, Impossible> {
        if message.room_version <= self.welcome_version {
            return Ok(None);
        }
        self.insert(message.member.unwrap_or_default()).map(Some)
    }

    /// Somebody left; `None` if that was known.
    pub(crate) fn left(&mut self, message: &MemberLeft) -> Option<(u16, Member)> {
        if message.room_version <= self.welcome_version {
            return None;
        }
        sender_id(message.sender_id).and_then(|id| self.present.remove_entry(&id))
    }

    /// Somebody changed between muted and not; `None` if that was known.
    pub(crate) fn muted(&mut self, message: &MemberMuted) -> Option<u16> {
        let id = sender_id(message.sender_id)?;
        let member = self.present.get_mut(&id)?;
        (std::mem::replace(&mut member.muted, message.muted) != message.muted).then_some(id)
    }

    fn insert(&mut self, member: Member) -> Result<u16, Impossible> {
        let id = sender_id(member.sender_id)
            .ok_or_else(|| format!("a member with sender id {}", member.sender_id))?;
        if member.name.len() > MAX_NAME_BYTES {
            return Err(format!("a member's name of {} bytes", member.name.len()));
        }
        self.present.insert(id, member);
        Ok(id)
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
        let welcome = Welcome {
            members: vec![member(1, "Ann"), member(2, "")],
            room_version: 5,
            ..Welcome::default()
        };
        Members::new(&welcome).unwrap()
    }

    #[test]
    fn changes_are_applied_once_and_in_order() {
        let mut room = room();
        let joined =
            |room_version, id| MemberJoined { room_version, member: Some(member(id, "Bob")) };
        assert_eq!(room.joined(joined(5, 9)), Ok(None), "older than Welcome");
        assert_eq!(room.joined(joined(6, 3)), Ok(Some(3)));
        assert_eq!((room.count(), room.name(3)), (3, "Bob"));

        let muted = |room_version, sender_id| MemberMuted { room_version, sender_id, muted: true };
        assert_eq!(room.muted(&muted(7, 3)), Some(3));
        assert_eq!(room.muted(&muted(8, 3)), None, "already muted");
        assert_eq!(room.muted(&muted(9, 77)), None, "not here");

        let left = |room_version, sender_id| MemberLeft { room_version, sender_id };
        assert_eq!(room.left(&left(4, 1)), None, "older than Welcome");
        assert!(room.left(&left(10, 3)).is_some());
        assert_eq!(room.iter().collect::<Vec<_>>(), [(1, "Ann"), (2, "")]);
        assert_eq!(room.left(&left(11, 3)), None, "already gone");
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
            let message = MemberJoined { room_version: 6, member: Some(impossible.clone()) };
            assert!(room().joined(message).is_err(), "{impossible:?}");
            let welcome = Welcome { members: vec![impossible], ..Welcome::default() };
            assert!(Members::new(&welcome).is_err());
        }
        assert!(room().joined(MemberJoined { room_version: 6, member: None }).is_err());
    }
}
