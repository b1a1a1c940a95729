//! Every transport keeps the contract of links.
#![cfg(all(feature = "conformance", feature = "long-poll"))]

use std::net::SocketAddr;
use std::time::Duration;

use logux_transports::{
    ByteStream, Format, HttpListener, Link, Listener, ListenerOptions, LongPoll, Memory,
    SinkSender, StreamReceiver, Transport, WebSocket, WebSocketListener, conformance, framed,
};
use tokio::io::{copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const MAX_FRAME: usize = 1 << 20;

/// Sessions of long-poll that are left without a word end after two seconds.
async fn http_listener() -> HttpListener {
    let options = ListenerOptions::new().inactivity(Duration::from_secs(2));
    HttpListener::bind("127.0.0.1:0").await.unwrap().options(options)
}

type Frames<S> = Framed<S, LengthDelimitedCodec>;

fn frames<S: ByteStream>(stream: S) -> Link<SinkSender<Frames<S>>, StreamReceiver<Frames<S>>> {
    framed(Framed::new(stream, LengthDelimitedCodec::new()))
}

/// Passes connections on to an address until the function that comes with its own is called.
async fn cable(to: SocketAddr) -> (SocketAddr, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passing = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            connections.spawn(pass(near, far));
        }
    });
    (address, move || passing.abort())
}

async fn pass(mut near: TcpStream, mut far: TcpStream) {
    // It may end as it likes.
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

async fn connect<T: Transport, L: Listener>(
    transport: &mut T,
    listener: &mut L,
    format: Format,
) -> (Link<T::Sender, T::Receiver>, Link<L::Sender, L::Receiver>) {
    let formats = [format];
    tokio::try_join!(transport.open(format, MAX_FRAME), listener.accept(&formats, MAX_FRAME))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    conformance::link(async |_| Memory::pair()).await;
    let (memory, listener) = Memory::listen();
    conformance::transport(memory, listener).await;
}

#[tokio::test]
async fn websocket_keeps_the_contract() {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    conformance::transport(WebSocket::new(&url).unwrap(), listener).await;
}

#[tokio::test]
async fn websocket_is_cut() {
    conformance::cut(async |format| {
        let mut listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = cable(listener.local_addr().unwrap()).await;
        let mut transport = WebSocket::new(&format!("ws://{address}")).unwrap();
        let (near, far) = connect(&mut transport, &mut listener, format).await;
        (near, far, cut)
    })
    .await;
}

#[tokio::test]
async fn long_poll_keeps_the_contract() {
    let listener = http_listener().await;
    let url = format!("http://{}/", listener.local_addr().unwrap());
    conformance::transport(LongPoll::new(&url).unwrap(), listener).await;
}

#[tokio::test]
async fn websocket_keeps_the_contract_on_the_port_of_long_poll() {
    let listener = http_listener().await;
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    conformance::transport(WebSocket::new(&url).unwrap(), listener).await;
}

#[tokio::test]
async fn long_poll_is_cut() {
    conformance::cut(async |format| {
        let mut listener = http_listener().await;
        let (address, cut) = cable(listener.local_addr().unwrap()).await;
        let mut transport = LongPoll::new(&format!("http://{address}/")).unwrap();
        let (near, far) = connect(&mut transport, &mut listener, format).await;
        (near, far, cut)
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_framed_byte_stream_keeps_the_contract() {
    conformance::link(async |_| {
        let (left, right) = tokio::net::UnixStream::pair().unwrap();
        (frames(left), frames(right))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_framed_byte_stream_is_cut() {
    conformance::cut(async |_| {
        let [(left, mut near), (mut far, right)] = [duplex(100), duplex(100)];
        let cable = tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        (frames(left), frames(right), move || cable.abort())
    })
    .await;
}
