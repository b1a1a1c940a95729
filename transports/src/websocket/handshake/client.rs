//! What the client says.

use std::io;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::head::{self, HeadError, HeadLimit, ResponseHead};
use super::{PREFIX, has, items};
use crate::link::{Format, LinkInfo, invalid};
use crate::refusal::WEBSOCKET_VERSION;
use crate::request::{another_server, not_opened, not_taken};
use crate::rt;
use crate::tls;
use crate::websocket::link::{ByteStream, Sizes, WebSocketLink, open};

/// What is read of an answer, before it is one and in all.
const LIMIT: HeadLimit = HeadLimit { bytes: 64 << 10, headers: 128 };

/// Answers that come before the one that counts, such as 103 Early Hints.
const MAX_INTERIM: usize = 8;

/// Whether a header is one of those by which a WebSocket is asked for, or by which something else would be.
pub(in crate::websocket) fn is_own(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}

/// Asks for a WebSocket.
pub(in crate::websocket) async fn dial<S: ByteStream>(
    mut stream: S,
    uri: &Uri,
    headers: &HeaderMap,
    format: Format,
    max_frame: usize,
    info: LinkInfo,
    sizes: Sizes,
) -> io::Result<WebSocketLink<S>> {
    let mut headers = headers.clone();
    if format.name != "json" {
        let name = HeaderValue::from_str(&format!("{PREFIX}{}", format.name)).map_err(|_| {
            invalid(format!("the name of the format, {:?}, is no HTTP token", format.name))
        })?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    let mut key = [0; 16];
    rt::fill_random(&mut key)?;
    let key = BASE64.encode(&key);
    let is_lost = |error: io::Error| tls::explained_to_client(&error).unwrap_or(error);
    stream.write_all(&request(uri, &headers, &key)).await.map_err(is_lost)?;
    stream.flush().await.map_err(is_lost)?;
    let mut bytes = Vec::new();
    let answer = answer(&mut stream, &mut bytes).await.map_err(|error| match error {
        HeadError::TooLong => another_server(uri, "its answer is too long"),
        HeadError::Wrong(why) => another_server(uri, why),
        HeadError::Lost(error) => is_lost(error),
    })?;
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(not_opened(uri, format, answer.status, &answer.headers, &bytes));
    }
    check(&answer, &key).map_err(|why| another_server(uri, why))?;
    check_format(&answer, &headers, format)?;
    Ok(open(stream, bytes, Role::Client, format, max_frame, info, sizes).await)
}

/// The head of the request. Some servers compare the names of headers with those of the RFC as they are.
fn request(uri: &Uri, headers: &HeaderMap, key: &str) -> Vec<u8> {
    let path = uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
    let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
    let host = format!("{}{port}", uri.host().unwrap_or_default());
    let host = headers.get(header::HOST).map_or(host.as_bytes(), HeaderValue::as_bytes);
    let own: [(&str, &[u8]); 5] = [
        ("Host", host),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", WEBSOCKET_VERSION.as_bytes()),
        ("Sec-WebSocket-Key", key.as_bytes()),
    ];
    let users = headers.iter().filter(|(name, _)| *name != header::HOST).map(|(name, value)| {
        let name = match name {
            &header::ORIGIN => "Origin",
            &header::SEC_WEBSOCKET_PROTOCOL => "Sec-WebSocket-Protocol",
            name => name.as_str(),
        };
        (name, value.as_bytes())
    });
    let mut request = format!("GET {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in own.into_iter().chain(users) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The answer that counts.
async fn answer(
    stream: &mut impl ByteStream,
    bytes: &mut Vec<u8>,
) -> Result<ResponseHead, HeadError> {
    for _ in 0..MAX_INTERIM {
        let answer: ResponseHead = head::read(stream, bytes, LIMIT).await?;
        if !answer.status.is_informational() || answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
    }
    Err(HeadError::TooLong)
}

/// Whether an answer grants what was asked for (RFC 6455, 4.1), and nothing else.
fn check(answer: &ResponseHead, key: &str) -> Result<(), &'static str> {
    let headers = &answer.headers;
    let accept = derive_accept_key(key.as_bytes());
    let mut accepted = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    if answer.version < Version::HTTP_11 {
        Err("it speaks HTTP/1.0")
    } else if !has(headers, &header::UPGRADE, "websocket") {
        Err("its header Upgrade is not websocket")
    } else if !has(headers, &header::CONNECTION, "upgrade") {
        Err("its header Connection does not have upgrade")
    } else if !(accepted.next().is_some_and(|given| *given == accept) && accepted.next().is_none())
    {
        Err("its header Sec-WebSocket-Accept is not the answer to the key")
    } else if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        Err("it chose an extension that nobody asked for")
    } else {
        Ok(())
    }
}

/// Whether an answer takes the format, or another subprotocol that was asked for.
fn check_format(answer: &ResponseHead, asked: &HeaderMap, format: Format) -> io::Result<()> {
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let mut chosen = answer.headers.get_all(&name).iter();
    let what = match (chosen.next(), chosen.next()) {
        (None, _) if !asked.contains_key(&name) => return Ok(()),
        (None, _) => "does not say that it takes the format",
        (Some(chosen), None) if items(asked, &name).any(|asked| chosen == asked) => return Ok(()),
        (Some(_), _) => "chose another format than",
    };
    Err(invalid(format!("the server {what} {}; {}", format.name, not_taken(format))))
}
