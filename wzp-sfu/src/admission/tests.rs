//! Who gets a place, by tables of who is there. Each case is checked against books
//! that are counted anew from all that is known.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Relay {
    admission: Arc<Admission>,
    now: Instant,
    next: u64,
    may_wait: bool,
}

impl Relay {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self { admission: Admission::new(&limits, now), now, next: 0, may_wait: true }
    }

    fn arrive(&mut self, ip: &str) -> Arrival {
        self.next += 1;
        let newcomer = Newcomer {
            session: SessionId(self.next),
            shard: self.next as usize % 3,
            ip: ip.parse().unwrap(),
            is_proven: true,
            may_wait: self.may_wait,
        };
        let arrival = self.admission.arrive(newcomer, self.now);
        self.admission.books().check();
        arrival
    }

    fn enter(&mut self, ip: &str) -> Permit {
        match self.arrive(ip) {
            Arrival::Enter(permit, displaced) if displaced.is_empty() => permit,
            other => panic!("{ip}: {other:?}"),
        }
    }

    fn refusal(&mut self, ip: &str) -> RefuseReason {
        match self.arrive(ip) {
            Arrival::Refuse(reason) => reason,
            other => panic!("{ip}: {other:?}"),
        }
    }

    /// Joins, which displaces nobody.
    fn session(&mut self, ip: &str) -> Permit {
        let mut permit = self.enter(ip);
        assert_eq!(permit.join(None, self.now), Ok(None), "{ip}");
        permit
    }

    fn join(&mut self, permit: &mut Permit, user: Option<&str>) -> Result<Option<Displaced>, Full> {
        let joined = permit.join(user.map(Arc::from).as_ref(), self.now);
        self.admission.books().check();
        joined
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn population(&self) -> [u32; 4] {
        let Population { sessions, handshakes, closing, making_way, .. } =
            self.admission.population();
        [sessions, handshakes, closing, making_way]
    }
}

impl Permit {
    fn session(&self) -> SessionId {
        self.admission.books().members[&self.ticket].session
    }
}

impl Books {
    /// All that is counted and ordered, counted anew.
    fn check(&self) {
        let of = |stages: &[Stage]| {
            let members = self.members.values().filter(|member| stages.contains(&member.stage));
            members.count() as u32
        };
        assert_eq!(self.sessions, of(&[Stage::Session]));
        assert_eq!(self.handshakes, of(&[Stage::Handshake]));
        assert_eq!(self.closing, of(&[Stage::Closing, Stage::MadeWay]));
        assert_eq!(self.making_way, of(&[Stage::MakingWay]));
        let sums = |of: fn(&books::Crowd) -> usize, tier| -> usize {
            let crowds = self.crowds.iter().filter(|(prefix, _)| prefix.tier == tier);
            crowds.map(|(_, crowd)| of(crowd)).sum()
        };
        for tier in [Tier::Address, Tier::Network] {
            assert_eq!(sums(|crowd| crowd.sessions.len(), tier), self.sessions as usize);
            assert_eq!(sums(|crowd| crowd.handshakes.len(), tier), self.handshakes as usize);
        }
        assert!(self.crowds.values().all(|crowd| crowd.connections > 0));
        let mut by_sessions = 0;
        let mut by_handshakes = 0;
        for crowd in self.crowds.values() {
            by_sessions += usize::from(!crowd.sessions.is_empty());
            by_handshakes += usize::from(!crowd.handshakes.is_empty());
        }
        assert_eq!(
            [self.by_sessions.len(), self.by_handshakes.len()],
            [by_sessions, by_handshakes]
        );
        assert!(self.users.values().all(|tickets| !tickets.is_empty()));
    }
}

fn limits(sessions: u32, per_address: u32, handshakes: u32) -> Limits {
    Limits { sessions, sessions_per_address: per_address, handshakes, ..Limits::default() }
}

