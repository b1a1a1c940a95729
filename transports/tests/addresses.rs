//! What is asked for at the addresses that users give, and which addresses are refused: the same by
//! WebSocket and by long-poll.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpClient, LongPoll, Transport, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const JSON: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// What must be in no error and no debug text.
const SECRETS: [&str; 3] = ["bob", "s3", "Ym9i"];

/// A server that remembers the heads of all requests.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// On a loopback address. Opens long-poll sessions, and sends all others away.
    async fn start(ip: &str, answer: &'static str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&kept), answer));
            }
        });
        Self { port, heads }
    }

    fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().drain(..).map(|head| Head::read(&head)).collect()
    }
}

/// What is of interest in the head of a request.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    target: String,
    hosts: Vec<String>,
    credentials: Vec<String>,
}

impl Head {
    fn read(head: &str) -> Self {
        let mut lines = head.lines();
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let values = |wanted: &str| {
            let found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|&(_, value)| value.to_owned()).collect()
        };
        Self { target, hosts: values("host"), credentials: values("authorization") }
    }
}

/// Answers the first request of a session with one, others as it is told, and takes frames.
async fn serve(
    mut tcp: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    answer: &'static str,
) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        tcp.read_exact(&mut body).await?;
        heads.lock().unwrap().push(head);
        tcp.write_all(answer.as_bytes()).await?;
    }
}

const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// What is opened, and what its first request was.
async fn asked<T: Transport + std::fmt::Debug>(mut transport: T, server: &Server) -> Head {
    hides(&format!("{transport:?}"), "the debug text");
    let Err(error) = transport.open(JSON, MAX_FRAME).await else { panic!("it can be opened") };
    hides(&told(&error), "an error");
    let mut heads = server.heads();
    assert_eq!(heads.len(), 1, "{heads:?}: {error}");
    heads.remove(0)
}

/// An error with its causes.
fn told(error: &io::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn hides(text: &str, what: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} has {secret}: {text}");
    }
}

/// The text before the host, what comes after the port; and the target and credentials of the request.
const ASKED: [(&str, &str, &str, &str); 24] = [
    ("", "", "/", ""),
    ("", "/", "/", ""),
    ("", "?token=s3", "/?token=s3", ""),
    ("", "/?token=s3", "/?token=s3", ""),
    ("", "/p/q?a=1&a=2?", "/p/q?a=1&a=2?", ""),
    ("", "#s3", "/", ""),
    ("", "/p#s3?x", "/p", ""),
    ("", "?x#s3", "/?x", ""),
    ("", "//p", "//p", ""),
    ("", "/a b", "/a%20b", ""),
    ("", "/\u{e9}?\u{1f600}", "/%c3%a9?%f0%9f%98%80", ""),
    ("", "/%zz%2f|\"", "/%zz%2f%7c%22", ""),
    ("", "/@a:x", "/@a:x", ""),
    ("bob:s3cret@", "", "/", "Ym9iOnMzY3JldA=="),
    ("bob:s3cret@", "?x#y", "/?x", "Ym9iOnMzY3JldA=="),
    ("bob@", "", "/", "Ym9iOg=="),
    (":s3cret@", "", "/", "OnMzY3JldA=="),
    ("@", "", "/", ""),
    (":@", "", "/", ""),
    ("bob:s3@%40%3a@", "", "/", "Ym9iOnMzQEA6"),
    ("bob:s3:%e2%82%ac@", "", "/", "Ym9iOnMzOuKCrA=="),
    ("bob:s3:\u{20ac}@", "", "/", "Ym9iOnMzOuKCrA=="),
    ("bob:s3 +%2b@", "", "/", "Ym9iOnMzICsr"),
    ("b%6f%62:s3%25@", "", "/", "Ym9iOnMzJQ=="),
];

#[tokio::test]
async fn both_transports_ask_for_the_same() {
    for (ip, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::1", "[0:0:0::1]")] {
        // Not every machine has IPv6.
        if ip == "::1" && std::net::TcpListener::bind((ip, 0)).is_err() {
            continue;
        }
        let server = Server::start(ip, AWAY).await;
        let port = server.port;
        let canonical = if ip == "::1" { "[::1]" } else { ip };
        for (user, rest, target, credentials) in ASKED {
            let credentials = match credentials {
                "" => vec![],
                credentials => vec![format!("basic {}", credentials.to_lowercase())],
            };
            let hosts = vec![format!("{canonical}:{port}")];
            let expected = Head { target: target.to_owned(), hosts, credentials };
            for scheme in ["ws", "WS", "Ws"] {
                let url = format!("{scheme}://{user}{host}:{port}{rest}");
                let asked = asked(WebSocket::new(&url).unwrap(), &server).await;
                assert_eq!(asked, expected, "{url}");
            }
            for scheme in ["http", "HTTP", "hTTp"] {
                let url = format!("{scheme}://{user}{host}:{port}{rest}");
                let asked = asked(LongPoll::new(&url).unwrap(), &server).await;
                assert_eq!(asked, expected, "{url}");
            }
        }
    }
}

