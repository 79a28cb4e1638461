//! Minutes of calls over bad paths, in simulated time: what each kind of path
//! costs in concealment and delay. `--nocapture` prints the table.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wzp_media::jitter::{JitterBuffer, JitterStats, Playout};
use wzp_proto::media::{AudioLevel, MediaHeader, Profile};

const TRANSIT_US: f64 = 40_000.0;

/// A path, a sender and how long they talk.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    minutes: f64,
    /// Share of datagrams lost, independently.
    loss: f64,
    /// Delay beyond the fastest, uniform from 0 to this, µs. More than 20 ms
    /// reorders.
    jitter_us: f64,
    /// Share of datagrams delivered twice, the second up to 50 ms later.
    duplicates: f64,
    /// How much slower the sender's clock is, in ppm.
    drift_ppm: f64,
    /// Talk spurts of 1 to 4 s, with pauses of 0.3 to 3 s in which one frame
    /// comes every 400 ms, instead of continuous voice.
    dtx: bool,
    /// Continuous voice pauses 0.5 s of every 3 s in quiet frames.
    quiet: bool,
    /// The sender changes its profile every so many seconds.
    switch_s: Option<u64>,
    profile: Profile,
}

const STEADY: Case = Case {
    name: "",
    minutes: 2.0,
    loss: 0.0,
    jitter_us: 0.0,
    duplicates: 0.0,
    drift_ppm: 0.0,
    dtx: false,
    quiet: true,
    switch_s: None,
    profile: Profile::Good,
};

/// What was heard.
struct Outcome {
    stats: JitterStats,
    /// Pulls within the call.
    ticks: u64,
    /// Ticks of sound that were sent.
    sent_ticks: u64,
    /// Ticks of sound played from frames or FEC.
    sound_ticks: u64,
    /// Playout delay from the end of a frame's recording, less the transit, ms:
    /// mean, and the largest over 10 ticks' minimum.
    mean_delay_ms: f64,
    max_delay_ms: f64,
    /// Mean delay in the last tenth of the call less that in the second tenth.
    growth_ms: f64,
}

struct Sender {
    sequence: u32,
    timestamp: u32,
    tick: u64,
}

/// A SILK packet that carries FEC, and the tick it begins with.
fn packet(profile: Profile, tick: u64) -> Vec<u8> {
    let (config, fec) = match profile {
        Profile::Good => (9, 0x40),
        Profile::Degraded => (10, 0x20),
        Profile::Catastrophic => (11, 0x10),
    };
    let mut packet = vec![config << 3, fec];
    packet.extend_from_slice(&tick.to_be_bytes());
    packet
}

fn simulate(case: &Case, seed: u64) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sender_tick_us = 20_000.0 * (1.0 + case.drift_ppm / 1e6);
    let call_us = case.minutes * 60e6;
    let mut path: BTreeMap<(u64, u64), (MediaHeader, Vec<u8>)> = BTreeMap::new();
    let mut serial = 0;
    // Sequence and timestamp wrap during the call.
    let mut sender = Sender { sequence: u32::MAX - 500, timestamp: u32::MAX - 400_000, tick: 0 };
    let mut sent_ticks = 0;
    let mut spurt_until = 0;
    let mut pause_until = 0;
    while (sender.tick as f64) * sender_tick_us < call_us {
        let profile = match case.switch_s {
            Some(seconds) => Profile::ALL[(sender.tick / (50 * seconds) % 3) as usize],
            None => case.profile,
        };
        let ticks = u64::from(profile.frame_ms() / 20);
        let mut voice = !case.quiet || sender.tick % 150 < 125;
        let mut sent = true;
        if case.dtx {
            if sender.tick >= pause_until {
                spurt_until = sender.tick + rng.random_range(50..200);
                pause_until = spurt_until + rng.random_range(15..150);
            }
            let paused = sender.tick.saturating_sub(spurt_until);
            // 200 ms of quiet frames, then one in 20 ticks.
            voice = sender.tick < spurt_until;
            sent = voice || paused < 10 || paused % 20 < ticks;
        }
        if sent {
            let header = MediaHeader {
                profile,
                level: AudioLevel::new(if voice { 25 } else { 70 }, voice),
                sender_id: 1,
                sequence: sender.sequence,
                timestamp: sender.timestamp,
            };
            sender.sequence = sender.sequence.wrapping_add(1);
            sent_ticks += ticks;
            let sent_us = (sender.tick + ticks) as f64 * sender_tick_us + TRANSIT_US;
            // Drawn in any case: then cases differ only where they mean to.
            let (lost, duplicated) = (rng.random_bool(case.loss), rng.random_bool(case.duplicates));
            let delay_us = rng.random_range(0.0..=1.0) * case.jitter_us;
            let again_us = rng.random_range(0.0..50_000.0);
            let packet = packet(profile, sender.tick);
            for (arrives, at_us) in
                [(!lost, sent_us + delay_us), (!lost && duplicated, sent_us + delay_us + again_us)]
            {
                if arrives {
                    path.insert((at_us as u64, serial), (header, packet.clone()));
                    serial += 1;
                }
            }
        }
        sender.timestamp = sender.timestamp.wrapping_add(profile.frame_ticks());
        sender.tick += ticks;
    }

    let mut buffer = JitterBuffer::new();
    let (mut sound_ticks, mut pulls) = (0, 0u64);
    let mut delays = Vec::new();
    let first_pull_us = 13_000;
    for now_us in (first_pull_us..call_us as u64).step_by(20_000) {
        while let Some(entry) = path.first_entry().filter(|entry| entry.key().0 <= now_us) {
            let ((at_us, _), (header, payload)) = entry.remove_entry();
            buffer.insert(Duration::from_micros(at_us), &header, &payload);
        }
        pulls += 1;
        // A merged tick is two pulls.
        for _ in 0..2 {
            let playout = buffer.pull(Duration::from_micros(now_us));
            let merge = matches!(playout, Playout::Frame { merge: true, .. });
            match playout {
                Playout::Frame { payload, ticks, .. } => {
                    let tick =
                        payload[2..].iter().fold(0, |tick, byte| tick << 8 | u64::from(*byte));
                    let ready_us = (tick + ticks as u64) as f64 * sender_tick_us + TRANSIT_US;
                    if !merge {
                        delays.push((now_us as f64 - ready_us) / 1000.0);
                    }
                    sound_ticks += 1;
                }
                Playout::Recover { .. } | Playout::Continue => sound_ticks += 1,
                _ => {}
            }
            if !merge {
                break;
            }
        }
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let tenth = delays.len() / 10;
    let steady_max = delays
        .windows(10)
        .map(|window| window.iter().copied().fold(f64::INFINITY, f64::min))
        .fold(0.0, f64::max);
    Outcome {
        stats: buffer.stats(Duration::from_micros(call_us as u64)),
        ticks: pulls,
        sent_ticks,
        sound_ticks,
        mean_delay_ms: mean(&delays),
        max_delay_ms: steady_max,
        growth_ms: mean(&delays[9 * tenth..]) - mean(&delays[tenth..2 * tenth]),
    }
}

