//! WAV files of every kind.

use crate::riff::{Format, chunk, extension, file, file_sized, on, pcm, sized, tone};
use crate::{HALF_DB, assert_tone};
use wzp_media::source::{self, Source};

const UNKNOWN: u32 = u32::MAX;

fn format() -> Vec<u8> {
    Format::default().chunk()
}

fn sound() -> Vec<u8> {
    pcm(&tone(48_000, 1.0), 16)
}

/// A second of the tone.
pub(crate) fn plain() -> Vec<u8> {
    file(&[format(), chunk(b"data", &sound())])
}

/// What streams of mono with 16 bits begin with: of ffmpeg, arecord, sox.
pub(crate) fn endless() -> Vec<Vec<u8>> {
    let begin = |riff, data| file_sized(&[format(), sized(b"data", &[], data)], riff);
    [(UNKNOWN, UNKNOWN), (0x8000_0024, 0x8000_0000), (0x7fff_ffff, 0x7fff_ffdb), (0, 0), (36, 0)]
        .map(|(riff, data)| begin(riff, data))
        .into()
}

/// The sound behind these chunks.
fn after(chunks: &[Vec<u8>]) -> Vec<u8> {
    file(&[chunks, &[chunk(b"data", &sound())]].concat())
}

/// The sound with that format.
fn of(format: Format<'_>, sound: &[u8]) -> Vec<u8> {
    file(&[format.chunk(), chunk(b"data", sound)])
}

/// A second of stereo with 16 bits, whose sizes are these.
fn stereo_sized(riff: u32, data: u32) -> Vec<u8> {
    let format = Format { channels: 2, ..Format::default() };
    let sound = pcm(&on(2, &tone(48_000, 1.0)), 16);
    file_sized(&[format.chunk(), sized(b"data", &sound, data)], riff)
}

/// A second at that rate.
fn at(rate: u32) -> Vec<u8> {
    of(Format { rate, ..Format::default() }, &pcm(&tone(rate, 1.0), 16))
}

fn mu_law(sample: f64) -> u8 {
    let magnitude = ((sample.abs() * 32_635.0) as u32 + 132).min(32_767);
    let exponent = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 15;
    let sign = if sample < 0.0 { 0x80 } else { 0 };
    !(sign | (exponent << 4 | mantissa) as u8)
}

fn floats(samples: &[f64]) -> Vec<u8> {
    samples.iter().flat_map(|sample| (*sample as f32).to_le_bytes()).collect()
}

fn swapped(mut bytes: Vec<u8>, width: usize) -> Vec<u8> {
    bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    bytes
}

fn rifx() -> Vec<u8> {
    let sound = swapped(sound(), 2);
    [
        b"RIFX",
        &(36 + sound.len() as u32).to_be_bytes()[..],
        b"WAVEfmt \0\0\0\x10\0\x01\0\x01",
        &48_000_u32.to_be_bytes(),
        &96_000_u32.to_be_bytes(),
        &[0, 2, 0, 16],
        b"data",
        &(sound.len() as u32).to_be_bytes(),
        &sound,
    ]
    .concat()
}

fn rf64() -> Vec<u8> {
    let sound = sound();
    let length = sound.len() as u64;
    let sizes = [(length + 72).to_le_bytes(), length.to_le_bytes(), 48_000_u64.to_le_bytes()];
    let sizes = [&sizes.concat()[..], &[0; 4]].concat();
    let chunks = [
        chunk(b"ds64", &sizes),
        format(),
        sized(b"data", &sound, UNKNOWN),
        chunk(b"LIST", &[7; 999]),
    ];
    let mut file = file_sized(&chunks, UNKNOWN);
    file[..4].copy_from_slice(b"RF64");
    file
}

/// Microsoft ADPCM with steps that follow the tone badly, but at its pitch: one
/// block after the other whose two first samples are exact.
fn ima_adpcm() -> Vec<u8> {
    const STEPS: [i32; 89] = [
        7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60,
        66, 73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371,
        408, 449, 494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878,
        2066, 2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845,
        8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086,
        29794, 32767,
    ];
    const CHANGES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];
    let samples: Vec<_> =
        tone(8_000, 1.1).iter().map(|sample| (sample * 32_767.0) as i32).collect();
    let (mut blocks, mut index) = (Vec::new(), 40_i32);
    for block in samples.chunks_exact(505) {
        let mut predicted = block[0];
        blocks.extend((predicted as i16).to_le_bytes());
        blocks.extend([index as u8, 0]);
        let mut nibbles = Vec::new();
        for sample in &block[1..] {
            let step = STEPS[index as usize];
            let off = sample - predicted;
            let code = (off.abs() * 4 / step).min(7);
            let change =
                step / 8 + step * (code & 1) / 4 + step * (code >> 1 & 1) / 2 + step * (code >> 2);
            predicted = (predicted + change * off.signum()).clamp(-32_768, 32_767);
            index = (index + CHANGES[code as usize]).clamp(0, 88);
            nibbles.push(code as u8 | if off < 0 { 8 } else { 0 });
        }
        blocks.extend(nibbles.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4));
    }
    // Cut to a second.
    let more = [2, 0, 0xf9, 1];
    let format = Format {
        tag: 0x11,
        rate: 8_000,
        bits: 4,
        block: Some(256),
        more: &more,
        ..Format::default()
    };
    of(format, &blocks)
}

