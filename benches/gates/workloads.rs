//! What is counted: fixed work of so many events, on one thread.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::pin;
use std::task::Poll;

use logux_benches::Counter;
use logux_sync::codecs::{Message, Sync, WireId, WireMeta};
use logux_sync::transports::{Listener, Transport};
use logux_sync::{
    Added, ClientSync, Codec, Draft, HttpListener, Json, Limits, LongPoll, Memory, MessagePack,
    Rare, Server, State, WebSocket, WebSocketListener, Xml, format,
};
use tokio::runtime::Builder;

use crate::frames::{Counting, Frames};
use crate::nodes::{Work, add_batches, add_one_by_one, has_all, log, start};
use crate::raw::Raw;

const MAX_FRAME: usize = 1 << 20;

/// How many peers have what one log adds.
const PEERS: usize = 64;

/// One of the workloads.
pub(crate) struct Workload {
    /// What it does: by which codec, over which transport.
    pub(crate) name: &'static str,
    /// How many events make what it does at its start and end small, and its counts even.
    pub(crate) events: u64,
    /// Does it with so many, whatever the frames, and panics where one does not arrive as it should.
    pub(crate) run: fn(u64, Frames),
}

pub(crate) const WORKLOADS: [Workload; 29] = [
    workload("encode/json", 20_000, |n, _| encode(&Json, n)),
    workload("encode/message-pack", 20_000, |n, _| encode(&MessagePack, n)),
    workload("encode/xml", 20_000, |n, _| encode(&Xml, n)),
    workload("decode/json", 20_000, |n, _| decode(&Json, n)),
    workload("decode/message-pack", 20_000, |n, _| decode(&MessagePack, n)),
    workload("decode/xml", 20_000, |n, _| decode(&Xml, n)),
    workload("log/add", 10_000, |n, _| on_one_thread(add(n))),
    workload("log/add-batch", 10_000, |n, _| on_one_thread(add_batch(n))),
    workload("log/add-late", 4_000, |n, _| on_one_thread(add_late(n))),
    workload("batches/json/memory", 20_000, |n, frames| memory(Json, Work::Batches, n, frames)),
    workload("batches/json/websocket", 20_000, |n, frames| {
        websocket(Json, Work::Batches, n, frames);
    }),
    workload("batches/message-pack/websocket", 20_000, |n, frames| {
        websocket(MessagePack, Work::Batches, n, frames);
    }),
    workload("batches/xml/websocket", 20_000, |n, frames| websocket(Xml, Work::Batches, n, frames)),
    workload("batches/json/long-poll", 20_000, |n, frames| {
        long_poll(Json, Work::Batches, n, frames);
    }),
    workload("one-by-one/json/memory", 20_000, |n, frames| memory(Json, Work::OneByOne, n, frames)),
    workload("one-by-one/json/websocket", 20_000, |n, frames| {
        websocket(Json, Work::OneByOne, n, frames);
    }),
    workload("one-by-one/message-pack/websocket", 20_000, |n, frames| {
        websocket(MessagePack, Work::OneByOne, n, frames);
    }),
    workload("one-by-one/xml/websocket", 20_000, |n, frames| {
        websocket(Xml, Work::OneByOne, n, frames);
    }),
    workload("one-by-one/json/long-poll", 20_000, |n, frames| {
        long_poll(Json, Work::OneByOne, n, frames);
    }),
    workload("confirmation/json/memory", 500, |n, frames| {
        memory(Json, Work::Confirmations, n, frames);
    }),
    workload("confirmation/json/websocket", 500, |n, frames| {
        websocket(Json, Work::Confirmations, n, frames);
    }),
    workload("confirmation/json/long-poll", 500, |n, frames| {
        long_poll(Json, Work::Confirmations, n, frames);
    }),
    workload("catch-up/json/websocket", 20_000, |n, frames| {
        websocket(Json, Work::CatchUp, n, frames);
    }),
    workload("catch-up/json/long-poll", 20_000, |n, frames| {
        long_poll(Json, Work::CatchUp, n, frames);
    }),
    workload("send/json/websocket", 20_000, |n, frames| on_one_thread(send(Json, n, frames))),
    workload("send/message-pack/websocket", 20_000, |n, frames| {
        on_one_thread(send(MessagePack, n, frames));
    }),
    workload("send/xml/websocket", 20_000, |n, frames| on_one_thread(send(Xml, n, frames))),
    workload("fan-out/json/memory", 50, |n, frames| {
        on_one_thread(async move { fan_out(Json, Memory::listen(), n, frames).await });
    }),
    workload("fan-out/json/websocket", 50, |n, frames| {
        on_one_thread(async move { fan_out(Json, by_websocket().await, n, frames).await });
    }),
];

const fn workload(name: &'static str, events: u64, run: fn(u64, Frames)) -> Workload {
    Workload { name, events, run }
}

