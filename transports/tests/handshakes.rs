//! The handshakes of WebSocket, as clients, servers and proxies write them: RFC 6455, 4. The rules are the
//! same at every listener.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use logux_transports::{
    Format, FrameReceiver, HttpListener, LinkInfo, Listener, ListenerOptions, Transport, WebSocket,
    WebSocketListener,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const JSON: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// Far above what any of this takes.
const LIMIT: Duration = Duration::from_secs(30);

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A listener that takes links for as long as the test lasts, and the first frame of each.
struct Door {
    name: &'static str,
    address: SocketAddr,
    links: mpsc::UnboundedReceiver<(LinkInfo, mpsc::UnboundedReceiver<Vec<u8>>)>,
}

impl Door {
    fn open<L: Listener>(name: &'static str, address: SocketAddr, mut listener: L) -> Self {
        let (sender, links) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(mut link) = listener.accept(&[JSON], MAX_FRAME).await {
                let (frames, received) = mpsc::unbounded_channel();
                let _ = sender.send((link.info, received));
                tokio::spawn(async move {
                    while let Ok(Some(frame)) = link.receiver.receive(MAX_FRAME).await {
                        let _ = frames.send(frame.to_vec());
                    }
                });
            }
        });
        Self { name, address, links }
    }

    /// What the listener answers to bytes: the head, and what follows it until the connection closes.
    async fn answer(&self, bytes: &[u8]) -> (String, TcpStream) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut head = Vec::new();
        let reading = async {
            while !head.ends_with(b"\r\n\r\n") {
                match tcp.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
        };
        timeout(LIMIT, reading).await.unwrap();
        (String::from_utf8(head).unwrap(), tcp)
    }
}

/// One of each kind.
async fn doors(options: &ListenerOptions) -> Vec<Door> {
    let websocket = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let http = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let (first, second) = (websocket.local_addr().unwrap(), http.local_addr().unwrap());
    vec![
        Door::open("WebSocketListener", first, websocket.options(options.clone())),
        Door::open("HttpListener", second, http.options(options.clone())),
    ]
}

fn head(request: &str, lines: &[&str]) -> Vec<u8> {
    [&[request, "Host: localhost"], lines, &["", ""]].concat().join("\r\n").into_bytes()
}

fn get(lines: &[&str]) -> Vec<u8> {
    head("GET /any?path HTTP/1.1", lines)
}

const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const VERSION: &str = "Sec-WebSocket-Version: 13";

fn key() -> String {
    format!("Sec-WebSocket-Key: {KEY}")
}

