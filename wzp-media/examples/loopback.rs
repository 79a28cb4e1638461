//! Plays a WAV file through encoder, a simulated path and listener, and writes
//! what the listener hears. For judging changes to codec settings and to the
//! jitter buffer by ear or by PESQ; time is simulated, so it takes a moment only.
//!
//! `loopback IN.wav OUT.wav [loss=PERCENT] [jitter=MS] [seed=N] [expect=PERCENT]
//!  [profile=0|1|2] [dtx=0|1] [ppm=N]`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wzp_media::encoder::{INITIAL_EXPECTED_LOSS, VoiceEncoder};
use wzp_media::listener::Listener;
use wzp_media::recording::Recording;
use wzp_media::{SILENT_TICK, TICK_SAMPLES, source};
use wzp_proto::media::{MediaHeader, Profile};

/// Transit of the fastest datagram.
const TRANSIT_US: u64 = 30_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let input = arguments.next().context("the first argument is the WAV file to play")?;
    let output = arguments.next().context("the second argument is the WAV file to write")?;
    let mut settings = BTreeMap::from(
        [
            ("loss", 0.0),
            ("jitter", 0.0),
            ("seed", 1.0),
            ("profile", 0.0),
            ("dtx", 0.0),
            ("ppm", 0.0),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    settings.insert("expect".to_owned(), f64::from(INITIAL_EXPECTED_LOSS));
    for argument in arguments {
        let (name, value) = argument.split_once('=').context("settings look like loss=5")?;
        match settings.get_mut(name) {
            Some(setting) => *setting = value.parse().with_context(|| argument.clone())?,
            None => bail!("{name} is none of {:?}", settings.keys().collect::<Vec<_>>()),
        }
    }

    let mut rng = ChaCha8Rng::seed_from_u64(settings["seed"] as u64);
    let mut encoder = VoiceEncoder::new(1)?;
    encoder.set_expected_loss(settings["expect"] as u8)?;
    encoder.set_dtx(settings["dtx"] != 0.0)?;
    let profile = Profile::from_wire(settings["profile"] as u8).context("profiles are 0 to 2")?;
    encoder.set_profile(profile);

    // Datagrams by arrival; the number keeps simultaneous ones apart.
    let mut path: BTreeMap<(u64, usize), Vec<u8>> = BTreeMap::new();
    let voice = source::read(Path::new(&input))?;
    let mut bytes = 0;
    let sender_tick_us = 20_000.0 * (1.0 + settings["ppm"] / 1e6);
    for (number, samples) in voice.chunks(TICK_SAMPLES).enumerate() {
        let mut tick = SILENT_TICK;
        tick[..samples.len()].copy_from_slice(samples);
        let Some(frame) = encoder.push(&tick)? else { continue };
        bytes += frame.payload.len();
        let lost = rng.random_range(0.0..100.0) < settings["loss"];
        let delay_us = rng.random_range(0.0..=settings["jitter"] * 1000.0);
        if !lost {
            let sent_us = (number + 1) as f64 * sender_tick_us;
            let at = (sent_us + delay_us) as u64 + TRANSIT_US;
            path.insert((at, number), frame.datagram());
        }
    }

    let mut listener = Listener::new(8);
    let mut recording = Recording::create(Path::new(&output))?;
    let mut mix = SILENT_TICK;
    let last_us = path.last_key_value().map_or(0, |((at, _), _)| *at);
    // The listener's ticks fall between the arrivals.
    for now_us in (7_000..last_us + 2_000_000).step_by(20_000) {
        while let Some(entry) = path.first_entry().filter(|entry| entry.key().0 <= now_us) {
            let ((at, _), datagram) = entry.remove_entry();
            let (header, payload) = MediaHeader::decode(&datagram)?;
            listener.receive(Duration::from_micros(at), &header, payload)?;
        }
        listener.pull(Duration::from_micros(now_us), &mut mix);
        recording.push(&mix)?;
    }
    let seconds = voice.len() as f64 / 48_000.0;
    println!(
        "sent {seconds:.3} s at {:.1} kbit/s, heard {:.3} s",
        bytes as f64 * 8.0 / 1000.0 / seconds,
        recording.samples() as f64 / 48_000.0
    );
    recording.finish()?;
    for stats in listener.stats(Duration::from_micros(last_us)) {
        println!("{stats:#?}");
    }
    Ok(())
}
