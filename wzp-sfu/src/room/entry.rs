//! One room at its home: who is in it, and what of that its members know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use wzp_proto::control::{Member, RelayMessage, RoomChanged, relay_message};
use wzp_proto::framing;
use wzp_proto::membership::{member_list, room_changes};

use crate::ids::{SessionId, ShardIndex};
use crate::mail::{JoinRequest, Snapshot};

/// A room's authoritative state.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// Of what the members know. Grows by one with every message that tells them.
    version: u64,
    /// Those who are there, and those who left and of whom the others still think so.
    seats: BTreeMap<u16, Seat>,
    ids: SenderIds,
    spread: Spread,
    /// Seats that are to be compared with what the members know.
    changed: BTreeSet<u16>,
    /// When the members were last told.
    pub(super) told_at: Option<Instant>,
    /// When they are told next, if there is anything to tell.
    pub(super) due: Option<Instant>,
    /// What they know, until it changes.
    snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Seat {
    shard: ShardIndex,
    session: SessionId,
    name: String,
    /// Whether it is muted; `None` when it is no longer there.
    muted: Option<bool>,
    /// The same as the members know it; `None` if they do not know it.
    told: Option<bool>,
}

impl Entry {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            version: 1,
            seats: BTreeMap::new(),
            ids: SenderIds::default(),
            spread: Spread::default(),
            changed: BTreeSet::new(),
            told_at: None,
            due: None,
            snapshot: None,
        }
    }

    /// How many members are there.
    pub(super) fn len(&self) -> usize {
        self.spread.members
    }

    /// The shards that have members, in order.
    pub(super) fn shards(&self) -> &Arc<[ShardIndex]> {
        &self.spread.shards
    }

    /// The members who sit on a shard, by sender id.
    pub(super) fn members_on(
        &self,
        shard: ShardIndex,
    ) -> impl Iterator<Item = (u16, SessionId)> + '_ {
        let here = move |seat: &Seat| seat.shard == shard && seat.muted.is_some();
        let seats = self.seats.iter().filter(move |(_, seat)| here(seat));
        seats.map(|(id, seat)| (*id, seat.session))
    }

    /// Whether members know less than there is.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Seats a newcomer, who is told of the rest and of itself with the others; its
    /// sender id and what those know, or `None` if all ids are taken. Nobody has to be
    /// told of the first one.
    pub(super) fn enter(&mut self, request: JoinRequest) -> Option<(u16, Snapshot)> {
        let JoinRequest { session, shard, member_name: name, muted, .. } = request;
        let id = self.ids.next()?;
        let snapshot = self.snapshot();
        let is_first = self.seats.is_empty();
        let told = is_first.then_some(muted);
        self.seats.insert(id, Seat { shard, session, name, muted: Some(muted), told });
        self.spread.add(shard);
        if is_first {
            self.snapshot = None;
        } else {
            self.changed.insert(id);
        }
        Some((id, snapshot))
    }

    /// Takes a member out; whether it was there.
    pub(super) fn leave(&mut self, id: u16, session: SessionId) -> bool {
        let seat = self.seats.get_mut(&id).filter(|seat| seat.session == session);
        let Some(seat) = seat.filter(|seat| seat.muted.is_some()) else { return false };
        seat.muted = None;
        self.spread.remove(seat.shard);
        self.changed.insert(id);
        true
    }

    /// Notes whether a member is muted; whether that is new.
    pub(super) fn set_muted(&mut self, id: u16, muted: bool) -> bool {
        let seat = self.seats.get_mut(&id);
        let Some(seat) = seat.filter(|seat| seat.muted == Some(!muted)) else { return false };
        seat.muted = Some(muted);
        self.changed.insert(id);
        true
    }

    /// What the members know, made once for all who come until it changes.
    fn snapshot(&mut self) -> Snapshot {
        let Self { seats, version, snapshot, .. } = self;
        let make = || {
            let known = seats.iter().filter_map(|(id, seat)| Some(seat.member(*id, seat.told?)));
            let parts = member_list(known);
            Snapshot {
                version: *version,
                count: parts.iter().map(|part| part.members.len() as u32).sum(),
                messages: encode(parts.into_iter().map(relay_message::Message::Members)),
            }
        };
        snapshot.get_or_insert_with(make).clone()
    }

    /// What to tell the members so that they know all: one or more encoded messages,
    /// none if they know it. They count as told.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Bytes> {
        let mut change = RoomChanged { room_version: self.version + 1, ..RoomChanged::default() };
        for id in std::mem::take(&mut self.changed) {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            match (seat.told, seat.muted) {
                (None, Some(muted)) => change.joined.push(seat.member(id, muted)),
                (Some(_), None) => change.left.push(id.into()),
                (Some(false), Some(true)) => change.muted.push(id.into()),
                (Some(true), Some(false)) => change.unmuted.push(id.into()),
                (None, None) | (Some(false), Some(false)) | (Some(true), Some(true)) => {}
            }
            seat.told = seat.muted;
            if seat.muted.is_none() {
                self.seats.remove(&id);
                self.ids.give_up(id);
            }
        }
        let parts = room_changes(change);
        self.version = parts.last()?.room_version;
        self.snapshot = None;
        self.told_at = Some(now);
        Some(encode(parts.into_iter().map(relay_message::Message::RoomChanged)))
    }
}

impl Seat {
    fn member(&self, sender_id: u16, muted: bool) -> Member {
        Member { sender_id: sender_id.into(), name: self.name.clone(), muted }
    }
}

fn encode(messages: impl Iterator<Item = relay_message::Message>) -> Bytes {
    let mut bytes = BytesMut::new();
    for message in messages {
        bytes.extend_from_slice(&framing::encode(&RelayMessage::from(message)));
    }
    bytes.freeze()
}

/// Gives out sender ids, 1 to 65,535: each once, and from then on the one that has
/// been free for the longest.
#[derive(Debug, Default)]
struct SenderIds {
    /// The last that was given out for the first time.
    last: u16,
    /// In the order in which they became free.
    free: VecDeque<u16>,
}

impl SenderIds {
    fn next(&mut self) -> Option<u16> {
        let Some(id) = self.last.checked_add(1) else { return self.free.pop_front() };
        self.last = id;
        Some(id)
    }

    fn give_up(&mut self, id: u16) {
        self.free.push_back(id);
    }
}

/// How many members sit on which shard.
#[derive(Debug, Default)]
struct Spread {
    by_shard: BTreeMap<ShardIndex, usize>,
    members: usize,
    /// The shards that have any, in order.
    shards: Arc<[ShardIndex]>,
}

impl Spread {
    fn add(&mut self, shard: ShardIndex) {
        self.members += 1;
        let here = self.by_shard.entry(shard).or_default();
        *here += 1;
        if *here == 1 {
            self.shards = self.by_shard.keys().copied().collect();
        }
    }

    fn remove(&mut self, shard: ShardIndex) {
        let Some(here) = self.by_shard.get_mut(&shard) else { return };
        self.members -= 1;
        *here -= 1;
        if *here == 0 {
            self.by_shard.remove(&shard);
            self.shards = self.by_shard.keys().copied().collect();
        }
    }
}
