use logux_sync::codecs::Message;
use logux_sync::{Codec, Json, Limits, MessagePack, Xml};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The codec of a world, drawn from its seed.
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
    type Error = std::io::Error;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error> {
        match self {
            Self::Json => Json.encode(message, frame).map_err(std::io::Error::other)?,
            Self::MessagePack => {
                MessagePack.encode(message, frame).map_err(std::io::Error::other)?;
            }
            Self::Xml => Xml.encode(message, frame).map_err(std::io::Error::other)?,
        }
        Ok(())
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error> {
        Ok(match self {
            Self::Json => Json.decode(frame, limits).map_err(std::io::Error::other)?,
            Self::MessagePack => {
                MessagePack.decode(frame, limits).map_err(std::io::Error::other)?
            }
            Self::Xml => Xml.decode(frame, limits).map_err(std::io::Error::other)?,
        })
    }
}
