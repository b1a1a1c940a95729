//! Errors of opening a link that come of a mistake in how the two sides were set up: which of them end
//! a client (`InvalidInput`), and what they tell to do. Against servers that answer as a test has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use logux_transports::{Format, HttpListener, Listener, LongPoll, TlsClient, Transport, WebSocket};
use rcgen::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const JSON: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const XML: Format = Format { name: "xml", media_type: "application/xml", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// Grants a link without a word on formats.
const OPEN: Answer = Answer::Open("");

const LASTING: io::ErrorKind = io::ErrorKind::InvalidInput;

/// What a server does with the connections that it is dialled by, one after the other.
#[derive(Clone, Copy)]
enum Answer {
    /// Grants the link that is asked for, and chooses a subprotocol if this is not empty.
    Open(&'static str),
    /// Says this, whatever was asked.
    Say(&'static str),
}

/// A server of one's own, and how it is reached.
struct Server {
    address: SocketAddr,
    /// The certificate, where it speaks TLS.
    root: Option<String>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers so many connections. Further ones have the last answer.
    async fn start(answers: &[Answer], tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (root, tls) = if tls { Some(certified()).unzip() } else { (None, None) };
        let answers = answers.to_vec();
        let task = tokio::spawn(async move {
            let last = *answers.last().unwrap();
            let mut answers = answers.into_iter();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let answer = answers.next().unwrap_or(last);
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => serve(tls.accept(tcp).await?, answer).await,
                        None => serve(tcp, answer).await,
                    }
                });
            }
        });
        Self { address, root, task }
    }

    fn tls(&self) -> TlsClient {
        self.root
            .as_ref()
            .map_or_else(TlsClient::new, |root| TlsClient::with_roots(root.as_bytes()).unwrap())
    }

    fn websocket(&self) -> WebSocket {
        let scheme = if self.root.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/logux?token=secret", self.address);
        WebSocket::new(&url).unwrap().tls(self.tls())
    }

    fn long_poll(&self) -> LongPoll {
        let scheme = if self.root.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/logux?token=secret", self.address);
        LongPoll::new(&url).unwrap().tls(self.tls())
    }
}

