//! How fast a client has to be: to ask, and to take what it asked for.
//!
//! hyper's own time-out for the next request runs while the answer to the last one is
//! still on its way, and it reads further requests meanwhile. Here the time to ask begins
//! when the answer was taken, and until then nothing is read, so that answers that nobody
//! reads do not pile up.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::lock::{Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The head of a request is due, since then.
    Asking(Instant),
    /// The server's turn.
    Answering,
    /// An answer is to be taken, since then.
    Sending(Instant),
}

/// What a client did not do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Ask for something.
    Request,
    /// Take the answer.
    Answer,
}

/// The clock of a connection.
#[derive(Debug)]
pub(super) struct Pace {
    stage: Mutex<Stage>,
    changed: Notify,
}

impl Pace {
    /// A request is due.
    pub(super) fn new() -> Arc<Self> {
        let stage = Mutex::new(Stage::Asking(Instant::now()));
        Arc::new(Self { stage, changed: Notify::new() })
    }

    /// The connection is ready to be asked: what came before does not count.
    pub(super) fn begins(&self) {
        self.enter(Stage::Asking(Instant::now()));
    }

    /// The head of a request has come.
    pub(super) fn asked(&self) {
        self.enter(Stage::Answering);
    }

    /// The answer is made.
    pub(super) fn answered(&self) {
        self.enter(Stage::Sending(Instant::now()));
    }

    /// What is overdue, once something is.
    pub(super) async fn overdue(&self, request: Duration, send: Duration) -> Overdue {
        loop {
            // From here on no change is missed.
            let changed = self.changed.notified();
            let stage = *self.stage();
            let (deadline, overdue) = match stage {
                Stage::Asking(since) => (since + request, Overdue::Request),
                Stage::Sending(since) => (since + send, Overdue::Answer),
                Stage::Answering => {
                    changed.await;
                    continue;
                }
            };
            tokio::select! {
                () = sleep_until(deadline) => return overdue,
                () = changed => {}
            }
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }

    fn enter(&self, stage: Stage) {
        *self.stage() = stage;
        self.changed.notify_waiters();
    }

    /// Something has to wait for the client.
    fn waits(&self) {
        let asking = matches!(*self.stage(), Stage::Asking(_));
        if asking {
            self.enter(Stage::Sending(Instant::now()));
        }
    }

    /// All that there was is taken.
    fn taken(&self) {
        let sending = matches!(*self.stage(), Stage::Sending(_));
        if sending {
            self.enter(Stage::Asking(Instant::now()));
        }
    }
}

/// A stream that is not read while something waits to be sent.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    waits: bool,
    /// Who wanted to read meanwhile.
    reader: Option<Waker>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, waits: false, reader: None }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.waits = true;
            self.pace.waits();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Only called when all that there was is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.waits = false;
            self.pace.taken();
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const REQUEST: Duration = Duration::from_secs(7);
    const SEND: Duration = Duration::from_secs(30);

    /// A pipe that holds 4 bytes, with 2 to read.
    async fn pipe() -> (Paced<DuplexStream>, DuplexStream, Arc<Pace>) {
        let (near, mut far) = duplex(4);
        far.write_all(b"hi").await.unwrap();
        let pace = Pace::new();
        (Paced::new(near, pace.clone()), far, pace)
    }

    /// What is overdue, and when.
    async fn overdue(pace: Arc<Pace>) -> (Overdue, u64) {
        let began = Instant::now();
        let overdue = pace.overdue(REQUEST, SEND).await;
        (overdue, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_an_answer_waits_and_then_it_goes_on() {
        let (near, mut far, pace) = pipe().await;
        let end = tokio::spawn(overdue(pace.clone()));
        let (mut reader, mut writer) = tokio::io::split(near);
        pace.asked();
        sleep(Duration::from_secs(9)).await;
        pace.answered();
        let answers = tokio::spawn(async move {
            writer.write_all(b"123456").await.unwrap();
            writer.flush().await.unwrap();
        });
        // Longer than a request may take.
        sleep(Duration::from_secs(20)).await;
        let reads = tokio::spawn(async move { reader.read_u8().await });
        sleep(Duration::from_secs(1)).await;
        assert!(!answers.is_finished() && !reads.is_finished());
        far.read_exact(&mut [0; 6]).await.unwrap();
        answers.await.unwrap();
        assert_eq!(reads.await.unwrap().unwrap(), b'h');
        assert_eq!(end.await.unwrap(), (Overdue::Request, 9 + 20 + 1 + 7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_answer_counts_however_slowly_it_is_taken() {
        let (mut near, mut far, pace) = pipe().await;
        let end = tokio::spawn(overdue(pace.clone()));
        pace.asked();
        pace.answered();
        tokio::spawn(async move {
            while far.read_u8().await.is_ok() {
                sleep(SEND / 4).await;
            }
        });
        tokio::spawn(async move { near.write_all(&[0; 64]).await });
        assert_eq!(end.await.unwrap(), (Overdue::Answer, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_due_from_the_beginning() {
        let (_near, _far, pace) = pipe().await;
        let end = tokio::spawn(overdue(pace.clone()));
        sleep(Duration::from_secs(5)).await;
        pace.begins();
        assert_eq!(end.await.unwrap(), (Overdue::Request, 12));
    }
}
