//! Connections that are given up when the server sends far more than an answer can
//! have. An answer's length is bounded by who reads it, but much may come before it:
//! hyper takes interim answers (1xx) in one go for as long as there are any, and no
//! deadline is looked at meanwhile.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// What comes inside of the error with which such a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {0} bytes came in place of an answer")]
pub(super) struct Flood(pub(super) usize);

/// Makes connections that take at most so many bytes for each request.
#[derive(Clone, Debug)]
pub(super) struct Bounded<C> {
    pub(super) connector: C,
    /// Bytes, those of the head and of chunks included. Without TLS's own.
    pub(super) most: usize,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Response: Read + Write + Connection + Unpin,
    C::Future: Send + 'static,
{
    type Response = TokioIo<BoundedStream<C::Response>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let (connecting, most) = (self.connector.call(server), self.most);
        Box::pin(async move {
            let stream = TokioIo::new(connecting.await?);
            Ok(TokioIo::new(BoundedStream { stream, most, taken: 0 }))
        })
    }
}

/// Such a connection. What is written begins another request.
#[derive(Debug)]
pub(super) struct BoundedStream<S> {
    stream: TokioIo<S>,
    most: usize,
    /// Bytes since something was written.
    taken: usize,
}

impl<S: Connection> Connection for BoundedStream<S> {
    fn connected(&self) -> Connected {
        self.stream.inner().connected()
    }
}

impl<S: Read + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let taken = before.saturating_sub(buffer.remaining());
        self.taken = self.taken.saturating_add(taken);
        if self.taken > self.most {
            return Poll::Ready(Err(io::Error::other(Flood(self.most))));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.taken = 0;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.taken = 0;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
