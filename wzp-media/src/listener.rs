//! All the senders of a room as one listener hears them together.

use std::collections::BTreeMap;
use std::time::Duration;

use wzp_proto::media::MediaHeader;

use crate::limiter::Limiter;
use crate::talker::{SourceStats, Talker};
use crate::{CodecError, SILENT_TICK, Tick};

/// What became of a datagram given to a [`Listener`].
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// As many senders as this listener takes talk already.
    #[error("sender {sender_id} is not heard: {limit} others talk, as many as may")]
    TooManySenders {
        /// The sender that is one too many.
        sender_id: u16,
        /// The limit given to [`Listener::new`].
        limit: usize,
    },
    /// No decoder could be had for a new sender.
    #[error("sender {sender_id} is not heard: {source}")]
    Decoder {
        /// The sender without a decoder.
        sender_id: u16,
        /// What Opus said.
        source: CodecError,
    },
}

/// A sender that sent nothing for so long makes way for another: twice what
/// comes between two frames of discontinuous transmission, and some.
const SILENT: Duration = Duration::from_secs(1);

/// Receives frames of many senders and mixes them.
#[derive(Debug)]
pub struct Listener {
    talkers: BTreeMap<u16, Talker>,
    leaving: Vec<u16>,
    limiter: Limiter,
    limit: usize,
}

impl Listener {
    /// A listener of at most `limit` senders at a time. One takes some 40 kB, and
    /// up to 150 kB more when its buffer is full of the longest frames.
    pub fn new(limit: usize) -> Self {
        Self { talkers: BTreeMap::new(), leaving: Vec::new(), limiter: Limiter::new(), limit }
    }

    /// Takes a frame that came at `now`. Late, duplicate and undecodable frames
    /// are no errors; they are counted in the sender's figures.
    ///
    /// When there are as many senders as may be, the one that has been silent for
    /// longest makes way for a new one and is returned with its figures; it is
    /// new when it talks again.
    ///
    /// # Errors
    /// [`ReceiveError`] when the sender is new and cannot be taken.
    pub fn receive(
        &mut self,
        now: Duration,
        header: &MediaHeader,
        payload: &[u8],
    ) -> Result<Option<SourceStats>, ReceiveError> {
        let sender_id = header.sender_id;
        if let Some(talker) = self.talkers.get_mut(&sender_id) {
            talker.receive(now, header, payload);
            return Ok(None);
        }
        let silent = match self.talkers.len() < self.limit {
            true => None,
            false => Some(
                self.longest_silent(now)
                    .ok_or(ReceiveError::TooManySenders { sender_id, limit: self.limit })?,
            ),
        };
        let mut talker =
            Talker::new().map_err(|source| ReceiveError::Decoder { sender_id, source })?;
        talker.receive(now, header, payload);
        self.talkers.insert(sender_id, talker);
        let made_way = silent.and_then(|silent| Some((silent, self.talkers.remove(&silent)?)));
        Ok(made_way.map(|(silent, talker)| talker.stats(now, silent)))
    }

    /// The sender that has been silent for longest, if for long enough.
    fn longest_silent(&self, now: Duration) -> Option<u16> {
        let silent = |(sender_id, talker): (&u16, &Talker)| (talker.silent_for(now), *sender_id);
        let (time, sender_id) = self.talkers.iter().map(silent).max()?;
        (time >= SILENT).then_some(sender_id)
    }

    /// A sender left the room. What it said is played to the end, then it is
    /// forgotten. A frame that comes after that makes it known again.
    pub fn remove(&mut self, sender_id: u16) {
        if let Some(talker) = self.talkers.get_mut(&sender_id) {
            talker.finish();
            self.leaving.push(sender_id);
        }
    }

