//! A stream whose peer has to take what it asked for.
//!
//! hyper reads the next request while the answer to the last one still waits to be
//! sent, and waits for ever. Here nothing is read meanwhile, so that unread answers do
//! not pile up, and what waits too long ends the connection.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The error of a peer that did not take an answer in time.
#[derive(Debug)]
pub(super) struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was not taken in time")
    }
}

impl Error for Unread {}

impl Unread {
    /// Whether it is the cause of this error.
    pub(super) fn caused(error: &hyper::Error) -> bool {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<Self>())
    }
}

/// Takes at most so long from the first byte that had to wait to the last.
pub(super) struct Paced<S> {
    stream: S,
    patience: Duration,
    /// While something waits to be sent.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Who wanted to read meanwhile.
    reader: Option<Waker>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, deadline: None, reader: None }
    }

    /// Something has to wait, for as long as the peer has.
    fn waits<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Unread)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.is_some() {
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
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.waits(context),
            written => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, slices) {
            Poll::Pending => self.waits(context),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Only called when all that there was is written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.waits(context),
            flushed => {
                self.deadline = None;
                if let Some(reader) = self.reader.take() {
                    reader.wake();
                }
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.waits(context),
            shut => shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Of a pipe that holds 4 bytes, with 2 to read.
    async fn stuck() -> (Paced<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, mut far) = duplex(4);
        far.write_all(b"hi").await.unwrap();
        (Paced::new(near, PATIENCE), far)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_an_answer_waits() {
        let (near, mut far) = stuck().await;
        let (mut reader, mut writer) = tokio::io::split(near);
        let answers = tokio::spawn(async move {
            writer.write_all(b"123456").await.unwrap();
            writer.flush().await.unwrap();
            writer
        });
        sleep(PATIENCE / 2).await;
        let reads = tokio::spawn(async move { reader.read_u8().await });
        sleep(PATIENCE / 4).await;
        assert!(!answers.is_finished() && !reads.is_finished());
        let mut taken = [0; 6];
        far.read_exact(&mut taken).await.unwrap();
        answers.await.unwrap();
        assert_eq!(reads.await.unwrap().unwrap(), b'h');
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_in_time_ends_the_connection() {
        let (mut near, mut far) = stuck().await;
        let began = tokio::time::Instant::now();
        let drips = tokio::spawn(async move {
            // However slowly it is taken: the whole of it counts.
            while far.read_u8().await.is_ok() {
                sleep(PATIENCE / 4).await;
            }
        });
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<Unread>(), "{error}");
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        drop(near);
        drips.await.unwrap();
    }
}
