//! WebSocket (RFC 6455) over TCP, by tokio-tungstenite.

mod client;
mod listener;

use std::io;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::link::{Format, FrameReceiver, FrameSender, Link, Peer};

pub use client::WebSocket;
pub use listener::WebSocketListener;

/// Sizes of one connection, in bytes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// A frame above it is refused.
    max_frame: usize,
    /// Allocated for each connection as soon as it opens.
    read_buffer: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { max_frame: 1 << 20, read_buffer: 8 << 10 }
    }
}

impl Sizes {
    fn config(self) -> WebSocketConfig {
        // What is written stays in the buffer up to this size or until the flush, so that frames
        // sent in a row share a system call; above it, `send` waits for the socket.
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer)
            .write_buffer_size(16 << 10)
            .max_message_size(Some(self.max_frame))
            .max_frame_size(Some(self.max_frame))
    }
}

/// The sending half of a WebSocket link.
#[derive(Debug)]
pub struct WebSocketSender {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    text: bool,
}

/// The receiving half of a WebSocket link. Takes text frames and binary ones alike, as JavaScript servers do.
#[derive(Debug)]
pub struct WebSocketReceiver {
    stream: SplitStream<WebSocketStream<TcpStream>>,
}

fn link(
    stream: WebSocketStream<TcpStream>,
    format: Format,
    peer: Peer,
) -> Link<WebSocketSender, WebSocketReceiver> {
    let (sink, stream) = stream.split();
    Link {
        sender: WebSocketSender { sink, text: format.text },
        receiver: WebSocketReceiver { stream },
        peer,
    }
}

impl FrameSender for WebSocketSender {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        let message = if self.text {
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

impl FrameReceiver for WebSocketReceiver {
    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.stream.next().await.transpose().map_err(io_error)? {
                Some(Message::Text(text)) => return Ok(Some(text.into())),
                Some(Message::Binary(bytes)) => return Ok(Some(bytes)),
                Some(Message::Close(_)) | None => return Ok(None),
                // tungstenite answers pings by itself.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }
}

/// Errors of the link stay what they are; errors that the peer made are `InvalidData`.
fn io_error(error: Error) -> io::Error {
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