#[tokio::test]
async fn requests_for_a_websocket_are_granted_however_their_lists_are_written() {
    let (key, bulk) = (key(), format!("X-Bulk: {}", "b".repeat(12_000)));
    let many: Vec<_> = (0..90).map(|number| format!("X-{number}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let cases: [&[&str]; 12] = [
        &[UPGRADE, CONNECTION],
        &["upgrade: WebSocket", "connection: UPGRADE"],
        &[UPGRADE, "Connection: keep-alive, Upgrade"],
        &[UPGRADE, "Connection: keep-alive", CONNECTION],
        &[UPGRADE, CONNECTION, "Connection: keep-alive"],
        &["Upgrade: h2c, websocket", CONNECTION],
        &["Upgrade: h2c", UPGRADE, CONNECTION],
        &["Upgrade: ,websocket ,h2c,", "Connection:keep-alive\t,\tupgrade"],
        &[UPGRADE, CONNECTION, "Content-Length: 0"],
        &[UPGRADE, CONNECTION, "Sec-WebSocket-Extensions: permessage-deflate"],
        &[UPGRADE, CONNECTION, &bulk],
        &[&[UPGRADE, CONNECTION], &many[..]].concat(),
    ];
    for mut door in doors(&ListenerOptions::new()).await {
        for lines in cases {
            let request = get(&[lines, &[VERSION, &key]].concat());
            let (answer, _tcp) = door.answer(&request).await;
            let what = format!("{}: {lines:?}: {answer}", door.name);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{what}");
            let lower = answer.to_lowercase();
            let accept = derive_accept_key(KEY.as_bytes());
            assert!(answer.contains(&format!(": {accept}\r\n")), "{what}");
            for line in ["\r\nupgrade: websocket\r\n", "\r\nconnection: upgrade\r\n"] {
                assert!(lower.contains(line), "{what}");
            }
            assert!(!lower.contains("extensions"), "{what}");
            timeout(LIMIT, door.links.recv()).await.unwrap().unwrap();
        }
    }
}

const VERSIONS: &str = "sec-websocket-version: 13\r\n";

/// A status, what the head has besides, and the request.
type Refused = (u16, &'static str, Vec<u8>);

#[tokio::test]
async fn requests_that_are_not_for_a_websocket_are_refused_alike_at_every_listener() {
    let key = &key();
    let asked = |version: &'static str, key: &str| {
        get(&[UPGRADE, CONNECTION, version, &format!("Sec-WebSocket-Key: {key}")])
    };
    let plenty: Vec<_> = (0..300).map(|number| format!("X-{number}: 1")).collect();
    let plenty: Vec<_> = plenty.iter().map(String::as_str).collect();
    let long = format!("X-Long: {}", "l".repeat(17 << 10));
    let cases: Vec<Refused> = vec![
        (426, VERSIONS, get(&[])),
        (426, VERSIONS, get(&[UPGRADE, VERSION, key])),
        (426, VERSIONS, get(&[CONNECTION, VERSION, key])),
        (426, VERSIONS, get(&["Upgrade: h2c", CONNECTION, VERSION, key])),
        (426, VERSIONS, get(&["Upgrade: websockets", CONNECTION, VERSION, key])),
        (426, VERSIONS, get(&[UPGRADE, "Connection: close", VERSION, key])),
        (426, "upgrade: websocket\r\n", get(&[UPGRADE, CONNECTION, key])),
        (426, VERSIONS, asked("Sec-WebSocket-Version: 8", KEY)),
        (426, VERSIONS, asked("Sec-WebSocket-Version: 14", KEY)),
        (426, VERSIONS, asked("Sec-WebSocket-Version: 13, 8", KEY)),
        (426, VERSIONS, asked("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13", KEY)),
        (426, VERSIONS, head("GET / HTTP/1.0", &[UPGRADE, CONNECTION, VERSION, key])),
        (400, "", get(&[UPGRADE, CONNECTION, VERSION])),
        (400, "", get(&[UPGRADE, CONNECTION, VERSION, key, key])),
        (400, "", asked(VERSION, "")),
        (400, "", asked(VERSION, "x")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZQ")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZX==A")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25j")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZTEyMw==")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZ===")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZ_==")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==")),
        (400, "", asked(VERSION, "dGhlIHNhbXBsZSBub25jZ\u{e9}=")),
        (400, "", get(&[UPGRADE, CONNECTION, VERSION, key, "Content-Length: 3"])),
        (411, "", get(&[UPGRADE, CONNECTION, VERSION, key, "Transfer-Encoding: chunked"])),
        (400, "", get(&["no colon"])),
        (400, "", get(&["Space : before the colon"])),
        (400, "", b"\0\r\n\r\n".to_vec()),
        (400, "", b"not HTTP at all\r\n\r\n".to_vec()),
        (405, "allow: get", head("PUT / HTTP/1.1", &["Content-Length: 0"])),
        (405, "allow: get", head("PUT / HTTP/1.1", &[UPGRADE, CONNECTION, VERSION, key])),
        (405, "allow: get", head("HEAD / HTTP/1.1", &[])),
        (431, "", get(&plenty)),
        (431, "", get(&[&long])),
    ];
    for door in doors(&ListenerOptions::new()).await {
        for (status, line, request) in &cases {
            let (answer, _) = door.answer(request).await;
            let what = format!("{}: {}", door.name, String::from_utf8_lossy(request));
            // Whatever version of HTTP the answer has.
            let told = answer.split(' ').nth(1).map(str::to_owned);
            assert_eq!(told, Some(status.to_string()), "{what}{answer:?}");
            assert!(answer.to_lowercase().contains(line), "{what}{answer:?}");
        }
    }
}

