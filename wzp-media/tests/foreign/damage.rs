//! Files that are damaged: what can be played is, and what cannot is told.

use std::io::Cursor;

use wzp_media::SAMPLE_RATE;
use wzp_media::source::Source;

use crate::riff::{Format, chunk, file, pcm, sized, tone};

const FLAC: &[u8] = include_bytes!("tone.flac");
const MP3: &[u8] = include_bytes!("tone.mp3");

/// Three seconds of Opus, a page every 200 ms.
const OPUS: &[u8] = include_bytes!("pages.opus");

/// Seconds that are played, and what is told of the rest.
fn played(file: Vec<u8>) -> (f64, Vec<String>) {
    let mut source = Source::read("a pipe", Cursor::new(file)).unwrap();
    let mut ticks = 0;
    while source.tick().unwrap().is_some() {
        ticks += 1;
    }
    let damages = std::iter::from_fn(|| source.damage()).map(|damage| damage.to_string());
    (f64::from(ticks) / 50.0, damages.collect())
}

/// Noise instead of what is there from that byte on.
fn noise(file: &[u8], from: usize, bytes: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    for (number, byte) in file[from..from + bytes].iter_mut().enumerate() {
        *byte = ((number as u32).wrapping_mul(2_654_435_761) >> 13) as u8;
    }
    file
}

fn check(name: &str, file: Vec<u8>, seconds: f64, damages: &[&str]) {
    let (length, told) = played(file);
    assert_eq!(told, damages, "{name}");
    assert!((length - seconds).abs() < 0.03, "{name}: {length} s, not {seconds}");
}

#[test]
fn whole_files_are_whole() {
    for (name, file, seconds) in [("FLAC", FLAC, 0.5), ("MP3", MP3, 0.5), ("Opus", OPUS, 3.0)] {
        check(name, file.to_vec(), seconds, &[]);
        // As programs leave tags behind the end.
        let tag = [b"TAG", &[b' '; 125][..]].concat();
        let (_, told) = played([file, &tag].concat());
        assert!(told.is_empty(), "{name}: {told:?}");
    }
}

#[test]
fn an_ogg_file_with_noise_in_it_is_played_on_behind_it() {
    // Pages from 800 ms to 1.4 s.
    check("noise", noise(OPUS, 2_400, 1_100), 2.4, &["unreadable at 0.8 s"]);
    // The last but one: no time behind it shows that something is missing.
    check("near the end", noise(OPUS, 6_900, 10), 2.8, &["unreadable at 2.8 s"]);
    let twice = noise(&noise(OPUS, 800, 10), 5_000, 10);
    check("twice", twice, 2.6, &["unreadable at 0.2 s", "unreadable at 1.8 s"]);
    let without = [&OPUS[..2_351], &OPUS[3_704..]].concat();
    check("pages that are missing", without, 2.4, &["unreadable at 0.8 s"]);
}

#[test]
fn a_file_that_is_cut_off_is_played_as_far_as_it_goes() {
    check("Ogg", OPUS[..4_000].to_vec(), 1.4, &["cut off at 1.4 s"]);
    check("Ogg at a page", OPUS[..4_144].to_vec(), 1.6, &["cut off at 1.6 s"]);
    let (seconds, told) = played(FLAC[..FLAC.len() - 2_800].to_vec());
    assert!((0.05..0.2).contains(&seconds), "{seconds}");
    assert_eq!(told, ["cut off at 0.1 s, 0.4 s before its end"]);
    let (seconds, told) = played(MP3[..MP3.len() / 4].to_vec());
    assert!((0.02..0.2).contains(&seconds), "{seconds}");
    assert!(told.len() == 1 && told[0].starts_with("cut off at 0."), "{told:?}");
}

#[test]
fn a_flac_file_with_noise_in_it_is_played_on_behind_it() {
    let (seconds, told) = played(noise(FLAC, FLAC.len() - 1_500, 50));
    assert!((0.3..0.45).contains(&seconds), "{seconds}");
    assert!(told.len() == 1 && told[0].starts_with("unreadable at 0."), "{told:?}");
}

/// Sizes that nobody filled in, or that are those of a stream, are no damage.
#[test]
fn a_wav_file_that_is_shorter_than_it_says_is_cut_off() {
    let sound = pcm(&tone(SAMPLE_RATE, 1.0), 16);
    let of = |size| file(&[Format::default().chunk(), sized(b"data", &sound, size)]);
    let cut = "cut off at 1.0 s, 1.0 s before its end";
    let cases: [(u32, &[&str]); 6] = [
        (96_000, &[]),
        (97_000, &[]),
        (192_000, &[cut]),
        (0x7fff_ffff, &[]),
        (1 << 31, &[]),
        (u32::MAX, &[]),
    ];
    for (size, damages) in cases {
        check(&format!("{size} bytes"), of(size), 1.0, damages);
    }
    let whole = file(&[Format::default().chunk(), chunk(b"data", &sound)]);
    check("with a chunk behind it", [whole, chunk(b"LIST", b"INFO")].concat(), 1.0, &[]);
}
