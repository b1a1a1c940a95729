//! Addresses of servers, and how they are reached.

use std::io;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use tokio::net::TcpStream;

use crate::stream::NetworkStream;
use crate::tls::TlsClient;

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
            // In a box, as in `NetworkStream::accept`.
            Some(tls) => Box::pin(tls.connect(tcp, &self.host)).await?,
            None => tcp.into(),
        };
        Ok((stream, peer))
    }
}

pub(crate) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// A header of the user's.
pub(crate) fn header(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let name: HeaderName =
        name.parse().map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
    let value: HeaderValue = value.parse().map_err(|_| {
        invalid(format!("the value of the header {name} has a character that HTTP does not allow"))
    })?;
    Ok((name, value))
}

/// What it means for a link that the server answers otherwise than was hoped.
pub(crate) fn refused(status: StatusCode, body: &[u8]) -> io::Error {
    const SHOWN: usize = 200;

    let kind = match status {
        StatusCode::NOT_FOUND => io::ErrorKind::ConnectionReset,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => io::ErrorKind::PermissionDenied,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => io::ErrorKind::Unsupported,
        StatusCode::PAYLOAD_TOO_LARGE => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    let text = String::from_utf8_lossy(body);
    let text: String = text.chars().take(SHOWN).collect();
    io::Error::new(kind, format!("the server answers {status}: {:?}", text.trim_end()))
}
