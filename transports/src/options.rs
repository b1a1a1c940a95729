use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri, header};

use crate::link::LinkInfo;
use crate::page;
use crate::proxies::{Forwarding, Proxies};
use crate::tls::TlsServer;

/// The size of the buffer that a WebSocket is read into, in bytes, unless it is set; it is at least this.
pub(crate) const READ_BUFFER: usize = 1 << 10;

/// How a listener treats its clients: given to a
/// [`WebSocketListener`](crate::WebSocketListener::options), or with the feature `long-poll` to an
/// `HttpListener`. The defaults are right for a server on the open network.
///
/// ```
/// # use std::time::Duration;
/// # use logux_transports::{ListenerOptions, WebSocketListener};
/// # async fn run() -> std::io::Result<()> {
/// let options = ListenerOptions::new()
///     .origins(["https://example.com"])
///     .handshake_timeout(Duration::from_secs(5));
/// let listener = WebSocketListener::bind("0.0.0.0:31337").await?.options(options);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options change nothing until a listener is given them"]
pub struct ListenerOptions {
    pub(crate) tls: Option<TlsServer>,
    pub(crate) origins: Option<Arc<[String]>>,
    pub(crate) proxies: Proxies,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    pub(crate) read_buffer: usize,
    pub(crate) max_links_per_address: usize,
    #[cfg(feature = "long-poll")]
    pub(crate) wait: Duration,
    #[cfg(feature = "long-poll")]
    pub(crate) inactivity: Duration,
    #[cfg(feature = "long-poll")]
    pub(crate) body_timeout: Duration,
    #[cfg(feature = "long-poll")]
    pub(crate) write_timeout: Duration,
    #[cfg(feature = "long-poll")]
    pub(crate) max_connections: usize,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// # For both listeners
impl ListenerOptions {
    /// The defaults, as given with each method.
    pub fn new() -> Self {
        Self {
            tls: None,
            origins: None,
            proxies: Proxies::default(),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            read_buffer: READ_BUFFER,
            max_links_per_address: 1000,
            #[cfg(feature = "long-poll")]
            wait: Duration::from_secs(25),
            #[cfg(feature = "long-poll")]
            inactivity: Duration::from_secs(30),
            #[cfg(feature = "long-poll")]
            body_timeout: Duration::from_secs(10),
            #[cfg(feature = "long-poll")]
            write_timeout: Duration::from_secs(30),
            #[cfg(feature = "long-poll")]
            max_connections: 20_000,
        }
    }

    /// Takes only connections by TLS, to `wss://` and `https://`. Without TLS by default.
    ///
    /// Has no effect on a mounted `HttpListener`: the program that serves the requests speaks TLS, if
    /// it wants to.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, server: TlsServer) -> Self {
        self.tls = Some(server);
        self
    }

