//! What a session was like, for people and, with `--json`, for programs.

use std::fmt;

use serde::Serialize;
use wzp_command::thousandths;
use wzp_media::source::{Damage, What};
use wzp_media::talker::SourceStats;
use wzp_proto::control::SenderFeedback;

use crate::exit::Failure;
use crate::members::describe;
use crate::notices::Notices;

/// One session from Welcome to its end. Field names are part of the interface.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) room: String,
    /// As it was given on the command line; the last one.
    pub(crate) relay: String,
    /// The number the relay gave this client in the room; the last one.
    pub(crate) sender_id: u16,
    /// Names the session in the relay's logs; 16 hexadecimal digits. The last one.
    pub(crate) session_id: String,
    /// From the first Welcome to leaving.
    pub(crate) seconds: f64,
    pub(crate) frames_sent: u64,
    /// All frames of voice that arrived, also of members who have left.
    pub(crate) frames_received: u64,
    /// Everyone who was heard, by sender id; the longest gone first.
    pub(crate) talkers: Vec<Talker>,
    /// Round trip to the relay as QUIC measures it.
    pub(crate) rtt_ms: f64,
    /// What the listeners last reported on this sender; null if they did not.
    pub(crate) feedback: Option<Feedback>,
    /// What the relay found wrong with what was sent, or heard of its loss, by reason.
    pub(crate) notices: Notices,
    /// What of the file that was sent could not be played; the first hundred places.
    pub(crate) source_damages: Vec<SourceDamage>,
    /// How the voice was last encoded; null if there was nothing to send.
    pub(crate) profile: Option<&'static str>,
    /// Sessions that ended before the last, the latest of them.
    pub(crate) interruptions: Vec<Interruption>,
    /// How long before the end of the last session nothing that was sent was acknowledged
    /// any more. Less than two seconds may just have been on the way.
    pub(crate) unacknowledged_seconds: f64,
    /// The longest that this machine kept the program from sending or playing in time.
    pub(crate) held_up_ms: f64,
    /// Why the session ended.
    pub(crate) end: End,
    pub(crate) exit_code: u8,
}

/// The end of a session, and how it went on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Interruption {
    /// The relay whose session ended.
    pub(crate) relay: String,
    /// From the first Welcome to the last packet that came over it.
    pub(crate) at_seconds: f64,
    /// From that packet to the next Welcome; 0 if that came before the end.
    pub(crate) seconds: f64,
    /// How long before that packet nothing that was sent was acknowledged any more.
    pub(crate) unacknowledged_seconds: f64,
    /// Why it ended.
    pub(crate) reason: String,
}

/// A place of the file that was sent, of which it could not be played.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SourceDamage {
    /// In the sound.
    pub(crate) at_seconds: f64,
    /// Whether the file ends there; else something is missing or cannot be decoded, and
    /// more follows.
    pub(crate) cut_off: bool,
    /// How much should follow; null if the file does not say, or does not end there.
    pub(crate) missing_seconds: Option<f64>,
}

