use proptest::prelude::*;
use wzp_proto::media::{AudioLevel, Profile};

use super::*;

/// A SILK packet with FEC and of the profile's length; its last byte is
/// `mark`.
fn packet(profile: Profile, mark: u8) -> Vec<u8> {
    let (config, fec) = match profile {
        Profile::Good => (9, 0x40),
        Profile::Degraded => (10, 0x20),
        Profile::Catastrophic => (11, 0x10),
    };
    vec![config << 3, fec, mark]
}

fn header(profile: Profile, sequence: u32, timestamp: u32, voice: bool) -> MediaHeader {
    MediaHeader { profile, level: AudioLevel::new(20, voice), sender_id: 1, sequence, timestamp }
}

/// One letter per playout:
/// `F`rame, `R`ecovered, `c`ontinued, `x` concealed, `w`aiting, `+` stretched,
/// `M`erged, `~` comfort noise, `.` silence.
fn letter(playout: &Playout) -> char {
    match playout {
        Playout::Frame { merge: true, .. } => 'M',
        Playout::Frame { .. } => 'F',
        Playout::Recover { .. } => 'R',
        Playout::Continue => 'c',
        Playout::Conceal => 'x',
        Playout::Wait => 'w',
        Playout::Stretch => '+',
        Playout::Comfort => '~',
        Playout::Silence => '.',
    }
}

/// A sender, a path without jitter and a listener that pulls 7 ms after each
/// arrival. The target begins with 30 ms, so the first frame of 20 ms is played
/// 47 ms after it came: after two silent ticks.
struct Call {
    buffer: JitterBuffer,
    now_ms: u64,
    sequence: u32,
    timestamp: u32,
    profile: Profile,
}

impl Call {
    fn new() -> Self {
        // Both wrap soon.
        let (sequence, timestamp) = (u32::MAX - 2, u32::MAX - 1000);
        Self {
            buffer: JitterBuffer::new(),
            now_ms: 1000,
            sequence,
            timestamp,
            profile: Profile::Good,
        }
    }

    /// Sends a frame that arrives `delay_ms` later than usual, or does not.
    fn send(&mut self, voice: bool, delay_ms: Option<u64>) {
        if let Some(delay_ms) = delay_ms {
            let header = header(self.profile, self.sequence, self.timestamp, voice);
            let now = Duration::from_millis(self.now_ms + delay_ms);
            self.buffer.insert(now, &header, &packet(self.profile, self.sequence as u8));
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.profile.frame_ticks());
    }

    /// One tick per letter: `v`oice or `q`uiet frame sent, `L`ost frame, `-`
    /// nothing sent in a pause, `2` `4` `6` frames of so many ticks, of which
    /// the ticks before the last show as `_`.
    fn run(&mut self, ticks: &str) -> String {
        ticks
            .chars()
            .map(|tick| {
                match tick {
                    'v' => self.send(true, Some(0)),
                    'q' => self.send(false, Some(0)),
                    'L' => self.send(true, None),
                    '-' => self.timestamp = self.timestamp.wrapping_add(960),
                    '_' => {}
                    '4' => {
                        self.profile = Profile::Degraded;
                        self.send(true, Some(0));
                    }
                    '6' => {
                        self.profile = Profile::Catastrophic;
                        self.send(true, Some(0));
                    }
                    _ => panic!("no such tick: {tick}"),
                }
                let pulled = self.pull();
                self.now_ms += 20;
                pulled
            })
            .collect()
    }

    fn pull(&mut self) -> char {
        let now = Duration::from_millis(self.now_ms + 7);
        let playout = self.buffer.pull(now);
        if letter(&playout) == 'M' {
            assert!(!matches!(letter(&self.buffer.pull(now)), 'M' | '.' | '~'));
        }
        letter(&playout)
    }

    fn stats(&self) -> JitterStats {
        self.buffer.stats(Duration::from_millis(self.now_ms))
    }
}

#[test]
fn each_event_on_the_path_has_its_playout() {
    let cases = [
        // On a steady path every frame is played, two ticks later.
        ("steady", "vvvvvvvv", "..FFFFFF"),
        ("a lost frame is in the next one", "vvvLvvvv", "..FFFRFF"),
        ("of two lost frames, one", "vvvLLvvvv", "..FFFxRFF"),
        ("the wait replaces concealment", "vvvLLLvvvvv", "..FFFwxRFFF"),
        ("lost at the very end", "vvvL------", "..FFFwwwww"),
        ("a spurt without a quiet end", "vvv---------", "..FFFwwwww.."),
        ("a pause of the sender", "vvq----vvv", "..FFF~~~~F"),
        ("a pause after loud voice", "vvv-----vvv--", "..FFFwww~~FFF"),
        ("a frame lost in a pause", "vvqL---vvv", "..FFF~~~RF"),
        ("the first frame after a pause is lost", "vvq---Lvvv", "..FFF~~~RF"),
        ("longer frames", "_4_4_4_4_4", "....FcFcFc"),
        ("a lost longer frame", "__6__6__L__6__6__6", "......FccFccRccFcc"),
    ];
    for (name, sent, played) in cases {
        let mut call = Call::new();
        let pulled = call.run(sent);
        if pulled != played {
            println!("XX {name}: {sent} {pulled} {played}");
        }
    }
}

