//! The promises that every transport makes.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

/// What the frames of a connection hold. Transports that name or mark it (a WebSocket's
/// subprotocol and text frames, an HTTP content type) are told; none looks inside.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The codec's short name: `json`.
    pub name: &'static str,
    /// The codec's media type: `application/json`.
    pub media_type: &'static str,
    /// Whether a frame is UTF-8 text.
    pub is_text: fn(&[u8]) -> bool,
}

impl Format {
    /// The format of a peer that names none, as JavaScript nodes do: `logux-binary`, if it is among those given, which
    /// reads their JSON, too; or else `json`; or else the first. `None` where none is given.
    pub fn unnamed(formats: &[Self]) -> Option<Self> {
        let mut of_javascript = ["logux-binary", "json"].into_iter();
        let named = of_javascript.find_map(|name| Self::named(formats, name));
        named.or(formats.first().copied())
    }

    /// The format of that name.
    pub fn named(formats: &[Self], name: &str) -> Option<Self> {
        formats.iter().find(|format| format.name == name).copied()
    }
}

/// An open connection: two halves, because two peers that both send much must both keep reading.
///
/// # Contract
/// Each line is a check of `conformance::link` (feature `conformance`) under the name given.
///
/// 1. `frames_arrive_whole_and_in_order`: each frame that is sent arrives once, unchanged, in the
///    order of sending, with both directions busy at once.
/// 2. `receiving_is_cancel_safe`: a `receive` that is dropped before it is ready loses nothing.
/// 3. `back_pressure_is_real`: where the peer does not read, `send` waits; it does not collect.
/// 4. `closing_flushes`: after `close` the peer receives all frames sent, then `None`.
/// 5. `a_cut_is_noticed`: when one side is dropped without `close`, the other's `receive` ends
///    with `None` or an error, and its `send` fails sooner or later.
/// 6. `a_cut_leaves_whole_frames`: what arrives before is the beginning of what was sent, no part of
///    a frame, and the end is not of the kind that is the peer's fault.
/// 7. `too_long_a_frame_is_refused`: a frame above the limit that `receive` is given is an error
///    of the kind [`InvalidData`](io::ErrorKind::InvalidData).
/// 8. `no_frame_is_lost_for_its_length`: a frame above the limit of the link is an error of `send` or
///    of `receive`.
/// 9. `a_half_sends_without_the_other`, `a_half_receives_without_the_other`: a half that is dropped
///    takes nothing from the other one; with both, the link is dropped.
///
/// A frame, which may be empty, is lost only together with the link.
#[derive(Debug)]
#[must_use = "a link that is dropped is cut"]
pub struct Link<S, R> {
    /// The half that sends.
    pub sender: S,
    /// The half that receives.
    pub receiver: R,
    /// What the transport knows of the other side.
    pub info: LinkInfo,
}

/// See [`LinkInfo::network`].
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// What a transport knows of the other side of a link. Nothing of it is proven.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The address that the connection comes from or goes to.
    pub address: Option<SocketAddr>,
    /// The HTTP headers of the request that opened the connection.
    ///
    /// Cookies, and `Authorization` in a request of a page, are among them only where the listener was told
    /// of the pages that may connect (`ListenerOptions::origins`). A browser sends these by itself,
    /// whichever page asks, so that otherwise any page could come in as the user who visits it.
    pub headers: http::HeaderMap,
    /// Whether a page of another host asks, by the `Origin` of the request: one that is not listed
    /// (`ListenerOptions::origins`), and neither of the host that the request is for nor of this machine
    /// (`localhost`, 127.0.0.0/8 and `[::1]`, on any port). Not so for programs that are not browsers, and
    /// where a transport knows nothing of pages.
    ///
    /// A node without `auth` does not let such a page in.
    ///
    /// The name of a page's host can be made to lead to this server (DNS rebinding): the page is then one of
    /// the host that the request is for, and this is `false`. A server without `auth` that browsers reach
    /// on a private network, or on their own machine, therefore lists its origins.
    pub is_foreign_page: bool,
    /// The name of the [`Format`] that both sides agreed on; `None` where nothing was said of it,
    /// and it is [`Format::unnamed`].
    pub format: Option<&'static str>,
    /// The name of the transport, for a person to read: `websocket`, `long-poll` or `memory` of those here.
    pub transport: Option<&'static str>,
}

