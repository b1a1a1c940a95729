//! Why requests are refused here, and the body that all answers have.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::registry::NotAccepting;
use crate::long_poll::head::Misread;
use crate::long_poll::session::Refused;
use crate::refusal::Refusal;

/// The body of an answer.
pub type HttpBody = Full<Bytes>;

/// Answers with a refusal.
pub(super) fn respond(refusal: Refusal) -> Response<HttpBody> {
    refusal.into_response().map(Full::from)
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

impl From<Misread> for Refusal {
    fn from(misread: Misread) -> Self {
        Self::new(StatusCode::BAD_REQUEST, misread.as_str())
    }
}

impl From<NotAccepting> for Refusal {
    fn from(NotAccepting: NotAccepting) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "nobody takes new connections now")
    }
}