#[test]
fn each_limit_refuses_with_its_own_reason_and_gives_the_place_back() {
    let mut relay = Relay::new(limits(1, 2, 40));
    let a = relay.enter("10.0.0.1");
    let mut b = relay.enter("::ffff:10.0.0.1");
    assert_eq!(relay.refusal("10.0.0.1"), RefuseReason::Address);
    let mut c = relay.enter("10.0.0.2");
    assert_eq!(relay.join(&mut b, None), Ok(None));
    assert_eq!(relay.join(&mut c, None), Err(Full));
    assert_eq!(relay.population(), [1, 2, 0, 0]);
    b.close();
    assert_eq!(relay.join(&mut c, None), Ok(None));
    assert_eq!(relay.population(), [1, 1, 1, 0]);
    assert_eq!(relay.refusal("10.0.0.1"), RefuseReason::Address, "it still counts");
    drop(b);
    drop(relay.enter("10.0.0.1"));
    drop((a, c));
    assert_eq!(relay.admission.population(), Population::default());
}

#[test]
fn each_tier_has_its_limit_and_none_less_than_a_narrower_one() {
    // Limits of address, site and network; who is there; who comes; why not.
    type Case = ([u32; 3], &'static [&'static str], &'static str, RefuseReason);
    let cases: [Case; 6] = [
        ([1, 9, 9], &["2001:db8::1"], "2001:db8::ffff:2", RefuseReason::Address),
        ([9, 2, 9], &["2001:db8:0:1::1"; 9], "2001:db8:0:2::1", RefuseReason::Site),
        ([1, 2, 9], &["2001:db8:0:1::1", "2001:db8:0:2::1"], "2001:db8:0:3::1", RefuseReason::Site),
        (
            [1, 2, 3],
            &["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:101::1"],
            "2001:db8:0:102::1",
            RefuseReason::Network,
        ),
        ([1, 1, 2], &["10.0.0.1", "10.0.0.2"], "10.0.0.3", RefuseReason::Network),
        ([3, 1, 1], &["10.0.0.1"; 3], "10.0.0.2", RefuseReason::Network),
    ];
    for ([address, site, network], there, newcomer, reason) in cases {
        let mut relay = Relay::new(Limits {
            sessions_per_address: address,
            sessions_per_site: site,
            sessions_per_network: network,
            ..Limits::default()
        });
        let there: Vec<_> = there.iter().map(|ip| relay.enter(ip)).collect();
        assert_eq!(relay.refusal(newcomer), reason, "{newcomer}");
        relay.enter("192.0.2.1");
        drop(there);
        relay.enter(newcomer);
    }
}

#[test]
fn half_the_way_in_is_for_everybody_and_the_rest_is_shared() {
    let mut relay = Relay::new(Limits { handshakes: 160, ..limits(9, 1000, 0) });
    // A subscriber may have half of the way in, but no more, and nobody of its network.
    let first: Vec<_> = (0..80).map(|_| relay.enter("2001:db8::1")).collect();
    assert_eq!(relay.refusal("2001:db8::1"), RefuseReason::Handshakes);
    assert_eq!(relay.refusal("2001:db8:0:99::1"), RefuseReason::Handshakes);
    // Others have their shares: a sixteenth, an eighth, a quarter.
    let second: Vec<_> = (0..10).map(|_| relay.enter("2001:db8:1::1")).collect();
    assert_eq!(relay.refusal("2001:db8:1::1"), RefuseReason::Handshakes);
    let third: Vec<_> = (0..10).map(|_| relay.enter("2001:db8:1:1::1")).collect();
    assert_eq!(relay.refusal("2001:db8:1:2::1"), RefuseReason::Handshakes, "of the site");
    let fourth: Vec<_> =
        (0..20).map(|number| relay.enter(&format!("2001:db8:1:1{:02}::1", number % 4))).collect();
    assert_eq!(relay.refusal("2001:db8:1:299::1"), RefuseReason::Handshakes, "of the network");
    let others: Vec<_> = (0..40).map(|number| relay.enter(&format!("10.0.{number}.1"))).collect();
    assert_eq!(relay.population()[1], 160);
    // Full: the oldest of the heaviest makes way, for who has less.
    let Arrival::Enter(newcomer, displaced) = relay.arrive("10.9.9.9") else { panic!() };
    let oldest = Seated { session: first[0].session(), shard: 1 };
    assert_eq!(displaced, [Displaced { who: oldest, cause: Cause::Preempted }]);
    assert_eq!(relay.population(), [0, 160, 0, 1]);
    drop((first, second, third, fourth, others, newcomer));
    assert_eq!(relay.admission.population(), Population::default());
}

