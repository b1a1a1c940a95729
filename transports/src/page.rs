//! Pages in browsers: a page of any host can have its visitor's browser ask here, with what the browser
//! has of the visitor's.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header};

/// Whether a request comes from a page of another host. Programs that are not browsers have no `Origin`;
/// one that is not a host's, such as `null`, or that is there twice, is nobody's whom we know.
pub(crate) fn is_foreign(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return false,
        (Some(origin), None) => origin.to_str().ok().and_then(Host::of_origin),
        (Some(_), Some(_)) => None,
    };
    let Some((page, default_port)) = origin else { return true };
    !page.is_loopback() && !asked(uri, headers).is_some_and(|host| page.is(host, default_port))
}

/// Takes out what browsers send along by themselves, whichever page asks.
pub(crate) fn hide_ambient_authority(headers: &mut HeaderMap) {
    headers.remove(header::COOKIE);
    if headers.contains_key(header::ORIGIN) {
        headers.remove(header::AUTHORIZATION);
    }
}

/// The host that a request is for.
fn asked<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Host<'a>> {
    if let Some(authority) = uri.authority() {
        return Host::parse(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(Host::parse),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Host<'a> {
    /// An address of IPv6 is in brackets.
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// That of an origin, and the port where it names none.
    fn of_origin(origin: &'a str) -> Option<(Self, Option<u16>)> {
        let (scheme, host) = origin.split_once("://")?;
        let default_port = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            // Of an application that has its pages with it, or of a browser's extension.
            _ => None,
        };
        Some((Self::parse(host)?, default_port))
    }

    fn parse(text: &'a str) -> Option<Self> {
        let name = match text.strip_prefix('[') {
            Some(rest) => &text[..rest.find(']')? + 2],
            None => text.split(':').next().unwrap_or_default(),
        };
        let rest = &text[name.len()..];
        let port = match rest.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            None if rest.is_empty() => None,
            _ => return None,
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        (!name.is_empty() && name.bytes().all(is_name)).then_some(Self { name, port })
    }

    /// Whether it is this machine, for the browser.
    fn is_loopback(self) -> bool {
        let ip = self.name.trim_start_matches('[').trim_end_matches(']').parse();
        self.name.eq_ignore_ascii_case("localhost")
            || ip.is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }

    fn is(self, other: Self, default_port: Option<u16>) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
            && self.port.or(default_port) == other.port.or(default_port)
    }
}
