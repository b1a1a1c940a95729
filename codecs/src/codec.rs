use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::Limits;
use crate::message::{Message, WireMeta};
use crate::number::Added;

/// What a log holds and two nodes exchange: any type of the user's that serde can write and read.
///
/// Best an enum with `#[serde(tag = "type")]`: JavaScript nodes take only objects with a text
/// under `type` (they call an event an *action*). [`Value`](crate::Value) serves a relay that does not
/// look inside.
///
/// A node between programs of other versions, such as a server, takes `logux_sync::Open<Todo>` for its
/// log: it passes on what came, also what its own `Todo` does not know.
///
/// Implemented for every type that fits; there is nothing to write.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(tag = "type")]
/// enum Todo {
///     #[serde(rename = "todo/add")]
///     Add { text: String },
/// }
///
/// fn takes_events<E: logux_codecs::Event>() {}
/// takes_events::<Todo>();
/// ```
///
/// # `#[serde(other)]` loses events
/// A variant with `#[serde(other)]` takes each event of a type that this program does not know, and forgets
/// what it was: in this log, and for all nodes that this one sends it to. Without it such an event is set
/// aside, and read when a version of the program comes that knows it.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<E: Serialize + DeserializeOwned + Send + Sync + 'static> Event for E {}

/// Writes messages as frames and reads them back.
///
/// # Contract
/// Each line is a check of [`conformance::codec`](https://docs.rs/logux-codecs) (feature
/// `conformance`) under the name given.
///
/// 1. `reads_back_what_it_writes`: decoding an encoded message gives an equal message.
/// 2. `appends_to_the_frame`: encoding appends; what was in the buffer stays.
/// 3. `agrees_with_json`: a message means the same as in JSON; no value changes its type.
/// 4. `refuses_a_cut_frame`: a frame without its last bytes is an error.
/// 5. `refuses_trailing_bytes`: bytes after the message are an error.
/// 6. `refuses_numbers_out_of_range`: a position or a time that is negative, has a fraction or
///    lies above [`MAX_SAFE_INTEGER`](crate::MAX_SAFE_INTEGER) is an error.
/// 7. `survives_any_bytes`: whatever a peer sends gives a message or an error, never a panic.
/// 8. `keeps_the_limits`: what is above the [`Limits`] is an error; so is a frame that expands
///    beyond [`Limits::frame`].
/// 9. `carries_the_types_of_serde`: an event may be of any type that serde knows and JSON can carry,
///    and is to a relay the same value as in JSON. An `f32` is the double of the same text (`0.1`):
///    a format with floats of 32 bits must not write it as one.
/// 10. `has_a_name_that_http_takes`: [`NAME`](Self::NAME) is an HTTP token (RFC 9110, 5.6.2) of at
///     most [`CodecName::MAX_BYTES`](crate::CodecName::MAX_BYTES) bytes, as WebSocket and long-poll
///     name it in headers.
/// 11. `keeps_its_expansion`: a frame with one event is no longer, also once it is expanded, than
///     [`EventLimits::frame`](crate::EventLimits::frame) says of [`EXPANSION`](Self::EXPANSION).
/// 12. `writes_events_apart`: [`encode_sync`](Self::encode_sync) of what
///     [`encode_event`](Self::encode_event) wrote gives the bytes of [`encode`](Self::encode), if the
///     codec has these two; and all codecs of one type write an event alike, whatever their connection. The
///     kit can only try the one that it is given.
///
/// Memory is bounded by the length of the frame, where a message is read by [`Limits::read`].
///
/// # Implementing
/// Any serde format will do; this is the whole of a codec:
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codec, Limits, Message};
/// use serde::de::{DeserializeOwned, Error};
/// use serde::Serialize;
///
/// /// JSON, and the end of the line.
/// #[derive(Clone, Copy, Debug)]
/// struct JsonLine;
///
/// impl Codec for JsonLine {
///     const NAME: &'static str = "json-line";
///     const MEDIA_TYPE: &'static str = "application/jsonl";
///     const TEXT: bool = true;
///     type Error = serde_json::Error;
///
///     fn encode<E: Serialize>(
///         &self,
///         message: &Message<E>,
///         frame: &mut Vec<u8>,
///     ) -> Result<(), Self::Error> {
///         serde_json::to_writer(&mut *frame, message)?;
///         frame.push(b'\n');
///         Ok(())
///     }
///
///     fn decode<E: DeserializeOwned>(
///         &self,
///         frame: &[u8],
///         limits: Limits,
///     ) -> Result<Message<E>, Self::Error> {
///         let line = frame.strip_suffix(b"\n").ok_or_else(|| Error::custom("the line is cut"))?;
///         let mut reader = serde_json::Deserializer::from_slice(line);
///         let message = limits.read(&mut reader)?;
///         reader.end()?;
///         Ok(message)
///     }
/// }
/// # #[cfg(feature = "conformance")]
/// logux_codecs::conformance::codec(&JsonLine);
/// # }
/// ```
pub trait Codec: Clone + Send + Sync + 'static {
    /// A short name for logs, benches and negotiation: `json`. An HTTP token: letters and digits of
    /// ASCII, and ``!#$%&'*+-.^_`|~``. A codec around another makes its name by
    /// [`CodecName`](crate::CodecName).
    const NAME: &'static str;
    /// The media type for transports that name one: `application/json`.
    const MEDIA_TYPE: &'static str;
    /// Whether all frames are UTF-8 text; WebSocket tells text frames from binary ones.
    const TEXT: bool;
    /// How many bytes of a frame one byte of an event takes at most, the event in compact JSON as
    /// [`EventLimits`](crate::EventLimits) counts it: 10.
    ///
    /// How long a frame may be follows from it: [`EventLimits::frame`](crate::EventLimits::frame)
    /// multiplies by it. The worst events of most formats are long arrays of the shortest values:
    /// `0,` is two bytes, and 18 as `<number>0</number>`. What a format writes once for each frame
    /// need not be counted. A format that indents has no such number, for each level of an event
    /// adds to each line in it. A codec around another has at least the other's, even if it compresses:
    /// what it expands a frame to is held to this, too.
    const EXPANSION: usize = 10;
    /// Why a message could not be written, or bytes are not a message.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Appends the message to `frame`.
    ///
    /// Fails only where the event's own `Serialize` does, or asks for what the format cannot hold;
    /// `frame` may then end in a part of the message.
    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error>;

    /// Reads the one message that `frame` holds. The bytes come from the peer and may be anything.
    ///
    /// Made of [`Limits::read`] and a check that nothing follows. A frame with an event that `E` cannot read
    /// is given again, with another `E`.
    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error>;

    /// Appends to `part` what is the same of an event in each `sync` that it travels in, for
    /// [`encode_sync`](Self::encode_sync). A log has that written once for all sessions whose codecs are of
    /// one type, so it must not depend on anything but the event.
    ///
    /// `None`, as this is unless a codec says more, has events written with each message.
    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), Self::Error>> {
        let _ = (event, part);
        None
    }

    /// Appends a `sync` to `frame`: each event as [`encode_event`](Self::encode_event) wrote it, and its
    /// meta. `None` where that answers `None`.
    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), Self::Error>> {
        let _ = (added, events, frame);
        None
    }

    /// The codec for one connection, which sees all messages that are sent and received on it; clones
    /// of it are of the same connection. A codec whose bytes depend on what was said before makes
    /// one with a memory of its own here; all others leave this method out.
    fn for_connection(&self) -> Self {
        self.clone()
    }

    /// Whether a frame that was encoded is text. A codec that writes both, as it is spoken to, tells
    /// them apart here; all others leave this method out.
    fn is_text(frame: &[u8]) -> bool {
        let _ = frame;
        Self::TEXT
    }
}
