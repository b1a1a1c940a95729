use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::{Sizes, WebSocketReceiver, WebSocketSender, io_error, link};
use crate::link::{Format, Link, Listener, Peer};

/// Accepts WebSocket connections on a TCP port.
///
/// Handshakes go on beside each other, each within a time: a slow one holds up no other.
#[derive(Debug)]
pub struct WebSocketListener {
    tcp: TcpListener,
    policy: Policy,
    max_handshakes: usize,
    handshakes: JoinSet<io::Result<Link<WebSocketSender, WebSocketReceiver>>>,
}

/// What each handshake is held to.
#[derive(Clone, Debug)]
struct Policy {
    origins: Option<Arc<[String]>>,
    timeout: Duration,
    sizes: Sizes,
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
            policy: Policy {
                origins: None,
                timeout: Duration::from_secs(10),
                sizes: Sizes::default(),
            },
            max_handshakes: 1024,
            handshakes: JoinSet::new(),
        }
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Takes browsers only from pages of these origins (`https://example.com`), compared whole;
    /// others are refused with 403. Programs that send no `Origin` are not browsers, and are taken.
    ///
    /// Needed where a cookie authenticates: a browser sends it along from any page.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.policy.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// How long a handshake may take: 10 seconds.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.policy.timeout = limit;
        self
    }

    /// How many handshakes go on at once: 1,024. Further connections wait in the system's queue.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count.max(1);
        self
    }

    /// The longest frame that is taken, in bytes: 1 MiB.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.policy.sizes.max_frame = bytes;
        self
    }

    /// The size of the buffer that is read into, in bytes, allocated for the life of a connection: 8 KiB.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.policy.sizes.read_buffer = bytes;
        self
    }
}

impl Listener for WebSocketListener {
    type Sender = WebSocketSender;
    type Receiver = WebSocketReceiver;

    async fn accept(
        &mut self,
        format: Format,
    ) -> io::Result<Link<WebSocketSender, WebSocketReceiver>> {
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
                            self.handshakes.spawn(self.policy.clone().handshake(tcp, address, format));
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

impl Policy {
    async fn handshake(
        self,
        tcp: TcpStream,
        address: SocketAddr,
        format: Format,
    ) -> io::Result<Link<WebSocketSender, WebSocketReceiver>> {
        tcp.set_nodelay(true)?;
        let mut headers = HeaderMap::new();
        #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
        let check = |request: &Request, response: Response| {
            headers.clone_from(request.headers());
            if self.allows(request.headers()) { Ok(response) } else { Err(forbidden()) }
        };
        let accept = accept_hdr_async_with_config(tcp, check, Some(self.sizes.config()));
        let stream = timeout(self.timeout, accept)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))?
            .map_err(io_error)?;
        Ok(link(stream, format, Peer { address: Some(address), headers }))
    }

    /// A request with two origins, or with one that is no text, has no origin that could be allowed.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(allowed) = &self.origins else { return true };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => allowed.iter().any(|allowed| allowed.as_bytes() == origin),
            (Some(_), Some(_)) => false,
        }
    }
}

fn forbidden() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("this origin may not connect".to_owned()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}
