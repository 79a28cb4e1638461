use std::collections::BTreeMap;

use proptest::prelude::*;
use wzp_proto::control::{RelayMessage, RoomChanged, relay_message};
use wzp_proto::framing::{Deframer, MAX_MESSAGE_BYTES};

use super::*;
use crate::mail::Snapshot;

const WINDOW: Duration = Duration::from_millis(200);

/// A directory in virtual time and the members that live by its mail.
struct Scene {
    directory: Directory,
    now: Instant,
    seated: BTreeMap<u64, Seated>,
    refused: Vec<String>,
    /// Each `Changed` with the shards it went to.
    changes: Vec<(Vec<ShardIndex>, Vec<RoomChanged>)>,
    /// Each `Spread` with its addressee.
    spreads: Vec<(ShardIndex, Vec<ShardIndex>)>,
}

/// A member, and what it knows.
#[derive(Clone, Debug)]
struct Seated {
    room: RoomId,
    shard: ShardIndex,
    sender_id: u16,
    version: u64,
    /// Name and whether it is muted, by sender id, itself left out.
    knows: BTreeMap<u32, (String, bool)>,
    /// How many members it was told of when it came, and the bytes that told it.
    snapshot: Snapshot,
}

impl Scene {
    fn new(room_members: u32) -> Self {
        let limits = Limits { room_members, membership_window: WINDOW, ..Limits::default() };
        Self {
            directory: Directory::new(0, &limits, Arc::default()),
            now: Instant::now(),
            seated: BTreeMap::new(),
            refused: Vec::new(),
            changes: Vec::new(),
            spreads: Vec::new(),
        }
    }

    fn join(&mut self, session: u64, shard: ShardIndex) {
        self.join_as(session, shard, false);
    }

    fn join_as(&mut self, session: u64, shard: ShardIndex, muted: bool) {
        let request = JoinRequest {
            room: "r".into(),
            session: SessionId(session),
            shard,
            member_name: format!("member {session}"),
            muted,
        };
        let now = self.now;
        self.act(|directory, out| directory.join(now, request, out));
    }

    fn leave(&mut self, session: u64) {
        let Some(Seated { room, sender_id, .. }) = self.seated.remove(&session) else { return };
        let now = self.now;
        let session = SessionId(session);
        self.act(|directory, out| directory.leave(now, room, sender_id, session, out));
    }

    fn mute(&mut self, session: u64, muted: bool) {
        let Some(Seated { room, sender_id, .. }) = self.seated.get(&session) else { return };
        self.directory.set_muted(self.now, *room, *sender_id, muted);
    }

    /// What is due now is told.
    fn tell(&mut self) {
        let now = self.now;
        self.act(|directory, out| directory.tell(now, out));
    }

