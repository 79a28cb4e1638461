use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::source::{self, Reason, SourceError};
use crate::{SILENT_TICK, TICK_SAMPLES};

/// Ticks by letter: silence, background noise that nobody said, voice.
fn record(recording: &mut Recording, ticks: &str) {
    for tick in ticks.chars() {
        let tick = match tick {
            '.' => SILENT_TICK,
            'n' => [0.125; TICK_SAMPLES],
            _ => [0.5; TICK_SAMPLES],
        };
        recording.push(&tick).unwrap();
    }
}

/// The inverse of [`record`].
fn letters(path: &Path) -> Result<String, SourceError> {
    let letter = |tick: &[f32]| match tick[0] {
        0.0 => '.',
        0.125 => 'n',
        _ => 'v',
    };
    Ok(source::read(path)?.chunks_exact(TICK_SAMPLES).map(letter).collect())
}

#[test]
fn the_file_has_all_that_was_recorded() {
    let long = format!("v{}v", ".".repeat(1000));
    let cases = ["vvv", "...nnvv", "vv.nn...", "....", &long];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    for ticks in cases {
        let mut recording = Recording::create(&path).unwrap();
        record(&mut recording, ticks);
        assert_eq!(recording.samples(), (ticks.len() * TICK_SAMPLES) as u64);
        recording.finish().unwrap();
        assert_eq!(letters(&path).unwrap(), ticks);
    }
}

#[test]
fn nothing_recorded_leaves_a_valid_file_without_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    let recording = Recording::create(&path).unwrap();
    let empty = || matches!(letters(&path).unwrap_err().reason, Reason::Empty);
    assert!(empty(), "even before its end");
    recording.finish().unwrap();
    assert!(empty());
}

#[test]
fn a_crash_loses_at_most_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    let mut recording = Recording::create(&path).unwrap();
    record(&mut recording, &"v".repeat(120));
    // Read while it is still being written, as after a crash.
    assert_eq!(letters(&path).unwrap().len(), 100);
    std::mem::forget(recording);
}

#[test]
fn samples_are_rounded_and_limited() {
    let cases = [
        (0.0, 0),
        (0.5, 16384),
        (-1.0, -32768),
        (1.0, 32767),
        (7.0, 32767),
        (-7.0, -32768),
        (0.6 / 32768.0, 1),
        (f32::NAN, 0),
    ];
    for (sample, expected) in cases {
        assert_eq!(to_i16(sample), expected, "{sample}");
    }
}

#[test]
fn errors_name_the_file() {
    let Err(error) = Recording::create(Path::new("/nowhere/heard.wav")) else {
        panic!("created in a folder that does not exist");
    };
    let sentence = "the recording /nowhere/heard.wav cannot be written: No such file";
    assert!(error.to_string().starts_with(sentence), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::create(&folder.path().join("long.wav")).unwrap();
    recording.written = MAX_BYTES;
    let error = recording.push(&SILENT_TICK).unwrap_err();
    assert!(matches!(error, RecordingError::Full(_)), "{error}");
}

#[test]
fn what_was_there_stays_until_the_recording_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heard.wav");
    std::fs::write(&path, "an old recording").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.wav");
    symlink(&path, &link).unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();

    let prepared = Prepared::beside(&link).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"an old recording");
    drop(prepared);
    assert_eq!((std::fs::read(&path).unwrap(), files()), (b"an old recording".to_vec(), 2));

    let mut recording = Prepared::beside(&link).unwrap().begin().unwrap();
    record(&mut recording, "vv");
    recording.finish().unwrap();
    assert_eq!((letters(&path).unwrap(), files()), ("vv".to_owned(), 2));
    assert!(link.is_symlink(), "what the link leads to was replaced");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
}

#[test]
fn a_pipe_gets_everything_at_once_and_the_header_of_a_stream() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut recording = Prepared::stream("a pipe", &writer).unwrap().begin().unwrap();
    drop(writer);
    for (ticks, bytes) in [("..", 44 + 2 * TICK_BYTES), ("v", TICK_BYTES)] {
        record(&mut recording, ticks);
        let mut read = vec![0; bytes];
        reader.read_exact(&mut read).unwrap();
        if let Some(header) = read.strip_prefix(b"RIFF") {
            assert_eq!((&header[..4], &header[36..40]), (&[0xff; 4][..], &[0xff; 4][..]));
        }
    }
    drop(reader);
    let error = recording.push(&SILENT_TICK).unwrap_err().to_string();
    assert!(error.starts_with("the recording a pipe cannot be written: "), "{error}");
}

#[test]
fn devices_are_written_to_and_full_ones_are_noticed_before() {
    Recording::create(Path::new("/dev/null")).unwrap().finish().unwrap();
    let Err(error) = Prepared::beside(Path::new("/dev/full")) else { panic!("there is room") };
    assert!(error.to_string().contains("/dev/full cannot be written: No space left"), "{error}");
}
