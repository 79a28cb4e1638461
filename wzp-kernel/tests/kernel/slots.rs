//! The state machine of the slots against a model that knows whose each packet
//! is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wzp_common::flow::{FlowKey, UNATTRIBUTED};
use wzp_kernel::slots::{FlowMap, KEEP_OLD_KEY, SETTLE, SlotReader, Slots};
use wzp_kernel::{Closed, Totals};

/// What the kernel does.
#[derive(Debug, Default)]
struct Kernel {
    flows: HashMap<FlowKey, u32>,
    slots: HashMap<u32, Totals>,
    most_flows: usize,
}

#[derive(Clone, Debug)]
struct Shared(Rc<RefCell<Kernel>>);

impl FlowMap for Shared {
    fn insert(&mut self, key: &FlowKey, slot: u32) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        if kernel.flows.len() == kernel.most_flows && !kernel.flows.contains_key(key) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kernel.flows.insert(*key, slot);
        Ok(())
    }

    fn remove(&mut self, key: &FlowKey) -> io::Result<()> {
        let removed = self.0.borrow_mut().flows.remove(key);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }
}

impl SlotReader for Shared {
    fn read(&self, slot: u32) -> Totals {
        self.0.borrow().slots.get(&slot).copied().unwrap_or_default()
    }
}

impl Shared {
    fn new(most_flows: usize) -> Self {
        Self(Rc::new(RefCell::new(Kernel { most_flows, ..Kernel::default() })))
    }

    fn slot(&self, key: &FlowKey) -> u32 {
        self.0.borrow().flows.get(key).copied().unwrap_or(UNATTRIBUTED)
    }

    fn count(&self, slot: u32, what: Totals) {
        let mut kernel = self.0.borrow_mut();
        let counters = kernel.slots.entry(slot).or_default();
        *counters = counters.plus(what);
    }

    fn packet(&self, key: &FlowKey, what: Totals) {
        self.count(self.slot(key), what);
    }
}

fn key(number: u16) -> FlowKey {
    FlowKey::new(([192, 0, 2, 1], number).into(), 4433)
}

fn received(packets: u64) -> Totals {
    Totals { rx_packets: packets, rx_bytes: packets * 142, ..Totals::default() }
}

fn fixture(capacity: u32) -> (Shared, Slots<Shared, Shared>, Instant) {
    let kernel = Shared::new(2 * capacity as usize);
    let slots = Slots::new(kernel.clone(), kernel.clone(), capacity);
    (kernel, slots, Instant::now())
}

#[test]
fn a_session_is_counted_from_open_to_close() {
    let (kernel, mut slots, now) = fixture(4);
    kernel.packet(&key(1), received(1));
    assert_eq!(slots.open(7, key(1), now), Some(1));
    kernel.packet(&key(1), received(2));
    assert_eq!(slots.totals(7), Some(received(2)));
    slots.close(7, now);
    assert_eq!(slots.totals(7), None);
    // A program that found the key before it was removed.
    kernel.count(1, received(1));
    kernel.packet(&key(1), received(5));
    assert_eq!(slots.tick(now), []);
    assert_eq!(slots.tick(now + SETTLE), [Closed { session: 7, totals: received(3) }]);
    assert_eq!(slots.unattributed(), received(6));
    assert_eq!(slots.closed(), received(3));
}

#[test]
fn a_slot_that_is_used_again_starts_from_nothing() {
    let (kernel, mut slots, now) = fixture(1);
    assert_eq!(slots.open(1, key(1), now), Some(1));
    kernel.packet(&key(1), received(10));
    slots.close(1, now);
    assert_eq!(slots.tick(now + SETTLE).len(), 1);
    // Later than anybody believes possible: not the next session's.
    kernel.count(1, received(1));
    assert_eq!(slots.open(2, key(2), now), Some(1));
    assert_eq!(slots.totals(2), Some(received(0)));
    kernel.packet(&key(2), received(3));
    assert_eq!(slots.totals(2), Some(received(3)));
    assert_eq!(slots.closed(), received(11));
    assert_eq!(slots.counted(), received(14));
}

#[test]
fn a_full_table_leaves_sessions_unattributed_and_counts_them() {
    let (kernel, mut slots, now) = fixture(1);
    assert_eq!(slots.open(1, key(1), now), Some(1));
    assert_eq!(slots.open(2, key(2), now), None);
    kernel.packet(&key(2), received(4));
    slots.moved(2, key(3), now);
    kernel.packet(&key(3), received(1));
    assert_eq!((slots.totals(2), slots.unattributed()), (None, received(5)));
    let statistics = slots.statistics();
    assert_eq!((statistics.used, statistics.full, statistics.unattributed_sessions), (1, 1, 1));
    // A slot waits for its last look before somebody else gets it.
    slots.close(1, now);
    assert_eq!(slots.open(3, key(4), now), None);
    slots.close(2, now);
    assert_eq!(slots.tick(now + SETTLE).len(), 1);
    assert_eq!(slots.open(4, key(5), now), Some(1));
    assert_eq!(slots.statistics().unattributed_sessions, 1);
}

