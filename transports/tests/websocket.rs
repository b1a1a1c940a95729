//! The WebSocket transport: what it refuses, what it limits, what it tells.
#![cfg(feature = "websocket")]

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use logux_transports::{
    Format, FrameReceiver, FrameSender, Listener, ListenerOptions, Transport, WebSocket,
    WebSocketLink, WebSocketListener,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

type RawSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const MAX: usize = 1 << 20;

const TEXT: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const BINARY: Format =
    Format { name: "binary", media_type: "application/octet-stream", is_text: |_| false };

async fn listen() -> (WebSocketListener, String) {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/path", listener.local_addr().unwrap());
    (listener, url)
}

/// A peer of tungstenite's own, and our end of the link to it.
async fn accept_raw(
    listener: &mut WebSocketListener,
    format: Format,
) -> (RawSocket, WebSocketLink) {
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let formats = [format];
    let (raw, link) = tokio::join!(connect_async(url), listener.accept(&formats, MAX));
    (raw.unwrap().0, link.unwrap())
}

#[tokio::test]
async fn addresses_that_cannot_be_dialled_are_refused_with_the_reason() {
    for (url, reason) in [
        ("", "does not start with ws://"),
        ("ws://a b", "a character other than"),
        ("ws://", "names no host"),
        ("ws:///path", "names no host"),
        ("127.0.0.1:1", "does not start with ws://"),
        ("http://127.0.0.1", "does not start with ws://"),
        ("https://example.com", "does not start with ws:// or wss://"),
        ("/path", "does not start with ws://"),
    ] {
        let error = WebSocket::new(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
        assert!(error.to_string().contains(reason), "{url}: {error}");
    }
    let transport = WebSocket::new("ws://127.0.0.1").unwrap();
    assert!(transport.clone().header("a b", "c").unwrap_err().to_string().contains("no name"));
    assert!(transport.header("a", "b\r\nc: d").unwrap_err().to_string().contains("does not allow"));
}

#[tokio::test]
async fn where_nobody_listens_the_connection_is_refused() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut transport = WebSocket::new(&format!("ws://{address}")).unwrap();
    assert_eq!(transport.open(TEXT, MAX).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let mut transport = WebSocket::new(&url).unwrap().open_timeout(Duration::from_millis(50));
    assert_eq!(transport.open(TEXT, MAX).await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_server_that_speaks_no_websocket_is_an_error() {
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", http.local_addr().unwrap());
    let answer = tokio::spawn(async move {
        let (mut stream, _) = http.accept().await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    });
    let error = WebSocket::new(&url).unwrap().open(TEXT, MAX).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    drop(answer.await.unwrap());
}

#[tokio::test]
async fn the_listener_tells_who_connects() {
    let (listener, url) = listen().await;
    let nobody: [&str; 0] = [];
    let mut listener = listener.options(ListenerOptions::new().origins(nobody));
    let mut transport = WebSocket::new(&url)
        .unwrap()
        .header("cookie", "session=1")
        .unwrap()
        .header("x", "y")
        .unwrap();
    let (near, far) = tokio::join!(transport.open(TEXT, MAX), listener.accept(&[TEXT], MAX));
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(far.info.headers["cookie"], "session=1");
    assert_eq!(far.info.headers["x"], "y");
    assert!(far.info.address.unwrap().ip().is_loopback());
    assert_eq!(near.info.address, Some(listener.local_addr().unwrap()));
}

#[tokio::test]
async fn an_ipv6_address_can_be_dialled() {
    // Not every machine has one.
    let Ok(mut listener) = WebSocketListener::bind("[::1]:0").await else { return };
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut transport = WebSocket::new(&url).unwrap();
    let (near, far) = tokio::join!(transport.open(TEXT, MAX), listener.accept(&[TEXT], MAX));
    assert!(near.is_ok() && far.is_ok());
}

#[tokio::test]
async fn text_is_sent_as_text_and_the_rest_as_binary() {
    let (mut listener, _) = listen().await;
    for (format, text) in [(TEXT, true), (BINARY, false)] {
        let (mut raw, mut link) = accept_raw(&mut listener, format).await;
        link.sender.send("hello".into()).await.unwrap();
        link.sender.flush().await.unwrap();
        let message = raw.next().await.unwrap().unwrap();
        assert_eq!((message.is_text(), message.into_data()), (text, "hello".into()));
        // Either is taken, as JavaScript servers do; pings are answered, and not seen.
        raw.send(Message::Ping("p".into())).await.unwrap();
        raw.send(Message::binary("b")).await.unwrap();
        raw.send(Message::text("t")).await.unwrap();
        assert_eq!(link.receiver.receive(MAX).await.unwrap().unwrap(), "b");
        assert_eq!(link.receiver.receive(MAX).await.unwrap().unwrap(), "t");
        link.sender.flush().await.unwrap();
        assert_eq!(raw.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    }
    let (_raw, mut link) = accept_raw(&mut listener, TEXT).await;
    let error = link.sender.send(vec![0xff].into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_frame_above_the_limit_is_the_peers_fault() {
    let (mut listener, _) = listen().await;
    let (mut raw, mut link) = accept_raw(&mut listener, TEXT).await;
    raw.send(Message::text("a".repeat(1000))).await.unwrap();
    assert_eq!(link.receiver.receive(1000).await.unwrap().unwrap().len(), 1000);
    raw.send(Message::text("a".repeat(1001))).await.unwrap();
    assert_eq!(link.receiver.receive(1000).await.unwrap_err().kind(), ErrorKind::InvalidData);
    // There is still a way to say so.
    link.sender.send("too long".into()).await.unwrap();
    link.sender.flush().await.unwrap();
    assert_eq!(raw.next().await.unwrap().unwrap(), Message::text("too long"));
    drop(accept_raw(&mut listener, TEXT).await);
}

/// The bytes of a connection after its handshake, as a test writes them.
async fn accept_bytes(listener: &mut WebSocketListener) -> (TcpStream, WebSocketLink) {
    let address = listener.local_addr().unwrap();
    let open = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        stream
    };
    let (stream, link) = tokio::join!(open, listener.accept(&[TEXT], MAX));
    (stream, link.unwrap())
}

#[tokio::test]
async fn frames_that_break_the_rules_are_the_peers_fault() {
    let (mut listener, _) = listen().await;
    for (what, bytes) in [
        ("not masked", &[0x81, 0x01, b'a'][..]),
        ("text that is no UTF-8", &[0x81, 0x81, 0, 0, 0, 0, 0xff]),
        ("an unknown type", &[0x83, 0x80, 0, 0, 0, 0]),
        ("reserved bits", &[0xf1, 0x80, 0, 0, 0, 0]),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
        (
            "a length above all limits",
            &[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ] {
        let (mut stream, mut link) = accept_bytes(&mut listener).await;
        stream.write_all(bytes).await.unwrap();
        let error = link.receiver.receive(MAX).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_before_it_is_collected() {
    let (mut listener, _) = listen().await;
    let (mut stream, mut link) = accept_bytes(&mut listener).await;
    // 512 KiB are promised, which the link may take later, but not now.
    let mut bytes = vec![0x82, 0xff, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0];
    bytes.resize(64 << 10, 0);
    stream.write_all(&bytes).await.unwrap();
    let error = link.receiver.receive(1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[tokio::test]
async fn a_frame_in_pieces_without_end_is_refused() {
    let (mut listener, _) = listen().await;
    let (mut stream, mut link) = accept_bytes(&mut listener).await;
    let empty_pieces =
        [&[0x02, 0x80, 0, 0, 0, 0][..], &[0, 0x80, 0, 0, 0, 0].repeat(10_000)].concat();
    stream.write_all(&empty_pieces).await.unwrap();
    // Calls that are dropped do not give the peer more.
    for _ in 0..100 {
        let receive = tokio::time::timeout(Duration::ZERO, link.receiver.receive(1000)).await;
        if let Ok(received) = receive {
            assert_eq!(received.unwrap_err().kind(), ErrorKind::InvalidData);
            return;
        }
    }
    let error = link.receiver.receive(1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[tokio::test]
async fn a_link_takes_any_number_of_frames_and_of_pings_in_between() {
    let (mut listener, _) = listen().await;
    let (mut stream, mut link) = accept_bytes(&mut listener).await;
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let frame = [0x82, 0x81, 0, 0, 0, 0, b'a'];
    let bytes = [ping.repeat(10_000), frame.repeat(10_000)].concat();
    let write = async {
        stream.write_all(&bytes).await.unwrap();
        stream
    };
    let read = async {
        for _ in 0..10_000 {
            assert_eq!(link.receiver.receive(10).await.unwrap().unwrap(), "a");
        }
    };
    tokio::join!(write, read);
}

const XML: Format = Format { name: "xml", media_type: "application/xml", is_text: |_| true };

/// The subprotocols that a peer asks for, and what it is answered.
async fn ask(
    formats: &[Format],
    subprotocols: &[&str],
) -> (Option<&'static str>, Result<Option<String>, String>) {
    let (mut listener, url) = listen().await;
    let mut request = url.into_client_request().unwrap();
    for subprotocol in subprotocols {
        let name = HeaderValue::from_str(subprotocol).unwrap();
        request.headers_mut().append("sec-websocket-protocol", name);
    }
    let formats: Vec<Format> = formats.to_vec();
    let accepting =
        tokio::spawn(async move { listener.accept(&formats, MAX).await.unwrap().info.format });
    match connect_async(request).await {
        Ok((_, answer)) => {
            let named = answer.headers().get("sec-websocket-protocol");
            let named = named.map(|name| name.to_str().unwrap().to_owned());
            (accepting.await.unwrap(), Ok(named))
        }
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            accepting.abort();
            assert_eq!(answer.status(), 400);
            let text = answer.body().clone().unwrap_or_default();
            (None, Err(String::from_utf8(text).unwrap().trim_end().to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_peer_names_its_format_and_who_names_none_has_json() {
    let all = [XML, BINARY, TEXT];
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(ask(&all, &[]).await, (Some("json"), Ok(None)));
    assert_eq!(ask(&[XML, BINARY], &[]).await, (Some("xml"), Ok(None)));
    assert_eq!(ask(&all, &["logux.binary"]).await, (Some("binary"), named("logux.binary")));
    assert_eq!(ask(&all, &["logux.json"]).await, (Some("json"), named("logux.json")));
    let several = ask(&all, &["chat, logux.new, logux.xml,logux.binary"]).await;
    assert_eq!(several, (Some("xml"), named("logux.xml")), "the first that is known");
    let (format, refusal) = ask(&all, &["logux.new"]).await;
    assert_eq!(format, None);
    assert_eq!(
        refusal.unwrap_err(),
        "the subprotocols here are logux.xml, logux.binary, logux.json"
    );
}

#[tokio::test]
async fn a_server_that_does_not_take_the_format_is_an_error() {
    let (mut listener, url) = listen().await;
    let accepting = tokio::spawn(async move { listener.accept(&[TEXT], MAX).await.map(drop) });
    let error = WebSocket::new(&url).unwrap().open(XML, MAX).await.unwrap_err();
    let reason = r#"the server answers 400 Bad Request: "the subprotocols here are logux.json"; "#;
    assert!(error.to_string().starts_with(reason), "{error}");
    accepting.abort();

    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", server.local_addr().unwrap());
    let accept = async { accept_async(server.accept().await.unwrap().0).await.map(drop) };
    let mut transport = WebSocket::new(&url).unwrap();
    let (link, _) = tokio::join!(transport.open(XML, MAX), accept);
    let error = link.unwrap_err().to_string();
    assert!(error.starts_with("the server does not say that it takes the format xml; "), "{error}");
}

#[tokio::test]
async fn a_websocket_goes_over_any_byte_stream() {
    logux_transports::conformance::link(async |format| {
        let (near, far) = tokio::io::duplex(64 << 10);
        let transport = WebSocket::new("ws://localhost/").unwrap();
        let formats = [format];
        let (near, far) = tokio::join!(
            transport.open_over(near, format, MAX),
            WebSocketListener::accept_over(far, &formats, MAX),
        );
        (near.unwrap(), far.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_frame_gives_no_part_of_it() {
    let (mut listener, _) = listen().await;
    let frame = [0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    for length in 0..=frame.len() {
        let (mut stream, mut link) = accept_bytes(&mut listener).await;
        stream.write_all(&frame[..length]).await.unwrap();
        drop(stream);
        if length == frame.len() {
            assert_eq!(link.receiver.receive(MAX).await.unwrap().unwrap(), "hello");
        }
        let end = link.receiver.receive(MAX).await;
        assert!(!matches!(end, Ok(Some(_))), "{length} bytes: {end:?}");
    }
}

#[tokio::test]
async fn who_is_slow_to_open_holds_up_nobody_and_is_cut() {
    let (listener, url) = listen().await;
    let options =
        ListenerOptions::new().handshake_timeout(Duration::from_millis(500)).max_handshakes(4);
    let mut listener = listener.options(options);
    let address = listener.local_addr().unwrap();
    let mut slow = Vec::new();
    for beginning in ["", "G", "GET / HTTP/1.1\r\n", "no HTTP at all\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // All places are taken until the time of the slow ones is over: they have just come.
    let mut transport = WebSocket::new(&url).unwrap();
    let opening = async {
        while transport.open(TEXT, MAX).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (accepted, ()) = tokio::join!(listener.accept(&[TEXT], MAX), opening);
    assert!(accepted.is_ok());
    let accepting = tokio::spawn(async move { listener.accept(&[TEXT], MAX).await.map(drop) });
    for mut stream in slow {
        // Cut, with or without an answer.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    accepting.abort();
}

#[tokio::test]
async fn what_is_no_websocket_is_cut_and_nobody_else_is_held_up() {
    let (listener, _) = listen().await;
    let options = ListenerOptions::new().handshake_timeout(Duration::from_secs(60 * 60));
    let mut listener = listener.options(options);
    let address = listener.local_addr().unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"G").await.unwrap();
    let cut = async {
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            // With an answer or without one.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    let accepting = tokio::spawn(async move {
        let link = listener.accept(&[TEXT], MAX).await.unwrap();
        (listener, link)
    });
    cut.await;
    let (raw, _) = connect_async(format!("ws://{address}")).await.unwrap();
    let (_listener, link) = accepting.await.unwrap();
    drop((silent, raw, link));
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_without_end_is_cut() {
    let (listener, _) = listen().await;
    let options = ListenerOptions::new().handshake_timeout(Duration::from_secs(60 * 60));
    let mut listener = listener.options(options);
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let accepting = tokio::spawn(async move { listener.accept(&[TEXT], MAX).await.map(drop) });
    stream.write_all(b"GET / HTTP/1.1\r\na: ").await.unwrap();
    while stream.write_all(b"a").await.is_ok() {
        tokio::task::yield_now().await;
    }
    accepting.abort();
}

#[tokio::test]
async fn a_server_that_breaks_the_rules_or_off_gives_no_part_of_a_frame() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", server.local_addr().unwrap());
    let mut transport = WebSocket::new(&url).unwrap();
    for (bytes, expected) in [
        (&[][..], None),
        (&[0x81], None),
        (&[0x81, 5, b'h', b'e', b'l', b'l'], None),
        (&[0x01, 3, b'h', b'e', b'l', 0x80, 2, b'l'], None),
        (&[0x81, 6, b'h', b'e', b'l', b'l', b'o', b'!'], Some(ErrorKind::InvalidData)),
        (&[0x81, 1, 0xff], Some(ErrorKind::InvalidData)),
    ] {
        let accept = async {
            let (stream, _) = server.accept().await.unwrap();
            let mut stream = accept_async(stream).await.unwrap().into_inner();
            stream.write_all(bytes).await.unwrap();
        };
        let (link, ()) = tokio::join!(transport.open(TEXT, MAX), accept);
        match (link.unwrap().receiver.receive(5).await, expected) {
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{bytes:x?}: {error}"),
            (end, None) => assert!(!matches!(end, Ok(Some(_))), "{bytes:x?}: {end:?}"),
            (end, Some(_)) => panic!("{bytes:x?}: {end:?}"),
        }
    }
}

#[tokio::test]
async fn origins_are_compared_whole() {
    let (listener, _) = listen().await;
    let origins = ["https://example.com", "https://example.com:8443"];
    let mut listener = listener.options(ListenerOptions::new().origins(origins));
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let accepting =
        tokio::spawn(async move { while listener.accept(&[TEXT], MAX).await.is_ok() {} });
    for (origins, allowed) in [
        (&[][..], true),
        (&["https://example.com"], true),
        (&["https://example.com:8443"], true),
        (&["https://example.com:9000"], false),
        (&["http://example.com"], false),
        (&["https://EXAMPLE.com"], false),
        (&["https://evil-example.com"], false),
        (&["https://example.com.evil"], false),
        (&["null"], false),
        (&[""], false),
        (&["https://example.com", "https://evil.com"], false),
        (&["https://example.com", "https://example.com"], false),
        (&["https://example.com\u{e9}"], false),
    ] {
        let mut request = url.as_str().into_client_request().unwrap();
        for origin in origins {
            // Any bytes: not all that comes is text.
            let origin = HeaderValue::from_bytes(origin.as_bytes()).unwrap();
            request.headers_mut().append("origin", origin);
        }
        let answer = connect_async(request).await;
        match answer {
            Ok(_) => assert!(allowed, "{origins:?} may connect"),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert!(!allowed, "{origins:?} may not connect");
                assert_eq!(response.status(), 403);
            }
            Err(error) => panic!("{origins:?}: {error}"),
        }
    }
    accepting.abort();
}
