use std::sync::Arc;
use std::time::Duration;

use crate::long_poll::session::Times;
use crate::tls::TlsServer;
use crate::websocket::link::Sizes;

/// How an [`HttpListener`](crate::HttpListener) behaves. The defaults are right for a server on the
/// open network.
///
/// ```
/// # use logux_transports::HttpOptions;
/// let options = HttpOptions::new()
///     .origins(["https://example.com"])
///     .max_sessions_per_address(100);
/// ```
#[derive(Clone, Debug)]
pub struct HttpOptions {
    pub(super) tls: Option<TlsServer>,
    pub(super) origins: Option<Arc<[String]>>,
    pub(super) wait: Duration,
    pub(super) inactivity: Duration,
    pub(super) head_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) max_sessions_per_address: usize,
    pub(super) sizes: Sizes,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpOptions {
    /// The defaults, as given with each method.
    pub fn new() -> Self {
        Self {
            tls: None,
            origins: None,
            wait: Duration::from_secs(25),
            inactivity: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_connections: 20_000,
            max_sessions_per_address: 1000,
            sizes: Sizes::default(),
        }
    }

    /// Takes only connections by TLS, to `https://` and `wss://`. On a port of its own only.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, server: TlsServer) -> Self {
        self.tls = Some(server);
        self
    }

    /// Takes browsers only from pages of these origins (`https://example.com`), compared whole;
    /// others are refused with 403. Programs that send no `Origin` are not browsers, and are taken.
    ///
    /// Pages of these origins may poll from another host than their own, which without this no
    /// browser lets them (CORS). Needed, too, where a cookie authenticates: a browser sends it along
    /// from any page.
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// How long a poll is held that nothing comes for: 25 seconds. Proxies close what is silent for
    /// a minute, some earlier.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// How long a long-poll session lasts without a request: 30 seconds. A client that is away for
    /// longer opens a new one, and the logs go on where they were.
    pub fn inactivity(mut self, limit: Duration) -> Self {
        self.inactivity = limit;
        self
    }

    /// How long the head of a request may take, before it the handshake of TLS, and how long a
    /// connection may be idle: 10 seconds each. On a port of its own only; a program that serves requests itself sets its own.
    pub fn head_timeout(mut self, limit: Duration) -> Self {
        self.head_timeout = limit;
        self
    }

    /// How long the body of a request may pause, and how long it may take besides a second for each
    /// KiB: 10 seconds.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.body_timeout = limit;
        self
    }

    /// How long an answer may wait for a client that does not read it: 30 seconds. On a port of its
    /// own only. A WebSocket may wait longer: that is for the session to decide.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.write_timeout = limit;
        self
    }

    /// How many HTTP connections there are at once, of those that are no WebSocket: 20,000. Further
    /// ones wait in the system's queue. On a port of its own only.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count.max(1);
        self
    }

    /// How many links one address may have: 1,000; more are refused with 429. Behind a proxy all
    /// clients have the proxy's address, unless the program tells theirs: see
    /// [`HttpService`](crate::HttpService).
    pub fn max_sessions_per_address(mut self, count: usize) -> Self {
        self.max_sessions_per_address = count;
        self
    }

    /// The size of the buffer that a WebSocket is read into, in bytes, allocated for the life of a
    /// connection: 4 KiB.
    pub fn read_buffer(mut self, bytes: usize) -> Self {
        self.sizes.read_buffer = bytes;
        self
    }

    pub(super) fn times(&self) -> Times {
        Times { wait: self.wait, inactivity: self.inactivity }
    }
}
