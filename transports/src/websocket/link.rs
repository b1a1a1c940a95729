//! The two halves of a WebSocket once it is open.

use std::io;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::meter::{Meter, Metered, is_exceeded};
use crate::link::{Format, FrameReceiver, FrameSender, Link, LinkInfo, too_long};
use crate::options::READ_BUFFER;
use crate::places::Place;
use crate::stream::NetworkStream;

/// Any byte stream that WebSocket can be spoken over.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for S {}

/// Sizes of one connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Allocated for each connection as soon as it opens.
    pub(crate) read_buffer: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { read_buffer: READ_BUFFER }
    }
}

impl Sizes {
    fn config(self, max_frame: usize) -> WebSocketConfig {
        // What is written stays in the buffer up to this size or until the flush, so that frames
        // sent in a row share a system call; above it, `send` waits for the socket.
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer)
            .write_buffer_size(16 << 10)
            .max_message_size(Some(max_frame))
            .max_frame_size(Some(max_frame))
    }

    /// How many bytes may come while a frame is waited for: what it may have, as much again for
    /// its being cut into small pieces, and what is read ahead.
    const fn allowance(self, max_frame: usize) -> usize {
        max_frame.saturating_mul(2).saturating_add(self.read_buffer).saturating_add(4 << 10)
    }
}

/// The sending half of a WebSocket link.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct WebSocketSender<S = NetworkStream> {
    sink: SplitSink<WebSocketStream<Metered<S>>, Message>,
    is_text: fn(&[u8]) -> bool,
    meter: Meter,
}

/// The receiving half of a WebSocket link. Takes text frames and binary ones alike, as JavaScript servers do.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct WebSocketReceiver<S = NetworkStream> {
    stream: SplitStream<WebSocketStream<Metered<S>>>,
    meter: Meter,
    sizes: Sizes,
    /// The limit under which the frame that is waited for began to come.
    limit: Option<usize>,
    /// The peer has closed; the connection may be open until it hears that we know.
    ended: bool,
}

/// A WebSocket link over a byte stream.
pub type WebSocketLink<S = NetworkStream> = Link<WebSocketSender<S>, WebSocketReceiver<S>>;

/// One end of a link whose handshake is over; `read` came after it already.
pub(crate) async fn open<S: ByteStream>(
    stream: S,
    read: Vec<u8>,
    role: Role,
    format: Format,
    max_frame: usize,
    mut info: LinkInfo,
    sizes: Sizes,
) -> WebSocketLink<S> {
    info.format = Some(format.name);
    // The first call of `receive` allows more.
    let meter = Meter::new(0);
    let metered = Metered::new(stream, meter.clone());
    let config = Some(sizes.config(max_frame));
    // Nothing may be an empty buffer, which would be kept.
    let read = if read.is_empty() { Vec::new() } else { read };
    let stream = WebSocketStream::from_partially_read(metered, read, role, config).await;
    let (sink, stream) = stream.split();
    Link {
        sender: WebSocketSender { sink, is_text: format.is_text, meter: meter.clone() },
        receiver: WebSocketReceiver { stream, meter, sizes, limit: None, ended: false },
        info,
    }
}

impl<S: ByteStream> FrameSender for WebSocketSender<S> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.check()?;
        let message = if (self.is_text)(&frame) {
            let text = Utf8Bytes::try_from(frame)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Message::Text(text)
        } else {
            Message::Binary(frame)
        };
        self.sink.feed(message).await.map_err(|error| self.failed(error))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.sink.flush().await.map_err(|error| self.failed(error))
    }

    async fn close(mut self) -> io::Result<()> {
        if let Some(limit) = self.meter.refused() {
            let reason = too_long(limit).to_string().into();
            let closing = Message::Close(Some(CloseFrame { code: CloseCode::Size, reason }));
            // If the connection is closed already, what follows says so.
            let _ = self.sink.send(closing).await;
        }
        match self.sink.close().await {
            Ok(()) | Err(Error::ConnectionClosed) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl<S: ByteStream> WebSocketSender<S> {
    /// The link takes a place, until both of its halves are dropped.
    pub(super) fn hold(&self, place: Place) {
        self.meter.hold(place);
    }

    /// The halves may be used by two tasks: the error of sending is the one that tells the reason.
    fn failed(&self, error: Error) -> io::Error {
        self.check().err().unwrap_or_else(|| io_error(error))
    }

    fn check(&self) -> io::Result<()> {
        self.meter.complaint().map_or(Ok(()), |reason| Err(too_long_for_peer(reason)))
    }
}

impl<S: ByteStream> FrameReceiver for WebSocketReceiver<S> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        while !self.ended {
            if self.limit != Some(max_frame) {
                self.limit = Some(max_frame);
                self.meter.allow(self.sizes.allowance(max_frame));
            }
            let message = self.stream.next().await.transpose();
            let message = message.map_err(|error| match error {
                Error::Capacity(_) => self.refuse(max_frame),
                Error::Io(error) if is_exceeded(&error) => self.refuse(max_frame),
                error => io_error(error),
            })?;
            // What came makes room for what comes.
            self.limit = None;
            let frame: Bytes = match message {
                Some(Message::Text(text)) => text.into(),
                Some(Message::Binary(bytes)) => bytes,
                Some(Message::Close(Some(CloseFrame { code: CloseCode::Size, reason }))) => {
                    self.ended = true;
                    self.meter.complain(&reason);
                    return Err(too_long_for_peer(&reason));
                }
                Some(Message::Close(_)) | None => {
                    self.ended = true;
                    break;
                }
                // tungstenite answers pings by itself.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            };
            if frame.len() > max_frame {
                return Err(self.refuse(max_frame));
            }
            return Ok(Some(frame));
        }
        Ok(None)
    }
}

impl<S: ByteStream> WebSocketReceiver<S> {
    /// Notes that a frame was too long: the peer is told so when the link is closed.
    fn refuse(&self, max_frame: usize) -> io::Error {
        self.meter.refuse(max_frame);
        too_long(max_frame)
    }
}

/// The error of a link that the peer, or a proxy, closed since a frame was too long (RFC 6455, 7.4.1).
fn too_long_for_peer(reason: &str) -> io::Error {
    let message = format!(
        "the other side refuses a frame as too long (close code 1009: {reason:?}); \
         send shorter ones, or raise its limit or that of a proxy before it"
    );
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

/// Errors of the link stay what they are; errors that the peer made are `InvalidData`.
pub(super) fn io_error(error: Error) -> io::Error {
    use tokio_tungstenite::tungstenite::error::ProtocolError::{
        ResetWithoutClosingHandshake, SendAfterClosing,
    };

    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(SendAfterClosing) => {
            io::Error::new(io::ErrorKind::NotConnected, "the link was closed")
        }
        Error::Protocol(ResetWithoutClosingHandshake) => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut")
        }
        Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        other => io::Error::other(other),
    }
}
