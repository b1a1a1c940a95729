//! The headers of the protocol. Their meaning is in `LONG_POLL.md`.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const SESSION: HeaderName = HeaderName::from_static("logux-session");
pub(crate) const NONCE: HeaderName = HeaderName::from_static("logux-nonce");
pub(crate) const REQUEST: HeaderName = HeaderName::from_static("logux-request");
pub(crate) const FIRST: HeaderName = HeaderName::from_static("logux-first");
pub(crate) const ACK: HeaderName = HeaderName::from_static("logux-ack");
pub(crate) const POLL: HeaderName = HeaderName::from_static("logux-poll");
pub(crate) const WAIT: HeaderName = HeaderName::from_static("logux-wait");
pub(crate) const CLOSE: HeaderName = HeaderName::from_static("logux-close");
pub(crate) const STATE: HeaderName = HeaderName::from_static("logux-state");
pub(crate) const INACTIVITY: HeaderName = HeaderName::from_static("logux-inactivity");
pub(crate) const MAX_BODY: HeaderName = HeaderName::from_static("logux-max-body");

/// Begins the media type of a body; the name of the frames' format follows.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.logux.batch+";

/// The highest number that all languages can count to.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// A later poll takes this one's place.
    Superseded,
    /// The server has closed the link; what is in this answer is the last of it.
    Closed,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Superseded => "superseded",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let states = [Self::Open, Self::Superseded, Self::Closed];
        let value = only(headers, &STATE)?;
        states.into_iter().find(|state| state.as_str() == value)
    }
}

/// A header that is there once, as text.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A number in its one spelling.
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = only(headers, name)?;
    let is_canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|&number| is_canonical && number <= MAX_NUMBER)
}

/// Whether a header says `1`. It is left out where that is not meant.
pub(crate) fn flag(headers: &HeaderMap, name: &HeaderName) -> bool {
    only(headers, name) == Some("1")
}

pub(crate) fn set_number(headers: &mut HeaderMap, name: HeaderName, number: u64) {
    headers.insert(name, HeaderValue::from(number));
}
