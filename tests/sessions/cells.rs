//! What the suite runs on: each codec over each transport is a cell.

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use logux_sync::transports::{
    Format, FrameReceiver, FrameSender, HttpClient, HttpReceiver, HttpSender, Link,
    LongPollReceiver, LongPollSender, MemoryLink, MemoryListener, MemoryReceiver, MemorySender,
    WebSocketLink, WebSocketReceiver, WebSocketSender,
};
use logux_sync::{
    Codec, HttpListener, HttpService, Json, Listener, ListenerOptions, LongPoll, Memory,
    MessagePack, Transport, WebSocket, WebSocketListener, Xml, format,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower_service::Service;

/// Runs tests on every cell, each in a module of its name.
macro_rules! on_every_cell {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            over_memory!($test);
            over_websocket!($test);
            over_long_poll!($test);
        }
    )* };
}

/// Runs tests for every codec, all over the same transport.
macro_rules! on_every_codec {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            over_memory!($test);
        }
    )* };
}

macro_rules! over_memory {
    ($test:ident) => {
        run_on! { $test:
            json_memory: Json, InMemory;
            message_pack_memory: MessagePack, InMemory;
            xml_memory: Xml, InMemory;
        }
    };
}

macro_rules! over_websocket {
    ($test:ident) => {
        run_on! { $test:
            json_websocket: Json, OverWebSocket;
            message_pack_websocket: MessagePack, OverWebSocket;
            xml_websocket: Xml, OverWebSocket;
        }
    };
}

macro_rules! over_long_poll {
    ($test:ident) => {
        run_on! { $test:
            json_long_poll: Json, OverLongPoll;
            message_pack_long_poll: MessagePack, OverLongPoll;
            xml_long_poll: Xml, OverLongPoll;
        }
    };
}

macro_rules! run_on {
    ($test:ident: $($cell:ident: $codec:ident, $wire:ident;)*) => { $(
        #[tokio::test(start_paused = true)]
        async fn $cell() {
            use $crate::cells::{Over, $wire};
            super::$test::<Over<logux_sync::$codec, $wire>>().await;
        }
    )* };
}

/// A codec over a transport.
pub(crate) trait Cell: 'static {
    type Codec: TestCodec;
    type Wire: Wire;
    const CODEC: Self::Codec = Self::Codec::NEW;

    /// The two ends of one link.
    async fn pair() -> (LinkOf<Self::Wire>, LinkOf<Self::Wire>) {
        Self::Wire::pair(format::<Self::Codec>()).await
    }

    /// A transport and the listener that it reaches.
    fn listen() -> (<Self::Wire as Wire>::Transport, <Self::Wire as Wire>::Listener) {
        Self::Wire::listen()
    }
}

pub(crate) struct Over<C, W>(PhantomData<(C, W)>);

impl<C: TestCodec, W: Wire> Cell for Over<C, W> {
    type Codec = C;
    type Wire = W;
}

/// A codec, and how any value is written in it, so that a peer can say what is no message.
pub(crate) trait TestCodec: Codec {
    const NEW: Self;

    /// How `null` is written where an event is expected.
    const NULL: &'static [u8];

    /// Whether an object may have a key twice, where JSON lets it.
    const TAKES_SAME_KEYS: bool = true;

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
    const TAKES_SAME_KEYS: bool = false;

    fn alone(mut value: Vec<u8>) -> Vec<u8> {
        let name = value.iter().position(|byte| matches!(byte, b' ' | b'/' | b'>'));
        let namespace = *br#" xmlns="http://www.w3.org/2005/xpath-functions""#;
        let at = name.expect("an element");
        value.splice(at..at, namespace);
        value
    }
}

/// A transport that works in paused time.
pub(crate) trait Wire: 'static {
    type Sender: FrameSender;
    type Receiver: FrameReceiver;
    type Transport: Transport<Sender = Self::Sender, Receiver = Self::Receiver> + Clone + Sync;
    type Listener: Listener<Sender = Self::Sender, Receiver = Self::Receiver>;

    async fn pair(format: Format) -> (LinkOf<Self>, LinkOf<Self>);
    fn listen() -> (Self::Transport, Self::Listener);
}

pub(crate) type LinkOf<W> = Link<<W as Wire>::Sender, <W as Wire>::Receiver>;

pub(crate) struct InMemory;

impl Wire for InMemory {
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;
    type Transport = Memory;
    type Listener = MemoryListener;

    async fn pair(_: Format) -> (MemoryLink, MemoryLink) {
        Memory::pair()
    }