fn on_one_thread(work: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work);
}

/// `sync` messages of 100 events.
fn message() -> Message<Counter> {
    let entry = |n: u64| {
        let time = start().shifted(n.cast_signed()).expect("a time");
        let id = WireId::Absolute { time, author: None };
        let meta =
            WireMeta { id, time: n.cast_signed(), subprotocol: None, extra: Rare::default() };
        (Counter::Inc { value: n }, meta)
    };
    Message::Sync(Sync { added: Added::ZERO.plus(100), entries: (0..100).map(entry).collect() })
}

fn encode<C: Codec>(codec: &C, events: u64) {
    let (message, mut frame) = (message(), Vec::new());
    for _ in 0..events / 100 {
        frame.clear();
        codec.encode(black_box(&message), &mut frame).expect("encoded");
    }
    assert_eq!(codec.decode::<Counter>(&frame, Limits::default()).expect("decoded"), message);
}

fn decode<C: Codec>(codec: &C, events: u64) {
    let (message, mut frame) = (message(), Vec::new());
    codec.encode(&message, &mut frame).expect("encoded");
    for _ in 0..events / 100 {
        let read = codec.decode::<Counter>(black_box(&frame), Limits::default()).expect("decoded");
        assert!(read == message, "it was changed");
    }
}

async fn add(events: u64) {
    let log = log("node").await;
    add_one_by_one(&log, events).await;
    has_all(&log, events).await;
}

async fn add_batch(events: u64) {
    let log = log("node").await;
    add_batches(&log, events).await;
    has_all(&log, events).await;
}

/// Each event was made before all that the log has.
async fn add_late(events: u64) {
    let log = log("node").await;
    for value in 0..events {
        let time = start().shifted(-value.cast_signed()).expect("a time");
        log.add(Draft::new(Counter::Inc { value }).time(time)).await.expect("added");
    }
    has_all(&log, events).await;
    // Until they are read by order of creation, it may put that off.
    let created = log.entries_created_after(None, usize::MAX).await.expect("read");
    let values = created.iter().map(|entry| entry.event.clone());
    assert!(values.eq((0..events).rev().map(|value| Counter::Inc { value })), "out of order");
}

fn memory<C: Codec>(codec: C, work: Work, events: u64, frames: Frames) {
    on_one_thread(async move {
        let (inner, listener) = Memory::listen();
        work.run(codec, (Counting { inner, frames }, listener), events).await;
    });
}

fn websocket<C: Codec>(codec: C, work: Work, events: u64, frames: Frames) {
    on_one_thread(async move {
        let (inner, listener) = by_websocket().await;
        work.run(codec, (Counting { inner, frames }, listener), events).await;
    });
}

fn long_poll<C: Codec>(codec: C, work: Work, events: u64, frames: Frames) {
    on_one_thread(async move {
        let listener = HttpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let inner = LongPoll::new(&url).expect("a URL");
        work.run(codec, (Counting { inner, frames }, listener), events).await;
    });
}

async fn by_websocket() -> (WebSocket, WebSocketListener) {
    let listener = WebSocketListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    (WebSocket::new(&url).expect("a URL"), listener)
}

/// A client sends all that its log has, as fast as they are taken. What is allocated is for sending alone.
async fn send<C: Codec>(codec: C, events: u64, frames: Frames) {
    let log = log("client").await;
    uncounted(add_batches(&log, events)).await;
    let (inner, mut listener) = by_websocket().await;
    let client = ClientSync::new(&log, codec.clone(), Counting { inner, frames }).start();
    let link = listener.accept(&[format::<C>()], MAX_FRAME).await.expect("a link");
    let mut server = Raw::accept(codec, link).await;
    uncounted(server.confirm(events)).await;
    client.wait_for(State::Synchronized).await.expect("in step");
}

/// What it allocates is not counted; what is, is that of other tasks.
async fn uncounted(work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(|context| {
        let mut polled = Poll::Pending;
        allocation_counter::opt_out(|| polled = work.as_mut().poll(context));
        polled
    })
    .await;
}

/// A server has each event sent to many peers before the next one comes.
async fn fan_out<C: Codec>(
    codec: C,
    (inner, listener): (impl Transport, impl Listener),
    events: u64,
    frames: Frames,
) {
    let log = log("server").await;
    let server = Server::new(&log, codec.clone(), listener).start();
    let mut transport = Counting { inner, frames };
    let mut peers = Vec::new();
    for number in 0..PEERS {
        let link = transport.open(format::<C>(), MAX_FRAME).await.expect("a link");
        peers.push(Raw::connect(codec.clone(), link, &format!("client{number}")).await);
    }
    for value in 0..events {
        log.add(Counter::Inc { value }).await.expect("added");
        for peer in &mut peers {
            peer.confirm(value + 1).await;
        }
    }
    assert_eq!(server.sessions().len(), PEERS);
}
