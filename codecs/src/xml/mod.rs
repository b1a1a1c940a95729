//! Messages as XML: the vocabulary that the W3C gives JSON (XPath and XQuery Functions 3.1, 17.5),
//! so that any XPath 3.1 processor reads them by `xml-to-json()` and writes them by `json-to-xml()`.
//!
//! In reading order:
//! - `characters`: what XML cannot hold, and how it is written and read all the same;
//! - `write`: serde's data model as elements; `key`: the keys of maps; `displayed`: texts that are
//!   known only by how they are shown;
//! - `tag`, `elements`: a frame as elements; `plain`: the usual spelling of them, read faster;
//!   `keys`: none twice in a map;
//! - `number`, `read`: elements as serde's data model.

mod characters;
mod displayed;
mod elements;
mod error;
mod key;
mod keys;
mod number;
mod plain;
mod read;
mod tag;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apart;
use crate::codec::Codec;
use crate::limits::Limits;
use crate::message::{Message, WireMeta};
use crate::number::Added;

pub use error::{XmlError, XmlFault};

/// Messages as XML, in the W3C's vocabulary for JSON (XPath and XQuery Functions 3.1, 17.5).
///
/// A message means the same as in JSON, whatever serde type the events are of; XSLT and XQuery turn
/// the one into the other by `xml-to-json()` and `json-to-xml()`.
///
/// ```
/// use logux_codecs::{Added, Codec, Limits, Message, Xml};
///
/// let ping = Message::<()>::Ping(Added::new(7).unwrap());
/// let mut frame = Vec::new();
/// Xml.encode(&ping, &mut frame).unwrap();
/// assert_eq!(
///     String::from_utf8(frame.clone()).unwrap(),
///     concat!(
///         r#"<array xmlns="http://www.w3.org/2005/xpath-functions">"#,
///         "<string>ping</string><number>7</number></array>"
///     )
/// );
/// assert_eq!(Xml.decode(&frame, Limits::default()).unwrap(), ping);
/// ```
///
/// Written without a declaration and without whitespace. Read in UTF-8 only, with or without a
/// declaration, comments, whitespace between elements, and one prefix for the namespace; a document
/// type, a processing instruction, anything of another namespace, and a key that a map has twice are
/// refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xml;

impl Codec for Xml {
    const NAME: &'static str = "xml";
    const MEDIA_TYPE: &'static str = "application/xml";
    const TEXT: bool = true;
    /// `0,` is `<number>0</number>`: 18 bytes for two, and an array around many of them has fewer
    /// for each of its own. Next are an array in an array (15 for two, 33 for the four of `[0],`)
    /// and texts of one control character (34 for five).
    const EXPANSION: usize = 9;
    type Error = XmlError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), XmlError> {
        Ok(message.serialize(write::Writer::root(frame))?)
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), XmlError>> {
        Some(event.serialize(write::Writer::item(part)).map_err(XmlError::from))
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), XmlError>> {
        let written = write::array(frame, |items| apart::sync(items, added, events));
        Some(written.map_err(XmlError::from))
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, XmlError> {
        let mut elements = elements::Elements::new(std::str::from_utf8(frame)?);
        let message = read::Root(&mut elements);
        let message = limits.read(message).and_then(|message| {
            elements.finish()?;
            Ok(message)
        });
        message.map_err(|fault| fault.at(elements.position()).into())
    }
}
