//! Messages as XML.

mod read;
mod text;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;
use crate::limits::Limits;
use crate::message::Message;

/// The namespace of the vocabulary.
const NAMESPACE: &str = "http://www.w3.org/2005/xpath-functions";

/// Messages as XML, in the vocabulary that the W3C has for JSON (XPath and XQuery Functions 3.1,
/// section 17.5): any XPath 3.1 processor turns them into JSON with `xml-to-json()`, and back with
/// `json-to-xml()`.
///
/// UTF-8, without a document type, processing instructions or foreign namespaces. An event may be of
/// any type that JSON can carry, and means the same: `u64` and `f64` exactly, empty and missing
/// things apart, control characters too.
///
/// ```
/// use logux_codecs::{Added, Codec, Message, Xml};
///
/// let mut frame = Vec::new();
/// Xml.encode(&Message::<()>::Ping(Added::new(7).unwrap()), &mut frame).unwrap();
/// assert_eq!(
///     String::from_utf8(frame).unwrap(),
///     "<array xmlns=\"http://www.w3.org/2005/xpath-functions\">\
///      <string>ping</string><number>7</number></array>"
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Xml;

/// Why bytes are no message in XML, or an event cannot be written in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// The frame is not UTF-8.
    #[error("the frame is not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// The text is no XML, none of this vocabulary, or no message.
    #[error("the XML is not a message, at byte {position}: {reason}")]
    Read {
        /// How far the frame was read, in bytes.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The event's own `Serialize` failed, or asks for what JSON does not have.
    #[error("the event cannot be written: {0}")]
    Write(String),
}

impl Codec for Xml {
    const NAME: &'static str = "xml";
    const MEDIA_TYPE: &'static str = "application/xml";
    const TEXT: bool = true;
    type Error = XmlError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), XmlError> {
        message.serialize(write::Writer::new(frame)).map_err(|error| XmlError::Write(error.0))
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, XmlError> {
        let mut reader = read::Reader::new(std::str::from_utf8(frame)?);
        let message = reader.root().and_then(|root| limits.read(root));
        let message = message.and_then(|message| reader.end().map(|()| message));
        message.map_err(|error| XmlError::Read { position: reader.position(), reason: error.0 })
    }
}
