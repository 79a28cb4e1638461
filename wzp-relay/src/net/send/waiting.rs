//! Packets that no socket takes at the moment, by destination. Each has a queue of
//! its own, and they are served in turn: however much there is for one, it
//! costs another nothing but its turn. No system calls are made here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wzp_sfu::conn::Standing;
use wzp_sfu::shard::OutPacket;

/// Voice that is older than this is of no use: jitter buffers have gone on
/// without it.
pub(super) const STALE: Duration = Duration::from_millis(200);

/// Memory that a packet takes beside its bytes: its place in a queue, the queue,
/// and what is noted of its age.
const OVERHEAD: usize = 512;

/// How much may wait, in bytes of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// For one destination.
    pub(super) each: usize,
    /// For all together.
    pub(super) all: usize,
}

/// A packet that waits.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) packet: OutPacket,
    since: Instant,
}

/// Packets dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// For having waited too long.
    pub(super) stale: u64,
    /// For newer ones.
    pub(super) crowded: u64,
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: HashMap<SocketAddr, Queue>,
    /// Who is served when, by standing. The places in between were given up.
    turns: [BTreeMap<i64, SocketAddr>; Standing::ALL.len()],
    /// One for each packet that was kept, the oldest first. Some have left.
    ages: VecDeque<(Instant, SocketAddr)>,
    packets: usize,
    bytes: usize,
    dropped: Dropped,
}

/// What waits for one destination, the oldest first; never empty.
#[derive(Debug)]
struct Queue {
    standing: Standing,
    turn: i64,
    packets: VecDeque<Kept>,
    bytes: usize,
}

/// The front or the back of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many wait.
    pub(super) fn packets(&self) -> usize {
        self.packets
    }

    /// Whether something waits for a destination, which what comes later must
    /// not overtake.
    pub(super) fn has(&self, destination: SocketAddr) -> bool {
        self.queues.contains_key(&destination)
    }

    /// What was dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Keeps a copy. The oldest makes way: that of the same destination if it has
    /// more than its share, else the oldest of all.
    pub(super) fn keep(&mut self, packet: &OutPacket, now: Instant, room: Room) {
        if self.is_empty() {
            self.ages.clear();
        }
        let (destination, standing) = (packet.path.remote, packet.standing);
        // A copy: the shard's buffers are larger, and used again.
        let packet = OutPacket { bytes: packet.bytes.as_slice().to_vec(), ..*packet };
        self.ages.push_back((now, destination));
        self.insert(Kept { packet, since: now }, standing, End::Back);
        self.move_to(destination, standing);
        let share = room.each.min(room.all / self.queues.len().max(1));
        let has_too_much = |queue: &Queue| queue.bytes > share && queue.packets.len() > 1;
        while self.queues.get(&destination).is_some_and(has_too_much) {
            self.remove(destination);
            self.dropped.crowded += 1;
        }
        while self.bytes > room.all
            && let Some((since, destination)) = self.ages.pop_front()
        {
            self.dropped.crowded += self.drop_from(destination, since);
        }
    }

    /// Drops what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((since, destination)) =
            self.ages.pop_front_if(|(since, _)| *since + STALE <= now)
        {
            self.dropped.stale += self.drop_from(destination, since);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let oldest = self.ages.front().filter(|_| !self.is_empty());
        oldest.map(|(since, _)| *since + STALE)
    }

    /// Takes the oldest packet of who is to be served next.
    pub(super) fn next(&mut self, standing: Standing) -> Option<Kept> {
        let turns = &mut self.turns[standing as usize];
        let (_, destination) = turns.pop_first()?;
        let last = turns.last_key_value().map_or(0, |(turn, _)| *turn);
        if let Some(queue) = self.queues.get_mut(&destination) {
            queue.turn = last + 1;
            turns.insert(queue.turn, destination);
        }
        self.remove(destination)
    }

    /// Puts back what did not leave: of what [`Self::next`] gave, the last first.
    pub(super) fn put_back(&mut self, kept: Kept, standing: Standing) {
        self.insert(kept, standing, End::Front);
    }

    fn insert(&mut self, kept: Kept, standing: Standing, end: End) {
        let destination = kept.packet.path.remote;
        let turns = &mut self.turns[standing as usize];
        let queue = self.queues.entry(destination).or_insert_with(|| {
            let turn = match end {
                End::Front => turns.first_key_value().map_or(0, |(turn, _)| *turn - 1),
                End::Back => turns.last_key_value().map_or(0, |(turn, _)| *turn + 1),
            };
            turns.insert(turn, destination);
            Queue { standing, turn, packets: VecDeque::new(), bytes: 0 }
        });
        let cost = kept.cost();
        queue.bytes += cost;
        self.bytes += cost;
        self.packets += 1;
        match end {
            End::Front => queue.packets.push_front(kept),
            End::Back => queue.packets.push_back(kept),
        }
    }

    /// Has a destination served with those of that standing.
    fn move_to(&mut self, destination: SocketAddr, standing: Standing) {
        let Some(queue) = self.queues.get_mut(&destination) else { return };
        if queue.standing == standing {
            return;
        }
        self.turns[queue.standing as usize].remove(&queue.turn);
        let turns = &mut self.turns[standing as usize];
        queue.turn = turns.last_key_value().map_or(0, |(turn, _)| *turn + 1);
        queue.standing = standing;
        turns.insert(queue.turn, destination);
    }

    /// Takes the oldest of a destination.
    fn remove(&mut self, destination: SocketAddr) -> Option<Kept> {
        let queue = self.queues.get_mut(&destination)?;
        let kept = queue.packets.pop_front()?;
        queue.bytes -= kept.cost();
        self.bytes -= kept.cost();
        self.packets -= 1;
        if queue.packets.is_empty() {
            self.turns[queue.standing as usize].remove(&queue.turn);
            self.queues.remove(&destination);
        }
        Some(kept)
    }

    /// Drops the oldest of a destination unless it came later; how many that are.
    fn drop_from(&mut self, destination: SocketAddr, since: Instant) -> u64 {
        let oldest = self.queues.get(&destination).and_then(|queue| queue.packets.front());
        let came_later = oldest.is_none_or(|kept| kept.since > since);
        u64::from(!came_later && self.remove(destination).is_some())
    }
}