impl From<&Damage> for SourceDamage {
    fn from(damage: &Damage) -> Self {
        let missing = match damage.what {
            What::Unreadable => None,
            What::CutOff { missing } => missing,
        };
        Self {
            at_seconds: thousandths(damage.at.as_secs_f64()),
            cut_off: matches!(damage.what, What::CutOff { .. }),
            missing_seconds: missing.map(|missing| thousandths(missing.as_secs_f64())),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// Everything was sent.
    Sent,
    /// `--duration` had passed.
    Duration,
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// The relay was about to stop.
    Draining,
    /// `--wait-for` was not fulfilled.
    MembersMissing,
    /// The relay or the network ended it.
    Lost,
    /// A file or device of this machine failed.
    Local,
}

impl End {
    /// What ended a session that failed.
    pub(crate) const fn by(failure: &Failure) -> Self {
        match failure {
            Failure::Drained { .. } => Self::Draining,
            Failure::MembersMissing { .. } => Self::MembersMissing,
            Failure::Join { .. }
            | Failure::Interrupted(_)
            | Failure::Lost { .. }
            | Failure::GivenUp { .. } => Self::Lost,
            Failure::Token(_)
            | Failure::Source(_)
            | Failure::Damaged { .. }
            | Failure::SourceIsTerminal
            | Failure::Recording(_)
            | Failure::RecordingStopped(_)
            | Failure::RecordingStalled(_)
            | Failure::RecordingOverSource(_)
            | Failure::Codec(_)
            | Failure::SoundCard(_)
            | Failure::System { .. } => Self::Local,
        }
    }
}

/// How one talker was heard.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Talker {
    pub(crate) sender_id: u16,
    pub(crate) name: String,
    /// Frames that came.
    pub(crate) received: u64,
    /// Frames that should have come, by their sequence numbers.
    pub(crate) expected: u64,
    /// Frames that never came.
    pub(crate) lost: u64,
    /// Frames that came after their time to be played.
    pub(crate) late: u64,
    /// Frames lost or late that were played out of the FEC of the next.
    pub(crate) recovered: u64,
    /// Ticks of 20 ms that the decoder had to invent.
    pub(crate) concealed: u64,
    /// Times the jitter buffer ran dry while the talker talked.
    pub(crate) underruns: u64,
    /// Times the jitter buffer had to throw voice away.
    pub(crate) overruns: u64,
    /// Interarrival jitter, RFC 3550 section 6.4.1.
    pub(crate) jitter_ms: f64,
}

impl Talker {
    pub(crate) fn new(source: &SourceStats) -> Self {
        let stats = &source.jitter;
        Self {
            sender_id: source.sender_id,
            name: String::new(),
            received: stats.frames_received,
            expected: stats.frames_expected,
            lost: stats.frames_lost,
            late: stats.frames_late,
            recovered: stats.frames_recovered,
            concealed: stats.ticks_concealed,
            underruns: stats.underruns,
            overruns: stats.overruns,
            jitter_ms: thousandths(f64::from(stats.jitter_us) / 1000.0),
        }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The same talker before it was forgotten and heard again.
    pub(crate) fn continues(&mut self, earlier: &Self) {
        self.received += earlier.received;
        self.expected += earlier.expected;
        self.lost += earlier.lost;
        self.late += earlier.late;
        self.recovered += earlier.recovered;
        self.concealed += earlier.concealed;
        self.underruns += earlier.underruns;
        self.overruns += earlier.overruns;
    }
}

/// The relay's last SenderFeedback.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Feedback {
    pub(crate) listeners: u32,
    pub(crate) mean_loss_ppm: u32,
    pub(crate) deciding_loss_ppm: u32,
    pub(crate) deciding_jitter_us: u32,
}

impl From<&SenderFeedback> for Feedback {
    fn from(feedback: &SenderFeedback) -> Self {
        Self {
            listeners: feedback.listeners,
            mean_loss_ppm: feedback.mean_loss_ppm,
            deciding_loss_ppm: feedback.deciding_loss_ppm,
            deciding_jitter_us: feedback.deciding_jitter_us,
        }
    }
}

/// Lost frames in percent of those expected.
pub(crate) fn percent_lost(lost: u64, expected: u64) -> f64 {
    if expected == 0 { 0.0 } else { lost as f64 * 100.0 / expected as f64 }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} s in room '{}' as member {} (session {}, round trip {:.1} ms)",
            self.seconds, self.room, self.sender_id, self.session_id, self.rtt_ms
        )?;
        for Interruption { relay, at_seconds, seconds, reason, .. } in &self.interruptions {
            write!(f, "\naway for {seconds:.1} s after {at_seconds:.1} s at {relay}: {reason}")?;
        }
        if self.unacknowledged_seconds >= 2.0 {
            let seconds = self.unacknowledged_seconds;
            write!(f, "\nnothing that was sent in the last {seconds:.1} s was acknowledged")?;
        }
        write!(f, "\nsent {} frames", self.frames_sent)?;
        if let Some(profile) = self.profile {
            write!(f, ", last as {profile}")?;
        }
        if let Some(feedback) = &self.feedback {
            write!(
                f,
                "; {} listening, mean loss {:.1} %, 70 % of them at most {:.1} %",
                feedback.listeners,
                f64::from(feedback.mean_loss_ppm) / 10_000.0,
                f64::from(feedback.deciding_loss_ppm) / 10_000.0
            )?;
        }
        write!(f, "{}\nreceived {} frames", self.notices, self.frames_received)?;
        for talker in &self.talkers {
            write!(
                f,
                "\n  {}: {} of {} frames, {:.1} % lost, {} late, {} recovered, {} ticks \
                 concealed, {} underruns, {} overruns, jitter {:.1} ms",
                describe(talker.sender_id, &talker.name),
                talker.received,
                talker.expected,
                percent_lost(talker.lost, talker.expected),
                talker.late,
                talker.recovered,
                talker.concealed,
                talker.underruns,
                talker.overruns,
                talker.jitter_ms
            )?;
        }
        Ok(())
    }
}