impl Outcome {
    /// Share of the call's ticks that were concealed.
    fn concealed(&self) -> f64 {
        self.stats.ticks_concealed as f64 / self.ticks as f64
    }

    fn print(&self, name: &str) {
        let stats = &self.stats;
        println!(
            "{name:34} lost {:5.2} %  concealed {:5.2} %  fec {:5}  late {:4}  under {:4}  \
             over {:2}  + {:3}  - {:3}  delay {:5.1} / {:5.1} ms  target {:3} ms  growth {:5.1} ms",
            100.0 * stats.frames_lost as f64 / stats.frames_expected as f64,
            100.0 * self.concealed(),
            stats.frames_recovered,
            stats.frames_late,
            stats.underruns,
            stats.overruns,
            stats.ticks_inserted,
            stats.ticks_merged,
            self.mean_delay_ms,
            self.max_delay_ms,
            stats.target_ms,
            self.growth_ms,
        );
    }
}

#[test]
fn a_perfect_path_is_passed_through_untouched() {
    let cases = [
        Case { name: "GOOD", ..STEADY },
        Case { name: "GOOD, no pauses", quiet: false, ..STEADY },
        Case { name: "DEGRADED", profile: Profile::Degraded, ..STEADY },
        Case { name: "CATASTROPHIC", profile: Profile::Catastrophic, ..STEADY },
        Case { name: "DTX", dtx: true, ..STEADY },
        Case { name: "jitter 5 ms", jitter_us: 5_000.0, ..STEADY },
        Case { name: "duplicates", duplicates: 0.5, ..STEADY },
    ];
    for case in cases {
        for seed in 0..5 {
            let outcome = simulate(&case, seed);
            outcome.print(case.name);
            let stats = outcome.stats;
            let touched = [
                stats.frames_lost,
                stats.frames_late,
                stats.frames_recovered,
                stats.ticks_concealed,
                stats.ticks_inserted,
                stats.ticks_merged,
                stats.underruns,
                stats.overruns,
                stats.restarts,
            ];
            assert_eq!(touched, [0; 9], "{}: {stats:?}", case.name);
            // All but what is still on the way at the end.
            let missing = outcome.sent_ticks - outcome.sound_ticks;
            assert!(missing <= 9, "{}: {missing} ticks were not heard", case.name);
            // The wait for FEC, the margin and the way to the next tick.
            let bound = f64::from(case.profile.frame_ms()) + 30.0 + case.jitter_us / 1000.0;
            assert!(outcome.max_delay_ms <= bound, "{}", case.name);
        }
    }
}