/// Frames may come in the packet of the request, and the head in many.
#[tokio::test]
async fn what_comes_right_after_a_request_is_its_frames() {
    let mut bytes = get(&[UPGRADE, CONNECTION, VERSION, &key()]);
    bytes.extend([0x81, 0x85, 0, 0, 0, 0]);
    bytes.extend(b"first");
    for mut door in doors(&ListenerOptions::new()).await {
        for piece in [bytes.len(), 1, 7] {
            let mut tcp = TcpStream::connect(door.address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            for piece in bytes.chunks(piece) {
                tcp.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let (_, mut frames) = timeout(LIMIT, door.links.recv()).await.unwrap().unwrap();
            let frame = timeout(LIMIT, frames.recv()).await.unwrap().unwrap();
            assert_eq!(frame, b"first", "{}", door.name);
        }
    }
}

/// A server that answers a connection so, with the key that is right, and sends a frame at once.
async fn server(answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/path", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = answer.replace("ACCEPT", &derive_accept_key(key.as_bytes()));
        let frame = [&[0x81, 5], &b"first"[..]].concat();
        tcp.write_all(&[answer.as_bytes(), &frame].concat()).await.unwrap();
        // Until the client has gone.
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    });
    url
}

#[tokio::test]
async fn answers_that_grant_a_websocket_are_taken_however_their_lists_are_written() {
    let many: Vec<_> = (0..90).map(|number| format!("X-{number}: 1\r\n")).collect();
    let many = many.concat();
    for lines in [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "upgrade: WebSocket\r\nconnection: UPGRADE\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c, websocket\r\nConnection: upgrade,close\r\n",
        &format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{many}"),
    ] {
        for before in ["", "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"] {
            let answer = format!(
                "{before}HTTP/1.1 101 Switching Protocols\r\n{lines}\
                 Sec-WebSocket-Accept: ACCEPT\r\n\r\n"
            );
            let mut transport = WebSocket::new(&server(&answer).await).unwrap();
            let opened = transport.open(JSON, MAX_FRAME).await;
            let mut link = opened.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
            let frame = timeout(LIMIT, link.receiver.receive(MAX_FRAME)).await.unwrap();
            assert_eq!(frame.unwrap().unwrap(), "first");
        }
    }
}

