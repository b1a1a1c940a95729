//! The addresses of clients behind proxies: who is believed, and what is made of what they say.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use logux_transports::{
    Format, Forwarding, HttpListener, LinkInfo, Listener, ListenerOptions, LongPoll, TlsClient,
    TlsServer, Transport, WebSocket, WebSocketListener,
};
use rcgen::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower_service::Service;

const JSON: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// Far above what any of this takes.
const LIMIT: Duration = Duration::from_secs(30);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn trusting(networks: &[&str], forwarding: Forwarding) -> ListenerOptions {
    ListenerOptions::new().trusted_proxies(networks, forwarding).unwrap()
}

type Body = Full<Bytes>;

/// The address that a link has, of a request over a connection from an address.
async fn seen(options: &ListenerOptions, peer: &str, headers: &[(&str, &[u8])]) -> String {
    let (mut service, listener) = HttpListener::mounted();
    let mut listener = listener.options(options.clone());
    let mut request = Request::post("/")
        .extension(peer.parse::<SocketAddr>().unwrap())
        .header("content-type", "application/vnd.logux.batch+json")
        .header("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA")
        .header("logux-version", "2");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::default()).unwrap();
    let _ = poll_fn(|context| Service::<Request<Body>>::poll_ready(&mut service, context)).await;
    let (answer, link) = tokio::join!(service.call(request), listener.accept(&[JSON], MAX_FRAME));
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    link.unwrap().info.address.unwrap().to_string()
}

/// Lines of a header, and the address that comes of them.
type Case = (&'static [&'static str], &'static str);

