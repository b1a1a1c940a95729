//! What the tests have in common: logs on stores that can be stuck, peers that a test plays, and bounds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use logux_sync::transports::{Format, FrameReceiver, FrameSender, Link};
use logux_sync::{
    Added, Clock, Json, Listener, Log, Memory, Reconnect, SyncOptions, Transport, Value, format,
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::gate::Gated;

/// How long an end may take, where a test does not say: the default.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Longer than anything that is bounded, and shorter than for ever.
pub(crate) const AGES: Duration = Duration::from_secs(24 * 60 * 60);

/// The link of `Memory`.
pub(crate) type AnyLink = Link<<Memory as Transport>::Sender, <Memory as Transport>::Receiver>;

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn options() -> SyncOptions<Value> {
    SyncOptions::new()
}

pub(crate) async fn log(node: &str) -> (Log<Value>, Gated) {
    let store = Gated::default();
    let shared = Arc::new(store.clone());
    (Log::open_with(node.parse().unwrap(), shared, Clock::system()).await.unwrap(), store)
}

pub(crate) async fn add(log: &Log<Value>, numbers: std::ops::Range<u64>) {
    log.add_batch(numbers.map(|n| json!({ "n": n }))).await.unwrap();
}

/// The numbers of the events in a `sync` message.
pub(crate) fn numbers(message: &Value) -> Vec<u64> {
    let events = message.as_array().unwrap().iter().skip(2).step_by(2);
    events.map(|event| event["n"].as_u64().unwrap()).collect()
}

/// The numbers of all events of a log, sorted.
pub(crate) async fn held(log: &Log<Value>) -> Vec<u64> {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let mut held: Vec<_> = entries.iter().map(|entry| entry.event["n"].as_u64().unwrap()).collect();
    held.sort_unstable();
    held
}

pub(crate) fn quick<T>(transport: T) -> Reconnect<T> {
    Reconnect::new(transport).max_delay(seconds(1)).seed(1)
}

/// One that does not dial again by itself for ages.
pub(crate) fn patient<T>(transport: T) -> Reconnect<T> {
    Reconnect::new(transport).first_delay(AGES).min_delay(AGES).max_delay(AGES)
}

/// How long a future takes, and what it answers. It must end.
pub(crate) async fn taking<F: Future>(future: F) -> (Duration, F::Output) {
    let start = Instant::now();
    let output = timeout(AGES, future).await.expect("it ends");
    (start.elapsed(), output)
}

/// A peer that does what a test says.
pub(crate) struct Peer(AnyLink);

impl Peer {
    pub(crate) fn new(link: AnyLink) -> Self {
        Self(link)
    }

    pub(crate) async fn dial(transport: &Memory) -> Self {
        Self(transport.clone().open(format::<Json>(), 1 << 20).await.unwrap())
    }

    pub(crate) async fn accept(listener: &mut impl AnyListener) -> Self {
        Self(timeout(AGES, listener.next()).await.expect("it is dialled"))
    }

    pub(crate) async fn send(&mut self, frame: &str) {
        let _ = self.0.sender.send(frame.to_owned().into()).await;
    }

    /// The next frame that is not of headers; `None` at the end of the link.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let text = self.next_of_all().await?;
            if !text.starts_with(r#"["headers","#) {
                return Some(text);
            }
        }
    }

    pub(crate) async fn next_of_all(&mut self) -> Option<String> {
        let frame = timeout(AGES, self.0.receiver.receive(1 << 20)).await.expect("a frame");
        Some(String::from_utf8(frame.unwrap_or_default()?.to_vec()).unwrap())
    }

    pub(crate) fn into_link(self) -> AnyLink {
        self.0
    }

    /// Reads up to the next `sync`, and answers its position and its numbers.
    pub(crate) async fn next_sync(&mut self) -> (u64, Vec<u64>) {
        loop {
            let frame = self.next().await.expect("a frame");
            let message: Value = serde_json::from_str(&frame).unwrap();
            if message[0] == "sync" {
                return (message[1].as_u64().unwrap(), numbers(&message));
            }
        }
    }

    pub(crate) async fn hang_up(self) {
        let _ = self.0.sender.close().await;
    }

    /// Reads to the end of the link.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Accepts links of `Memory`.
pub(crate) trait AnyListener {
    async fn next(&mut self) -> AnyLink;
}

impl<L> AnyListener for L
where
    L: Listener<Sender = <Memory as Transport>::Sender, Receiver = <Memory as Transport>::Receiver>,
{
    async fn next(&mut self) -> AnyLink {
        self.accept(&[format::<Json>()], 1 << 20).await.unwrap()
    }
}

/// A transport whose first dials hang for ever.
pub(crate) struct Hanging<T> {
    pub(crate) inner: T,
    pub(crate) times: usize,
}

impl<T: Transport> Transport for Hanging<T> {
    type Sender = T::Sender;
    type Receiver = T::Receiver;

    async fn open(
        &mut self,
        format: Format,
        max_frame: usize,
    ) -> io::Result<Link<T::Sender, T::Receiver>> {
        if self.times > 0 {
            self.times -= 1;
            std::future::pending::<()>().await;
        }
        self.inner.open(format, max_frame).await
    }
}

pub(crate) const CONNECT: &str = r#"["connect",7,"10:client",0]"#;
pub(crate) const CONNECTED: &str = r#"["connected",7,"server",[1000,1000]]"#;
