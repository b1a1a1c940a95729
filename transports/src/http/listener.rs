use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::mpsc;

use super::link::{HttpLink, HttpReceiver, HttpSender};
use super::registry::Registry;
use super::serve::serve;
use super::service::HttpService;
use crate::link::{Format, Listener};
use crate::options::ListenerOptions;
use crate::rt;
use crate::tcp;

/// Accepts WebSocket and long-poll clients on one port.
///
/// ```no_run
/// # use logux_transports::{HttpListener, ListenerOptions};
/// # async fn run() -> std::io::Result<()> {
/// let options = ListenerOptions::new().origins(["https://example.com"]);
/// let listener = HttpListener::bind("0.0.0.0:31337").await?.options(options);
/// # Ok(())
/// # }
/// ```
///
/// When it is dropped, no new links are made, and those that there are go on. Once the last one has
/// ended, its port is free.
///
/// # Memory
/// Whatever a long-poll client sends, and however little it fetches, its session holds at most:
/// - 1 MiB of frames that are to be fetched, or one that is longer;
/// - two answers that are on their way, each of 256 KiB of frames, or one that is longer;
/// - of what the client sends and nobody has received yet, as much as the longest frame that is
///   received now, or 64 KiB: that is all of a client that was not let in;
/// - lists of these frames, some 100 KiB where they are many and empty.
///
/// Beside it each connection has buffers of 16 KiB, and those of TLS.
#[derive(Debug)]
#[must_use = "a listener that is dropped accepts no links"]
pub struct HttpListener {
    registry: Arc<Registry>,
    links: mpsc::Receiver<HttpLink>,
    /// The port of its own; served from when links are accepted.
    tcp: Option<TcpListener>,
    address: Option<SocketAddr>,
}

impl HttpListener {
    /// Listens on an address; port 0 takes a free one, which [`local_addr`](Self::local_addr) tells.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::from_tcp(tcp::listen(address).await?)
    }

    /// Listens on a socket that is already bound.
    pub fn from_tcp(tcp: TcpListener) -> io::Result<Self> {
        let address = Some(tcp.local_addr()?);
        let (registry, links) = Registry::new(ListenerOptions::default());
        Ok(Self { registry, links, tcp: Some(tcp), address })
    }

    /// A service for a program's own HTTP server, and the listener for the links that come of it.
    ///
    /// ```
    /// # use logux_transports::{HttpListener, ListenerOptions};
    /// let (service, listener) = HttpListener::mounted();
    /// let listener = listener.options(ListenerOptions::new().max_links_per_address(100));
    /// ```
    pub fn mounted() -> (HttpService, Self) {
        let (registry, links) = Registry::new(ListenerOptions::default());
        let service = HttpService::new(Arc::clone(&registry));
        (service, Self { registry, links, tcp: None, address: None })
    }

    /// Treats clients that connect from now on as these options say, also by the service where it is
    /// mounted. Without this, the defaults hold.
    pub fn options(self, options: ListenerOptions) -> Self {
        self.registry.set_options(options);
        self
    }

    /// The address that it listens on. Where it is mounted it has none of its own, which is an error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "a mounted listener has no address")
        })
    }
}

impl Listener for HttpListener {
    type Sender = HttpSender;
    type Receiver = HttpReceiver;

    async fn accept(&mut self, formats: &[Format], max_frame: usize) -> io::Result<HttpLink> {
        self.registry.accept(formats, max_frame);
        if let Some(tcp) = self.tcp.take() {
            rt::spawn(serve(tcp, Arc::clone(&self.registry)));
        }
        // The registry, which this holds, has the other end.
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "nobody can connect any more");
        self.links.recv().await.ok_or_else(gone)
    }
}
