//! Who is in a room, as messages: lists and changes of any length cut into
//! messages that every peer accepts.

use prost::Message as _;

use crate::control::{Member, Members, RoomChanged};

/// Longest part of a list in one message, in bytes; what is around it is less than
/// the rest of [`MAX_MESSAGE_BYTES`](crate::framing::MAX_MESSAGE_BYTES).
const MAX_PART_BYTES: usize = 48 * 1024;

/// Most bytes of a sender id in a list: 16 bits as a varint, and a tag where the
/// list is not packed.
const SENDER_ID_BYTES: usize = 4;

/// Cuts a member list into messages; none for an empty list.
pub fn member_list(members: impl IntoIterator<Item = Member>) -> Vec<Members> {
    let mut parts: Parts<Members> = Parts::default();
    for member in members {
        parts.with_room_for(member_bytes(&member)).members.push(member);
    }
    parts.parts
}

/// Cuts a change into messages, the first of which has the version of `change` and
/// each further one the next; none if nothing has changed.
pub fn room_changes(change: RoomChanged) -> Vec<RoomChanged> {
    let RoomChanged { room_version, left, joined, muted, unmuted } = change;
    let mut parts: Parts<RoomChanged> = Parts::default();
    for id in left {
        parts.with_room_for(SENDER_ID_BYTES).left.push(id);
    }
    for member in joined {
        parts.with_room_for(member_bytes(&member)).joined.push(member);
    }
    for id in muted {
        parts.with_room_for(SENDER_ID_BYTES).muted.push(id);
    }
    for id in unmuted {
        parts.with_room_for(SENDER_ID_BYTES).unmuted.push(id);
    }
    for (part, version) in parts.parts.iter_mut().zip(room_version..) {
        part.room_version = version;
    }
    parts.parts
}

/// Bytes of a member in a list, with its own length and the tag in front of it.
fn member_bytes(member: &Member) -> usize {
    member.encoded_len().saturating_add(4)
}

/// Messages that together hold a list, all but the last of them full.
#[derive(Default)]
struct Parts<M> {
    parts: Vec<M>,
    /// Bytes of the list in the last of them.
    bytes: usize,
}

impl<M: Default> Parts<M> {
    /// A message that so many more bytes fit into.
    fn with_room_for(&mut self, bytes: usize) -> &mut M {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.parts.is_empty() || self.bytes > MAX_PART_BYTES {
            self.parts.push(M::default());
            self.bytes = bytes;
        }
        let last = self.parts.len().saturating_sub(1);
        &mut self.parts[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{MAX_NAME_BYTES, RelayMessage, relay_message};
    use crate::framing::MAX_MESSAGE_BYTES;

    fn everyone() -> Vec<Member> {
        let member = |id| Member { sender_id: id, name: "n".repeat(MAX_NAME_BYTES), muted: true };
        ids().into_iter().map(member).collect()
    }

    fn ids() -> Vec<u32> {
        (1..=u32::from(u16::MAX)).collect()
    }

    fn assert_accepted(message: relay_message::Message) {
        let bytes = RelayMessage::from(message).encoded_len();
        assert!(bytes < MAX_MESSAGE_BYTES - 1024, "{bytes}");
    }

    #[test]
    fn any_member_list_is_cut_into_messages_that_peers_accept() {
        let parts = member_list(everyone());
        for part in &parts {
            assert_accepted(relay_message::Message::Members(part.clone()));
        }
        assert!(parts.into_iter().flat_map(|part| part.members).eq(everyone()));
        assert_eq!(member_list([]), []);
    }

    #[test]
    fn any_change_is_cut_into_messages_that_peers_accept_with_versions_in_a_row() {
        let change = RoomChanged {
            room_version: 7,
            left: ids(),
            joined: everyone(),
            muted: ids(),
            unmuted: ids(),
        };
        let parts = room_changes(change.clone());
        let mut together = RoomChanged { room_version: 7, ..RoomChanged::default() };
        for (part, version) in parts.into_iter().zip(7..) {
            assert_accepted(relay_message::Message::RoomChanged(part.clone()));
            assert_eq!(part.room_version, version);
            together.left.extend(part.left);
            together.joined.extend(part.joined);
            together.muted.extend(part.muted);
            together.unmuted.extend(part.unmuted);
        }
        assert!(together == change);
        let small = RoomChanged { room_version: 9, muted: vec![65_535], ..RoomChanged::default() };
        assert_eq!(room_changes(small.clone()), [small]);
        assert_eq!(room_changes(RoomChanged { room_version: 9, ..RoomChanged::default() }), []);
    }
}
