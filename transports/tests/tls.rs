//! TLS over loopback, with certificates that the tests make.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpListener, Link, Listener, ListenerOptions, LongPoll,
    TlsClient, TlsServer, Transport, WebSocket, WebSocketListener, conformance,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// A certificate and its private key, in PEM.
struct Certificate {
    chain: String,
    key: String,
}

impl Certificate {
    fn server(&self) -> TlsServer {
        TlsServer::new(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// Who signs certificates.
struct Root(CertifiedIssuer<'static, KeyPair>);

impl Root {
    /// With a name that no other has.
    fn new() -> Self {
        static ROOTS: AtomicU32 = AtomicU32::new(0);

        let mut params = CertificateParams::new([]).unwrap();
        let number = ROOTS.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("root {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn client(&self) -> TlsClient {
        TlsClient::with_roots(self.pem().as_bytes()).unwrap()
    }

    /// A certificate for a host, or for a client, of which the name is not looked at.
    fn sign(&self, host: &str) -> Certificate {
        self.sign_with(host, |_| ())
    }

    fn sign_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Certificate { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A port that takes WebSocket and long-poll clients by TLS.
async fn listen(tls: TlsServer) -> (HttpListener, SocketAddr) {
    let options = ListenerOptions::new()
        .tls(tls)
        .inactivity(Duration::from_secs(1))
        .handshake_timeout(Duration::from_millis(300));
    let listener = HttpListener::bind("127.0.0.1:0").await.unwrap().options(options);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn websocket(address: SocketAddr) -> WebSocket {
    WebSocket::new(&format!("wss://{address}/")).unwrap()
}

fn long_poll(address: SocketAddr) -> LongPoll {
    LongPoll::new(&format!("https://{address}/")).unwrap()
}

type LinkOf<T> = Link<<T as Transport>::Sender, <T as Transport>::Receiver>;
type AcceptedBy<L> = Link<<L as Listener>::Sender, <L as Listener>::Receiver>;

/// The two ends of a new link.
async fn open<T: Transport, L: Listener>(
    mut transport: T,
    listener: &mut L,
) -> io::Result<(LinkOf<T>, AcceptedBy<L>)> {
    open_by(&mut transport, listener).await
}

async fn open_by<T: Transport, L: Listener>(
    transport: &mut T,
    listener: &mut L,
) -> io::Result<(LinkOf<T>, AcceptedBy<L>)> {
    let formats = [FORMAT];
    let mut opening = pin!(transport.open(FORMAT, MAX_FRAME));
    let mut accepting = pin!(listener.accept(&formats, MAX_FRAME));
    tokio::select! {
        near = &mut opening => Ok((near?, accepting.await?)),
        far = &mut accepting => Ok((opening.await?, far?)),
    }
}

/// Sends a frame each way.
async fn talk<S: FrameSender, R: FrameReceiver>(
    near: &mut Link<S, R>,
    far: &mut Link<impl FrameSender, impl FrameReceiver>,
) {
    for frame in ["from the client", "from the server"] {
        let frame = Bytes::from_static(frame.as_bytes());
        near.sender.send(frame.clone()).await.unwrap();
        far.sender.send(frame.clone()).await.unwrap();
        let flushed = tokio::join!(
            near.sender.flush(),
            far.sender.flush(),
            near.receiver.receive(MAX_FRAME),
            far.receiver.receive(MAX_FRAME),
        );
        assert!(
            matches!(flushed, (Ok(()), Ok(()), Ok(Some(a)), Ok(Some(b))) if a == frame && b == frame)
        );
    }
}

/// Opens a link and talks over it.
async fn works<T: Transport>(transport: T, listener: &mut impl Listener) {
    let (mut near, mut far) = open(transport, listener).await.unwrap();
    talk(&mut near, &mut far).await;
}

/// Tries to open a link, and gives the reason why it cannot be.
async fn refused<T: Transport>(transport: T, listener: &mut impl Listener) -> String {
    match timeout(Duration::from_secs(20), open(transport, listener)).await.unwrap() {
        Ok(_) => panic!("it can be opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn websocket_keeps_the_contract_over_tls() {
    let root = Root::new();
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = ListenerOptions::new().tls(root.sign("127.0.0.1").server());
    let listener = listener.options(options);
    conformance::transport(websocket(address).tls(root.client()), listener).await;
}

#[tokio::test]
async fn long_poll_keeps_the_contract_over_tls() {
    let root = Root::new();
    let (listener, address) = listen(root.sign("127.0.0.1").server()).await;
    conformance::transport(long_poll(address).tls(root.client()), listener).await;
}

#[tokio::test]
async fn one_port_takes_both_over_tls() {
    let root = Root::new();
    let (mut listener, address) = listen(root.sign("localhost").server()).await;
    let port = address.port();
    let websocket = WebSocket::new(&format!("wss://localhost:{port}/")).unwrap();
    works(websocket.tls(root.client()), &mut listener).await;
    let long_poll = LongPoll::new(&format!("https://localhost:{port}/")).unwrap();
    works(long_poll.tls(root.client()), &mut listener).await;
}

/// Tries to open a link by both transports, and gives the kinds of the errors and what they say.
async fn refused_both(
    address: SocketAddr,
    tls: TlsClient,
    listener: &mut impl Listener,
) -> [(io::ErrorKind, String); 2] {
    let by_websocket = open(websocket(address).tls(tls.clone()), listener).await;
    let by_long_poll = open(long_poll(address).tls(tls), listener).await;
    let errors = [by_websocket.map(drop).unwrap_err(), by_long_poll.map(drop).unwrap_err()];
    errors.map(|error| (error.kind(), error.to_string()))
}

#[tokio::test]
async fn a_server_that_is_not_to_be_trusted_is_refused_with_the_reason() {
    let with_time = |from, to| {
        move |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }
    };
    let root = Root::new();
    let lasting = io::ErrorKind::InvalidInput;
    // It is renewed on the server, or the clock of this machine is set.
    let passing = io::ErrorKind::ConnectionAborted;
    let no_root = ["leads to no root that is trusted here", "TlsClient::with_roots"];
    let good = root.sign("127.0.0.1");
    for (certificate, client, kind, texts) in [
        (&good, TlsClient::new(), lasting, no_root),
        (&good, Root::new().client(), lasting, no_root),
        (
            &root.sign("example.com"),
            root.client(),
            lasting,
            ["not valid for name \"127.0.0.1\"", "example.com"],
        ),
        (
            &root.sign_with("127.0.0.1", with_time(2001, 2002)),
            root.client(),
            passing,
            ["expired", "renew it on the server, or set the clock"],
        ),
        (
            &root.sign_with("127.0.0.1", with_time(2500, 2501)),
            root.client(),
            passing,
            ["not valid yet", "set the clock"],
        ),
        (
            &root.sign_with("127.0.0.1", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            root.client(),
            lasting,
            ["invalid peer certificate", "give the server another one"],
        ),
    ] {
        let (mut listener, address) = listen(certificate.server()).await;
        for (found, text) in refused_both(address, client.clone(), &mut listener).await {
            assert_eq!(found, kind, "{text}");
            for part in texts {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
        }
    }
}

/// Whoever showed a right one before may be in the midst of a renewal, or something on the way shows its
/// own, as networks do that ask to log in.
#[tokio::test]
async fn a_wrong_certificate_passes_where_a_right_one_was_shown() {
    let root = Root::new();
    let tls = root.sign("127.0.0.1").server();
    let (mut listener, address) = listen(tls.clone()).await;
    let mut websocket = websocket(address).tls(root.client());
    let mut long_poll = long_poll(address).tls(root.client());
    drop(open_by(&mut websocket, &mut listener).await.unwrap());
    drop(open_by(&mut long_poll, &mut listener).await.unwrap());
    let Certificate { chain, key } = Root::new().sign("127.0.0.1");
    tls.reload(chain.as_bytes(), key.as_bytes()).unwrap();
    for error in [
        open_by(&mut websocket, &mut listener).await.map(drop).unwrap_err(),
        open_by(&mut long_poll, &mut listener).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        assert!(error.to_string().contains("no root that is trusted here"), "{error}");
    }
}

/// A session of long-poll dials again, and does not end the client if the server's certificate is wrong.
#[tokio::test]
async fn a_wrong_certificate_in_the_midst_of_a_session_passes() {
    let root = Root::new();
    let tls = root.sign("127.0.0.1").server();
    let (mut listener, address) = listen(tls.clone()).await;
    let transport = long_poll(address).tls(root.client());
    let (mut near, _far) = open(transport, &mut listener).await.unwrap();
    let Certificate { chain, key } = Root::new().sign("127.0.0.1");
    tls.reload(chain.as_bytes(), key.as_bytes()).unwrap();
    // On a second connection.
    near.sender.send("a".into()).await.unwrap();
    let error = timeout(Duration::from_secs(20), near.sender.flush()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
    assert!(error.to_string().contains("no root that is trusted here"), "{error}");
}

#[tokio::test]
async fn clients_without_the_certificate_that_the_server_asks_for_are_refused() {
    let (root, clients) = (Root::new(), Root::new());
    let Certificate { chain, key } = root.sign("127.0.0.1");
    let (chain, key) = (chain.as_bytes(), key.as_bytes());
    let tls = TlsServer::with_client_roots(chain, key, clients.pem().as_bytes()).unwrap();
    let (mut listener, address) = listen(tls).await;
    let with = |Certificate { chain, key }: Certificate| {
        root.client().certificate(chain.as_bytes(), key.as_bytes()).unwrap()
    };
    works(websocket(address).tls(with(clients.sign("phone"))), &mut listener).await;
    works(long_poll(address).tls(with(clients.sign("phone"))), &mut listener).await;
    for tls in [root.client(), with(root.sign("phone"))] {
        // The refusal comes after the client's part of the handshake is over. It is lost if the
        // connection is reset, since the server has not read the request: the next one tells.
        let mut errors = refused_both(address, tls.clone(), &mut listener).await;
        while errors.iter().any(|(kind, _)| *kind == io::ErrorKind::ConnectionReset) {
            errors = refused_both(address, tls.clone(), &mut listener).await;
        }
        for (kind, text) in errors {
            assert_eq!(kind, io::ErrorKind::InvalidInput, "{text}");
            assert!(text.contains("the server refuses this client's certificate"), "{text}");
            assert!(text.contains("TlsClient::certificate"), "{text}");
        }
    }
    works(websocket(address).tls(with(clients.sign("phone"))), &mut listener).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_while_links_go_on() {
    let (old, new) = (Root::new(), Root::new());
    let tls = old.sign("127.0.0.1").server();
    let (mut listener, address) = listen(tls.clone()).await;
    let by_old = websocket(address).tls(old.client());
    let by_new = websocket(address).tls(new.client());
    let (mut near, mut far) = open(by_old.clone(), &mut listener).await.unwrap();

    let Certificate { chain, key } = new.sign("127.0.0.1");
    for (chain, key) in [
        (&chain, &old.sign("127.0.0.1").key),
        (&key, &key),
        (&chain, &chain),
        (&String::new(), &key),
        (&chain, &String::new()),
    ] {
        let error = tls.reload(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    works(by_old.clone(), &mut listener).await;
    refused(by_new.clone(), &mut listener).await;

    tls.reload(chain.as_bytes(), key.as_bytes()).unwrap();
    works(by_new, &mut listener).await;
    let error = refused(by_old, &mut listener).await;
    assert!(error.contains("leads to no root that is trusted here"), "{error}");
    talk(&mut near, &mut far).await;
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_with_the_reason() {
    let Certificate { chain, key } = Root::new().sign("127.0.0.1");
    let other = Root::new().sign("127.0.0.1").key;
    let broken = chain.replace('M', "?");
    let cases = [
        ("", &*key, "no certificate"),
        (&key, &key, "no certificate"),
        (&broken, &key, "the certificates are no PEM"),
        (&chain, "", "no private key"),
        (&chain, &chain, "no private key"),
        (&chain, &other, "does not fit"),
    ];
    for (chain, key, reason) in cases {
        let error = TlsServer::new(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let error = TlsClient::with_roots(b"no PEM").unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
}

#[tokio::test]
async fn who_speaks_no_tls_to_a_server_that_does_is_told_so() {
    let (mut listener, address) = listen(Root::new().sign("127.0.0.1").server()).await;
    let plain = WebSocket::new(&format!("ws://{address}/")).unwrap();
    let error = open(plain, &mut listener).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("400"), "{error}");
    let plain = LongPoll::new(&format!("http://{address}/")).unwrap();
    let error = open(plain, &mut listener).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    let text = error.to_string();
    assert!(text.contains("400") && text.contains("this port speaks TLS"), "{text}");
}

#[tokio::test]
async fn who_speaks_tls_to_a_server_that_does_not_is_told_so() {
    let mut listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let root = Root::new();
    for (kind, text) in refused_both(address, root.client(), &mut listener).await {
        assert_eq!(kind, io::ErrorKind::InvalidInput, "{text}");
        assert!(text.contains("does not speak TLS") && text.contains("ws:// or http://"), "{text}");
    }
}

#[tokio::test]
async fn who_does_not_go_on_with_a_handshake_is_cut_and_holds_nobody_up() {
    let root = Root::new();
    let (mut listener, address) = listen(root.sign("127.0.0.1").server()).await;
    let websockets = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let other = websockets.local_addr().unwrap();
    let options = ListenerOptions::new()
        .tls(root.sign("127.0.0.1").server())
        .handshake_timeout(Duration::from_millis(300));
    let mut websockets = websockets.options(options);
    let mut silent = Vec::new();
    for address in [address, other] {
        for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said).await.unwrap();
            silent.push(stream);
        }
    }
    works(websocket(address).tls(root.client()), &mut listener).await;
    works(websocket(other).tls(root.client()), &mut websockets).await;
    let formats = [FORMAT];
    let cut = async {
        for mut stream in silent {
            let ended = timeout(Duration::from_secs(20), stream.read(&mut [0; 1024])).await;
            assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
        }
    };
    tokio::select! {
        () = cut => {}
        _ = websockets.accept(&formats, MAX_FRAME) => unreachable!("nobody else came"),
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word_is_a_lost_one() {
    let root = Root::new();
    let (mut listener, address) = listen(root.sign("127.0.0.1").server()).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = proxy.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut server = TcpStream::connect(address).await.unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    });
    let transport = websocket(dialled).tls(root.client());
    let (mut near, mut far) = open(transport, &mut listener).await.unwrap();
    talk(&mut near, &mut far).await;
    proxy.abort();
    for error in [
        near.receiver.receive(MAX_FRAME).await.unwrap_err(),
        far.receiver.receive(MAX_FRAME).await.unwrap_err(),
    ] {
        // Not InvalidData: the peer said nothing wrong.
        assert_ne!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
}
