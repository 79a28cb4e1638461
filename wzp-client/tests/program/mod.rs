//! The program under test, and what it wrote.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::relay::Relay;

/// The client, in the lobby of that relay.
pub(crate) fn command<T: Send + 'static>(relay: &Relay<T>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wzp-client"));
    command.args(["--room", "lobby", "--pin", &relay.fingerprint, &relay.address.to_string()]);
    command.args(arguments);
    command
}

/// Runs it to its end.
pub(crate) fn client<T: Send + 'static>(relay: &Relay<T>, arguments: &[&str]) -> Output {
    command(relay, arguments).output().unwrap()
}

/// Lets it run.
pub(crate) fn spawn<T: Send + 'static>(relay: &Relay<T>, arguments: &[&str]) -> Child {
    command(relay, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The last line of standard error, which is to tell the error.
pub(crate) fn error(output: &Output) -> String {
    let text = stderr(output);
    assert!(!text.contains("panicked"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{text}");
    last.to_owned()
}

pub(crate) fn summary(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text:?}, {}", stderr(output));
    serde_json::from_str(&text).unwrap()
}

/// The samples of a mono 16-bit 48 kHz WAV file whose header tells the truth about
/// its length.
pub(crate) fn mono16(wav: &[u8]) -> Vec<i16> {
    let word = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().unwrap());
    assert_eq!((&wav[..4], &wav[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(word(4) as usize, wav.len() - 8);
    assert_eq!(word(24), wzp_proto::media::CLOCK_HZ);
    let data = wav.windows(4).position(|window| window == b"data").unwrap();
    assert_eq!(word(data + 4) as usize, wav.len() - data - 8);
    samples(&wav[data + 8..])
}

pub(crate) fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// From the first tick in which there is something to the last. What a decoder makes up when
/// nothing comes any more, a second at most, is something, too.
pub(crate) fn sounding(samples: &[i16]) -> &[i16] {
    const TICK: usize = 960;
    let is_loud = |tick: &[i16]| loudest(tick) >= 100;
    let first = samples.chunks(TICK).position(is_loud).unwrap_or(0);
    let end = samples.chunks(TICK).rposition(is_loud).map_or(0, |last| last + 1);
    &samples[first * TICK..(end * TICK).min(samples.len())]
}

/// Of the loudest sample.
pub(crate) fn loudest(samples: &[i16]) -> u16 {
    samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
}