impl LinkInfo {
    /// The network that the connection comes from or goes to: what whatever counts by address counts by.
    ///
    /// An address of IPv4, also where it is written as one of IPv6 (`::ffff:192.0.2.1`), as sockets for
    /// both do. Of IPv6, where one customer has a whole network of addresses, the first 64 bits.
    ///
    /// ```
    /// # use logux_transports::LinkInfo;
    /// let network = |address: &str| {
    ///     let mut info = LinkInfo::default();
    ///     info.address = Some(address.parse().unwrap());
    ///     info.network().unwrap().to_string()
    /// };
    /// assert_eq!(network("192.0.2.1:80"), "192.0.2.1");
    /// assert_eq!(network("[::ffff:192.0.2.1]:80"), "192.0.2.1");
    /// assert_eq!(network("[2001:db8::1:2:3:4]:80"), "2001:db8::");
    /// ```
    pub fn network(&self) -> Option<IpAddr> {
        self.address.map(|address| network(address.ip()))
    }

    /// The value of a cookie, as the request brought it; the first one of that name. `None` also where
    /// cookies are not shown: see [`headers`](Self::headers).
    ///
    /// ```
    /// # use logux_transports::LinkInfo;
    /// let mut info = LinkInfo::default();
    /// info.headers.insert("cookie", "theme=dark; session=1a2b".parse().unwrap());
    /// assert_eq!(info.cookie("session"), Some("1a2b"));
    /// assert_eq!(info.cookie("none"), None);
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(http::header::COOKIE).iter();
        let cookies = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut pairs = cookies.filter_map(|cookie| cookie.split_once('='));
        pairs.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim())
    }
}

/// The sending half of a [`Link`].
///
/// Where the other side, or something on the way, tells that it refuses a frame for its length, the link
/// fails with [`FileTooLarge`](io::ErrorKind::FileTooLarge), whichever of its methods comes to know of
/// it: `send`, `flush`, `close` or [`receive`](FrameReceiver::receive).
pub trait FrameSender: Send + 'static {
    /// Sends a frame; waits while the peer does not keep up.
    ///
    /// A session never drops this future before it is ready. The frame may stay in a buffer until
    /// [`flush`](Self::flush) or the next `send`.
    fn send(&mut self, frame: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends what is still in buffers. A session calls it when it has nothing more to send, so
    /// that frames sent in a row can share a packet.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        async { Ok(()) }
    }

    /// Sends what is still in buffers and tells the peer that nothing follows.
    fn close(self) -> impl Future<Output = io::Result<()>> + Send
    where
        Self: Sized;
}

/// The receiving half of a [`Link`].
pub trait FrameReceiver: Send + 'static {
    /// The next whole frame, of at most `max_frame` bytes; `None` once the peer has closed.
    ///
    /// The limit may differ from call to call, for what a peer may ask for before it is let in is
    /// less than later; it is never above what the link was opened with. Where a transport can, it
    /// refuses a longer frame before it has collected it.
    ///
    /// Cancel-safe. An error of the kind [`InvalidData`](io::ErrorKind::InvalidData) says that
    /// what arrived is not a frame, or too long a frame, which is the peer's fault; any other, that the
    /// link is lost; [`FileTooLarge`](io::ErrorKind::FileTooLarge), for the length of a frame that this
    /// side sent.
    /// After an error or `None` there is no further frame: it ends again, if it is asked at all.
    fn receive(
        &mut self,
        max_frame: usize,
    ) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// Opens links: the side that dials.
