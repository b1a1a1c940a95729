//! How messages are laid out: arrays whose first item is the type.
//!
//! Written by hand, so that the events of a `sync` go straight between the frame and the user's
//! type: what serde derives for such a shape would hold them in a tree of values in between.
//! Source: Logux protocol 7, as `@logux/core` 0.12 checks it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::ProtocolError;
use crate::id::{Digits, IdText, NodeId, parse_author, parse_digits};
use crate::message::{
    Connect, Connected, Extra, Headers, Message, Subprotocol, Sync, WireEntry, WireId, WireMeta,
};
use crate::number::{Counter, Integer, Timestamp};

impl<E: Serialize> Serialize for Message<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(self.items()))?;
        items.serialize_element(self.kind())?;
        match self {
            Self::Connect(connect) => {
                items.serialize_element(&connect.protocol)?;
                items.serialize_element(&connect.node_id)?;
                items.serialize_element(&connect.synced)?;
                serialize_options(&mut items, connect.credentials.as_ref(), connect.subprotocol)?;
            }
            Self::Connected(connected) => {
                items.serialize_element(&connected.protocol)?;
                items.serialize_element(&connected.node_id)?;
                items.serialize_element(&[connected.start, connected.end])?;
                serialize_options(
                    &mut items,
                    connected.credentials.as_ref(),
                    connected.subprotocol,
                )?;
            }
            Self::Sync(sync) => {
                items.serialize_element(&sync.added)?;
                for (event, meta) in &sync.entries {
                    items.serialize_element(event)?;
                    items.serialize_element(meta)?;
                }
            }
            Self::Synced(added) | Self::Ready(added) | Self::Ping(added) | Self::Pong(added) => {
                items.serialize_element(added)?;
            }
            Self::Headers(headers) => items.serialize_element(headers)?,
            Self::Error(error) => {
                items.serialize_element(error.kind())?;
                let options = error.options();
                if !options.is_null() {
                    items.serialize_element(&options)?;
                }
            }
            Self::Debug(text) => {
                items.serialize_element("error")?;
                items.serialize_element(text)?;
            }
            Self::Unknown(_) => {}
        }
        items.end()
    }
}

impl<E> Message<E> {
    /// How many items the array has, the type included.
    fn items(&self) -> usize {
        match self {
            Self::Connect(c) => 4 + usize::from(c.credentials.is_some() || c.subprotocol.is_some()),
            Self::Connected(c) => {
                4 + usize::from(c.credentials.is_some() || c.subprotocol.is_some())
            }
            Self::Sync(sync) => 2 + 2 * sync.entries.len(),
            Self::Synced(_) | Self::Ready(_) | Self::Ping(_) | Self::Pong(_) | Self::Headers(_) => {
                2
            }
            Self::Error(error) => 2 + usize::from(!error.options().is_null()),
            Self::Debug(_) => 3,
            Self::Unknown(_) => 1,
        }
    }
}

/// The options of `connect` and `connected`: left out where there are none, as JavaScript does.
fn serialize_options<S: SerializeSeq>(
    items: &mut S,
    credentials: Option<&Value>,
    subprotocol: Option<Subprotocol>,
) -> Result<(), S::Error> {
    if credentials.is_none() && subprotocol.is_none() {
        return Ok(());
    }
    items.serialize_element(&WrittenOptions { token: credentials, subprotocol })
}

#[derive(Serialize)]
pub(crate) struct WrittenOptions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subprotocol: Option<Subprotocol>,
}

/// Reads a message, of no more than so many events, from the items of its array.
pub(crate) struct MessageVisitor<E> {
    max_events: usize,
    event: PhantomData<E>,
}

impl<E> MessageVisitor<E> {
    pub(crate) const fn new(max_events: usize) -> Self {
        Self { max_events, event: PhantomData }
    }
}

