//! The voices on their way in: every talker is decoded on its own, and every
//! 20 ms all of them are mixed and given to the recording and the loudspeaker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use wzp_media::SILENT_TICK;
use wzp_media::listener::Listener;
use wzp_media::talker::SourceStats;
use wzp_proto::control::{MAX_REPORT_SOURCES, Member, ReceiverReport, SourceReport};
use wzp_proto::media::MediaHeader;

use crate::cli::Options;
use crate::exit::Failure;
use crate::live::Loudspeaker;
use crate::members::Members;
use crate::pace::Pace;
use crate::recorder::Recorder;
use crate::summary::Talker;

/// Talkers that have left and are still in the summary. A client that listens
/// for months to a busy room forgets the oldest.
const MAX_FORMER_TALKERS: usize = 1000;

/// The relay hears of those of whom a frame came in this time.
const HEARD_LATELY: Duration = Duration::from_secs(5);

/// Where the mix goes. With neither of them it is made for its figures only.
pub(crate) struct Outputs {
    recorder: Option<Recorder>,
    loudspeaker: Option<Loudspeaker>,
}

impl Outputs {
    /// Opens what the options name.
    pub(crate) fn open(options: &Options) -> Result<Self, Failure> {
        let recorder = match &options.record {
            Some(path) if same_file(path, options.send_file.as_deref()) => {
                return Err(Failure::RecordingOverSource(path.clone()));
            }
            Some(path) => Some(Recorder::create(path)?),
            None => None,
        };
        let loudspeaker = options.live.then(Loudspeaker::open).transpose()?;
        Ok(Self { recorder, loudspeaker })
    }

    /// Completes the recording.
    fn finish(&mut self) -> Result<(), Failure> {
        self.recorder.take().map_or(Ok(()), Recorder::finish)
    }
}

fn same_file(record: &Path, source: Option<&Path>) -> bool {
    source.is_some_and(
        |source| matches!((record.canonicalize(), source.canonicalize()), (Ok(a), Ok(b)) if a == b),
    )
}

/// Figures over all talkers in the room, for a glance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overall {
    pub(crate) lost: u64,
    pub(crate) expected: u64,
    /// Of the talker with most of it.
    pub(crate) buffer_ms: u32,
}

/// Receives, decodes, mixes and plays.
pub(crate) struct Playout {
    listener: Listener,
    outputs: Outputs,
    started: Instant,
    pace: Pace,
    own_id: u16,
    /// Frames of these have lost their way: their senders have left the room.
    departed: BTreeSet<u16>,
    /// Talkers who have been silent for so long that they made way for others.
    silent: BTreeMap<u16, Talker>,
    former: VecDeque<Talker>,
    received: u64,
    /// Frames received when the last report was made.
    reported: u64,
}

impl Playout {
    /// Hears up to `room_members` talkers at a time from now on, never `own_id`.
    pub(crate) fn new(outputs: Outputs, room_members: u32, own_id: u16) -> Self {
        let started = Instant::now();
        // A relay that names no limit does not make this one unlimited.
        let limit = match room_members as usize {
            0 => MAX_REPORT_SOURCES,
            limit => limit.min(MAX_REPORT_SOURCES),
        };
        Self {
            listener: Listener::new(limit),
            outputs,
            started,
            pace: Pace::new(started),
            own_id,
            departed: BTreeSet::new(),
            silent: BTreeMap::new(),
            former: VecDeque::new(),
            received: 0,
            reported: 0,
        }
    }

    /// When the next tick is to be played.
    pub(crate) fn next(&self) -> Instant {
        self.pace.next()
    }

    /// Plays the next tick. False when the recording can no longer be written.
    pub(crate) fn tick(&mut self) -> Result<bool, Failure> {
        let now = Instant::now();
        self.pace.ticked(now);
        let mut mix = SILENT_TICK;
        let heard = self.listener.pull(now - self.started, &mut mix);
        if let Some(loudspeaker) = &mut self.outputs.loudspeaker {
            loudspeaker.push(&mix)?;
        }
        Ok(self.outputs.recorder.as_mut().is_none_or(|recorder| recorder.push(&mix, heard)))
    }

