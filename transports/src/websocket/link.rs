//! The two halves of a WebSocket once it is open.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::buffered::Buffered;
use super::meter::{Meter, is_exceeded};
use crate::link::{Format, FrameReceiver, FrameSender, Link, LinkInfo, too_long};
use crate::options::READ_BUFFER;
use crate::places::Place;
use crate::rt;
use crate::stream::NetworkStream;

/// How many bytes of frames tungstenite gathers, about.
const WRITE_BUFFER: usize = 1 << 10;

/// How many bytes of answers to pings wait for a peer that does not read them. Then only the last ping is
/// answered, and a frame fails the link.
const MAX_ANSWERS: usize = 64 << 10;

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
        // Frames that are sent in a row share a system call: they wait in the stream under this, to which
        // they go some at a time.
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_ANSWERS + self.long())
            .max_message_size(Some(max_frame))
            .max_frame_size(Some(max_frame))
    }

    /// A frame that is longer leaves no memory behind. For those up to here that would cost more than it saves.
    fn long(self) -> usize {
        self.read_buffer.max(4 << 10)
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
    socket: Socket<S>,
    is_text: fn(&[u8]) -> bool,
    meter: Meter,
    role: Role,
    sizes: Sizes,
}

/// The receiving half of a WebSocket link. Takes text frames and binary ones alike, as JavaScript servers do.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct WebSocketReceiver<S = NetworkStream> {
    socket: Socket<S>,
    meter: Meter,
    sizes: Sizes,
    /// The limit under which the frame that is waited for began to come.
    limit: Option<usize>,
    /// The last frame, if it is long, until the next one is asked for. While this holds the frame, tungstenite
    /// cannot use its memory again, and makes a small buffer instead.
    long: Option<Bytes>,
    /// The peer has closed; the connection may be open until it hears that we know.
    ended: bool,
}

/// What both halves of a link use, never for longer than a poll.
#[derive(Debug)]
struct Socket<S>(Arc<Mutex<WebSocketStream<Buffered<S>>>>);

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
    info.transport = Some("websocket");
    // The first call of `receive` allows more.
    let meter = Meter::new(0);
    let stream = Buffered::new(stream, read, sizes.long(), meter.clone());
    let config = Some(sizes.config(max_frame));
    let socket = WebSocketStream::from_raw_socket(stream, role, config).await;
    let socket = Socket(Arc::new(Mutex::new(socket)));
    let is_text = format.is_text;
    Link {
        receiver: WebSocketReceiver {
            socket: Socket(Arc::clone(&socket.0)),
            meter: meter.clone(),
            sizes,
            limit: None,
            long: None,
            ended: false,
        },
        sender: WebSocketSender { socket, is_text, meter, role, sizes },
        info,
    }
}

impl<S> Socket<S> {
    fn lock(&self) -> MutexGuard<'_, WebSocketStream<Buffered<S>>> {
        // After a panic in a stream of the user's, the stream tells what has become of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ByteStream> FrameSender for WebSocketSender<S> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.check()?;
        let is_long = frame.len() > self.sizes.long();
        let message = if (self.is_text)(&frame) {
            let text = Utf8Bytes::try_from(frame)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Message::Text(text)
        } else {
            Message::Binary(frame)
        };
        if is_long {
            self.send_long(message).await
        } else {
            self.feed(message).await.map_err(|error| self.failed(error))
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        let flushed = poll_fn(|context| {
            let mut socket = self.socket.lock();
            ready!(socket.poll_flush_unpin(context))?;
            // After a close of the peer's, tungstenite does not flush what is under it.
            Pin::new(socket.get_mut()).poll_flush(context).map_err(Error::Io)
        });
        flushed.await.map_err(|error| self.failed(error))
    }

