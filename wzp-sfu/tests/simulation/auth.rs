//! Tokens: who may join, talk and listen, and for how long, decided elsewhere
//! and later.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn_proto::TimeSource;
use wzp_proto::close::CloseCode;
use wzp_proto::control::client_message::Message;
use wzp_proto::control::{Hello, notice};
use wzp_sfu::access::{AuthRequest, Expiry, Grant, Refusal};
use wzp_sfu::count::reason::{AuthFailReason, DropReason, EndReason, Reason};
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

/// How long shards wait for a decision.
const PATIENCE: Duration = Duration::from_secs(2);

/// Later than the wall clock can tell, and not later than the steady one can.
const BEYOND: Duration = Duration::from_secs(9_223_372_036_000_000_000);

/// When the token "at noon" ends.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_057_600)
}

/// Decides by what the token says.
fn decide(request: &AuthRequest, now: Instant) -> Option<(Duration, Result<Grant, Refusal>)> {
    let all = Grant::EVERYTHING;
    let (after, result) = match request.token.reveal() {
        "yes" => (0, Ok(all)),
        "slow" => (1_900, Ok(all)),
        "too slow" => (2_100, Ok(all)),
        "slow no" => (1_900, Err(Refusal { reason: AuthFailReason::Expired, text: String::new() })),
        "listen" => (5, Ok(Grant { publish: false, ..all })),
        "talk" => (5, Ok(Grant { listen: false, ..all })),
        "3 s" => {
            (5, Ok(Grant { expires: Some(Expiry::After(now + Duration::from_secs(3))), ..all }))
        }
        "beyond" => (5, Ok(Grant { expires: now.checked_add(BEYOND).map(Expiry::After), ..all })),
        "at noon" => (5, Ok(Grant { expires: Some(Expiry::At(noon())), ..all })),
        "never" => return None,
        "where" => {
            let text = request.ip.to_string();
            (0, Err(Refusal { reason: AuthFailReason::Expired, text }))
        }
        other if let Some(micros) = other.strip_prefix("us ") => {
            return Some((Duration::from_micros(micros.parse().unwrap()), Ok(all)));
        }
        other => {
            let text = format!("{} may not: {other:?}", request.name);
            (5, Err(Refusal { reason: AuthFailReason::Signature, text }))
        }
    };
    Some((Duration::from_millis(after), result))
}

/// Attempts that a shard has decided about.
fn undecided(world: &World) -> u64 {
    world.shared.decisions.failures(AuthFailReason::Unavailable)
}

fn world(shards: usize) -> World {
    seeded(23, shards)
}

fn seeded(seed: u64, shards: usize) -> World {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    let mut world = World::new(seed, shards, Limits::default(), conditions);
    world.shared.auth.set(Some(PATIENCE));
    world.authenticator = Some(decide);
    world
}

/// A client of room 0 that shows a token.
fn connect(world: &mut World, token: &str) -> usize {
    let number = world.clients.len();
    let hello = Hello { token: token.into(), ..hello(0, number) };
    world.connect(0, Opening::Hello(hello))
}

fn assert_empties(mut world: World) {
    for number in 0..world.clients.len() {
        world.with_client(number, |client, now| client.leave(now));
    }
    world.run_for(Duration::from_secs(30));
    world.assert_nothing_left();
}

/// One packet is all that a forged source takes; QUIC believes it and looks afterwards.
#[test]
fn nobody_is_judged_by_an_address_that_it_has_not_proven() {
    let mut world = world(1);
    let (home, elsewhere) = ([192, 0, 2, 7], [198, 51, 100, 7]);
    let client = world.connect_from(home, 0, Opening::Raw(bytes::Bytes::new()));
    world.run_for(Duration::from_millis(200));
    world.move_to(client, elsewhere.into());
    let question = Hello { token: "where".into(), ..hello(0, client) };
    world.with_client(client, |client, _| client.say(Message::Hello(question)));
    world.run_for(Duration::from_millis(100));
    assert!(world.clients[client].is_open());
    world.move_to(client, home.into());
    world.run_for(Duration::from_secs(3));
    assert!(world.clients[client].close_text().contains("192.0.2.7"));
    assert_empties(world);
}

