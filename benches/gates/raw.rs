//! A peer without a log, that costs next to nothing: of what is counted, all but a little is the other side's.

use logux_benches::Counter;
use logux_sync::codecs::{Connect, Connected, Message};
use logux_sync::transports::{FrameReceiver, FrameSender, Link};
use logux_sync::{Added, Codec, Limits};

use crate::nodes::start;

const MAX_FRAME: usize = 1 << 20;

pub(crate) struct Raw<C, S, R> {
    codec: C,
    link: Link<S, R>,
    /// How many events it has received.
    received: u64,
}

impl<C: Codec, S: FrameSender, R: FrameReceiver> Raw<C, S, R> {
    /// Introduces itself, to a server.
    pub(crate) async fn connect(codec: C, link: Link<S, R>, node: &str) -> Self {
        let mut raw = Self { codec, link, received: 0 };
        let connect = Message::Connect(Connect {
            protocol: 7,
            node_id: node.parse().expect("a node id"),
            synced: Added::ZERO,
            credentials: None,
            subprotocol: None,
        });
        raw.say(&connect).await;
        while !matches!(raw.hear().await, Message::Connected(_)) {}
        raw
    }

    /// Lets a client in.
    pub(crate) async fn accept(codec: C, link: Link<S, R>) -> Self {
        let mut raw = Self { codec, link, received: 0 };
        while !matches!(raw.hear().await, Message::Connect(_)) {}
        let connected = Message::Connected(Connected {
            protocol: 7,
            node_id: "server".parse().expect("a node id"),
            start: start(),
            end: start(),
            credentials: None,
            subprotocol: None,
        });
        raw.say(&connected).await;
        raw.say(&Message::Ready(Added::ZERO)).await;
        raw
    }

    /// Confirms events until it has so many.
    ///
    /// # Panics
    /// Where one is missing, comes twice or out of order, or is not what was added.
    pub(crate) async fn confirm(&mut self, events: u64) {
        while self.received < events {
            if let Message::Sync(sync) = self.hear().await {
                for (event, _) in sync.entries {
                    assert_eq!(event, Counter::Inc { value: self.received });
                    self.received += 1;
                }
                self.say(&Message::Synced(sync.added)).await;
            }
        }
    }

    async fn say(&mut self, message: &Message<Counter>) {
        let mut frame = Vec::new();
        self.codec.encode(message, &mut frame).expect("encoded");
        self.link.sender.send(frame.into()).await.expect("sent");
        self.link.sender.flush().await.expect("sent");
    }

    async fn hear(&mut self) -> Message<Counter> {
        let frame = self.link.receiver.receive(MAX_FRAME).await.expect("received");
        self.codec.decode(&frame.expect("a frame"), Limits::default()).expect("a message")
    }
}
