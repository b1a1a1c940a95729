use std::io;

use logux_sync::codecs::{Message, WireMeta};
use logux_sync::{Added, Codec, Json, Limits, MessagePack, Xml};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec of a world, drawn from its seed. All nodes of a world have the same, so that the sessions of a log may
/// share what is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum AnyCodec {
    #[default]
    Json,
    MessagePack,
    Xml,
}

impl AnyCodec {
    pub(crate) const fn of(seed: u64) -> Self {
        match seed % 3 {
            0 => Self::MessagePack,
            1 => Self::Json,
            _ => Self::Xml,
        }
    }
}

impl Codec for AnyCodec {
    const NAME: &'static str = "any";
    const MEDIA_TYPE: &'static str = "application/octet-stream";
    const TEXT: bool = false;
    type Error = io::Error;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error> {
        match self {
            Self::Json => Json.encode(message, frame).map_err(io::Error::other)?,
            Self::MessagePack => {
                MessagePack.encode(message, frame).map_err(io::Error::other)?;
            }
            Self::Xml => Xml.encode(message, frame).map_err(io::Error::other)?,
        }
        Ok(())
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), io::Error>> {
        Some(match self {
            Self::Json => Json.encode_event(event, part)?.map_err(io::Error::other),
            Self::MessagePack => MessagePack.encode_event(event, part)?.map_err(io::Error::other),
            Self::Xml => Xml.encode_event(event, part)?.map_err(io::Error::other),
        })
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), io::Error>> {
        Some(match self {
            Self::Json => Json.encode_sync(added, events, frame)?.map_err(io::Error::other),
            Self::MessagePack => {
                MessagePack.encode_sync(added, events, frame)?.map_err(io::Error::other)
            }
            Self::Xml => Xml.encode_sync(added, events, frame)?.map_err(io::Error::other),
        })
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error> {
        Ok(match self {
            Self::Json => Json.decode(frame, limits).map_err(io::Error::other)?,
            Self::MessagePack => MessagePack.decode(frame, limits).map_err(io::Error::other)?,
            Self::Xml => Xml.decode(frame, limits).map_err(io::Error::other)?,
        })
    }
}
