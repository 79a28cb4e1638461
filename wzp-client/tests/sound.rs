//! Files, pipes and devices: what is sent, what is recorded, and what is printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod program;
mod relay;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{client, command, error, loudest, mono16, samples, spawn, stderr, summary};
use relay::{Client, PATIENCE, Relay, left_properly, parrot, welcome};
use serde_json::json;
use wzp_proto::close::CloseCode;
use wzp_proto::media::MediaHeader;

/// A relay with nobody in it, until the client leaves.
fn empty_room() -> Relay<usize> {
    Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.datagrams().await.0.len()
    })
}

/// The header of a WAV file of that many bytes of mono with 16 bits at 48 kHz.
fn header(bytes: u32) -> Vec<u8> {
    [
        b"RIFF",
        &bytes.wrapping_add(36).to_le_bytes()[..],
        b"WAVEfmt \x10\0\0\0\x01\0\x01\0",
        &48_000_u32.to_le_bytes(),
        &96_000_u32.to_le_bytes(),
        b"\x02\0\x10\0data",
        &bytes.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn a_refused_join_leaves_an_old_recording_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    std::fs::write(&path, "an old recording").unwrap();
    let record = ["--record", path.to_str().unwrap()];
    let relay = Relay::start(|client: Client| async move {
        client.close(CloseCode::RoomFull, "no place");
    });
    let output = client(&relay, &record);
    assert_eq!(output.status.code(), Some(5), "{}", error(&output));
    assert_eq!(std::fs::read(&path).unwrap(), b"an old recording");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    // The same command, and a relay that lets it in.
    let output = client(&empty_room(), &[&record[..], &["--duration", "0"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(mono16(&std::fs::read(&path).unwrap()).len() <= 960);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_recording_is_as_long_as_the_call_whoever_talks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    let record = ["--duration", "1.5", "--json", "--record", path.to_str().unwrap()];
    let output = client(&empty_room(), &record);
    let summary = summary(&output);
    let seconds = mono16(&std::fs::read(&path).unwrap()).len() as f64 / 48_000.0;
    let held_up = summary["held_up_ms"].as_f64().unwrap() / 1000.0;
    let call = summary["seconds"].as_f64().unwrap();
    assert!((call - seconds).abs() < 0.1 + held_up, "{seconds} s recorded: {summary}");
}

#[test]
fn a_killed_client_leaves_a_recording_that_can_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    let relay = Relay::start(parrot);
    let record = path.to_str().unwrap();
    let mut child = spawn(&relay, &["--send-tone", "60", "--record", record]);
    let deadline = Instant::now() + PATIENCE;
    // As long as two writes have been made.
    while std::fs::metadata(&path).map_or(0, |file| file.len()) < 2 * 96_000 {
        assert!(Instant::now() < deadline, "nothing is recorded");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let file = std::fs::read(&path).unwrap();
    let declared = u32::from_le_bytes(file[40..44].try_into().unwrap()) as usize;
    assert!(declared >= 96_000 && declared <= file.len() - 44, "{declared} of {}", file.len());
    assert!(loudest(&samples(&file[44..44 + declared])) > 1000);
}

#[test]
fn full_devices_have_an_exit_code_and_a_sentence() {
    let output = client(&empty_room(), &["--record", "/dev/full", "--duration", "5"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(message.contains("/dev/full cannot be written: No space left on device"), "{message}");
    assert!(!stderr(&output).contains("joined"), "nobody was bothered");

    let output = client(&empty_room(), &["--record", "/dev/null", "--duration", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let sentence = "error: cannot write to standard output: No space left on device";
    let relay = empty_room();
    let call = command(&relay, &["--quiet", "--json", "--duration", "0"]);
    let mut help = Command::new(env!("CARGO_BIN_EXE_wzp-client"));
    help.arg("--help");
    for mut command in [call, help] {
        let output = command.stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{command:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with(sentence), "{}", stderr(&output));
    }
}

#[test]
fn standard_output_takes_a_recording() {
    let relay = Relay::start(parrot);
    let output = client(&relay, &["--send-tone", "1", "--record", "-"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let told = text.lines().any(|line| line.starts_with("received 50 frames"));
    assert!(told, "the summary is there instead, a line for each thing: {text}");
    assert_eq!((&output.stdout[4..8], &output.stdout[40..44]), (&[0xff; 4][..], &[0xff; 4][..]));
    let samples = samples(&output.stdout[44..]);
    assert!(samples.len() >= 60_000, "silence is told, too: {}", samples.len());
    assert!(loudest(&samples) > 1000);

    let output = client(&empty_room(), &["--json", "--record", "-"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("both write to standard output"), "{}", stderr(&output));
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_named_pipe_is_waited_for_and_takes_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    fifo(&path);
    let relay = Relay::start(parrot);
    let record = ["--send-tone", "0.5", "--record", path.to_str().unwrap()];
    let child = spawn(&relay, &record);
    let mut heard = Vec::new();
    std::fs::File::open(&path).unwrap().read_to_end(&mut heard).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(loudest(&samples(&heard[44..])) > 1000);

    // Nobody reads: a signal ends the wait.
    let child = spawn(&empty_room(), &record);
    std::thread::sleep(Duration::from_millis(300));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(error(&output).contains("interrupted before joining"), "{}", error(&output));
}

/// What is heard of a pipe that stops for a while: silence, and not one frame is
/// missing by its number or its time.
#[test]
fn a_pipe_that_stalls_is_silence() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.datagrams().await.0
    });
    let mut child = command(&relay, &["--send-file", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // Two ticks and a half of a square wave, and the rest of it a second later.
    let wave: Vec<u8> =
        (0..4800_u32).flat_map(|n| [0, if n / 60 % 2 == 0 { 64 } else { 192 }]).collect();
    pipe.write_all(&header(u32::MAX)).unwrap();
    pipe.write_all(&wave[..4800]).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    pipe.write_all(&wave[4800..]).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["end"], "sent");

    let datagrams = relay.outcome();
    let headers: Vec<_> =
        datagrams.iter().map(|datagram| MediaHeader::decode(datagram).unwrap().0).collect();
    assert!(headers.len() > 40, "time goes on: {} frames", headers.len());
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert_eq!(pair[1].timestamp, pair[0].timestamp + 960);
    }
    let sounding = datagrams.iter().filter(|datagram| datagram[1] & 0x7f < 40).count();
    assert!((4..=8).contains(&sounding), "five ticks of sound and their ends: {sounding}");
}

#[test]
fn what_is_no_sound_on_standard_input_is_told() {
    let mut command = command(&empty_room(), &["--send-file", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Once upon a time").unwrap();
    let output = child.wait_with_output().unwrap();
    let message = error(&output);
    assert_eq!(output.status.code(), Some(7), "{message}");
    let sentence = "cannot send the sound: standard input is not a sound file that is known here";
    assert!(message.contains(sentence), "{message}");
}

/// All of it that can be played is sent, the room is left as it should be, and then it is
/// told.
#[test]
fn damaged_files_are_sent_as_far_as_can_be_and_told() {
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wzp-media/tests/foreign");
    let read = |name| std::fs::read(foreign.join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let (mut ogg, mut flac) = (read("pages.opus"), read("tone.flac"));
    for byte in &mut ogg[2_400..3_500] {
        *byte ^= 0x55;
    }
    flac.truncate(flac.len() - 2_800);
    let unreadable = json!([{ "at_seconds": 0.794, "cut_off": false, "missing_seconds": null }]);
    let cut = json!([{ "at_seconds": 0.072, "cut_off": true, "missing_seconds": 0.428 }]);
    for (file, frames, sentence, damages) in [
        (ogg, 118..=122, "unreadable at 0.8 s", unreadable),
        (flac, 4..=6, "cut off at 0.1 s, 0.4 s before its end", cut),
    ] {
        std::fs::write(&path, file).unwrap();
        let relay = Relay::start(|mut client: Client| async move {
            client.welcome(welcome()).await;
            let (datagrams, end) = client.datagrams().await;
            (datagrams.len(), left_properly(&end))
        });
        let output = client(&relay, &["--send-file", path.to_str().unwrap(), "--json"]);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(7), "{message}");
        let told = format!("damaged is {sentence}; all else of it was sent");
        assert!(message.contains(&told), "{message}");
        let warning = format!("damaged is damaged, {sentence}; what can be played of it is sent");
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
        let summary = summary(&output);
        assert_eq!(summary["source_damages"], damages, "{summary}");
        assert_eq!((&summary["end"], &summary["exit_code"]), (&json!("local"), &json!(7)));
        let (datagrams, left) = relay.outcome();
        assert!(frames.contains(&datagrams) && left, "{datagrams} frames, left properly: {left}");
    }
    std::fs::write(&path, read("pages.opus")).unwrap();
    let output = client(&empty_room(), &["--send-file", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["source_damages"], json!([]));
}

/// 106 MB took 429 MB when it was read as a whole.
#[test]
fn a_long_file_is_not_held_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wav");
    const BYTES: u32 = 400_000_000;
    std::fs::write(&path, header(BYTES)).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(BYTES.into()).unwrap();
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        for _ in 0..50 {
            client.connection.read_datagram().await.unwrap();
        }
        client.connection
    });
    let child = spawn(&relay, &["--send-file", path.to_str().unwrap()]);
    let connection = relay.outcome();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mark = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = mark.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 64_000, "{mark}");
    drop(connection);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    child.wait_with_output().unwrap();
}
