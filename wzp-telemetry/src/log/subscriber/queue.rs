//! The way from whoever logs to the writer. Nobody waits on it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::LogError;
use super::counts::{Counts, add};
use crate::settings::Logging;

/// Most bytes of lines that wait: some ten thousand lines.
const CAPACITY: usize = 4 << 20;
/// Most for what is less than a warning, so that warnings still find room when
/// a flood of other lines has filled the queue.
const CAPACITY_BELOW_WARN: usize = CAPACITY / 4 * 3;
/// What a queued line costs beyond its bytes, about.
const LINE_OVERHEAD: usize = 64;

/// One line, with its end.
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: Box<[u8]>,
}

/// What the writer is told, in this order.
pub(super) enum Message {
    Line(Line),
    Apply(Logging, SyncSender<Result<(), LogError>>),
    Reopen(SyncSender<Result<(), LogError>>),
    Flush(SyncSender<()>),
    End,
}

/// The end that lines are put in.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Sender<Message>,
    /// Bytes that wait, with overhead.
    waiting: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

/// The writer's end.
pub(super) struct Lines {
    pub(super) messages: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
}

pub(super) fn new(counts: &Arc<Counts>) -> (Queue, Lines) {
    let (sender, messages) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        Queue { sender, waiting: waiting.clone(), counts: counts.clone() },
        Lines { messages, waiting },
    )
}

impl Lines {
    /// A line has left the queue.
    pub(super) fn done(&self, line: &Line) {
        self.waiting.fetch_sub(line.text.len() + LINE_OVERHEAD, Ordering::Relaxed);
    }
}

impl Queue {
    /// Tells the writer what is no line. Nothing happens if it has ended.
    pub(super) fn tell(&self, message: Message) {
        let _ = self.sender.send(message);
    }

    fn put(&self, text: &[u8], level: Level) {
        let cost = text.len() + LINE_OVERHEAD;
        let capacity = if level <= Level::WARN { CAPACITY } else { CAPACITY_BELOW_WARN };
        let before = self.waiting.fetch_add(cost, Ordering::Relaxed);
        let line = || Message::Line(Line { level, text: text.into() });
        if before + cost > capacity || self.sender.send(line()).is_err() {
            self.waiting.fetch_sub(cost, Ordering::Relaxed);
            add(&self.counts.dropped_queue, 1);
        }
    }
}

/// Takes one line.
pub(super) struct Slot<'a> {
    queue: &'a Queue,
    level: Level,
}

impl Write for Slot<'_> {
    /// The formatting layer gives a whole line in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.put(line, self.level);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Slot<'a>;

    fn make_writer(&'a self) -> Slot<'a> {
        Slot { queue: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Slot<'a> {
        Slot { queue: self, level: *about.level() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_find_room_when_other_lines_have_filled_their_share() {
        let counts = Arc::new(Counts::default());
        let (queue, lines) = new(&counts);
        let line = [b'x'; 1000];
        let full = CAPACITY_BELOW_WARN / (line.len() + LINE_OVERHEAD);
        for _ in 0..full + 5 {
            queue.put(&line, Level::INFO);
        }
        assert_eq!(counts.reading().dropped_queue, 5);
        queue.put(&line, Level::WARN);
        assert_eq!(counts.reading().dropped_queue, 5);

        // What was written makes room again.
        for _ in 0..2 {
            let Message::Line(written) = lines.messages.recv().unwrap() else { panic!() };
            lines.done(&written);
        }
        queue.put(&line, Level::INFO);
        assert_eq!(counts.reading().dropped_queue, 5);
        assert_eq!(lines.messages.try_iter().count(), full);
    }
}
