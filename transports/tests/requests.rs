//! The server's side of long-poll, request by request, as `LONG_POLL.md` has it. The names of the
//! modules are its sections.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpListener, HttpService, Link, Listener, ListenerOptions,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tower_service::Service;

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const OTHER: Format = Format { name: "other", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(25);
const MEDIA_TYPE: (&str, &str) = ("content-type", "application/vnd.logux.batch+kit");
const NONCE: (&str, &str) = ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA");
const VERSION: (&str, &str) = ("logux-version", "2");

type Headers<'a> = &'a [(&'a str, &'a str)];
type ServerLink = Link<<HttpListener as Listener>::Sender, <HttpListener as Listener>::Receiver>;

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The state, the number of the first frame, and the frames.
    fn told(&self) -> (&str, &str, Vec<&str>) {
        assert_eq!(self.status, 200, "{self:?}");
        let [state, _, first] = self.words();
        (state, first, unpack(&self.body))
    }

    fn ack(&self) -> &str {
        assert_eq!(self.status, 200, "{self:?}");
        self.words()[1]
    }

    /// The state, the acknowledgement, and the number of the first frame if there is one.
    fn words(&self) -> [&str; 3] {
        let words: Vec<_> = self.header("logux-answer").split(' ').collect();
        match *words {
            [state, ack] => [state, ack, ""],
            [state, ack, first] => [state, ack, first],
            _ => panic!("{self:?}"),
        }
    }
}

fn pack(frames: &[&str]) -> Bytes {
    let mut body = Vec::new();
    for frame in frames {
        body.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
        body.extend(frame.as_bytes());
    }
    body.into()
}

fn unpack(mut body: &[u8]) -> Vec<&str> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(std::str::from_utf8(frame).unwrap());
        body = rest;
    }
    frames
}

async fn call(
    service: HttpService,
    method: Method,
    headers: Vec<(String, String)>,
    body: Bytes,
) -> Answer {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut service = service;
    let Ok(response): Result<Response<_>, _> =
        service.call(request.body(Full::new(body)).unwrap()).await;
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() }
}

