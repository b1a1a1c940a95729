//! What the suite runs on: each codec over each transport is a cell.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use logux_sync::transports::{
    BoxedLink, BoxedReceiver, BoxedSender, Format, HttpClient, Link, MemoryListener, WebSocketLink,
    WebSocketReceiver, WebSocketSender,
};
use logux_sync::{
    Codec, HttpListener, HttpService, Json, Listener, LongPoll, Memory, MessagePack, Transport,
    WebSocket, WebSocketListener, Xml, format,
};
use tokio::io::{DuplexStream, duplex};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower_service::Service;

/// Runs tests on every cell, each in a module of its name.
macro_rules! on_every_cell {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            run_on! { $test:
                json_memory: Json, Memory;
                message_pack_memory: MessagePack, Memory;
                xml_memory: Xml, Memory;
                json_websocket: Json, WebSocket;
                message_pack_websocket: MessagePack, WebSocket;
                xml_websocket: Xml, WebSocket;
                json_long_poll: Json, LongPoll;
                message_pack_long_poll: MessagePack, LongPoll;
                xml_long_poll: Xml, LongPoll;
            }
        }
    )* };
}

/// Runs tests for every codec, all over the same transport.
macro_rules! on_every_codec {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            run_on! { $test:
                json_memory: Json, Memory;
                message_pack_memory: MessagePack, Memory;
                xml_memory: Xml, Memory;
            }
        }
    )* };
}

macro_rules! run_on {
    ($test:ident: $($cell:ident: $codec:ident, $wire:ident;)*) => { $(
        #[test]
        fn $cell() {
            let test = super::$test::<logux_sync::$codec>();
            $crate::cells::run($crate::cells::Wire::$wire, Box::pin(test));
        }
    )* };
}

tokio::task_local! {
    /// The transport of the running test. It is no type, for each test would then be compiled for
    /// each transport, and with it the whole engine.
    static WIRE: Wire;
}

/// Runs a test over a transport, in paused time.
pub(crate) fn run(wire: Wire, test: Pin<Box<dyn Future<Output = ()>>>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(WIRE.scope(wire, test));
}

/// A codec, over the transport that the test runs over.
pub(crate) trait Cell: 'static {
    type Codec: TestCodec;
    const CODEC: Self::Codec = Self::Codec::NEW;

    /// The two ends of one link.
    async fn pair() -> (BoxedLink, BoxedLink) {
        WIRE.get().pair(format::<Self::Codec>()).await
    }

    /// A transport and the listener that it reaches.
    fn listen() -> (AnyTransport, AnyListener) {
        WIRE.get().listen()
    }
}

impl<C: TestCodec> Cell for C {
    type Codec = C;
}

/// A codec, and how any value is written in it, so that a peer can say what is no message.
pub(crate) trait TestCodec: Codec {
    const NEW: Self;

    /// How `null` is written where an event is expected.
    const NULL: &'static [u8];

    /// What was written as an event, as a frame of its own.
    fn alone(value: Vec<u8>) -> Vec<u8> {
        value
    }
}

impl TestCodec for Json {
    const NEW: Self = Self;
    const NULL: &'static [u8] = b"null";
}

impl TestCodec for MessagePack {
    const NEW: Self = Self;
    const NULL: &'static [u8] = b"\xc0";
}

impl TestCodec for Xml {
    const NEW: Self = Self;
    const NULL: &'static [u8] = b"<null/>";

    fn alone(mut value: Vec<u8>) -> Vec<u8> {
        let name = value.iter().position(|byte| matches!(byte, b' ' | b'/' | b'>'));
        let namespace = *br#" xmlns="http://www.w3.org/2005/xpath-functions""#;
        let at = name.expect("an element");
        value.splice(at..at, namespace);
        value
    }
}

/// A transport that works in paused time.
#[derive(Clone, Copy)]
pub(crate) enum Wire {
    Memory,
    /// Over byte streams in memory: real sockets do not know that time is paused.
    WebSocket,
    /// Its requests reach the service without a network.
    LongPoll,
}

impl Wire {
    /// The two ends of one link.
    async fn pair(self, format: Format) -> (BoxedLink, BoxedLink) {
        let (mut transport, mut listener) = self.listen();
        let accepted = listener.accept(std::slice::from_ref(&format), MAX_FRAME);
        tokio::try_join!(accepted, transport.open(format, MAX_FRAME)).unwrap()
    }

