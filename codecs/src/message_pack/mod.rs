use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::apart;
use crate::codec::Codec;
use crate::limits::Limits;
use crate::message::{Message, WireMeta};
use crate::number::Added;

mod error;
mod surrogates;
mod write;

pub use error::MessagePackError;

/// Messages as MessagePack: the arrays and objects of JSON in fewer bytes.
///
/// Maps have texts as keys, structs are maps, enums are written as in JSON. There are no extension
/// types, and numbers that are not finite are written as nil, as JSON writes them as `null`. Bytes
/// ([`serialize_bytes`](serde::Serializer::serialize_bytes)) are an array of numbers, as in JSON, so
/// that every node can read them; MessagePack's own are read where the type of an event asks for
/// bytes. An `f32` is written as the double of the same text, so that it is the same number to every
/// node; MessagePack's own floats of 32 bits are read. A text that holds half of a surrogate pair, as JavaScript nodes can write it, is read with
/// U+FFFD for it.
///
/// ```
/// use logux_codecs::{Added, Codec, Limits, Message, MessagePack};
///
/// let message = Message::<()>::Ping(Added::new(7).unwrap());
/// let mut frame = Vec::new();
/// MessagePack.encode(&message, &mut frame).unwrap();
/// assert_eq!(frame, b"\x92\xa4ping\x07");
/// assert_eq!(MessagePack.decode(&frame, Limits::default()).unwrap(), message);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    const NAME: &'static str = "message-pack";
    const MEDIA_TYPE: &'static str = "application/vnd.msgpack";
    const TEXT: bool = false;
    /// A float has three bytes of JSON or more (`0.5`), and nine here. All else is shorter than in
    /// JSON, or little longer.
    const EXPANSION: usize = 3;
    type Error = MessagePackError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), MessagePackError> {
        Ok(message.serialize(write::Writer::new(frame))?)
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), MessagePackError>> {
        Some(event.serialize(write::Writer::new(part)).map_err(MessagePackError::from))
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), MessagePackError>> {
        let count = 2 + 2 * events.len();
        let written = write::array(frame, count, |items| apart::sync(items, added, events));
        Some(written.map_err(MessagePackError::from))
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, MessagePackError> {
        read(frame, limits).or_else(|error| match surrogates::mend(frame) {
            Some(mended) => read(&mended, limits),
            None => Err(error),
        })
    }
}

fn read<E: DeserializeOwned>(frame: &[u8], limits: Limits) -> Result<Message<E>, MessagePackError> {
    // As JSON: a type with a form for humans has that form in every codec.
    let mut reader = rmp_serde::Deserializer::from_read_ref(frame).with_human_readable();
    // `limits` refuses what nests too deep; the reader's own limit must not come first.
    reader.set_max_depth(limits.depth.saturating_add(2));
    let message = limits.read(&mut reader)?;
    // The reader does not tell where it stands. What has ended has no further marker.
    match bool::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(message),
        _ => Err(MessagePackError::Trailing),
    }
}
