#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod cursors;
mod entry;
mod log;
mod store;
mod sync;

pub use cursors::{Cursors, Epoch};
pub use entry::{Created, Draft, Entry, Meta};
pub use log::{Clock, Follow, Log};
pub use store::{MemoryStore, Store, StoreError};
#[doc(hidden)]
pub use sync::format;
pub use sync::{
    BaseSync, CallbackError, ClientSync, Diagnostics, Error, FarFuture, Login, Misbehaviour,
    Notice, Notices, Peer, RefusalLimit, Role, RunningServer, Server, ServerSync, Session,
    SessionEnded, SessionHandle, Shutdown, State, States, SyncOptions, filters,
};

pub use logux_codecs::{
    Added, Codec, CodecName, Codecs, Counter, Event, EventId, Extra, Headers, InvalidEventId,
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

#[cfg(fuzzing)]
#[doc(hidden)]
pub use sync::fuzzing;

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