/// A name, as opposed to an address, is the same however it is written.
#[tokio::test]
async fn a_host_is_asked_for_in_small_letters() {
    let server = Server::start("127.0.0.1", AWAY).await;
    let hosts = [format!("localhost:{}", server.port)];
    let url = |scheme: &str| format!("{scheme}://LocalHost:{}", server.port);
    assert_eq!(asked(WebSocket::new(&url("ws")).unwrap(), &server).await.hosts, hosts);
    assert_eq!(asked(LongPoll::new(&url("http")).unwrap(), &server).await.hosts, hosts);
}

#[tokio::test]
async fn headers_of_one_s_own_take_the_place_of_what_the_address_says() {
    let server = Server::start("127.0.0.1", AWAY).await;
    let rest = format!("bob:s3cret@127.0.0.1:{}", server.port);
    let websocket = WebSocket::new(&format!("ws://{rest}")).unwrap();
    let long_poll = LongPoll::new(&format!("http://{rest}")).unwrap();
    let (name, value) = ("Authorization", "Bearer s3");
    let own = websocket.clone().header(name, "before").unwrap().header(name, value).unwrap();
    assert_eq!(asked(own, &server).await.credentials, ["bearer s3"]);
    let own = long_poll.clone().header(name, "before").unwrap().header(name, value).unwrap();
    assert_eq!(asked(own, &server).await.credentials, ["bearer s3"]);
    let (name, value) = ("Host", "example.com");
    let own = websocket.header(name, "before").unwrap().header(name, value).unwrap();
    assert_eq!(asked(own, &server).await.hosts, ["example.com"]);
    let own = long_poll.header(name, "before").unwrap().header(name, value).unwrap();
    assert_eq!(asked(own, &server).await.hosts, ["example.com"]);
}

#[tokio::test]
async fn every_request_of_a_session_has_the_credentials() {
    const OPEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlogux-session: s3\r\n\
        logux-version: 2\r\nlogux-wait: 25000\r\nlogux-inactivity: 30000\r\n\
        logux-max-body: 65536\r\nlogux-answer: closed 1 1\r\n\r\n";
    let server = Server::start("127.0.0.1", OPEN).await;
    let url = format!("http://bob:s3cret@127.0.0.1:{}/?token=s3", server.port);
    let mut link = LongPoll::new(&url).unwrap().open(JSON, MAX_FRAME).await.unwrap();
    link.sender.send(Bytes::from_static(b"a")).await.unwrap();
    link.sender.flush().await.unwrap();
    assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap(), None);
    hides(&format!("{link:?}"), "the debug text");
    let heads = server.heads();
    assert_eq!(heads.len(), 4, "to open, to send, a poll and the last acknowledgement");
    for head in heads {
        assert_eq!(head.target, "/?token=s3");
        assert_eq!(head.hosts, [format!("127.0.0.1:{}", server.port)]);
        assert_eq!(head.credentials, ["basic ym9ionmzy3jlda=="]);
    }
}

/// Keeps the request that it was given.
#[derive(Clone, Debug, Default)]
struct Keeps(Arc<Mutex<Option<Request<Bytes>>>>);

impl HttpClient for Keeps {
    async fn request(&mut self, request: Request<Bytes>, _: usize) -> io::Result<Response<Bytes>> {
        *self.0.lock().unwrap() = Some(request);
        Err(io::Error::other("it is kept"))
    }
}

#[tokio::test]
async fn an_http_client_of_one_s_own_is_given_a_clean_address() {
    for (url, uri) in [
        ("http://bob:s3cret@Example.com:80?x#y", "http://example.com/?x"),
        ("HTTPS://bob:s3cret@[::1]:443", "https://[::1]/"),
    ] {
        let client = Keeps::default();
        let mut transport = LongPoll::over(url, client.clone()).unwrap();
        hides(&format!("{transport:?}"), "the debug text");
        transport.open(JSON, MAX_FRAME).await.unwrap_err();
        let request = client.0.lock().unwrap().take().unwrap();
        assert_eq!(request.uri(), uri);
        assert_eq!(request.headers()["authorization"], "Basic Ym9iOnMzY3JldA==");
        assert!(!request.headers().contains_key("host"));
    }
}

