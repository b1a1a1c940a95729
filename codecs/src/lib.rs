//! How Logux messages are written.
//!
//! A [`Message`] is what two nodes say to each other; a [`Codec`] turns it into the bytes of one
//! frame and back. The shape of the messages (positional arrays) is written once, as serde
//! implementations of [`Message`], so a codec is little more than a serde format:
//!
//! ```
//! # #[cfg(feature = "json")] {
//! use logux_codecs::{Added, Codec, Json, Message};
//!
//! let mut frame = Vec::new();
//! Json.encode(&Message::<()>::Ping(Added::new(7).unwrap()), &mut frame).unwrap();
//! assert_eq!(frame, br#"["ping",7]"#);
//! # }
//! ```
//!
//! In reading order:
//! - [`Added`], [`Timestamp`]: the protocol's numbers; [`NodeId`], [`EventId`]: its names;
//! - [`Protocol`]: in what the versions of the protocol differ;
//! - [`Message`] and its parts: what is said; `wire`: how it is laid out;
//! - [`ProtocolError`]: the errors that nodes send each other;
//! - [`EventLimits`]: what every peer can be sent;
//! - [`Codec`], [`Limits`], and [`Json`], `LoguxBinary`, [`MessagePack`] and [`Xml`];
//!   [`CodecName`]: the name of a codec around another; [`Codecs`]: several of them.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[cfg(any(feature = "json", feature = "message-pack", feature = "xml"))]
mod apart;
#[doc(hidden)]
pub mod choice;
mod codec;
mod codec_name;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod event_limits;
mod id;
#[cfg(feature = "json")]
mod json;
mod key;
mod limits;
#[cfg(feature = "logux-binary")]
mod logux_binary;
mod measure;
mod message;
#[cfg(feature = "message-pack")]
mod message_pack;
mod number;
mod precise;
mod protocol;
mod rare;
mod reserved;
mod short;
mod shown;
#[cfg(feature = "json")]
mod surrogates;
mod wire;
mod words;
#[cfg(feature = "xml")]
mod xml;

pub use choice::Codecs;
pub use codec::{Codec, Event};
pub use codec_name::CodecName;
pub use error::ProtocolError;
pub use event_limits::{EventLimits, Unfit};
pub use id::{EventId, InvalidEventId, InvalidNodeId, NodeId};
#[cfg(feature = "json")]
pub use json::{Json, JsonError};
pub use limits::Limits;
#[cfg(feature = "logux-binary")]
pub use logux_binary::{LoguxBinary, LoguxBinaryError};
pub use message::{
    Connect, Connected, Extra, Headers, Message, Subprotocol, Sync, WireEntry, WireId, WireMeta,
};
#[cfg(feature = "message-pack")]
pub use message_pack::{MessagePack, MessagePackError};
pub use number::{Added, Counter, MAX_SAFE_INTEGER, Timestamp};
pub use protocol::Protocol;
pub use rare::Rare;
/// Any value that a message can carry where the protocol does not fix the type: credentials, headers, further meta.
pub use serde_json::Value;
#[doc(hidden)]
pub use shown::shown;
#[cfg(feature = "xml")]
pub use xml::{Xml, XmlError, XmlFault};
