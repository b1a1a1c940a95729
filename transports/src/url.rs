//! The addresses that users give: what is dialled, what is asked for there, and the user's name for it.
//!
//! Checked once, for all transports alike. An address may have a password or a token in it: no error
//! here repeats any of it, and neither [`Url::uri`] nor the debug text has a user or password.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;
use http::{HeaderValue, Uri};

use crate::link::invalid;

/// The longest name that DNS knows, and the longest part of one between two dots (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// An address with one of two schemes, the second of which asks for TLS.
#[derive(Clone)]
pub(crate) struct Url {
    uri: Uri,
    host: Host,
    port: u16,
    is_secure: bool,
    authorization: Option<HeaderValue>,
}

/// A host as it is looked up, and as it is written where a colon and a port may follow.
#[derive(Clone)]
struct Host {
    looked_up: String,
    written: String,
}

impl Url {
    pub(crate) fn parse(text: &str, plain: &str, secure: &str) -> io::Result<Self> {
        if text.trim() != text || text.contains(char::is_control) {
            return Err(invalid(
                "the address has white space around it, or a line break or the like in it; remove it"
                    .into(),
            ));
        }
        if text.contains('\\') {
            return Err(invalid("the address has a backslash; write / or %5C".into()));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_secure = scheme.eq_ignore_ascii_case(secure);
        if !is_secure && !scheme.eq_ignore_ascii_case(plain) {
            let message = format!("the address does not start with {plain}:// or {secure}://");
            return Err(invalid(message));
        }
        let (scheme, default_port) = if is_secure { (secure, 443) } else { (plain, 80) };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, rest)| (Some(user), rest));
        let (host, port) = host_and_port(place).map_err(|message| {
            // What was meant as a password may have ended the authority early.
            let advice = if rest.contains('@') {
                "; in a user's name or password write / as %2F, ? as %3F and # as %23"
            } else {
                ""
            };
            invalid(format!("{message}{advice}"))
        })?;
        let port = port.unwrap_or(default_port);
        let authority = if port == default_port {
            host.written.clone()
        } else {
            format!("{}:{port}", host.written)
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path_and_query(rest))
            .build()
            .map_err(|error| invalid(format!("the address cannot be used: {error}")))?;
        let authorization = user.map(basic).transpose().map_err(invalid)?.flatten();
        Ok(Self { uri, host, port, is_secure, authorization })
    }

    /// What is asked for: without a user, a password and a fragment, and without a port that the
    /// scheme implies. Its authority is the header `Host`.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The name or IP address to look up, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host.looked_up
    }

    /// The same, without the name of an interface of this machine, which others know nothing of.
    pub(crate) fn server_name(&self) -> &str {
        self.host().split('%').next().unwrap_or_default()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the scheme asks for TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The user and password, as the header `Authorization` has them.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Without the query, which may be a secret.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.uri.scheme_str(), self.uri.authority());
        let (scheme, authority) =
            (scheme.unwrap_or_default(), authority.map_or("", http::uri::Authority::as_str));
        write!(f, "{scheme}://{authority}{}", self.uri.path())
    }
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    let (host, port) = if let Some(text) = text.strip_prefix('[') {
        let (address, port) =
            text.split_once(']').ok_or("the address has a bracket that is not closed")?;
        let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
        (ipv6(address)?, port.ok_or("after the bracket of the host comes a colon and a port")?)
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        if port.contains(':') {
            return Err("the host has several colons; write an IPv6 address in brackets: [::1]");
        }
        let name = name(host)?;
        (Host { looked_up: name.clone(), written: name }, port)
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    // A sign would be parsed as well.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port| is_number && port > 0);
    port.map(|port| (host, Some(port))).ok_or("the port is not a number from 1 to 65535")
}

/// What is between brackets: an IPv6 address, and maybe the interface by which to reach it, after `%25`
/// (RFC 6874) or `%`.
fn ipv6(text: &str) -> Result<Host, &'static str> {
    let (address, zone) =
        text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let address: Ipv6Addr =
        address.parse().map_err(|_| "what the address has in brackets is not an IPv6 address")?;
    let written = format!("[{address}]");
    let Some(zone) = zone else {
        return Ok(Host { looked_up: address.to_string(), written });
    };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let is_in_zone = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if zone.is_empty() || !zone.bytes().all(is_in_zone) {
        return Err("after the % of the IPv6 address comes the name of an interface");
    }
    Ok(Host { looked_up: format!("{address}%{zone}"), written })
}

