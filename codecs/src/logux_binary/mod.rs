//! The binary encoding that `@logux/core` 0.12 speaks over WebSocket.
//!
//! A frame is a letter for the type of the message and its parts: whole numbers of 7 bits a byte,
//! the lowest first, whose highest bit says that another byte follows; times and ids as distances
//! from the base time of the connection, the sign in the lowest bit; texts and JSON after the count
//! of their bytes. Source: `ws-binary-connection` of `@logux/core` 0.12.1.

mod connection;
mod encrypted;
mod error;
mod read;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::connection::Connection;
use crate::codec::Codec;
use crate::json::Json;
use crate::limits::Limits;
use crate::message::Message;

pub use error::LoguxBinaryError;

/// Messages in the binary encoding of JavaScript nodes (`WsBinaryConnection` of `@logux/core` 0.12),
/// and as JSON text to a peer that speaks JSON.
///
/// Each frame is read as what it is; a frame that starts with `[` is JSON. What is sent has the form
/// in which the peer spoke last, and is binary before that. So a server with this codec serves
/// binary clients and JSON clients on one address, as a server in JavaScript does. Among several
/// codecs all clients get it that do not name what they speak, as JavaScript clients do; those that
/// name `json` get [`Json`].
///
/// The bytes depend on `connect` and `connected`: see [`for_connection`](Codec::for_connection).
/// A clone is of the same connection.
///
/// # What binary frames do not carry
/// - The application's own keys of an event's meta: [`WireMeta::extra`](crate::WireMeta::extra) is
///   not written. JavaScript nodes leave it out, too.
/// - The minor number of an event's own subprotocol: the major is written. That of the connection
///   travels. The own subprotocol 0 of an event that another node than the sender has created
///   reads as none.
/// - Messages of an unknown type, and ids of protocol 5: to write them is an error. No JavaScript
///   node speaks protocol 5 in binary.
///
/// # Events
/// Events are written as JSON, which every JavaScript node reads, but for encrypted ones: an event
/// whose JSON is `{"type":"0","iv":[…],"d":[…],"compressed":…}` and no more, with 12 bytes under
/// `iv` and any under `d`, has a form of its own, from which JavaScript nodes make the
/// `Uint8Array`s that they encrypt to. Reading it gives the same JSON: `iv` and `d` can be a
/// `Vec<u8>` in the type of an event.
///
/// JavaScript nodes have forms of their own for `logux/processed` and `0/clean` as well, in which
/// keys beyond `id` or `ids` are lost. These are read, and not written.
#[derive(Clone, Debug, Default)]
pub struct LoguxBinary {
    connection: Arc<Mutex<Connection>>,
}

impl LoguxBinary {
    /// A codec that writes binary frames until it is spoken to in JSON.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs something short on what was said. No invariant of it spans two fields, so it is whole
    /// after a panic, too.
    fn with<T>(&self, run: impl FnOnce(&mut Connection) -> T) -> T {
        run(&mut self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Codec for LoguxBinary {
    const NAME: &'static str = "logux-binary";
    const MEDIA_TYPE: &'static str = "application/x-logux-binary";
    const TEXT: bool = false;
    /// Events are JSON, behind a letter and a length: together no more than what JSON has for meta.
    const EXPANSION: usize = 1;
    type Error = LoguxBinaryError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), LoguxBinaryError> {
        let connection = self.with(|connection| {
            connection.sent(message);
            connection.clone()
        });
        if connection.text {
            return Ok(Json.encode(message, frame)?);
        }
        write::message(&connection, message, frame)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, LoguxBinaryError> {
        let connection = self.with(|connection| {
            connection.text = Self::is_text(frame);
            connection.clone()
        });
        let message = if connection.text {
            Json.decode(frame, limits)?
        } else {
            read::message(&connection, frame, limits)?
        };
        self.with(|connection| connection.received(&message));
        Ok(message)
    }

    fn for_connection(&self) -> Self {
        Self::default()
    }

    fn is_text(frame: &[u8]) -> bool {
        frame.first() == Some(&b'[')
    }
}
