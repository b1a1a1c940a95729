//! Proxies that tell the addresses of their clients, and are believed.

mod forwarded;
mod network;
mod preamble;

use std::io;
use std::net::SocketAddr;

use http::HeaderMap;
use tokio::io::AsyncRead;

use network::Network;

/// How a proxy tells the address of its client: see
/// [`ListenerOptions::trusted_proxies`](crate::ListenerOptions::trusted_proxies).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forwarding {
    /// By the header `Forwarded` (RFC 7239) of each request.
    ///
    /// Where a client sends a line that breaks the grammar, such as one with a quote left open, and the
    /// proxy adds to that line, nobody can tell where the proxy's part begins: the request has the
    /// proxy's own address. A client can thus have itself counted with the proxy, never with another
    /// client. A proxy that replaces the header, or adds a line of its own, leaves it no such choice.
    Forwarded,
    /// By the header `X-Forwarded-For` of each request.
    XForwardedFor,
    /// By a PROXY protocol header, of version 1 or 2, before all else on each connection, also before TLS.
    ///
    /// A connection from a proxy that does not begin so is closed. One that a proxy opens for itself
    /// (`LOCAL`, `UNKNOWN`), as to check whether the server is up, has the proxy's own address.
    ProxyProtocol,
}

/// The proxies that are believed, and in what. Nobody is by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<(Network, Forwarding)>);

impl Proxies {
    /// Believes the proxies of one more network.
    pub(crate) fn trust(&mut self, network: &str, forwarding: Forwarding) -> io::Result<()> {
        self.0.push((Network::parse(network)?, forwarding));
        Ok(())
    }

    /// Reads what comes before all else on a connection from an address, and answers the address of its
    /// client.
    pub(crate) async fn begin(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let peer = canonical(peer);
        if !self.trusts(peer, Forwarding::ProxyProtocol) {
            return Ok(peer);
        }
        match preamble::read(stream).await {
            Ok(client) => Ok(client.map_or(peer, canonical)),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    let advice =
                        "have it send a PROXY protocol header, or do not trust it for that";
                    tracing::warn!(%peer, %error, "the proxy's connection is closed; {advice}");
                }
                Err(error)
            }
        }
    }

    /// The address of the client that a request comes from, over a connection from an address. It is the
    /// last one, on the way to the client, that was told by somebody who is trusted.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = canonical(peer);
        let mut kinds = [Forwarding::XForwardedFor, Forwarding::Forwarded].into_iter();
        if let Some(forwarding) = kinds.find(|kind| self.trusts(client, *kind)) {
            let mut hops = forwarded::hops(headers, forwarding);
            while self.trusts(client, forwarding)
                && let Some(Some(hop)) = hops.next()
            {
                client = canonical(hop);
            }
        }
        client
    }

    /// Whether requests over a connection from an address may be those of several clients.
    #[cfg(feature = "long-poll")]
    pub(crate) fn speak_for_others(&self, peer: SocketAddr) -> bool {
        let kinds = [Forwarding::XForwardedFor, Forwarding::Forwarded];
        kinds.into_iter().any(|kind| self.trusts(canonical(peer), kind))
    }

    fn trusts(&self, address: SocketAddr, forwarding: Forwarding) -> bool {
        let mut networks = self.0.iter().filter(|(_, trusted)| *trusted == forwarding);
        networks.any(|(network, _)| network.contains(address.ip()))
    }
}

/// An address of IPv4 is one, also where a socket for both has written it as one of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}
