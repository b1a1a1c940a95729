//! What a browser has to be told before a page may ask (the Fetch standard, "CORS protocol").

use http::{HeaderMap, HeaderValue, header};

/// The headers of requests and of answers that a page of another host uses.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "content-type, logux-session, logux-nonce, logux-version, logux-poll, logux-send",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "logux-session, logux-version, logux-answer, logux-wait, logux-inactivity, logux-max-body",
);

/// Two hours, the longest that all browsers take: how long they need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Lets a page of an allowed origin read the answer; `origin` is that of its request.
pub(super) fn let_read(answer: &mut HeaderMap, origin: &HeaderValue) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
}

/// Lets a page of an allowed origin ask.
pub(super) fn let_ask(answer: &mut HeaderMap) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
}