#[tokio::test]
async fn answers_that_grant_something_else_are_told_of() {
    const BOTH: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let accept = "Sec-WebSocket-Accept: ACCEPT\r\n";
    for (lines, reason) in [
        (format!("Connection: Upgrade\r\n{accept}"), "Upgrade"),
        (format!("Upgrade: websocket\r\n{accept}"), "Connection"),
        (format!("Upgrade: websocket\r\nConnection: keep-alive\r\n{accept}"), "Connection"),
        (format!("Upgrade: websockets\r\nConnection: Upgrade\r\n{accept}"), "Upgrade"),
        (BOTH.to_owned(), "Sec-WebSocket-Accept"),
        (format!("{BOTH}Sec-WebSocket-Accept: AAAA\r\n"), "Sec-WebSocket-Accept"),
        (format!("{BOTH}{accept}{accept}"), "Sec-WebSocket-Accept"),
        (format!("{BOTH}{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
        (format!("{BOTH}{accept}Sec-WebSocket-Protocol: logux.xml\r\n"), "another format"),
    ] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n");
        let mut transport = WebSocket::new(&server(&answer).await).unwrap();
        let error = transport.open(JSON, MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{lines}{error}");
        assert!(error.to_string().contains(reason), "{lines}{error}");
    }
    // One that never ends is not collected.
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\nX: {}", "x".repeat(1 << 20));
    let mut transport = WebSocket::new(&server(&endless).await).unwrap();
    let error = transport.open(JSON, MAX_FRAME).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// The status of an old version of HTTP counts as that of a new one does.
#[tokio::test]
async fn an_old_proxy_is_understood() {
    for (answer, kind) in [
        ("HTTP/1.0 503 Service Unavailable\r\n\r\n", ErrorKind::Other),
        ("HTTP/1.0 404 Not Found\r\n\r\n", ErrorKind::InvalidInput),
        ("HTTP/1.0 101 Switching Protocols\r\n\r\n", ErrorKind::InvalidInput),
    ] {
        let mut transport = WebSocket::new(&server(answer).await).unwrap();
        let error = transport.open(JSON, MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{answer}: {error}");
    }
}

#[tokio::test]
async fn headers_of_the_handshake_itself_are_not_the_users() {
    for name in [
        "Connection",
        "upgrade",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Extensions",
        "content-length",
        "Transfer-Encoding",
    ] {
        let error = WebSocket::new("ws://localhost").unwrap().header(name, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert!(error.to_string().contains("handshake"), "{error}");
    }
}

/// Asks something on a connection that stays open, and waits for the answer.
async fn is_answered(tcp: &mut TcpStream) -> bool {
    let request = b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tcp.write_all(request).await.is_ok() && is_read(tcp).await
}

async fn is_read(tcp: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(LIMIT, tcp.read_u8()).await.unwrap() {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    head.starts_with(b"HTTP/1.1 204 ")
}

#[tokio::test]
async fn connections_in_use_are_not_cut_for_new_ones() {
    let http = HttpListener::bind("127.0.0.1:0").await.unwrap();
    let address = http.local_addr().unwrap();
    let http = http.options(ListenerOptions::new().max_connections(2));
    let _door = Door::open("HttpListener", address, http);
    let mut used = Vec::new();
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut tcp).await);
        used.push(tcp);
    }
    let mut new = Vec::new();
    for _ in 0..8 {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        new.push(tcp);
    }
    for _ in 0..100 {
        for tcp in &mut used {
            assert!(is_answered(tcp).await);
        }
    }
    drop(used);
    for mut tcp in new {
        assert!(is_read(&mut tcp).await);
    }
}

#[tokio::test]
async fn an_address_has_only_so_many_websockets() {
    let options = ListenerOptions::new().max_links_per_address(2);
    let request = get(&[UPGRADE, CONNECTION, VERSION, &key()]);
    for mut door in doors(&options).await {
        let mut links = Vec::new();
        for _ in 0..2 {
            let (answer, tcp) = door.answer(&request).await;
            assert!(answer.starts_with("HTTP/1.1 101 "), "{}: {answer}", door.name);
            let link = timeout(LIMIT, door.links.recv()).await.unwrap().unwrap();
            links.push((tcp, link));
        }
        let (answer, _) = door.answer(&request).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{}: {answer}", door.name);
        assert!(answer.to_lowercase().contains("retry-after: "), "{}: {answer}", door.name);
        // A request that is refused for something else takes no place.
        let (answer, _) = door.answer(&get(&[])).await;
        assert!(answer.starts_with("HTTP/1.1 426 "), "{}: {answer}", door.name);
        let (tcp, (_, mut frames)) = links.pop().unwrap();
        drop(tcp);
        // The link is dropped on the other side, after its last frame.
        assert!(timeout(LIMIT, frames.recv()).await.unwrap().is_none());
        let granted = async {
            loop {
                let (answer, tcp) = door.answer(&request).await;
                if answer.starts_with("HTTP/1.1 101 ") {
                    break tcp;
                }
                assert!(answer.starts_with("HTTP/1.1 429 "), "{}: {answer}", door.name);
            }
        };
        let _tcp = timeout(LIMIT, granted).await.unwrap();
        let (answer, _) = door.answer(&request).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{}: {answer}", door.name);
    }
}

/// A client for which the system has no room dials again after a second, whoever took the room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_burst_of_connections_has_no_client_dial_again() {
    const BURST: usize = 400;

    // The system's own limit may be less.
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = BURST.min(limit.trim().parse().unwrap());
    let websocket = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let http = HttpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [websocket.local_addr().unwrap(), http.local_addr().unwrap()] {
        let mut connections = Vec::new();
        for number in 0..burst {
            let connecting = timeout(LIMIT, TcpStream::connect(address));
            connections
                .push(connecting.await.unwrap_or_else(|_| panic!("{number} waits")).unwrap());
        }
    }
}
