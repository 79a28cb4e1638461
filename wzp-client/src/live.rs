//! Microphone and loudspeaker. The sound card has its own threads and its own
//! clock; a short buffer each way joins them to the ticks of the call. A call
//! of hours drifts by some milliseconds a minute: where the buffer runs full
//! or dry a moment is left out or inserted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Device, ErrorKind, FromSample, Sample, SampleFormat, SizedSample, Stream,
    StreamConfig, SupportedStreamConfigRange,
};
use tracing::{debug, warn};
use wzp_media::{SAMPLE_RATE, SILENT_TICK, TICK_SAMPLES, Tick};

use crate::exit::Failure;

/// Samples that gather before the first is taken: two ticks bridge the
/// different rhythms of the sound card and the call.
const READY: usize = 2 * TICK_SAMPLES;

/// Samples held at most, 120 ms. Beyond that the oldest are left out, down to
/// [`READY`]: more would only be delay.
const FULL: usize = 6 * TICK_SAMPLES;

/// Formats that are converted, best first.
const FORMATS: [SampleFormat; 3] = [SampleFormat::F32, SampleFormat::I32, SampleFormat::I16];

/// Samples between the sound card and the call.
#[derive(Debug, Default)]
struct Joint {
    samples: VecDeque<f32>,
    ready: bool,
    /// Why the device stopped for good.
    failed: Option<String>,
}

impl Joint {
    fn push(&mut self, samples: impl Iterator<Item = f32>) {
        self.samples.extend(samples);
        if self.samples.len() > FULL {
            self.samples.drain(..self.samples.len() - READY);
        }
        self.ready |= self.samples.len() >= READY;
    }

    /// Fills `out`; with silence while too little is there.
    fn pull(&mut self, out: &mut [f32]) {
        if !self.ready || self.samples.len() < out.len() {
            self.ready = false;
            return out.fill(0.0);
        }
        let length = out.len();
        out.iter_mut().zip(self.samples.drain(..length)).for_each(|(out, sample)| *out = sample);
    }
}

type Shared = Arc<Mutex<Joint>>;

/// Samples stay samples, even if the other thread panicked over them.
fn lock(joint: &Shared) -> MutexGuard<'_, Joint> {
    joint.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The default input device.
pub(crate) struct Microphone {
    joint: Shared,
    _stream: Stream,
}

/// The default output device.
pub(crate) struct Loudspeaker {
    joint: Shared,
    _stream: Stream,
}

impl Microphone {
    /// Starts to listen.
    pub(crate) fn open() -> Result<Self, Failure> {
        const WHAT: &str = "microphone";
        let device = cpal::default_host().default_input_device().ok_or_else(|| missing(WHAT))?;
        let offers = device.supported_input_configs().map_err(|error| unusable(WHAT, error))?;
        let (config, format) = choose(offers).ok_or_else(|| unsuitable(WHAT))?;
        let joint = Shared::default();
        let capture = match format {
            SampleFormat::F32 => capture::<f32>,
            SampleFormat::I32 => capture::<i32>,
            _ => capture::<i16>,
        };
        let stream = capture(&device, config, &joint).map_err(|error| unusable(WHAT, error))?;
        stream.play().map_err(|error| unusable(WHAT, error))?;
        Ok(Self { joint, _stream: stream })
    }

    /// What was said during the last 20 ms.
    pub(crate) fn tick(&mut self) -> Result<Tick, Failure> {
        let mut joint = lock(&self.joint);
        if let Some(reason) = &joint.failed {
            return Err(unusable("microphone", reason));
        }
        let mut tick = SILENT_TICK;
        joint.pull(&mut tick);
        Ok(tick)
    }
}

impl Loudspeaker {
    /// Starts to play silence.
    pub(crate) fn open() -> Result<Self, Failure> {
        const WHAT: &str = "loudspeaker";
        let device = cpal::default_host().default_output_device().ok_or_else(|| missing(WHAT))?;
        let offers = device.supported_output_configs().map_err(|error| unusable(WHAT, error))?;
        let (config, format) = choose(offers).ok_or_else(|| unsuitable(WHAT))?;
        let joint = Shared::default();
        let play = match format {
            SampleFormat::F32 => play::<f32>,
            SampleFormat::I32 => play::<i32>,
            _ => play::<i16>,
        };
        let stream = play(&device, config, &joint).map_err(|error| unusable(WHAT, error))?;
        stream.play().map_err(|error| unusable(WHAT, error))?;
        Ok(Self { joint, _stream: stream })
    }

    /// The next 20 ms to be heard.
    pub(crate) fn push(&mut self, tick: &Tick) -> Result<(), Failure> {
        let mut joint = lock(&self.joint);
        if let Some(reason) = &joint.failed {
            return Err(unusable("loudspeaker", reason));
        }
        joint.push(tick.iter().copied());
        Ok(())
    }
}

