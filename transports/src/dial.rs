//! Addresses of servers, and how they are reached.

use std::io;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Uri};
use tokio::net::TcpStream;

use crate::stream::Stream;

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    uri: Uri,
    host: String,
    port: u16,
}

impl Address {
    pub(crate) fn parse(url: &str, plain: &str, _secure: &str) -> io::Result<Self> {
        let uri: Uri =
            url.parse().map_err(|error| invalid(format!("{url:?} is no URL: {error}")))?;
        if uri.scheme_str() != Some(plain) {
            return Err(invalid(format!("{url:?} does not start with {plain}://")));
        }
        let host = match uri.host() {
            None | Some("") => return Err(invalid(format!("{url:?} names no host"))),
            Some(host) => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        };
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { uri, host, port })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) async fn dial(&self) -> io::Result<(Stream, SocketAddr)> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let peer = tcp.peer_addr()?;
        Ok((tcp.into(), peer))
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
