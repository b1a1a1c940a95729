//! HTTP requests over connections that are kept, as a user of hyper would make them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::Message;

use crate::end::{End, Frames, both};

/// What comes with a body.
#[derive(Clone, Copy)]
pub(crate) enum Heads {
    /// What hyper needs.
    Bare,
    /// The headers that long-poll has, which nobody looks at.
    Alike,
}

/// What a request of long-poll is for: each kind has headers of its own, and so have its answers.
#[derive(Clone, Copy)]
enum Kind {
    Send,
    Poll,
}

type Requests = SendRequest<Full<Bytes>>;

/// Sends each frame in a request whose answer brings it back: the shortest way that HTTP has.
pub(crate) async fn echoes(frames: Frames, count: u64) -> Duration {
    let mut requests = connect(Heads::Bare, Server::Echoes).await;
    let asking = async move {
        let start = Instant::now();
        for number in 0..count {
            let body = frames.get(number).into_data();
            requests.ready().await.expect("a connection");
            frames.check(
                number,
                &answer(requests.send_request(Heads::Bare.post(Kind::Send, body))).await,
            );
        }
        start.elapsed()
    };
    both(asking, async {}).await
}

/// The end that asks: it sends on one connection, and on another it polls.
pub(crate) struct Client {
    heads: Heads,
    posts: Requests,
    polls: Requests,
    poll: Pin<Box<dyn Future<Output = Bytes> + Send>>,
    frame: Bytes,
}

/// The end that is asked.
pub(crate) struct Asked {
    received: mpsc::Receiver<Bytes>,
    sent: mpsc::Sender<Bytes>,
}

/// Frames go in a request, and come in the answer to another that waits for them: the shortest way
/// for a server that may send first.
pub(crate) async fn polling(heads: Heads) -> (Client, Asked) {
    let (to_far, received) = mpsc::channel(16);
    let (sent, from_far) = mpsc::channel(16);
    let posts = connect(heads, Server::Takes(to_far));
    let polls = connect(heads, Server::Gives(Mutex::new(from_far)));
    let (posts, mut polls) = tokio::join!(posts, polls);
    let poll = Box::pin(answer(polls.send_request(heads.post(Kind::Poll, Bytes::new()))));
    (Client { heads, posts, polls, poll, frame: Bytes::new() }, Asked { received, sent })
}

impl End for Client {
    async fn send(&mut self, frame: Message) {
        self.frame = frame.into_data();
    }

    async fn flush(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        self.posts.ready().await.expect("a connection");
        answer(self.posts.send_request(self.heads.post(Kind::Send, frame))).await;
    }

    async fn receive(&mut self) -> Bytes {
        let frame = (&mut self.poll).await;
        self.polls.ready().await.expect("a connection");
        let poll = self.heads.post(Kind::Poll, Bytes::new());
        self.poll = Box::pin(answer(self.polls.send_request(poll)));
        frame
    }
}

impl End for Asked {
    async fn send(&mut self, frame: Message) {
        self.sent.send(frame.into_data()).await.expect("the poll");
    }

    async fn flush(&mut self) {}

    async fn receive(&mut self) -> Bytes {
        self.received.recv().await.expect("a frame")
    }
}

type Head = [(&'static str, &'static str)];

const REQUEST: &Head = &[
    ("content-type", "application/vnd.logux.batch+json"),
    ("logux-session", "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"),
];
const HOST: &Head = &[("host", "127.0.0.1:31337")];
const ANSWER: &Head = &[("cache-control", "no-store"), ("x-content-type-options", "nosniff")];

impl Kind {
    fn request(self) -> &'static Head {
        match self {
            Self::Send => &[("logux-send", "12345 12345")],
            Self::Poll => &[("logux-poll", "12345 12345 25000")],
        }
    }

    /// Of a poll that brings a frame.
    fn answer(self) -> &'static Head {
        match self {
            Self::Send => &[("logux-answer", "open 12345")],
            Self::Poll => &[
                ("logux-answer", "open 12345 12345"),
                ("content-type", "application/vnd.logux.batch+json"),
                ("x-accel-buffering", "no"),
            ],
        }
    }
}

impl Heads {
    fn fill(self, headers: &mut HeaderMap, with: [&Head; 3]) {
        if let Self::Alike = self {
            headers.extend(with.into_iter().flatten().map(|&(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            }));
        }
    }

    fn post(self, kind: Kind, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        self.fill(request.headers_mut(), [REQUEST, kind.request(), HOST]);
        request
    }

    fn answer(self, kind: Kind, body: Bytes) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(body));
        self.fill(response.headers_mut(), [kind.answer(), ANSWER, &[]]);
        response
    }
}

/// What a request is answered with.
enum Server {
    /// Its own body.
    Echoes,
    /// Nothing: its body goes to the far end.
    Takes(mpsc::Sender<Bytes>),
    /// What the far end sends.
    Gives(Mutex<mpsc::Receiver<Bytes>>),
}

impl Server {
    /// The kind of requests that come here.
    fn kind(&self) -> Kind {
        match self {
            Self::Echoes | Self::Takes(_) => Kind::Send,
            Self::Gives(_) => Kind::Poll,
        }
    }

    async fn respond(&self, body: Bytes) -> Bytes {
        match self {
            Self::Echoes => body,
            // Only a run that is over has no far end: in another, the frame would be missed.
            Self::Takes(to_far) => {
                let _ = to_far.send(body).await;
                Bytes::new()
            }
            Self::Gives(from_far) => from_far.lock().await.recv().await.unwrap_or_default(),
        }
    }
}

/// A connection of its own to a server.
async fn connect(heads: Heads, server: Server) -> Requests {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.expect("a connection"), far.expect("a connection"));
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("an option");
    }
    let server = Arc::new(server);
    let service = service_fn(move |request: Request<Incoming>| {
        let server = Arc::clone(&server);
        async move {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            Ok::<_, Infallible>(heads.answer(server.kind(), server.respond(body).await))
        }
    });
    // Both end when the requests are dropped.
    tokio::spawn(async move {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .await;
    });
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(near)).await;
    let (requests, connection) = handshake.expect("a connection");
    tokio::spawn(connection);
    requests
}

async fn answer(response: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Bytes {
    let response = response.await.expect("an answer");
    response.into_body().collect().await.expect("a body").to_bytes()
}