#[test]
fn nobody_is_in_a_room_before_the_decision_and_the_rest_goes_on() {
    let mut world = world(2);
    let call = [connect(&mut world, "yes"), connect(&mut world, "yes")];
    world.run_for(Duration::from_millis(200));
    for number in call {
        world.start_talking(number, FRAME);
    }
    let slow = connect(&mut world, "slow");
    let refused = connect(&mut world, "");
    let never = connect(&mut world, "never");
    let too_slow = connect(&mut world, "too slow");

    world.run_for(Duration::from_millis(1_800));
    assert!(world.clients[slow].welcome.is_none(), "not decided yet");
    assert_eq!(world.clients[refused].close_code(), Some(CloseCode::BadToken));
    assert_eq!(world.clients[refused].close_text(), r#"client 3 may not: """#);
    assert!(world.clients[never].lost.is_none());
    assert_eq!(world.clients[call[0]].members.len(), 1, "others see only who has joined");

    world.run_for(Duration::from_millis(600));
    assert!(world.clients[slow].welcome.is_some());
    for late in [never, too_slow] {
        assert_eq!(world.clients[late].close_code(), Some(CloseCode::AuthUnavailable));
        assert!(world.clients[late].welcome.is_none());
    }
    assert_eq!(world.closed(EndReason::AuthUnavailable), 2);
    assert_eq!(world.closed(EndReason::BadToken), 1);
    // One comes late and one not at all; neither is told or counted twice.
    let mut told: Vec<_> = world.refused.iter().map(|(_, reason)| *reason).collect();
    told.sort_by_key(|reason| reason.name());
    use AuthFailReason::{Signature, Unavailable};
    assert_eq!(told, [Signature, Unavailable, Unavailable]);
    assert_eq!((world.decisions, undecided(&world)), (4, 2));
    let waited = world.shared.decisions.duration.reading();
    assert_eq!(waited.counts.last(), Some(&2));

    let sent = world.clients[call[0]].sent;
    world.run_for(Duration::from_millis(100));
    let heard = &world.clients[call[1]].heard[&call[0]].sequences;
    assert!((0..sent).all(|sequence| heard.contains(&sequence)), "the call lost frames");
    assert_empties(world);
}

#[test]
fn a_decision_at_the_last_moment_counts_once_on_one_side() {
    for seed in 0..4 {
        let mut world = seeded(seed, 2);
        // Shards look every 2 ms, and mail takes 50 us.
        let clients: Vec<_> =
            (0..200).map(|n| connect(&mut world, &format!("us {}", 1_999_500 + n * 20))).collect();
        world.run_for(Duration::from_secs(4));
        let welcome = |number: &usize| world.clients[*number].welcome.is_some();
        let (joined, refused): (Vec<_>, Vec<_>) = clients.into_iter().partition(welcome);
        assert!(!joined.is_empty() && !refused.is_empty(), "{}", joined.len());
        for number in &refused {
            assert_eq!(world.clients[*number].close_code(), Some(CloseCode::AuthUnavailable));
        }
        assert_eq!(world.decisions, joined.len() as u64);
        assert_eq!(undecided(&world), refused.len() as u64);
        let told: BTreeSet<_> = world.refused.iter().map(|(session, _)| *session).collect();
        assert_eq!((told.len(), world.refused.len()), (refused.len(), refused.len()));
        assert_empties(world);
    }
}

#[test]
fn who_leaves_before_a_refusal_is_told_of_all_the_same() {
    let mut world = world(1);
    let gone = [connect(&mut world, "slow no"), connect(&mut world, "never")];
    world.run_for(Duration::from_millis(500));
    for number in gone {
        world.with_client(number, |client, now| client.leave(now));
    }
    world.run_for(Duration::from_secs(30));
    let told: Vec<_> = world.refused.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(told, [AuthFailReason::Expired]);
    assert_eq!((world.decisions, undecided(&world)), (1, 0));
    world.assert_nothing_left();
}

#[test]
fn the_answer_for_someone_who_left_lets_nobody_in() {
    let mut world = world(1);
    let gone = connect(&mut world, "slow");
    world.run_for(Duration::from_millis(500));
    world.with_client(gone, |client, now| client.leave(now));
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.sum(|stats| stats.sessions_joined.get()), 0);
    world.assert_nothing_left();
}