    /// Writes the mix due at `now` to `mix` and returns whether anybody said
    /// something in it. To be called every 20 ms.
    ///
    /// A single voice within full scale is passed on bit by bit.
    pub fn pull(&mut self, now: Duration, mix: &mut Tick) -> bool {
        *mix = SILENT_TICK;
        let mut heard = false;
        for talker in self.talkers.values_mut() {
            let (tick, speaks) = talker.pull(now);
            heard |= speaks;
            for (sum, sample) in mix.iter_mut().zip(&tick) {
                *sum += sample;
            }
        }
        self.limiter.apply(mix);
        let talkers = &mut self.talkers;
        self.leaving.retain(|sender_id| {
            let drained = talkers.get(sender_id).is_none_or(Talker::is_drained);
            if drained {
                talkers.remove(sender_id);
            }
            !drained
        });
        heard
    }

    /// Figures of every sender at `now`, by sender id.
    pub fn stats(&self, now: Duration) -> impl Iterator<Item = SourceStats> {
        self.talkers.iter().map(move |(sender_id, talker)| talker.stats(now, *sender_id))
    }
}

#[cfg(test)]
mod tests {
    use wzp_proto::media::Profile;

    use super::*;
    use crate::encoder::{EncodedFrame, VoiceEncoder};
    use crate::tone::Tone;
    use crate::{TICK, TICK_SAMPLES};

    fn frames(sender_id: u16, hertz: f64, peak_db: f64, count: usize) -> Vec<EncodedFrame> {
        let mut encoder = VoiceEncoder::new(sender_id).unwrap();
        let mut tone = Tone::new(hertz, peak_db);
        (0..count).filter_map(|_| encoder.push(&tone.tick()).unwrap()).collect()
    }

    /// Receives the frame of each tick of every sender, and pulls; returns the
    /// mix and whether somebody was heard.
    fn listen(listener: &mut Listener, senders: &[Vec<EncodedFrame>]) -> Vec<(Tick, bool)> {
        let ticks = senders.iter().map(Vec::len).max().unwrap_or_default();
        (0..ticks)
            .map(|tick| {
                let now = TICK * tick as u32;
                for frame in senders.iter().filter_map(|frames| frames.get(tick)) {
                    listener.receive(now, &frame.header, &frame.payload).unwrap();
                }
                let mut mix = SILENT_TICK;
                let heard = listener.pull(now + TICK / 2, &mut mix);
                (mix, heard)
            })
            .collect()
    }

    #[test]
    fn one_voice_passes_bit_by_bit() {
        let frames = frames(1, 440.0, -6.0, 100);
        let mut decoder = opus::Decoder::new(crate::SAMPLE_RATE, opus::Channels::Mono).unwrap();
        let decoded: Vec<Tick> = frames
            .iter()
            .map(|frame| {
                let mut tick = SILENT_TICK;
                decoder.decode_float(&frame.payload, &mut tick, false).unwrap();
                tick
            })
            .collect();
        let heard: Vec<Tick> = listen(&mut Listener::new(1), &[frames])
            .into_iter()
            .filter_map(|(mix, heard)| heard.then_some(mix))
            .collect();
        assert_eq!(heard.len(), 99, "one tick later");
        assert_eq!(heard, decoded[..99]);
    }