/// The offer with the fewest channels, then the best format, at 48 kHz.
fn choose(
    offers: impl Iterator<Item = SupportedStreamConfigRange>,
) -> Option<(StreamConfig, SampleFormat)> {
    offers
        .filter_map(|offer| {
            let rank = FORMATS.iter().position(|format| *format == offer.sample_format())?;
            let suits = (offer.min_sample_rate()..=offer.max_sample_rate()).contains(&SAMPLE_RATE);
            (suits && offer.channels() > 0).then_some((offer.channels(), rank))
        })
        .min()
        .map(|(channels, rank)| {
            let config = StreamConfig {
                channels,
                sample_rate: SAMPLE_RATE,
                buffer_size: BufferSize::Default,
            };
            (config, FORMATS[rank])
        })
}

/// Channels are averaged.
fn capture<T>(device: &Device, config: StreamConfig, joint: &Shared) -> Result<Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let channels = usize::from(config.channels);
    let into = Arc::clone(joint);
    let data = move |samples: &[T], _: &cpal::InputCallbackInfo| {
        let mono = samples.chunks_exact(channels).map(|sample| {
            sample.iter().map(|channel| f32::from_sample(*channel)).sum::<f32>() / channels as f32
        });
        lock(&into).push(mono);
    };
    device.build_input_stream(config, data, on_error(joint), None)
}

/// Every channel plays the same.
fn play<T>(device: &Device, config: StreamConfig, joint: &Shared) -> Result<Stream, cpal::Error>
where
    T: SizedSample + FromSample<f32>,
{
    let channels = usize::from(config.channels);
    let from = Arc::clone(joint);
    let mut mono = Vec::new();
    let data = move |samples: &mut [T], _: &cpal::OutputCallbackInfo| {
        mono.resize(samples.len() / channels, 0.0);
        lock(&from).pull(&mut mono);
        for (sample, value) in samples.chunks_exact_mut(channels).zip(&mono) {
            sample.fill(T::from_sample(*value));
        }
    };
    device.build_output_stream(config, data, on_error(joint), None)
}

fn on_error(joint: &Shared) -> impl FnMut(cpal::Error) + Send + 'static {
    let joint = Arc::clone(joint);
    move |error| match error.kind() {
        // Heard as a click, if at all.
        ErrorKind::Xrun => debug!("the sound card: {error}"),
        ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => warn!("the sound card: {error}"),
        _ => lock(&joint).failed = Some(error.to_string()),
    }
}

fn missing(what: &str) -> Failure {
    Failure::SoundCard(format!(
        "there is no {what} on this machine, which --live needs; connect one, or use \
         --send-file and --record instead"
    ))
}

fn unusable(what: &str, reason: impl fmt::Display) -> Failure {
    let reason = reason.to_string();
    let reason = reason.trim_end_matches('.').replace(". ", "; ");
    Failure::SoundCard(format!(
        "the {what} cannot be used: {reason}; check that a sound card is connected and allowed, \
         or use --send-file and --record instead of --live"
    ))
}

fn unsuitable(what: &str) -> Failure {
    Failure::SoundCard(format!(
        "the {what} does not offer {SAMPLE_RATE} Hz in a usual sample format; choose another as \
         the system's default device"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(joint: &mut Joint, length: usize) -> Vec<f32> {
        let mut out = vec![9.0; length];
        joint.pull(&mut out);
        out
    }

    #[test]
    fn samples_pass_in_order_once_enough_are_there() {
        let mut joint = Joint::default();
        joint.push((0..READY - 1).map(|n| n as f32));
        assert_eq!(pulled(&mut joint, 2), [0.0, 0.0], "not yet");
        joint.push(std::iter::once(-1.0));
        assert_eq!(pulled(&mut joint, 3), [0.0, 1.0, 2.0]);
        assert_eq!(pulled(&mut joint, 2), [3.0, 4.0]);
        let rest = READY - 5;
        assert_eq!(pulled(&mut joint, rest + 1), vec![0.0; rest + 1], "dry");
        joint.push(std::iter::repeat_n(0.5, READY));
        assert_eq!(pulled(&mut joint, 1), [5.0], "going on where it stopped");
    }

    #[test]
    fn a_device_that_is_too_fast_costs_the_oldest_samples() {
        let mut joint = Joint::default();
        joint.push((0..=FULL).map(|n| n as f32));
        assert_eq!(joint.samples.len(), READY);
        assert_eq!(pulled(&mut joint, 1), [(FULL + 1 - READY) as f32]);
    }
}
