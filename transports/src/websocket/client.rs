use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ByteStream, Sizes, WebSocketLink, WebSocketReceiver, WebSocketSender, handshake};
use crate::link::{Format, Peer, Transport};

/// Dials a WebSocket server.
///
/// ```
/// # use logux_transports::WebSocket;
/// let transport = WebSocket::new("ws://127.0.0.1:31337/")?.header("cookie", "session=1")?;
/// assert!(WebSocket::new("http://127.0.0.1/").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WebSocket {
    uri: Uri,
    host: String,
    headers: HeaderMap,
    open_timeout: Duration,
    sizes: Sizes,
}

impl WebSocket {
    /// A transport to a `ws://` address. An address that is none, or of another scheme, is an
    /// error of the kind [`InvalidInput`](io::ErrorKind::InvalidInput).
    pub fn new(url: &str) -> io::Result<Self> {
        let uri: Uri =
            url.parse().map_err(|error| invalid(format!("{url:?} is no URL: {error}")))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => {
                return Err(invalid(format!("{url:?} asks for TLS, which is not there yet")));
            }
            _ => return Err(invalid(format!("{url:?} does not start with ws://"))),
        }
        let host = match uri.host() {
            None | Some("") => return Err(invalid(format!("{url:?} names no host"))),
            Some(host) => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        };
        Ok(Self {
            uri,
            host,
            headers: HeaderMap::new(),
            open_timeout: Duration::from_secs(10),
            sizes: Sizes::default(),
        })
    }

    /// Sends a header, such as a cookie, with the request that opens the connection.
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        let name: HeaderName =
            name.parse().map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
        let value: HeaderValue = value.parse().map_err(|_| {
            invalid(format!(
                "the value of the header {name} has a character that HTTP does not allow"
            ))
        })?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// How long connecting and the WebSocket handshake may take together: 10 seconds.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit;
        self
    }

    /// The size of the buffer that is read into, in bytes, allocated for the life of a connection: 8 KiB.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.sizes.read_buffer = bytes;
        self
    }

    /// Opens a WebSocket over a byte stream that reaches the server: a Unix socket, a tunnel.
    pub async fn open_over<S: ByteStream>(
        &self,
        stream: S,
        format: Format,
        max_frame: usize,
    ) -> io::Result<WebSocketLink<S>> {
        self.within_time(self.ask(stream, format, max_frame, Peer::default())).await
    }

    async fn dial(&self, format: Format, max_frame: usize) -> io::Result<WebSocketLink> {
        let port = self.uri.port_u16().unwrap_or(80);
        let tcp = TcpStream::connect((self.host.as_str(), port)).await?;
        // A batch is written at once, and its last packet must not wait for an acknowledgement.
        tcp.set_nodelay(true)?;
        let peer = Peer { address: tcp.peer_addr().ok(), ..Peer::default() };
        self.ask(tcp, format, max_frame, peer).await
    }

    async fn ask<S: ByteStream>(
        &self,
        stream: S,
        format: Format,
        max_frame: usize,
        peer: Peer,
    ) -> io::Result<WebSocketLink<S>> {
        let Self { uri, headers, sizes, .. } = self;
        handshake::dial(stream, uri, headers, format, max_frame, peer, *sizes).await
    }

    async fn within_time<T>(&self, opening: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(self.open_timeout, opening).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the server took too long to answer"))
        })
    }
}

impl Transport for WebSocket {
    type Sender = WebSocketSender;
    type Receiver = WebSocketReceiver;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<WebSocketLink> {
        self.within_time(self.dial(format, max_frame)).await
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
