//! The answers to requests that are refused, and the body that all answers have.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::places::TooMany;
use super::registry::NotAccepting;
use crate::long_poll::session::Refused;

/// The version of WebSocket that is spoken (RFC 6455).
pub(super) const WEBSOCKET_VERSION: &str = "13";

/// The body of an answer.
pub type HttpBody = Full<Bytes>;

/// Why a request is not answered as it wishes: a status, and a line of text for a person.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn into_response(self) -> Response<HttpBody> {
        let Self { status, message } = self;
        let mut response = Response::new(Full::from(format!("{message}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
        match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static(WEBSOCKET_VERSION),
                );
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Gone => Self::new(StatusCode::NOT_FOUND, "there is no such session"),
            Refused::Busy => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "the session sends too much at once")
            }
            Refused::TooLong => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than it may be")
            }
        }
    }
}

impl From<NotAccepting> for Refusal {
    fn from(NotAccepting: NotAccepting) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "nobody takes new connections now")
    }
}

impl From<TooMany> for Refusal {
    fn from(TooMany: TooMany) -> Self {
        let message = "there are too many connections from this address";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }
}
