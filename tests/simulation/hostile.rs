//! A client that was let in and means harm: it speaks valid messages, and chooses what they say.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use fastrand::Rng;
use logux_sync::codecs::{Connect, MAX_SAFE_INTEGER, Message, Protocol, Sync, WireEntry, WireMeta};
use logux_sync::transports::{Format, FrameReceiver, FrameSender, Link};
use logux_sync::{
    Added, Codec, EventId, Extra, Headers, Limits, NodeId, ProtocolError, Rare, Timestamp,
    Transport, Value,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::any_codec::AnyCodec;
use crate::event::UNREADABLE;
use crate::network::{Network, SimulatedLink};
use crate::node::NodeTime;

/// Its events that can be read have numbers from here on.
const FIRST_NUMBER: u64 = 1 << 20;

/// What it remembers of its own events and of those that were sent to it.
const MEMORY: usize = 100;

pub(crate) struct Hostile {
    pub(crate) id: NodeId,
    /// Whom it attacks.
    pub(crate) server: NodeId,
    /// The other nodes, also the server, and their clocks, which it can guess.
    pub(crate) victims: Vec<(NodeId, NodeTime)>,
    pub(crate) network: Network,
    pub(crate) codec: AnyCodec,
    pub(crate) random: Rng,
    /// Whether it sends a thousand events that nobody can read.
    pub(crate) floods: bool,
    state: State,
}

#[derive(Default)]
struct State {
    made: u64,
    added: u64,
    /// What it has sent, to send it again.
    sent: VecDeque<WireEntry<Value>>,
    /// What was sent to it.
    received: VecDeque<EventId>,
    received_up_to: Added,
    /// The events that wait for its confirmation.
    unconfirmed: VecDeque<Added>,
    base_time: Timestamp,
}

/// It closes the connection, or the connection is lost.
struct Over;

impl Hostile {
    pub(crate) fn new(
        id: NodeId,
        server: NodeId,
        victims: Vec<(NodeId, NodeTime)>,
        network: &Network,
        codec: AnyCodec,
        mut random: Rng,
    ) -> Self {
        let floods = random.u8(..8) == 0;
        let (network, state) = (network.clone(), State::default());
        Self { id, server, victims, network, codec, random, floods, state }
    }

    /// Connects again and again.
    pub(crate) async fn run(mut self) {
        let mut transport = self.network.transport(&self.id, &self.server);
        loop {
            let name = AnyCodec::NAME;
            let format = Format { name, media_type: AnyCodec::MEDIA_TYPE, is_text: |_| false };
            if let Ok(link) = transport.open(format, usize::MAX).await {
                let Err(Over) = self.converse(link).await;
            }
            sleep(Duration::from_millis(self.random.u64(..1_000))).await;
        }
    }

    async fn converse(&mut self, link: SimulatedLink) -> Result<std::convert::Infallible, Over> {
        let Link { mut sender, mut receiver, .. } = link;
        self.state.unconfirmed.clear();
        for message in self.introduction() {
            self.send(&mut sender, &message).await?;
        }
        let mut acts_at = None;
        loop {
            tokio::select! {
                biased;
                frame = receiver.receive(usize::MAX) => {
                    let frame = frame.ok().flatten().ok_or(Over)?;
                    if self.hear(&frame) {
                        acts_at = Some(Instant::now());
                    }
                }
                () = until(acts_at) => {
                    for message in self.act() {
                        self.send(&mut sender, &message).await?;
                        if matches!(message, Message::Error(_)) {
                            return Err(Over);
                        }
                    }
                    if self.random.u8(..40) == 0 {
                        return Err(Over);
                    }
                    let wait = Duration::from_millis(self.random.u64(..1_500));
                    acts_at = Some(Instant::now() + wait);
                }
            }
        }
    }

    async fn send(
        &self,
        sender: &mut impl FrameSender,
        message: &Message<Value>,
    ) -> Result<(), Over> {
        let mut frame = Vec::new();
        self.codec.encode(message, &mut frame).unwrap();
        sender.send(frame.into()).await.map_err(|_| Over)
    }

    /// Claims to have what it likes.
    fn introduction(&mut self) -> Vec<Message<Value>> {
        let synced = match self.random.u8(..4) {
            0 => Added::ZERO,
            1 => Added::new(self.random.u64(..MAX_SAFE_INTEGER)).unwrap(),
            _ => self.state.received_up_to,
        };
        let connect = Connect {
            protocol: Protocol::V7.number(),
            node_id: self.id.clone(),
            synced,
            credentials: None,
            subprotocol: None,
        };
        let mut headers = Headers::new();
        if self.random.bool() {
            // Each time another log, or always the same.
            let epoch =
                format!("{:016x}", if self.random.bool() { 7 } else { self.random.u64(..) });
            headers.insert("log-epoch".to_owned(), epoch.into());
        }
        vec![Message::Headers(headers), Message::Connect(connect)]
    }

    /// Whether it is let in by that.
    fn hear(&mut self, frame: &[u8]) -> bool {
        let message: Message<Value> = self.codec.decode(frame, Limits::default()).unwrap();
        match message {
            Message::Connected(connected) => {
                self.state.base_time = connected.end;
                return true;
            }
            Message::Sync(sync) => {
                let ids = sync.entries.iter().map(|(_, meta)| {
                    Protocol::V7.event_id(meta.id.clone(), &self.server, Timestamp::ZERO).unwrap()
                });
                self.state.received.extend(ids);
                while self.state.received.len() > MEMORY {
                    self.state.received.pop_front();
                }
                self.state.unconfirmed.push_back(sync.added);
                self.state.received_up_to = sync.added;
            }
            _ => {}
        }
        false
    }

    fn act(&mut self) -> Vec<Message<Value>> {
        match self.random.u8(..100) {
            0..50 => {
                let count = self.random.u64(1..20);
                let entries = (0..count).map(|_| self.event()).collect();
                vec![self.sync(entries)]
            }
            50..56 => vec![self.occupation()],
            56..60 if self.floods => vec![self.flood()],
            60..70 => self.confirm(usize::MAX),
            // Some of what waits; or what never was sent.
            70..73 => self.confirm(1),
            73..76 => vec![Message::Synced(self.number())],
            76..84 => {
                let mut messages = vec![self.report()];
                if self.random.bool() {
                    messages.extend(self.confirm(usize::MAX));
                }
                messages
            }
            84..89 => vec![self.sync(Vec::new())],
            89..92 => vec![Message::Ready(self.number())],
            92..95 => vec![Message::Ping(self.number()), Message::Pong(self.number())],
            95..98 => vec![self.error()],
            _ => vec![Message::Debug(
                "another node has your name and another log: give each node a name of its own"
                    .to_owned(),
            )],
        }
    }

    /// Events, and a position that may repeat, fall or be the last one that there is.
    fn sync(&mut self, entries: Vec<WireEntry<Value>>) -> Message<Value> {
        self.state.added += entries.len() as u64;
        let added = match self.random.u8(..10) {
            0 => self.number(),
            _ => Added::new(self.state.added).unwrap(),
        };
        Message::Sync(Sync { added, entries })
    }

    fn event(&mut self) -> WireEntry<Value> {
        if !self.state.sent.is_empty() && self.random.u8(..6) == 0 {
            let again = self.random.usize(..self.state.sent.len());
            let (event, meta) = self.state.sent[again].clone();
            let event = if self.random.bool() { event } else { self.new_event() };
            return (event, meta);
        }
        let (node, now) = self.author();
        let time = match self.random.u8(..8) {
            0 => self.random.u64(..=now.value()),
            1..5 => now.value() - 1_000 + self.random.u64(..6_000),
            5 => now.value() + self.random.u64(..3 * 24 * 3_600_000),
            6 => MAX_SAFE_INTEGER - self.random.u64(..3),
            _ => now.value() + self.random.u64(..MAX_SAFE_INTEGER - now.value()),
        };
        let id = EventId::new(Timestamp::new(time).unwrap(), node);
        let event = self.new_event();
        let meta = self.meta(&id);
        self.state.sent.push_back((event.clone(), meta.clone()));
        if self.state.sent.len() > MEMORY {
            self.state.sent.pop_front();
        }
        (event, meta)
    }

    /// One of the others, the server, or itself, maybe in another tab; and the time there.
    fn author(&mut self) -> (NodeId, Timestamp) {
        let (victim, time) = &self.victims[self.random.usize(..self.victims.len())];
        let now = time.now();
        match self.random.u8(..10) {
            0..5 => (victim.clone(), now),
            5 if self.id.as_str().contains(':') => {
                (format!("{}:tab", self.id).parse().unwrap(), now)
            }
            _ => (self.id.clone(), now),
        }
    }

    fn new_event(&mut self) -> Value {
        self.state.made += 1;
        match self.random.u8(..10) {
            0..7 => (FIRST_NUMBER + self.state.made).into(),
            7 => (UNREADABLE + self.state.made).into(),
            8 => "a text".into(),
            // Too long for any node here.
            _ => "a text".repeat(30).into(),
        }
    }

    fn meta(&mut self, id: &EventId) -> WireMeta {
        let base = self.state.base_time;
        let time = match self.random.u8(..6) {
            0 => -base.since(Timestamp::ZERO),
            1 => Timestamp::new(MAX_SAFE_INTEGER).unwrap().since(base),
            2 => self.random.i64(-1_000_000..1_000_000),
            _ => id.time().since(base),
        };
        let mut extra = Extra::new();
        if self.random.u8(..20) == 0 {
            extra.insert("long".to_owned(), "a text".repeat(30).into());
        }
        let id = Protocol::V7.wire_id(id, &self.id, base);
        WireMeta { id, time, subprotocol: None, extra: extra.into() }
    }

    /// Many ids in a row that a node may give to its next events.
    fn occupation(&mut self) -> Message<Value> {
        let (victim, time) = &self.victims[self.random.usize(..self.victims.len())];
        let (victim, now) = (victim.clone(), time.now());
        let ahead = self.random.i64(0..2_000);
        let entries = (0..200).map(|n| {
            let id = EventId::new(now.shifted(ahead + n).unwrap(), victim.clone());
            (self.new_event(), self.meta(&id))
        });
        let entries = entries.collect();
        self.sync(entries)
    }

    /// Many events of its own that nobody can read.
    fn flood(&mut self) -> Message<Value> {
        let (id, base) = (self.id.clone(), self.state.base_time);
        let entries = (0..400).map(|_| {
            self.state.made += 1;
            let id = EventId::new(base.shifted(self.state.made.cast_signed()).unwrap(), id.clone());
            let meta = WireMeta {
                id: Protocol::V7.wire_id(&id, &self.id, base),
                time: 0,
                subprotocol: None,
                extra: Rare::default(),
            };
            ((UNREADABLE + self.state.made).into(), meta)
        });
        let entries = entries.collect();
        self.sync(entries)
    }

    fn confirm(&mut self, count: usize) -> Vec<Message<Value>> {
        let count = count.min(self.state.unconfirmed.len());
        self.state.unconfirmed.drain(..count).map(Message::Synced).collect()
    }

    /// Says that it does not take some of what was sent to it, or something that was not.
    fn report(&mut self) -> Message<Value> {
        let mut ids: Vec<EventId> = Vec::new();
        for _ in 0..self.random.usize(1..5) {
            let received = &self.state.received;
            if received.is_empty() || self.random.u8(..4) == 0 {
                let (node, now) = self.author();
                ids.push(EventId::new(now, node));
            } else {
                ids.push(received[self.random.usize(..received.len())].clone());
            }
        }
        let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let (count, names) = (ids.len(), names.join(" "));
        Message::Debug(format!("refused {count} events: {names} because it says so"))
    }

    fn error(&mut self) -> Message<Value> {
        Message::Error(match self.random.u8(..3) {
            0 => ProtocolError::WrongFormat("what you sent".to_owned()),
            1 => ProtocolError::Other {
                kind: "callback-failed".to_owned(),
                options: "in_filter".into(),
            },
            _ => ProtocolError::Timeout(1_000),
        })
    }

    fn number(&mut self) -> Added {
        let number = match self.random.u8(..4) {
            0 => 0,
            1 => MAX_SAFE_INTEGER,
            _ => self.random.u64(..1_000),
        };
        Added::new(number).unwrap()
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
