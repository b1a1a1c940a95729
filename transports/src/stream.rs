use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The bytes of a connection over the network, whatever they go through: TCP, TLS, somebody's HTTP
/// server.
#[derive(Debug)]
pub struct NetworkStream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// Of somebody's HTTP server.
    #[cfg(feature = "long-poll")]
    Upgraded(hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>),
}

impl From<TcpStream> for NetworkStream {
    fn from(stream: TcpStream) -> Self {
        Self(Kind::Plain(stream))
    }
}

#[cfg(feature = "tls")]
impl From<tokio_rustls::TlsStream<TcpStream>> for NetworkStream {
    fn from(stream: tokio_rustls::TlsStream<TcpStream>) -> Self {
        Self(Kind::Tls(Box::new(stream)))
    }
}

#[cfg(feature = "long-poll")]
impl From<hyper::upgrade::Upgraded> for NetworkStream {
    fn from(stream: hyper::upgrade::Upgraded) -> Self {
        Self(Kind::Upgraded(hyper_util::rt::TokioIo::new(stream)))
    }
}

macro_rules! each {
    ($kind:expr, $stream:ident => $call:expr) => {
        match $kind {
            Kind::Plain($stream) => $call,
            #[cfg(feature = "tls")]
            Kind::Tls($stream) => $call,
            #[cfg(feature = "long-poll")]
            Kind::Upgraded($stream) => $call,
        }
    };
}

impl AsyncRead for NetworkStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read =
            each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_read(context, buffer));
        read.map_err(|error| match error.kind() {
            // Something on the way broke TLS: the peer did not send a wrong frame.
            io::ErrorKind::InvalidData => io::Error::new(io::ErrorKind::ConnectionAborted, error),
            _ => error,
        })
    }
}

impl AsyncWrite for NetworkStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.0, stream => stream.is_write_vectored())
    }
}
