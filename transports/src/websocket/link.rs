//! The two halves of a WebSocket once it is open.

use std::io;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
#[cfg(feature = "long-poll")]
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::meter::{Allowance, Metered};
use crate::link::{Format, FrameReceiver, FrameSender, Link, LinkInfo, check_length, too_long};
use crate::options::READ_BUFFER;
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
    /// What the head of an HTTP request or answer may have, and what may follow it at once.
    pub(super) const HANDSHAKE: usize = 128 << 10;

    pub(super) fn config(self, max_frame: usize) -> WebSocketConfig {
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
}

/// The receiving half of a WebSocket link. Takes text frames and binary ones alike, as JavaScript servers do.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct WebSocketReceiver<S = NetworkStream> {
    stream: SplitStream<WebSocketStream<Metered<S>>>,
    allowance: Allowance,
    sizes: Sizes,
    /// The limit under which the frame that is waited for began to come.
    limit: Option<usize>,
    /// The peer has closed; the connection may be open until it hears that we know.
    ended: bool,
}

/// A WebSocket link over a byte stream.
pub type WebSocketLink<S = NetworkStream> = Link<WebSocketSender<S>, WebSocketReceiver<S>>;

/// The server's end of a link whose handshake was answered; `read` came after it already.
#[cfg(feature = "long-poll")]
pub(crate) async fn accepted<S: ByteStream>(
    stream: S,
    read: Bytes,
    format: Format,
    max_frame: usize,
    info: LinkInfo,
    sizes: Sizes,
) -> WebSocketLink<S> {
    let allowance = Allowance::new(Sizes::HANDSHAKE);
    let metered = Metered::new(stream, allowance.clone());
    let config = Some(sizes.config(max_frame));
    // Nothing may be an empty buffer, which would be kept.
    let read = if read.is_empty() { Vec::new() } else { read.into() };
    let stream = WebSocketStream::from_partially_read(metered, read, Role::Server, config).await;
    link(stream, format, info, allowance, sizes)
}

pub(super) fn link<S: ByteStream>(
    stream: WebSocketStream<Metered<S>>,
    format: Format,
    mut info: LinkInfo,
    allowance: Allowance,
    sizes: Sizes,
) -> WebSocketLink<S> {
    info.format = Some(format.name);
    let (sink, stream) = stream.split();
    Link {
        sender: WebSocketSender { sink, is_text: format.is_text },
        receiver: WebSocketReceiver { stream, allowance, sizes, limit: None, ended: false },
        info,
    }
}

impl<S: ByteStream> FrameSender for WebSocketSender<S> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        let message = if (self.is_text)(&frame) {
            let text = Utf8Bytes::try_from(frame)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Message::Text(text)
        } else {
            Message::Binary(frame)
        };
        self.sink.feed(message).await.map_err(io_error)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.sink.flush().await.map_err(io_error)
    }

    async fn close(mut self) -> io::Result<()> {
        match self.sink.close().await {
            Ok(()) | Err(Error::ConnectionClosed) => Ok(()),
            Err(error) => Err(io_error(error)),
        }
    }
}

impl<S: ByteStream> FrameReceiver for WebSocketReceiver<S> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        while !self.ended {
            if self.limit != Some(max_frame) {
                self.limit = Some(max_frame);
                self.allowance.set(self.sizes.allowance(max_frame));
            }
            let message = self.stream.next().await.transpose();
            let message = message.map_err(|error| match error {
                Error::Capacity(_) => too_long(max_frame),
                error => io_error(error),
            })?;
            // What came makes room for what comes.
            self.limit = None;
            let frame = match message {
                Some(Message::Text(text)) => text.into(),
                Some(Message::Binary(bytes)) => bytes,
                Some(Message::Close(_)) | None => {
                    self.ended = true;
                    break;
                }
                // tungstenite answers pings by itself.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            };
            return check_length(frame, max_frame).map(Some);
        }
        Ok(None)
    }
}

/// Errors of the link stay what they are; errors that the peer made are `InvalidData`.
pub(super) fn io_error(error: Error) -> io::Error {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;

    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        Error::Protocol(ResetWithoutClosingHandshake) => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut")
        }
        Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        other => io::Error::other(other),
    }
}
