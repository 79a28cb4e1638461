//! The state machine behind the jitter buffer, from a sender's first frame on.

use std::collections::BTreeMap;

use wzp_proto::media::MediaHeader;

use super::arrivals::{Arrival, Arrivals};
use super::delay::DelayWindow;
use super::slack::{SlackWatch, Target, Verdict};
use super::{Insert, JitterStats, MAX_FRAMES, Playout, TICK_US, time};
use crate::{TICK_SAMPLES, packet};

/// The smallest target, µs: a tick, so that the listener's timer and its
/// network reads may be late for want of processor time.
const MIN_TARGET_US: i64 = TICK_US;

/// The largest target, µs. With more than 400 ms one way a conversation is not
/// possible anyway (ITU-T G.114).
const MAX_TARGET_US: i64 = 400_000;

/// Added to the measured spread, µs: spread and fastest frame are estimates,
/// and a timer is late by some milliseconds now and then.
const MARGIN_US: i64 = 10_000;

/// How long after a missing frame another one is expected, µs. A sender starts
/// as if one had just been missing: it costs 10 ms and recovers the first.
const LOSS_MEMORY_US: i64 = 60_000_000;

/// Ticks that an underrun waits before the spurt counts as ended. Opus has
/// nearly faded out its concealment by then.
const WAIT_TICKS: u32 = 5;

/// How long background noise goes on after the last frame of a pause, µs.
/// During DTX a frame comes every 400 ms; without any the sender is gone.
const COMFORT_US: i64 = 1_000_000;

/// A frame this far below overload is quiet even if its sender calls it voice.
const QUIET_MINUS_DBOV: u8 = 60;

/// A transit that differs by more, µs, is another clock: no path delays a
/// datagram by a second more than the one before.
const STRANGE_TRANSIT_US: u64 = 1_000_000;

/// A sequence number that differs by more is another numbering: MAX_DROPOUT in
/// RFC 3550 appendix A.1.
const STRANGE_SEQUENCE: u64 = 3000;

/// Ticks in the longest frame, 60 ms.
const MAX_FRAME_TICKS: i64 = 3;

/// One tick on the sender's clock.
const TICK_MEDIA: i64 = TICK_SAMPLES as i64;

#[derive(Debug)]
struct Frame {
    /// Extended timestamp of the first sample.
    media: i64,
    ticks: i64,
    quiet: bool,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Between spurts; background noise is played until the given time.
    Resting { comfort_until_us: i64 },
    /// Within a spurt.
    Playing,
}

/// A sender's frames and the playout point among them.
#[derive(Debug)]
pub(super) struct Stream {
    arrivals: Arrivals,
    delay: DelayWindow,
    /// Extended timestamp at which the newest frame ends.
    newest_end: i64,
    /// Ticks of the newest frame.
    frame_ticks: i64,
    /// When a frame was last found missing, µs.
    missing_us: i64,
    /// By extended sequence number; only frames still to be played.
    frames: BTreeMap<i64, Frame>,
    phase: Phase,
    /// Extended timestamp of the tick to be played next.
    point: i64,
    /// Extended sequence number of the frame to be played next; none until one
    /// has been played.
    next_sequence: Option<i64>,
    /// Ticks still to come of the frame decoded last.
    continued: i64,
    /// Ticks waited since a frame was last played.
    waited: u32,
    last_was_quiet: bool,
    watch: SlackWatch,
    /// Offset of the last spurt, µs, to be kept over the pause if it suits.
    kept_offset_us: Option<i64>,
    last_slack_us: i64,
    restarted: bool,
}

impl Stream {
    /// Begins with the first frame that comes from a sender.
    pub(super) fn begin(now_us: i64, header: &MediaHeader, payload: &[u8]) -> Self {
        let arrivals = Arrivals::new(time(now_us), header.sequence);
        Self::with(arrivals, DelayWindow::default(), now_us, header, payload)
    }

    /// Begins again with another clock and numbering.
    pub(super) fn restart(
        &mut self,
        now_us: i64,
        header: &MediaHeader,
        payload: &[u8],
        stats: &mut JitterStats,
    ) {
        stats.restarts += 1;
        stats.overruns += u64::from(!self.frames.is_empty());
        let now = time(now_us);
        let mut arrivals = std::mem::replace(&mut self.arrivals, Arrivals::new(now, 0));
        arrivals.restart(now, header.sequence);
        let mut delay = std::mem::take(&mut self.delay);
        delay.clear();
        *self = Self::with(arrivals, delay, now_us, header, payload);
        self.restarted = true;
    }

