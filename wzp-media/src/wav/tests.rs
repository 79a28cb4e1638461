use std::f64::consts::TAU;

use hound::WavWriter;

use super::*;

/// A sine of 440 Hz at half of full scale.
fn sine(rate: u32, samples: usize) -> impl Iterator<Item = f64> {
    (0..samples).map(move |at| 0.5 * (TAU * 440.0 * at as f64 / f64::from(rate)).sin())
}

fn write(path: &Path, spec: WavSpec, samples: usize) {
    let mut writer = WavWriter::create(path, spec).unwrap();
    for value in sine(spec.sample_rate, samples) {
        for _ in 0..spec.channels {
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                SampleFormat::Int => {
                    let scale = (1u64 << (spec.bits_per_sample - 1)) as f64;
                    writer.write_sample((value * scale) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
}

#[test]
fn every_format_gives_the_same_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sine.wav");
    let formats = [
        (SampleFormat::Int, 8, 0.02),
        (SampleFormat::Int, 16, 0.003),
        (SampleFormat::Int, 24, 0.003),
        (SampleFormat::Int, 32, 0.003),
        (SampleFormat::Float, 32, 0.003),
    ];
    for (sample_format, bits_per_sample, tolerance) in formats {
        for channels in [1, 2, 6] {
            for sample_rate in [8_000, 11_025, 16_000, 44_100, 48_000, 96_000] {
                let spec = WavSpec { channels, sample_rate, bits_per_sample, sample_format };
                let samples = sample_rate as usize / 2 + 7;
                write(&path, spec, samples);
                let read = read(&path).unwrap();
                let length = (samples as f64 * 48_000.0 / f64::from(sample_rate)).round();
                assert_eq!(read.len(), length as usize, "{spec:?}");
                // Compared sample by sample, so a shift in time would show. The
                // ends ring, because the sine stops there.
                let far_from_ends = 2_400..read.len() - 2_400;
                let error = sine(48_000, read.len())
                    .zip(&read)
                    .map(|(expected, sample)| (expected - f64::from(*sample)).abs())
                    .take(far_from_ends.end)
                    .skip(far_from_ends.start)
                    .fold(0.0, f64::max);
                assert!(error < tolerance, "{spec:?}: off by {error}");
            }
        }
    }
}

#[test]
fn float_samples_beyond_full_scale_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("float.wav");
    let spec = WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 32,
        sample_format: SampleFormat::Float,
    };
    let mut writer = WavWriter::create(&path, spec).unwrap();
    for sample in [0.5, 3.0, f32::NEG_INFINITY, f32::NAN] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(read(&path).unwrap(), [0.5, 1.0, -1.0, 0.0]);
}

#[test]
fn head_and_tail_survive_resampling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks.wav");
    let rate = 16_000;
    let spec = WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(&path, spec).unwrap();
    for at in 0..rate {
        writer.write_sample(if at == 2 || at == rate - 3 { 30_000i16 } else { 0 }).unwrap();
    }
    writer.finalize().unwrap();
    let read = read(&path).unwrap();
    let loudest =
        |range: std::ops::Range<usize>| range.max_by(|a, b| read[*a].total_cmp(&read[*b])).unwrap();
    assert_eq!(loudest(0..24_000), 6);
    assert_eq!(loudest(24_000..48_000), 48_000 - 9);
}

#[test]
fn refusals_say_what_is_wrong_with_which_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let int = |sample_rate| WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    std::fs::write(path("text.wav"), "Once upon a time, there was a file without sound.").unwrap();
    std::fs::write(path("nothing.wav"), "").unwrap();
    write(&path("empty.wav"), int(48_000), 0);
    write(&path("slow.wav"), int(100), 10);
    write(&path("law.wav"), int(8_000), 10);
    let mut law = std::fs::read(path("law.wav")).unwrap();
    law[20] = 7; // The format tag of µ-law.
    std::fs::write(path("law.wav"), law).unwrap();
    let cases = [
        ("missing.wav", "missing.wav does not exist"),
        (".", " cannot be read: "),
        ("text.wav", "text.wav is not a WAV file: "),
        ("nothing.wav", "nothing.wav is not a WAV file: "),
        ("empty.wav", "empty.wav has no samples"),
        ("slow.wav", "slow.wav is a WAV file of an unsupported kind (100 Hz)"),
        ("law.wav", "law.wav is a WAV file of an unsupported kind (compressed or unusual)"),
    ];
    for (name, sentence) in cases {
        let error = read(&path(name)).unwrap_err().to_string();
        assert!(error.contains(sentence), "{name}: {error}");
        assert!(error.starts_with(folder.path().to_str().unwrap()), "{name}: {error}");
    }
}

#[test]
fn a_file_cut_short_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.wav");
    let spec = WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    write(&path, spec, 48_000);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(read(&path).unwrap().len(), (whole.len() / 2 - 44) / 2);
}
