//! WebSocket handshakes that come as HTTP requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::link;
use super::patient::Patient;
use super::refusal::{HttpBody, Refusal, WEBSOCKET_VERSION};
use super::registry::Registry;
use super::request::address;
use crate::link::LinkInfo;
use crate::long_poll::head::only;
use crate::rt::{self, timeout};
use crate::stream::NetworkStream;
use crate::websocket::{self, Choice, Sizes, choose};

/// How long the server that the request came to may take to hand the connection over.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A connection on a port of our own, as hyper serves it.
pub(super) type Connection = TokioIo<Patient<NetworkStream>>;

pub(super) async fn answer<B>(
    registry: &Arc<Registry>,
    mut request: Request<B>,
) -> Result<Response<HttpBody>, Refusal> {
    let key = key(request.headers())?.to_owned();
    let peer = address(&request);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(|| {
        Refusal::new(StatusCode::UPGRADE_REQUIRED, "this server upgrades no connections")
    })?;
    let accepting = registry.accepting().await?;
    let Choice { format, named } = choose(&accepting.formats, request.headers())
        .map_err(|message| Refusal::new(StatusCode::BAD_REQUEST, message))?;
    let options = registry.options();
    let address = peer.map(|address| address.ip());
    let place = registry.places.take(address, options.max_links_per_address)?;
    let permit = registry.reserve().await?;
    let info = LinkInfo {
        address: peer,
        headers: std::mem::take(request.headers_mut()),
        format: Some(format.name),
    };
    let sizes = Sizes { read_buffer: options.read_buffer };
    rt::spawn(async move {
        let upgraded = match timeout(MAX_WAIT, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => return tracing::debug!(%error, "an upgrade failed"),
            Err(_) => return tracing::debug!("an upgrade took too long"),
        };
        let (stream, read) = stream(upgraded);
        let link =
            websocket::accepted(stream, read, format, accepting.max_frame, info, sizes).await;
        permit.send(link::websocket(link, place));
    });
    let mut response = Response::new(HttpBody::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(name) = named {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// The key of a request that asks for a WebSocket (RFC 6455, 4.2.1).
fn key(headers: &HeaderMap) -> Result<&str, Refusal> {
    let has = |name, token: &str| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        let message = if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            "something on the way, such as a proxy, keeps the headers Upgrade and Connection back"
        } else {
            "here are WebSockets, and POST requests of long-poll"
        };
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, message));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(WEBSOCKET_VERSION) {
        let message = format!("the version of WebSocket here is {WEBSOCKET_VERSION}");
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, message));
    }
    only(headers, &header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "a request for a WebSocket has a key"))
}

/// The bytes of an upgraded connection, and what of them was read already. One of our own is a
/// stream like others again; another program's stays in what its server made of it.
fn stream(upgraded: Upgraded) -> (NetworkStream, Bytes) {
    match upgraded.downcast::<Connection>() {
        Ok(parts) => (parts.io.into_inner().into_inner(), parts.read_buf),
        Err(upgraded) => (NetworkStream::from(upgraded), Bytes::new()),
    }
}