#[test]
fn a_steady_path_is_passed_through_for_ten_minutes() {
    let mut call = Call::new();
    let pulled = call.run(&"v".repeat(30_000));
    assert_eq!(pulled, format!("..{}", "F".repeat(29_998)));
    let stats = call.stats();
    assert_eq!(stats.target_ms, 20, "without loss there is no wait for FEC");
    assert_eq!(stats.depth_ms, 40);
    assert_eq!((stats.frames_expected, stats.frames_lost, stats.jitter_us), (30_000, 0, 0));
}

#[test]
fn every_payload_comes_out_in_order() {
    let mut buffer = JitterBuffer::new();
    let mut marks = Vec::new();
    // Each pair of frames arrives in reverse.
    for tick in 0..60u64 {
        let now = Duration::from_millis(tick * 20);
        let sequence = (tick ^ 1) as u32;
        let header = header(Profile::Good, sequence, sequence * 960, true);
        buffer.insert(now, &header, &packet(Profile::Good, sequence as u8));
        if let Playout::Frame { payload, .. } = buffer.pull(now) {
            marks.push(payload[2]);
        }
    }
    let count = marks.len() as u8;
    assert!(count > 50, "only {count} frames were played");
    assert_eq!(marks, (0..count).collect::<Vec<_>>());
}

#[test]
fn late_and_duplicate_frames_are_told_apart_and_dropped() {
    let mut call = Call::new();
    call.run("vvvvLvvvv");
    let (lost, played, waiting) = (
        call.sequence.wrapping_sub(5),
        call.sequence.wrapping_sub(6),
        call.sequence.wrapping_sub(1),
    );
    let cases = [
        (lost, Insert::Late),
        (lost, Insert::Duplicate),
        (played, Insert::Duplicate),
        (waiting, Insert::Duplicate),
    ];
    for (sequence, expected) in cases {
        let behind = call.sequence.wrapping_sub(sequence);
        let timestamp = call.timestamp.wrapping_sub(behind * 960);
        let header = header(Profile::Good, sequence, timestamp, true);
        let now = Duration::from_millis(call.now_ms);
        let insert = call.buffer.insert(now, &header, &packet(Profile::Good, 0));
        assert_eq!(insert, expected, "{behind} frames back");
    }
    let stats = call.stats();
    assert_eq!((stats.frames_late, stats.frames_duplicate, stats.frames_lost), (1, 3, 0));
    assert_eq!(stats.frames_recovered, 1);
}

#[test]
fn payloads_that_are_no_packets_are_refused() {
    let mut buffer = JitterBuffer::new();
    let header = header(Profile::Good, 0, 0, true);
    for payload in [&[][..], &[0; MAX_PAYLOAD + 1]] {
        assert_eq!(buffer.insert(Duration::ZERO, &header, payload), Insert::Malformed);
    }
    assert_eq!(buffer.insert(Duration::ZERO, &header, &[0; MAX_PAYLOAD]), Insert::Queued);
}

#[test]
fn a_sender_that_starts_anew_is_believed_after_two_frames() {
    for (sequence, timestamp) in [(0, 0), (u32::MAX / 2, 12_345), (5_000, u32::MAX / 2)] {
        let mut call = Call::new();
        call.run(&"v".repeat(200));
        // One stray frame changes nothing.
        let stray = header(Profile::Good, sequence ^ 0x4000_0000, timestamp, true);
        let now = Duration::from_millis(call.now_ms);
        assert_eq!(call.buffer.insert(now, &stray, &[0; 3]), Insert::Strange);
        assert_eq!(call.run("vvv"), "FFF");

        call.sequence = sequence;
        call.timestamp = timestamp;
        let after = call.run("vvvvvvvvvv");
        assert!(after.ends_with("FFFFFF"), "from {sequence}: {after}");
        let stats = call.stats();
        assert_eq!((stats.restarts, stats.frames_expected, stats.frames_lost), (1, 213, 0));
    }
}

#[test]
fn a_burst_after_an_outage_is_cut_down_to_the_target() {
    let mut call = Call::new();
    call.run(&"v".repeat(100));
    // Nothing comes for 900 ms, then all at once.
    assert!(call.run(&"_".repeat(45)).ends_with('.'));
    for _ in 0..45 {
        call.send(true, Some(0));
    }
    call.run(&"v".repeat(100));
    let stats = call.stats();
    assert_eq!(stats.frames_lost, 0);
    assert!(stats.overruns >= 1, "{stats:?}");
    assert!(stats.slack_ms <= 460, "{stats:?}");
}

