//! Pages in browsers: what a listener knows of them, and what it keeps to itself of theirs.

use std::net::SocketAddr;
use std::time::Duration;

use logux_transports::{
    Format, HttpListener, LinkInfo, Listener, ListenerOptions, WebSocketListener,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const JSON: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// Far above what any of this takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A listener, and how it is asked for a link.
struct Door {
    name: &'static str,
    address: SocketAddr,
    links: mpsc::UnboundedReceiver<LinkInfo>,
    request: &'static str,
}

const WEBSOCKET: &str = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

const LONG_POLL: &str = "POST / HTTP/1.1\r\nContent-Length: 0\r\nLogux-Nonce: NONCE\r\nLogux-Version: 2\r\n\
    Content-Type: application/vnd.logux.batch+json\r\n";

impl Door {
    fn open<L: Listener>(
        name: &'static str,
        address: SocketAddr,
        request: &'static str,
        mut listener: L,
    ) -> Self {
        let (sender, links) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(link) = listener.accept(&[JSON], MAX_FRAME).await {
                let _ = sender.send(link.info);
            }
        });
        Self { name, address, links, request }
    }

    /// The status of the answer to a request with these lines, and the link that comes of it.
    async fn ask(&mut self, lines: &[String]) -> (u16, Option<LinkInfo>) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let nonce = format!("{:021}A", tcp.local_addr().unwrap().port());
        let head = self.request.replace("NONCE", &nonce);
        let request = format!("{head}{}\r\n\r\n", lines.join("\r\n"));
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        timeout(LIMIT, tcp.read_exact(&mut start)).await.unwrap().unwrap();
        let status = std::str::from_utf8(&start[9..]).unwrap().parse().unwrap();
        let info = match status {
            101 | 200 => Some(timeout(LIMIT, self.links.recv()).await.unwrap().unwrap()),
            _ => None,
        };
        (status, info)
    }
}

/// WebSocket at both kinds of listener, and long-poll.
async fn doors(options: ListenerOptions) -> Vec<Door> {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.options(options.clone());
    let mut doors = vec![Door::open("WebSocketListener", address, WEBSOCKET, listener)];
    for (name, request) in [("HttpListener", WEBSOCKET), ("long-poll", LONG_POLL)] {
        let listener = HttpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        doors.push(Door::open(name, address, request, listener.options(options.clone())));
    }
    doors
}

fn lines(host: &str, others: &[&str]) -> Vec<String> {
    let host = format!("Host: {host}");
    [host].into_iter().chain(others.iter().map(ToString::to_string)).collect()
}

#[tokio::test]
async fn a_page_of_another_host_is_told_from_ones_own() {
    // The request's host, the page's origin, and whether that is another host.
    let cases = [
        ("example.com", "https://example.com", false),
        ("example.com", "http://example.com", false),
        ("example.com:443", "https://example.com", false),
        ("example.com", "https://example.com:443", false),
        ("EXAMPLE.com", "https://example.com", false),
        ("example.com:8080", "http://example.com:8080", false),
        ("192.0.2.1:8080", "http://192.0.2.1:8080", false),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080", false),
        ("example.com:8080", "http://example.com", true),
        ("example.com", "http://example.com:8080", true),
        ("example.com:80", "https://example.com", true),
        ("example.com", "https://www.example.com", true),
        ("www.example.com", "https://example.com", true),
        ("example.com", "https://example.com.evil.example", true),
        ("example.com", "https://evil-example.com", true),
        ("example.com", "https://example.com@evil.example", true),
        ("example.com", "https://evil.example", true),
        ("example.com", "null", true),
        ("example.com", "file://", true),
        ("example.com", "example.com", true),
        ("example.com", "https://", true),
        ("example.com", "https://example.com/", true),
        ("example.com", "https://example.com:", true),
        ("example.com", "https://example.com:99999", true),
        ("example.com", "chrome-extension://abcdefghijklmnop", true),
        ("example.com", "https://example.com\r\nOrigin: https://example.com", true),
        ("example.com\r\nHost: evil.example", "https://evil.example", true),
        // This machine's, on any port.
        ("example.com", "http://localhost", false),
        ("example.com", "http://localhost:3000", false),
        ("example.com", "https://LOCALHOST:3000", false),
        ("example.com", "http://127.0.0.1:3000", false),
        ("example.com", "http://127.9.9.9", false),
        ("example.com", "http://[::1]:3000", false),
        ("example.com", "capacitor://localhost", false),
        ("localhost:31337", "http://localhost.evil.example", true),
        ("localhost:31337", "http://evil.example", true),
        ("localhost:31337", "http://127.0.0.1.evil.example", true),
        ("localhost:31337", "http://evil.example:31337", true),
        ("localhost:31337", "http://128.0.0.1", true),
        ("localhost:31337", "http://[::2]", true),
        ("localhost:31337", "http://localhost:x", true),
        ("localhost:31337", "http://[::1", true),
        ("localhost:31337", "http://[::1]x", true),
        ("localhost:31337", "null", true),
    ];
    for mut door in doors(ListenerOptions::new()).await {
        for (host, origin, expected) in cases {
            let lines = lines(host, &[&format!("Origin: {origin}")]);
            let (status, info) = door.ask(&lines).await;
            let what = format!("{}: {host:?} {origin:?}", door.name);
            let info = info.unwrap_or_else(|| panic!("{what}: {status}"));
            assert_eq!(info.is_foreign_page, expected, "{what}");
        }
        let (_, info) = door.ask(&lines("example.com", &[])).await;
        assert!(!info.unwrap().is_foreign_page, "{}: a program is not a page", door.name);
    }
}