#[test]
fn a_session_that_moves_keeps_its_slot_and_for_a_while_its_old_key() {
    let (kernel, mut slots, now) = fixture(4);
    slots.open(1, key(1), now);
    slots.moved(1, key(2), now);
    kernel.packet(&key(1), received(1));
    kernel.packet(&key(2), received(2));
    assert_eq!(slots.totals(1), Some(received(3)));
    slots.tick(now + KEEP_OLD_KEY - Duration::from_millis(1));
    assert_eq!(kernel.slot(&key(1)), 1);
    slots.tick(now + KEEP_OLD_KEY);
    assert_eq!((kernel.slot(&key(1)), kernel.slot(&key(2))), (UNATTRIBUTED, 1));
}

#[test]
fn a_session_that_moves_back_and_forth_has_two_keys_at_most() {
    let (kernel, mut slots, now) = fixture(1);
    let second = Duration::from_secs(1);
    slots.open(1, key(1), now);
    slots.moved(1, key(2), now);
    slots.moved(1, key(1), now + second);
    // The key that was to go at first is in use again.
    slots.tick(now + KEEP_OLD_KEY);
    assert_eq!((kernel.slot(&key(1)), kernel.slot(&key(2))), (1, 1));
    slots.moved(1, key(3), now + KEEP_OLD_KEY);
    assert_eq!([1, 2, 3].map(|number| kernel.slot(&key(number))), [1, 0, 1]);
    slots.close(1, now + KEEP_OLD_KEY);
    assert!(kernel.0.borrow().flows.is_empty());
    assert_eq!(slots.statistics().map_errors, 0);
}

#[test]
fn the_newest_session_from_an_address_has_its_packets() {
    let (kernel, mut slots, now) = fixture(4);
    slots.open(1, key(1), now);
    slots.open(2, key(1), now);
    kernel.packet(&key(1), received(1));
    assert_eq!((slots.totals(1), slots.totals(2)), (Some(received(0)), Some(received(1))));
    slots.close(1, now);
    kernel.packet(&key(1), received(1));
    assert_eq!(slots.totals(2), Some(received(2)));
}

/// One packet with a forged source is all that it takes to move.
#[test]
fn who_moves_to_the_address_of_another_takes_nothing_from_it() {
    let (kernel, mut slots, now) = fixture(4);
    let victim = slots.open(1, key(1), now).unwrap();
    let other = slots.open(2, key(2), now).unwrap();
    slots.moved(2, key(1), now);
    assert_eq!((kernel.slot(&key(1)), kernel.slot(&key(2))), (victim, other));
    slots.moved(2, key(2), now);
    slots.tick(now + KEEP_OLD_KEY);
    assert_eq!((kernel.slot(&key(1)), kernel.slot(&key(2))), (victim, other));
    // It stays this time, and has the address when the other is gone.
    slots.moved(2, key(1), now + KEEP_OLD_KEY);
    slots.close(1, now + KEEP_OLD_KEY);
    assert_eq!(kernel.slot(&key(1)), other);
    // Who shakes hands from there has proven that it is there.
    let proven = slots.open(3, key(1), now + KEEP_OLD_KEY).unwrap();
    assert_eq!(kernel.slot(&key(1)), proven);
    slots.close(3, now + KEEP_OLD_KEY);
    assert_eq!(kernel.slot(&key(1)), other);
}

#[test]
fn a_key_that_the_kernel_refuses_is_counted() {
    let kernel = Shared::new(0);
    let mut slots = Slots::new(kernel.clone(), kernel, 4);
    let now = Instant::now();
    assert_eq!(slots.open(1, key(1), now), None);
    let statistics = slots.statistics();
    assert_eq!((statistics.map_errors, statistics.used, statistics.full), (1, 0, 0));
    slots.close(1, now);
    assert_eq!(slots.tick(now + SETTLE), []);
}

#[derive(Clone, Debug)]
enum Step {
    Open(u64, u16),
    Moved(u64, u16),
    Close(u64),
    Packets(u16, Totals),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let totals = [0..100u64, 0..100_000, 0..100, 0..100_000].prop_map(|numbers| {
        let [rx_packets, rx_bytes, tx_packets, tx_bytes] = numbers;
        Totals { rx_packets, rx_bytes, tx_packets, tx_bytes }
    });
    prop_oneof![
        (0..8u64, 0..10u16).prop_map(|(session, key)| Step::Open(session, key)),
        (0..8u64, 0..10u16).prop_map(|(session, key)| Step::Moved(session, key)),
        (0..8u64).prop_map(Step::Close),
        (0..10u16, totals).prop_map(|(key, totals)| Step::Packets(key, totals)),
        (0..4000u64).prop_map(Step::Wait),
    ]
}

