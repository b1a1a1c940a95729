//! What the two sides say in HTTP before the first frame.

use std::io;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request as ClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error, http::Uri};
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

use super::link::{ByteStream, Sizes, WebSocketLink, io_error, link};
use super::meter::{Meter, Metered};
use crate::link::{Format, LinkInfo, invalid};
use crate::options::ListenerOptions;
use crate::request::{another_server, not_opened, not_taken};
use crate::tls;

/// Begins the names of subprotocols that name a format.
const PREFIX: &str = "logux.";

/// Asks for a WebSocket.
pub(super) async fn dial<S: ByteStream>(
    stream: S,
    uri: &Uri,
    headers: &HeaderMap,
    format: Format,
    max_frame: usize,
    info: LinkInfo,
    sizes: Sizes,
) -> io::Result<WebSocketLink<S>> {
    let mut request: ClientRequest = uri.clone().into_client_request().map_err(io_error)?;
    request.headers_mut().extend(headers.clone());
    if format.name != "json" {
        let name = HeaderValue::from_str(&format!("{PREFIX}{}", format.name)).map_err(|_| {
            invalid(format!("the name of the format, {:?}, is no HTTP token", format.name))
        })?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    let meter = Meter::new(Sizes::HANDSHAKE);
    let metered = Metered::new(stream, meter.clone());
    let opened = client_async_with_config(request, metered, Some(sizes.config(max_frame))).await;
    let (stream, _) = opened.map_err(|error| not_granted(error, uri, format))?;
    Ok(link(stream, format, info, meter, sizes))
}

/// The error of a handshake that opened no link.
fn not_granted(error: Error, uri: &Uri, format: Format) -> io::Error {
    let name = format.name;
    match error {
        Error::Http(answer) => {
            let body = answer.body().as_deref().unwrap_or_default();
            not_opened(uri, format, answer.status(), answer.headers(), body)
        }
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(why)) => {
            let what = match why {
                SubProtocolError::NoSubProtocol => "does not say that it takes the format",
                SubProtocolError::ServerSentSubProtocolNoneRequested
                | SubProtocolError::InvalidSubProtocol => "chose another format than",
            };
            invalid(format!("the server {what} {name}; {}", not_taken(format)))
        }
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut in the handshake")
        }
        // Some proxies say so that no server is there: their status was not looked at.
        Error::Protocol(ProtocolError::WrongHttpVersion) => io_error(error),
        Error::Protocol(error) => another_server(uri, error),
        Error::Io(error) => tls::explained_to_client(&error).unwrap_or(error),
        error => io_error(error),
    }
}

/// Answers a client that asks for a WebSocket.
pub(super) async fn accept<S: ByteStream>(
    stream: S,
    formats: &[Format],
    max_frame: usize,
    mut info: LinkInfo,
    options: &ListenerOptions,
) -> io::Result<WebSocketLink<S>> {
    let mut chosen = None;
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    let check = |request: &Request, mut response: Response| {
        info.headers.clone_from(request.headers());
        if !options.allows(request.headers()) {
            return Err(refusal(StatusCode::FORBIDDEN, "this origin may not connect".into()));
        }
        let choice = choose(formats, request.headers())
            .map_err(|why| refusal(StatusCode::BAD_REQUEST, why))?;
        if let Some(name) = choice.named {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        chosen = Some(choice.format);
        Ok(response)
    };
    let meter = Meter::new(Sizes::HANDSHAKE);
    let metered = Metered::new(stream, meter.clone());
    let sizes = Sizes { read_buffer: options.read_buffer };
    let config = Some(sizes.config(max_frame));
    let stream = accept_hdr_async_with_config(metered, check, config).await.map_err(io_error)?;
    match chosen {
        Some(format) => Ok(link(stream, format, info, meter, sizes)),
        None => Err(io::Error::other("the handshake ended without a request")),
    }
}

/// What is spoken.
pub(crate) struct Choice {
    pub(crate) format: Format,
    /// The subprotocol to answer, if one was chosen by name.
    pub(crate) named: Option<HeaderValue>,
}

/// The first format that is asked for and there is. Who names none of ours, or a subprotocol of
/// somebody else's, takes what all take.
pub(crate) fn choose(formats: &[Format], headers: &HeaderMap) -> Result<Choice, String> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let names = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let mut asked = names.filter_map(|name| name.trim().strip_prefix(PREFIX)).peekable();
    if asked.peek().is_none() {
        let format = Format::unnamed(formats).ok_or_else(|| unsupported(formats))?;
        return Ok(Choice { format, named: None });
    }
    let format = asked.find_map(|name| Format::named(formats, name));
    let format = format.ok_or_else(|| unsupported(formats))?;
    let named = HeaderValue::from_str(&format!("{PREFIX}{}", format.name)).ok();
    Ok(Choice { format, named })
}

fn unsupported(formats: &[Format]) -> String {
    let names: Vec<_> = formats.iter().map(|format| format!("{PREFIX}{}", format.name)).collect();
    format!("the subprotocols here are {}", names.join(", "))
}

fn refusal(status: StatusCode, why: String) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(why));
    *response.status_mut() = status;
    response
}