#[tokio::test]
async fn a_page_that_is_listed_is_not_foreign() {
    let origins = ["https://app.example", "null"];
    for mut door in doors(ListenerOptions::new().origins(origins)).await {
        for origin in origins {
            let lines = lines("server.example", &[&format!("Origin: {origin}")]);
            assert!(!door.ask(&lines).await.1.unwrap().is_foreign_page, "{} {origin}", door.name);
        }
        // Lists are complete: they need to name one's own host, and this machine, too.
        for origin in ["https://server.example", "http://localhost", "https://evil.example"] {
            let lines = lines("server.example", &[&format!("Origin: {origin}")]);
            assert_eq!(door.ask(&lines).await.0, 403, "{} {origin}", door.name);
        }
    }
}

#[tokio::test]
async fn what_a_browser_sends_by_itself_is_shown_only_where_origins_are_listed() {
    let secrets = ["Cookie: session=1", "Cookie: other=2", "Authorization: Basic YTpi"];
    let page = [&secrets[..], &["Origin: https://app.example"]].concat();
    for mut door in doors(ListenerOptions::new()).await {
        let info = door.ask(&lines("server.example", &page)).await.1.unwrap();
        assert_eq!(info.cookie("session"), None, "{}", door.name);
        assert!(!info.headers.contains_key("cookie"), "{}", door.name);
        assert!(!info.headers.contains_key("authorization"), "{}", door.name);
        assert_eq!(info.headers["origin"], "https://app.example");
        // No page made a program send that header.
        let info = door.ask(&lines("server.example", &secrets)).await.1.unwrap();
        assert!(!info.headers.contains_key("cookie"), "{}", door.name);
        assert_eq!(info.headers["authorization"], "Basic YTpi", "{}", door.name);
    }
    for mut door in doors(ListenerOptions::new().origins(["https://app.example"])).await {
        for lines in [lines("server.example", &page), lines("server.example", &secrets)] {
            let info = door.ask(&lines).await.1.unwrap();
            assert_eq!(info.cookie("session"), Some("1"), "{}", door.name);
            assert_eq!(info.cookie("other"), Some("2"), "{}", door.name);
            assert_eq!(info.headers["authorization"], "Basic YTpi", "{}", door.name);
        }
    }
    let nobody: [&str; 0] = [];
    for mut door in doors(ListenerOptions::new().origins(nobody)).await {
        let info = door.ask(&lines("server.example", &secrets)).await.1.unwrap();
        assert_eq!(info.cookie("session"), Some("1"), "{}", door.name);
        assert_eq!(door.ask(&lines("server.example", &page)).await.0, 403, "{}", door.name);
    }
}