    /// Takes browsers only from pages of these origins (`https://example.com`), compared whole;
    /// others are refused with 403, those of one's own host and of this machine among them. Programs that
    /// send no `Origin` are not browsers, and are always taken; where the list is empty, only they are.
    ///
    /// By default all pages are taken, without what a browser sends along by itself from any page
    /// (see [`LinkInfo::headers`](crate::LinkInfo::headers)); and a node that does not check its peers by
    /// `auth` lets in those of its own host and of this machine only
    /// (see [`LinkInfo::is_foreign_page`](crate::LinkInfo::is_foreign_page)).
    ///
    /// So this is needed where a cookie authenticates. It is needed also for long-poll from another host
    /// than the page's own, which no browser allows otherwise (CORS); and where a proxy passes on a
    /// `Host` of its own, by which pages of the server's host are not recognized.
    ///
    /// And it is needed for a server without `auth` on a private network, or on a machine where somebody
    /// browses: a page of anywhere can have the name of its own host lead to such a server (DNS rebinding).
    /// To the browser, and by `Host` and `Origin`, it is then a page of the server's own host.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// Believes proxies of these networks when they tell the addresses of their clients. A network is an
    /// address (`127.0.0.1`) or a network in CIDR notation (`10.0.0.0/8`, `fd00::/8`); another text is an
    /// error of the kind [`InvalidInput`](io::ErrorKind::InvalidInput). Nobody is believed by default.
    ///
    /// Without this, all clients behind a proxy have its address, and share whatever is limited by
    /// address: links, refusals of `auth`. With it, [`LinkInfo::address`](crate::LinkInfo::address) is that
    /// of the client, with the port 0 where that is not told. May be called more than once, for proxies
    /// that do so in different ways.
    ///
    /// Where several proxies follow one another, list all of them: of the addresses in a header, the last
    /// one that is not a trusted proxy's is the client's. What stands before it, a client may have made up.
    /// An address that is missing or not readable leaves that of the proxy that should have told it.
    ///
    /// List only networks from which nobody but the proxies can connect, and have the proxy add to the
    /// header or replace it, as `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for` does in
    /// nginx. A header that a proxy passes on as the client wrote it says what the client wants.
    ///
    /// A mounted `HttpListener` takes the address that the program tells for that of the proxy, and has no
    /// use for [`Forwarding::ProxyProtocol`].
    ///
    /// A network that is listed for both headers is believed by `X-Forwarded-For`, and its `Forwarded` is
    /// not read. Do not list one so: most proxies write one of the two and pass on the other as the client
    /// wrote it, and that one may be the one that is believed. List it for the header that it writes.
    ///
    /// ```
    /// # use logux_transports::{Forwarding, ListenerOptions};
    /// let options = ListenerOptions::new()
    ///     .trusted_proxies(["10.0.0.0/8", "::1"], Forwarding::XForwardedFor)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn trusted_proxies<N: AsRef<str>>(
        mut self,
        networks: impl IntoIterator<Item = N>,
        forwarding: Forwarding,
    ) -> io::Result<Self> {
        for network in networks {
            self.proxies.trust(network.as_ref(), forwarding)?;
        }
        Ok(self)
    }

    /// How long a client may take to say what it wants: 10 seconds by default.
    ///
    /// A `WebSocketListener` counts the handshakes of TLS and WebSocket together. An `HttpListener`
    /// with a port of its own gives so long to the handshake of TLS, to the head of each request, and
    /// to the pause between two requests. It has no effect on a mounted one: the program that serves
    /// the requests sets these times.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How many connections may be open on which the client has not said what it wants: 1,024 by default, 1
    /// at least. Where there are so many, a new one takes the place of the oldest of the network that holds
    /// most of them, which is cut; one that came within the last second is cut only for a network that
    /// holds less. Where that leaves nothing to cut, the new one is.
    ///
    /// One is also cut where the process has no file descriptor left. Behind a proxy that tells addresses by
    /// [`Forwarding::ProxyProtocol`], these are what counts, once they are told.
    ///
    /// It has no effect on a mounted `HttpListener`: the program that serves the requests sets this limit.
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count.max(1);
        self
    }

    /// The size of the buffer that frames of a WebSocket are read into, in bytes, allocated for the life of a
    /// connection: 1 KiB by default, which is also the least. The buffer grows for longer frames: up to 4 KiB (or this
    /// size, if it is more) it stays so; what it grows beyond that is given back.
    ///
    /// A connection is read 16 KiB at a time in any case.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.read_buffer = bytes.max(READ_BUFFER);
        self
    }

    /// How many links one address may have at one listener, WebSocket and long-poll together: 1,000 by
    /// default; more are refused with 429. Of IPv6, a network of 64 bits counts as one address (see
    /// [`LinkInfo::network`](crate::LinkInfo::network)).
    ///
    /// Behind a proxy all clients have the proxy's address, unless it is [trusted](Self::trusted_proxies),
    /// or the program that a mounted `HttpListener` is in tells theirs.
    pub fn max_links_per_address(mut self, count: usize) -> Self {
        self.max_links_per_address = count;
        self
    }

    /// What is known of the client of a request, over a connection from an address.
    pub(crate) fn describe(
        &self,
        peer: Option<SocketAddr>,
        uri: &Uri,
        mut headers: HeaderMap,
    ) -> LinkInfo {
        let address = peer.map(|peer| self.proxies.client(peer, &headers));
        // Pages that are not listed are refused before.
        let is_foreign_page = self.origins.is_none() && page::is_foreign(uri, &headers);
        if self.origins.is_none() {
            page::hide_ambient_authority(&mut headers);
        }
        LinkInfo { address, headers, is_foreign_page, ..LinkInfo::default() }
    }

    /// Whether a request comes from where it may come from. One with two origins, or with one that
    /// is not text, has no origin that could be allowed.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(allowed) = &self.origins else { return true };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => allowed.iter().any(|allowed| allowed.as_bytes() == origin),
            (Some(_), Some(_)) => false,
        }
    }
}

/// # For an [`HttpListener`](crate::HttpListener) only
#[cfg(feature = "long-poll")]
impl ListenerOptions {
    /// How long a poll is held that nothing comes for: 25 seconds by default. Proxies close what is
    /// silent for a minute, some earlier.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// How long a long-poll session lasts without a request: 30 seconds by default. A client that is
    /// away for longer opens a new one, and the logs go on where they were.
    pub fn inactivity(mut self, limit: Duration) -> Self {
        self.inactivity = limit;
        self
    }

    /// How long the body of a long-poll request may pause, and how long it may take besides a second
    /// for each KiB: 10 seconds by default.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.body_timeout = limit;
        self
    }

    /// How long an answer may wait for a client that does not read it: 30 seconds by default. A
    /// WebSocket may wait longer: that is for the session to decide.
    ///
    /// On a port of its own only: a program that serves the requests itself sets its own limit.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.write_timeout = limit;
        self
    }

    /// How many HTTP connections there are at once on which something was asked, not counting those that a
    /// WebSocket has taken over: 20,000 by default, 1 at least. Where there are so many, a new one takes the
    /// place of one that is cut: the one that has been idle for longest, of a network that holds more of them
    /// than its own; or else the newest of the network that holds most, if that is at least two more. Otherwise
    /// its first request waits until one ends, at most for the
    /// [`handshake_timeout`](Self::handshake_timeout). Connections of a [proxy](Self::trusted_proxies) that tells
    /// its clients' addresses in a header are not cut so.
    ///
    /// Those on which nothing was asked yet, or that wait, have places of their own (see
    /// [`max_handshakes`](Self::max_handshakes)), and come on top of this number.
    ///
    /// On a port of its own only: a program that serves the requests itself sets its own limit.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count.max(1);
        self
    }
}
