//! What is wrong on this side of the network: each case ends with the right
//! exit code and one sentence that names the culprit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::process::{Command, Output};

const FINGERPRINT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn client(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wzp-client")).args(arguments).output().unwrap()
}

/// The first paragraph of standard error; clap adds usage hints below it.
fn first_paragraph(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.split("\n\n").next().unwrap_or_default().trim_end().to_owned()
}

#[test]
fn wrong_arguments() {
    let long_room = "r".repeat(129);
    let long_name = "n".repeat(129);
    let long_token = "t".repeat(8193);
    let cases: [(&[&str], &str); 21] = [
        (&[], "<RELAY>"),
        (&["relay.example"], "--room"),
        (&["--room", "", "relay.example"], "the room name is empty"),
        (&["--room", &long_room, "relay.example"], "the room name has 129 bytes"),
        (&["--room", "a", "--name", &long_name, "relay.example"], "the display name has 129 bytes"),
        (&["--room", "a", "--token", &long_token, "relay.example"], "the token has 8193 bytes"),
        (&["--room", "a", "https://relay.example"], "expected host:port"),
        (&["--room", "a", "relay:0"], "expected host:port"),
        (&["--room", "a", "--pin", "nonsense", "relay.example"], "SHA-256 fingerprint"),
        (&["--room", "a", "--pin", FINGERPRINT, "--insecure", "relay.example"], "--insecure"),
        (&["--room", "a", "--duration", "soon", "relay.example"], "expected seconds"),
        (&["--room", "a", "--duration=-1", "relay.example"], "expected seconds"),
        (&["--room", "a", "--duration", "1e300", "relay.example"], "expected seconds"),
        (&["--room", "a", "--send-tone", "0", "relay.example"], "more than 0 seconds"),
        (&["--room", "a", "--tone-hz", "500", "relay.example"], "--send-tone"),
        (&["--room", "a", "--send-tone", "1", "--tone-hz", "5", "relay.example"], "20 to 20000"),
        (&["--room", "a", "--send-tone", "1", "--send-file", "x", "relay.example"], "--send-file"),
        (&["--room", "a", "--wait-for", "-1", "relay.example"], "-1"),
        (&["--room", "a", "--wait-timeout", "5", "relay.example"], "--wait-for"),
        (&["--room", "a", "--linger", "1", "--duration", "1", "relay.example"], "--duration"),
        (&["--room", "a", "--unheard-of", "relay.example"], "--unheard-of"),
    ];
    for (arguments, culprit) in cases {
        let output = client(arguments);
        let message = first_paragraph(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.starts_with("error: "), "{arguments:?}: {message}");
        assert!(message.contains(culprit), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn local_files_are_checked_before_connecting() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("text.wav"), "this is no RIFF file").unwrap();
    std::fs::write(path("empty.wav"), "").unwrap();
    std::fs::create_dir(path("directory.wav")).unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--token-file", "/dev/zero"], "/dev/zero': it is a device"),
        (&["--send-file", &path("missing.wav")], "missing.wav"),
        (&["--send-file", &path("text.wav")], "text.wav"),
        (&["--send-file", &path("empty.wav")], "empty.wav"),
        (&["--send-file", &path("directory.wav")], "directory.wav"),
        (&["--record", &path("no/such/directory/out.wav")], "no/such/directory/out.wav"),
        (&["--record", &path("directory.wav")], "directory.wav"),
    ];
    for (arguments, culprit) in cases {
        // A name that cannot be resolved: whoever looked it up would exit with 3.
        let output = client(&[&["--room", "a", "nosuch.invalid"], arguments].concat());
        let message = one_sentence(&output);
        assert_eq!(output.status.code(), Some(7), "{arguments:?}: {message}");
        assert!(message.contains(culprit), "{arguments:?}: {message}");
    }
}

#[test]
fn a_recording_never_replaces_what_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("voice.wav");
    let wav = wav_of_silence();
    std::fs::write(&path, &wav).unwrap();
    let path = path.to_str().unwrap();
    let output = client(&["--room", "a", "--send-file", path, "--record", path, "nosuch.invalid"]);
    let message = one_sentence(&output);
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(message.contains("voice.wav"), "{message}");
    assert_eq!(std::fs::read(path).unwrap(), wav);
}

#[test]
fn relays_that_cannot_be_reached() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let nobody = format!("127.0.0.1:{port}");
    let cases: [(&[&str], &str, &str); 3] = [
        (&["--room", "a"], "nosuch.invalid", "nosuch.invalid"),
        (&["--room", "a"], &nobody, "no answer"),
        (&["load", "--json"], "nosuch.invalid", "nosuch.invalid"),
    ];
    for (form, relay, culprit) in cases {
        let output = client(&[form, &[relay]].concat());
        let message = one_sentence(&output);
        assert_eq!(output.status.code(), Some(3), "{relay}: {message}");
        assert!(message.contains(relay) && message.contains(culprit), "{relay}: {message}");
    }
}

#[test]
fn authorities_come_from_a_file_and_from_nothing_else() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wzp-client"));
    command.args(["--room", "a", "127.0.0.1:9"]).env("SSL_CERT_FILE", "/dev/zero");
    let output = command.output().unwrap();
    let message = one_sentence(&output);
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("SSL_CERT_FILE=/dev/zero: it is a device"), "{message}");
}

#[test]
fn help_and_version_are_no_errors() {
    let output = client(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("Exit codes:"));
    assert_eq!(client(&["--version"]).status.code(), Some(0));
}

#[cfg(not(feature = "live"))]
#[test]
fn live_without_the_feature_tells_how_to_build_it() {
    let output = client(&["--room", "a", "--live", "nosuch.invalid"]);
    let message = one_sentence(&output);
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(message.contains("--features live"), "{message}");
}

/// Standard error, which is to be one line.
fn one_sentence(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
    text.trim_end().to_owned()
}

/// A tenth of a second, 8 kHz, mono, 16 bit.
fn wav_of_silence() -> Vec<u8> {
    const BYTES: u32 = 1600;
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + BYTES).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16u32.to_le_bytes());
    for field in [1u16, 1] {
        wav.extend_from_slice(&field.to_le_bytes());
    }
    wav.extend_from_slice(&8000u32.to_le_bytes());
    wav.extend_from_slice(&16_000u32.to_le_bytes());
    for field in [2u16, 16] {
        wav.extend_from_slice(&field.to_le_bytes());
    }
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&BYTES.to_le_bytes());
    wav.resize(wav.len() + BYTES as usize, 0);
    wav
}