#[test]
fn nobody_makes_way_for_who_has_as_much() {
    let mut relay = Relay::new(limits(9, 1000, 4));
    let _there: Vec<_> = (0..4).map(|number| relay.enter(&format!("10.0.{number}.1"))).collect();
    assert_eq!(relay.refusal("10.9.9.9"), RefuseReason::Handshakes);
}

#[test]
fn who_may_use_foreign_addresses_must_prove_his_own() {
    let network_of_4 =
        Limits { sessions_per_site: 2, sessions_per_network: 4, ..limits(9, 2, 100) };
    // Connections that are there, and whether the next must prove its address.
    for (limits, there, proves) in [
        (limits(9, 9, 10), &["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.0.4.1"][..], false),
        (limits(9, 9, 6), &["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.0.4.1"], true),
        (limits(9, 4, 100), &["10.9.9.9"; 2], false),
        (limits(9, 4, 100), &["10.9.9.9"; 3], true),
        (network_of_4, &["10.9.9.1", "10.9.9.2", "10.9.9.3"], true),
    ] {
        let mut relay = Relay::new(limits);
        let _there: Vec<_> = there.iter().map(|ip| relay.enter(ip)).collect();
        let newcomer = Newcomer {
            session: SessionId(0),
            shard: 0,
            ip: [10, 9, 9, 9].into(),
            is_proven: false,
            may_wait: true,
        };
        let arrival = relay.admission.arrive(newcomer, relay.now);
        assert_eq!(matches!(arrival, Arrival::Prove), proves, "{there:?}: {arrival:?}");
    }
}

/// Sessions that all fall silent, as an office whose line is cut.
#[test]
fn silent_sessions_make_way_for_their_own_address_after_a_question() {
    let mut relay = Relay::new(limits(1000, 100, 1000));
    let mut there: Vec<_> = (0..100).map(|_| relay.session("10.0.0.1")).collect();
    relay.pass(SECOND / 2);
    // The first has all asked; nobody is asked twice.
    let Arrival::Defer(asked) = relay.arrive("10.0.0.1") else { panic!() };
    assert_eq!(asked.len(), 100);
    for _ in 0..3 {
        let Arrival::Defer(asked) = relay.arrive("10.0.0.1") else { panic!() };
        assert_eq!(asked, []);
    }
    // One answers.
    relay.pass(SECOND / 10);
    there[17].hear(relay.now);
    relay.pass(PATIENCE - SECOND / 10);
    relay.may_wait = false;
    let mut back = Vec::new();
    for _ in 0..99 {
        let Arrival::Enter(mut permit, displaced) = relay.arrive("10.0.0.1") else { panic!() };
        let [Displaced { who, cause: Cause::Replaced }] = displaced[..] else { panic!() };
        assert_ne!(who.session, there[17].session());
        relay.join(&mut permit, None).unwrap();
        back.push(permit);
    }
    assert_eq!(relay.population(), [100, 0, 0, 99]);
    // All are alive now: who has just come is not asked, and who has answered neither.
    assert_eq!(relay.refusal("10.0.0.1"), RefuseReason::Address);
    for permit in &mut there {
        permit.close();
    }
    assert_eq!(relay.population(), [99, 0, 100, 0]);
    relay.admission.books().check();
    drop(there.remove(17));
    drop(relay.enter("10.0.0.1"));
    drop((there, back));
    assert_eq!(relay.admission.population(), Population::default());
}

#[test]
fn who_comes_to_an_address_of_living_sessions_is_refused_soon() {
    let mut relay = Relay::new(limits(2000, 400, 4000));
    let there: Vec<_> = (0..400).map(|_| relay.session("10.0.0.1")).collect();
    relay.pass(SECOND);
    let mut asked = Vec::new();
    for _ in 0..5 {
        relay.may_wait = true;
        match relay.arrive("10.0.0.1") {
            Arrival::Defer(who) => asked.push(who.len()),
            Arrival::Refuse(RefuseReason::Address) => asked.push(0),
            other => panic!("{other:?}"),
        }
        relay.pass(SECOND / 20);
        there.iter().for_each(|permit| permit.hear(relay.now));
        relay.pass(PATIENCE);
        relay.may_wait = false;
        assert_eq!(relay.refusal("10.0.0.1"), RefuseReason::Address);
    }
    // All have been heard since the first question, which is good for ten seconds.
    assert_eq!(asked, [128, 0, 0, 0, 0]);
}

