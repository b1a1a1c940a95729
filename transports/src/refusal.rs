//! The answers to requests that are refused.

use std::io;

use http::{HeaderValue, Response, StatusCode, header};

use crate::places::TooMany;

/// The version of WebSocket that is spoken (RFC 6455).
pub(crate) const WEBSOCKET_VERSION: &str = "13";

/// Why a request is not answered as it wishes: a status, and a line of text for a person.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    /// The methods that are allowed, where that is the reason.
    methods: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), methods: None }
    }

    /// Refuses a method, and names those that are allowed.
    pub(crate) fn of_method(methods: &'static str, message: &str) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, message);
        Self { methods: Some(methods), ..refusal }
    }

    pub(crate) fn into_response(self) -> Response<String> {
        let Self { status, message, methods } = self;
        let mut response = Response::new(format!("{message}\n"));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut tell = |name, value| headers.insert(name, HeaderValue::from_static(value));
        tell(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        if let Some(methods) = methods {
            tell(header::ALLOW, methods);
        }
        match status {
            StatusCode::UPGRADE_REQUIRED => {
                tell(header::UPGRADE, "websocket");
                tell(header::CONNECTION, "upgrade");
                tell(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION);
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                tell(header::RETRY_AFTER, "1");
            }
            _ => {}
        }
        response
    }

    /// The refusal, as the listener's log has it.
    pub(crate) fn to_error(&self) -> io::Error {
        io::Error::other(format!("the request was answered {}: {}", self.status, self.message))
    }
}

impl From<(StatusCode, &str)> for Refusal {
    fn from((status, message): (StatusCode, &str)) -> Self {
        Self::new(status, message)
    }
}

impl From<TooMany> for Refusal {
    fn from(TooMany: TooMany) -> Self {
        let message = "there are too many connections from this address";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }
}