    fn with(
        arrivals: Arrivals,
        mut delay: DelayWindow,
        now_us: i64,
        header: &MediaHeader,
        payload: &[u8],
    ) -> Self {
        let frame = Frame::new(i64::from(header.timestamp), header, payload);
        delay.add(now_us, now_us - media_to_us(frame.end()));
        Self {
            delay,
            newest_end: frame.end(),
            frame_ticks: frame.ticks,
            missing_us: now_us,
            frames: BTreeMap::from([(arrivals.extend(header.sequence), frame)]),
            arrivals,
            phase: Phase::Resting { comfort_until_us: i64::MIN },
            point: 0,
            next_sequence: None,
            continued: 0,
            waited: 0,
            last_was_quiet: false,
            watch: SlackWatch::default(),
            kept_offset_us: None,
            last_slack_us: 0,
            restarted: false,
        }
    }

    /// Whether a frame fits the clock and the numbering so far.
    pub(super) fn continues(&self, now_us: i64, header: &MediaHeader) -> bool {
        let frame_us = i64::from(header.profile.frame_ms()) * 1000;
        let transit_us = now_us - media_to_us(self.extend(header.timestamp)) - frame_us;
        transit_us.abs_diff(self.delay.fastest_us()) <= STRANGE_TRANSIT_US
            && self.arrivals.distance(header.sequence) <= STRANGE_SEQUENCE
    }

    /// Takes a frame that continues the stream.
    pub(super) fn insert(
        &mut self,
        now_us: i64,
        header: &MediaHeader,
        payload: &[u8],
        stats: &mut JitterStats,
    ) -> Insert {
        let sequence = self.arrivals.extend(header.sequence);
        let frame = Frame::new(self.extend(header.timestamp), header, payload);
        match self.arrivals.note(time(now_us), sequence) {
            Arrival::Duplicate => {
                stats.frames_duplicate += 1;
                return Insert::Duplicate;
            }
            Arrival::Forgotten => {
                stats.frames_late += 1;
                return Insert::Late;
            }
            Arrival::Belated => {}
            Arrival::Newest { skipped } => {
                if skipped > 0 {
                    self.missing_us = now_us;
                }
                self.newest_end = frame.end();
                self.frame_ticks = frame.ticks;
            }
        }
        self.delay.add(now_us, now_us - media_to_us(frame.end()));

        let passed = |next| sequence < next || frame.media + TICK_MEDIA / 2 < self.point;
        if self.next_sequence.is_some_and(passed) {
            stats.frames_late += 1;
            return Insert::Late;
        }
        self.frames.insert(sequence, frame);
        if self.frames.len() > MAX_FRAMES {
            self.frames.pop_first();
            self.move_to_front();
            stats.overruns += 1;
        }
        Insert::Queued
    }

    /// Decides the next tick.
    pub(super) fn pull(
        &mut self,
        now_us: i64,
        finishing: bool,
        stats: &mut JitterStats,
    ) -> Playout {
        if self.continued > 0 {
            self.continued -= 1;
            self.advance(now_us);
            return Playout::Continue;
        }
        match self.phase {
            Phase::Playing => self.play(now_us, finishing, stats),
            Phase::Resting { .. } => self.rest(now_us, finishing, stats),
        }
    }

    /// Whether nothing is left to play.
    pub(super) fn is_drained(&self) -> bool {
        self.frames.is_empty() && self.continued == 0 && matches!(self.phase, Phase::Resting { .. })
    }

    /// Fills in what the totals do not hold.
    pub(super) fn describe(&self, now_us: i64, stats: &mut JitterStats) {
        let ticks = self.continued + self.frames.values().map(|frame| frame.ticks).sum::<i64>();
        stats.frames_received = self.arrivals.received();
        stats.frames_expected = self.arrivals.expected();
        stats.frames_lost = stats.frames_expected.saturating_sub(stats.frames_received);
        stats.settled = self.arrivals.settled(time(now_us));
        stats.jitter_us = self.delay.jitter_us();
        let millis = |us: i64| u32::try_from((us / 1000).max(0)).unwrap_or(u32::MAX);
        stats.depth_ms = millis(ticks * TICK_US);
        stats.target_ms = millis(self.target(now_us).now_us);
        stats.slack_ms = i32::try_from(self.last_slack_us / 1000).unwrap_or(i32::MAX);
    }