    #[test]
    fn many_loud_voices_do_not_clip() {
        let senders: Vec<_> =
            (1..=6).map(|id| frames(id, 200.0 * f64::from(id), -1.0, 100)).collect();
        let mut listener = Listener::new(6);
        let mixes = listen(&mut listener, &senders);
        let energy: f32 = mixes[90].0.iter().map(|sample| sample * sample).sum();
        assert!(energy / TICK_SAMPLES as f32 > 0.05, "they are heard");
        for (tick, (mix, _)) in mixes.iter().enumerate() {
            assert!(mix.iter().all(|sample| sample.abs() <= 1.0), "tick {tick}");
            let at_full_scale = mix.iter().filter(|sample| sample.abs() > 0.999).count();
            assert!(at_full_scale < 10, "tick {tick}: {at_full_scale} samples clipped");
        }
        let ids: Vec<u16> = listener.stats(TICK * 100).map(|stats| stats.sender_id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn whoever_talks_is_heard_however_many_have_talked() {
        let mut listener = Listener::new(300);
        let mut mix = SILENT_TICK;
        let mut gone = Vec::new();
        let spurt = frames(1, 440.0, -6.0, 3);
        // Three ticks each, one after the other, with a tick between two of them.
        for sender_id in 1..=400 {
            let first = u32::from(sender_id) * 4;
            let mut heard = 0;
            for (tick, frame) in (first..).zip(&spurt) {
                let header = MediaHeader { sender_id, ..frame.header };
                gone.extend(listener.receive(TICK * tick, &header, &frame.payload).unwrap());
                heard += u32::from(listener.pull(TICK * tick + TICK / 2, &mut mix));
            }
            heard += u32::from(listener.pull(TICK * (first + 3) + TICK / 2, &mut mix));
            assert_eq!(heard, 3, "sender {sender_id}");
        }
        assert!(gone.iter().map(|stats| stats.sender_id).eq(1..=100), "the longest silent first");
        assert!(gone.iter().all(|stats| stats.frames_expected == 3), "with all its figures");
        let now = TICK * 1604;
        assert!(listener.stats(now).map(|stats| stats.sender_id).eq(101..=400));
        let lately = |stats: &SourceStats| stats.silent_for < Duration::from_secs(5);
        assert_eq!(listener.stats(now).filter(lately).count(), 62, "one in 80 ms");
    }

    #[test]
    fn nobody_who_talks_makes_way() {
        let mut listener = Listener::new(2);
        let talks = |listener: &mut Listener, sender_id, at: f64| {
            let frame = frames(sender_id, 300.0, -6.0, 1).remove(0);
            listener.receive(Duration::from_secs_f64(at), &frame.header, &frame.payload)
        };
        talks(&mut listener, 1, 0.0).unwrap();
        talks(&mut listener, 2, 0.5).unwrap();
        let error = talks(&mut listener, 3, 0.9).unwrap_err();
        assert_eq!(error.to_string(), "sender 3 is not heard: 2 others talk, as many as may");
        let gone = talks(&mut listener, 3, 1.0).unwrap().unwrap();
        assert_eq!((gone.sender_id, gone.silent_for), (1, SILENT));
        assert!(talks(&mut listener, 1, 1.4).is_err());
    }

    #[test]
    fn one_sender_too_many_is_refused_until_another_has_left() {
        let mut listener = Listener::new(2);
        listen(&mut listener, &[frames(1, 300.0, -6.0, 20), frames(2, 400.0, -6.0, 20)]);
        let third = frames(3, 500.0, -6.0, 1).remove(0);
        let now = TICK * 20;
        let error = listener.receive(now, &third.header, &third.payload).unwrap_err();
        assert!(matches!(error, ReceiveError::TooManySenders { sender_id: 3, limit: 2 }));

        listener.remove(1);
        listener.remove(9);
        let mut mix = SILENT_TICK;
        assert!(listener.pull(now, &mut mix), "what 1 said is still played");
        for tick in 21..24 {
            listener.pull(TICK * tick, &mut mix);
        }
        let ids: Vec<u16> = listener.stats(now).map(|stats| stats.sender_id).collect();
        assert_eq!(ids, [2]);
        listener.receive(TICK * 24, &third.header, &third.payload).unwrap();
    }

    #[test]
    fn what_is_left_after_the_end_fades_to_digital_silence() {
        let mut listener = Listener::new(1);
        let heard = listen(&mut listener, &[frames(1, 440.0, -6.0, 50)]);
        assert!(heard[49].1);
        let mut mix = SILENT_TICK;
        let after: Vec<(bool, f32)> = (50..70)
            .map(|tick| {
                let heard = listener.pull(TICK * tick + TICK / 2, &mut mix);
                (heard, mix.iter().fold(0f32, |peak, sample| peak.max(sample.abs())))
            })
            .collect();
        assert!(after[0].0, "the last frame");
        assert!(after[1..].iter().all(|(heard, _)| !heard), "a guess is not heard");
        assert!(after[1].1 > 0.1, "{after:?}");
        assert_eq!(after[19].1, 0.0, "{after:?}");
    }

    #[test]
    fn corrupt_payloads_are_counted_and_concealed() {
        let mut good = frames(1, 440.0, -6.0, 60);
        // Code 2 packet whose first length goes beyond its end; a packet of
        // 60 ms where 20 ms are announced; nothing; far too much; a packet of
        // 20 ms where 40 ms are announced.
        good[20].payload = vec![9 << 3 | 2, 200, 1];
        good[30].payload = vec![11 << 3, 0, 0, 0];
        good[40].payload = vec![];
        good[50].payload = vec![0xff; 3000];
        good[54].header.profile = Profile::Degraded;
        let mut listener = Listener::new(1);
        let mixes = listen(&mut listener, &[good]);
        assert!(mixes[1..].iter().all(|(_, heard)| *heard));
        let stats = listener.stats(TICK * 85).next().unwrap();
        assert_eq!(stats.frames_corrupt, 5);
        assert_eq!(stats.frames_lost, 2, "what is no packet counts as lost");
        for (mix, _) in &mixes {
            assert!(mix.iter().all(|sample| sample.is_finite()));
        }
    }

    #[test]
    fn single_losses_are_recovered_from_the_next_frame() {
        for profile in [Profile::Good, Profile::Degraded] {
            let mut encoder = VoiceEncoder::new(1).unwrap();
            encoder.set_profile(profile);
            encoder.set_expected_loss(10).unwrap();
            let mut tone = Tone::new(300.0, -6.0);
            let mut listener = Listener::new(1);
            let mut mix = SILENT_TICK;
            let (mut frames, mut lost) = (0, 0);
            for tick in 0..500 {
                // Syllables of 160 ms, or Opus takes it for noise.
                let loudness = if tick % 12 < 8 { 1.0 } else { 0.1 };
                let voice = tone.tick().map(|sample| sample * loudness);
                if let Some(frame) = encoder.push(&voice).unwrap() {
                    frames += 1;
                    if frames % 7 == 3 {
                        lost += 1;
                    } else {
                        listener.receive(TICK * tick, &frame.header, &frame.payload).unwrap();
                    }
                }
                listener.pull(TICK * tick + TICK / 2, &mut mix);
            }
            let stats = listener.stats(TICK * 500).next().unwrap();
            let recovered = stats.jitter.frames_recovered;
            let name = profile.name();
            // Of the quiet third Opus codes no FEC.
            assert!(recovered * 10 >= lost * 6, "{name}: {recovered} of {lost} recovered");
            assert_eq!(stats.underruns, 0, "{name}");
        }
    }

    #[test]
    fn profiles_may_change_in_mid_speech() {
        let mut encoder = VoiceEncoder::new(1).unwrap();
        let mut tone = Tone::new(440.0, -6.0);
        let mut listener = Listener::new(1);
        let mut mix = SILENT_TICK;
        let mut unheard = 0;
        for tick in 0..600 {
            let now = TICK * tick;
            encoder.set_profile(Profile::ALL[tick as usize / 50 % 3]);
            if let Some(frame) = encoder.push(&tone.tick()).unwrap() {
                listener.receive(now, &frame.header, &frame.payload).unwrap();
            }
            unheard += u32::from(!listener.pull(now + TICK / 2, &mut mix));
        }
        let stats = listener.stats(TICK * 600).next().unwrap();
        assert_eq!((stats.frames_lost, stats.frames_late, stats.frames_corrupt), (0, 0, 0));
        assert!(unheard <= 20, "{unheard} of 600 ticks, {stats:?}");
    }
}