/// With independent loss `p`, a frame is lost for good when the next one is
/// lost too: the share `p * p` of them.
#[test]
fn loss_is_concealed_only_where_fec_cannot_help() {
    for loss in [0.01, 0.05, 0.1, 0.2, 0.3] {
        for (profile, jitter_us) in [
            (Profile::Good, 0.0),
            (Profile::Good, 40_000.0),
            (Profile::Degraded, 0.0),
            (Profile::Catastrophic, 20_000.0),
        ] {
            let case = Case { minutes: 5.0, loss, jitter_us, profile, quiet: false, ..STEADY };
            let outcome = simulate(&case, 1);
            let name = format!("{} loss {loss} jitter {jitter_us}", profile.name());
            outcome.print(&name);
            let left = loss * loss;
            // Three standard deviations, and what adapting costs.
            let frames = outcome.stats.frames_expected as f64;
            let chance = 3.0 * (2.0 * left / frames).sqrt();
            let concealed = outcome.concealed();
            assert!(concealed <= left + chance + 0.004, "{name}: {concealed} against {left}");
            assert!(concealed >= left - chance, "{name}: {concealed} against {left}");
            let bound = f64::from(profile.frame_ms()) * 2.0 + jitter_us / 1000.0 + 70.0;
            assert!(outcome.max_delay_ms <= bound, "{name}: {} ms", outcome.max_delay_ms);
        }
    }
}

#[test]
fn jitter_and_reordering_cost_delay_and_not_sound() {
    for jitter_ms in [10.0, 20.0, 40.0, 80.0] {
        for duplicates in [0.0, 0.1] {
            for dtx in [false, true] {
                let jitter_us = jitter_ms * 1000.0;
                let case = Case { minutes: 5.0, jitter_us, duplicates, dtx, ..STEADY };
                let outcome = simulate(&case, 2);
                let name = format!("jitter {jitter_ms} ms, duplicates {duplicates}, DTX {dtx}");
                outcome.print(&name);
                let stats = outcome.stats;
                assert!(outcome.concealed() < 0.005, "{name}: {}", outcome.concealed());
                assert!((stats.frames_late as f64) < 0.01 * stats.frames_expected as f64, "{name}");
                assert!(stats.underruns < 20, "{name}: {} underruns", stats.underruns);
                assert_eq!(stats.overruns, 0, "{name}");
                assert_eq!(stats.frames_duplicate > 0, duplicates > 0.0, "{name}");
                assert!(outcome.mean_delay_ms <= jitter_ms + 70.0, "{name}");
                // RFC 3550: the mean difference of two uniform delays is 1/3.
                let expected = jitter_us / 3.0;
                let jitter = f64::from(stats.jitter_us);
                assert!((jitter - expected).abs() < 0.5 * expected, "{name}: {jitter} µs");
            }
        }
    }
}

#[test]
fn clocks_may_drift_without_the_delay_following() {
    for drift_ppm in [-200.0, 200.0] {
        for (kind, dtx, quiet) in
            [("pauses", false, true), ("DTX", true, true), ("no pauses", false, false)]
        {
            for jitter_us in [0.0, 30_000.0] {
                let case = Case { minutes: 15.0, drift_ppm, dtx, quiet, jitter_us, ..STEADY };
                let outcome = simulate(&case, 3);
                let name = format!("drift {drift_ppm} ppm, {kind}, jitter {jitter_us}");
                outcome.print(&name);
                let stats = outcome.stats;
                // 200 ppm of 15 minutes are 180 ms, 9 ticks.
                assert!(outcome.growth_ms.abs() < 30.0, "{name}: {} ms", outcome.growth_ms);
                let bound = 90.0 + jitter_us / 1000.0;
                assert!(outcome.max_delay_ms < bound, "{name}: {} ms", outcome.max_delay_ms);
                assert!(stats.ticks_inserted + stats.ticks_merged <= 14, "{name}: {stats:?}");
                assert!(stats.underruns <= 6, "{name}: {} underruns", stats.underruns);
                assert_eq!((stats.overruns, stats.restarts), (0, 0), "{name}");
            }
        }
    }
}

#[test]
fn profiles_may_change_during_everything_else() {
    for (loss, jitter_us) in [(0.0, 0.0), (0.05, 0.0), (0.0, 30_000.0), (0.1, 40_000.0)] {
        for dtx in [false, true] {
            let case = Case { minutes: 5.0, loss, jitter_us, dtx, switch_s: Some(5), ..STEADY };
            let outcome = simulate(&case, 4);
            let name = format!("switching, loss {loss}, jitter {jitter_us}, DTX {dtx}");
            outcome.print(&name);
            let stats = outcome.stats;
            // 60 switches; each to longer frames waits for the first of them.
            let allowed = 3.0 * loss * loss + loss * 0.02 + 0.02;
            assert!(outcome.concealed() < allowed, "{name}: {}", outcome.concealed());
            assert_eq!((stats.overruns, stats.restarts), (0, 0), "{name}");
            let sound = outcome.sound_ticks as f64 / outcome.sent_ticks as f64;
            assert!(sound > 1.0 - 3.0 * loss * loss - 0.01, "{name}: {sound} of the sound heard");
            assert!(outcome.max_delay_ms < 160.0 + jitter_us / 1000.0, "{name}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let case = Case { loss: 0.1, jitter_us: 30_000.0, dtx: true, ..STEADY };
    let (first, second, other) = (simulate(&case, 5), simulate(&case, 5), simulate(&case, 6));
    assert_eq!(first.stats, second.stats);
    assert_ne!(first.stats, other.stats);
}