#[test]
fn a_full_relay_has_silent_sessions_of_the_same_user_or_address_replaced() {
    for (user, ip) in [("anna", "10.0.0.9"), ("ben", "10.0.0.1")] {
        let mut relay = Relay::new(limits(2, 9, 100));
        let mut ghost = relay.enter("10.0.0.1");
        relay.join(&mut ghost, Some("anna")).unwrap();
        let live = relay.session("10.0.0.2");
        relay.pass(SECOND);
        ghost.ask(relay.now, Duration::ZERO);
        live.ask(relay.now, Duration::ZERO);
        relay.pass(SECOND / 2);
        live.hear(relay.now);
        // Who comes from the same address waits for what the ghost says.
        let waits = matches!(relay.arrive(ip), Arrival::Defer(asked) if asked.is_empty());
        assert_eq!(waits, user == "ben");
        relay.may_wait = false;
        let mut newcomer = relay.enter(ip);
        assert_eq!(relay.join(&mut newcomer, Some(user)), Err(Full), "too early");
        relay.pass(SECOND / 4);
        let displaced = relay.join(&mut newcomer, Some(user)).unwrap().unwrap();
        assert_eq!(displaced.who.session, ghost.session());
        assert_eq!(displaced.cause, Cause::Replaced);
        let mut another = relay.enter("10.0.0.7");
        assert_eq!(relay.join(&mut another, Some("anna")), Err(Full), "nobody is silent");
    }
}

#[test]
fn a_full_relay_has_an_idle_session_of_the_heaviest_prefix_make_way_for_a_lighter_one() {
    let mut relay = Relay::new(limits(6, 100, 1000));
    let heavy: Vec<_> = (0..3).map(|_| relay.session("10.0.0.1")).collect();
    let others: Vec<_> = (2..5).map(|net| relay.session(&format!("10.0.{net}.1"))).collect();
    let hear = |permits: &[Permit], now| permits.iter().for_each(|permit| permit.hear(now));
    let mut newcomer = relay.enter("10.0.9.1");
    assert!(!relay.admission.takes_newcomers(relay.now), "nobody is idle yet");
    relay.pass(SECOND * 29);
    hear(&heavy, relay.now);
    hear(&others, relay.now);
    assert_eq!(relay.join(&mut newcomer, None), Err(Full), "nobody is idle yet");
    relay.pass(SECOND);
    // Who talks or hears somebody never goes, wherever it is.
    heavy[0].pass_media(relay.now);
    heavy[2].pass_media(relay.now);
    assert!(relay.admission.takes_newcomers(relay.now));
    let displaced = relay.join(&mut newcomer, None).unwrap().unwrap();
    assert_eq!(displaced.cause, Cause::Preempted);
    assert_eq!(displaced.who.session, heavy[1].session());
    // Two are left of the heaviest, who both talk.
    let mut next = relay.enter("10.0.8.1");
    assert_eq!(relay.join(&mut next, None), Err(Full));
    assert!(!relay.admission.takes_newcomers(relay.now));
    // Its own network is as heavy as the heaviest is: nobody has to go.
    relay.pass(SECOND * 60);
    relay.may_wait = false;
    let mut neighbour = relay.enter("10.0.0.1");
    assert_eq!(relay.join(&mut neighbour, None), Err(Full));
    // And with one less, who comes next has as many as anybody.
    assert!(relay.join(&mut next, None).unwrap().is_some());
    let mut last = relay.enter("10.0.7.1");
    assert_eq!(relay.join(&mut last, None), Err(Full), "all have one");
}

#[test]
fn limits_that_change_change_who_is_heaviest() {
    let network =
        |of| Limits { sessions_per_site: 1, sessions_per_network: of, ..limits(5, 2, 100) };
    let mut relay = Relay::new(network(10));
    let _address: Vec<_> = (0..2).map(|_| relay.session("10.0.1.1")).collect();
    let three: Vec<_> = (1..4).map(|host| relay.session(&format!("10.0.2.{host}"))).collect();
    relay.pass(SECOND * 60);
    let mut newcomer = relay.enter("10.0.3.1");
    // The subscriber has all it may have; then the network has.
    relay.admission.set_limits(&Limits { sessions_per_address: 20, ..network(20) });
    relay.admission.books().check();
    let displaced = relay.join(&mut newcomer, None).unwrap().unwrap();
    assert!(three.iter().any(|permit| permit.session() == displaced.who.session));
}