    /// Takes a datagram as it came. Frames may outrun the news that their
    /// sender has joined; those that come after it has left are not heard.
    pub(crate) fn receive(&mut self, datagram: &[u8]) {
        let (header, payload) = match MediaHeader::decode(datagram) {
            Ok(frame) => frame,
            Err(error) => return debug!("a datagram is ignored: {error}"),
        };
        let id = header.sender_id;
        if id == 0 || id == self.own_id || self.departed.contains(&id) {
            return debug!("a frame of sender {id}, who is not in the room, is ignored");
        }
        match self.listener.receive(self.started.elapsed(), &header, payload) {
            Ok(made_way) => {
                self.received += 1;
                if let Some(stats) = made_way {
                    let talker = self.whole(&stats);
                    self.silent.insert(stats.sender_id, talker);
                }
            }
            Err(error) => debug!("{error}"),
        }
    }

    /// Figures of a talker from the first time it was heard.
    fn whole(&self, stats: &SourceStats) -> Talker {
        let mut talker = Talker::new(stats);
        if let Some(earlier) = self.silent.get(&stats.sender_id) {
            talker.continues(earlier);
        }
        talker
    }

    /// A member with that number came.
    pub(crate) fn joined(&mut self, id: u16) {
        self.departed.remove(&id);
    }

    /// A member left: keeps its figures, plays what it said to the end.
    pub(crate) fn left(&mut self, id: u16, member: &Member) {
        let now = self.started.elapsed();
        let heard = self.listener.stats(now).find(|stats| stats.sender_id == id);
        let talker = heard.map(|stats| self.whole(&stats));
        let silent = self.silent.remove(&id);
        if let Some(talker) = talker.or(silent) {
            if self.former.len() == MAX_FORMER_TALKERS {
                self.former.pop_front();
            }
            self.former.push_back(talker.named(&member.name));
        }
        self.listener.remove(id);
        self.departed.insert(id);
    }

    /// What the relay should know; `None` if nothing came since the last time.
    pub(crate) fn report(&mut self) -> Option<ReceiverReport> {
        if self.received == self.reported {
            return None;
        }
        self.reported = self.received;
        let sources: Vec<_> = self
            .present()
            .filter(|stats| stats.silent_for < HEARD_LATELY)
            .take(MAX_REPORT_SOURCES)
            .map(|stats| SourceReport {
                sender_id: stats.sender_id.into(),
                frames_expected: stats.frames_expected,
                frames_lost: stats.frames_lost,
                frames_late: stats.frames_late,
                jitter_us: stats.jitter_us,
                buffer_depth_ms: stats.buffer_depth_ms,
                underruns: stats.underruns,
                overruns: stats.overruns,
            })
            .collect();
        (!sources.is_empty()).then_some(ReceiverReport { sources })
    }

    /// Frames of voice received so far.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Figures of all who are in the room, taken together.
    pub(crate) fn overall(&self) -> Overall {
        self.present().fold(Overall::default(), |sum, stats| Overall {
            lost: sum.lost + stats.jitter.frames_lost,
            expected: sum.expected + stats.jitter.frames_expected,
            buffer_ms: sum.buffer_ms.max(stats.buffer_depth_ms),
        })
    }

    /// Everyone who was heard.
    pub(crate) fn talkers(&self, members: &Members) -> Vec<Talker> {
        let mut all = self.silent.clone();
        all.extend(self.present().map(|stats| (stats.sender_id, self.whole(&stats))));
        let here = all.into_iter().map(|(id, talker)| talker.named(members.name(id)));
        self.former.iter().cloned().chain(here).collect()
    }

    /// Completes the recording; nothing is recorded after that.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.outputs.finish()
    }

    /// Those who left are still with the listener until their last word is
    /// played, but their figures are settled.
    fn present(&self) -> impl Iterator<Item = SourceStats> {
        self.listener
            .stats(self.started.elapsed())
            .filter(|stats| !self.departed.contains(&stats.sender_id))
    }
}