/// Over a connection from 10.0.0.1, where the networks [`TRUSTED`] are.
const X_FORWARDED_FOR: &[Case] = &[
    (&["192.0.2.1"], "192.0.2.1:0"),
    (&["192.0.2.1:4711"], "192.0.2.1:4711"),
    (&["2001:db8::1"], "[2001:db8::1]:0"),
    (&["[2001:db8::1]"], "[2001:db8::1]:0"),
    (&["[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
    (&["\"[2001:db8::1]:4711\""], "[2001:db8::1]:4711"),
    (&["::ffff:192.0.2.1"], "192.0.2.1:0"),
    (&["[::ffff:192.0.2.1]:80"], "192.0.2.1:80"),
    // From the right, up to the first that is not a proxy.
    (&["203.0.113.9, 192.0.2.1"], "192.0.2.1:0"),
    (&["203.0.113.9,192.0.2.1\t,  10.9.9.9 ,10.0.0.2"], "192.0.2.1:0"),
    (&["203.0.113.9", "192.0.2.1"], "192.0.2.1:0"),
    (&["203.0.113.9, 192.0.2.1", "10.0.0.2, 192.0.2.200"], "192.0.2.1:0"),
    (&["192.0.2.1, ::ffff:10.0.0.2, 2001:db8:ffff::2"], "192.0.2.1:0"),
    // All of them are proxies: the first one is the client.
    (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
    // What stands before the client's address is not looked at.
    (&["garbage, \", 192.0.2.1"], "192.0.2.1:0"),
    (&["\u{e9}", "192.0.2.1"], "192.0.2.1:0"),
    (&["\u{e9}, 192.0.2.1"], "192.0.2.1:0"),
    (&["unknown, 192.0.2.1"], "192.0.2.1:0"),
    // What cannot be read leaves the address of the proxy that should have told it.
    (&[], "10.0.0.1:80"),
    (&[""], "10.0.0.1:80"),
    (&["192.0.2.1,"], "10.0.0.1:80"),
    (&["unknown"], "10.0.0.1:80"),
    (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2:0"),
    (&["192.0.2.1 192.0.2.2"], "10.0.0.1:80"),
    (&["192.0.2.1", "\u{e9}"], "10.0.0.1:80"),
    (&["192.0.2.1, \u{e9}192.0.2.2"], "10.0.0.1:80"),
    (&["192.0.2"], "10.0.0.1:80"),
    (&["192.0.2.01"], "10.0.0.1:80"),
    (&["192.0.2.256"], "10.0.0.1:80"),
    (&["192.0.2.1:"], "10.0.0.1:80"),
    (&["192.0.2.1:65536"], "10.0.0.1:80"),
    (&["192.0.2.1:+1"], "10.0.0.1:80"),
    (&["[192.0.2.1]"], "10.0.0.1:80"),
    (&["[2001:db8::1"], "10.0.0.1:80"),
    (&["2001:db8::1]"], "10.0.0.1:80"),
    (&["[2001:db8::1]80"], "10.0.0.1:80"),
    (&["fe80::1%eth0"], "10.0.0.1:80"),
    (&["\"192.0.2.1"], "10.0.0.1:80"),
    (&["for=192.0.2.1"], "10.0.0.1:80"),
    (&["client.example"], "10.0.0.1:80"),
];

/// The same for the header of RFC 7239.
const FORWARDED: &[Case] = &[
    (&["for=192.0.2.1"], "192.0.2.1:0"),
    (&["For=192.0.2.1;proto=http;by=203.0.113.43"], "192.0.2.1:0"),
    (&["proto=https ; FOR=\"192.0.2.1:4711\" ;host=\"a.example\""], "192.0.2.1:4711"),
    (&["for=\"[2001:db8:cafe::17]:4711\""], "[2001:db8:cafe::17]:4711"),
    (&["for=\"[2001:db8:cafe::17]\""], "[2001:db8:cafe::17]:0"),
    (&["for=\"[::ffff:192.0.2.1]\""], "192.0.2.1:0"),
    (&["for=\"192.0.2.1:_secret\""], "192.0.2.1:0"),
    (&["for=\"19\\2.0.2.1\""], "192.0.2.1:0"),
    // As some write it, though it should be in quotes.
    (&["for=192.0.2.1:4711"], "192.0.2.1:4711"),
    (&["for=[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
    // From the right, up to the first that is not a proxy.
    (&["for=203.0.113.9, for=192.0.2.1"], "192.0.2.1:0"),
    (&["for=203.0.113.9;by=\"a, b\",for=192.0.2.1, for=10.0.0.2;proto=http"], "192.0.2.1:0"),
    (&["for=203.0.113.9, for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1:0"),
    (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3:0"),
    // A line of the client's does not reach into one of the proxy's.
    (&["for=203.0.113.9;by=\"", "for=192.0.2.1"], "192.0.2.1:0"),
    (&["\u{e9}", "for=192.0.2.1"], "192.0.2.1:0"),
    (&["for=\u{e9};by=\"\u{e9}\", for=192.0.2.1"], "192.0.2.1:0"),
    // What cannot be read leaves the address of the proxy that should have told it.
    (&[], "10.0.0.1:80"),
    (&[""], "10.0.0.1:80"),
    (&["for=unknown"], "10.0.0.1:80"),
    (&["for=_hidden"], "10.0.0.1:80"),
    (&["for=\"_SEVKISEK\""], "10.0.0.1:80"),
    (&["for=192.0.2.1, for=unknown, for=10.0.0.2"], "10.0.0.2:0"),
    (&["proto=https"], "10.0.0.1:80"),
    (&["for=192.0.2.1, proto=https"], "10.0.0.1:80"),
    (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1:80"),
    (&["for="], "10.0.0.1:80"),
    (&["for"], "10.0.0.1:80"),
    (&["192.0.2.1"], "10.0.0.1:80"),
    (&["for=\"192.0.2.1"], "10.0.0.1:80"),
    (&["for=\"192.0.2.1\\"], "10.0.0.1:80"),
    (&["for=192.0.2.1;"], "10.0.0.1:80"),
    (&["for=192.0.2.1,"], "10.0.0.1:80"),
    (&["for =192.0.2.1"], "10.0.0.1:80"),
    (&["for=192.0.2.1 proto=http"], "10.0.0.1:80"),
    // Quotes that a client left open: the element of the proxy is not known then.
    (&["for=203.0.113.9;by=\", for=192.0.2.1"], "10.0.0.1:80"),
    (&["for=203.0.113.9;by=\", for=\"[2001:db8::1]\""], "10.0.0.1:80"),
    (&["for=203.0.113.9;by=\"\\, for=\"[2001:db8::1]\";proto=\"http\""], "10.0.0.1:80"),
];

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.200"];

#[tokio::test(start_paused = true)]
async fn the_last_address_that_a_trusted_proxy_tells_is_the_clients() {
    for (forwarding, name, cases) in [
        (Forwarding::XForwardedFor, "x-forwarded-for", X_FORWARDED_FOR),
        (Forwarding::Forwarded, "forwarded", FORWARDED),
    ] {
        let options = trusting(&TRUSTED, forwarding);
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| (name, line.as_bytes())).collect();
            let address = seen(&options, "10.0.0.1:80", &lines).await;
            assert_eq!(address, *expected, "{lines:?}");
            // The same over a socket for both versions of IP.
            let mapped = seen(&options, "[::ffff:10.0.0.1]:80", &lines).await;
            assert_eq!(mapped, *expected, "{lines:?}");
            // Nobody else is believed, and no other header.
            for stranger in ["192.0.2.7:80", "[2001:db8::7]:80", "11.0.0.1:80"] {
                assert_eq!(seen(&options, stranger, &lines).await, stranger, "{lines:?}");
            }
            let nobody = ListenerOptions::new();
            assert_eq!(seen(&nobody, "10.0.0.1:80", &lines).await, "10.0.0.1:80");
        }
        let header = ("x-real-ip", &b"192.0.2.1"[..]);
        assert_eq!(seen(&options, "10.0.0.1:80", &[header]).await, "10.0.0.1:80");
    }
    // Bytes that are not even UTF-8.
    for (forwarding, line) in [
        (Forwarding::XForwardedFor, ("x-forwarded-for", &b"\xe9, 192.0.2.1"[..])),
        (Forwarding::XForwardedFor, ("x-forwarded-for", &b"\xe2\x82, 192.0.2.1"[..])),
        (Forwarding::Forwarded, ("forwarded", &b"for=\xe2\x82, for=192.0.2.1"[..])),
    ] {
        let options = trusting(&TRUSTED, forwarding);
        assert_eq!(seen(&options, "10.0.0.1:80", &[line]).await, "192.0.2.1:0", "{line:?}");
    }
    let other = [("forwarded", &b"for=192.0.2.1"[..])];
    let options = trusting(&TRUSTED, Forwarding::XForwardedFor);
    assert_eq!(seen(&options, "10.0.0.1:80", &other).await, "10.0.0.1:80");
    assert_eq!(
        seen(&ListenerOptions::new(), "[::ffff:192.0.2.1]:80", &[]).await,
        "192.0.2.1:80",
        "an address is in its canonical form"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_read_as_far_as_it_is_believed() {
    let options = trusting(&TRUSTED, Forwarding::XForwardedFor);
    let proxies: Vec<_> = (1..=100).map(|number| format!("10.0.0.{number}")).collect();
    let line = format!("192.0.2.1, {}", proxies.join(", "));
    let header = ("x-forwarded-for", line.as_bytes());
    assert_eq!(seen(&options, "10.0.0.1:80", &[header]).await, "192.0.2.1:0");
    let options = trusting(&["10.0.0.0/26"], Forwarding::XForwardedFor);
    assert_eq!(seen(&options, "10.0.0.1:80", &[header]).await, "10.0.0.100:0");
}

#[tokio::test(start_paused = true)]
async fn proxies_of_several_kinds_are_told_apart() {
    let options = trusting(&["10.0.0.0/8"], Forwarding::XForwardedFor);
    let options = options.trusted_proxies(["172.16.0.0/12"], Forwarding::Forwarded).unwrap();
    let headers = [("x-forwarded-for", &b"192.0.2.1"[..]), ("forwarded", &b"for=192.0.2.2"[..])];
    assert_eq!(seen(&options, "10.0.0.1:80", &headers).await, "192.0.2.1:0");
    assert_eq!(seen(&options, "172.16.0.1:80", &headers).await, "192.0.2.2:0");
    assert_eq!(seen(&options, "192.0.2.9:80", &headers).await, "192.0.2.9:80");
}

#[test]
fn what_is_not_a_network_is_refused() {
    for text in ["", "localhost", "10.0.0.0/33", "10.1.2.3/8", "10.0.0.1:80"] {
        let options = ListenerOptions::new();
        let error = options.trusted_proxies([text], Forwarding::XForwardedFor).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
    }
}

/// A listener that takes links for as long as the test lasts, and what it knows of them.
struct Door {
    name: &'static str,
    address: SocketAddr,
    tls: Option<TlsClient>,
    links: mpsc::UnboundedReceiver<LinkInfo>,
}

impl Door {
    fn open<L: Listener>(
        name: &'static str,
        address: SocketAddr,
        tls: Option<TlsClient>,
        mut listener: L,
    ) -> Self {
        let (sender, links) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok(link) = listener.accept(&[JSON], MAX_FRAME).await {
                let _ = sender.send(link.info.clone());
                open.push(link);
            }
        });
        Self { name, address, tls, links }
    }

    /// The address of the next link.
    async fn client(&mut self) -> SocketAddr {
        timeout(LIMIT, self.links.recv()).await.unwrap().unwrap().address.unwrap()
    }
}

/// Listeners of each kind, without TLS and with it.
async fn doors(options: &ListenerOptions) -> Vec<Door> {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let server = TlsServer::new(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes());
    let client = TlsClient::with_roots(cert.pem().as_bytes()).unwrap();
    let secure = options.clone().tls(server.unwrap());
    let mut doors = Vec::new();
    for (options, tls) in [(options.clone(), None), (secure, Some(client))] {
        let websocket = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let address = websocket.local_addr().unwrap();
        let websocket = websocket.options(options.clone());
        doors.push(Door::open("WebSocketListener", address, tls.clone(), websocket));
        let http = HttpListener::bind("127.0.0.1:0").await.unwrap();
        let address = http.local_addr().unwrap();
        doors.push(Door::open("HttpListener", address, tls, http.options(options)));
    }
    doors
}

/// A proxy that begins each connection to the server so.
async fn proxy(server: SocketAddr, preamble: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let preamble = preamble.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await?;
                far.write_all(&preamble).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    address
}

fn websocket(address: SocketAddr, tls: Option<&TlsClient>) -> WebSocket {
    match tls {
        None => WebSocket::new(&format!("ws://{address}")).unwrap(),
        Some(tls) => WebSocket::new(&format!("wss://{address}")).unwrap().tls(tls.clone()),
    }
}

fn long_poll(address: SocketAddr, tls: Option<&TlsClient>) -> LongPoll {
    match tls {
        None => LongPoll::new(&format!("http://{address}")).unwrap(),
        Some(tls) => LongPoll::new(&format!("https://{address}")).unwrap().tls(tls.clone()),
    }
}

/// A header of version 2 of the PROXY protocol.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// 192.0.2.1:4711 to 203.0.113.1:443.
const OVER_IPV4: [u8; 12] = [192, 0, 2, 1, 203, 0, 113, 1, 0x12, 0x67, 0x01, 0xbb];

/// From `2001:db8::1`, port 4711.
fn over_ipv6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    [&source.octets()[..], &[0; 16], &[0x12, 0x67, 0x01, 0xbb]].concat()
}

#[tokio::test]
async fn a_connection_has_the_address_that_a_proxy_begins_it_with() {
    let extras = [&OVER_IPV4[..], &[0x04; 10_000]].concat();
    let cases = [
        (b"PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n".to_vec(), Some("192.0.2.1:4711")),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(), Some("[2001:db8::1]:4711")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), Some("192.0.2.1:1")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), None),
        (version_2(0x21, 0x11, &OVER_IPV4), Some("192.0.2.1:4711")),
        (version_2(0x21, 0x11, &extras), Some("192.0.2.1:4711")),
        (version_2(0x21, 0x21, &over_ipv6()), Some("[2001:db8::1]:4711")),
        (version_2(0x20, 0x11, &OVER_IPV4), None),
        (version_2(0x20, 0x00, &[]), None),
        (version_2(0x21, 0x00, &[]), None),
        (version_2(0x21, 0x31, &[b'/'; 216]), None),
    ];
    let options = trusting(&["127.0.0.0/8"], Forwarding::ProxyProtocol);
    for mut door in doors(&options).await {
        for (preamble, expected) in &cases {
            let address = proxy(door.address, preamble.clone()).await;
            let tls = door.tls.clone();
            let name = format!("{} {tls:?} {:?}", door.name, String::from_utf8_lossy(preamble));
            let link = websocket(address, tls.as_ref()).open(JSON, MAX_FRAME).await;
            let _link = link.unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut clients = vec![door.client().await];
            if door.name == "HttpListener" {
                let _link = long_poll(address, tls.as_ref()).open(JSON, MAX_FRAME).await.unwrap();
                clients.push(door.client().await);
            }
            for client in clients {
                match expected {
                    Some(expected) => assert_eq!(client.to_string(), *expected, "{name}"),
                    None => assert_eq!(client.ip().to_string(), "127.0.0.1", "{name}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_proxys_connection_that_does_not_begin_so_is_closed() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut cases = vec![
        Vec::new(),
        b"\r\n\r\n\0\r\nQUIT\0\x21\x11\0\0".to_vec(),
        b"PROXY UNKNOWN\n".to_vec(),
        [&b"PROXY UNKNOWN "[..], &[b'x'; 1000]].concat(),
        version_2(0x21, 0x11, &OVER_IPV4[..11]),
        version_2(0x21, 0x21, &OVER_IPV4),
        version_2(0x21, 0x12, &OVER_IPV4),
        version_2(0x21, 0x41, &OVER_IPV4),
        version_2(0x22, 0x11, &OVER_IPV4),
        version_2(0x11, 0x11, &OVER_IPV4),
        version_2(0x21, 0x11, &[&OVER_IPV4[..], &[0; 20_000]].concat()),
    ];
    for fields in [
        "TCP4",
        "TCP4 192.0.2.1 203.0.113.1 4711",
        "TCP4 192.0.2.1 203.0.113.1 4711 443 1",
        "TCP4  192.0.2.1 203.0.113.1 4711 443",
        "TCP4 192.0.2.1 203.0.113.1 4711 443 ",
        "TCP4 192.0.2.256 203.0.113.1 4711 443",
        "TCP4 2001:db8::1 ::1 4711 443",
        "TCP4 192.0.2.1 ::1 4711 443",
        "TCP6 192.0.2.1 203.0.113.1 4711 443",
        "TCP4 192.0.2.1 203.0.113.1 65536 443",
        "TCP4 192.0.2.1 203.0.113.1 04711 443",
        "TCP4 192.0.2.1 203.0.113.1 +1 443",
        "TCP4 192.0.2.1 203.0.113.1 4711 x",
        "TCP4 client.example 203.0.113.1 4711 443",
        "UDP4 192.0.2.1 203.0.113.1 4711 443",
        "tcp4 192.0.2.1 203.0.113.1 4711 443",
    ] {
        cases.push(format!("PROXY {fields}\r\n").into_bytes());
    }
    let options = trusting(&["127.0.0.1"], Forwarding::ProxyProtocol);
    for mut door in doors(&options).await {
        for preamble in &cases {
            let mut tcp = TcpStream::connect(door.address).await.unwrap();
            // It may be closed already.
            let _ = tcp.write_all(&[&preamble[..], request].concat()).await;
            let mut answer = Vec::new();
            // With a reset, since there is something unread.
            let _ = timeout(LIMIT, tcp.read_to_end(&mut answer)).await.unwrap();
            let what = String::from_utf8_lossy(preamble);
            assert!(answer.is_empty(), "{}: {what:?}: {answer:?}", door.name);
        }
        assert!(door.links.try_recv().is_err(), "{}", door.name);
    }
}

#[tokio::test]
async fn a_proxy_that_is_slow_to_begin_is_cut() {
    let options = trusting(&["127.0.0.1"], Forwarding::ProxyProtocol);
    for door in doors(&options.handshake_timeout(Duration::from_millis(100))).await {
        let begun = version_2(0x21, 0x11, &OVER_IPV4);
        for part in [&b""[..], b"PROXY TCP4 192.0.2.1", &begun[..14], &begun[..20]] {
            let mut tcp = TcpStream::connect(door.address).await.unwrap();
            tcp.write_all(part).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(LIMIT, tcp.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.is_empty(), "{}: {answer:?}", door.name);
        }
    }
}

#[tokio::test]
async fn strangers_are_not_believed() {
    for forwarding in [Forwarding::ProxyProtocol, Forwarding::Forwarded, Forwarding::XForwardedFor]
    {
        for mut door in doors(&trusting(&["192.0.2.1"], forwarding)).await {
            let tls = door.tls.clone();
            let transport = websocket(door.address, tls.as_ref());
            let transport = transport.header("x-forwarded-for", "192.0.2.1").unwrap();
            let mut transport = transport.header("forwarded", "for=192.0.2.1").unwrap();
            let _link = transport.open(JSON, MAX_FRAME).await.unwrap();
            assert_eq!(door.client().await.ip().to_string(), "127.0.0.1");
            // What is not a request, or not TLS, is treated as such.
            let preamble = b"PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n".to_vec();
            let address = proxy(door.address, preamble).await;
            let opened = websocket(address, tls.as_ref()).open(JSON, MAX_FRAME).await;
            assert!(opened.is_err(), "{} {tls:?}", door.name);
        }
    }
}

/// The request that opens a long-poll session of a user, over a connection of a proxy.
fn create(user: &str, number: usize) -> Vec<u8> {
    let nonce = format!("{number:021}A");
    format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nlogux-nonce: {nonce}\r\n\
         logux-version: 2\r\ncontent-type: application/vnd.logux.batch+json\r\nx-forwarded-for: {user}\r\n\r\n"
    )
    .into_bytes()
}

/// A proxy sends requests of many users over one connection.
#[tokio::test]
async fn each_request_on_a_connection_has_its_own_address() {
    let options = trusting(&["127.0.0.1"], Forwarding::XForwardedFor).max_links_per_address(2);
    let http = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = http.local_addr().unwrap();
    let mut door = Door::open("HttpListener", address, None, http.options(options));
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let users = ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"];
    for (number, user) in users.iter().cycle().take(12).enumerate() {
        tcp.write_all(&create(user, number)).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(LIMIT, tcp.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        if number < 8 {
            assert!(head.starts_with("HTTP/1.1 200 "), "{number}: {head}");
            assert_eq!(door.client().await.ip().to_string(), *user);
        } else {
            assert!(head.starts_with("HTTP/1.1 429 "), "{number}: {head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            tcp.read_exact(&mut body).await.unwrap();
        }
    }
}

/// A connection from a proxy, begun for a client, and what the client sends.
async fn begun(door: &Door, client: &str, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(door.address).await.unwrap();
    let preamble = format!("PROXY TCP4 {client} 203.0.113.1 4711 443\r\n");
    // It may be cut already.
    let _ = tcp.write_all(&[preamble.as_bytes(), bytes].concat()).await;
    tcp
}

async fn is_granted(tcp: &mut TcpStream) -> bool {
    let mut answer = [0; 13];
    let read = timeout(LIMIT, tcp.read_exact(&mut answer)).await.unwrap();
    read.is_ok() && answer == *b"HTTP/1.1 101 "
}

#[tokio::test]
async fn silent_clients_of_a_proxy_are_cut_by_their_own_networks() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let options = trusting(&["127.0.0.1"], Forwarding::ProxyProtocol).max_handshakes(3);
    for door in doors(&options.handshake_timeout(LIMIT)).await {
        if door.tls.is_some() {
            continue;
        }
        let mut slow = begun(&door, "192.0.2.7", b"").await;
        let _silent = (begun(&door, "192.0.2.1", b"").await, begun(&door, "192.0.2.1", b"").await);
        // Until their beginnings are read, all are the proxy's, and keep their places from its next one.
        while !is_granted(&mut begun(&door, "192.0.2.2", request).await).await {}
        // The one that came first, and alone, was not cut.
        slow.write_all(request).await.unwrap();
        assert!(is_granted(&mut slow).await, "{}", door.name);
    }
}