#[test]
fn a_relay_that_drains_takes_nobody_in_who_waited() {
    let mut world = world(1);
    let waiting = connect(&mut world, "slow");
    world.run_for(Duration::from_millis(500));
    world.drain(Duration::from_secs(10));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.clients[waiting].close_code(), Some(CloseCode::Draining));
    assert_empties(world);
}

#[test]
fn who_may_only_listen_or_only_talk_is_held_to_it() {
    // On one shard and on two: the listener's frames cross shards or not.
    for shards in [1, 2] {
        let mut world = world(shards);
        let both = connect(&mut world, "yes");
        let listener = connect(&mut world, "listen");
        let talker = connect(&mut world, "talk");
        world.run_for(Duration::from_millis(200));
        for client in [both, listener, talker] {
            world.start_talking(client, FRAME);
        }
        world.run_for(Duration::from_secs(2));
        let hears = |client: usize| world.clients[client].heard.keys().copied().collect::<Vec<_>>();
        assert_eq!(hears(both), [talker]);
        assert_eq!(hears(listener), [both, talker]);
        assert!(hears(talker).is_empty());

        let grants = [both, listener, talker].map(|client| {
            let grant = world.clients[client].welcome.as_ref().unwrap().grant.unwrap();
            (grant.publish, grant.listen, grant.expires_ms)
        });
        assert_eq!(grants, [(true, true, 0), (false, true, 0), (true, false, 0)]);
        let notices = &world.clients[listener].notices;
        assert!(notices.iter().all(|notice| notice.code() == notice::Code::MayNotPublish));
        let told: u64 = notices.iter().map(|notice| notice.dropped).sum();
        assert!(told > 50, "{told}");
        assert!(world.dropped(DropReason::MayNotPublish) >= told);
        let forwarded = world.sum(|stats| stats.media_packets_forwarded.get());
        let received = world.clients.iter().flat_map(|client| client.heard.values());
        let received: usize = received.map(|heard| heard.sequences.len()).sum();
        assert!(forwarded.abs_diff(received as u64) < 10, "{forwarded} counted, {received} heard");

        // Whoever hears nobody cannot make up how well.
        world.with_client(talker, |client, _| client.report(100, 50));
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.clients[both].feedback.len(), 0);
        assert_empties(world);
    }
}

#[test]
fn a_token_that_expires_ends_the_session_at_that_time() {
    let mut world = world(1);
    let stays = connect(&mut world, "yes");
    let began = world.now;
    let expires = connect(&mut world, "3 s");
    world.run_for(Duration::from_millis(200));
    world.start_talking(expires, FRAME);
    let welcome = world.clients[expires].welcome.clone().unwrap();
    let told = welcome.grant.unwrap().expires_ms - welcome.server_time_ms;
    assert!((2_900..=3_000).contains(&told), "{told}");

    world.run_for(Duration::from_millis(2_700));
    assert!(world.clients[expires].lost.is_none(), "too early");
    assert!(world.run_until(Duration::from_secs(1), |world| world.clients[expires].lost.is_some()));
    assert_eq!(world.clients[expires].close_code(), Some(CloseCode::TokenExpired));
    assert!(world.now - began < Duration::from_millis(3_100), "{:?}", world.now - began);
    assert_eq!(world.closed(EndReason::TokenExpired), 1);
    assert!(world.clients[stays].lost.is_none() && world.clients[stays].members.is_empty());
    assert_empties(world);
}