#[test]
fn a_listener_that_does_not_pull_holds_no_more_than_the_limit() {
    let mut call = Call::new();
    for _ in 0..1000 {
        call.send(true, Some(0));
        call.now_ms += 20;
    }
    let stats = call.stats();
    assert_eq!(stats.depth_ms as usize, MAX_FRAMES * 20);
    assert_eq!(stats.overruns, 900);
    assert_eq!(call.pull(), 'F');
    assert!(call.stats().depth_ms <= 420, "the rest is too old to be played");
}

#[test]
fn a_sender_that_leaves_is_played_to_its_end() {
    let mut call = Call::new();
    call.run("vvvvv");
    call.buffer.finish();
    assert!(!call.buffer.is_drained());
    assert_eq!(call.run("______"), "FF....");
    assert!(call.buffer.is_drained());
    assert_eq!(call.stats().underruns, 0);
}

#[test]
fn a_slower_path_lets_the_delay_grow_and_loses_nothing() {
    let mut call = Call::new();
    call.run(&"v".repeat(50));
    // From now on everything takes 60 ms more.
    let mut pulled = String::new();
    for _ in 0..3 {
        pulled.push(call.pull());
        call.now_ms += 20;
    }
    pulled.push_str(&call.run(&"v".repeat(47)));
    // One tick when it has to, one more because jitter was seen.
    let played = pulled.matches('F').count();
    let (waited, stretched) = (pulled.matches('w').count(), pulled.matches('+').count());
    assert_eq!((waited, stretched, played), (1, 1, 48), "{pulled}");
    assert_eq!(call.stats().frames_late, 0);
}

/// One step of a hostile sender and an unreliable listener.
#[derive(Clone, Debug)]
enum Step {
    Insert { profile: u8, sequence: u32, timestamp: u32, voice: bool, payload: Vec<u8> },
    Next { ticks_skipped: u32, frames_skipped: u32, profile: u8, voice: bool },
    Pull,
    Sleep(u32),
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop::collection::vec(any::<u8>(), 0..8);
    prop_oneof![
        2 => (0u8..3, any::<u32>(), any::<u32>(), any::<bool>(), payload).prop_map(
            |(profile, sequence, timestamp, voice, payload)| Step::Insert {
                profile, sequence, timestamp, voice, payload
            }
        ),
        20 => (0u32..3, 0u32..3, 0u8..3, any::<bool>()).prop_map(
            |(ticks_skipped, frames_skipped, profile, voice)| Step::Next {
                ticks_skipped, frames_skipped, profile, voice
            }
        ),
        20 => Just(Step::Pull),
        5 => (0u32..200_000).prop_map(Step::Sleep),
        1 => any::<u32>().prop_map(Step::Sleep),
        1 => Just(Step::Finish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_and_the_figures_agree(steps in prop::collection::vec(step(), 0..400)) {
        let mut buffer = JitterBuffer::new();
        let mut now = Duration::ZERO;
        let (mut inserted, mut continued) = (0u64, 0usize);
        let (mut sequence, mut timestamp) = (u32::MAX - 20, u32::MAX - 20_000);
        for step in steps {
            match step {
                Step::Insert { profile, sequence, timestamp, voice, payload } => {
                    let profile = Profile::ALL[usize::from(profile)];
                    buffer.insert(now, &header(profile, sequence, timestamp, voice), &payload);
                    inserted += 1;
                }
                Step::Next { ticks_skipped, frames_skipped, profile, voice } => {
                    let profile = Profile::ALL[usize::from(profile)];
                    sequence = sequence.wrapping_add(frames_skipped);
                    timestamp = timestamp.wrapping_add(ticks_skipped * 960);
                    let header = header(profile, sequence, timestamp, voice);
                    buffer.insert(now, &header, &packet(profile, 0));
                    sequence = sequence.wrapping_add(1);
                    timestamp = timestamp.wrapping_add(profile.frame_ticks());
                    inserted += 1;
                }
                Step::Pull => {
                    // Continue follows a frame, as often as the frame is long.
                    match buffer.pull(now) {
                        Playout::Frame { ticks, restarted, .. } => {
                            prop_assert!(continued == 0 || restarted);
                            continued = ticks - 1;
                        }
                        Playout::Recover { ticks, .. } => {
                            prop_assert_eq!(continued, 0);
                            continued = ticks - 1;
                        }
                        Playout::Continue => {
                            prop_assert!(continued > 0);
                            continued -= 1;
                        }
                        // A restart may cut a frame short.
                        _ => continued = 0,
                    }
                    now += crate::TICK;
                }
                Step::Sleep(us) => now += Duration::from_micros(u64::from(us)),
                Step::Finish => buffer.finish(),
            }
            let stats = buffer.stats(now);
            prop_assert!(stats.frames_received <= stats.frames_expected);
            prop_assert_eq!(stats.frames_lost, stats.frames_expected - stats.frames_received);
            prop_assert!(stats.frames_received + stats.frames_duplicate <= inserted);
            prop_assert!(stats.depth_ms as usize <= (MAX_FRAMES + 1) * 60);
            prop_assert!(inserted == 0 || stats.target_ms <= 400);
        }
    }
}