impl<'de, E: Deserialize<'de>> Visitor<'de> for MessageVisitor<E> {
    type Value = Message<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Logux message: an array that starts with its type")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Message<E>, A::Error> {
        let items = &mut items;
        let message = match next(items, "a type")? {
            Kind::Connect => {
                let (protocol, node_id, synced) =
                    (version(items)?, next(items, "a node id")?, next(items, "a position")?);
                let Options { credentials, subprotocol } = options(items)?;
                Message::Connect(Connect { protocol, node_id, synced, credentials, subprotocol })
            }
            Kind::Connected => {
                let (protocol, node_id) = (version(items)?, next(items, "a node id")?);
                let [start, end]: [Timestamp; 2] = next(items, "two times")?;
                let Options { credentials, subprotocol } = options(items)?;
                Message::Connected(Connected {
                    protocol,
                    node_id,
                    start,
                    end,
                    credentials,
                    subprotocol,
                })
            }
            Kind::Sync => {
                let added = next(items, "a position")?;
                Message::Sync(Sync { added, entries: entries(items, self.max_events)? })
            }
            Kind::Synced => Message::Synced(next(items, "a position")?),
            Kind::Ready => Message::Ready(next(items, "a position")?),
            Kind::Ping => Message::Ping(next(items, "a position")?),
            Kind::Pong => Message::Pong(next(items, "a position")?),
            Kind::Headers => {
                let Object(headers) = next(items, "headers")?;
                Message::Headers(headers)
            }
            Kind::Error => {
                let kind: String = next(items, "an error's type")?;
                let options = items.next_element::<Value>()?.unwrap_or_default();
                Message::Error(ProtocolError::from_wire(&kind, options))
            }
            Kind::Debug => match next::<String, _>(items, "`error`")?.as_str() {
                "error" => Message::Debug(next(items, "a text")?),
                _ => return Err(de::Error::custom("a debug message is of the type `error`")),
            },
            Kind::Unknown(kind) => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Message::Unknown(kind)
            }
        };
        match items.next_element::<IgnoredAny>()? {
            Some(_) => Err(de::Error::custom("the message has too many items")),
            None => Ok(message),
        }
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    items: &mut A,
    what: &str,
) -> Result<T, A::Error> {
    items
        .next_element()?
        .ok_or_else(|| de::Error::custom(format_args!("the message ends before {what}")))
}

fn version<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<u32, A::Error> {
    let Integer(version) = next(items, "a protocol version")?;
    u32::try_from(version).map_err(|_| de::Error::custom("no such protocol version"))
}

fn options<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<Options, A::Error> {
    Ok(items.next_element()?.unwrap_or_default())
}

/// The events of a `sync`, each followed by its meta.
///
/// The list grows with what arrives: a length that a format declares up front is a peer's word.
fn entries<'de, E, A>(items: &mut A, max: usize) -> Result<Vec<WireEntry<E>>, A::Error>
where
    E: Deserialize<'de>,
    A: SeqAccess<'de>,
{
    let mut entries = Vec::new();
    loop {
        let number = entries.len() + 1;
        let Some(event) = items.next_element().map_err(|error| in_event(number, &error))? else {
            break;
        };
        if number > max {
            return Err(de::Error::custom(format_args!("the message has more than {max} events")));
        }
        let meta = next(items, "an event's meta").map_err(|error| in_event(number, &error))?;
        entries.push((event, meta));
    }
    if entries.is_empty() {
        return Err(de::Error::custom("a sync message has at least one event"));
    }
    Ok(entries)
}

/// The same error, with the place of the event in its message, counted from 1.
///
/// What an error of a format keeps apart, its causes, becomes part of the text, for the text is all
/// that a new error takes. A line and a column at the end of it stay what they are: `serde_json`
/// finds them there.
#[cold]
pub(crate) fn in_event<E: de::Error>(number: usize, error: &E) -> E {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    E::custom(format_args!("event {number}: {text}"))
}

/// The first item of a message. Known types are told apart without keeping their text.
enum Kind {
    Connect,
    Connected,
    Sync,
    Synced,
    Ready,
    Ping,
    Pong,
    Headers,
    Error,
    Debug,
    Unknown(String),
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindVisitor;

        impl Visitor<'_> for KindVisitor {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the type of a message")
            }

            fn visit_str<E: de::Error>(self, kind: &str) -> Result<Kind, E> {
                Ok(match kind {
                    "connect" => Kind::Connect,
                    "connected" => Kind::Connected,
                    "sync" => Kind::Sync,
                    "synced" => Kind::Synced,
                    "ready" => Kind::Ready,
                    "ping" => Kind::Ping,
                    "pong" => Kind::Pong,
                    "headers" => Kind::Headers,
                    "error" => Kind::Error,
                    "debug" => Kind::Debug,
                    unknown => Kind::Unknown(unknown.to_owned()),
                })
            }
        }

        deserializer.deserialize_str(KindVisitor)
    }
}

