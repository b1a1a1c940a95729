//! What a long-poll session holds while its client sends and fetches nothing, and its user receives
//! nothing. One test, because it measures the memory of the whole process.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use logux_transports::{
    Format, FrameReceiver, FrameSender, HttpListener, HttpReceiver, HttpSender, HttpService,
    Listener, ListenerOptions,
};
use peak_alloc::PeakAlloc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tower_service::Service;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const KIB: usize = 1 << 10;
const MAX_FRAME: usize = 1 << 20;
const MAX_FRAME_OF_STRANGERS: usize = 16 * KIB;

/// What this test may hold besides: requests, tasks and lists.
const BESIDE: usize = 96 * KIB;

/// Longer than the test takes.
const LONG: Duration = Duration::from_secs(3600);

/// A body that comes in pieces, but for its last byte, which never comes.
struct Stuck {
    length: usize,
    taken: Arc<AtomicUsize>,
}

impl Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.length - self.taken.load(Ordering::Relaxed);
        let piece = left.saturating_sub(1).min(KIB);
        if piece == 0 {
            return Poll::Pending;
        }
        self.taken.fetch_add(piece, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![0; piece].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

/// A request that is being answered. Its answer is kept, and not read.
type Asked = JoinHandle<Response<Full<Bytes>>>;

/// Asks, and waits until all has come to a standstill.
async fn ask<B>(service: &HttpService, headers: &[(&str, String)], body: B) -> Asked
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut request = Request::post("/").header("content-type", "application/vnd.logux.batch+kit");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut service = service.clone();
    let asking = service.call(request.body(body).unwrap());
    let asked = tokio::spawn(async move { asking.await.unwrap() });
    settle().await;
    asked
}

async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

struct Server {
    service: HttpService,
    id: String,
    sender: HttpSender,
    receiver: HttpReceiver,
}

impl Server {
    async fn start() -> Self {
        let (service, listener) = HttpListener::mounted();
        let options = ListenerOptions::new().wait(LONG).body_timeout(LONG);
        let mut listener = listener.options(options);
        let nonce = ("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA".to_owned());
        let version = ("logux-version", "2".to_owned());
        let opening = ask(&service, &[nonce, version], Full::default()).await;
        let link = listener.accept(&[FORMAT], MAX_FRAME).await.unwrap();
        let opened = opening.await.unwrap();
        let id = opened.headers()["logux-session"].to_str().unwrap().to_owned();
        Self { service, id, sender: link.sender, receiver: link.receiver }
    }

    fn headers(&self, name: &'static str, value: String) -> [(&'static str, String); 2] {
        [("logux-session", self.id.clone()), (name, value)]
    }

    /// Sends a body that does not end, and counts how much of it is taken.
    async fn send(&self, length: usize) -> (Asked, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let body = Stuck { length, taken: Arc::clone(&taken) };
        let headers = self.headers("logux-send", "0 1".to_owned());
        (ask(&self.service, &headers, body).await, taken)
    }

    async fn poll(&self, number: u64, ack: u64) -> Asked {
        let headers = self.headers("logux-poll", format!("{number} {ack}"));
        ask(&self.service, &headers, Full::default()).await
    }

    /// Receives with this limit, and then no more.
    async fn receive(&mut self, max_frame: usize) {
        let receiving = timeout(Duration::ZERO, self.receiver.receive(max_frame));
        assert!(receiving.await.is_err(), "a frame was received");
    }

    /// Sends frames until there is no more room, and gives how many.
    async fn fill(&mut self, length: usize) -> u64 {
        let mut sent = 0;
        loop {
            let sending = self.sender.send(vec![0; length].into());
            if timeout(Duration::ZERO, sending).await.is_err() {
                return sent;
            }
            sent += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unread_session_holds_what_is_stated() {
    // What is allocated once.
    drop(Server::start().await);
    before_the_peer_is_let_in().await;
    a_peer_that_was_let_in().await;
}

async fn before_the_peer_is_let_in() {
    for receives in [false, true] {
        let mut server = Server::start().await;
        if receives {
            server.receive(MAX_FRAME_OF_STRANGERS).await;
        }
        let base = MEMORY.current_usage();
        let (first, first_taken) = server.send(64 * KIB).await;
        let (second, second_taken) = server.send(MAX_FRAME).await;
        let (third, third_taken) = server.send(KIB).await;
        assert_eq!(first_taken.load(Ordering::Relaxed), 64 * KIB - 1);
        assert_eq!(second_taken.load(Ordering::Relaxed), 0, "it waits for the peer to be let in");
        drop(second_taken);
        assert_eq!(third.await.unwrap().status(), 429);
        assert_eq!(third_taken.load(Ordering::Relaxed), KIB - 1, "a refused body is drained");
        let held = MEMORY.current_usage() - base;
        println!("{} KiB for a stranger", held / KIB);
        assert!(held < 64 * KIB + BESIDE, "{held} bytes");
        assert!(!first.is_finished() && !second.is_finished());
    }
}

async fn a_peer_that_was_let_in() {
    let mut server = Server::start().await;
    server.receive(MAX_FRAME).await;
    let base = MEMORY.current_usage();

    // Not more together than one may be long.
    let (first, first_taken) = server.send(MAX_FRAME).await;
    let (second, second_taken) = server.send(MAX_FRAME).await;
    assert_eq!(first_taken.load(Ordering::Relaxed), MAX_FRAME - 1);
    assert_eq!(second_taken.load(Ordering::Relaxed), 0);

    // All that is fetched is acknowledged, and more comes; the answers are kept.
    let mut sent = server.fill(100 * KIB).await;
    let (mut answers, mut acknowledged) = (Vec::new(), 0);
    for number in 1..=40 {
        answers.push(server.poll(number, acknowledged).await);
        acknowledged = sent;
        sent += server.fill(100 * KIB).await;
    }
    let held = MEMORY.current_usage() - base;
    println!("{} KiB for a peer that was let in", held / KIB);
    // What is to be fetched, two answers, and what is being sent.
    let stated = (1 << 20) + 2 * (256 * KIB) + MAX_FRAME;
    assert!(held < stated + BESIDE, "{held} bytes");
    assert!(held > stated - 300 * KIB, "{held} bytes: the test does not fill it");

    // Where answers are read or given up, others come.
    for answer in answers.drain(..39) {
        drop(answer.await.unwrap());
    }
    let last = answers.pop().unwrap().await.unwrap();
    let told = last.headers()["logux-answer"].to_str().unwrap();
    assert_eq!(told.split(' ').count(), 3, "no frames come: {told}");
    drop(last);
    drop(server.poll(41, sent).await.await.unwrap());

    // A frame that is longer than all that may wait does so alone.
    assert_eq!(server.fill(2 * MAX_FRAME).await, 1);

    // The second body has its turn when the first is given up.
    first.abort();
    settle().await;
    assert_eq!(second_taken.load(Ordering::Relaxed), MAX_FRAME - 1);
    drop((first, second, server));
    settle().await;
}
