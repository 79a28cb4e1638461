//! What one listener says of the talkers that it hears: checked, bounded, and
//! gathered until it is worth being passed on. Nothing that it says reaches
//! anybody before it has passed here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wzp_proto::control::{MAX_REPORT_SOURCES, SourceReport, sender_id};

use super::downlink::Heard;
use super::feedback::MIN_FRAMES;
use crate::conn::meter::Meter;
use crate::count::reason::ReportRefusal;
use crate::mail::Hearing;
use crate::room::passed::Passed;

/// No interarrival jitter is larger: players take a frame that is a second
/// later than others for another clock's.
const MAX_JITTER: Duration = Duration::from_secs(10);

/// No jitter buffer is deeper: 100 frames of the longest profile are 6 s.
const MAX_DEPTH: Duration = Duration::from_secs(10);

/// Totals grow by no more than this in a second: twice the frames of the
/// shortest profile, each of which may be late, lost or thrown away.
const GROWTH: u32 = 100;

/// Growth that may come at once, in time at [`GROWTH`]: 3000 frames, the
/// largest gap over which a listener goes on counting (RFC 3550 appendix A.1).
const GROWTH_BURST: Duration = Duration::from_secs(30);

/// Totals of a talker not known yet that have begun just now: 10 s' worth.
const JUST_BEGUN: u32 = 10 * GROWTH;

/// A hearing is passed on after this time even if it has less than
/// [`MIN_FRAMES`], as during discontinuous transmission.
const MAX_SPAN: Duration = Duration::from_secs(10);

/// What is known of one listener's talkers, at most [`MAX_REPORT_SOURCES`]: the
/// one that it reported longest ago makes way.
#[derive(Debug)]
pub(crate) struct Reports {
    began: Instant,
    /// Of the report that is being taken.
    number: u64,
    talkers: HashMap<u16, Talker>,
}

/// What one report comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// What is to be passed on, by sender id.
    pub(crate) hearings: Vec<(u16, Hearing)>,
    /// What came of what the listener was sent, all talkers together.
    pub(crate) heard: Heard,
    /// The largest jitter reported.
    pub(crate) jitter: Option<Duration>,
    /// The deepest jitter buffer.
    pub(crate) depth: Option<Duration>,
    /// Further underruns, all talkers together.
    pub(crate) underruns: u64,
    /// Further overruns.
    pub(crate) overruns: u64,
}

/// The totals of one talker that count.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    expected: u32,
    received: u32,
    lost: u32,
    underruns: u32,
    overruns: u32,
}

#[derive(Debug)]
struct Talker {
    totals: Totals,
    /// The report that named it last.
    report: u64,
    growth: Meter,
    gathered: Gathered,
}

/// Frames that have not been passed on yet.
#[derive(Clone, Copy, Debug)]
struct Gathered {
    since: Instant,
    expected: u32,
    lost: u32,
    /// Frames times parts per million that the relay knows to be lost.
    known: u64,
}

impl Totals {
    const fn of(source: &SourceReport) -> Self {
        Self {
            expected: source.frames_expected,
            received: source.frames_expected.saturating_sub(source.frames_lost),
            lost: source.frames_lost,
            underruns: source.underruns,
            overruns: source.overruns,
        }
    }

    /// What was added to `earlier`; all of it if the listener began its count
    /// again. Less can be lost than before: a frame came after all.
    fn since(self, earlier: Self) -> Self {
        let began_again = self.expected < earlier.expected
            || self.underruns < earlier.underruns
            || self.overruns < earlier.overruns;
        if began_again {
            return self;
        }
        let expected = self.expected - earlier.expected;
        Self {
            expected,
            received: self.received.saturating_sub(earlier.received),
            lost: self.lost.saturating_sub(earlier.lost).min(expected),
            underruns: self.underruns - earlier.underruns,
            overruns: self.overruns - earlier.overruns,
        }
    }

    /// What came of the frames that passed among those that were due. A client that
    /// does not say which these were is taken to speak of the newest.
    fn compared(self, passed: &Passed, through: Option<u32>) -> Heard {
        let through = through.unwrap_or_else(|| passed.newest());
        let sent = passed.among(self.expected, through);
        sent.map_or_else(Heard::default, |sent| Heard { sent, received: self.received })
    }

    fn largest(self) -> u32 {
        self.expected.max(self.underruns).max(self.overruns)
    }
}

impl Gathered {
    const fn new(since: Instant) -> Self {
        Self { since, expected: 0, lost: 0, known: 0 }
    }

    fn add(&mut self, new: Totals, known_ppm: u32) {
        self.expected = self.expected.saturating_add(new.expected);
        self.lost = self.lost.saturating_add(new.lost);
        let known = u64::from(new.expected) * u64::from(known_ppm);
        self.known = self.known.saturating_add(known);
    }

