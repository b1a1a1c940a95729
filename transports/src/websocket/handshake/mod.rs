//! What the two sides say in HTTP before the first frame: RFC 6455, 4.

mod client;
mod head;
mod server;

use http::{HeaderMap, HeaderName};

pub(super) use client::{dial, is_own};
pub(super) use server::accept;
#[cfg(feature = "long-poll")]
pub(crate) use server::{Granted, MAX_HEAD, MAX_HEADERS, NOT_CHUNKED, NOT_HERE, Wanted};

/// Begins the names of subprotocols that name a format.
const PREFIX: &str = "logux.";

/// Whether a header that is a list, on one line or on several, has an item, in any case (RFC 9110, 5.6.1).
fn has(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    items(headers, name).any(|found| found.eq_ignore_ascii_case(item))
}

/// The items of a header that is a list. A line that is not text has none.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty())
}