/// A certificate for the loopback, and a server that shows it.
fn certified() -> (String, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (cert.pem(), Arc::new(config).into())
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let text = match answer {
        Answer::Say(text) => text.to_owned(),
        Answer::Open(subprotocol) => granted(&String::from_utf8(head).unwrap(), subprotocol),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    // A connection that is closed with something unread is reset, and the answer with it.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// The answer that opens a link.
fn granted(request: &str, subprotocol: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let chosen = match subprotocol {
        "" => String::new(),
        name => format!("sec-websocket-protocol: {name}\r\n"),
    };
    match key {
        Some(key) => format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             {chosen}sec-websocket-accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        ),
        None => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlogux-session: id\r\nlogux-version: 2\r\n\
             logux-wait: 25000\r\nlogux-inactivity: 30000\r\nlogux-max-body: 65536\r\n\r\n"
            .to_owned(),
    }
}

async fn error(mut transport: impl Transport, format: Format) -> io::Error {
    match transport.open(format, MAX_FRAME).await {
        Ok(_) => panic!("it can be opened"),
        Err(error) => error,
    }
}

/// What a server answers, the kind of the error at first, and what the text has.
type Case = (&'static str, io::ErrorKind, &'static [&'static str]);

const CHECK: &str = "check the scheme, host, port and path of ";

/// For WebSocket and long-poll alike.
const ANSWERS: &[Case] = &[
    ("404 Not Found\r\n", LASTING, &["404 Not Found", CHECK, "://127.0.0.1:", "/logux"]),
    ("405 Method Not Allowed\r\n", LASTING, &["405", CHECK]),
    ("410 Gone\r\n", LASTING, &["410", CHECK]),
    ("200 OK\r\n", LASTING, &["127.0.0.1", CHECK]),
    ("204 No Content\r\n", LASTING, &["127.0.0.1", CHECK]),
    ("400 Bad Request\r\n", LASTING, &["400", CHECK, "headers"]),
    ("411 Length Required\r\n", LASTING, &["411", CHECK]),
    ("406 Not Acceptable\r\n", LASTING, &["406", "format json", "codec"]),
    ("415 Unsupported Media Type\r\n", LASTING, &["415", "format json", "codec"]),
    ("414 URI Too Long\r\n", LASTING, &["414", "shorter"]),
    ("431 Request Header Fields Too Large\r\n", LASTING, &["431", "shorter"]),
    (
        "301 Moved Permanently\r\nlocation: https://a:secret@other.example/logux?token=secret\r\n",
        LASTING,
        &["301", "to \"https://other.example/logux\"", "dial that address"],
    ),
    ("308 Permanent Redirect\r\nlocation: /new\r\n", LASTING, &["308", "\"/new\"", "dial that"]),
    ("308 Permanent Redirect\r\nlocation: //a:secret@h/@b#secret\r\n", LASTING, &["\"//h/@b\""]),
    ("301 Moved Permanently\r\n", LASTING, &["301", CHECK]),
    // A network may ask to log in to it first.
    ("302 Found\r\nlocation: /login\r\n", io::ErrorKind::Other, &["302", "\"/login\""]),
    ("307 Temporary Redirect\r\n", io::ErrorKind::Other, &["307"]),
    ("407 Proxy Authentication Required\r\n", io::ErrorKind::Other, &["407"]),
    ("511 Network Authentication Required\r\n", io::ErrorKind::Other, &["511"]),
    // Credentials may be given anew.
    ("401 Unauthorized\r\n", io::ErrorKind::PermissionDenied, &["401"]),
    ("403 Forbidden\r\n", io::ErrorKind::PermissionDenied, &["403"]),
    // What passes.
    ("402 Payment Required\r\n", io::ErrorKind::Other, &["402"]),
    ("408 Request Timeout\r\n", io::ErrorKind::Other, &["408"]),
    // Of something on the way, for the request has no body.
    ("413 Content Too Large\r\n", io::ErrorKind::Other, &["413"]),
    ("418 I'm a teapot\r\n", io::ErrorKind::Other, &["418"]),
    ("421 Misdirected Request\r\n", io::ErrorKind::Other, &["421"]),
    ("425 Too Early\r\n", io::ErrorKind::Other, &["425"]),
    ("451 Unavailable For Legal Reasons\r\n", io::ErrorKind::Other, &["451"]),
    ("429 Too Many Requests\r\n", io::ErrorKind::Other, &["429"]),
    ("500 Internal Server Error\r\n", io::ErrorKind::Other, &["500"]),
    ("501 Not Implemented\r\n", io::ErrorKind::Other, &["501"]),
    ("505 HTTP Version Not Supported\r\n", io::ErrorKind::Other, &["505"]),
    ("502 Bad Gateway\r\n", io::ErrorKind::Other, &["502"]),
    ("503 Service Unavailable\r\n", io::ErrorKind::Other, &["503"]),
    ("504 Gateway Timeout\r\n", io::ErrorKind::Other, &["504"]),
    ("599 Who Knows\r\n", io::ErrorKind::Other, &["599"]),
];

fn http(head: &str) -> &'static str {
    let length = if head.starts_with("204") { "" } else { "content-length: 0\r\n" };
    format!("HTTP/1.1 {head}{length}\r\n").leak()
}

fn is_as_told(error: &io::Error, kind: io::ErrorKind, texts: &[&str], what: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{what}: {text}");
    for part in texts {
        assert!(text.contains(part), "{what}: {text:?} lacks {part:?}");
    }
    assert!(!text.contains("secret"), "{what}: {text}");
}

#[tokio::test]
async fn the_first_answer_tells_a_mistake_from_what_passes() {
    for tls in [false, true] {
        for &(head, kind, texts) in ANSWERS {
            let server = Server::start(&[Answer::Say(http(head))], tls).await;
            is_as_told(&error(server.websocket(), JSON).await, kind, texts, head);
            is_as_told(&error(server.long_poll(), JSON).await, kind, texts, head);
        }
    }
}

#[tokio::test]
async fn what_a_server_answers_that_was_reached_before_passes() {
    for tls in [false, true] {
        for &(head, _, texts) in ANSWERS {
            let server = Server::start(&[OPEN, Answer::Say(http(head))], tls).await;
            passes_once_reached(server.websocket(), texts, head).await;
            let server = Server::start(&[OPEN, Answer::Say(http(head))], tls).await;
            passes_once_reached(server.long_poll(), texts, head).await;
        }
    }
}

/// Opens a link, and then once more, from the transport and from a clone of it.
async fn passes_once_reached<T: Transport + Clone>(mut transport: T, texts: &[&str], what: &str) {
    let fresh = transport.clone();
    drop(transport.open(JSON, MAX_FRAME).await.unwrap());
    let clone = transport.clone();
    for transport in [transport, clone] {
        let error = error(transport, JSON).await;
        assert_ne!(error.kind(), LASTING, "{what}: {error}");
        is_as_told(&error, error.kind(), texts, what);
    }
    // That one has reached nobody.
    let kind = error(fresh, JSON).await.kind();
    let expected = ANSWERS.iter().find(|(head, ..)| *head == what).map(|(_, kind, _)| *kind);
    assert!(expected.is_none_or(|expected| expected == kind), "{what}: {kind}");
}

#[tokio::test]
async fn a_proxy_that_lets_no_websocket_through_is_told_of() {
    let head = "426 Upgrade Required\r\n";
    for tls in [false, true] {
        let server = Server::start(&[Answer::Say(http(head))], tls).await;
        let texts = ["426", "proxy", "long-poll"];
        is_as_told(&error(server.websocket(), JSON).await, LASTING, &texts, head);
        is_as_told(&error(server.long_poll(), JSON).await, LASTING, &["426", CHECK], head);
    }
}

#[tokio::test]
async fn the_protocols_own_headers_cannot_be_set() {
    for name in ["logux-send", "Logux-Poll", "LOGUX-anything"] {
        let transport = LongPoll::new("http://127.0.0.1/").unwrap();
        let error = transport.header(name, "1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(LongPoll::new("http://127.0.0.1/").unwrap().header("x-logux", "1").is_ok());
}

/// A server of an older version gives a session as it would to its own clients.
#[tokio::test]
async fn a_server_of_another_version_of_long_poll_is_told_of() {
    const SESSION: &str = "200 OK\r\nlogux-session: secret\r\n";
    const TIMES: &str = "logux-wait: 25000\r\nlogux-inactivity: 30000\r\nlogux-max-body: 9\r\n";
    let first = ["the server speaks version 1", "this client version 2", "update the older"];
    let third = ["the server speaks version 3", "this client version 2", "update the older"];
    let cases = [
        (format!("{SESSION}{TIMES}"), &first[..]),
        (format!("{SESSION}logux-version: 1\r\n{TIMES}"), &first),
        (format!("{SESSION}logux-version: 3\r\n{TIMES}"), &third),
        // What else the answer of a later version has is not known.
        (format!("{SESSION}logux-version: 3\r\n"), &third),
        (format!("{SESSION}logux-version: 2.0\r\n{TIMES}"), &["not one number", CHECK]),
        (format!("{SESSION}logux-version: 2\r\nlogux-version: 2\r\n"), &["number", CHECK]),
        (format!("{SESSION}logux-version: 2\r\n"), &["gives no session", CHECK]),
        (format!("200 OK\r\nlogux-version: 1\r\n{TIMES}"), &["gives no session", CHECK]),
    ];
    for tls in [false, true] {
        for (head, texts) in &cases {
            let server = Server::start(&[Answer::Say(http(head))], tls).await;
            is_as_told(&error(server.long_poll(), JSON).await, LASTING, texts, head);
            let server = Server::start(&[OPEN, Answer::Say(http(head))], tls).await;
            passes_once_reached(server.long_poll(), texts, head).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_version_is_quoted() {
    let text = "the server speaks version 3 of long-poll, and version 2 was asked for; update";
    let length = text.len();
    let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\n\r\n{text}");
    let server = Server::start(&[Answer::Say(head.leak())], false).await;
    is_as_told(&error(server.long_poll(), JSON).await, LASTING, &["400", text], text);
}

/// What is not HTTP, or not WebSocket.
#[tokio::test]
async fn another_protocol_at_that_port_is_told_of() {
    let not_http = ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\x15\x03\x01\0\x02\x02\x46\r\n\r\n"];
    let not_websocket = [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    ];
    for tls in [false, true] {
        for text in not_http {
            let server = Server::start(&[Answer::Say(text)], tls).await;
            is_as_told(&error(server.websocket(), JSON).await, LASTING, &[CHECK], text);
            is_as_told(&error(server.long_poll(), JSON).await, LASTING, &[CHECK], text);
            let server = Server::start(&[OPEN, Answer::Say(text)], tls).await;
            passes_once_reached(server.websocket(), &[CHECK], text).await;
            let server = Server::start(&[OPEN, Answer::Say(text)], tls).await;
            passes_once_reached(server.long_poll(), &[CHECK], text).await;
        }
        for text in not_websocket {
            let server = Server::start(&[Answer::Say(text)], tls).await;
            is_as_told(&error(server.websocket(), JSON).await, LASTING, &[CHECK], text);
        }
    }
}

/// A server that is about to end, or a proxy that says nothing of it but an old version of HTTP.
#[tokio::test]
async fn a_connection_that_is_cut_in_the_handshake_passes() {
    for text in ["", "HTTP/1.1 10", "HTTP/1.0 503 Service Unavailable\r\n\r\n"] {
        for tls in [false, true] {
            let server = Server::start(&[Answer::Say(text)], tls).await;
            let error = error(server.websocket(), JSON).await;
            assert_ne!(error.kind(), LASTING, "{text:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_take_the_format_is_told_of() {
    // Ours says what it takes.
    let mut listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting =
        tokio::spawn(async move { while listener.accept(&[JSON], MAX_FRAME).await.is_ok() {} });
    let websocket = WebSocket::new(&format!("ws://{address}/")).unwrap();
    let texts = ["400", "the subprotocols here are logux.json", "xml"];
    is_as_told(&error(websocket, XML).await, LASTING, &texts, "WebSocket");
    let long_poll = LongPoll::new(&format!("http://{address}/")).unwrap();
    let texts = ["415", "the formats here are json", "format xml", "codec"];
    is_as_told(&error(long_poll, XML).await, LASTING, &texts, "long-poll");
    accepting.abort();

    // Others choose none, or another one.
    for (subprotocol, format, texts) in [
        ("", XML, ["does not say that it takes the format xml", "codec"]),
        ("logux.json", XML, ["chose another format than xml", "codec"]),
        ("logux.message-pack", JSON, ["chose another format than json", "codec"]),
    ] {
        for tls in [false, true] {
            let server = Server::start(&[Answer::Open(subprotocol)], tls).await;
            is_as_told(&error(server.websocket(), format).await, LASTING, &texts, subprotocol);
        }
    }
}
