//! TCP connections, dialled and accepted, within TLS where that is asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};

use crate::link::{invalid, network};
use crate::options::ListenerOptions;
use crate::race::race;
use crate::rt::sleep;
use crate::strangers::{Stranger, Strangers};
use crate::stream::NetworkStream;
use crate::tls::TlsClient;
use crate::url::Url;

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    url: Url,
    /// Where the scheme asks for it.
    tls: Option<TlsClient>,
}

impl Address {
    /// An address with one of two schemes, the second of which asks for TLS.
    pub(crate) fn parse(url: &str, plain: &str, secure: &str) -> io::Result<Self> {
        let url = Url::parse(url, plain, secure)?;
        #[cfg(feature = "tls")]
        let tls = url.is_secure().then(TlsClient::new);
        #[cfg(not(feature = "tls"))]
        let tls = None;
        if url.is_secure() && tls.is_none() {
            return Err(invalid(format!("{secure}:// asks for TLS: enable the feature `tls`")));
        }
        Ok(Self { url, tls })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Has no effect where the scheme does not ask for TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, client: TlsClient) {
        if let Some(tls) = &mut self.tls {
            *tls = client;
        }
    }

    /// The bytes of a new connection, and the address that it goes to.
    pub(crate) async fn dial(&self) -> io::Result<(NetworkStream, SocketAddr)> {
        self.connect().await.map_err(not_final)
    }

    async fn connect(&self) -> io::Result<(NetworkStream, SocketAddr)> {
        let addresses = lookup_host((self.url.host(), self.url.port())).await?;
        let tcp = connect_to_one(addresses).await?;
        set_no_delay(&tcp);
        let peer = tcp.peer_addr()?;
        let stream = match &self.tls {
            // Boxed, as in `accept`.
            Some(tls) => Box::pin(tls.connect(tcp, self.url.server_name())).await?,
            None => tcp.into(),
        };
        Ok((stream, peer))
    }
}

/// The first connection that is made to one of a host's addresses.
async fn connect_to_one(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    // Judged one by one: the error of all does not tell that one of them was the system's.
    race(addresses, async |address| TcpStream::connect(address).await.map_err(not_final)).await
}

/// How many connections the system keeps until they are accepted. Beyond it a client dials in vain, and
/// again after a second at the earliest: with the 128 of the standard library, a burst of strangers has
/// honest clients wait. Systems make it less where they have a limit, as Linux has 4,096.
const BACKLOG: u32 = 4096;

/// Listens on the first of a host's addresses that it can.
pub(crate) async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failed = None;
    for address in lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| invalid("the name to listen on has no address".to_owned())))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that starts again takes its port again. On Windows this would let others take it.
    if cfg!(not(windows)) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The bytes of a connection that was accepted from an address, within TLS where the server speaks it,
/// and the address that it comes from behind a proxy, whose network the peer is one of from then on.
pub(crate) async fn accept(
    mut tcp: TcpStream,
    peer: SocketAddr,
    stranger: &Stranger,
    options: &ListenerOptions,
) -> io::Result<(NetworkStream, SocketAddr)> {
    set_no_delay(&tcp);
    let client = options.proxies.begin(&mut tcp, peer).await?;
    stranger.set_network(Some(network(client.ip())));
    let stream = match &options.tls {
        // Boxed: the handshake future is large but short-lived; inline it would enlarge every
        // connection's task.
        Some(tls) => Box::pin(tls.accept(tcp)).await?,
        None => tcp.into(),
    };
    Ok((stream, client))
}

/// Waits after a connection could not be accepted: it was gone at once, or no file descriptor is free.
/// Neither is a listener's end, and both pass; a stranger is cut for a descriptor.
pub(crate) async fn pause(error: &io::Error, strangers: &Strangers) {
    tracing::warn!(%error, "a connection could not be accepted");
    if is_out_of_descriptors(error) {
        strangers.evict();
    }
    sleep(Duration::from_millis(100)).await;
}

/// Whether this process, or the system, has no file descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    /// The same on every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;

    cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// A batch is written at once, and its last packet must not wait for an acknowledgement. Where that
/// cannot be had, a slower connection is better than none; one that is gone is noticed later.
fn set_no_delay(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
}

/// An error of the system's, such as `EINVAL` for a route that is not there, may pass. Its kind must
/// not be the one by which this crate says that no other attempt can help.
fn not_final(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() && error.kind() == io::ErrorKind::InvalidInput {
        return io::Error::new(io::ErrorKind::AddrNotAvailable, error);
    }
    error
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::rt::timeout;

    #[test]
    fn an_error_of_the_system_s_is_not_final() {
        // `EINVAL`, or whatever the system counts as that.
        let is_invalid =
            |code: &i32| io::Error::from_raw_os_error(*code).kind() == io::ErrorKind::InvalidInput;
        let code = (1..20_000).find(is_invalid).unwrap();
        let error = io::Error::from_raw_os_error(code);
        let text = error.to_string();
        let error = not_final(error);
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(error.to_string(), text);
        assert_eq!(not_final(invalid("ours".to_owned())).kind(), io::ErrorKind::InvalidInput);
        let other = not_final(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(other.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_cut_where_file_descriptors_run_out() {
        let strangers = Strangers::default();
        let places: Vec<_> = (0..3).filter_map(|_| strangers.enter(None, 3)).collect();
        // ECONNABORTED of Linux.
        for (code, left) in [(103, 3), (23, 2), (24, 1), (24, 0), (24, 0)] {
            pause(&io::Error::from_raw_os_error(code), &strangers).await;
            assert_eq!(strangers.count(), left, "{code}");
        }
        drop(places);
    }

    /// An address that swallows all that asks for a connection: its queue is full.
    #[cfg(target_os = "linux")]
    async fn dead() -> (SocketAddr, impl Sized) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        // Time is paused: this waits only where there is nothing to wait for.
        let connect = || timeout(Duration::from_secs(1), TcpStream::connect(address));
        // Twice in a row: on a busy machine the system may need a moment to answer.
        let mut silent = 0;
        while silent < 2 {
            match connect().await {
                Ok(connected) => {
                    silent = 0;
                    queue.push(connected.unwrap());
                }
                Err(_) => silent += 1,
            }
            assert!(queue.len() < 100, "the queue has no end");
        }
        (address, (listener, queue))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_host_is_reached_by_the_address_that_answers() {
        let (dead, _queue) = dead().await;
        let free = async || TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let refuses = free().await;
        for addresses in [vec![dead, live], vec![refuses, live], vec![dead, refuses, live]] {
            let tcp = connect_to_one(addresses.clone()).await.unwrap();
            assert_eq!(tcp.peer_addr().unwrap(), live, "{addresses:?}");
        }
        let error = connect_to_one([refuses, free().await]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }

    /// To an address that is good for one link only, of which it does not say the name.
    #[tokio::test]
    async fn an_address_without_its_interface_is_dialled_again() {
        let address = Address::parse("ws://[fe80::1]:8080/", "ws", "wss").unwrap();
        let dialling = timeout(Duration::from_secs(1), address.dial());
        if let Ok(Err(error)) = dialling.await {
            assert_ne!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