fn owned(headers: Headers<'_>) -> Vec<(String, String)> {
    headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A server, and a session of it.
struct Server {
    service: HttpService,
    listener: HttpListener,
}

impl Server {
    fn new() -> Self {
        let (service, listener) = HttpListener::mounted();
        let listener = listener.options(ListenerOptions::new().wait(WAIT));
        Self { service, listener }
    }

    /// Posts to a server that takes sessions, and gives the link that comes of it.
    async fn create(&mut self, headers: Headers<'_>) -> (Answer, Option<ServerLink>) {
        let calling = call(self.service.clone(), Method::POST, owned(headers), Bytes::new());
        let mut calling = std::pin::pin!(calling);
        let formats = [FORMAT, OTHER];
        let accepting = self.listener.accept(&formats, MAX_FRAME);
        let mut accepting = std::pin::pin!(accepting);
        tokio::select! {
            biased;
            link = &mut accepting => (calling.await, Some(link.unwrap())),
            answer = &mut calling => {
                let link = timeout(Duration::ZERO, accepting).await;
                (answer, link.ok().map(Result::unwrap))
            }
        }
    }

    async fn session(&mut self) -> (Session, ServerLink) {
        let (answer, link) = self.create(&[MEDIA_TYPE, VERSION, NONCE]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.header("logux-session").to_owned();
        (Session { service: self.service.clone(), id }, link.unwrap())
    }
}

/// What a client knows of a session.
#[derive(Clone)]
struct Session {
    service: HttpService,
    id: String,
}

impl Session {
    async fn post(&self, headers: Headers<'_>, body: Bytes) -> Answer {
        let mut all = owned(&[MEDIA_TYPE, ("logux-session", &self.id)]);
        all.extend(owned(headers));
        call(self.service.clone(), Method::POST, all, body).await
    }

    async fn send(&self, first: &str, frames: &[&str]) -> Answer {
        self.post(&[("logux-send", &format!("0 {first}"))], pack(frames)).await
    }

    async fn poll(&self, number: &str, ack: &str) -> Answer {
        self.post(&[("logux-poll", &format!("{number} {ack}"))], Bytes::new()).await
    }

    /// A poll that is held.
    async fn held(&self, number: &'static str, ack: &'static str) -> JoinHandle<Answer> {
        let session = self.clone();
        let poll = tokio::spawn(async move { session.poll(number, ack).await });
        tokio::task::yield_now().await;
        assert!(!poll.is_finished());
        poll
    }
}

/// What there is to be received now.
async fn received(receiver: &mut impl FrameReceiver) -> Vec<String> {
    let mut frames = Vec::new();
    while let Ok(Ok(Some(frame))) = timeout(Duration::ZERO, receiver.receive(MAX_FRAME)).await {
        frames.push(String::from_utf8(frame.to_vec()).unwrap());
    }
    frames
}

async fn fill(sender: &mut impl FrameSender, frames: &[&'static str]) {
    for frame in frames {
        sender.send(Bytes::from_static(frame.as_bytes())).await.unwrap();
    }
    sender.flush().await.unwrap();
}

mod section_1_frames_have_numbers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_repeated_is_taken_once_and_what_comes_after_a_gap_not_at_all() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        assert_eq!(session.send("1", &["a", "b"]).await.ack(), "2");
        assert_eq!(received(&mut link.receiver).await, ["a", "b"]);
        assert_eq!(session.send("1", &["a", "b"]).await.ack(), "2");
        assert_eq!(session.send("2", &["b", "c"]).await.ack(), "3");
        assert_eq!(received(&mut link.receiver).await, ["c"]);
        assert_eq!(session.send("5", &["e"]).await.ack(), "3");
        // There is no frame before the first.
        assert_eq!(session.send("0", &["x"]).await.status, 400);
        assert_eq!(session.send("9007199254740991", &["y", "z"]).await.ack(), "3");
        assert_eq!(received(&mut link.receiver).await, [""; 0]);
        assert_eq!(session.send("4", &["d", "e"]).await.ack(), "5");
        assert_eq!(received(&mut link.receiver).await, ["d", "e"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_never_goes_back() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        fill(&mut link.sender, &["a", "b", "c"]).await;
        assert_eq!(session.poll("1", "0").await.told(), ("open", "1", vec!["a", "b", "c"]));
        assert_eq!(session.poll("2", "2").await.told(), ("open", "3", vec!["c"]));
        assert_eq!(session.poll("3", "1").await.told(), ("open", "3", vec!["c"]));
        assert_eq!(session.poll("4", "3").await.told(), ("open", "", vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_of_what_was_never_sent_ends_the_session() {
        for by_poll in [true, false] {
            let mut server = Server::new();
            let (session, mut link) = server.session().await;
            fill(&mut link.sender, &["a"]).await;
            let answer = if by_poll {
                session.poll("1", "2").await
            } else {
                session.post(&[("logux-send", "2")], Bytes::new()).await
            };
            assert_eq!(answer.status, 404);
            let error = link.receiver.receive(MAX_FRAME).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(session.poll("2", "0").await.status, 404);
        }
    }
}

mod section_2_bodies {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_is_taken_whole_or_not_at_all() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let whole = pack(&["a", "", "the third"]);
        for length in (1..whole.len()).filter(|length| ![5, 9].contains(length)) {
            let answer = session.post(&[("logux-send", "0 1")], whole.slice(..length)).await;
            assert_eq!(answer.status, 400, "of {length} bytes");
            assert!(!answer.body.is_empty(), "no reason is told");
        }
        let answer = session.send("1", &["a", "", "the third"]).await;
        assert_eq!(answer.ack(), "3");
        assert_eq!(received(&mut link.receiver).await, ["a", "", "the third"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_at_most_1000_frames() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        assert_eq!(session.send("1", &["x"; 1001]).await.status, 400);
        assert_eq!(session.send("1", &["x"; 1000]).await.ack(), "1000");
        assert_eq!(received(&mut link.receiver).await.len(), 1000);

        fill(&mut link.sender, &["y"; 1001]).await;
        let answer = session.poll("1", "0").await;
        assert_eq!(answer.told(), ("open", "1", vec!["y"; 1000]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_256_kib_or_one_frame() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let long = "x".repeat(300 << 10);
        let half: &'static str = "y".repeat(128 << 10).leak();
        link.sender.send(Bytes::from(long.clone())).await.unwrap();
        fill(&mut link.sender, &[half, half]).await;
        assert_eq!(session.poll("1", "0").await.told(), ("open", "1", vec![&*long]));
        assert_eq!(session.poll("2", "1").await.told(), ("open", "2", vec![half]));
    }
}

mod section_3_headers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wrong_header_is_answered_400_and_the_session_goes_on() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let (poll, send) = ("logux-poll", "logux-send");
        let wrong: [(Headers<'_>, &[u8], &str); 24] = [
            (
                &[],
                b"",
                "logux-poll: <request> <ack> [<wait>], or logux-send: <ack> [<first> [end]]",
            ),
            (&[(poll, "1 0"), (send, "0")], b"", "one of two headers"),
            (&[(poll, "1 0"), (poll, "1 0")], b"", "logux-poll is needed once"),
            (&[(poll, "")], b"", "logux-poll"),
            (&[(poll, "1")], b"", "<request> <ack> [<wait>]"),
            (&[(poll, "x 0")], b"", "logux-poll"),
            (&[(poll, "1  0")], b"", "one space between"),
            (&[(poll, " 1 0")], b"", "logux-poll"),
            (&[(poll, "1 0 ")], b"", "logux-poll"),
            (&[(poll, "1 0 0 0")], b"", "logux-poll"),
            (&[(poll, "1 0")], b"\0\0\0\x01a", "a poll has no body"),
            (&[(send, "0"), (send, "0")], b"", "logux-send is needed once"),
            (&[(send, "")], b"", "<ack> [<first> [end]]"),
            (&[(send, "-1")], b"", "logux-send"),
            (&[(send, "+1")], b"", "logux-send"),
            (&[(send, "00")], b"", "logux-send"),
            (&[(send, " 1")], b"", "logux-send"),
            (&[(send, "1e0")], b"", "logux-send"),
            (&[(send, "9007199254740992")], b"", "logux-send"),
            (&[(send, "0 one")], b"", "logux-send"),
            (&[(send, "0 end")], b"", "logux-send"),
            (&[(send, "0 1 End")], b"", "logux-send"),
            (&[(send, "0 1 end end")], b"", "logux-send"),
            (&[(send, "0")], b"\0\0\0\x01a", "<ack> <first> [end]"),
        ];
        for (headers, body, reason) in wrong {
            let answer = session.post(headers, body.into()).await;
            assert_eq!(answer.status, 400, "{headers:?}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains(reason), "{headers:?}: {text}");
        }
        assert_eq!(session.send("1", &["a"]).await.ack(), "1");
        assert_eq!(received(&mut link.receiver).await, ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_no_header_that_tells_nothing() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let names = |answer: &Answer| -> Vec<String> {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.headers.keys().map(ToString::to_string).collect()
        };
        let always = ["cache-control", "x-content-type-options"];
        let of_send = session.send("1", &["a"]).await;
        assert_eq!(names(&of_send), [&["logux-answer"][..], &always].concat());
        let empty = session.poll("1", "0").await;
        let head = ["logux-answer", "x-accel-buffering"];
        assert_eq!(names(&empty), [&head[..], &always].concat());
        fill(&mut link.sender, &["a"]).await;
        let full = session.poll("2", "0").await;
        let head = ["logux-answer", "content-type", "x-accel-buffering"];
        assert_eq!(names(&full), [&head[..], &always].concat());
        assert_eq!(full.header("content-type"), MEDIA_TYPE.1);
        assert_eq!(full.header("logux-answer"), "open 1 1");
    }
}

mod section_4_to_open_a_session {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_nonce_opens_the_same_session_and_another_one_another() {
        let mut server = Server::new();
        let (first, _link) = server.create(&[MEDIA_TYPE, VERSION, NONCE]).await;
        let (again, none) = server.create(&[MEDIA_TYPE, VERSION, NONCE]).await;
        assert_eq!(first.header("logux-session"), again.header("logux-session"));
        assert!(none.is_none(), "there are two links");
        let other = ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAQ");
        let (other, _link) = server.create(&[MEDIA_TYPE, VERSION, other]).await;
        assert_ne!(first.header("logux-session"), other.header("logux-session"));
        assert_eq!(first.header("logux-version"), "2");
        for name in ["logux-wait", "logux-inactivity", "logux-max-body"] {
            assert!(first.header(name).parse::<u64>().unwrap() > 0, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_nonce_twice_at_once_opens_one_session() {
        let mut server = Server::new();
        let headers = owned(&[MEDIA_TYPE, VERSION, NONCE]);
        let create = || call(server.service.clone(), Method::POST, headers.clone(), Bytes::new());
        let (formats, first, second) = ([FORMAT], create(), create());
        let (first, second, link) =
            tokio::join!(first, second, server.listener.accept(&formats, MAX_FRAME));
        assert_eq!(first.header("logux-session"), second.header("logux-session"));
        let another = timeout(WAIT, server.listener.accept(&formats, MAX_FRAME)).await;
        assert!(another.is_err(), "there are two links");
        drop(link);
        let session = Session {
            service: server.service.clone(),
            id: first.header("logux-session").to_owned(),
        };
        assert_eq!(session.poll("1", "0").await.status, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_nonce_from_another_origin_opens_another_session_that_lives_longer() {
        let mut server = Server::new();
        let (page, other) = (("origin", "https://a.example"), ("origin", "https://b.example"));
        let (first, link) = server.create(&[MEDIA_TYPE, VERSION, NONCE, page]).await;
        let (second, _link) = server.create(&[MEDIA_TYPE, VERSION, NONCE, other]).await;
        assert_ne!(first.header("logux-session"), second.header("logux-session"));
        drop(link);
        for (answer, origin, status) in [(first, page, 404), (second, other, 200)] {
            let id = answer.header("logux-session").to_owned();
            let session = Session { service: server.service.clone(), id };
            let answer = session.post(&[("logux-send", "0"), origin], Bytes::new()).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ids_cannot_be_guessed() {
        let mut server = Server::new();
        let mut ids = BTreeSet::new();
        for number in 0..100 {
            let nonce = format!("{}{number:04}A", "A".repeat(17));
            let (answer, _) = server.create(&[MEDIA_TYPE, VERSION, ("logux-nonce", &nonce)]).await;
            assert_eq!(answer.status, 200, "{nonce}");
            let id = answer.header("logux-session").to_owned();
            // 128 bits take 22 characters of base64.
            assert!(id.len() >= 22, "{id}");
            assert!(!id.contains(&nonce[..10]), "the client chooses: {id}");
            ids.insert(id);
        }
        assert_eq!(ids.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_opens_no_session_is_told_why() {
        let mut server = Server::new();
        let other = |name| ("content-type", name);
        let cases: [(Headers<'_>, u16, &str); 9] = [
            (&[MEDIA_TYPE], 400, "logux-nonce"),
            (&[MEDIA_TYPE, ("logux-nonce", "short")], 400, "logux-nonce"),
            (&[MEDIA_TYPE, ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAA=")], 400, "logux-nonce"),
            (&[MEDIA_TYPE, NONCE, NONCE], 400, "logux-nonce"),
            (&[NONCE], 415, "application/vnd.logux.batch+"),
            (&[NONCE, other("application/json")], 415, "application/vnd.logux.batch+"),
            (&[NONCE, other("application/vnd.logux.batch+yaml")], 415, "kit, other"),
            (&[NONCE, MEDIA_TYPE, MEDIA_TYPE], 415, "application/vnd.logux.batch+"),
            (&[NONCE, MEDIA_TYPE, ("content-encoding", "gzip")], 415, "compressed"),
        ];
        for (headers, status, reason) in cases {
            let (answer, link) = server.create(&[&[VERSION], headers].concat()).await;
            assert_eq!(answer.status, status, "{headers:?}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains(reason), "{headers:?}: {text}");
            assert!(link.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_another_version_is_told_both() {
        let mut server = Server::new();
        let version = |number| ("logux-version", number);
        let cases: [(Headers<'_>, &[&str]); 6] = [
            (&[], &["the server speaks version 2", "version 1 was asked for", "update the older"]),
            (&[version("1")], &["the server speaks version 2", "version 1 was asked for"]),
            (&[version("3")], &["the server speaks version 2", "version 3 was asked for"]),
            (&[version("02")], &["logux-version", "a number"]),
            (&[version("")], &["logux-version", "a number"]),
            (&[version("2"), version("2")], &["logux-version", "once"]),
        ];
        for (headers, texts) in cases {
            let (answer, link) = server.create(&[&[MEDIA_TYPE, NONCE], headers].concat()).await;
            assert_eq!(answer.status, 400, "{headers:?}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(texts.iter().all(|part| text.contains(part)), "{headers:?}: {text}");
            assert!(link.is_none());
        }
        // `session` asserts that this version opens one.
        let _session = server.session().await;
    }
}

mod section_5_to_send {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_body_waits_while_another_is_read_and_a_third_is_held_and_then_takes_nothing() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        assert_eq!(session.send("1", &["a", "b"]).await.ack(), "2");
        assert_eq!(session.send("3", &["c"]).await.ack(), "3");
        let start = Instant::now();
        assert_eq!(session.send("4", &["d"]).await.ack(), "3");
        assert_eq!(start.elapsed(), WAIT);
        // The first is not read to its end.
        assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap().unwrap(), "a");
        assert_eq!(session.send("4", &["d"]).await.ack(), "3");
        assert_eq!(start.elapsed(), 2 * WAIT);
        let (answer, frame) =
            tokio::join!(session.send("4", &["d"]), link.receiver.receive(MAX_FRAME));
        assert_eq!((answer.ack(), frame.unwrap().unwrap().as_ref()), ("4", &b"b"[..]));
        assert_eq!(received(&mut link.receiver).await, ["c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn two_bodies_wait_only_if_they_are_together_as_short_as_one_may_be() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let half = "x".repeat(32 << 10);
        assert_eq!(session.send("1", &[&half, "a"]).await.ack(), "2", "nobody has received yet");
        let start = Instant::now();
        assert_eq!(session.send("3", &[&half]).await.ack(), "2");
        assert_eq!(start.elapsed(), WAIT);
        // What is left of a body keeps all of it.
        assert_eq!(link.receiver.receive(half.len()).await.unwrap().unwrap(), half);
        assert_eq!(session.send("3", &[&half]).await.ack(), "2");
        assert_eq!(start.elapsed(), 2 * WAIT);
        assert_eq!(link.receiver.receive(half.len()).await.unwrap().unwrap(), "a");
        assert_eq!(session.send("3", &[&half]).await.ack(), "3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_third_request_at_once_is_refused() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        session.send("1", &["a"]).await.ack();
        session.send("2", &["b"]).await.ack();
        let two = async {
            tokio::join!(session.send("3", &["c"]), session.send("3", &["c"]));
        };
        let third = async {
            tokio::task::yield_now().await;
            let answer = session.send("3", &["c"]).await;
            assert_eq!(answer.status, 429);
        };
        tokio::join!(two, third);
        assert_eq!(received(&mut link.receiver).await, ["a", "b"]);
        assert_eq!(session.send("3", &["c"]).await.ack(), "3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_long_is_refused_and_takes_nothing() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let long = "x".repeat(MAX_FRAME + 1);
        let start = Instant::now();
        let answer = session.send("1", &[&long]).await;
        assert_eq!(answer.status, 413);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let frames = [&long[1..]];
        let (answer, frame) =
            tokio::join!(session.send("1", &frames), link.receiver.receive(MAX_FRAME));
        assert_eq!((answer.ack(), frame.unwrap().unwrap().len()), ("1", MAX_FRAME));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_64_kib_is_taken_only_by_a_user_that_receives_as_much() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let short = "x".repeat((64 << 10) - 4);
        let long = "x".repeat(64 << 10);
        let start = Instant::now();
        assert_eq!(session.send("1", &[&long]).await.ack(), "0", "nobody has received yet");
        assert_eq!(start.elapsed(), WAIT);
        // So many bytes may a peer send before it is let in.
        let receive = async |link: &mut ServerLink, limit| {
            timeout(Duration::from_secs(1), link.receiver.receive(limit)).await
        };
        assert!(receive(&mut link, 1000).await.is_err());
        assert_eq!(session.send("1", &[&long]).await.status, 413);
        assert_eq!(session.send("1", &[&short]).await.ack(), "1");
        assert_eq!(received(&mut link.receiver).await, [short]);
        assert_eq!(session.send("2", &[&long]).await.ack(), "2");
        assert_eq!(received(&mut link.receiver).await, [long]);
    }
}

mod section_6_to_poll {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_poll_is_answered_when_there_is_a_frame_or_its_time_is_over() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let start = Instant::now();
        assert_eq!(session.poll("1", "0").await.told(), ("open", "", vec![]));
        assert_eq!(start.elapsed().as_secs(), WAIT.as_secs());

        let held = session.held("2", "0").await;
        let start = Instant::now();
        fill(&mut link.sender, &["a"]).await;
        assert_eq!(held.await.unwrap().told(), ("open", "1", vec!["a"]));
        assert_eq!(start.elapsed(), Duration::ZERO);

        let brief = [("logux-poll", "3 1 2000")];
        let start = Instant::now();
        assert_eq!(session.post(&brief, Bytes::new()).await.told(), ("open", "", vec![]));
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_poll_takes_the_place_of_the_older_and_a_late_one_of_none() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let older = session.held("5", "0").await;
        let newer = session.held("7", "0").await;
        assert_eq!(older.await.unwrap().told(), ("superseded", "", vec![]));
        let start = Instant::now();
        assert_eq!(session.poll("6", "0").await.told(), ("superseded", "", vec![]));
        assert_eq!(start.elapsed(), Duration::ZERO);
        // The same once more: its answer may have been lost.
        let again = session.held("7", "0").await;
        assert_eq!(newer.await.unwrap().told(), ("superseded", "", vec![]));
        fill(&mut link.sender, &["a"]).await;
        assert_eq!(again.await.unwrap().told(), ("open", "1", vec!["a"]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_late_poll_acknowledges_is_not_believed() {
        let mut server = Server::new();
        let (session, _link) = server.session().await;
        let held = session.held("2", "0").await;
        assert_eq!(session.poll("1", "9").await.told(), ("superseded", "", vec![]));
        assert!(!held.is_finished(), "the session ended");
    }

    #[tokio::test(start_paused = true)]
    async fn who_fetches_the_same_a_hundred_times_loses_the_session() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        fill(&mut link.sender, &["a"]).await;
        for number in 1..=100 {
            let answer = session.poll(&number.to_string(), "0").await;
            assert_eq!(answer.told(), ("open", "1", vec!["a"]), "poll {number}");
        }
        assert_eq!(session.poll("101", "0").await.status, 404);
        let error = link.receiver.receive(MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

mod section_7_to_end {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clients_end_is_taken_once_and_in_its_place() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        let end = |send| [("logux-send", send)];
        // After a gap.
        assert_eq!(session.post(&end("0 2 end"), Bytes::new()).await.ack(), "0");
        assert_eq!(session.post(&end("0 3 end"), pack(&["c"])).await.ack(), "0");
        assert_eq!(session.post(&end("0 1 end"), pack(&["a"])).await.ack(), "2");
        assert_eq!(session.post(&end("0 1 end"), pack(&["a"])).await.ack(), "2");
        assert_eq!(session.post(&end("0 2 end"), Bytes::new()).await.ack(), "2");
        assert_eq!(session.send("3", &["after the end"]).await.ack(), "2");
        assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap().unwrap().as_ref(), b"a");
        assert_eq!(link.receiver.receive(MAX_FRAME).await.unwrap(), None);
        assert_eq!(session.post(&end("0 end"), Bytes::new()).await.status, 400);
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_end_is_told_until_it_is_acknowledged() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        fill(&mut link.sender, &["a"]).await;
        let closing = tokio::spawn(link.sender.close());
        tokio::task::yield_now().await;
        assert_eq!(session.poll("1", "0").await.told(), ("closed", "1", vec!["a"]));
        assert_eq!(session.poll("2", "0").await.told(), ("closed", "1", vec!["a"]));
        assert_eq!(session.poll("3", "1").await.told(), ("closed", "2", vec![]));
        assert!(!closing.is_finished());
        assert_eq!(session.post(&[("logux-send", "2")], Bytes::new()).await.ack(), "0");
        closing.await.unwrap().unwrap();
        drop(link.receiver);
        assert_eq!(session.poll("4", "2").await.status, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_both_have_ended_is_forgotten_as_soon_as_the_client_knows() {
        let mut server = Server::new();
        let (session, link) = server.session().await;
        assert_eq!(session.post(&[("logux-send", "0 1 end")], Bytes::new()).await.ack(), "1");
        link.sender.close().await.unwrap();
        drop(link.receiver);
        // What is late changes nothing.
        assert_eq!(session.send("1", &["late"]).await.ack(), "1");
        assert_eq!(session.poll("1", "0").await.told(), ("closed", "1", vec![]));
        let start = Instant::now();
        assert_eq!(session.post(&[("logux-send", "1")], Bytes::new()).await.ack(), "1");
        assert_eq!(session.poll("2", "1").await.status, 404);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_without_requests_ends_and_a_held_poll_is_one_all_the_time() {
        let mut server = Server::new();
        let (session, mut link) = server.session().await;
        for number in ["1", "2", "3"] {
            session.poll(number, "0").await.told();
        }
        let start = Instant::now();
        let error = link.receiver.receive(MAX_FRAME).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(session.poll("4", "0").await.status, 404);
    }
}

mod section_8_what_is_refused {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sessions_that_are_not_there_are_all_answered_alike() {
        let mut server = Server::new();
        let (session, _link) = server.session().await;
        let (id, ack) = (("logux-session", &*session.id), ("logux-send", "0"));
        let unknown = "A".repeat(session.id.len());
        let long = "A".repeat(10_000);
        let other_format = ("content-type", "application/vnd.logux.batch+other");
        let cases: [Headers<'_>; 6] = [
            &[MEDIA_TYPE, ack, ("logux-session", &unknown)],
            &[MEDIA_TYPE, ack, ("logux-session", &long)],
            &[MEDIA_TYPE, ack, ("logux-session", "")],
            &[MEDIA_TYPE, ack, id, id],
            &[MEDIA_TYPE, ack, id, ("origin", "https://example.com")],
            &[other_format, ack, id],
        ];
        for headers in cases {
            let service = server.service.clone();
            let answer = call(service, Method::POST, owned(headers), Bytes::new()).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!((answer.status.as_u16(), text.trim()), (404, "there is no such session"));
        }
        assert_eq!(session.send("1", &["a"]).await.ack(), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn other_methods_are_refused() {
        let server = Server::new();
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD, Method::PATCH] {
            let answer = call(
                server.service.clone(),
                method.clone(),
                owned(&[MEDIA_TYPE, VERSION, NONCE]),
                Bytes::new(),
            );
            let answer = answer.await;
            assert!(matches!(answer.status.as_u16(), 405 | 426), "{method}: {answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_listener_that_accepts_there_are_no_sessions() {
        let server = Server::new();
        let headers = owned(&[MEDIA_TYPE, VERSION, NONCE]);
        let answer =
            call(server.service.clone(), Method::POST, headers.clone(), Bytes::new()).await;
        assert_eq!(answer.status, 503);
        drop(server.listener);
        let answer = call(server.service, Method::POST, headers, Bytes::new()).await;
        assert_eq!(answer.status, 503);
    }
}