    /// A transport and the listener that it reaches.
    pub(crate) fn listen(self) -> (AnyTransport, AnyListener) {
        match self {
            Self::Memory => {
                let (transport, listener) = Memory::listen();
                (AnyTransport::Memory(transport), AnyListener::Memory(listener))
            }
            Self::WebSocket => {
                let (dial, dialled) = mpsc::channel(16);
                let listener = DuplexListener { dialled, handshakes: JoinSet::new() };
                let transport = DuplexTransport { dial };
                (AnyTransport::WebSocket(transport), AnyListener::WebSocket(listener))
            }
            Self::LongPoll => {
                let (service, listener) = HttpListener::mounted();
                let client = InProcess { service };
                let transport = LongPoll::over("http://localhost/", client).unwrap();
                (AnyTransport::LongPoll(Box::new(transport)), AnyListener::LongPoll(listener))
            }
        }
    }
}

/// Of one type for all transports, so that the tests and the engine are compiled once for all.
#[derive(Clone)]
pub(crate) enum AnyTransport {
    Memory(Memory),
    WebSocket(DuplexTransport),
    LongPoll(Box<LongPoll<InProcess>>),
}

impl Transport for AnyTransport {
    type Sender = BoxedSender;
    type Receiver = BoxedReceiver;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<BoxedLink> {
        match self {
            Self::Memory(transport) => transport.open(format, max_frame).await.map(Link::boxed),
            Self::WebSocket(transport) => transport.open(format, max_frame).await.map(Link::boxed),
            Self::LongPoll(transport) => transport.open(format, max_frame).await.map(Link::boxed),
        }
    }
}

pub(crate) enum AnyListener {
    Memory(MemoryListener),
    WebSocket(DuplexListener),
    LongPoll(HttpListener),
}

impl Listener for AnyListener {
    type Sender = BoxedSender;
    type Receiver = BoxedReceiver;

    async fn accept(&mut self, formats: &[Format], max_frame: usize) -> io::Result<BoxedLink> {
        match self {
            Self::Memory(listener) => listener.accept(formats, max_frame).await.map(Link::boxed),
            Self::WebSocket(listener) => listener.accept(formats, max_frame).await.map(Link::boxed),
            Self::LongPoll(listener) => listener.accept(formats, max_frame).await.map(Link::boxed),
        }
    }
}

/// What the byte stream holds between the two ends.
const CAPACITY: usize = 64 << 10;

/// Above what any test sends, so that it is the session that refuses.
pub(crate) const MAX_FRAME: usize = 1 << 30;

async fn dial(
    stream: DuplexStream,
    format: Format,
    max_frame: usize,
) -> io::Result<WebSocketLink<DuplexStream>> {
    WebSocket::new("ws://localhost/")?.open_over(stream, format, max_frame).await
}

#[derive(Clone)]
pub(crate) struct DuplexTransport {
    dial: mpsc::Sender<DuplexStream>,
}

impl Transport for DuplexTransport {
    type Sender = WebSocketSender<DuplexStream>;
    type Receiver = WebSocketReceiver<DuplexStream>;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<WebSocketLink<DuplexStream>> {
        let (near, far) = duplex(CAPACITY);
        let refused = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
        self.dial.send(far).await.map_err(refused)?;
        dial(near, format, max_frame).await
    }
}

pub(crate) struct DuplexListener {
    dialled: mpsc::Receiver<DuplexStream>,
    /// In tasks, as a server drops `accept` whenever it has something else to do.
    handshakes: JoinSet<io::Result<WebSocketLink<DuplexStream>>>,
}

impl Listener for DuplexListener {
    type Sender = WebSocketSender<DuplexStream>;
    type Receiver = WebSocketReceiver<DuplexStream>;

    async fn accept(
        &mut self,
        formats: &[Format],
        max_frame: usize,
    ) -> io::Result<WebSocketLink<DuplexStream>> {
        loop {
            tokio::select! {
                biased;
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(link) = done.unwrap() {
                        return Ok(link);
                    }
                }
                Some(stream) = self.dialled.recv() => {
                    let formats = formats.to_vec();
                    self.handshakes.spawn(async move {
                        WebSocketListener::accept_over(stream, &formats, max_frame).await
                    });
                }
                else => {
                    let message = "nobody can dial any more";
                    return Err(io::Error::new(io::ErrorKind::NotConnected, message));
                }
            }
        }
    }
}

/// Sends requests to a service that is in the same process.
#[derive(Clone)]
pub(crate) struct InProcess {
    service: HttpService,
}

impl HttpClient for InProcess {
    async fn request(&mut self, request: Request<Bytes>, _: usize) -> io::Result<Response<Bytes>> {
        let Ok(response) = self.service.call(request.map(Full::new)).await;
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