///
/// Of it and its listener, `conformance::transport` (feature `conformance`) checks two more lines than
/// those of a [`Link`]: `a_lost_link_is_dialled_anew`, and `many_links_are_open_at_once`, none of
/// which has frames of another's.
///
/// The doc comment of [`framed`](crate::framed()) has a whole transport in a dozen lines.
pub trait Transport: Send + 'static {
    /// The sending half of its links.
    type Sender: FrameSender;
    /// The receiving half of its links.
    type Receiver: FrameReceiver;

    /// Opens a new link, on which frames of at most `max_frame` bytes will be received. Called
    /// again after each loss, if [`retry`](Self::retry) says so; the link before is gone by then.
    ///
    /// An error of the kind [`InvalidInput`](io::ErrorKind::InvalidInput) says that another attempt
    /// cannot help, and what to change: a client ends with it. After any other it tries again.
    ///
    /// The transports here give it for settings that cannot be used; and, as long as they have not
    /// opened a link, for an answer that a server would give again: a certificate that is not trusted or
    /// is for another name, a client's certificate that the server refuses, another protocol than was
    /// asked for, an address where nothing of Logux is (404, 405, 410, 426, 301 and the like), or
    /// a format that the server does not take. Once they have opened a link, the same answers come
    /// from a server that restarts, or from a network that asks to log in, and are tried again.
    /// Always tried again: a name that is not found (there may be no network), nobody who listens at
    /// any address of the host, a certificate that has expired, is not valid yet or was revoked (it is
    /// renewed on the server, or this machine's clock is set), refused credentials (401 and 403), and
    /// redirects for the time being.
    fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> impl Future<Output = io::Result<Link<Self::Sender, Self::Receiver>>> + Send;

    /// Whether to dial again after a link was lost or could not be opened. Waits as long as it
    /// finds right before it says yes.
    ///
    /// `progressed` tells whether that link got somewhere: the two logs were equal once, and it did
    /// not end in a refusal or a fault of either side. A transport of one's own leaves this method
    /// out: it does not dial again, and [`Reconnect`](crate::Reconnect) wraps it where it should.
    fn retry(&mut self, progressed: bool) -> impl Future<Output = bool> + Send {
        let _ = progressed;
        async { false }
    }
}

/// Accepts links: the side that is dialled.
pub trait Listener: Send + 'static {
    /// The sending half of its links.
    type Sender: FrameSender;
    /// The receiving half of its links.
    type Receiver: FrameReceiver;

    /// The next link, ready for use, in one of the formats given, on which frames of at most
    /// `max_frame` bytes will be received; both are the same at each call. Cancel-safe.
    ///
    /// A peer that fails in the middle of opening, or takes its time over it, neither ends nor
    /// delays this; an error says that the listener itself is gone.
    fn accept(
        &mut self,
        formats: &[Format],
        max_frame: usize,
    ) -> impl Future<Output = io::Result<Link<Self::Sender, Self::Receiver>>> + Send;
}

/// What [`FrameReceiver::receive`] answers to a frame of so many bytes.
pub(crate) fn check_length(frame: Bytes, max_frame: usize) -> io::Result<Bytes> {
    if frame.len() <= max_frame { Ok(frame) } else { Err(too_long(max_frame)) }
}

pub(crate) fn too_long(max_frame: usize) -> io::Error {
    let message = format!("the frame has more than the {max_frame} bytes that are allowed");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// An error of the user's making: an address, a certificate or a setting that cannot be used.
#[cfg(feature = "websocket")]
pub(crate) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_names_no_format_gets_what_javascript_nodes_speak() {
        let format = |name| Format { name, media_type: "", is_text: |_| true };
        for (names, expected) in [
            (&["xml", "json", "logux-binary"][..], Some("logux-binary")),
            (&["xml", "json"], Some("json")),
            (&["xml", "message-pack"], Some("xml")),
            (&[], None),
        ] {
            let formats: Vec<_> = names.iter().copied().map(format).collect();
            assert_eq!(Format::unnamed(&formats).map(|format| format.name), expected, "{names:?}");
        }
    }
}