    /// What was gathered, if it is enough.
    fn take(&mut self, now: Instant, jitter_us: u32) -> Option<Hearing> {
        let span = now.saturating_duration_since(self.since);
        if self.expected < MIN_FRAMES && span < MAX_SPAN {
            return None;
        }
        let Self { expected, lost, known, .. } = std::mem::replace(self, Self::new(now));
        let known_ppm = known.checked_div(expected.into())? as u32;
        Some(Hearing { expected, lost, known_ppm, jitter_us, span: span.min(MAX_SPAN) })
    }
}

impl Reports {
    /// Of a listener that came at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, number: 0, talkers: HashMap::new() }
    }

    /// Takes a report. `known_ppm` is the loss on the way to the listener as the
    /// relay knows it, in parts per million; `passed` what of a sender it was sent, if
    /// that has been forwarded lately; `refuse` hears why what is said of a sender is
    /// ignored.
    pub(crate) fn take<'a>(
        &mut self,
        now: Instant,
        sources: &[SourceReport],
        known_ppm: u32,
        passed: impl Fn(u16) -> Option<&'a Passed>,
        mut refuse: impl FnMut(ReportRefusal),
    ) -> Digest {
        self.number += 1;
        let mut digest = Digest::default();
        for source in sources {
            let grown = check(source).and_then(|sender| {
                let passed = passed(sender).ok_or(ReportRefusal::UnknownSender)?;
                Ok((sender, passed, self.grow(now, sender, source)?))
            });
            match grown {
                Ok((sender, passed, new)) => {
                    digest.heard += new.compared(passed, source.through_sequence);
                    let jitter = Duration::from_micros(source.jitter_us.into());
                    let depth = Duration::from_millis(source.buffer_depth_ms.into());
                    digest.jitter = digest.jitter.max(Some(jitter));
                    digest.depth = digest.depth.max(Some(depth));
                    digest.underruns += u64::from(new.underruns);
                    digest.overruns += u64::from(new.overruns);
                    let talker = self.talkers.get_mut(&sender);
                    digest.hearings.extend(talker.and_then(|talker| {
                        talker.gathered.add(new, known_ppm);
                        Some((sender, talker.gathered.take(now, source.jitter_us)?))
                    }));
                }
                Err(reason) => refuse(reason),
            }
        }
        digest
    }

    /// What is new of a sender since it was last reported.
    fn grow(
        &mut self,
        now: Instant,
        sender: u16,
        source: &SourceReport,
    ) -> Result<Totals, ReportRefusal> {
        let totals = Totals::of(source);
        let Some(talker) = self.talkers.get_mut(&sender) else {
            return self.begin(now, sender, totals);
        };
        if std::mem::replace(&mut talker.report, self.number) == self.number {
            return Err(ReportRefusal::Repeated);
        }
        // The next report is compared with this one, even if it is refused.
        let new = totals.since(std::mem::replace(&mut talker.totals, totals));
        if talker.growth.take(now, new.largest()) { Ok(new) } else { Err(ReportRefusal::Leap) }
    }

    /// A sender that is not in the table.
    fn begin(
        &mut self,
        now: Instant,
        sender: u16,
        totals: Totals,
    ) -> Result<Totals, ReportRefusal> {
        if self.talkers.len() >= MAX_REPORT_SOURCES {
            let oldest =
                self.talkers.iter().min_by_key(|(sender, talker)| (talker.report, **sender));
            if let Some(oldest) = oldest.map(|(sender, _)| *sender) {
                self.talkers.remove(&oldest);
            }
        }
        let mut growth = Meter::new(GROWTH, GROWTH_BURST);
        let is_new = totals.largest() <= JUST_BEGUN;
        if is_new {
            growth.take(now, totals.largest());
        }
        let gathered = Gathered::new(now);
        self.talkers.insert(sender, Talker { totals, report: self.number, growth, gathered });
        // One that made way and talks again: what was before is counted already.
        let age = now.saturating_duration_since(self.began) + GROWTH_BURST;
        let is_possible = u64::from(totals.largest()) <= age.as_secs() * u64::from(GROWTH);
        match (is_new, is_possible) {
            (true, _) => Ok(totals),
            (false, true) => Ok(Totals::default()),
            (false, false) => Err(ReportRefusal::Leap),
        }
    }
}

/// The sender that is spoken of, if every field is within its bounds.
fn check(source: &SourceReport) -> Result<u16, ReportRefusal> {
    let is_possible = source.frames_lost <= source.frames_expected
        && source.frames_late <= source.frames_expected
        && Duration::from_micros(source.jitter_us.into()) <= MAX_JITTER
        && Duration::from_millis(source.buffer_depth_ms.into()) <= MAX_DEPTH;
    sender_id(source.sender_id).filter(|_| is_possible).ok_or(ReportRefusal::Impossible)
}

#[cfg(test)]
mod tests;