/// What follows the two slashes, and what the error says.
const REFUSED: [(&str, &str); 52] = [
    ("", "names no host"),
    ("/path", "names no host"),
    ("?x", "names no host"),
    ("#x", "names no host"),
    (":80", "names no host"),
    ("bob:s3cret@", "names no host"),
    ("bob:s3cret@:80/", "names no host"),
    ("h:0", "the port is not a number from 1 to 65535"),
    ("h:65536", "the port is not"),
    ("h:99999999999999999999", "the port is not"),
    ("h:+80", "the port is not"),
    ("h:-1", "the port is not"),
    ("h:8x", "the port is not"),
    ("h: 80", "the port is not"),
    ("[::1]:0", "the port is not"),
    ("[::1]80", "a colon and a port"),
    ("[::1", "not closed"),
    ("[]", "not an IPv6 address"),
    ("[127.0.0.1]", "not an IPv6 address"),
    ("[v1.x]", "not an IPv6 address"),
    ("[fe80::1%]", "the name of an interface"),
    ("[fe80::1%25a b]", "the name of an interface"),
    ("::1", "IPv6 address in brackets"),
    ("::1:8080/", "IPv6 address in brackets"),
    ("fe80::1%eth0", "IPv6 address in brackets"),
    ("h:80:80", "several colons"),
    ("b\u{fc}cher.example", "xn--"),
    ("\u{4f8b}\u{3048}.jp:80/", "xn--"),
    ("a b", "a character other than letters"),
    ("%61.example", "a character other than letters"),
    ("a]b", "a character other than letters"),
    ("h<", "a character other than letters"),
    ("a..b", "empty"),
    (".", "empty"),
    ("a.-.b..", "empty"),
    ("256.0.0.1", "not an IPv4 address"),
    ("127.0.0.1.1", "not an IPv4 address"),
    ("127.1", "not an IPv4 address"),
    ("2130706433", "not an IPv4 address"),
    ("h/ ", "white space around it"),
    ("h/\n", "white space around it"),
    ("h/a\tb", "a line break or the like"),
    ("h\0", "a line break or the like"),
    ("h\\p", "backslash"),
    ("h/\\p", "backslash"),
    ("bob:s3/cret@h", "write / as %2F"),
    ("bob:s3#cret@h", "# as %23"),
    ("bob:s3?cret@h", "? as %3F"),
    ("bob:s3%@h", "write it as %25"),
    ("bob:s3%4\u{e9}@h", "write it as %25"),
    ("bob:s3%ff@h", "not UTF-8"),
    ("bob%3a:s3@h", "has a colon"),
];

#[test]
fn an_address_that_cannot_be_used_is_refused_with_the_reason() {
    let refused = |url: &str, result: Result<(), io::Error>, text: &str| {
        let Err(error) = result else { panic!("{url:?} is taken") };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{url:?}: {error}");
        assert!(error.to_string().contains(text), "{url:?}: {error}");
        hides(&told(&error), url);
    };
    let all = |scheme: &str, rest: &str, text: &str| {
        let url = format!("{scheme}{rest}");
        refused(&url, WebSocket::new(&url).map(drop), text);
        refused(&url, LongPoll::new(&url).map(drop), text);
        refused(&url, LongPoll::over(&url, Keeps::default()).map(drop), text);
    };
    let both = |rest: &str, text: &str| {
        for scheme in ["ws", "wss"] {
            let url = format!("{scheme}://{rest}");
            refused(&url, WebSocket::new(&url).map(drop), text);
        }
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{rest}");
            refused(&url, LongPoll::new(&url).map(drop), text);
            refused(&url, LongPoll::over(&url, Keeps::default()).map(drop), text);
        }
    };
    for (rest, text) in REFUSED {
        both(rest, text);
    }
    both("bob:s3%0d%0aX: x@h", "control character");
    both(&format!("{}.example", "a".repeat(64)), "longer than 63");
    both(&vec!["a"; 128].join("."), "more than 253");
    both(&format!("h/{}", "a".repeat(1 << 16)), "cannot be used");
    for (scheme, rest) in [
        ("", ""),
        ("", "h:80"),
        ("", "/path"),
        ("", "//h/"),
        ("", "bob:s3cret@h"),
        ("ws:", "h"),
        ("ws:/", "h"),
        ("ftp://", "bob:s3cret@h"),
        ("://", "h"),
    ] {
        all(scheme, rest, "does not start with ");
    }
    both(" h", "a character other than letters");
    all(" ws://", "h", "white space around it");
    all("\u{a0}http://", "h", "white space around it");
}
