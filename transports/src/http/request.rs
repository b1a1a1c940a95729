//! What a request tells of the client.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Request, header};

use crate::options::ListenerOptions;

/// The page that a request comes from. A copy: a slice would keep all that was read with it, for as
/// long as a poll is held or a session lasts.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    HeaderValue::from_bytes(headers.get(header::ORIGIN)?.as_bytes()).ok()
}

/// The client's address, as the server of the request tells it, and proxies that are trusted.
pub(super) fn address<B>(request: &Request<B>, options: &ListenerOptions) -> Option<SocketAddr> {
    let peer = request.extensions().get::<SocketAddr>()?;
    Some(options.proxies.client(*peer, request.headers()))
}
