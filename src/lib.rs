#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod apart;
#[cfg(feature = "app")]
pub mod app;
mod cursors;
mod entry;
mod log;
mod metrics;
mod open;
mod store;
mod sync;

pub use apart::{Refused, SetAside};
pub use cursors::{Cursors, Epoch};
pub use entry::{Created, Draft, Entry, Meta};
pub use log::{
    AddError, Arriving, Cleaned, Clock, Consumer, ConsumerError, CopyError, Criteria, Delivery,
    Effects, Entries, Follow, Imported, Inbox, InboxError, Log, LogOptions, Missed, NotAdded,
    Pruning, Receipt, ReceiptError, Retention, Unreasoned, Waiting,
};
pub use open::Open;
pub use store::{
    Answer, Append, Change, Edit, Effect, End, Forget, IdState, IfKnown, Key, Label, MemoryStore,
    Order, Page, PeerRecord, Prefix, Query, Record, RecordChange, Store, StoreError, Stored, Which,
};
#[cfg(feature = "sqlite")]
pub use store::{OpenError, SqliteStore};
#[doc(hidden)]
pub use sync::format;
pub use sync::{
    Access, BaseSync, CallbackError, CallbackTimeout, ClientSync, Diagnostics, Error, FarFuture,
    Login, Misbehaviour, NoReceipt, Notice, Notices, Peer, Quota, RefusalLimit, Replay, Role,
    RunningServer, Server, ServerHandle, ServerSync, Session, SessionEnded, SessionHandle,
    Shutdown, State, States, SyncOptions, Unreadable, filters,
};

#[cfg(feature = "json")]
pub use logux_codecs::Json;
#[cfg(feature = "logux-binary")]
pub use logux_codecs::LoguxBinary;
#[cfg(feature = "message-pack")]
pub use logux_codecs::MessagePack;
#[cfg(feature = "xml")]
pub use logux_codecs::Xml;
pub use logux_codecs::{
    Added, Codec, Event, EventId, EventLimits, Extra, Headers, Limits, NodeId, ProtocolError, Rare,
    Subprotocol, Timestamp, Unfit, Value,
};
#[cfg(feature = "websocket")]
pub use logux_transports::{Forwarding, ListenerOptions, WebSocket, WebSocketListener};
#[cfg(feature = "long-poll")]
pub use logux_transports::{HttpListener, HttpService, LongPoll};
pub use logux_transports::{Listener, Memory, Reconnect, Transport, framed};
#[cfg(feature = "tls")]
pub use logux_transports::{TlsClient, TlsServer};

#[cfg(fuzzing)]
#[doc(hidden)]
pub use sync::fuzzing;

/// For codecs of one's own: the messages of the protocol, and errors of the codecs here. See [`Codec`].
pub use logux_codecs as codecs;
/// For transports of one's own: links and their halves, and the parts of the transports here. See
/// [`Transport`].
pub use logux_transports as transports;

/// The test kits: one call in a test runs the whole contract of a codec, a link or a store. And a bad
/// network around any transport.
#[cfg(feature = "conformance")]
pub mod conformance {
    pub use crate::store::conformance::*;
    pub use logux_codecs::conformance::codec;
    pub use logux_transports::Faulty;
    pub use logux_transports::conformance::{cut, link, transport};
}