    fn listen() -> (Memory, MemoryListener) {
        Memory::listen()
    }
}

/// WebSocket over byte streams in memory: real sockets do not know that time is paused.
pub(crate) struct OverWebSocket;

/// What the byte stream holds between the two ends.
const CAPACITY: usize = 64 << 10;

/// Above what any test sends, so that it is the session that refuses.
pub(crate) const MAX_FRAME: usize = 1 << 30;

impl Wire for OverWebSocket {
    type Sender = WebSocketSender<DuplexStream>;
    type Receiver = WebSocketReceiver<DuplexStream>;
    type Transport = DuplexTransport;
    type Listener = DuplexListener;

    async fn pair(format: Format) -> (LinkOf<Self>, LinkOf<Self>) {
        let (near, far) = duplex(CAPACITY);
        let accepted =
            WebSocketListener::accept_over(near, std::slice::from_ref(&format), MAX_FRAME);
        tokio::try_join!(accepted, dial(far, format, MAX_FRAME)).unwrap()
    }

    fn listen() -> (DuplexTransport, DuplexListener) {
        let (dial, dialled) = mpsc::channel(16);
        (DuplexTransport { dial }, DuplexListener { dialled, handshakes: JoinSet::new() })
    }
}

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

/// Long-poll, whose requests reach the service without a network.
pub(crate) struct OverLongPoll;

impl Wire for OverLongPoll {
    type Sender = LongPollHalf<LongPollSender<InProcess>, HttpSender>;
    type Receiver = LongPollHalf<LongPollReceiver<InProcess>, HttpReceiver>;
    type Transport = LongPollTransport;
    type Listener = LongPollListener;

    async fn pair(format: Format) -> (LinkOf<Self>, LinkOf<Self>) {
        let (mut transport, mut listener) = Self::listen();
        let accepted = listener.accept(std::slice::from_ref(&format), MAX_FRAME);
        tokio::try_join!(accepted, transport.open(format, MAX_FRAME)).unwrap()
    }

    fn listen() -> (LongPollTransport, LongPollListener) {
        let (service, listener) = HttpListener::mounted(ListenerOptions::new());
        let transport = LongPoll::over("http://localhost/", InProcess { service }).unwrap();
        (LongPollTransport(transport), LongPollListener(listener))
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

/// A half of the one who dialled, or of the one who accepted.
pub(crate) enum LongPollHalf<N, F> {
    Near(N),
    Far(F),
}

impl<N: FrameSender, F: FrameSender> FrameSender for LongPollHalf<N, F> {
    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        match self {
            Self::Near(near) => near.send(frame).await,
            Self::Far(far) => far.send(frame).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Near(near) => near.flush().await,
            Self::Far(far) => far.flush().await,
        }
    }

    async fn close(self) -> io::Result<()> {
        match self {
            Self::Near(near) => near.close().await,
            Self::Far(far) => far.close().await,
        }
    }
}

impl<N: FrameReceiver, F: FrameReceiver> FrameReceiver for LongPollHalf<N, F> {
    async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
        match self {
            Self::Near(near) => near.receive(max_frame).await,
            Self::Far(far) => far.receive(max_frame).await,
        }
    }
}

#[derive(Clone)]
pub(crate) struct LongPollTransport(LongPoll<InProcess>);

impl Transport for LongPollTransport {
    type Sender = <OverLongPoll as Wire>::Sender;
    type Receiver = <OverLongPoll as Wire>::Receiver;

    async fn open(&mut self, format: Format, max_frame: usize) -> io::Result<LinkOf<OverLongPoll>> {
        let Link { sender, receiver, info } = self.0.open(format, max_frame).await?;
        let (sender, receiver) = (LongPollHalf::Near(sender), LongPollHalf::Near(receiver));
        Ok(Link { sender, receiver, info })
    }
}

pub(crate) struct LongPollListener(HttpListener);

impl Listener for LongPollListener {
    type Sender = <OverLongPoll as Wire>::Sender;
    type Receiver = <OverLongPoll as Wire>::Receiver;

    async fn accept(
        &mut self,
        formats: &[Format],
        max_frame: usize,
    ) -> io::Result<LinkOf<OverLongPoll>> {
        let Link { sender, receiver, info } = self.0.accept(formats, max_frame).await?;
        let (sender, receiver) = (LongPollHalf::Far(sender), LongPollHalf::Far(receiver));
        Ok(Link { sender, receiver, info })
    }
}
