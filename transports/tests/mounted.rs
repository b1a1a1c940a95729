//! The service in the servers of other programs: called as tower says, served by hyper and by axum.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request as AxumRequest};
use axum::middleware::map_request;
use axum::routing::get;
use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use logux_transports::{
    Format, HttpBody, HttpClient, HttpListener, HttpService, Listener, ListenerOptions, LongPoll,
    Transport, WebSocket, conformance,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

const FORMAT: Format = Format { name: "kit", media_type: "text/plain", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

/// A session that is left without a word ends after a second.
fn mounted() -> (HttpService, HttpListener) {
    let (service, listener) = HttpListener::mounted();
    (service, listener.options(ListenerOptions::new().inactivity(Duration::from_secs(1))))
}

/// Calls the service as tower says: a clone for each request, once it is ready, in any task.
async fn call<B>(mut service: HttpService, request: Request<B>) -> Response<HttpBody>
where
    B: Body<Data: Buf + Send, Error: Display> + Send + 'static,
{
    let Ok(()) = poll_fn(|context| Service::<Request<B>>::poll_ready(&mut service, context)).await;
    let Ok(answer) = tokio::spawn(service.call(request)).await.unwrap();
    answer
}

#[derive(Clone)]
struct Direct(Arc<dyn Fn(Request<Bytes>) -> Answering + Send + Sync>);

type Answering = Pin<Box<dyn Future<Output = Response<HttpBody>> + Send>>;

/// Long-poll without a network, with requests of any kind of body.
fn direct<B>(service: HttpService, make: fn(Request<Bytes>) -> Request<B>) -> LongPoll<Direct>
where
    B: Body<Data: Buf + Send, Error: Display> + Send + 'static,
{
    let client = Direct(Arc::new(move |mut request| {
        let length = request.body().len();
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        Box::pin(call(service.clone(), make(request)))
    }));
    LongPoll::over("http://localhost/", client).unwrap()
}

impl HttpClient for Direct {
    async fn request(&mut self, request: Request<Bytes>, _: usize) -> io::Result<Response<Bytes>> {
        let (head, body) = (self.0)(request).await.into_parts();
        let Ok(body) = body.collect().await;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// What a layer may make of a body: it comes in pieces, does not say how many, and is not `Sync`.
struct Layered(Cell<Bytes>);

impl Body for Layered {
    type Data = VecDeque<u8>;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<VecDeque<u8>>, String>>> {
        let rest = self.0.get_mut();
        let piece = rest.split_to(rest.len().min(1000));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(Vec::from(piece).into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn requests_have_any_body() {
    let (service, listener) = mounted();
    conformance::transport(direct(service, |request| request.map(Full::new)), listener).await;
    let (service, listener) = mounted();
    let axum = direct(service, |request| request.map(axum::body::Body::from));
    conformance::transport(axum, listener).await;
    let (service, listener) = mounted();
    let layered = direct(service, |request| request.map(|body| Layered(Cell::new(body))));
    conformance::transport(layered, listener).await;
}

#[tokio::test]
async fn a_body_is_as_long_as_its_head_says() {
    let (service, mut listener) = mounted();
    let post = || Request::post("/").header("content-type", "application/vnd.logux.batch+kit");
    let opening = post().header("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA").header("logux-version", 2);
    let opening = opening.body(Full::<Bytes>::default()).unwrap();
    let (opened, link) =
        tokio::join!(call(service.clone(), opening), listener.accept(&[FORMAT], MAX_FRAME));
    let _link = link.unwrap();
    for (length, status) in [(None, 411), (Some("8"), 400), (Some("6"), 400), (Some("7"), 200)] {
        let mut request = post()
            .header("logux-session", &opened.headers()["logux-session"])
            .header("logux-send", "0 1");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let body = Layered(Cell::new(Bytes::from_static(b"\0\0\0\x03abc")));
        let answer = call(service.clone(), request.body(body).unwrap()).await;
        assert_eq!(answer.status(), status, "{length:?}");
    }
}

/// Serves on a port of its own, and gives its address.
async fn serve_by_hyper(service: HttpService) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = tcp.accept().await.unwrap();
            let service = service.clone();
            let service = service_fn(move |request| service.clone().call(request));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
            tokio::spawn(serving.with_upgrades());
        }
    });
    address
}

async fn serve_by_axum(router: Router) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(tcp, router).await.unwrap() });
    address
}

