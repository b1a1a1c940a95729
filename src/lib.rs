#![doc = "[server]: guide::server
[apps]: guide::apps
[backend]: guide::backend
[reliability]: guide::reliability
[performance]: guide::performance
[javascript]: guide::from_javascript
[examples]: guide::examples
[compatibility]: guide::compatibility
[security]: https://docs.rs/crate/logux-sync/latest/source/SECURITY.md
[changes]: https://docs.rs/crate/logux-sync/latest/source/CHANGELOG.md
[contributing]: https://docs.rs/crate/logux-sync/latest/source/CONTRIBUTING.md"]
#![doc = include_str!("../README.md")]
//!
//! # In reading order
//!
//! - [`Log`] and its [`Entry`]; [`MemoryStore`], `SqliteStore`, and the trait [`Store`] behind them;
//! - [`ClientSync`], [`Server`], [`ServerSync`] and [`BaseSync`]: who connects to whom; [`SyncOptions`]: how;
//! - [`Session`] and its [`SessionHandle`]: states, errors, diagnostics, receipts;
//! - [`Json`] and other codecs, the trait [`Codec`]; [`WebSocket`] and other ways, the traits [`Transport`] and
//!   [`Listener`], [`framed`] for any stream of frames;
//! - [`Open`]: events of versions that this program does not know.
//!
//! What a log does beside adding, on each store:
//!
//! | | |
//! |---|---|
//! | events by order, index, reason and type, as a stream or in pages | [`Log::entries`] |
//! | reasons to keep events; an event is cleaned when its last reason goes, or a later one takes its place | [`Log::remove_reasons`], [`Draft::keep_last`] |
//! | a look at each event before it is added, and at each that is cleaned | [`LogOptions::before_add`], [`Log::cleaned`] |
//! | how long events are kept: by age, by number, until all peers have them | [`Log::prune`] |
//! | programs that have to do with each event at least once, across restarts | [`Log::consumer`] |
//! | events that wait for a handler, in queues | [`Log::inbox`] |
//! | a copy as lines of JSON; a user's events erased | [`Log::export`], [`Log::erase_user`] |
//!
//! Events without reasons are kept, until something cleans them. The ids of a million events that are gone are
//! remembered for 90 days ([`LogOptions::remember`]), so that a late copy does not come back. That has a price: an event
//! that a client made before what is still remembered of its node, and that was never seen here, may be such a copy for
//! all that is known. It is refused, the client is told so, and its log lists it as held back.
//!
//! All codecs carry the same types of events, of which JavaScript peers know what JSON can say, and their meta, but for
//! `LoguxBinary`: its binary frames leave out the application's own keys and the minor number of an event's subprotocol,
//! as those of JavaScript nodes do. A server may take several, `Server::new(&log, (Json, MessagePack), listener)`: each
//! connection takes the one that its peer names (over WebSocket a subprotocol, `logux.message-pack`), and JSON, or
//! `LoguxBinary` where that is among them, if it names none.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod apart;
#[cfg(feature = "app")]
pub mod app;
mod cursors;
mod entry;
#[cfg(any(doc, doctest))]
pub mod guide;
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
