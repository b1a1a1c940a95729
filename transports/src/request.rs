//! The HTTP requests that open links: the headers that users add, and the errors that answers mean.

use std::io;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::link::invalid;

/// A header of the user's.
pub(crate) fn header(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let name: HeaderName =
        name.parse().map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
    let value: HeaderValue = value.parse().map_err(|_| {
        invalid(format!("the value of the header {name} has a character that HTTP does not allow"))
    })?;
    Ok((name, value))
}

/// The error of a link whose request the server did not grant.
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
