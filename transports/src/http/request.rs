//! What a request tells of the client.

use std::net::SocketAddr;

use http::{Extensions, HeaderMap, HeaderValue, header};

/// The page that a request comes from. A copy: a slice would keep all that was read with it, for as
/// long as a poll is held or a session lasts.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    HeaderValue::from_bytes(headers.get(header::ORIGIN)?.as_bytes()).ok()
}

/// The address that a request's connection comes from, as its server tells it.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().copied()
}
