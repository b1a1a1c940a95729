//! TCP connections, dialled and accepted, within TLS where that is asked for.

use std::io;
use std::net::SocketAddr;

use http::Uri;
use tokio::net::TcpStream;

use crate::link::invalid;
use crate::stream::NetworkStream;
use crate::tls::{TlsClient, TlsServer};

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    uri: Uri,
    host: String,
    port: u16,
    /// Where the scheme asks for it.
    tls: Option<TlsClient>,
}

impl Address {
    /// An address with one of two schemes, the second of which asks for TLS.
    pub(crate) fn parse(url: &str, plain: &str, secure: &str) -> io::Result<Self> {
        let uri: Uri =
            url.parse().map_err(|error| invalid(format!("{url:?} is no URL: {error}")))?;
        let (tls, default_port) = match uri.scheme_str() {
            Some(scheme) if scheme == plain => (None, 80),
            #[cfg(feature = "tls")]
            Some(scheme) if scheme == secure => (Some(TlsClient::new()), 443),
            #[cfg(not(feature = "tls"))]
            Some(scheme) if scheme == secure => {
                return Err(invalid(format!("{url:?} asks for TLS: enable the feature `tls`")));
            }
            _ => {
                let message = format!("{url:?} does not start with {plain}:// or {secure}://");
                return Err(invalid(message));
            }
        };
        let host = match uri.host() {
            None | Some("") => return Err(invalid(format!("{url:?} names no host"))),
            Some(host) => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        };
        let port = uri.port_u16().unwrap_or(default_port);
        Ok(Self { uri, host, port, tls })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Has no effect where the scheme does not ask for TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, client: TlsClient) {
        if let Some(tls) = &mut self.tls {
            *tls = client;
        }
    }

    /// The bytes of a new connection, and the address that it goes to.
    pub(crate) async fn dial(&self) -> io::Result<(NetworkStream, SocketAddr)> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A batch is written at once, and its last packet must not wait for an acknowledgement.
        tcp.set_nodelay(true)?;
        let peer = tcp.peer_addr()?;
        let stream = match &self.tls {
            // Boxed, as in `accept`.
            Some(tls) => Box::pin(tls.connect(tcp, &self.host)).await?,
            None => tcp.into(),
        };
        Ok((stream, peer))
    }
}

/// The bytes of a connection that was accepted, within TLS where the server speaks it.
pub(crate) async fn accept(tcp: TcpStream, tls: Option<&TlsServer>) -> io::Result<NetworkStream> {
    // A batch is written at once, and its last packet must not wait for an acknowledgement.
    tcp.set_nodelay(true)?;
    match tls {
        // Boxed: the handshake future is large but short-lived; inline it would enlarge every
        // connection's task.
        Some(tls) => Box::pin(tls.accept(tcp)).await,
        None => Ok(tcp.into()),
    }
}
