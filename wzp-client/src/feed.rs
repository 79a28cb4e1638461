//! A sound file or a pipe on its way to the encoder. Reading and decoding may
//! wait for a disk, or for whoever writes to the pipe, and have a thread of their
//! own; a second or two of sound is ready for the call.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use tokio::sync::oneshot;
use wzp_media::source::{Damage, Source, SourceError};
use wzp_media::{SILENT_TICK, Tick};

use crate::exit::Failure;

/// Ticks that wait for the call, at most: two seconds, 400 kB.
const CAPACITY: usize = 100;

/// Ticks that gather at the beginning, and after the pipe was empty: a program
/// that writes as it hears does not write evenly.
const READY: usize = 3;

/// Stands for standard input, or standard output.
pub(crate) const STREAM: &str = "-";

/// Damages that are remembered of one sound, the first.
const MAX_DAMAGES: usize = 100;

/// What is read, as ticks.
pub(crate) struct Feed {
    /// What messages call it.
    name: String,
    read: Receiver<Read>,
    ready: VecDeque<Tick>,
    /// Ticks are taken as they come; else they gather.
    flowing: bool,
    damages: Vec<Damage>,
}

/// What came of reading.
#[allow(clippy::large_enum_variant)] // Nearly all are the largest.
enum Read {
    Tick(Tick),
    /// Some of it cannot be played.
    Damage(Damage),
    /// None of what follows can.
    Failure(SourceError),
}

impl Feed {
    /// Waits until it is known whether it can be played.
    pub(crate) async fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new(STREAM) && io::stdin().is_terminal() {
            return Err(Failure::SourceIsTerminal);
        }
        let name = match path.as_os_str() == STREAM {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        let (read_in, read) = sync_channel(CAPACITY);
        let (opened_in, opened) = oneshot::channel();
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || self::read(&path, opened_in, &read_in))
            .map_err(|source| Failure::System { what: "start a thread", source })?;
        match opened.await {
            Ok(Ok(())) => Ok(Self::new(name, read)),
            Ok(Err(error)) => Err(Failure::Source(error)),
            Err(_) => Err(Failure::System {
                what: "read the sound",
                source: io::Error::other("its thread has ended"),
            }),
        }
    }

    fn new(name: String, read: Receiver<Read>) -> Self {
        Self { name, read, ready: VecDeque::new(), flowing: false, damages: Vec::new() }
    }

    /// What it is called, and what of it could not be played so far.
    pub(crate) fn damages(&self) -> (&str, &[Damage]) {
        (&self.name, &self.damages)
    }

    /// The next 20 ms; `None` at the end. Silence while the pipe is empty: time goes
    /// on for those who listen.
    pub(crate) fn tick(&mut self) -> Result<Option<Tick>, Failure> {
        let wanted = if self.flowing { 1 } else { READY };
        let mut ended = false;
        while self.ready.len() < wanted && !ended {
            match self.read.try_recv() {
                Ok(Read::Tick(tick)) => self.ready.push_back(tick),
                Ok(Read::Damage(damage)) if self.damages.len() < MAX_DAMAGES => {
                    self.damages.push(damage);
                }
                Ok(Read::Damage(_)) => {}
                Ok(Read::Failure(error)) => return Err(Failure::Source(error)),
                Err(TryRecvError::Disconnected) => ended = true,
                Err(TryRecvError::Empty) => {
                    self.flowing = false;
                    return Ok(Some(SILENT_TICK));
                }
            }
        }
        self.flowing = true;
        Ok(self.ready.pop_front())
    }
}

/// Reads to the end, or until nobody wants it any more.
fn read(path: &Path, opened: oneshot::Sender<Result<(), SourceError>>, reads: &SyncSender<Read>) {
    let source = match path.as_os_str() == STREAM {
        true => Source::read("standard input", io::stdin()),
        false => Source::open(path),
    };
    let mut source = match source {
        Ok(source) => source,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    loop {
        let tick = source.tick();
        while let Some(damage) = source.damage() {
            if reads.send(Read::Damage(damage)).is_err() {
                return;
            }
        }
        let (read, goes_on) = match tick {
            Ok(Some(tick)) => (Read::Tick(tick), true),
            Ok(None) => return,
            Err(error) => (Read::Failure(error), false),
        };
        if reads.send(read).is_err() || !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use wzp_media::TICK_SAMPLES;

    use super::*;

    #[test]
    fn an_empty_pipe_is_silence_until_enough_has_gathered() {
        let (read_in, read) = sync_channel(CAPACITY);
        let mut feed = Feed::new("a pipe".to_owned(), read);
        let heard = |feed: &mut Feed| feed.tick().unwrap().map(|tick| tick[0]);
        let write = |level: f32| read_in.send(Read::Tick([level; TICK_SAMPLES])).unwrap();
        write(0.1);
        write(0.2);
        assert_eq!(heard(&mut feed), Some(0.0), "not yet");
        write(0.3);
        for level in [0.1, 0.2, 0.3, 0.0] {
            assert_eq!(heard(&mut feed), Some(level));
        }
        write(0.4);
        assert_eq!(heard(&mut feed), Some(0.0), "gathering again");
        drop(read_in);
        assert_eq!(heard(&mut feed), Some(0.4), "the end is not waited for");
        assert_eq!(heard(&mut feed), None);
    }
}
