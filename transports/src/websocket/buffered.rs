//! The byte stream under a WebSocket.

use std::cell::Cell;
use std::io;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::link::ByteStream;
use super::meter::Meter;
use crate::rt::{self, timeout};

/// How much is read of the stream at once, and how much is gathered before it is written, in bytes.
const READ_AHEAD: usize = 16 << 10;
const WRITE_BEHIND: usize = 16 << 10;

/// So few bytes are copied where they have to wait, so that they do not hold the space that they were read into.
const FEW: usize = 1 << 10;

/// How many bytes the header of a frame has at most.
const MAX_HEADER: usize = 14;

/// How much of what was refused is read before the connection is closed, in bytes, and for how long.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    /// What all streams of a thread are read into. A stream itself has only what came and was not taken yet.
    static SPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The byte stream under a WebSocket: it has buffers while something is on its way, and none when nothing is.
///
/// tungstenite keeps its buffers as long as a connection lasts, and their size is that of the longest frame. So
/// it has small ones, and is kept from making them larger: see [`Incoming::step`] and [`Buffered::poll_room`].
///
/// The stream gives no more than it is allowed to, so that what a peer sends before it is let in is not
/// collected as far as is right for one that was.
#[derive(Debug)]
pub(super) struct Buffered<S> {
    /// Until it is dropped.
    stream: Option<S>,
    meter: Meter,
    linger: fn(S),
    incoming: Incoming,
    /// What came and was not taken yet is in this part of these bytes.
    came: Vec<u8>,
    rest: Range<usize>,
    /// What is to be written, and how much of it was.
    waiting: Vec<u8>,
    written: usize,
    /// Whether a flush only takes what tungstenite has.
    gathers: bool,
    /// Whether somebody waits for the stream to take more.
    is_blocked: bool,
}

/// At which place of which frame the bytes end that were given.
#[derive(Debug)]
struct Incoming {
    /// A frame with a longer payload is long, in bytes.
    long: usize,
    /// What was given of a header that is not whole.
    header: [u8; MAX_HEADER],
    header_length: usize,
    /// How much of the payload was not given yet.
    payload: u64,
    /// The payload is that of a long frame.
    is_long: bool,
}

impl<S: ByteStream> Buffered<S> {
    /// Of a stream from which some bytes came already. A frame with a payload of more than `long` bytes is long.
    pub(super) fn new(stream: S, came: Vec<u8>, long: usize, meter: Meter) -> Self {
        let incoming = Incoming {
            long,
            header: [0; MAX_HEADER],
            header_length: 0,
            payload: 0,
            is_long: false,
        };
        let (rest, waiting, written) = (0..came.len(), Vec::new(), 0);
        let (gathers, is_blocked) = (false, false);
        let stream = Some(stream);
        // An empty one may have room, which is not needed.
        let came = if came.is_empty() { Vec::new() } else { came };
        Self { stream, meter, linger, incoming, came, rest, waiting, written, gathers, is_blocked }
    }
}

impl<S> Buffered<S> {
    /// Whether a flush only takes what tungstenite has, and does not write it.
    pub(super) fn gather(&mut self, gathers: bool) {
        self.gathers = gathers;
    }

    /// Waits for room, and gives what to write a whole frame into: a long one, which would make the buffer of
    /// tungstenite as long.
    pub(super) fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Vec<u8>>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.waiting.len() > WRITE_BEHIND {
            ready!(self.poll_written(context))?;
        }
        Poll::Ready(Ok(&mut self.waiting))
    }

    /// Writes what can be written at once; nothing where somebody waits for that, and does it when woken.
    pub(super) fn flush_unless_blocked(&mut self, context: &mut Context<'_>)
    where
        S: AsyncWrite + Unpin,
    {
        if !self.is_blocked {
            // Whether it fails, the next use of the link tells.
            let _ = Pin::new(self).poll_flush(context);
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Writes all that waits.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while self.written < self.waiting.len() {
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let rest = &self.waiting[self.written..];
            let written = Pin::new(stream).poll_write(context, rest);
            self.is_blocked = written.is_pending();
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl Incoming {
    /// How many of these bytes to give at once. The next call is for those after them.
    ///
    /// tungstenite reads into one buffer with the frames that it gave before. What is given ends with the header
    /// of a long frame, and with its payload: so the buffer that is made for the frame has nothing else in it, and
    /// goes with it.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let mut given = 0;
        while given < bytes.len() {
            let rest = &bytes[given..];
            if self.payload > 0 {
                let length = usize::try_from(self.payload).unwrap_or(usize::MAX).min(rest.len());
                self.payload -= length as u64;
                given += length;
                if self.payload == 0 && mem::take(&mut self.is_long) {
                    break;
                }
                continue;
            }
            let (header, known) = (&mut self.header, mem::take(&mut self.header_length));
            let head = if known == 0 {
                rest
            } else {
                let more = rest.len().min(MAX_HEADER - known);
                header[known..known + more].copy_from_slice(&rest[..more]);
                &header[..known + more]
            };
            if let Some((length, payload)) = header_and_payload(head) {
                given += length - known;
                self.payload = payload;
                if payload > self.long as u64 {
                    self.is_long = true;
                    break;
                }
            } else {
                if known == 0 {
                    header[..rest.len()].copy_from_slice(rest);
                }
                self.header_length = known + rest.len();
                given = bytes.len();
            }
        }
        given
    }
}

/// How long a frame's header is, and how long its payload; if the whole header is there (RFC 6455, 5.2).
fn header_and_payload(bytes: &[u8]) -> Option<(usize, u64)> {
    let [_, second, rest @ ..] = bytes else { return None };
    let (extended, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, short),
    };
    let extended = rest.get(..extended)?;
    let payload = extended.iter().fold(u64::from(short), |sum, byte| sum << 8 | u64::from(*byte));
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let length = 2 + extended.len() + mask;
    (bytes.len() >= length).then_some((length, payload))
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.meter.left()?;
        let Self { stream, incoming, came, rest, .. } = &mut *self;
        let stream = stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut give = |bytes: &[u8]| {
            let given = incoming.step(&bytes[..bytes.len().min(buffer.remaining())]);
            buffer.put_slice(&bytes[..given]);
            given
        };
        let given = if came.is_empty() {
            // Taken, as the stream may be one over another WebSocket.
            let mut space = SPACE.take();
            space.resize(READ_AHEAD, 0);
            let mut read = ReadBuf::new(&mut space);
            let result = Pin::new(stream).poll_read(context, &mut read);
            let read = read.filled();
            let (given, end) = (give(read), read.len());
            if end - given > FEW {
                // The thread gets it back, or another one in its place.
                (*came, *rest) = (space, given..end);
            } else {
                (*came, *rest) = (read[given..].into(), 0..end - given);
                SPACE.set(space);
            }
            ready!(result)?;
            given
        } else {
            let given = give(&came[rest.clone()]);
            rest.start += given;
            if rest.start == rest.end {
                let space = mem::take(came);
                if space.len() == READ_AHEAD {
                    SPACE.set(space);
                }
            }
            given
        };
        self.meter.allow(left.saturating_sub(given));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    /// Takes all bytes or none, so that a whole frame of ours may come at any time.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathers {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_written(context))?;
        self.waiting = Vec::new();
        // TLS takes all that it is given, and waits here.
        let flushed = self.stream()?.poll_flush(context);
        self.is_blocked = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(context))?;
        self.stream()?.poll_shutdown(context)
    }
}

impl<S> Drop for Buffered<S> {
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
