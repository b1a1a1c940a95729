use std::io;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use crate::link::{FrameReceiver, FrameSender, Link, LinkInfo, check_length};

/// Makes a link of anything that is a `Stream` and a `Sink` of frames, such as
/// `tokio_util::codec::Framed` around any byte stream.
///
/// With it, a transport is short. Unix sockets, whole:
///
/// ```
/// # #[cfg(unix)] mod unix {
/// use logux_transports::{Format, Link, SinkSender, StreamReceiver, Transport, framed};
/// use tokio::net::UnixStream;
/// use tokio_util::codec::{Framed, LengthDelimitedCodec};
///
/// struct Unix(std::path::PathBuf);
///
/// type Frames = Framed<UnixStream, LengthDelimitedCodec>;
///
/// impl Transport for Unix {
///     type Sender = SinkSender<Frames>;
///     type Receiver = StreamReceiver<Frames>;
///
///     async fn open(
///         &mut self,
///         _: Format,
///         _: usize,
///     ) -> std::io::Result<Link<Self::Sender, Self::Receiver>> {
///         let stream = UnixStream::connect(&self.0).await?;
///         Ok(framed(Framed::new(stream, LengthDelimitedCodec::new())))
///     }
/// }
/// # }
/// ```
///
/// The stream keeps the contract of a [`Link`] if it gives whole frames in order and its `next` is
/// cancel-safe, as that of `Framed` is.
pub fn framed<T, B>(stream: T) -> Link<SinkSender<T>, StreamReceiver<T>>
where
    T: Stream<Item = io::Result<B>> + Sink<Bytes, Error = io::Error> + Send + 'static,
    B: Into<Bytes>,
{
    let (sink, stream) = stream.split();
    Link {
        sender: SinkSender { sink },
        receiver: StreamReceiver { stream },
        info: LinkInfo::default(),
    }
}

/// The sending half of a link that [`framed`] made.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct SinkSender<T> {
    sink: SplitSink<T, Bytes>,
}

/// The receiving half of a link that [`framed`] made.
#[derive(Debug)]
#[must_use = "a link is cut when both of its halves are dropped"]
pub struct StreamReceiver<T> {
    stream: SplitStream<T>,
}

impl<T> FrameSender for SinkSender<T>
where
    T: Sink<Bytes, Error = io::Error> + Send + 'static,
{
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        self.sink.feed(frame).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.sink.flush().await
    }

    async fn close(mut self) -> io::Result<()> {
        self.sink.close().await
    }
}

impl<T, B> FrameReceiver for StreamReceiver<T>
where
    T: Stream<Item = io::Result<B>> + Send + 'static,
    B: Into<Bytes>,
{
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        let frame = self.stream.next().await.transpose()?;
        frame.map(|frame| check_length(frame.into(), max_frame)).transpose()
    }
}
