//! The client's side of long-poll, against servers that answer what they should not.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpClient, LongPoll, LongPollLink, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

type Answer = io::Result<Response<Bytes>>;

/// What answers the requests of a session.
trait Script: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static {}
impl<S: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static> Script for S {}

/// A server that opens a session as it should, and then does as its script says, each time after
/// a moment.
struct Scripted<S> {
    script: Arc<S>,
    delay: Duration,
    max_body: usize,
    /// All requests of the session.
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl<S> Clone for Scripted<S> {
    fn clone(&self) -> Self {
        let Self { script, delay, max_body, requests } = self;
        let (script, requests) = (Arc::clone(script), Arc::clone(requests));
        Self { script, delay: *delay, max_body: *max_body, requests }
    }
}

impl<S: Script> HttpClient for Scripted<S> {
    async fn request(&mut self, request: Request<Bytes>, _: usize) -> Answer {
        if !request.headers().contains_key("logux-session") {
            let created = Response::builder()
                .header("logux-session", "id")
                .header("logux-version", "2")
                .header("logux-wait", "25000")
                .header("logux-inactivity", "30000")
                .header("logux-max-body", self.max_body);
            return Ok(created.body(Bytes::new()).unwrap());
        }
        self.requests.lock().unwrap().push(request.clone());
        sleep(self.delay).await;
        (self.script)(&request)
    }
}

fn scripted<S: Script>(delay: Duration, script: S) -> Scripted<S> {
    Scripted { script: Arc::new(script), delay, max_body: 65536, requests: Arc::default() }
}

async fn open<S: Script>(server: &Scripted<S>) -> LongPollLink<Scripted<S>> {
    LongPoll::over("http://localhost/", server.clone())
        .unwrap()
        .open(FORMAT, MAX_FRAME)
        .await
        .unwrap()
}

fn answer(headers: &[(&str, &str)], body: &'static [u8]) -> Response<Bytes> {
    let mut response = Response::builder();
    for &(name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Bytes::from_static(body)).unwrap()
}

fn status(code: u16, reason: &'static str) -> Response<Bytes> {
    Response::builder().status(code).body(Bytes::from_static(reason.as_bytes())).unwrap()
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_protocol_is_left_with_the_reason() {
    type Case = (&'static [(&'static str, &'static str)], &'static [u8], &'static str);
    const NAME: &str = "logux-answer";
    const FORM: &str = "logux-answer is needed once, in the form <state> <ack> [<first>]";
    const A: &[u8] = b"\0\0\0\x01a";
    let cases: [Case; 10] = [
        (&[], b"", FORM),
        (&[(NAME, "OPEN 0")], b"", FORM),
        (&[(NAME, "open")], b"", FORM),
        (&[(NAME, "open 0"), (NAME, "open 0")], b"", FORM),
        (&[(NAME, "open 0 -1")], A, FORM),
        (&[(NAME, "open 0")], A, "does not number"),
        (&[(NAME, "open 0 2")], A, "left out a frame"),
        (&[(NAME, "closed 0 2")], b"", "left out a frame"),
        (&[(NAME, "open 0 1")], b"\0\0\0\x02a", "no row of frames"),
        (&[(NAME, "open 0 1")], b"\0\0\0", "no row of frames"),
    ];
    for (headers, body, reason) in cases {
        let server = scripted(MOMENT, move |_| Ok(answer(headers, body)));
        let error = open(&server).await.receiver.receive(MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains(reason), "{headers:?} {body:?}: {error}");
    }
    for (headers, reason) in
        [(&[][..], FORM), (&[(NAME, "open x")], FORM), (&[(NAME, "open 2")], "never sent")]
    {
        let server = scripted(MOMENT, move |_| Ok(answer(headers, b"")));
        let mut sender = open(&server).await.sender;
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        let error = sender.flush().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains(reason), "{headers:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_of_a_session_has_its_numbers_in_one_header() {
    let server = scripted(MOMENT, |request| {
        let (told, body): (_, &[u8]) = match numbers(request) {
            ("logux-poll", "1 0 25000") => ("open 0 1", b"\0\0\0\x01a"),
            ("logux-send", "2 1") => ("closed 1", b""),
            ("logux-send", _) => ("closed 2", b""),
            _ => ("closed 0 2", b""),
        };
        Ok(answer(&[("logux-answer", told)], body))
    });
    let mut link = open(&server).await;
    assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap().unwrap(), "a");
    assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap(), None);
    link.sender.send(Bytes::from_static(b"b")).await.unwrap();
    link.sender.flush().await.unwrap();
    link.sender.close().await.unwrap();
    let requests = server.requests.lock().unwrap();
    let polls = ["1 0 25000", "2 1 25000"].map(|numbers| ("logux-poll", numbers));
    let sends = ["2", "2 1", "2 2 end"].map(|numbers| ("logux-send", numbers));
    assert_eq!(requests.iter().map(numbers).collect::<Vec<_>>(), [&polls[..], &sends].concat());
}

/// The one header that a request of a session has besides those that all have.
fn numbers(request: &Request<Bytes>) -> (&str, &str) {
    let always = ["content-type", "logux-session"];
    let mut headers = request.headers().iter();
    let (name, value) = headers.find(|(name, _)| !always.contains(&name.as_str())).unwrap();
    assert_eq!(request.headers().len(), 3, "{request:?}");
    (name.as_str(), value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_will_not_pass_ends_the_link_with_its_reason() {
    let cases = [
        (400, io::ErrorKind::Other),
        (401, io::ErrorKind::PermissionDenied),
        (403, io::ErrorKind::PermissionDenied),
        (404, io::ErrorKind::ConnectionReset),
        (415, io::ErrorKind::Unsupported),
        (500, io::ErrorKind::Other),
    ];
    for (code, kind) in cases {
        let server = scripted(MOMENT, move |_| Ok(status(code, "because\u{1b}[2J of this")));
        let error = open(&server).await.receiver.receive(MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        let text = error.to_string();
        assert!(text.contains(&code.to_string()) && text.contains("of this"), "{text}");
        assert!(!text.contains('\u{1b}'), "a terminal would do as it says: {text:?}");
        assert_eq!(server.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_is_tried_again_until_the_session_is_forgotten() {
    // 413 to a poll, which has no body, is of something on the way.
    for code in [408, 413, 421, 425, 429, 502, 503, 504] {
        let server = scripted(MOMENT, move |_| Ok(status(code, "")));
        let start = Instant::now();
        let error = open(&server).await.receiver.receive(MAX_FRAME).await.unwrap_err();
        assert!(error.to_string().contains(&code.to_string()), "{error}");
        let waited = start.elapsed().as_secs();
        assert!((30..40).contains(&waited), "{code}: gave up after {waited} s");
        // At once, then less and less often.
        let requests = server.requests.lock().unwrap();
        assert!((8..16).contains(&requests.len()), "{code}: {} requests", requests.len());
    }
}

/// As by a proxy that takes no long bodies.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_sent_in_parts() {
    let server = scripted(MOMENT, |request| {
        Ok(if request.body().len() > 100 { status(413, "") } else { taking(request) })
    });
    let mut sender = open(&server).await.sender;
    for _ in 0..100 {
        sender.send(Bytes::from_static(b"0123456789")).await.unwrap();
    }
    sender.flush().await.unwrap();
    let requests = server.requests.lock().unwrap();
    let taken = requests.iter().filter(|request| request.body().len() <= 100);
    assert_eq!(taken.flat_map(frames).count(), 100, "each frame is taken once");
    let refused = requests.len() - requests.iter().filter(|all| all.body().len() <= 100).count();
    assert!(refused < 8, "{refused} bodies were refused");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_refused_for_its_length_is_sent_again_for_it_has_none() {
    let start = Instant::now();
    let server = scripted(MOMENT, move |request| {
        assert!(request.body().is_empty(), "the end has a body");
        let passes = start.elapsed() > Duration::from_secs(5);
        Ok(if passes { answer(&[("logux-answer", "open 1")], b"") } else { status(413, "") })
    });
    open(&server).await.sender.close().await.unwrap();
    assert!(server.requests.lock().unwrap().len() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_holds_no_poll_is_not_asked_without_a_pause() {
    let server = scripted(Duration::ZERO, |_| Ok(answer(&[("logux-answer", "open 0")], b"")));
    let mut receiver = open(&server).await.receiver;
    assert!(timeout(Duration::from_secs(10), receiver.receive(MAX_FRAME)).await.is_err());
    let requests = server.requests.lock().unwrap();
    assert!((50..=101).contains(&requests.len()), "{} requests", requests.len());
}

#[tokio::test(start_paused = true)]
async fn the_end_is_acknowledged_without_a_pause() {
    let closed = |_: &Request<Bytes>| Ok(answer(&[("logux-answer", "closed 0 1")], b""));
    let server = scripted(MOMENT, closed);
    let mut receiver = open(&server).await.receiver;
    let start = Instant::now();
    assert_eq!(receiver.receive(MAX_FRAME).await.unwrap(), None);
    assert_eq!(start.elapsed(), 2 * MOMENT, "a poll, and the acknowledgement");
}

#[tokio::test(start_paused = true)]
async fn where_polls_break_it_asks_for_less_time() {
    // As something on the way that ends what is silent for eight seconds.
    let delay = Duration::from_secs(8);
    let server = scripted(delay, |request| match wait(request) {
        ..8000 => Ok(answer(&[("logux-answer", "open 0")], b"")),
        _ => Err(io::ErrorKind::ConnectionReset.into()),
    });
    let mut receiver = open(&server).await.receiver;
    let received = timeout(Duration::from_secs(10 * 60), receiver.receive(MAX_FRAME)).await;
    assert!(received.is_err(), "the link ended: {received:?}");
    let requests = server.requests.lock().unwrap();
    let mut waits: Vec<_> = requests.iter().map(wait).collect();
    waits.dedup();
    assert_eq!(waits, [25000, 12500, 6250]);
}

/// How long a poll asks to be held.
fn wait(poll: &Request<Bytes>) -> u64 {
    let words: Vec<_> = poll.headers()["logux-poll"].to_str().unwrap().split(' ').collect();
    let [_, _, wait] = *words else { panic!("{words:?}") };
    wait.parse().unwrap()
}

/// The page of a proxy may be longer than any frame, and may have no end.
#[tokio::test]
async fn the_status_of_a_refusal_counts_and_not_its_length() {
    for (status, kind, text) in [
        ("502 Bad Gateway", io::ErrorKind::Other, "502 Bad Gateway"),
        ("503 Service Unavailable", io::ErrorKind::Other, "503 Service Unavailable"),
        ("403 Forbidden", io::ErrorKind::PermissionDenied, "403 Forbidden"),
        ("404 Not Found", io::ErrorKind::InvalidInput, "404 Not Found: \"xxx"),
    ] {
        let (url, server) = endless(status).await;
        let error = LongPoll::new(&url).unwrap().open(FORMAT, 1000).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains(text), "{error}");
        let sent = server.await.unwrap();
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_collected() {
    let (url, server) = endless("200 OK").await;
    let error = LongPoll::new(&url).unwrap().open(FORMAT, MAX_FRAME).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("more than"), "{error}");
    let sent = server.await.unwrap();
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

/// A server whose answer has no end, and how much of it was taken.
async fn endless(status: &'static str) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        let head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n", &vec![b'x'; 0x1_0000][..], b"\r\n"].concat();
        let mut sent = 0;
        // Until it is cut.
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    (url, server)
}

/// As proxies on the way may write it.
#[tokio::test]
async fn a_session_is_opened_however_the_answer_is_written() {
    const SESSION: &str = "logux-session: id\r\nlogux-version: 2\r\nlogux-wait: 25000\r\n\
        logux-inactivity: 30000\r\nlogux-max-body: 65536\r\n";
    for (before, after) in [
        ("HTTP/1.1 200 OK\r\n", "content-length: 0\r\n\r\n"),
        ("HTTP/1.1 200\r\nServer: a\r\nServer: b\r\n", "Content-Length: 0\r\n\r\n"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", "content-length: 0\r\n\r\n"),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\n",
            "content-length: 0\r\n\r\n",
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", "\r\n0\r\nx: y\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n", "\r\n0;a=b\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n", "\r\n"),
        ("HTTP/1.1 200 OK\r\nconnection: x\r\nconnection: y, close\r\n", "\r\n"),
        ("HTTP/1.0 200 OK\r\n", "\r\n"),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", "content-length: 0\r\n\r\n"),
    ] {
        let answer = format!("{before}{SESSION}{after}");
        let url = saying(answer.clone(), true).await;
        let opened = LongPoll::new(&url).unwrap().open(FORMAT, MAX_FRAME).await;
        assert!(opened.is_ok(), "{answer}: {opened:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_refusal_counts_though_its_body_is_cut_or_never_comes() {
    for ends in [true, false] {
        for (body, shown) in
            [("content-length: 100\r\n\r\n", ""), ("content-length: 9\r\n\r\nwhy", "why")]
        {
            let url = saying(format!("HTTP/1.1 403 Forbidden\r\n{body}"), ends).await;
            let error = LongPoll::new(&url).unwrap().open(FORMAT, MAX_FRAME).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{ends}: {error}");
            assert!(error.to_string().contains(shown), "{error}");
        }
    }
}

/// The address of a server that says this, whatever it is asked, and then maybe that it ends.
async fn saying(answer: String, ends: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        if ends {
            stream.shutdown().await.unwrap();
        }
        // A connection that is closed with something unread is reset, and the answer with it.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    url
}

/// How many frames are in a request.
fn frames(request: &Request<Bytes>) -> Vec<usize> {
    let mut body = request.body().clone();
    let mut lengths = Vec::new();
    while !body.is_empty() {
        let length = body.get_u32() as usize;
        body.advance(length);
        lengths.push(length);
    }
    lengths
}

/// A server that takes all that it is sent.
fn taking(request: &Request<Bytes>) -> Response<Bytes> {
    let send = request.headers()["logux-send"].to_str().unwrap();
    let first: usize = send.split(' ').nth(1).unwrap().parse().unwrap();
    let ack = first + frames(request).len() - 1;
    answer(&[("logux-answer", &format!("open {ack}"))], b"")
}

#[tokio::test(start_paused = true)]
async fn only_a_frame_that_is_longer_alone_makes_a_body_longer_than_nginx_takes() {
    const MIB: usize = 1 << 20;
    const KIB: usize = 1 << 10;
    // As long as events of 256 KiB are in JSON, in MessagePack and in XML; and the lengths at which
    // one byte more or less counts.
    let lengths = [
        0,
        1,
        64 * KIB - 4,
        64 * KIB,
        128 * KIB - 4,
        128 * KIB - 3,
        128 * KIB,
        256 * KIB - 5,
        256 * KIB - 4,
        256 * KIB - 3,
        257 * KIB,
        771 * KIB,
        MIB - 5,
        MIB - 4,
        MIB - 3,
        MIB,
        2300 * KIB,
    ];
    let sent: Vec<usize> =
        lengths.iter().flat_map(|&a| lengths.map(|b| [a, b])).flatten().collect();
    let mut server = scripted(Duration::ZERO, |request| Ok(taking(request)));
    server.max_body = 16 * MIB;
    let mut sender = open(&server).await.sender;
    for &length in &sent {
        sender.send(vec![0; length].into()).await.unwrap();
    }
    sender.flush().await.unwrap();
    let requests = server.requests.lock().unwrap();
    for request in &*requests {
        let (bytes, lengths) = (request.body().len(), frames(request));
        assert!(bytes <= MIB || lengths.len() == 1, "{bytes} bytes with frames of {lengths:?}");
    }
    let arrived: Vec<usize> = requests.iter().flat_map(frames).collect();
    assert_eq!(arrived, sent);
    assert!(requests.len() < sent.len(), "frames share no bodies");
}