/// An object only: the `Map` of `serde_json` takes nothing at all for an empty one.
struct Object(Headers);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                Headers::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// The options of `connect` and `connected`. An object only: serde's derive would take an array.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) credentials: Option<Value>,
    pub(crate) subprotocol: Option<Subprotocol>,
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OptionsVisitor;

        impl<'de> Visitor<'de> for OptionsVisitor {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Options, A::Error> {
                let mut options = Options::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "token" => once(&mut options.credentials, map.next_value()?, "token")?,
                        "subprotocol" => {
                            once(&mut options.subprotocol, map.next_value()?, "subprotocol")?;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(options)
            }
        }

        deserializer.deserialize_map(OptionsVisitor)
    }
}

/// Sets what may be set only once: of two values under one key neither can be trusted.
fn once<T, E: de::Error>(slot: &mut Option<T>, value: T, key: &'static str) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(key)),
    }
}

/// Keys that belong to each node's own log: they never travel, and are not believed when they do.
/// Source: Logux protocol 7, event meta.
const LOCAL_KEYS: [&str; 4] = ["added", "reasons", "indexes", "keepLast"];

/// Keys of the protocol, which an application's own meta cannot take.
const WIRE_KEYS: [&str; 3] = ["id", "time", "subprotocol"];

impl Serialize for WireMeta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = |key: &&String| {
            !LOCAL_KEYS.contains(&key.as_str()) && !WIRE_KEYS.contains(&key.as_str())
        };
        let extra = self.extra.keys().filter(own).count();
        let len = 2 + usize::from(self.subprotocol.is_some()) + extra;
        let mut map = serializer.serialize_map(Some(len))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("time", &self.time)?;
        if let Some(subprotocol) = &self.subprotocol {
            map.serialize_entry("subprotocol", subprotocol)?;
        }
        for (key, value) in self.extra.iter().filter(|(key, _)| own(key)) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for WireMeta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetaVisitor)
    }
}

struct MetaVisitor;

impl<'de> Visitor<'de> for MetaVisitor {
    type Value = WireMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the meta of an event: an object with `id` and `time`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireMeta, A::Error> {
        let (mut id, mut time, mut subprotocol) = (None, None, None);
        let mut extra = Extra::new();
        while let Some(key) = map.next_key()? {
            match key {
                MetaKey::Id => once(&mut id, map.next_value()?, "id")?,
                MetaKey::Time => once(&mut time, map.next_value::<Integer>()?.0, "time")?,
                MetaKey::Subprotocol => once(&mut subprotocol, map.next_value()?, "subprotocol")?,
                MetaKey::Local => {
                    map.next_value::<IgnoredAny>()?;
                }
                MetaKey::Extra(key) => {
                    if extra.insert(key, map.next_value()?).is_some() {
                        return Err(de::Error::custom("a key of the meta comes twice"));
                    }
                }
            }
        }
        Ok(WireMeta {
            id: id.ok_or_else(|| de::Error::missing_field("id"))?,
            time: time.ok_or_else(|| de::Error::missing_field("time"))?,
            subprotocol,
            extra: extra.into(),
        })
    }
}

enum MetaKey {
    Id,
    Time,
    Subprotocol,
    Local,
    Extra(String),
}

