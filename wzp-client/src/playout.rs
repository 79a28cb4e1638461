//! The voices on their way in: every talker is decoded on its own, and every
//! 20 ms all of them are mixed and given to the recording and the loudspeaker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use wzp_media::SILENT_TICK;
use wzp_media::listener::Listener;
use wzp_media::recording::Prepared;
use wzp_media::talker::SourceStats;
use wzp_proto::control::{MAX_REPORT_SOURCES, Member, ReceiverReport, SourceReport};
use wzp_proto::media::MediaHeader;

use crate::cli::Options;
use crate::exit::Failure;
use crate::live::Loudspeaker;
use crate::members::Members;
use crate::pace::Pace;
use crate::recorder::{self, Recorder};
use crate::summary::Talker;

/// Talkers that have left and are still in the summary. A client that listens
/// for months to a busy room forgets the oldest.
const MAX_FORMER_TALKERS: usize = 1000;

/// The relay hears of those of whom a frame came in this time.
const HEARD_LATELY: Duration = Duration::from_secs(5);

/// Where the mix goes. With neither of them it is made for its figures only.
pub(crate) struct Outputs {
    /// What the recorder will write to.
    prepared: Option<Prepared>,
    recorder: Option<Recorder>,
    loudspeaker: Option<Loudspeaker>,
}

impl Outputs {
    /// Opens what the options name. What is already there stays as it is.
    pub(crate) async fn open(options: &Options) -> Result<Self, Failure> {
        let prepared = match &options.record {
            Some(path) if same_file(path, options.send_file.as_deref()) => {
                return Err(Failure::RecordingOverSource(path.clone()));
            }
            Some(path) => Some(recorder::prepare(path).await?),
            None => None,
        };
        let loudspeaker = options.live.then(Loudspeaker::open).transpose()?;
        Ok(Self { prepared, recorder: None, loudspeaker })
    }

    /// The relay has let the client in: a recording takes the place of what was there.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.recorder = self.prepared.take().map(Recorder::begin).transpose()?;
        Ok(())
    }

    /// Completes the recording.
    async fn finish(&mut self) -> Result<(), Failure> {
        match self.recorder.take() {
            Some(recorder) => recorder.finish().await,
            None => Ok(()),
        }
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
    /// Whether that report told of new ones.
    heard_lately: bool,
}

impl Playout {
    /// Hears up to `room_members` talkers at a time from now on, never `own_id`.
    pub(crate) fn new(outputs: Outputs, room_members: u32, own_id: u16) -> Self {
        let started = Instant::now();
        Self {
            listener: listener(room_members),
            outputs,
            started,
            pace: Pace::new(started),
            own_id,
            departed: BTreeSet::new(),
            silent: BTreeMap::new(),
            former: VecDeque::new(),
            received: 0,
            reported: 0,
            heard_lately: false,
        }
    }