#[test]
fn what_others_play_is_played() {
    let x48 = tone(48_000, 1.0);
    let stereo = pcm(&on(2, &x48), 16);
    let with = |bits, block, sound: &[u8]| of(Format { bits, block, ..Format::default() }, sound);
    let float = |bits, more: &[u8], sound: &[u8]| {
        of(Format { tag: 3, bits, more, ..Format::default() }, sound)
    };
    let extensible = |channels, bits, more: &[u8], sound: &[u8]| {
        of(Format { tag: 0xfffe, channels, bits, more, ..Format::default() }, sound)
    };
    let doubles: Vec<u8> = x48.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let laws: Vec<u8> = tone(8_000, 1.0).into_iter().map(mu_law).collect();
    let tag = |tag, sound: &[u8]| {
        of(Format { tag, rate: 8_000, bits: 8, more: &[0, 0], ..Format::default() }, sound)
    };
    let left: Vec<f64> = x48.iter().flat_map(|sample| [*sample, 0.0]).collect();
    let unpadded = [&b"JUNK\x1b\0\0\0"[..], &[b'x'; 27]].concat();
    let data = || chunk(b"data", &sound());
    let cases: Vec<(&str, Vec<u8>, f64)> = vec![
        ("plain", plain(), HALF_DB),
        // Chunks before and after the sound.
        (
            "a list",
            after(&[format(), chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf58.76.100\0")]),
            HALF_DB,
        ),
        ("an odd list", after(&[format(), chunk(b"LIST", b"INFOISFT\x05\0\0\0Abcd\0")]), HALF_DB),
        ("a broken list", after(&[format(), chunk(b"LIST", b"INFOISFT\xff\xff\0\0A")]), HALF_DB),
        ("odd junk before the format", after(&[chunk(b"JUNK", &[0; 27]), format()]), HALF_DB),
        ("odd junk without its pad", after(&[unpadded, format()]), HALF_DB),
        ("a broadcast extension", after(&[chunk(b"bext", &[0; 602]), format()]), HALF_DB),
        ("a tag", after(&[format(), chunk(b"id3 ", b"ID3\x03\0\0\0\0\0\x01x")]), HALF_DB),
        ("a tag after", file(&[format(), data(), chunk(b"id3 ", &[b'x'; 333])]), HALF_DB),
        ("a long fact", after(&[format(), chunk(b"fact", &[0; 12])]), HALF_DB),
        ("a fact that lies", after(&[format(), chunk(b"fact", &[1, 0, 0, 0])]), HALF_DB),
        // Sizes that are none.
        ("a stream", file_sized(&[format(), sized(b"data", &sound(), UNKNOWN)], UNKNOWN), HALF_DB),
        ("a stereo stream", stereo_sized(UNKNOWN, UNKNOWN), HALF_DB),
        ("a stream of 2 GiB", stereo_sized(0x7fff_ffff, 0x7fff_ffff), HALF_DB),
        (
            "a stream of arecord",
            file_sized(&[format(), sized(b"data", &sound(), 1 << 31)], 0x8000_0024),
            HALF_DB,
        ),
        ("unfinished", file_sized(&[format(), sized(b"data", &sound(), 0)], 0), HALF_DB),
        (
            "unfinished with a header's size",
            file_sized(&[format(), sized(b"data", &sound(), 0)], 36),
            HALF_DB,
        ),
        ("unfinished but for the sound", file_sized(&[format(), data()], 0), HALF_DB),
        ("longer than the file", file(&[format(), sized(b"data", &sound(), 97_000)]), HALF_DB),
        (
            "half a sample more",
            file(&[format(), chunk(b"data", &[&sound()[..], &[1]].concat())]),
            HALF_DB,
        ),
        ("an empty sound first", file(&[format(), chunk(b"data", b""), data()]), HALF_DB),
        // Formats.
        (
            "8 bits",
            of(Format { bits: 8, rate: 8_000, ..Format::default() }, &pcm(&tone(8_000, 1.0), 8)),
            HALF_DB,
        ),
        ("24 bits", with(24, None, &pcm(&x48, 24)), HALF_DB),
        (
            "32 bits",
            of(Format { bits: 32, more: &[0, 0], ..Format::default() }, &pcm(&x48, 32)),
            HALF_DB,
        ),
        (
            "a format of 20 bytes",
            of(Format { more: &[2, 0, 0, 0], ..Format::default() }, &sound()),
            HALF_DB,
        ),
        ("24 bits in 32", with(24, Some(4), &pcm(&x48, 32)), HALF_DB),
        ("12 bits in 16", with(12, Some(2), &sound()), HALF_DB),
        ("20 bits in 24", with(20, Some(3), &pcm(&x48, 24)), HALF_DB),
        ("float", float(32, &[], &floats(&x48)), HALF_DB),
        ("float with an extension", float(32, &[0, 0], &floats(&x48)), HALF_DB),
        ("double", float(64, &[], &doubles), HALF_DB),
        ("mu-law", tag(7, &laws), HALF_DB),
        ("IMA ADPCM", ima_adpcm(), HALF_DB),
        ("5.1", extensible(6, 16, &extension(1, 16, 0x3f, &[]), &pcm(&on(6, &x48), 16)), HALF_DB),
        (
            "extensible float",
            extensible(2, 32, &extension(3, 32, 3, &[]), &floats(&on(2, &x48))),
            HALF_DB,
        ),
        ("a long extension", extensible(1, 16, &extension(1, 16, 4, &[0, 0]), &sound()), HALF_DB),
        ("no channel mask", extensible(2, 16, &extension(1, 16, 0, &[]), &stereo), HALF_DB),
        (
            "no bytes per second",
            of(Format { bytes_per_second: Some(0), ..Format::default() }, &sound()),
            HALF_DB,
        ),
        (
            "a wrong block",
            of(Format { channels: 2, block: Some(2), ..Format::default() }, &stereo),
            HALF_DB,
        ),
        ("no block", of(Format { block: Some(0), ..Format::default() }, &sound()), HALF_DB),
        ("RF64", rf64(), HALF_DB),
        ("RIFX", rifx(), HALF_DB),
        (
            "left only",
            of(Format { channels: 2, ..Format::default() }, &pcm(&left, 16)),
            HALF_DB - 6.02,
        ),
        (
            "64 channels",
            of(Format { channels: 64, ..Format::default() }, &pcm(&on(64, &x48), 16)),
            HALF_DB,
        ),
        // Rates.
        ("3999 Hz", at(3_999), HALF_DB),
        ("8 kHz", at(8_000), HALF_DB),
        ("11.025 kHz", at(11_025), HALF_DB),
        ("44.1 kHz", at(44_100), HALF_DB),
        ("44,056 Hz", at(44_056), HALF_DB),
        ("44,099 Hz", at(44_099), HALF_DB),
        ("47,952 Hz", at(47_952), HALF_DB),
        ("192 kHz", at(192_000), HALF_DB),
        ("383,983 Hz", at(383_983), HALF_DB),
        ("768 kHz", at(768_000), HALF_DB),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, file, level) in cases {
        let path = folder.path().join("file.wav");
        std::fs::write(&path, &file).unwrap();
        let samples = source::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let seconds = if name == "IMA ADPCM" { 17.0 * 505.0 / 8_000.0 } else { 1.0 };
        assert_tone(name, &samples, seconds, level);
        // The same by a pipe, which nobody can seek in.
        let piped = Source::read(name, std::io::Cursor::new(file)).unwrap().rest().unwrap();
        assert_eq!(piped, samples, "{name} by a pipe");
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_what_it_is() {
    let of = |tag, bits, block| {
        of(Format { tag, bits, block, more: &[0, 0], ..Format::default() }, &[0; 4096])
    };
    let rate = |rate| self::of(Format { rate, ..Format::default() }, &[0; 64]);
    let channels = |channels| self::of(Format { channels, ..Format::default() }, &[0; 64]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (file(&[format(), chunk(b"data", b"")]), "has no sound in it"),
        (file(&[format()]), "has no sound in it"),
        (file(&[chunk(b"data", &sound())]), "is damaged: its format is missing"),
        (file(&[chunk(b"fmt ", &[1, 0, 1, 0])]), "is damaged: its format is cut short"),
        (plain()[..30].to_vec(), "is damaged: its format is cut short"),
        (channels(0), "is damaged: it has no channels"),
        (rate(0), "holds sound of 0 Hz, which cannot be played here"),
        (rate(100), "holds sound of 100 Hz, which cannot be played here"),
        (rate(u32::MAX), "holds sound of 4294967295 Hz, which cannot be played here"),
        (of(1, 64, None), "holds integer samples of 64 bits, which cannot be played here"),
        (of(1, 0, Some(0)), "holds integer samples of 0 bits, which cannot be played here"),
        (of(3, 16, None), "holds float samples of 16 bits, which cannot be played here"),
        (of(0x31, 0, Some(65)), "holds GSM 6.10, which cannot be played here"),
        (of(0x55, 0, Some(1)), "holds MP3 in a WAV file, which cannot be played here"),
        (of(0x1234, 8, None), "holds sound of the format 0x1234, which cannot be played here"),
        (of(0x11, 3, Some(512)), "holds ADPCM of 3 bits and 1 channels, which"),
        (of(2, 4, Some(3)), "is damaged: its blocks are too short"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.wav");
    for (file, sentence) in cases {
        std::fs::write(&path, file).unwrap();
        let error = source::read(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("/file.wav {sentence}")), "{sentence:?}: {error}");
    }
}