impl<'de> Deserialize<'de> for MetaKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = MetaKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<MetaKey, E> {
                Ok(match key {
                    "id" => MetaKey::Id,
                    "time" => MetaKey::Time,
                    "subprotocol" => MetaKey::Subprotocol,
                    local if LOCAL_KEYS.contains(&local) => MetaKey::Local,
                    extra => MetaKey::Extra(extra.to_owned()),
                })
            }
        }

        deserializer.deserialize_identifier(KeyVisitor)
    }
}

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absolute { time, author: None } => {
                serializer.serialize_str(Digits::new(*time).as_str())
            }
            Self::Absolute { time, author: Some((node, counter)) } => {
                let mut text = IdText::new();
                text.set(*time, node, *counter).map_err(S::Error::custom)?;
                serializer.serialize_str(text.as_str())
            }
            Self::Shifted { shift, node: None, counter: Counter::ZERO } => {
                serializer.serialize_i64(*shift)
            }
            Self::Shifted { shift, node: None, counter } => (shift, counter).serialize(serializer),
            Self::Shifted { shift, node: Some(node), counter } => {
                (shift, node, counter).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        /// The second of two parts, or of three.
        enum Second {
            Node(NodeId),
            Counter(Counter),
        }

        impl<'de> Deserialize<'de> for Second {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct SecondVisitor;

                impl Visitor<'_> for SecondVisitor {
                    type Value = Second;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a node id or a counter")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Second, E> {
                        NodeId::new(text).map(Second::Node).map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Second, E> {
                        Counter::deserialize(number.into_deserializer()).map(Second::Counter)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Second, E> {
                        Counter::deserialize(number.into_deserializer()).map(Second::Counter)
                    }

                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Second, E> {
                        Counter::deserialize(number.into_deserializer()).map(Second::Counter)
                    }
                }

                deserializer.deserialize_any(SecondVisitor)
            }
        }

        impl<'de> Visitor<'de> for IdVisitor {
            type Value = WireId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event id: a text, or a number or an array of numbers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WireId, E> {
                let (time, author) = match text.split_once(' ') {
                    Some((time, author)) => (time, Some(parse_author(author).map_err(E::custom)?)),
                    None => (text, None),
                };
                let time = parse_digits(time)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(WireId::Absolute { time, author })
            }

            fn visit_u64<E: de::Error>(self, shift: u64) -> Result<WireId, E> {
                Integer::deserialize(shift.into_deserializer()).map(shifted)
            }

            fn visit_i64<E: de::Error>(self, shift: i64) -> Result<WireId, E> {
                Integer::deserialize(shift.into_deserializer()).map(shifted)
            }

            fn visit_f64<E: de::Error>(self, shift: f64) -> Result<WireId, E> {
                Integer::deserialize(shift.into_deserializer()).map(shifted)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<WireId, A::Error> {
                let Integer(shift) = next(&mut parts, "a time")?;
                let (node, counter) = match next(&mut parts, "a counter")? {
                    Second::Counter(counter) => (None, counter),
                    Second::Node(node) => (Some(node), next(&mut parts, "a counter")?),
                };
                match parts.next_element::<IgnoredAny>()? {
                    Some(_) => Err(de::Error::custom("the event id has too many parts")),
                    None => Ok(WireId::Shifted { shift, node, counter }),
                }
            }
        }

        fn shifted(Integer(shift): Integer) -> WireId {
            WireId::Shifted { shift, node: None, counter: Counter::ZERO }
        }

        deserializer.deserialize_any(IdVisitor)
    }
}

impl Serialize for Subprotocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.minor == 0 {
            serializer.serialize_u32(self.major)
        } else {
            [self.major, self.minor].serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Subprotocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SubprotocolVisitor;

        fn part<E: de::Error>(Integer(number): Integer) -> Result<u32, E> {
            u32::try_from(number).map_err(|_| E::custom("no such subprotocol"))
        }

        impl<'de> Visitor<'de> for SubprotocolVisitor {
            type Value = Subprotocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a subprotocol: a number, or [major, minor]")
            }

            fn visit_u64<E: de::Error>(self, major: u64) -> Result<Subprotocol, E> {
                let major = u32::try_from(major).map_err(|_| E::custom("no such subprotocol"))?;
                Ok(Subprotocol::new(major, 0))
            }

            fn visit_i64<E: de::Error>(self, major: i64) -> Result<Subprotocol, E> {
                Ok(Subprotocol::new(part(Integer(major))?, 0))
            }

            fn visit_f64<E: de::Error>(self, major: f64) -> Result<Subprotocol, E> {
                let deserializer = de::value::F64Deserializer::<E>::new(major);
                Ok(Subprotocol::new(part(Integer::deserialize(deserializer)?)?, 0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Subprotocol, A::Error> {
                let (major, minor) = (next(&mut items, "a major")?, next(&mut items, "a minor")?);
                match items.next_element::<IgnoredAny>()? {
                    Some(_) => Err(de::Error::custom("a subprotocol has two parts")),
                    None => Ok(Subprotocol::new(part(major)?, part(minor)?)),
                }
            }
        }

        deserializer.deserialize_any(SubprotocolVisitor)
    }
}