#[test]
fn a_time_that_no_clock_can_tell_is_no_end_and_harms_nobody() {
    let mut world = world(1);
    let call = [connect(&mut world, "yes"), connect(&mut world, "yes")];
    world.run_for(Duration::from_secs(5));
    for number in call {
        world.start_talking(number, FRAME);
    }
    let beyond = connect(&mut world, "beyond");
    world.run_for(Duration::from_secs(1));
    let welcome = world.clients[beyond].welcome.clone().unwrap();
    assert_eq!(welcome.grant.unwrap().expires_ms, 0);

    let second = Duration::from_secs(1);
    let off = (UNIX_EPOCH + Duration::from_millis(welcome.server_time_ms))
        .duration_since(world.wall.now() - second)
        .unwrap();
    assert!(off < second, "the relay's clock is told {off:?} ahead");

    let sent = world.clients[call[0]].sent;
    world.run_for(Duration::from_millis(100));
    let heard = &world.clients[call[1]].heard[&call[0]].sequences;
    assert!((0..sent).all(|sequence| heard.contains(&sequence)), "the call lost frames");
    assert!(world.clients[beyond].lost.is_none());
    assert_empties(world);
}

/// The clock is wrong at the start, and set while people join, talk and stay.
#[test]
fn what_is_told_of_time_follows_the_clock_when_it_is_set() {
    let mut world = world(1);
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let call = [connect(&mut world, "yes"), connect(&mut world, "yes")];
    world.run_for(Duration::from_secs(1));
    call.iter().for_each(|number| world.start_talking(*number, FRAME));
    for clock in [noon() - minutes(60), noon() - minutes(200), noon() - minutes(1)] {
        world.wall.set(clock);
        let number = connect(&mut world, "at noon");
        world.run_for(Duration::from_millis(100));
        let welcome = world.clients[number].welcome.clone().unwrap();
        let since_1970 = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let joined = since_1970(clock)..=since_1970(clock) + 100;
        assert!(joined.contains(&welcome.server_time_ms), "{welcome:?}");
        assert_eq!(welcome.grant.unwrap().expires_ms, since_1970(noon()));
        let reading = world.shared.sessions.list().pop().unwrap();
        assert!(joined.contains(&since_1970(reading.participant.joined_at)), "{reading:?}");
        let reads_on = world.now.duration_since(reading.participant.joined);
        assert!(reads_on <= Duration::from_millis(100), "{reads_on:?}");
    }
    // By the clock of the last join, noon is over before the first of these is.
    let here = |world: &World| (2..5).filter(|n| world.clients[*n].lost.is_none()).count();
    for (clock, runs_for, left) in [
        (noon() - minutes(200), minutes(2), 3),
        (noon() - minutes(2), minutes(1), 3),
        (noon() + minutes(1), Duration::from_secs(11), 0),
    ] {
        world.wall.set(clock);
        world.run_for(runs_for);
        assert_eq!(here(&world), left, "{runs_for:?} after it was {clock:?}");
    }
    for number in 2..5 {
        assert_eq!(world.clients[number].close_code(), Some(CloseCode::TokenExpired));
    }
    assert!(call.iter().all(|number| world.clients[*number].lost.is_none()));
    assert_empties(world);
}

#[test]
fn a_grant_for_a_time_lasts_as_long_whatever_the_clock_says() {
    let mut world = world(1);
    let number = connect(&mut world, "3 s");
    world.run_for(Duration::from_millis(500));
    world.wall.set(UNIX_EPOCH);
    world.run_for(Duration::from_secs(1));
    world.wall.set(noon());
    world.run_for(Duration::from_secs(1));
    assert!(world.clients[number].lost.is_none(), "too early");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[number].close_code(), Some(CloseCode::TokenExpired));
    assert_empties(world);
}