    /// Time passes, and all that is due in it is told.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.directory.next_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.tell();
        }
        self.now = end;
    }

    fn act(&mut self, act: impl FnOnce(&mut Directory, &mut Letters)) {
        let mut out = Vec::new();
        act(&mut self.directory, &mut out);
        let mut told = Vec::new();
        for (to, mail) in out {
            match mail {
                RoomMail::Admitted(admitted) => self.seat(to, *admitted),
                RoomMail::Refused { text, .. } => self.refused.push(text),
                RoomMail::Spread { shards, .. } => self.spreads.push((to, shards.to_vec())),
                RoomMail::Changed(change) => {
                    self.hear(to, &change);
                    told.push((to, change));
                }
                other => panic!("{other:?}"),
            }
        }
        if let Some((_, change)) = told.first() {
            let shards = told.iter().map(|(to, _)| *to).collect();
            self.changes.push((shards, changes(&change.messages)));
        }
    }

    fn seat(&mut self, shard: ShardIndex, admitted: Admitted) {
        let Admitted { session, room, sender_id, snapshot, .. } = admitted;
        let mut knows = BTreeMap::new();
        for message in decode(&snapshot.messages) {
            let relay_message::Message::Members(part) = message else { panic!("{message:?}") };
            knows.extend(part.members.into_iter().map(|m| (m.sender_id, (m.name, m.muted))));
        }
        assert_eq!(knows.len(), snapshot.count as usize);
        assert!(!knows.contains_key(&u32::from(sender_id)), "told of itself in its list");
        let version = snapshot.version;
        let seated = Seated { room, shard, sender_id, version, knows, snapshot };
        assert!(self.seated.insert(session.0, seated).is_none());
    }

    /// A shard gives a change to the members on it.
    fn hear(&mut self, shard: ShardIndex, change: &Change) {
        let members = self.seated.values_mut();
        for member in members.filter(|m| m.shard == shard && m.room == change.room) {
            changes(&change.messages).into_iter().for_each(|change| member.hear(change));
        }
    }

    fn assert_everyone_knows_everyone(&self) {
        for member in self.seated.values() {
            let others = self.seated.iter().filter(|(_, m)| m.sender_id != member.sender_id);
            let ids: Vec<_> =
                others.map(|(session, m)| (u32::from(m.sender_id), session)).collect();
            let known: Vec<_> = member.knows.keys().copied().collect();
            let mut expected: Vec<u32> = ids.iter().map(|(id, _)| *id).collect();
            expected.sort_unstable();
            assert_eq!(known, expected, "member {}", member.sender_id);
            for (id, session) in ids {
                assert_eq!(member.knows[&id].0, format!("member {session}"));
            }
        }
    }
}

