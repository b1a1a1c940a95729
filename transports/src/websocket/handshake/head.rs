//! Reads the head of an HTTP/1.1 message off a byte stream.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use httparse::{EMPTY_HEADER, Header, Status};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once, in bytes.
const PIECE: usize = 4 << 10;

/// How much must have come before bytes without the end of a line are looked at once more. What is
/// another protocol shows at its beginning.
const TELLING: usize = 64;

/// How much of a head is read.
#[derive(Clone, Copy)]
pub(super) struct HeadLimit {
    pub(super) bytes: usize,
    pub(super) headers: usize,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// It has more bytes or headers than are read.
    TooLong,
    /// It is not one of HTTP/1.
    Wrong(String),
    /// The stream failed or ended before.
    Lost(io::Error),
}

/// A kind of message.
pub(super) trait Head: Sized {
    /// The head that bytes begin with, of at most so many headers, and its length; `None` if more must
    /// come.
    fn parse(bytes: &[u8], max_headers: usize) -> Result<Option<(usize, Self)>, HeadError>;
}

pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// Reads a head. `bytes` are those that came before; what came after the head stays in there.
pub(super) async fn read<H: Head>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    limit: HeadLimit,
) -> Result<H, HeadError> {
    let mut seen = 0;
    loop {
        let is_telling = bytes.len() <= TELLING || bytes[seen..].contains(&b'\n');
        if is_telling && let Some((length, head)) = parse::<H>(bytes, limit)? {
            bytes.drain(..length);
            return Ok(head);
        }
        if bytes.len() >= limit.bytes {
            return Err(HeadError::TooLong);
        }
        seen = bytes.len();
        bytes.reserve(PIECE.min(limit.bytes - seen));
        if stream.read_buf(bytes).await.map_err(HeadError::Lost)? == 0 {
            let message = "the connection was cut in the handshake";
            return Err(HeadError::Lost(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
        }
    }
}

fn parse<H: Head>(bytes: &[u8], limit: HeadLimit) -> Result<Option<(usize, H)>, HeadError> {
    match H::parse(bytes, limit.headers)? {
        Some((length, _)) if length > limit.bytes => Err(HeadError::TooLong),
        parsed => Ok(parsed),
    }
}

impl Head for RequestHead {
    fn parse(bytes: &[u8], max_headers: usize) -> Result<Option<(usize, Self)>, HeadError> {
        let mut headers = vec![EMPTY_HEADER; max_headers];
        let mut request = httparse::Request::new(&mut headers);
        let Status::Complete(length) = request.parse(bytes)? else { return Ok(None) };
        let method = request.method.unwrap_or_default().as_bytes();
        let head = Self {
            method: Method::from_bytes(method).map_err(wrong)?,
            uri: request.path.unwrap_or_default().parse().map_err(wrong)?,
            version: version(request.version),
            headers: map(request.headers)?,
        };
        Ok(Some((length, head)))
    }
}

impl Head for ResponseHead {
    fn parse(bytes: &[u8], max_headers: usize) -> Result<Option<(usize, Self)>, HeadError> {
        let mut headers = vec![EMPTY_HEADER; max_headers];
        let mut response = httparse::Response::new(&mut headers);
        let Status::Complete(length) = response.parse(bytes)? else { return Ok(None) };
        let head = Self {
            status: StatusCode::from_u16(response.code.unwrap_or_default()).map_err(wrong)?,
            version: version(response.version),
            headers: map(response.headers)?,
        };
        Ok(Some((length, head)))
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Copies: what else was read is not kept with them.
fn map(headers: &[Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(wrong)?;
        map.append(name, HeaderValue::from_bytes(header.value).map_err(wrong)?);
    }
    Ok(map)
}

fn wrong(error: impl std::error::Error) -> HeadError {
    HeadError::Wrong(error.to_string())
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLong,
            error => wrong(error),
        }
    }
}
