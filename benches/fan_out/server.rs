//! The two servers.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use logux_benches::Counter;
use logux_sync::codecs::{Message, Sync, WireId, WireMeta};
use logux_sync::{
    Added, Codec, Json, ListenerOptions, Log, MemoryStore, Rare, RunningServer, Server,
    SyncOptions, Timestamp, WebSocketListener,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use crate::Took;
use crate::clients::Clients;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    /// With one more client, that was let in and reads nothing.
    OursAndOneStalls,
    Raw,
}

/// A server that has told so many events.
pub(crate) struct Running {
    told: u64,
    kind: Kind,
}

enum Kind {
    Ours { log: Log<Counter>, _server: RunningServer },
    Raw(watch::Sender<Utf8Bytes>),
}

impl Side {
    pub(crate) async fn start(self) -> (Running, String) {
        let (kind, address) = if self == Self::Raw { raw().await } else { ours().await };
        (Running { told: 0, kind }, format!("ws://{address}"))
    }
}

impl Running {
    /// Tells events, each when all clients have the one before.
    pub(crate) async fn deliver(&mut self, clients: &mut Clients, events: usize) -> Took {
        let (start, before) = (Instant::now(), worked());
        for _ in 0..events {
            let event = Counter::Inc { value: self.told };
            self.told += 1;
            match &self.kind {
                Kind::Ours { log, .. } => drop(log.add(event).await.expect("added")),
                Kind::Raw(prepared) => drop(prepared.send_replace(frame(event, self.told))),
            }
            clients.have(self.told).await;
        }
        Took { passed: start.elapsed(), worked: worked().saturating_sub(before) }
    }
}

/// How long the processor has worked for this thread.
fn worked() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

async fn ours() -> (Kind, std::net::SocketAddr) {
    let log = Log::open("server".parse().expect("a node id"), MemoryStore::new()).await;
    let log = log.expect("a log");
    let as_many_as_come = ListenerOptions::new()
        .max_links_per_address(usize::MAX)
        .max_handshakes(usize::MAX)
        .handshake_timeout(Duration::from_secs(60));
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let listener = listener.options(as_many_as_come);
    let options = SyncOptions::new().timeout(Duration::from_secs(600));
    let options = options.admission_timeout(Duration::from_secs(60));
    let server = Server::new(&log, Json, listener).options(options).max_strangers(usize::MAX);
    let server = server.start();
    (Kind::Ours { log, _server: server }, address)
}

/// One task for each connection, which the next frame wakes: so that a client that does not read holds up itself.
async fn raw() -> (Kind, std::net::SocketAddr) {
    let (prepared, frames) = watch::channel(Utf8Bytes::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an option");
            let mut frames = frames.clone();
            tokio::spawn(async move {
                // The sizes that the WebSocket transport of logux-sync has.
                let config = WebSocketConfig::default()
                    .read_buffer_size(4 << 10)
                    .write_buffer_size(16 << 10);
                let socket = accept_async_with_config(stream, Some(config)).await;
                let mut socket = socket.expect("a handshake");
                frames.mark_unchanged();
                while frames.changed().await.is_ok() {
                    let frame = frames.borrow_and_update().clone();
                    if socket.send(tungstenite::Message::Text(frame)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (Kind::Raw(prepared), address)
}

/// What ours sends of an event.
fn frame(event: Counter, added: u64) -> Utf8Bytes {
    let time = Timestamp::new(1_790_000_000_000 + added).expect("a time");
    let id = WireId::Absolute { time, author: None };
    let meta =
        WireMeta { id, time: added.cast_signed(), subprotocol: None, extra: Rare::default() };
    let added = Added::new(added).expect("a position");
    let message = Message::Sync(Sync { added, entries: vec![(event, meta)] });
    let mut frame = Vec::new();
    Json.encode(&message, &mut frame).expect("encoded");
    String::from_utf8(frame).expect("a text").into()
}