    fn play(&mut self, now_us: i64, finishing: bool, stats: &mut JitterStats) -> Playout {
        if self.watched_slack_us().is_some_and(|slack| slack > MAX_TARGET_US + 2 * TICK_US) {
            self.skip_excess(now_us, stats);
        }
        let Some((&sequence, front)) = self.frames.first_key_value() else {
            return self.starve(now_us, finishing, stats);
        };
        let lost = sequence - self.next_sequence.unwrap_or(sequence);
        let mut gap = ticks_between(self.point, front.media);
        if gap > 0 && (lost == 0 || gap > lost * MAX_FRAME_TICKS) {
            // More time than the lost frames could fill: a pause.
            self.pause(now_us);
            return self.rest(now_us, finishing, stats);
        }
        let ticks = front.ticks;
        // What has been concealed while waiting need not be concealed again,
        // unless the delay is to grow.
        while gap > 0
            && self.waited > 0
            && self.slack_us(now_us) >= self.target(now_us).now_us + TICK_US
        {
            gap -= 1;
            self.waited -= 1;
            self.point += TICK_MEDIA;
        }
        if gap <= 0 {
            return self.play_front(now_us, stats);
        }
        if gap == ticks
            && let Some(front) = self.frames.get(&sequence)
            && packet::carries_fec(&front.payload)
        {
            let payload = front.payload.clone();
            stats.frames_recovered += 1;
            self.next_sequence = Some(sequence);
            self.continued = ticks - 1;
            self.advance(now_us);
            return Playout::Recover { payload, ticks: ticks as usize };
        }
        stats.ticks_concealed += 1;
        self.advance(now_us);
        Playout::Conceal
    }

    /// Plays the first frame held, whose time has come.
    fn play_front(&mut self, now_us: i64, stats: &mut JitterStats) -> Playout {
        let Some((sequence, front)) = self.frames.pop_first() else {
            return Playout::Silence;
        };
        let verdict = match self.watched_slack_us() {
            Some(slack_us) => self.watch.judge(now_us, slack_us, self.target(now_us), front.quiet),
            None => Verdict::Keep,
        };
        if verdict == Verdict::Stretch {
            self.frames.insert(sequence, front);
            self.forget_offset();
            stats.ticks_inserted += 1;
            return Playout::Stretch;
        }
        self.point = front.media;
        self.next_sequence = Some(sequence + 1);
        self.continued = front.ticks - 1;
        self.waited = 0;
        self.last_was_quiet = front.quiet;
        let more = front.ticks > 1
            || self
                .frames
                .get(&(sequence + 1))
                .is_some_and(|next| ticks_between(front.end(), next.media) <= 0);
        let merge = verdict == Verdict::Merge && more;
        if merge {
            stats.ticks_merged += 1;
            self.forget_offset();
            // Not noted: the tick takes no time.
            self.point += TICK_MEDIA;
        } else {
            self.advance(now_us);
        }
        Playout::Frame {
            payload: front.payload,
            ticks: front.ticks as usize,
            restarted: std::mem::take(&mut self.restarted),
            merge,
        }
    }

    /// Nothing is there to play.
    fn starve(&mut self, now_us: i64, finishing: bool, stats: &mut JitterStats) -> Playout {
        if finishing || self.last_was_quiet {
            self.pause(now_us);
            return self.rest(now_us, finishing, stats);
        }
        if self.waited == 0 {
            stats.underruns += 1;
        }
        if self.waited == WAIT_TICKS {
            self.phase = Phase::Resting { comfort_until_us: i64::MIN };
            return Playout::Silence;
        }
        self.waited += 1;
        stats.ticks_concealed += 1;
        self.forget_offset();
        self.last_slack_us = self.slack_us(now_us);
        Playout::Wait
    }

    /// Ends a spurt whose delay may be kept.
    fn pause(&mut self, now_us: i64) {
        // A spurt too short to be judged, like the single frames during DTX,
        // was played with the offset kept before.
        self.kept_offset_us = self.watch.offset_us().or(self.kept_offset_us);
        self.phase = Phase::Resting { comfort_until_us: now_us + COMFORT_US };
    }

