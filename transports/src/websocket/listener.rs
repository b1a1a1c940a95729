use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::handshake;
use super::link::{ByteStream, WebSocketLink, WebSocketReceiver, WebSocketSender};
use crate::link::{Format, Listener, network};
use crate::options::ListenerOptions;
use crate::places::Places;
use crate::rt::{JoinSet, timeout};
use crate::strangers::{Stranger, Strangers};
use crate::tcp;

/// Accepts WebSocket connections on a TCP port.
///
/// Handshakes go on beside each other, each within a time: a slow one holds up no other.
#[derive(Debug)]
#[must_use = "a listener that is dropped accepts no links"]
pub struct WebSocketListener {
    tcp: TcpListener,
    options: Arc<ListenerOptions>,
    handshakes: JoinSet<io::Result<WebSocketLink>>,
    strangers: Strangers,
    places: Places,
}

impl WebSocketListener {
    /// Listens on an address; port 0 takes a free one, which [`local_addr`](Self::local_addr) tells.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::from_tcp(tcp::listen(address).await?))
    }

    /// Listens on a socket that is already bound.
    pub fn from_tcp(tcp: TcpListener) -> Self {
        let (handshakes, strangers) = (JoinSet::new(), Strangers::default());
        let (options, places) = (Arc::default(), Places::default());
        Self { tcp, options, handshakes, strangers, places }
    }

    /// Treats clients that connect from now on as these options say. Without this, the defaults hold.
    pub fn options(mut self, options: ListenerOptions) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// Answers one WebSocket handshake on a byte stream that was accepted elsewhere: a Unix socket,
    /// a tunnel. It waits as long as the peer does; wrap it in a timeout where a limit is
    /// needed.
    pub async fn accept_over<S: ByteStream>(
        stream: S,
        formats: &[Format],
        max_frame: usize,
    ) -> io::Result<WebSocketLink<S>> {
        Self::accept_over_with(stream, formats, max_frame, &ListenerOptions::default()).await
    }

    /// The same, by options: those of [origins](ListenerOptions::origins) and of the
    /// [buffer](ListenerOptions::read_buffer) hold.
    pub async fn accept_over_with<S: ByteStream>(
        stream: S,
        formats: &[Format],
        max_frame: usize,
        options: &ListenerOptions,
    ) -> io::Result<WebSocketLink<S>> {
        handshake::accept(stream, formats, max_frame, None, options, None).await
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Listener for WebSocketListener {
    type Sender = WebSocketSender;
    type Receiver = WebSocketReceiver;

    async fn accept(&mut self, formats: &[Format], max_frame: usize) -> io::Result<WebSocketLink> {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(link)) => return Ok(link),
                    Ok(Err(error)) => tracing::debug!(%error, "a WebSocket handshake failed"),
                    Err(error) if error.is_panic() => {
                        tracing::error!(%error, "a WebSocket handshake panicked");
                    }
                    // Another client has its place.
                    Err(_) => {}
                },
                accepted = self.tcp.accept() => {
                    match accepted {
                        Ok((tcp, address)) => {
                            let options = Arc::clone(&self.options);
                            let limit = options.handshake_timeout;
                            let network = Some(network(address.ip()));
                            let place = self.strangers.enter(network, options.max_handshakes);
                            let Some((stranger, eviction)) = place else { continue };
                            let (formats, places) = (formats.into(), self.places.clone());
                            let opening =
                                open(tcp, address, stranger, formats, max_frame, options, places);
                            eviction.aborts(self.handshakes.spawn(async move {
                                timeout(limit, opening).await.map_err(|_| too_slow())?
                            }));
                        }
                        Err(error) => tcp::pause(&error, &self.strangers).await,
                    }
                }
            }
        }
    }
}

async fn open(
    tcp: TcpStream,
    address: SocketAddr,
    stranger: Stranger,
    formats: Arc<[Format]>,
    max_frame: usize,
    options: Arc<ListenerOptions>,
    places: Places,
) -> io::Result<WebSocketLink> {
    let (stream, address) = tcp::accept(tcp, address, &stranger, &options).await?;
    handshake::accept(stream, &formats, max_frame, Some(address), &options, Some(&places)).await
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}