impl Seated {
    fn hear(&mut self, change: RoomChanged) {
        assert_eq!(change.room_version, self.version + 1, "a version is missing");
        self.version = change.room_version;
        let own = u32::from(self.sender_id);
        for id in change.left {
            assert!(self.knows.remove(&id).is_some(), "{id} was not there");
        }
        for member in change.joined.into_iter().filter(|m| m.sender_id != own) {
            let before = self.knows.insert(member.sender_id, (member.name, member.muted));
            assert_eq!(before, None, "{} was there already", member.sender_id);
        }
        for (ids, muted) in [(change.muted, true), (change.unmuted, false)] {
            for id in ids.into_iter().filter(|id| *id != own) {
                let before = std::mem::replace(&mut self.knows.get_mut(&id).unwrap().1, muted);
                assert_ne!(before, muted, "{id} was that already");
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Vec<relay_message::Message> {
    let mut deframer = Deframer::new(MAX_MESSAGE_BYTES);
    deframer.push(bytes);
    let next = || deframer.decode::<RelayMessage>().unwrap();
    std::iter::from_fn(next).map(|message| message.message.unwrap()).collect()
}

fn changes(bytes: &[u8]) -> Vec<RoomChanged> {
    let change = |message| match message {
        relay_message::Message::RoomChanged(change) => change,
        other => panic!("{other:?}"),
    };
    decode(bytes).into_iter().map(change).collect()
}

/// Sender ids of who left, joined, was muted and was no longer, of all parts.
fn ids(parts: &[RoomChanged]) -> [Vec<u32>; 4] {
    let of = |list: fn(&RoomChanged) -> Vec<u32>| parts.iter().flat_map(list).collect();
    [
        of(|part| part.left.clone()),
        of(|part| part.joined.iter().map(|member| member.sender_id).collect()),
        of(|part| part.muted.clone()),
        of(|part| part.unmuted.clone()),
    ]
}

#[test]
fn a_change_after_a_quiet_time_is_told_at_once_and_the_next_ones_together() {
    let mut scene = Scene::new(100);
    scene.join(1, 0);
    assert_eq!(scene.directory.next_timeout(), None, "nobody is there to be told");
    scene.join(2, 1);
    assert_eq!(scene.directory.next_timeout(), Some(scene.now));
    scene.tell();
    let began = scene.now;
    for (session, after) in [(3, 20), (4, 60), (5, 199)] {
        scene.pass(began + Duration::from_millis(after) - scene.now);
        scene.join(session, 1);
        assert_eq!(scene.directory.next_timeout(), Some(began + WINDOW));
    }
    scene.pass(Duration::from_millis(1));
    scene.pass(10 * WINDOW);
    scene.join(6, 0);
    assert_eq!(scene.directory.next_timeout(), Some(scene.now), "after a quiet time");
    scene.tell();
    let told: Vec<_> = scene.changes.iter().map(|(to, parts)| (&to[..], ids(parts))).collect();
    let joined = |joined: &[u32]| [vec![], joined.to_vec(), vec![], vec![]];
    let expected =
        [(&[0, 1][..], joined(&[2])), (&[0, 1], joined(&[3, 4, 5])), (&[0, 1], joined(&[6]))];
    assert_eq!(told, expected);
    scene.assert_everyone_knows_everyone();
    let stats = &scene.directory.stats;
    assert_eq!(stats.membership_changes.get(), 5);
    assert_eq!(stats.membership_changes_deferred.get(), 3);
    assert_eq!(stats.membership_messages.get(), 3);
}

#[test]
fn within_a_window_the_last_state_wins() {
    type Acts = fn(&mut Scene);
    let nothing = || [vec![], vec![], vec![], vec![]];
    // Members 1 and 2 are there, 2 is muted; what is told of what comes then.
    let cases: [(&str, Acts, [Vec<u32>; 4]); 9] = [
        ("joins and leaves", |s| (s.join(3, 0), s.leave(3)).1, nothing()),
        ("leaves and comes back", |s| (s.leave(2), s.join(2, 1)).1, {
            [vec![2], vec![3], vec![], vec![]]
        }),
        ("mutes and unmutes", |s| (s.mute(1, true), s.mute(1, false)).1, nothing()),
        ("mutes twice", |s| (s.mute(1, true), s.mute(1, true)).1, {
            [vec![], vec![], vec![1], vec![]]
        }),
        ("unmutes", |s| s.mute(2, false), [vec![], vec![], vec![], vec![2]]),
        ("stays muted", |s| s.mute(2, true), nothing()),
        ("mutes and leaves", |s| (s.mute(1, true), s.leave(1)).1, {
            [vec![1], vec![], vec![], vec![]]
        }),
        ("joins and mutes", |s| (s.join(3, 2), s.mute(3, true)).1, {
            [vec![], vec![3], vec![], vec![]]
        }),
        (
            "a mute that comes after its leave",
            |s| {
                let (room, id) = (s.seated[&1].room, s.seated[&1].sender_id);
                s.leave(1);
                s.directory.set_muted(s.now, room, id, true);
            },
            [vec![1], vec![], vec![], vec![]],
        ),
    ];
    for (name, acts, expected) in cases {
        let mut scene = Scene::new(100);
        scene.join(1, 0);
        scene.join_as(2, 1, true);
        scene.tell();
        scene.changes.clear();
        acts(&mut scene);
        scene.pass(2 * WINDOW);
        let told: Vec<_> = scene.changes.iter().map(|(_, parts)| ids(parts)).collect();
        let expected = if expected == nothing() { vec![] } else { vec![expected] };
        assert_eq!(told, expected, "{name}");
        scene.assert_everyone_knows_everyone();
    }
}

#[test]
fn all_who_join_before_the_next_message_share_one_member_list() {
    let mut scene = Scene::new(1000);
    for session in 0..100 {
        scene.join(session, 0);
    }
    let lists = |scene: &Scene| -> Vec<_> {
        let snapshots = scene.seated.values().map(|member| &member.snapshot);
        snapshots.map(|list| (list.version, list.count, list.messages.as_ptr())).collect()
    };
    let (first, rest) = (lists(&scene)[0], lists(&scene)[1..].to_vec());
    assert_eq!((first.0, first.1), (1, 0));
    assert_eq!((rest[0].0, rest[0].1), (1, 1), "the first is known to itself");
    assert!(rest.iter().all(|list| *list == rest[0]), "{rest:?}");
    scene.pass(WINDOW);
    scene.join(100, 0);
    assert_eq!(scene.seated[&100].snapshot.count, 100);
    scene.pass(WINDOW);
    scene.assert_everyone_knows_everyone();
}

#[test]
fn shards_hear_at_once_where_media_is_to_go() {
    let mut scene = Scene::new(100);
    scene.join(1, 0);
    scene.join(2, 0);
    assert_eq!(scene.spreads, []);
    scene.join(3, 2);
    scene.join(4, 2);
    assert_eq!(std::mem::take(&mut scene.spreads), [(0, vec![0, 2])]);
    scene.join(5, 1);
    assert_eq!(std::mem::take(&mut scene.spreads), [(0, vec![0, 1, 2]), (2, vec![0, 1, 2])]);
    scene.leave(3);
    assert_eq!(scene.spreads, []);
    scene.leave(4);
    assert_eq!(scene.spreads, [(0, vec![0, 1]), (1, vec![0, 1])]);
}

#[test]
fn room_ends_with_its_last_member_and_what_was_to_be_told() {
    let mut scene = Scene::new(10);
    scene.join(1, 0);
    scene.tell();
    let Seated { room, sender_id, .. } = scene.seated[&1];
    let now = scene.now;
    scene.act(|directory, out| directory.leave(now, room, sender_id, SessionId(99), out));
    assert_eq!(scene.directory.rooms.len(), 1, "that was somebody else");
    scene.join(2, 0);
    scene.tell();
    scene.join(3, 1);
    scene.leave(2);
    scene.leave(1);
    assert!(scene.directory.next_timeout().is_some());
    scene.leave(3);
    assert_eq!(scene.directory.next_timeout(), None);
    assert!(scene.directory.rooms.is_empty() && scene.directory.by_name.is_empty());
    assert_eq!(scene.directory.stats.rooms.get(), 0);
    scene.act(|directory, out| directory.leave(now, room, sender_id, SessionId(1), out));
    scene.join(4, 0);
    assert_ne!(scene.seated[&4].room, room, "one that comes back is another one");
    assert_eq!(scene.directory.stats.rooms.get(), 1);
}

#[test]
fn full_room_refuses_with_a_sentence() {
    let mut scene = Scene::new(1);
    scene.join(1, 0);
    scene.join(2, 3);
    assert_eq!(scene.refused, ["the room is full: it takes 1 at most"]);
    // Those who left make way at once, whoever knows of it.
    let mut scene = Scene::new(2);
    scene.join(1, 0);
    scene.join(2, 0);
    scene.leave(2);
    scene.join(3, 0);
    assert!(scene.seated.contains_key(&3), "{:?}", scene.refused);
}

#[test]
fn a_sender_id_comes_back_after_all_others_and_after_its_leave_was_told() {
    let mut scene = Scene::new(u16::MAX.into());
    scene.join(0, 0);
    // Only the first stays.
    for session in 1..u64::from(u16::MAX) {
        scene.join(session, 0);
        assert_eq!(u64::from(scene.seated[&session].sender_id), session + 1);
        scene.leave(session);
    }
    scene.join(70_000, 0);
    assert_eq!(scene.refused.len(), 1, "nobody knows yet that all the others have left");
    scene.pass(WINDOW);
    for (session, id) in [(70_001, 2), (70_002, 3)] {
        scene.join(session, 0);
        assert_eq!(scene.seated[&session].sender_id, id);
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Join(ShardIndex, bool),
    Leave(usize),
    Mute(usize, bool),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0usize..3, any::<bool>()).prop_map(|(shard, muted)| Act::Join(shard, muted)),
        3 => (0usize..40).prop_map(Act::Leave),
        3 => (0usize..40, any::<bool>()).prop_map(|(who, muted)| Act::Mute(who, muted)),
        3 => (0u64..300).prop_map(Act::Pass),
    ]
}

proptest! {
    /// Whatever happens when: versions come without a gap, nobody is told what it
    /// knows, everybody knows all in the end, and a message comes at most once in a
    /// window.
    #[test]
    fn everybody_arrives_at_the_same_member_list(acts in prop::collection::vec(act(), 0..200)) {
        let mut scene = Scene::new(30);
        let (mut muted, mut next) = (BTreeMap::new(), 0);
        let began = scene.now;
        for act in acts {
            let someone = |who: usize| muted.keys().copied().nth(who % muted.len().max(1));
            match act {
                Act::Join(shard, silent) => {
                    scene.join_as(next, shard, silent);
                    if scene.seated.contains_key(&next) {
                        muted.insert(next, silent);
                    }
                    next += 1;
                }
                Act::Leave(who) => if let Some(session) = someone(who) {
                    scene.leave(session);
                    muted.remove(&session);
                },
                Act::Mute(who, silent) => if let Some(session) = someone(who) {
                    scene.mute(session, silent);
                    muted.insert(session, silent);
                },
                Act::Pass(ms) => scene.pass(Duration::from_millis(ms)),
            }
        }
        scene.pass(WINDOW);
        prop_assert_eq!(scene.directory.next_timeout(), None);
        scene.assert_everyone_knows_everyone();
        for member in scene.seated.values() {
            for (session, other) in &scene.seated {
                if other.sender_id != member.sender_id {
                    let known = member.knows[&u32::from(other.sender_id)].1;
                    prop_assert_eq!(known, muted[session], "member {}", session);
                }
            }
        }
        // Rooms that ended in between begin with a message at once.
        let windows = scene.now.duration_since(began).as_millis() / WINDOW.as_millis() + 1;
        let rooms = u128::from(scene.directory.next_number);
        prop_assert!(scene.changes.len() as u128 <= windows + rooms);
    }
}

#[test]
fn a_panic_in_a_change_costs_that_room_alone() {
    let mut scene = Scene::new(10);
    scene.join(1, 0);
    let first = scene.seated[&1].room;
    scene.directory.settle();
    assert_eq!(scene.directory.forget_half_changed(), None);
    let other = join_request(2, "other", 1);
    scene.directory.join(scene.now, other, &mut Vec::new());
    scene.directory.settle();
    // Begun, and not come to its end.
    scene.directory.set_muted(scene.now, first, 99, true);
    assert_eq!(scene.directory.forget_half_changed(), Some(first));
    assert_eq!((scene.directory.rooms.len(), scene.directory.by_name.len()), (1, 1));
    scene.join(3, 0);
    assert_ne!(scene.seated[&3].room, first, "it is another room");
}

#[test]
fn who_sits_on_a_shard_is_found_in_all_rooms() {
    let mut scene = Scene::new(10);
    for (session, room, shard) in [(1, "a", 0), (2, "b", 1), (3, "b", 0), (4, "b", 1)] {
        let request = join_request(session, room, shard);
        scene.directory.join(scene.now, request, &mut Vec::new());
    }
    let room = |number| RoomId { home: 0, number };
    let there = [(room(1), 1, SessionId(2)), (room(1), 3, SessionId(4))];
    assert_eq!(scene.directory.members_on(1), there);
    scene.directory.leave(scene.now, room(1), 1, SessionId(2), &mut Vec::new());
    assert_eq!(scene.directory.members_on(1), there[1..], "one has left");
    assert_eq!(scene.directory.members_on(2), []);
}

fn join_request(session: u64, room: &str, shard: ShardIndex) -> JoinRequest {
    JoinRequest {
        room: room.into(),
        session: SessionId(session),
        shard,
        member_name: format!("member {session}"),
        muted: false,
    }
}