    async fn close(self) -> io::Result<()> {
        if let Some(limit) = self.meter.refused() {
            let reason = too_long(limit).to_string().into();
            let closing = Message::Close(Some(CloseFrame { code: CloseCode::Size, reason }));
            // If the connection is closed already, what follows says so.
            let _ = self.feed(closing).await;
        }
        let closed = poll_fn(|context| {
            let mut socket = self.socket.lock();
            ready!(socket.poll_close_unpin(context))?;
            // See `flush`.
            Pin::new(socket.get_mut()).poll_flush(context).map_err(Error::Io)
        });
        match closed.await {
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

    async fn feed(&self, message: Message) -> Result<(), Error> {
        poll_fn(|context| self.socket.lock().poll_ready_unpin(context)).await?;
        self.socket.lock().start_send_unpin(message)
    }

    /// Sends a frame that would make the buffer of tungstenite long.
    async fn send_long(&self, message: Message) -> io::Result<()> {
        let kind = if message.is_text() { Data::Text } else { Data::Binary };
        let mut frame = Frame::message(message.into_data(), OpCode::Data(kind), true);
        if self.role == Role::Client {
            let mut mask = [0; 4];
            rt::fill_random(&mut mask)?;
            frame.header_mut().mask = Some(mask);
        }
        let mut frame = Some(frame);
        let sent = poll_fn(|context| {
            let mut socket = self.socket.lock();
            // What tungstenite has goes before.
            socket.get_mut().gather(true);
            let gathered = socket.poll_flush_unpin(context);
            socket.get_mut().gather(false);
            ready!(gathered)?;
            let bytes = ready!(socket.get_mut().poll_room(context))?;
            // This is the last time that it is polled.
            frame.take().map_or(Ok(()), |frame| frame.format(bytes)).into()
        });
        sent.await.map_err(|error| self.failed(error))
    }

    /// The halves may be used by two tasks: the error of sending is the one that tells the reason.
    fn failed(&self, error: Error) -> io::Error {
        self.check().err().unwrap_or_else(|| io_error(error))
    }

    fn check(&self) -> io::Result<()> {
        if let Some(reason) = self.meter.complaint() {
            return Err(too_long_for_peer(reason));
        }
        if self.meter.is_closed() { Err(closed()) } else { Ok(()) }
    }
}

impl<S: ByteStream> FrameReceiver for WebSocketReceiver<S> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        while !self.ended {
            if self.limit != Some(max_frame) {
                self.limit = Some(max_frame);
                self.meter.allow(self.sizes.allowance(max_frame));
            }
            let message = poll_fn(|context| {
                let mut socket = self.socket.lock();
                let message = socket.poll_next_unpin(context);
                self.long = None;
                if let Poll::Ready(Some(Ok(Message::Close(_)))) = message {
                    // Only the next read writes tungstenite's answer, to the stream under it.
                    let _ = socket.poll_next_unpin(context);
                }
                if let Poll::Ready(Some(Ok(Message::Close(_))) | None) = message {
                    socket.get_mut().flush_unless_blocked(context);
                }
                message
            });
            let message = message.await.transpose();
            let message = message.map_err(|error| match error {
                Error::Capacity(_) => self.refuse(max_frame),
                Error::Io(error) if is_exceeded(&error) => self.refuse(max_frame),
                error => {
                    let error = io_error(error);
                    // After this tungstenite sends nothing, either.
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotConnected | io::ErrorKind::UnexpectedEof
                    ) {
                        self.meter.close();
                    }
                    error
                }
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
                    self.meter.close();
                    break;
                }
                // tungstenite answers pings by itself.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            };
            if frame.len() > max_frame {
                return Err(self.refuse(max_frame));
            }
            if frame.len() > self.sizes.long() {
                self.long = Some(frame.clone());
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

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the link was closed")
}

/// Errors of the link stay what they are; errors that the peer made are `InvalidData`.
pub(super) fn io_error(error: Error) -> io::Error {
    use tokio_tungstenite::tungstenite::error::ProtocolError::{
        ResetWithoutClosingHandshake, SendAfterClosing,
    };

    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(SendAfterClosing) => {
            closed()
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