#[tokio::test]
async fn hyper_serves_both() {
    let (service, listener) = mounted();
    let url = format!("ws://{}/any/path", serve_by_hyper(service).await);
    conformance::transport(WebSocket::new(&url).unwrap(), listener).await;
    let (service, listener) = mounted();
    let url = format!("http://{}/any/path", serve_by_hyper(service).await);
    conformance::transport(LongPoll::new(&url).unwrap(), listener).await;
}

fn router(service: HttpService) -> Router {
    let own = Router::new().route("/", get(async || "own"));
    own.route_service("/logux", service.clone()).nest_service("/under", service)
}

#[tokio::test]
async fn axum_serves_both_beside_routes_of_its_own() {
    let (service, listener) = mounted();
    let address = serve_by_axum(router(service)).await;
    let url = format!("ws://{address}/logux");
    conformance::transport(WebSocket::new(&url).unwrap(), listener).await;
    let (service, listener) = mounted();
    let address = serve_by_axum(router(service)).await;
    let url = format!("http://{address}/under/any/path");
    conformance::transport(LongPoll::new(&url).unwrap(), listener).await;
    assert!(exchange(address, "GET / HTTP/1.0\r\n\r\n").await.ends_with("\r\n\r\nown"));
}

/// What the server sends until it closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// As a proxy does that knows nothing of WebSocket.
async fn keep_back(mut request: AxumRequest) -> AxumRequest {
    request.headers_mut().remove(header::UPGRADE);
    request.headers_mut().remove(header::CONNECTION);
    request
}

#[tokio::test]
async fn a_client_is_told_why_its_websocket_does_not_open() {
    let (service, mut listener) = mounted();
    tokio::spawn(async move { listener.accept(&[FORMAT], MAX_FRAME).await.map(|_| ()) });
    let address = serve_by_axum(router(service).layer(map_request(keep_back))).await;
    let mut transport = WebSocket::new(&format!("ws://{address}/logux")).unwrap();
    let error = transport.open(FORMAT, MAX_FRAME).await.unwrap_err().to_string();
    assert!(error.contains("426 Upgrade Required") && error.contains("proxy"), "{error}");
}

#[tokio::test]
async fn a_plain_request_is_told_what_is_there() {
    let (service, _listener) = mounted();
    let request = Request::get("/").body(Full::<Bytes>::default()).unwrap();
    let answer = call(service, request).await;
    assert_eq!(answer.status(), 426);
    assert_eq!(answer.headers()["upgrade"], "websocket");
    assert_eq!(answer.headers()["sec-websocket-version"], "13");
}

/// As a program does that wants its clients' addresses known.
async fn tell_address(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: AxumRequest,
) -> AxumRequest {
    request.extensions_mut().insert(address);
    request
}

#[tokio::test]
async fn the_address_is_what_the_program_tells() {
    let (service, mut listener) = mounted();
    let untold = serve_by_axum(router(service.clone())).await;
    let told = serve_by_axum(router(service).layer(map_request(tell_address))).await;
    for (address, is_told) in [(untold, false), (told, true)] {
        let mut websocket = WebSocket::new(&format!("ws://{address}/logux")).unwrap();
        let mut long_poll = LongPoll::new(&format!("http://{address}/logux")).unwrap();
        let (_near, far) = tokio::try_join!(
            websocket.open(FORMAT, MAX_FRAME),
            listener.accept(&[FORMAT], MAX_FRAME)
        )
        .unwrap();
        assert_eq!(far.info.address.is_some(), is_told);
        let (_near, far) = tokio::try_join!(
            long_poll.open(FORMAT, MAX_FRAME),
            listener.accept(&[FORMAT], MAX_FRAME)
        )
        .unwrap();
        assert_eq!(far.info.address.is_some(), is_told);
        assert!(far.info.address.is_none_or(|address| address.ip().is_loopback()));
    }
}

