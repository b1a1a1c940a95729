#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod log;
#[cfg(planted)]
pub mod planted;
#[cfg(not(planted))]
mod planted;
mod store;
mod sync;

pub use log::{Clock, Created, Draft, Entry, Follow, Log, Meta};
pub use store::{Cursors, Epoch, MemoryStore, Store, StoreError};
pub use sync::{
    BaseSync, CallbackError, ClientSync, Diagnostics, Error, FarFuture, Login, Misbehaviour,
    Notice, Notices, Peer, Role, RunningServer, Server, ServerSync, Session, SessionHandle,
    Shutdown, State, States, SyncOptions, filters, format,
};

pub use logux_codecs::{
    Added, Codec, CodecVisitor, Codecs, Counter, Event, EventId, Extra, Headers, InvalidEventId,
    InvalidNodeId, Limits, Message, NodeId, Protocol, ProtocolError, Subprotocol, Timestamp, Value,
};
#[cfg(feature = "json")]
pub use logux_codecs::{Json, JsonError};
#[cfg(feature = "logux-binary")]
pub use logux_codecs::{LoguxBinary, LoguxBinaryError};
#[cfg(feature = "message-pack")]
pub use logux_codecs::{MessagePack, MessagePackError};
#[cfg(feature = "xml")]
pub use logux_codecs::{Xml, XmlError, XmlFault};
#[cfg(feature = "conformance")]
pub use logux_transports::Faulty;
pub use logux_transports::{
    Format, FrameReceiver, FrameSender, Link, LinkInfo, Listener, Memory, MemoryLink,
    MemoryListener, Reconnect, SinkSender, StreamReceiver, Transport, framed,
};
#[cfg(feature = "long-poll")]
pub use logux_transports::{HttpListener, HttpService, LongPoll};
#[cfg(feature = "websocket")]
pub use logux_transports::{ListenerOptions, WebSocket, WebSocketLink, WebSocketListener};
#[cfg(feature = "tls")]
pub use logux_transports::{TlsClient, TlsServer};

/// The messages of the protocol, and codecs: see [`Codec`].
pub use logux_codecs as codecs;
/// Links, and transports: see [`Transport`].
pub use logux_transports as transports;

/// The test kits: one call in a test runs the whole contract of a codec, a link or a store.
#[cfg(feature = "conformance")]
pub mod conformance {
    pub use crate::store::conformance::*;
    pub use logux_codecs::conformance::codec;
    pub use logux_transports::conformance::{cut, link, transport};
}