    /// Waits for the next spurt and for the time to begin it.
    fn rest(&mut self, now_us: i64, finishing: bool, stats: &mut JitterStats) -> Playout {
        let mut threw = false;
        while let Some((&sequence, front)) = self.frames.first_key_value() {
            let lost = sequence - self.next_sequence.unwrap_or(sequence);
            // The spurt's first frame may be the lost one before this.
            let before = front.media - front.ticks * TICK_MEDIA;
            let recover = lost > 0
                && before + TICK_MEDIA / 2 >= self.point
                && packet::carries_fec(&front.payload);
            let start = if recover { before } else { front.media };

            let target = self.target(now_us);
            let no_slack_us = self.delay.fastest_us() + self.frame_ticks * TICK_US;
            self.kept_offset_us = self
                .kept_offset_us
                .filter(|offset| SlackWatch::suits(offset - no_slack_us, target));
            let due_us = match self.kept_offset_us {
                // Half a tick of tolerance: the nearest tick, not the next.
                Some(offset) => media_to_us(start) + offset - TICK_US / 2,
                None => media_to_us(start) + no_slack_us + target.now_us,
            };
            if now_us < due_us && !finishing {
                break;
            }
            let slack_us = now_us - media_to_us(start) - no_slack_us;
            if slack_us > MAX_TARGET_US && self.frames.len() > 1 && !finishing {
                self.frames.pop_first();
                threw = true;
                continue;
            }
            stats.overruns += u64::from(threw);
            self.phase = Phase::Playing;
            self.point = start;
            self.next_sequence = Some(if recover { sequence - 1 } else { sequence });
            self.waited = 0;
            self.watch.clear();
            return self.play(now_us, finishing, stats);
        }
        stats.overruns += u64::from(threw);
        match self.phase {
            Phase::Resting { comfort_until_us } if now_us < comfort_until_us && !finishing => {
                Playout::Comfort
            }
            _ => Playout::Silence,
        }
    }

    /// Throws away the oldest voice until the slack meets its target again.
    fn skip_excess(&mut self, now_us: i64, stats: &mut JitterStats) {
        let excess_us = self.slack_us(now_us) - self.target(now_us).now_us;
        let point = self.point + excess_us / TICK_US * TICK_MEDIA;
        let mut threw = false;
        while self.frames.len() > 1
            && self.frames.first_key_value().is_some_and(|(_, front)| front.media < point)
        {
            self.frames.pop_first();
            threw = true;
        }
        if threw {
            stats.overruns += 1;
            self.move_to_front();
        }
    }

    /// Continues with the first frame held, whatever is missing before it.
    fn move_to_front(&mut self) {
        self.forget_offset();
        if let (Phase::Playing, Some((&sequence, front))) =
            (self.phase, self.frames.first_key_value())
        {
            self.point = front.media;
            self.next_sequence = Some(sequence);
        }
    }

    /// The offset changes now.
    fn forget_offset(&mut self) {
        self.watch.clear();
        self.kept_offset_us = None;
    }

    /// One tick has been played.
    fn advance(&mut self, now_us: i64) {
        self.last_slack_us = self.slack_us(now_us);
        self.watch.note(now_us - media_to_us(self.point));
        self.point += TICK_MEDIA;
    }

    /// What the slack should be at `now_us`.
    fn target(&self, now_us: i64) -> Target {
        let without_us = self.delay.spread_us() + MARGIN_US;
        let with_us = without_us + self.frame_ticks * TICK_US;
        let lossy = now_us - self.missing_us < LOSS_MEMORY_US;
        let bounded = |target_us: i64| target_us.clamp(MIN_TARGET_US, MAX_TARGET_US);
        Target {
            now_us: bounded(if lossy { with_us } else { without_us }),
            with_loss_us: bounded(with_us),
        }
    }

    /// Slack of the playout point if it is played now, µs.
    fn slack_us(&self, now_us: i64) -> i64 {
        self.slack_of_us(now_us - media_to_us(self.point))
    }

    /// Slack of the last ticks, once enough have been seen, µs.
    fn watched_slack_us(&self) -> Option<i64> {
        self.watch.offset_us().map(|offset| self.slack_of_us(offset))
    }

    fn slack_of_us(&self, offset_us: i64) -> i64 {
        offset_us - self.delay.fastest_us() - self.frame_ticks * TICK_US
    }

    /// `timestamp` as the extended one closest to the newest frame.
    fn extend(&self, timestamp: u32) -> i64 {
        self.newest_end + i64::from(timestamp.wrapping_sub(self.newest_end as u32) as i32)
    }
}

impl Frame {
    fn new(media: i64, header: &MediaHeader, payload: &[u8]) -> Self {
        Self {
            media,
            ticks: i64::from(header.profile.frame_ticks()) / TICK_MEDIA,
            quiet: !header.level.voice() || header.level.minus_dbov() >= QUIET_MINUS_DBOV,
            payload: payload.to_vec(),
        }
    }

    fn end(&self) -> i64 {
        self.media + self.ticks * TICK_MEDIA
    }
}

/// The 48 kHz clock counts 6 in 125 µs.
fn media_to_us(media: i64) -> i64 {
    media * 125 / 6
}

/// Whole ticks from one extended timestamp to a later one, rounded.
fn ticks_between(from: i64, to: i64) -> i64 {
    (to - from + TICK_MEDIA / 2).div_euclid(TICK_MEDIA)
}