    /// The relay has let the client in: the recording begins.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.outputs.begin()
    }

    /// The session is lost: what was said is played to the end, and then there is
    /// silence. `members` are those who were there.
    pub(crate) fn lost(&mut self, members: &Members) {
        let talkers = self.here(members);
        self.keep(talkers);
        let ids: Vec<_> = self.present().map(|stats| stats.sender_id).collect();
        ids.iter().for_each(|id| self.listener.remove(*id));
        self.departed.extend(ids);
        self.silent.clear();
    }

    /// Another session in the same room: whoever is heard from now on is a new talker,
    /// because the relay gives new numbers. `former` are the members of the session before.
    pub(crate) fn moved(&mut self, former: &Members, room_members: u32, own_id: u16) {
        self.lost(former);
        self.listener = listener(room_members);
        self.own_id = own_id;
        self.departed.clear();
    }

    /// When the next tick is to be played.
    pub(crate) fn next(&self) -> Instant {
        self.pace.next()
    }

    /// Plays the next tick. False when the recording can no longer be written.
    pub(crate) fn tick(&mut self) -> Result<bool, Failure> {
        let due = self.pace.due();
        self.pace.ticked(Instant::now());
        let mut mix = SILENT_TICK;
        self.listener.pull(due - self.started, &mut mix);
        if let Some(loudspeaker) = &mut self.outputs.loudspeaker {
            loudspeaker.push(&mix)?;
        }
        Ok(self.outputs.recorder.as_mut().is_none_or(|recorder| recorder.push(&mix)))
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
        match self.listener.receive(self.now(), &header, payload) {
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
        let now = self.now();
        let heard = self.listener.stats(now).find(|stats| stats.sender_id == id);
        let talker = heard.map(|stats| self.whole(&stats));
        let silent = self.silent.remove(&id);
        self.keep(talker.or(silent).map(|talker| talker.named(&member.name)).into_iter().collect());
        self.listener.remove(id);
        self.departed.insert(id);
    }

    /// Talkers of the past.
    fn keep(&mut self, talkers: Vec<Talker>) {
        self.former.extend(talkers);
        let surplus = self.former.len().saturating_sub(MAX_FORMER_TALKERS);
        self.former.drain(..surplus);
    }

    /// What the relay should know; `None` if nothing came the last two times. Who hears
    /// nobody any more says so once: if the relay is gone, nothing else would show it to
    /// one who sends nothing.
    pub(crate) fn report(&mut self) -> Option<ReceiverReport> {
        let news = self.received != self.reported;
        self.reported = self.received;
        if !(std::mem::replace(&mut self.heard_lately, news) || news) {
            return None;
        }
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
                through_sequence: Some(stats.through_sequence),
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
        self.former.iter().cloned().chain(self.here(members)).collect()
    }

    /// Those who were heard and are still there.
    fn here(&self, members: &Members) -> Vec<Talker> {
        let mut all = self.silent.clone();
        all.extend(self.present().map(|stats| (stats.sender_id, self.whole(&stats))));
        all.into_iter().map(|(id, talker)| talker.named(members.name(id))).collect()
    }

    /// The longest that this machine held a tick up.
    pub(crate) const fn longest_delay(&self) -> Duration {
        self.pace.longest_delay()
    }

    /// Completes the recording; nothing is recorded after that.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        self.outputs.finish().await
    }

    /// The time, as far as it has been played. What comes while a tick is overdue came,
    /// as far as anybody knows, before that tick: a machine that is late does not make
    /// the voices late.
    fn now(&self) -> Duration {
        self.started.elapsed().min(self.pace.due() - self.started)
    }

    /// Those who left are still with the listener until their last word is
    /// played, but their figures are settled.
    fn present(&self) -> impl Iterator<Item = SourceStats> {
        self.listener.stats(self.now()).filter(|stats| !self.departed.contains(&stats.sender_id))
    }
}

/// A relay that names no limit does not make this one unlimited.
fn listener(room_members: u32) -> Listener {
    Listener::new(match room_members as usize {
        0 => MAX_REPORT_SOURCES,
        limit => limit.min(MAX_REPORT_SOURCES),
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;
    use wzp_media::TICK;
    use wzp_media::encoder::VoiceEncoder;
    use wzp_media::tone::Tone;

    use super::*;

    /// Three seconds of somebody else's voice, and a machine that does not run this
    /// program for a part of the second one.
    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_late_does_not_make_the_voices_late() {
        let outputs = Outputs { prepared: None, recorder: None, loudspeaker: None };
        let mut playout = Playout::new(outputs, 10, 1);
        let mut encoder = VoiceEncoder::new(2).unwrap();
        let mut tone = Tone::new(440.0, -6.0);
        let mut frames = (0..150).map(|_| encoder.push(&tone.tick()).unwrap().unwrap().datagram());
        let begun = Instant::now();
        let mut came = VecDeque::new();
        for frame in 1..150_u32 {
            came.extend(frames.next());
            let now = begun + TICK * frame + Duration::from_millis(7);
            if (60..75).contains(&frame) {
                continue;
            }
            tokio::time::advance(now - Instant::now()).await;
            // What is due comes first, then what is there to be received.
            while playout.next() <= now + TICK / 2 {
                sleep_until(playout.next().max(Instant::now())).await;
                playout.tick().unwrap();
                came.drain(..).for_each(|datagram| playout.receive(&datagram));
            }
        }
        assert!(playout.longest_delay() >= TICK * 14, "{:?}", playout.longest_delay());
        let members = Members::new(1, &[]).unwrap();
        let [talker] = &playout.talkers(&members)[..] else { panic!("one talker") };
        let troubles =
            [talker.lost, talker.late, talker.concealed, talker.underruns, talker.overruns];
        assert_eq!(troubles, [0; 5], "{talker:?}");
    }
}
