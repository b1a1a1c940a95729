//! Binary frames to messages. All of it is a peer's word: nothing is made room for before it is there.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::connection::Connection;
use super::encrypted::Encrypted;
use super::error::LoguxBinaryError;
use crate::error::ProtocolError;
use crate::id::{Digits, NodeId, parse_author};
use crate::limits::Limits;
use crate::message::{Connect, Connected, Message, Subprotocol, Sync, WireEntry, WireId, WireMeta};
use crate::number::{Added, MAX_SAFE_INTEGER, Timestamp};
use crate::rare::Rare;
use crate::surrogates::mend;
use crate::wire::{Options, in_event};

type Read<T> = Result<T, LoguxBinaryError>;

pub(super) fn message<E: DeserializeOwned>(
    connection: &Connection,
    frame: &[u8],
    limits: Limits,
) -> Read<Message<E>> {
    let objects = Cell::new(limits.objects);
    let mut reader = Reader { rest: frame, connection, limits, objects, names: limits.events };
    let message = reader.message()?;
    if reader.rest.is_empty() { Ok(message) } else { Err(LoguxBinaryError::Trailing) }
}

struct Reader<'a> {
    rest: &'a [u8],
    connection: &'a Connection,
    limits: Limits,
    /// How many more objects the message may have.
    objects: Cell<usize>,
    /// How many more events may be named by events: a name of the sender's takes two bytes here,
    /// and some hundred as the text that it stands for.
    names: usize,
}

impl<'a> Reader<'a> {
    fn message<E: DeserializeOwned>(&mut self) -> Read<Message<E>> {
        Ok(match self.byte()? {
            b'c' => {
                let (protocol, node_id, synced) = (self.u32()?, self.node()?, self.added()?);
                let Options { credentials, subprotocol } = self.options()?;
                Message::Connect(Connect { protocol, node_id, synced, credentials, subprotocol })
            }
            b'C' => {
                let (protocol, node_id) = (self.u32()?, self.node()?);
                let (start, end) = (self.time()?, self.time()?);
                let Options { credentials, subprotocol } = self.options()?;
                Message::Connected(Connected {
                    protocol,
                    node_id,
                    start,
                    end,
                    credentials,
                    subprotocol,
                })
            }
            b's' => Message::Sync(Sync { added: self.added()?, entries: self.entries()? }),
            b'S' => Message::Synced(self.added()?),
            b'r' => Message::Ready(self.added()?),
            b'p' => Message::Ping(self.added()?),
            b'P' => Message::Pong(self.added()?),
            b'h' => {
                let headers = self.part()?;
                Message::Headers(self.json(headers)?)
            }
            b'e' => {
                let (kind, options) = (self.text()?, self.part()?);
                let options = if options.is_empty() { None } else { Some(self.json(options)?) };
                Message::Error(ProtocolError::from_wire(kind, options.unwrap_or_default()))
            }
            b'd' => {
                let (kind, what) = (self.text()?, self.part()?);
                if kind != "error" {
                    return Err(LoguxBinaryError::Debug);
                }
                Message::Debug(self.json(what)?)
            }
            other => return Err(LoguxBinaryError::Kind(other)),
        })
    }

    /// The list grows with what arrives: a count is a peer's word.
    fn entries<E: DeserializeOwned>(&mut self) -> Read<Vec<WireEntry<E>>> {
        let max = self.limits.events;
        let count = self.number()?;
        if count == 0 {
            return Err(LoguxBinaryError::NoEvents);
        }
        if count > max as u64 {
            return Err(LoguxBinaryError::TooManyEvents(max));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            let event = self.event().map_err(|error| match error {
                LoguxBinaryError::Part(part) => in_event(entries.len() + 1, &part).into(),
                other => other,
            })?;
            entries.push((event, self.meta()?));
        }
        Ok(entries)
    }

