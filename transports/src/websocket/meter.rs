use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::link::ByteStream;
use crate::places::Place;
use crate::rt::{self, timeout};

/// How much of what was refused is read before the connection is closed, in bytes, and for how long.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// A byte stream that gives no more than it is allowed to, so that what a peer sends before it is
/// let in is not collected as far as is right for one that was.
#[derive(Debug)]
pub(super) struct Metered<S> {
    /// Until it is dropped.
    stream: Option<S>,
    meter: Meter,
    linger: fn(S),
}

/// What a byte stream and the two halves of its link know in common.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// How many bytes may still come.
    left: AtomicUsize,
    /// The limit that a frame of the peer's was above.
    refused: OnceLock<usize>,
    /// What the peer says of a frame of ours that was too long.
    complaint: OnceLock<String>,
    /// What the link takes among those of its address.
    place: OnceLock<Place>,
}

/// More came than was allowed.
#[derive(Debug)]
struct Exceeded;

impl Meter {
    pub(super) fn new(bytes: usize) -> Self {
        let (refused, complaint, place) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self(Arc::new(Known { left: AtomicUsize::new(bytes), refused, complaint, place }))
    }

    /// Allows so many bytes from now on.
    pub(super) fn allow(&self, bytes: usize) {
        self.0.left.store(bytes, Ordering::Relaxed);
    }

    /// Holds a place for as long as one of the halves is there.
    pub(super) fn hold(&self, place: Place) {
        let _ = self.0.place.set(place);
    }

    /// A frame of the peer's was longer than this; the first one counts.
    pub(super) fn refuse(&self, max_frame: usize) {
        let _ = self.0.refused.set(max_frame);
    }

    pub(super) fn refused(&self) -> Option<usize> {
        self.0.refused.get().copied()
    }

    /// The peer complains that a frame was too long.
    pub(super) fn complain(&self, reason: &str) {
        let _ = self.0.complaint.set(reason.to_owned());
    }

    pub(super) fn complaint(&self) -> Option<&str> {
        self.0.complaint.get().map(String::as_str)
    }
}

impl<S: ByteStream> Metered<S> {
    pub(super) fn new(stream: S, meter: Meter) -> Self {
        Self { stream: Some(stream), meter, linger }
    }
}

impl<S> Metered<S> {
    fn stream(&mut self) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Whether an error says that more came than was allowed.
pub(super) fn is_exceeded(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(cause) if cause.is::<Exceeded>())
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.meter.0.left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Exceeded)));
        }
        let before = buffer.filled().len();
        ready!(self.stream()?.poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.meter.allow(left.saturating_sub(read));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool
    where
        S: AsyncWrite,
    {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl<S> Drop for Metered<S> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take()
            && self.meter.refused().is_some()
            && rt::can_spawn()
        {
            (self.linger)(stream);
        }
    }
}

/// Closes a connection on which a frame was refused, in a task of its own.
fn linger<S: ByteStream>(stream: S) {
    rt::spawn(end(stream));
}

/// Closes a connection on which something was refused. One that is closed with something unread is
/// reset, and the reason that the peer was told last is lost with it: the rest is read, within limits.
pub(super) async fn end<S: ByteStream>(mut stream: S) {
    let draining = async move {
        stream.shutdown().await?;
        let mut buffer = vec![0; 16 << 10];
        let mut drained = 0;
        while drained < LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => drained += read,
            }
        }
        Ok::<_, io::Error>(())
    };
    let _ = timeout(LINGER, draining).await;
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more bytes came than a frame may have")
    }
}

impl Error for Exceeded {}