impl Kept {
    fn cost(&self) -> usize {
        self.packet.bytes.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Late, Prompt, Stalled};
    use wzp_sfu::path::Path;

    const ROOM: Room = Room { each: 10 * (100 + OVERHEAD), all: 100 * (100 + OVERHEAD) };

    /// The `number`th packet of 100 bytes to a port.
    fn packet(port: u16, number: u8, standing: Standing) -> OutPacket {
        let path = Path { remote: ([192, 0, 2, 1], port).into(), local: None };
        OutPacket { path, ecn: None, standing, bytes: vec![number; 100] }
    }

    fn all(waiting: &mut Waiting, standing: Standing) -> Vec<(u16, u8)> {
        std::iter::from_fn(|| waiting.next(standing))
            .map(|kept| (kept.packet.path.remote.port(), kept.packet.bytes[0]))
            .collect()
    }

    fn is_settled(waiting: &Waiting) -> bool {
        waiting.is_empty()
            && waiting.bytes == 0
            && waiting.queues.is_empty()
            && waiting.turns.iter().all(BTreeMap::is_empty)
    }

    #[test]
    fn destinations_are_served_in_turn_and_each_in_its_order() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for number in 0..4 {
            waiting.keep(&packet(1, number, Late), now, ROOM);
        }
        waiting.keep(&packet(2, 0, Late), now, ROOM);
        waiting.keep(&packet(3, 0, Prompt), now, ROOM);
        waiting.keep(&packet(2, 1, Late), now, ROOM);
        assert_eq!(all(&mut waiting, Late), [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3)]);
        assert_eq!(all(&mut waiting, Stalled), []);
        assert_eq!(all(&mut waiting, Prompt), [(3, 0)]);
        assert!(is_settled(&waiting));
    }

    #[test]
    fn what_is_put_back_is_next_again() {
        let now = Instant::now();
        let order = [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1)];
        for taken in 0..=order.len() {
            let mut waiting = Waiting::default();
            for (port, number) in order {
                waiting.keep(&packet(port, number, Late), now, ROOM);
            }
            let mut kept: Vec<_> = (0..taken).filter_map(|_| waiting.next(Late)).collect();
            assert_eq!(kept.len(), taken);
            while let Some(last) = kept.pop() {
                waiting.put_back(last, Late);
            }
            assert_eq!(waiting.packets(), order.len());
            // Turns may change, but nobody's order, and nobody is left out.
            let again = all(&mut waiting, Late);
            for port in 1..=3 {
                let of = |all: &[(u16, u8)]| -> Vec<u8> {
                    all.iter().filter(|(to, _)| *to == port).map(|(_, number)| *number).collect()
                };
                assert_eq!(of(&again), of(&order), "{taken} taken, port {port}");
            }
            assert!(is_settled(&waiting));
        }
    }

    #[test]
    fn who_has_more_than_its_share_makes_way_for_itself() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        waiting.keep(&packet(2, 7, Late), now, ROOM);
        for number in 0..200 {
            waiting.keep(&packet(1, number, Late), now, ROOM);
        }
        assert_eq!(waiting.take_dropped(), Dropped { stale: 0, crowded: 190 });
        assert_eq!(waiting.take_dropped(), Dropped::default());
        let kept = all(&mut waiting, Late);
        assert_eq!(kept[..2], [(2, 7), (1, 190)]);
        assert_eq!(kept.len(), 11, "{kept:?}");
        assert!(is_settled(&waiting));
    }

    #[test]
    fn all_together_have_a_bound_and_the_oldest_makes_way() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        for port in 1..=250 {
            let now = start + Duration::from_micros(port.into());
            waiting.keep(&packet(port, 0, Stalled), now, ROOM);
            assert!(waiting.bytes <= ROOM.all);
        }
        assert_eq!(waiting.take_dropped(), Dropped { stale: 0, crowded: 150 });
        let ports: Vec<_> = all(&mut waiting, Stalled).iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, (151..=250).collect::<Vec<_>>());
        assert!(is_settled(&waiting));
    }

    #[test]
    fn a_crowd_leaves_each_its_share() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        // 50 destinations in a room of 100 packets.
        for number in 0..40 {
            for port in 1..=50 {
                waiting.keep(&packet(port, number, Late), now, ROOM);
            }
        }
        let kept = all(&mut waiting, Late);
        for port in 1..=50 {
            let own: Vec<_> = kept.iter().filter(|(to, _)| *to == port).collect();
            assert_eq!(own, [&(port, 38), &(port, 39)], "{port}");
        }
    }

    #[test]
    fn what_waits_too_long_is_dropped() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut waiting = Waiting::default();
        assert_eq!(waiting.next_expiry(), None);
        for number in 0..3 {
            waiting.keep(&packet(1, number, Late), at(100 * u64::from(number)), ROOM);
        }
        assert_eq!(waiting.next_expiry(), Some(at(200)));
        waiting.expire(at(199));
        assert_eq!(waiting.take_dropped().stale, 0);
        // The first leaves in time, so the next is the oldest.
        assert_eq!(waiting.next(Late).map(|kept| kept.packet.bytes[0]), Some(0));
        waiting.expire(at(200));
        assert_eq!(waiting.take_dropped().stale, 0);
        waiting.expire(at(300));
        assert_eq!(waiting.take_dropped().stale, 1);
        assert_eq!(all(&mut waiting, Late), [(1, 2)]);
        assert_eq!(waiting.next_expiry(), None);
    }

    #[test]
    fn who_is_heard_of_again_is_served_with_the_others_of_its_standing() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        waiting.keep(&packet(1, 0, Stalled), now, ROOM);
        waiting.keep(&packet(2, 0, Stalled), now, ROOM);
        waiting.keep(&packet(1, 1, Prompt), now, ROOM);
        assert_eq!(all(&mut waiting, Prompt), [(1, 0), (1, 1)]);
        assert_eq!(all(&mut waiting, Stalled), [(2, 0)]);
        assert!(is_settled(&waiting));
    }

    #[test]
    fn lists_stay_short_however_long_nothing_leaves() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        for step in 0..10_000u32 {
            let now = start + Duration::from_millis(20) * step;
            waiting.expire(now);
            let standing = if step % 7 < 3 { Late } else { Stalled };
            waiting.keep(&packet(1 + (step % 5) as u16, 0, standing), now, ROOM);
            let turns: usize = waiting.turns.iter().map(BTreeMap::len).sum();
            assert_eq!(turns, waiting.queues.len());
            assert!(waiting.ages.len() <= 11 && waiting.packets() <= 11, "{step}");
        }
    }
}