    /// An event, from its JSON or from what stands for it.
    fn event<E: DeserializeOwned>(&mut self) -> Read<E> {
        #[derive(Serialize)]
        struct Clean {
            r#type: &'static str,
            ids: Vec<String>,
        }

        let json = match self.byte()? {
            b'j' => {
                let json = self.part()?;
                return self.json(json);
            }
            b'p' => json!({ "type": "logux/processed", "id": self.name()? }).to_string(),
            b'c' => json!({ "type": "0/clean", "id": self.name()? }).to_string(),
            b'C' => {
                let count = self.number()?;
                let mut ids = Vec::new();
                for _ in 0..count {
                    ids.push(self.name()?);
                }
                serde_json::to_string(&Clean { r#type: "0/clean", ids })?
            }
            kind @ (b'Z' | b'z') => {
                let (iv, rest) = self.rest.split_first_chunk().ok_or(LoguxBinaryError::Cut)?;
                self.rest = rest;
                let event = Encrypted::new(*iv, self.part()?, kind == b'Z');
                return Ok(self.limits.item(event.deserializer(), &self.objects)?);
            }
            other => return Err(LoguxBinaryError::Kind(other)),
        };
        self.json(json.as_bytes())
    }

    /// The id of another event, as text.
    fn name(&mut self) -> Read<String> {
        self.names =
            self.names.checked_sub(1).ok_or(LoguxBinaryError::TooManyEvents(self.limits.events))?;
        let kind = self.byte()?;
        let time = self.shifted()?;
        let node = match kind {
            10 => self.connection.remote_node.as_ref().ok_or(LoguxBinaryError::Unnamed)?.as_str(),
            11 => self.text()?,
            other => return Err(LoguxBinaryError::Kind(other)),
        };
        Ok(format!("{} {node}", Digits::new(time).as_str()))
    }

    fn meta(&mut self) -> Read<WireMeta> {
        let fields = self.byte()?;
        let (time, id) = (self.signed()?, self.shifted()?);
        let (author, subprotocol) = match fields {
            2 => (None, None),
            3 => (None, Some(self.u32()?)),
            4 => {
                let author = parse_author(self.text()?)?;
                // There is always one here, so these two stand for none.
                let none = [0, self.connection.remote_subprotocol];
                (Some(author), Some(self.u32()?).filter(|major| !none.contains(major)))
            }
            other => return Err(LoguxBinaryError::Kind(other)),
        };
        Ok(WireMeta {
            id: WireId::Absolute { time: id, author },
            time,
            subprotocol: subprotocol.map(|major| Subprotocol::new(major, 0)),
            extra: Rare::default(),
        })
    }

    fn options(&mut self) -> Read<Options> {
        let major = self.u32()?;
        let json = self.part()?;
        let mut options = if json.is_empty() { Options::default() } else { self.json(json)? };
        if major > 0 {
            options.subprotocol = Some(Subprotocol::new(major, 0));
        }
        Ok(options)
    }

    fn node(&mut self) -> Read<NodeId> {
        Ok(NodeId::new(self.text()?)?)
    }

    fn added(&mut self) -> Read<Added> {
        Added::new(self.number()?).ok_or(LoguxBinaryError::Number)
    }

    fn time(&mut self) -> Read<Timestamp> {
        Timestamp::new(self.number()?).ok_or(LoguxBinaryError::Number)
    }

    /// A time relative to the base time, as all are but those that make the base time.
    fn shifted(&mut self) -> Read<Timestamp> {
        let shift = self.signed()?;
        self.connection.base_time.shifted(shift).ok_or(LoguxBinaryError::Number)
    }

    fn u32(&mut self) -> Read<u32> {
        u32::try_from(self.number()?).map_err(|_| LoguxBinaryError::Number)
    }

    fn signed(&mut self) -> Read<i64> {
        let number = self.number()?;
        let half = (number >> 1).cast_signed();
        let signed = if number % 2 == 0 { half } else { !half };
        if signed.unsigned_abs() <= MAX_SAFE_INTEGER {
            Ok(signed)
        } else {
            Err(LoguxBinaryError::Number)
        }
    }

    /// A number in at most 8 bytes, which are enough for all that the protocol has. A number has
    /// one spelling.
    fn number(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_shortest = byte != 0 || shift == 0;
                return if is_shortest { Ok(number) } else { Err(LoguxBinaryError::Number) };
            }
        }
        Err(LoguxBinaryError::Number)
    }

    fn byte(&mut self) -> Read<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(LoguxBinaryError::Cut)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn text(&mut self) -> Read<&'a str> {
        Ok(std::str::from_utf8(self.part()?)?)
    }

    /// Bytes after their count.
    fn part(&mut self) -> Read<&'a [u8]> {
        let length = self.number()?;
        let (part, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(LoguxBinaryError::Cut)?;
        self.rest = rest;
        Ok(part)
    }

    fn json<T: DeserializeOwned>(&self, json: &[u8]) -> Read<T> {
        let json = std::str::from_utf8(json)?;
        let objects = self.objects.get();
        Ok(self.plain_json(json).or_else(|error| match mend(json) {
            Some(mended) => {
                self.objects.set(objects);
                self.plain_json(&mended)
            }
            None => Err(error),
        })?)
    }

    fn plain_json<T: DeserializeOwned>(&self, json: &str) -> serde_json::Result<T> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let value = self.limits.item(&mut reader, &self.objects)?;
        reader.end()?;
        Ok(value)
    }
}
