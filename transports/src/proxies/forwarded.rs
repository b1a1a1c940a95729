//! The headers in which proxies tell the addresses that requests came from.
//!
//! Each proxy adds the address of its own peer on the right. What stands on the left, a client may have
//! made up, so it must not change how the rest is read.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Forwarding;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const BLANKS: [char; 2] = [' ', '\t'];

/// What reads a line.
type Parse = fn(&str) -> Vec<Option<SocketAddr>>;

/// The addresses, the last one that was added first. `None` is one that is not known: it is kept secret,
/// or is not written as it should be.
pub(super) fn hops(
    headers: &HeaderMap,
    forwarding: Forwarding,
) -> impl Iterator<Item = Option<SocketAddr>> {
    let (name, parse): (_, Parse) = match forwarding {
        Forwarding::Forwarded => (FORWARDED, |line| elements(line).unwrap_or_else(|| vec![None])),
        Forwarding::XForwardedFor => (X_FORWARDED_FOR, addresses),
        // It has no header.
        Forwarding::ProxyProtocol => (X_FORWARDED_FOR, |_| vec![None]),
    };
    // A line for itself: a quote that one leaves open does not reach into the next. Bytes that are no text
    // are of no address, and end no item.
    let lines = headers.get_all(name).iter().rev().map(HeaderValue::as_bytes);
    lines.flat_map(move |line| parse(&String::from_utf8_lossy(line)).into_iter().rev())
}

/// A line of `X-Forwarded-For`. It has no grammar: as proxies write it.
fn addresses(line: &str) -> Vec<Option<SocketAddr>> {
    let items = line.split(',').map(|item| item.trim_matches(BLANKS));
    let items = items
        .map(|item| item.strip_prefix('"').and_then(|item| item.strip_suffix('"')).unwrap_or(item));
    items.map(node).collect()
}

/// A line of `Forwarded` (RFC 7239, 4). `None` if it breaks the grammar: where an element ends is not known
/// then.
fn elements(line: &str) -> Option<Vec<Option<SocketAddr>>> {
    let mut elements = vec![None];
    let mut has_for = false;
    let mut rest = line.trim_matches(BLANKS);
    loop {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = value(after)?;
        if name.eq_ignore_ascii_case("for") {
            // Of two, neither is believed.
            *elements.last_mut()? = if has_for { None } else { node(&value) };
            has_for = true;
        }
        let after = after.trim_start_matches(BLANKS);
        rest = match after.chars().next() {
            None => return Some(elements),
            Some(';') => &after[1..],
            Some(',') => {
                elements.push(None);
                has_for = false;
                &after[1..]
            }
            Some(_) => return None,
        };
        rest = rest.trim_start_matches(BLANKS);
    }
}

/// A value, and what comes after it. Without quotes it may also have what only those allow, as some write
/// it, but for what ends it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|found| ",; \t\"".contains(found)).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (!value.is_empty()).then_some((value.into(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return Some((value.into(), &quoted[end + 1..])),
            (_, '\\') => value.push(chars.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. A
/// port that is not told is 0.
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 0));
    }
    let (ip, port): (IpAddr, _) = if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        let port = if port.is_empty() { "0" } else { port.strip_prefix(':')? };
        (ip.parse::<Ipv6Addr>().ok()?.into(), port)
    } else {
        let (ip, port) = text.split_once(':')?;
        (ip.parse::<Ipv4Addr>().ok()?.into(), port)
    };
    let port = match port.strip_prefix('_') {
        // Kept secret.
        Some(_) => 0,
        None if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        None => return None,
    };
    Some(SocketAddr::new(ip, port))
}
