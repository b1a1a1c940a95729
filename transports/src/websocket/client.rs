use std::io;
use std::time::Duration;

use http::HeaderMap;

use super::handshake;
use super::link::{ByteStream, Sizes, WebSocketLink, WebSocketReceiver, WebSocketSender};
use crate::link::{Format, LinkInfo, Transport, invalid};
use crate::options::READ_BUFFER;
use crate::request::{self, Proven};
use crate::rt::timeout;
use crate::tcp::Address;
#[cfg(feature = "tls")]
use crate::tls::TlsClient;

/// Dials a WebSocket server.
///
/// What a server answers before it has ever opened a link tells a mistake in the settings from what
/// passes: see [`Transport::open`].
///
/// ```
/// # use logux_transports::WebSocket;
/// let transport = WebSocket::new("ws://127.0.0.1:31337/")?.header("cookie", "session=1")?;
/// assert!(WebSocket::new("http://127.0.0.1/").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a transport does nothing until a link is opened by it"]
pub struct WebSocket {
    address: Address,
    headers: HeaderMap,
    open_timeout: Duration,
    sizes: Sizes,
    proven: Proven,
}

impl WebSocket {
    /// A transport to a `ws://` address, or by TLS (feature `tls`) to a `wss://` one.
    ///
    /// A user and password in it (`wss://user:p%40ss@host/`, percent-encoded) are sent as
    /// `Authorization: Basic`, and are in no error and no log; over `ws://` everybody on the way can
    /// read them. A fragment (`#x`) is not sent. A host that is not ASCII is written as DNS knows it
    /// (`xn--`), and an IPv6 address in brackets. An address that cannot be used, or of another scheme,
    /// is an error of the kind [`InvalidInput`](io::ErrorKind::InvalidInput) that says why.
    pub fn new(url: &str) -> io::Result<Self> {
        let address = Address::parse(url, "ws", "wss")?;
        Ok(Self {
            headers: request::headers(address.url()),
            address,
            open_timeout: Duration::from_secs(10),
            sizes: Sizes::default(),
            proven: Proven::default(),
        })
    }

    /// Sends a header, such as a cookie, with the request that opens the connection. The header
    /// `authorization` takes the place of the user and password in the address, and `host` that of
    /// its host. Those by which a WebSocket is asked for (`Connection`, `Upgrade`, `Sec-WebSocket-Key`,
    /// `Sec-WebSocket-Version` and `Sec-WebSocket-Extensions`), and those of a body, which the request
    /// does not have (`Content-Length`, `Transfer-Encoding`), are an error of the kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        if name.parse().is_ok_and(|name| handshake::is_own(&name)) {
            return Err(invalid(format!("the header {name} is for the handshake alone to send")));
        }
        request::add_header(&mut self.headers, name, value)?;
        Ok(self)
    }

    /// How long looking up the host, connecting and the handshakes, of TLS and WebSocket, may take
    /// together: 10 seconds.
    ///
    /// Of a host with several addresses the one that answers first is taken (RFC 8305): the next one,
    /// up to the sixteenth, is tried when one fails, or has not answered for 250 milliseconds.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit;
        self
    }

    /// The size of the buffer that frames are read into, in bytes, allocated for the life of a connection:
    /// 1 KiB by default, which is also the least. The buffer grows for longer frames: up to 4 KiB (or this size, if it
    /// is more) it stays so; what it grows beyond that is given back.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.sizes.read_buffer = bytes.max(READ_BUFFER);
        self
    }

    /// Speaks TLS to a `wss://` address otherwise than [`TlsClient::new`] does. A `ws://` address
    /// stays without.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, client: TlsClient) -> Self {
        self.address.set_tls(client);
        self
    }

    /// Opens a WebSocket over a byte stream that reaches the server: a Unix socket, a tunnel. TLS,
    /// if any, is in that stream already.
    pub async fn open_over<S: ByteStream>(
        &self,
        stream: S,
        format: Format,
        max_frame: usize,
    ) -> io::Result<WebSocketLink<S>> {
        self.judge(self.ask(stream, format, max_frame, LinkInfo::default())).await
    }

    async fn dial(&self, format: Format, max_frame: usize) -> io::Result<WebSocketLink> {
        let (stream, address) = self.address.dial().await?;
        let info = LinkInfo { address: Some(address), ..LinkInfo::default() };
        self.ask(stream, format, max_frame, info).await
    }

    async fn ask<S: ByteStream>(
        &self,
        stream: S,
        format: Format,
        max_frame: usize,
        info: LinkInfo,
    ) -> io::Result<WebSocketLink<S>> {
        let Self { address, headers, sizes, .. } = self;
        handshake::dial(stream, address.url().uri(), headers, format, max_frame, info, *sizes).await
    }

    /// What comes of opening a link, within its time.
    async fn judge<T>(&self, opening: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let opened = timeout(self.open_timeout, opening).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the server took too long to answer"))
        });
        self.proven.judge(opened)
    }
}

impl Transport for WebSocket {
    type Sender = WebSocketSender;
    type Receiver = WebSocketReceiver;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<WebSocketLink> {
        self.judge(self.dial(format, max_frame)).await
    }
}
