//! The requests that open links: the headers that users add, and the errors that answers mean.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::link::{Format, invalid};
use crate::url::Url;

/// How much of a server's text an error quotes, in characters.
const SHOWN: usize = 200;

/// Whether a transport has opened a link, and its settings are right.
///
/// Until then an answer that the server would give again is a mistake in the settings of either side:
/// an error of the kind `InvalidInput`, with which a client ends. From then on the same answer comes
/// from a server that is restarted, or from a network that wants a login first: it passes.
#[derive(Debug, Default)]
pub(crate) struct Proven(AtomicBool);

impl Proven {
    pub(crate) fn judge<T>(&self, opened: io::Result<T>) -> io::Result<T> {
        match opened {
            Ok(link) => {
                self.0.store(true, Ordering::Relaxed);
                Ok(link)
            }
            Err(error) if self.0.load(Ordering::Relaxed) => Err(passing(error)),
            Err(error) => Err(error),
        }
    }
}

impl Clone for Proven {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.0.load(Ordering::Relaxed)))
    }
}

/// The same error, of a kind that lets a client try again.
pub(crate) fn passing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(io::ErrorKind::ConnectionAborted, error),
        _ => error,
    }
}

/// The headers of every request to an address, before the user adds others.
pub(crate) fn headers(url: &Url) -> HeaderMap {
    let credentials = url.authorization().map(|value| (header::AUTHORIZATION, value.clone()));
    credentials.into_iter().collect()
}

/// Adds a header of the user's. Credentials take the place of those that the address has.
pub(crate) fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> io::Result<()> {
    let name: HeaderName =
        name.parse().map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
    let mut value: HeaderValue = value.parse().map_err(|_| {
        invalid(format!("the value of the header {name} has a character that HTTP does not allow"))
    })?;
    // It may be a cookie or a token: debug texts do not show it.
    value.set_sensitive(true);
    if name == header::AUTHORIZATION || name == header::HOST {
        headers.insert(name, value);
    } else {
        headers.append(name, value);
    }
    Ok(())
}

/// The error of a first request that did not open a link. Statuses that pass by themselves, and those
/// of credentials, which may be given anew, are not `InvalidInput`.
///
/// Where it is not certain that the server itself answers, and that it will again, the status passes: a
/// client that tries in vain says so each time, and one that has ended for good syncs no more. So 413
/// passes, for the request has no body, and something on the way is out of order; 421 asks for another
/// connection; and all of 5xx say that a server is at fault, not what is asked of it.
pub(crate) fn not_opened(
    uri: &Uri,
    format: Format,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> io::Error {
    let location = headers.get(header::LOCATION).filter(|_| status.is_redirection());
    let is_redirected = location.is_some();
    let answer = match location {
        Some(location) => format!("the server answers {status} to {}", quoted(&place(location))),
        None => answered(status, body),
    };
    let advice = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT if is_redirected => {
            "dial that address".into()
        }
        StatusCode::BAD_REQUEST => {
            format!("{}, the headers, and that the server takes {}", check(uri), format.name)
        }
        StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE => not_taken(format),
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "make the address and the headers shorter".into()
        }
        StatusCode::UPGRADE_REQUIRED if uri.scheme_str().is_some_and(is_websocket) => {
            "set up the proxy before the server for WebSocket, or dial by long-poll".into()
        }
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::PERMANENT_REDIRECT
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::GONE
        | StatusCode::LENGTH_REQUIRED
        | StatusCode::UPGRADE_REQUIRED => check(uri),
        status if status.is_success() => check(uri),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return io::Error::new(io::ErrorKind::PermissionDenied, answer);
        }
        _ => return io::Error::other(answer),
    };
    invalid(format!("{answer}; {advice}"))
}

/// The error of a link in whose midst the server refused a request.
#[cfg(feature = "long-poll")]
pub(crate) fn refused(status: StatusCode, body: &[u8]) -> io::Error {
    let kind = match status {
        StatusCode::NOT_FOUND => io::ErrorKind::ConnectionReset,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => io::ErrorKind::PermissionDenied,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, answered(status, body))
}

/// The error of a server that does not answer as one of its kind does.
pub(crate) fn another_server(uri: &Uri, why: impl std::fmt::Display) -> io::Error {
    invalid(format!("the server does not answer as one of Logux does ({why}); {}", check(uri)))
}

/// What to do where a server does not take a format.
pub(crate) fn not_taken(format: Format) -> String {
    format!("choose a codec that the server has, or give it the one of the format {}", format.name)
}

fn answered(status: StatusCode, body: &[u8]) -> String {
    if body.is_empty() {
        format!("the server answers {status}")
    } else {
        format!("the server answers {status}: {}", quoted(body))
    }
}

/// What a server says, for a person.
fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.chars().take(SHOWN).collect();
    format!("{:?}", text.trim_end())
}

/// What to do where something else answers. A query may be a secret.
fn check(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("check the scheme, host, port and path of {scheme}://{host}{port}{}", uri.path())
}

/// An address without its query, fragment and user, which servers copy from the one that was asked for,
/// or add as the key to what they send the client to.
fn place(location: &HeaderValue) -> Vec<u8> {
    let location = location.as_bytes();
    let end = location.iter().position(|byte| b"?#".contains(byte)).unwrap_or(location.len());
    let location = &location[..end];
    let Some(slashes) = location.windows(2).position(|pair| pair == b"//") else {
        return location.to_vec();
    };
    let (scheme, rest) = location.split_at(slashes + 2);
    let host_end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let user_end = rest[..host_end].iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    [scheme, &rest[user_end..]].concat()
}

fn is_websocket(scheme: &str) -> bool {
    matches!(scheme, "ws" | "wss")
}
