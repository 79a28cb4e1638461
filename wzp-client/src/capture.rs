//! Where the voice comes from: a file, a pipe, a tone or a microphone, in ticks
//! of 20 ms. No tick is waited for.

use std::time::Duration;

use wzp_media::source::Damage;
use wzp_media::tone::Tone;
use wzp_media::{TICK, Tick};

use crate::cli::Options;
use crate::exit::Failure;
use crate::feed::Feed;
use crate::live::Microphone;

/// Peak of the test tone relative to full scale: about as loud as speech.
const TONE_PEAK_DB: f64 = -12.0;

/// A voice to be sent.
pub(crate) enum Voice {
    /// A file or a pipe.
    Feed(Feed),
    /// A tone for so many ticks.
    Tone { tone: Tone, ticks: u128 },
    /// Whatever is said, without an end.
    Microphone(Microphone),
}

impl Voice {
    /// The voice that the options name, if any.
    pub(crate) async fn open(options: &Options) -> Result<Option<Self>, Failure> {
        if let Some(path) = &options.send_file {
            return Feed::open(path).await.map(|feed| Some(Self::Feed(feed)));
        }
        if let Some(length) = options.send_tone {
            return Ok(Some(Self::tone(length, options.tone_hz)));
        }
        if options.live {
            return Ok(Some(Self::Microphone(Microphone::open()?)));
        }
        Ok(None)
    }

    /// A tone whose length is rounded up to whole ticks.
    fn tone(length: Duration, hertz: f64) -> Self {
        let ticks = length.as_nanos().div_ceil(TICK.as_nanos());
        Self::Tone { tone: Tone::new(hertz, TONE_PEAK_DB), ticks }
    }

    /// What the sound is called, and what of it could not be played so far.
    pub(crate) fn damages(&self) -> (&str, &[Damage]) {
        match self {
            Self::Feed(feed) => feed.damages(),
            Self::Tone { .. } | Self::Microphone(_) => ("", &[]),
        }
    }

    /// The next 20 ms; `None` when everything has been said.
    pub(crate) fn tick(&mut self) -> Result<Option<Tick>, Failure> {
        match self {
            Self::Feed(feed) => feed.tick(),
            Self::Tone { ticks: 0, .. } => Ok(None),
            Self::Tone { tone, ticks } => {
                *ticks -= 1;
                Ok(Some(tone.tick()))
            }
            Self::Microphone(microphone) => microphone.tick().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(mut voice: Voice) -> Vec<Tick> {
        std::iter::from_fn(|| voice.tick().unwrap()).collect()
    }

    #[test]
    fn tones_are_rounded_up_to_whole_ticks() {
        for (millis, expected) in [(1, 1), (20, 1), (21, 2), (2000, 100)] {
            let tone = Voice::tone(Duration::from_millis(millis), 440.0);
            assert_eq!(ticks(tone).len(), expected, "{millis} ms");
        }
    }
}
