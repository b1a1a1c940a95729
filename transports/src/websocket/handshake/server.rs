//! What servers say: the rules for a request, and the listener that has no other HTTP server before it.

use std::io;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::head::{self, HeadError, HeadLimit, RequestHead};
use super::{PREFIX, has, items};
use crate::link::{Format, LinkInfo};
use crate::options::ListenerOptions;
use crate::places::{Place, Places};
use crate::refusal::{Refusal, WEBSOCKET_VERSION};
use crate::websocket::buffered::end;
use crate::websocket::link::{ByteStream, Sizes, WebSocketLink, open};

/// How much of a request's head is read, in bytes and in headers.
pub(crate) const MAX_HEAD: usize = 16 << 10;
pub(crate) const MAX_HEADERS: usize = 100;

/// The refusal of a page whose origin is not listed.
pub(crate) const NOT_HERE: (StatusCode, &str) =
    (StatusCode::FORBIDDEN, "this origin may not connect");

/// The refusal of a request that has a transfer encoding.
pub(crate) const NOT_CHUNKED: (StatusCode, &str) =
    (StatusCode::LENGTH_REQUIRED, "a request tells its length, and no transfer encoding");

/// A request for a WebSocket that keeps to the rules: RFC 6455, 4.2.1.
pub(crate) struct Wanted {
    /// What answers its key.
    accept: HeaderValue,
}

/// A request that is granted.
pub(crate) struct Granted {
    /// What is spoken.
    pub(crate) format: Format,
    /// The answer.
    pub(crate) response: Response<()>,
}

impl Wanted {
    /// Checks a GET request.
    pub(crate) fn read(version: Version, headers: &HeaderMap) -> Result<Self, Refusal> {
        let upgrade = |message: String| Refusal::new(StatusCode::UPGRADE_REQUIRED, message);
        let wrong = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, message);
        if !has(headers, &header::UPGRADE, "websocket")
            || !has(headers, &header::CONNECTION, "upgrade")
        {
            return Err(upgrade(if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
                "something on the way, such as a proxy, keeps the headers Upgrade and Connection back".into()
            } else {
                "a GET request here asks for a WebSocket".into()
            }));
        }
        if version < Version::HTTP_11 {
            return Err(upgrade("a WebSocket is asked for by HTTP/1.1".into()));
        }
        if only(headers, header::SEC_WEBSOCKET_VERSION) != Some(WEBSOCKET_VERSION.as_bytes()) {
            return Err(upgrade(format!("the version of WebSocket here is {WEBSOCKET_VERSION}")));
        }
        if headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0") {
            return Err(wrong("a request for a WebSocket has no body"));
        }
        let key = only(headers, header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key =
            key.ok_or_else(|| wrong("a request for a WebSocket has one key: 16 bytes in base64"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key))
            .map_err(|_| wrong("the key cannot be answered"))?;
        Ok(Self { accept })
    }

    /// Grants it in the first format that is asked for and there is. Where none of ours is named, or a
    /// subprotocol of somebody else's, the format is the one that all take.
    pub(crate) fn grant(self, formats: &[Format], headers: &HeaderMap) -> Result<Granted, Refusal> {
        let unsupported = || {
            let names = formats.iter().map(|format| format!("{PREFIX}{}", format.name));
            let names: Vec<_> = names.collect();
            let message = format!("the subprotocols here are {}", names.join(", "));
            Refusal::new(StatusCode::BAD_REQUEST, message)
        };
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let answer = response.headers_mut();
        answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        let asked = items(headers, &header::SEC_WEBSOCKET_PROTOCOL);
        let mut asked = asked.filter_map(|name| name.strip_prefix(PREFIX)).peekable();
        let format = if asked.peek().is_none() {
            Format::unnamed(formats).ok_or_else(unsupported)?
        } else {
            let format = asked.find_map(|name| Format::named(formats, name));
            let format = format.ok_or_else(unsupported)?;
            let name = HeaderValue::from_str(&format!("{PREFIX}{}", format.name));
            answer.insert(header::SEC_WEBSOCKET_PROTOCOL, name.map_err(|_| unsupported())?);
            format
        };
        Ok(Granted { format, response })
    }
}

/// Answers a client that asks for a WebSocket, and for nothing else, over a connection from an address;
/// where links are counted, the link takes a place.
pub(in crate::websocket) async fn accept<S: ByteStream>(
    mut stream: S,
    formats: &[Format],
    max_frame: usize,
    peer: Option<SocketAddr>,
    options: &ListenerOptions,
    places: Option<&Places>,
) -> io::Result<WebSocketLink<S>> {
    const LIMIT: HeadLimit = HeadLimit { bytes: MAX_HEAD, headers: MAX_HEADERS };

    let mut bytes = Vec::new();
    let (refusal, method) = match head::read::<RequestHead>(&mut stream, &mut bytes, LIMIT).await {
        Ok(request) => {
            let method = request.method.clone();
            match let_in(request, peer, formats, options, places) {
                Ok((Granted { format, response }, info, place)) => {
                    write(&mut stream, response.map(|()| String::new())).await?;
                    let sizes = Sizes { read_buffer: options.read_buffer };
                    let role = Role::Server;
                    let link = open(stream, bytes, role, format, max_frame, info, sizes).await;
                    if let Some(place) = place {
                        link.sender.hold(place);
                    }
                    return Ok(link);
                }
                Err(refusal) => (refusal, method),
            }
        }
        Err(HeadError::TooLong) => {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            (Refusal::new(status, "the head of the request is too long"), Method::GET)
        }
        Err(HeadError::Wrong(why)) => (Refusal::new(StatusCode::BAD_REQUEST, why), Method::GET),
        Err(HeadError::Lost(error)) => return Err(error),
    };
    let error = refusal.to_error();
    let mut response = refusal.into_response();
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    if method == Method::HEAD {
        response.body_mut().clear();
    }
    write(&mut stream, response).await?;
    end(stream).await;
    Err(error)
}

/// Grants a request, and finds a place for the link where links are counted.
fn let_in(
    request: RequestHead,
    peer: Option<SocketAddr>,
    formats: &[Format],
    options: &ListenerOptions,
    places: Option<&Places>,
) -> Result<(Granted, LinkInfo, Option<Place>), Refusal> {
    let granted = judge(&request, formats, options)?;
    let info = options.describe(peer, &request.uri, request.headers);
    let address = info.address.map(|address| address.ip());
    let place = places.map(|places| places.take(address, options.max_links_per_address));
    Ok((granted, info, place.transpose()?))
}

fn judge(
    request: &RequestHead,
    formats: &[Format],
    options: &ListenerOptions,
) -> Result<Granted, Refusal> {
    let RequestHead { method, version, headers, .. } = request;
    if !options.allows(headers) {
        return Err(NOT_HERE.into());
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(NOT_CHUNKED.into());
    }
    if method != Method::GET {
        return Err(Refusal::of_method("GET", "GET a WebSocket"));
    }
    Wanted::read(*version, headers)?.grant(formats, headers)
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    response: Response<String>,
) -> io::Result<()> {
    let (head, body) = response.into_parts();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// Whether a key is 16 bytes in base64. Some clients draw its letters, so that the last one has bits
/// which mean nothing.
fn is_key(key: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|key| key.len() == 22 && key.iter().all(is_letter))
}