/// Whose each key is, told in another way than the state machine's: by the
/// history of each session.
#[derive(Default)]
struct Model {
    sessions: HashMap<u64, Known>,
    /// Who names a key: who began there, the latest first, then who moved there.
    owners: HashMap<u16, Vec<u64>>,
    ended: HashMap<u64, Totals>,
}

struct Known {
    keys: Vec<(u16, Option<Instant>)>,
    totals: Totals,
}

impl Model {
    fn begin(&mut self, session: u64, key: u16) {
        let known = Known { keys: vec![(key, None)], totals: Totals::default() };
        self.sessions.insert(session, known);
        self.owners.entry(key).or_default().insert(0, session);
    }

    fn name(&mut self, session: u64, key: u16, now: Instant) {
        let known = self.sessions.get_mut(&session).unwrap();
        if known.keys.last().is_some_and(|(last, _)| *last == key) {
            return;
        }
        known.keys.retain(|(old, _)| *old != key);
        for (_, until) in &mut known.keys {
            *until = Some(now + KEEP_OLD_KEY);
        }
        known.keys.push((key, None));
        if known.keys.len() > 2 {
            let (given_up, _) = known.keys.remove(0);
            self.give_up(session, given_up);
        }
        let owners = self.owners.entry(key).or_default();
        if !owners.contains(&session) {
            owners.push(session);
        }
    }

    fn give_up(&mut self, session: u64, key: u16) {
        if let Some(owners) = self.owners.get_mut(&key) {
            owners.retain(|owner| *owner != session);
        }
    }

    fn close(&mut self, session: u64) {
        let Some(known) = self.sessions.remove(&session) else { return };
        for (key, _) in known.keys {
            self.give_up(session, key);
        }
        self.ended.insert(session, known.totals);
    }

    fn expire(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (session, known) in &mut self.sessions {
            let expired =
                |(_, until): &mut (u16, Option<Instant>)| until.is_some_and(|at| at <= now);
            gone.extend(known.keys.extract_if(.., expired).map(|(key, _)| (*session, key)));
        }
        for (session, key) in gone {
            self.give_up(session, key);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Each packet is the session's that began there last, or else moved there first,
    /// or nobody's; sums
    /// agree after each step, and nothing ever goes back.
    #[test]
    fn nothing_is_lost_and_nothing_is_anothers(
        capacity in 1..6u32,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (kernel, mut slots, mut now) = fixture(capacity);
        let (mut model, mut sent, mut unattributed) = (Model::default(), Totals::default(), Totals::default());
        let (mut next, mut names) = (0, HashMap::new());
        for step in steps {
            match step {
                // Sessions have new names when they come again.
                Step::Open(session, number) if !names.contains_key(&session) => {
                    next += 1;
                    names.insert(session, next);
                    if slots.open(next, key(number), now).is_some() {
                        model.begin(next, number);
                    }
                }
                Step::Open(session, number) | Step::Moved(session, number) => {
                    let Some(name) = names.get(&session) else { continue };
                    slots.moved(*name, key(number), now);
                    if model.sessions.contains_key(name) {
                        model.name(*name, number, now);
                    }
                }
                Step::Close(session) => {
                    let Some(name) = names.remove(&session) else { continue };
                    slots.close(name, now);
                    model.close(name);
                }
                Step::Packets(number, totals) => {
                    kernel.packet(&key(number), totals);
                    sent = sent.plus(totals);
                    match model.owners.get(&number).and_then(|owners| owners.first()) {
                        Some(session) => {
                            let known = model.sessions.get_mut(session).unwrap();
                            known.totals = known.totals.plus(totals);
                        }
                        None => unattributed = unattributed.plus(totals),
                    }
                }
                Step::Wait(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    model.expire(now);
                    for closed in slots.tick(now) {
                        prop_assert_eq!(Some(closed.totals), model.ended.remove(&closed.session));
                    }
                }
            }
            let live: HashMap<_, _> = slots.live().collect();
            prop_assert_eq!(live.len(), model.sessions.len());
            for (session, known) in &model.sessions {
                prop_assert_eq!(live.get(session), Some(&known.totals));
            }
            prop_assert_eq!(slots.unattributed(), unattributed);
            prop_assert_eq!(slots.counted(), sent);
            prop_assert_eq!(slots.attributed().plus(slots.unattributed()), sent);
            let statistics = slots.statistics();
            prop_assert_eq!(statistics.map_errors, 0);
            prop_assert_eq!(statistics.used as usize, model.sessions.len() + model.ended.len());
            prop_assert!(statistics.used <= capacity);
        }
        // And at the end everybody gets all.
        names.values().for_each(|name| slots.close(*name, now));
        names.values().for_each(|name| model.close(*name));
        for closed in slots.tick(now + SETTLE) {
            prop_assert_eq!(Some(closed.totals), model.ended.remove(&closed.session));
        }
        prop_assert!(model.ended.is_empty());
        prop_assert!(kernel.0.borrow().flows.is_empty());
        prop_assert_eq!(slots.closed().plus(slots.unattributed()), sent);
    }
}