#[tokio::test]
async fn options_that_a_mounted_listener_is_given_later_hold_for_its_service() {
    let (service, listener) = mounted();
    let from = |origin: &str| {
        let request = Request::builder().method("OPTIONS").header("origin", origin);
        call(service.clone(), request.body(Full::<Bytes>::default()).unwrap())
    };
    assert_eq!(from("https://other.example").await.status(), StatusCode::NO_CONTENT);
    let _listener = listener.options(ListenerOptions::new().origins(["https://example.com"]));
    assert_eq!(from("https://other.example").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(from("https://example.com").await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_address_has_only_so_many_links() {
    let options = ListenerOptions::new().max_links_per_address(1);
    let (service, listener) = HttpListener::mounted();
    let mut listener = listener.options(options);
    let address = serve_by_axum(router(service).layer(map_request(tell_address))).await;
    let mut websocket = WebSocket::new(&format!("ws://{address}/logux")).unwrap();
    let mut long_poll = LongPoll::new(&format!("http://{address}/logux")).unwrap();
    let (near, far) =
        tokio::try_join!(websocket.open(FORMAT, MAX_FRAME), listener.accept(&[FORMAT], MAX_FRAME))
            .unwrap();
    for refused in [
        websocket.open(FORMAT, MAX_FRAME).await.map(|_| ()),
        long_poll.open(FORMAT, MAX_FRAME).await.map(|_| ()),
    ] {
        assert!(refused.unwrap_err().to_string().contains("429"));
    }
    drop((near, far));
    let opening = long_poll.open(FORMAT, MAX_FRAME);
    drop(tokio::try_join!(opening, listener.accept(&[FORMAT], MAX_FRAME)).unwrap());
}

/// A body that begins and does not go on.
struct Begun(Option<Bytes>);

impl Body for Begun {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

/// A request that sends and never comes to its end.
fn begun(id: &str) -> Request<Begun> {
    Request::post("/")
        .header("content-type", "application/vnd.logux.batch+kit")
        .header("content-length", 60_000)
        .header("logux-session", id)
        .header("logux-send", "0 1")
        .body(Begun(Some(vec![0; 30_000].into())))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_collected_for_a_session_that_has_ended() {
    // Frames that were never sent are acknowledged; or the other side drops the link.
    for is_dropped in [false, true] {
        let (service, mut listener) = mounted();
        let post = || Request::post("/").header("content-type", "application/vnd.logux.batch+kit");
        let opening =
            post().header("logux-nonce", "AAAAAAAAAAAAAAAAAAAAAA").header("logux-version", 2);
        let opening = opening.body(Full::<Bytes>::default()).unwrap();
        let formats = &[FORMAT];
        let (opened, link) =
            tokio::join!(call(service.clone(), opening), listener.accept(formats, MAX_FRAME));
        let id = opened.headers()["logux-session"].to_str().unwrap().to_owned();
        let sending = tokio::spawn(call(service.clone(), begun(&id)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!sending.is_finished());
        let start = tokio::time::Instant::now();
        let mut link = Some(link.unwrap());
        if is_dropped {
            link = None;
        } else {
            let wrong = post().header("logux-session", &id).header("logux-send", 7);
            let wrong = wrong.body(Full::<Bytes>::default()).unwrap();
            assert_eq!(call(service.clone(), wrong).await.status(), StatusCode::NOT_FOUND);
        }
        assert_eq!(sending.await.unwrap().status(), StatusCode::NOT_FOUND);
        // Besides that, only what a client sends is read for a while, so that it reads the answer.
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        drop(link);
    }
}
