//! A peer that does what a test says, frame by frame. Tests say it in JSON; over the link goes the
//! same in the cell's codec.

use std::fmt;

use logux_sync::codecs::{Message, Sync, WireId, WireMeta, shown};
use logux_sync::transports::{BoxedLink, FrameReceiver, FrameSender};
use logux_sync::{Added, Codec, Json, Limits, Listener, Rare, Timestamp, Transport, format};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::cells::{AnyListener, AnyTransport, Cell, MAX_FRAME, TestCodec};

/// Of one type for all cells, so that what the tests have in common is compiled once.
pub(crate) struct Peer {
    link: BoxedLink,
    to_frame: fn(&str) -> Vec<u8>,
    to_json: fn(&[u8]) -> String,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Peer {
    pub(crate) fn new<C: Cell>(link: BoxedLink) -> Self {
        Self {
            link,
            to_frame: to_frame::<C::Codec>,
            to_json: to_json::<C::Codec>,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub(crate) async fn dial<C: Cell>(transport: &AnyTransport) -> Self {
        let link = transport.clone().open(format::<C::Codec>(), MAX_FRAME).await;
        Self::new::<C>(link.unwrap())
    }

    pub(crate) async fn accept<C: Cell>(listener: &mut AnyListener) -> Self {
        Self::new::<C>(listener.accept(&[format::<C::Codec>()], MAX_FRAME).await.unwrap())
    }

    /// Sends a frame. That the other side has hung up shows when its answer is read.
    pub(crate) async fn send(&mut self, json: &str) {
        let frame = self.frame(json);
        self.bytes_sent += frame.len() as u64;
        if self.link.sender.send(frame.into()).await.is_ok() {
            let _ = self.link.sender.flush().await;
        }
    }

    /// The frame that is sent for this: what is no JSON is sent as it is.
    pub(crate) fn frame(&self, json: &str) -> Vec<u8> {
        (self.to_frame)(json)
    }

    /// What an answer to a bad frame quotes of it, as JSON.
    pub(crate) fn quoted(&self, json: &str) -> String {
        let frame = self.frame(json);
        let start = String::from_utf8_lossy(&frame[..frame.len().min(512)]);
        serde_json::to_string(&shown(&start)).unwrap()
    }

    /// The next frame; `None` once the other side has closed. The identity of the other side's log,
    /// which is random, is left out.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let frame = self.next_whole().await?;
            if !frame.starts_with(r#"["headers","#) {
                return Some(frame);
            }
            let mut message: serde_json::Value = serde_json::from_str(&frame).unwrap();
            let headers = message[1].as_object_mut().unwrap();
            headers.remove("log-epoch").expect("each `headers` has it");
            headers.remove("log-claim-of");
            if !headers.is_empty() {
                return Some(message.to_string());
            }
        }
    }

    /// The next frame with all that is in it.
    pub(crate) async fn next_whole(&mut self) -> Option<String> {
        // A link that is cut ends either way.
        let frame = self.link.receiver.receive(MAX_FRAME).await.unwrap_or_default()?;
        self.bytes_received += frame.len() as u64;
        Some((self.to_json)(&frame))
    }

    /// How many bytes the frames had that were sent, and those that were received.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_sent, self.bytes_received)
    }

    /// Closes the link in order. Dropping the peer cuts it, where the transport tells the two apart.
    pub(crate) async fn hang_up(self) {
        let _ = self.link.sender.close().await;
    }
}

/// What is no JSON stays as it is.
pub(crate) fn to_frame<C: TestCodec>(json: &str) -> Vec<u8> {
    match serde_json::from_str::<Tree>(json) {
        Ok(value) if C::NAME != Json::NAME => write::<C>(&value),
        _ => json.as_bytes().to_vec(),
    }
}

fn to_json<C: TestCodec>(frame: &[u8]) -> String {
    let mut json = Vec::new();
    if C::NAME == Json::NAME {
        json.extend_from_slice(frame);
    } else {
        let message = C::NEW.decode::<Tree>(frame, Limits::default()).expect("a message");
        Json.encode(&message, &mut json).unwrap();
    }
    String::from_utf8(json).unwrap()
}

/// Writes any value, also where it is no message: it is cut out of a message whose event it is.
fn write<C: TestCodec>(value: &Tree) -> Vec<u8> {
    let around = as_event::<C>(&Tree::Null);
    let with_value = as_event::<C>(value);
    let mut nulls = around.windows(C::NULL.len()).enumerate();
    let start = nulls.find(|(_, bytes)| *bytes == C::NULL).expect("an event").0;
    let rest = around.len() - start - C::NULL.len();
    C::alone(with_value[start..with_value.len() - rest].to_vec())
}

fn as_event<C: TestCodec>(event: &Tree) -> Vec<u8> {
    let id = WireId::Absolute { time: Timestamp::ZERO, author: None };
    let meta = WireMeta { id, time: 0, subprotocol: None, extra: Rare::default() };
    let sync = Sync { added: Added::ZERO, entries: vec![(event, meta)] };
    let mut frame = Vec::new();
    C::NEW.encode(&Message::Sync(sync), &mut frame).expect("any value can be written");
    frame
}

/// A value of JSON as it was written, with its keys in order and as often as they came.
enum Tree {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(parts) => {
                serializer.collect_map(parts.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;

        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Number(number.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Tree, E> {
                Ok(Tree::Number(number.into()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Tree, E> {
                let number = serde_json::Number::from_f64(number);
                number.map(Tree::Number).ok_or_else(|| E::custom("no number of JSON"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Tree::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Tree, A::Error> {
                let mut object = Vec::new();
                while let Some(part) = parts.next_entry()? {
                    object.push(part);
                }
                Ok(Tree::Object(object))
            }
        }

        deserializer.deserialize_any(TreeVisitor)
    }
}
