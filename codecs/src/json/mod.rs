mod plain;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apart;
use crate::codec::Codec;
use crate::limits::Limits;
use crate::message::{Message, WireMeta};
use crate::number::Added;
use crate::surrogates::mend;
use write::Array;

/// Messages as JSON text, as all JavaScript nodes write them.
///
/// Numbers above 2^53 and duplicate keys inside an event are the event's own matter: Rust keeps a
/// `u64` exactly, a JavaScript node rounds it. Half of a surrogate pair, which a text of JavaScript
/// can hold (`"\ud83d"`), is read as U+FFFD.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

/// Why bytes are not a message in JSON, or an event cannot be written in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The frame is not UTF-8.
    #[error("the frame is not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// The text is not JSON, or not a message; or an event's own `Serialize` failed.
    #[error("the JSON is not a message")]
    Json(#[from] serde_json::Error),
}

impl Codec for Json {
    const NAME: &'static str = "json";
    const MEDIA_TYPE: &'static str = "application/json";
    const TEXT: bool = true;
    const EXPANSION: usize = 1;
    type Error = JsonError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        Ok(serde_json::to_writer(frame, message)?)
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        Some(serde_json::to_writer(part, event).map_err(JsonError::from))
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        let mut items = Array::open(frame);
        let written = apart::sync(&mut items, added, events);
        items.close();
        Some(written.map_err(JsonError::from))
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, JsonError> {
        // One check of the whole frame is cheaper than serde_json's of each string in it.
        let json = std::str::from_utf8(frame)?;
        Ok(read(json, limits).or_else(|error| match mend(json) {
            Some(mended) => read(&mended, limits),
            None => Err(error),
        })?)
    }
}

fn read<E: DeserializeOwned>(json: &str, limits: Limits) -> serde_json::Result<Message<E>> {
    if let Some(sync) = plain::sync(json, limits) {
        return Ok(Message::Sync(sync));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = limits.read(&mut reader)?;
    reader.end()?;
    Ok(message)
}
