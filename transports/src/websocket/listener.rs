use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::handshake::Policy;
use super::link::{ByteStream, WebSocketLink, WebSocketReceiver, WebSocketSender};
use crate::link::{Format, LinkInfo, Listener};
use crate::rt::{JoinSet, sleep, timeout};
use crate::tcp;
use crate::tls::TlsServer;

/// Accepts WebSocket connections on a TCP port.
///
/// Handshakes go on beside each other, each within a time: a slow one holds up no other.
#[derive(Debug)]
pub struct WebSocketListener {
    tcp: TcpListener,
    tls: Option<TlsServer>,
    policy: Policy,
    handshake_timeout: Duration,
    max_handshakes: usize,
    handshakes: JoinSet<io::Result<WebSocketLink>>,
}

impl WebSocketListener {
    /// Listens on an address; port 0 takes a free one, which [`local_addr`](Self::local_addr) tells.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::from_tcp(TcpListener::bind(address).await?))
    }

    /// Listens on a socket that is already bound.
    pub fn from_tcp(tcp: TcpListener) -> Self {
        Self {
            tcp,
            tls: None,
            policy: Policy::default(),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            handshakes: JoinSet::new(),
        }
    }

    /// Answers one WebSocket handshake on a byte stream that was accepted elsewhere: a Unix socket,
    /// a tunnel. It waits as long as the peer does; who needs a limit wraps it in a timeout.
    pub async fn accept_over<S: ByteStream>(
        stream: S,
        formats: &[Format],
        max_frame: usize,
    ) -> io::Result<WebSocketLink<S>> {
        Policy::default().accept(stream, formats, max_frame, LinkInfo::default()).await
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Takes only connections by TLS, to `wss://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, server: TlsServer) -> Self {
        self.tls = Some(server);
        self
    }

    /// Takes browsers only from pages of these origins (`https://example.com`), compared whole;
    /// others are refused with 403. Programs that send no `Origin` are not browsers, and are taken.
    ///
    /// Needed where a cookie authenticates: a browser sends it along from any page.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.policy.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// How long a handshake may take, that of TLS included: 10 seconds.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How many handshakes go on at once: 1,024. Further connections wait in the system's queue.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count.max(1);
        self
    }

    /// The size of the buffer that is read into, in bytes, allocated for the life of a connection: 4 KiB.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.policy.sizes.read_buffer = bytes;
        self
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
                    Err(error) => tracing::error!(%error, "a WebSocket handshake panicked"),
                },
                accepted = self.tcp.accept(), if self.handshakes.len() < self.max_handshakes => {
                    match accepted {
                        Ok((tcp, address)) => {
                            let handshake =
                                handshake(self.tls.clone(), self.policy.clone(), tcp, address, formats.into(), max_frame);
                            let limit = self.handshake_timeout;
                            self.handshakes.spawn(async move {
                                timeout(limit, handshake).await.map_err(|_| too_slow())?
                            });
                        }
                        // The connection was gone at once, or no file descriptor is free: neither
                        // is the listener's end, and both pass.
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
    }
}

async fn handshake(
    tls: Option<TlsServer>,
    policy: Policy,
    tcp: TcpStream,
    address: SocketAddr,
    formats: Arc<[Format]>,
    max_frame: usize,
) -> io::Result<WebSocketLink> {
    let stream = tcp::accept(tcp, tls.as_ref()).await?;
    let info = LinkInfo { address: Some(address), ..LinkInfo::default() };
    policy.accept(stream, &formats, max_frame, info).await
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}
