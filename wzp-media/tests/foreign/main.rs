//! Sound files as other programs write them: what ffmpeg and libsndfile play is
//! played here, at the right pitch and as loud; what nobody plays is refused
//! with a sentence that is true.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod damage;
mod riff;
mod wav;

use std::io::{Cursor, Read};
use std::path::Path;

use riff::{Format, chunk, file, pcm, sized, tone};
use wzp_media::SAMPLE_RATE;
use wzp_media::source::{self, Source};

/// Of every tone here.
const HERTZ: f64 = 440.0;

/// Level of a sine at half of full scale, in decibels below a full-scale sine.
const HALF_DB: f64 = -6.02;

/// How long it is, how loud, and how high.
fn measure(samples: &[f32]) -> (f64, f64, f64) {
    let rate = f64::from(SAMPLE_RATE);
    // Whole periods far from the ends, where resamplers ring.
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let power: f64 = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let level = 10.0 * (2.0 * power / middle.len() as f64).max(1e-12).log10();
    let rising = |at: &usize| middle[*at - 1] < 0.0 && middle[*at] >= 0.0;
    let crossings: Vec<_> = (1..middle.len()).filter(rising).collect();
    let hertz = match (crossings.first(), crossings.last()) {
        (Some(first), Some(last)) if last > first => {
            (crossings.len() - 1) as f64 * rate / (last - first) as f64
        }
        _ => 0.0,
    };
    (samples.len() as f64 / rate, level, hertz)
}

fn assert_tone(name: &str, samples: &[f32], seconds: f64, level: f64) {
    let (length, loud, hertz) = measure(samples);
    assert!((length - seconds).abs() < 0.002, "{name}: {length} s, not {seconds}");
    assert!((loud - level).abs() < 0.3, "{name}: {loud} dB, not {level}");
    assert!((hertz - HERTZ).abs() < 2.0, "{name}: {hertz} Hz");
}

/// Half a second of the tone, as ffmpeg 5.1 writes it.
#[test]
fn flac_ogg_and_mp3_are_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    // The MP3 encoder makes the tone quieter: ffmpeg plays it at that level, too.
    let files = [
        ("tone.flac", HALF_DB),
        ("tone.ogg", HALF_DB),
        ("tone.opus", HALF_DB),
        ("tone-stereo.opus", HALF_DB),
        ("tone.mp3", -6.47),
    ];
    for (name, level) in files {
        let samples = source::read(&folder.join(name)).unwrap();
        assert_tone(name, &samples, 0.5, level);
    }
}

/// What reads one byte at a time, and fails if it is asked after its end.
struct Trickle(Vec<u8>, usize);

impl Read for Trickle {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let Some(byte) = self.0.get(self.1) else { return Ok(0) };
        self.1 += 1;
        bytes[0] = *byte;
        Ok(1)
    }
}

#[test]
fn pipes_may_be_slow() {
    let wav = wav::plain();
    let samples = Source::read("a pipe", Trickle(wav, 0)).unwrap().rest().unwrap();
    assert_tone("a pipe", &samples, 1.0, HALF_DB);
}

/// A stream without an end, as arecord and ffmpeg write it, is played as it comes:
/// what comes is heard before more than a packet has been read.
#[test]
fn streams_are_played_as_they_come() {
    for header in wav::endless() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sound = std::thread::spawn(move || {
            let mut source = Source::read("a pipe", reader).unwrap();
            (0..3).all(|_| source.tick().unwrap().is_some())
        });
        std::io::Write::write_all(&mut writer, &header).unwrap();
        // Four ticks of mono with 16 bits, and it stays open.
        std::io::Write::write_all(&mut writer, &vec![1; 4 * 960 * 2]).unwrap();
        assert!(sound.join().unwrap());
        drop(writer);
    }
}

#[test]
fn text_and_noise_are_no_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for content in [&b""[..], b"RIFF", b"Once upon a time, there was a file.", &[0; 5000], &noise] {
        std::fs::write(&path, content).unwrap();
        let error = source::read(&path).unwrap_err().to_string();
        assert!(error.contains("file is not a sound file that is known here: WAV, "), "{error}");
    }
    let missing = source::read(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.ends_with("/none does not exist"), "{missing}");
    let directory = source::read(folder.path()).unwrap_err().to_string();
    assert!(directory.contains(" cannot be read: "), "{directory}");
}

/// Sample by sample, so that a shift in time would show. The ends ring, because the
/// sine stops there.
#[test]
fn nothing_is_shifted_in_time() {
    for rate in [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 44_099] {
        let format = Format { rate, ..Format::default() };
        let sound = pcm(&tone(rate, 0.5), 16);
        let wav = file(&[format.chunk(), chunk(b"data", &sound)]);
        let read = Source::read("a pipe", Cursor::new(wav)).unwrap().rest().unwrap();
        let expected = tone(48_000, 0.5);
        assert!(read.len().abs_diff(expected.len()) <= 3, "{rate} Hz");
        let off = |(expected, sample): (&f64, &f32)| (expected - f64::from(*sample)).abs();
        let pairs = expected.iter().zip(&read).take(expected.len() - 2_400).skip(2_400);
        let error = pairs.map(off).fold(0.0, f64::max);
        assert!(error < 0.003, "{rate} Hz: off by {error}");
    }
}

#[test]
fn head_and_tail_survive_resampling() {
    let mut clicks = vec![0.0; 16_000];
    (clicks[2], clicks[15_997]) = (0.9, 0.9);
    let format = Format { rate: 16_000, ..Format::default() };
    let wav = file(&[format.chunk(), chunk(b"data", &pcm(&clicks, 16))]);
    let read = Source::read("a pipe", Cursor::new(wav)).unwrap().rest().unwrap();
    assert_eq!(read.len(), 48_000);
    let loudest =
        |range: std::ops::Range<usize>| range.max_by(|a, b| read[*a].total_cmp(&read[*b])).unwrap();
    assert_eq!((loudest(0..24_000), loudest(24_000..48_000)), (6, 48_000 - 9));
}

#[test]
fn what_is_beyond_full_scale_is_cut_off() {
    let samples = [0.5, 3.0, f32::NEG_INFINITY, f32::NAN];
    let sound: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let format = Format { tag: 3, bits: 32, ..Format::default() };
    let wav = file(&[format.chunk(), chunk(b"data", &sound)]);
    let read = Source::read("a pipe", Cursor::new(wav)).unwrap().rest().unwrap();
    assert_eq!(read, [0.5, 1.0, -1.0, 0.0]);
}

/// A file of hours in the memory of one of seconds: the highest mark of this process
/// is looked at, for which nothing else in it may be large.
#[test]
fn long_files_are_not_held_in_memory() {
    let mark = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wav");
    const BYTES: u64 = 1 << 30;
    let format = Format { channels: 2, rate: 44_100, ..Format::default() };
    let header = file(&[format.chunk(), sized(b"data", &[], BYTES as u32)]);
    std::fs::write(&path, header).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
    let mut source = Source::open(&path).unwrap();
    let before = mark();
    for _ in 0..20_000 {
        source.tick().unwrap().unwrap();
    }
    assert!(mark() - before < 8_192, "{} kB more", mark() - before);
}