/// A name that can be looked up, or an IPv4 address.
fn name(host: &str) -> Result<String, &'static str> {
    if host.is_empty() {
        return Err("the address names no host");
    }
    if !host.is_ascii() {
        return Err("the host has characters that are not ASCII; \
             write each such part as DNS knows it, beginning with xn--");
    }
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err("the host has a character other than letters, digits, dots, - and _");
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len());
    if labels.len() > MAX_NAME || !labels.split('.').all(is_label) {
        return Err(
            "the host has a part between dots that is empty or longer than 63 characters, \
             or more than 253 characters in all",
        );
    }
    // No domain is a number, and systems differ in what they make of addresses with fewer ones.
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && labels.parse::<Ipv4Addr>().is_err() {
        return Err("the host is not an IPv4 address; write its four numbers, each up to 255");
    }
    Ok(host.to_ascii_lowercase())
}

/// From the slash on. What a request cannot have in it is percent-encoded, as browsers do; a fragment
/// is for the client alone.
fn path_and_query(rest: &str) -> String {
    let rest = rest.split('#').next().unwrap_or_default();
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    let encoded = rest.bytes().map(|byte| match byte {
        byte if is_allowed(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.fold(slash.to_owned(), |path, part| path + &part)
}

/// The credentials of a user and a password (RFC 7617). Browsers send none where both are empty.
fn basic(user: &str) -> Result<Option<HeaderValue>, String> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.contains(':') {
        return Err("the user's name in the address has a colon, which HTTP cannot send; \
             give the header `authorization` instead"
            .into());
    }
    let credentials = BASE64.encode(format!("{user}:{password}").as_bytes());
    let mut value =
        HeaderValue::try_from(format!("Basic {credentials}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A user's name or password without percent-encoding.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(
            "the user's name or password in the address has a % without two digits; write it as %25",
        )?;
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| "the user's name or password in the address is not UTF-8")?;
    if text.contains(char::is_control) {
        return Err("the user's name or password in the address has a control character");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Url {
        Url::parse(text, "ws", "wss").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// What a request to a port of one's own cannot show.
    #[test]
    fn the_port_that_a_scheme_implies_is_dialled_and_not_written() {
        for (text, uri, host, port, is_secure) in [
            ("ws://example.com", "ws://example.com/", "example.com", 80, false),
            ("WSS://Example.COM:", "wss://example.com/", "example.com", 443, true),
            ("ws://h:80/p", "ws://h/p", "h", 80, false),
            ("wss://h:0443", "wss://h/", "h", 443, true),
            ("ws://h:443", "ws://h:443/", "h", 443, false),
            ("wss://h:80", "wss://h:80/", "h", 80, true),
            ("wss://[0:0::1]:443/?q", "wss://[::1]/?q", "::1", 443, true),
            ("wss://[::1]:8443", "wss://[::1]:8443/", "::1", 8443, true),
            ("ws://[fe80::1%25eth0]/", "ws://[fe80::1]/", "fe80::1%eth0", 80, false),
            ("ws://[fe80::1%2]:81/", "ws://[fe80::1]:81/", "fe80::1%2", 81, false),
            ("ws://[fe80::1%25]/", "ws://[fe80::1]/", "fe80::1%25", 80, false),
            (
                "ws://under_score.local./",
                "ws://under_score.local./",
                "under_score.local.",
                80,
                false,
            ),
        ] {
            let url = parse(text);
            assert_eq!(url.uri(), uri, "{text}");
            assert_eq!(
                (url.host(), url.port(), url.is_secure()),
                (host, port, is_secure),
                "{text}"
            );
            assert!(!url.server_name().contains('%'), "{text}");
        }
    }

    #[test]
    fn the_debug_text_has_no_secret() {
        let url = parse("wss://user:secret@h:1/path?token=secret#secret");
        assert_eq!(format!("{url:?}"), "wss://h:1/path");
        assert_eq!(format!("{:?}", url.authorization().unwrap()), "Sensitive");
    }
}
