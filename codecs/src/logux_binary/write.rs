//! Messages to binary frames.

use serde::Serialize;
use serde_json::Value;

use super::connection::{Connection, major};
use super::encrypted::Encrypted;
use super::error::LoguxBinaryError;
use crate::id::write_author;
use crate::message::{Message, Subprotocol, WireId, WireMeta};
use crate::wire::WrittenOptions;

type Written = Result<(), LoguxBinaryError>;

pub(super) fn message<E: Serialize>(
    connection: &Connection,
    message: &Message<E>,
    frame: &mut Vec<u8>,
) -> Written {
    match message {
        Message::Connect(connect) => {
            frame.push(b'c');
            number(frame, connect.protocol.into());
            text(frame, connect.node_id.as_str());
            number(frame, connect.synced.value());
            options(frame, connect.credentials.as_ref(), connect.subprotocol)?;
        }
        Message::Connected(connected) => {
            frame.push(b'C');
            number(frame, connected.protocol.into());
            text(frame, connected.node_id.as_str());
            number(frame, connected.start.value());
            number(frame, connected.end.value());
            options(frame, connected.credentials.as_ref(), connected.subprotocol)?;
        }
        Message::Sync(sync) => {
            frame.push(b's');
            number(frame, sync.added.value());
            number(frame, sync.entries.len() as u64);
            for (event, event_meta) in &sync.entries {
                write_event(frame, event)?;
                write_meta(connection, frame, event_meta)?;
            }
        }
        Message::Synced(added) => position(frame, b'S', added.value()),
        Message::Ready(added) => position(frame, b'r', added.value()),
        Message::Ping(added) => position(frame, b'p', added.value()),
        Message::Pong(added) => position(frame, b'P', added.value()),
        Message::Headers(headers) => {
            frame.push(b'h');
            json(frame, headers)?;
        }
        Message::Error(error) => {
            frame.push(b'e');
            text(frame, error.kind());
            match error.options() {
                Value::Null => nothing(frame),
                options => json(frame, &options)?,
            }
        }
        Message::Debug(what) => {
            frame.push(b'd');
            text(frame, "error");
            json(frame, what)?;
        }
        Message::Unknown(_) => return Err(LoguxBinaryError::NoForm("its type is unknown")),
    }
    Ok(())
}

fn position(frame: &mut Vec<u8>, kind: u8, added: u64) {
    frame.push(kind);
    number(frame, added);
}

/// The number is the subprotocol, and 0 is none. So 0 itself and a pair go into the JSON, from
/// which JavaScript nodes take every option that is there, as from a message in JSON.
fn options(
    frame: &mut Vec<u8>,
    token: Option<&Value>,
    subprotocol: Option<Subprotocol>,
) -> Written {
    let plain = subprotocol.filter(|version| version.minor == 0 && version.major > 0);
    number(frame, major(plain).into());
    let subprotocol = if plain.is_some() { None } else { subprotocol };
    if token.is_none() && subprotocol.is_none() {
        nothing(frame);
        return Ok(());
    }
    json(frame, &WrittenOptions { token, subprotocol })
}

fn write_event<E: Serialize>(frame: &mut Vec<u8>, event: &E) -> Written {
    frame.push(b'j');
    let start = frame.len();
    serde_json::to_writer(&mut *frame, event)?;
    let Some(encrypted) = Encrypted::from_json(&frame[start..]) else {
        put_length_before(frame, start);
        return Ok(());
    };
    frame.truncate(start - 1);
    frame.push(if encrypted.compressed { b'Z' } else { b'z' });
    frame.extend_from_slice(&encrypted.iv);
    number(frame, encrypted.d.len() as u64);
    frame.extend_from_slice(&encrypted.d);
    Ok(())
}

/// Four fields name the creator, and then have a subprotocol in any case: the sender's own stands
/// for none.
fn write_meta(connection: &Connection, frame: &mut Vec<u8>, meta: &WireMeta) -> Written {
    let WireId::Absolute { time, author } = &meta.id else {
        return Err(LoguxBinaryError::NoForm("an id is of protocol 5"));
    };
    frame.push(match (author, meta.subprotocol) {
        (None, None) => 2,
        (None, Some(_)) => 3,
        (Some(_), _) => 4,
    });
    signed(frame, meta.time);
    signed(frame, time.since(connection.base_time));
    if let Some((node, counter)) = author {
        let mut name = String::new();
        // Writing to a text does not fail.
        let _ = write_author(&mut name, node, *counter);
        text(frame, &name);
        let own = meta.subprotocol.map_or(connection.local_subprotocol, |own| own.major);
        number(frame, own.into());
    } else if let Some(own) = meta.subprotocol {
        number(frame, own.major.into());
    }
    Ok(())
}

fn number(frame: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        frame.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    frame.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    (number & 0x7f) as u8
}

/// The sign goes into the lowest bit: 0, -1, 1, -2 are 0, 1, 2, 3.
fn signed(frame: &mut Vec<u8>, signed: i64) {
    number(frame, ((signed << 1) ^ (signed >> 63)).cast_unsigned());
}

fn text(frame: &mut Vec<u8>, text: &str) {
    number(frame, text.len() as u64);
    frame.extend_from_slice(text.as_bytes());
}

/// JSON that is left out.
fn nothing(frame: &mut Vec<u8>) {
    text(frame, "");
}

fn json<T: Serialize>(frame: &mut Vec<u8>, value: &T) -> Written {
    let start = frame.len();
    serde_json::to_writer(&mut *frame, value)?;
    put_length_before(frame, start);
    Ok(())
}

/// Puts the count of the bytes from `start` on before them: it is known when they are written.
fn put_length_before(frame: &mut Vec<u8>, start: usize) {
    let end = frame.len();
    number(frame, (end - start) as u64);
    let digits = frame.len() - end;
    frame[start..].rotate_right(digits);
}
